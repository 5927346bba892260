//! Plans, without root: what an OCI spec becomes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use linux::mount as attributes;
use serde_json::{Value, json};
use shim::plan::MountSource;

use super::*;
use crate::{LogConfig, Rootfs, RuntimeHandler};
use linux::clone;

fn request(spec: Value) -> ContainerRequest {
    ContainerRequest {
        key: "web/3".into(),
        spec: serde_json::from_value(spec).unwrap(),
        rootfs: Rootfs { lower: vec!["/layers/top".into()], upper: "/upper".into(), work: "/work".into() },
        staged: Vec::new(),
        log: LogConfig { path: "/log".into(), max_bytes: 1, max_files: 2 },
        stdin: false,
        tty: false,
        runtime: RuntimeHandler::Podling,
        target_pid_namespace_of: None,
    }
}

fn minimal() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": { "user": { "uid": 7, "gid": 8 }, "args": ["run"], "cwd": "/" },
        "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }, { "type": "network" }, { "type": "cgroup" }] }
    })
}

fn planned(spec: Value) -> Result<ContainerPlan, String> {
    planned_request(&request(spec))
}

fn planned_request(request: &ContainerRequest) -> Result<ContainerPlan, String> {
    let filters = FilterCache::default();
    let context = Context {
        pod_dir: Path::new("/run/pod"),
        pod_cgroup: "/podling/n/podu",
        available_capabilities: 0b1011,
        filters: &filters,
    };
    container(request, &context)
}

fn mount(options: &[&str], kind: &str) -> Result<shim::plan::Mount, String> {
    let mut spec = minimal();
    spec["mounts"] =
        json!([{ "destination": "/target", "type": kind, "source": "/source", "options": options }]);
    let plan = planned(spec)?;
    let mount = plan.operations.into_iter().find_map(|operation| match operation {
        Operation::Mount(mount) => Some(mount),
        _ => None,
    });
    Ok(mount.unwrap())
}

#[test]
fn the_cgroup_is_the_containers_below_the_pods() {
    assert_eq!(planned(minimal()).unwrap().cgroup, "/podling/n/podu/web");
}

#[test]
fn shared_namespaces_are_joined_and_others_made() {
    let plan = planned(minimal()).unwrap();
    assert_eq!(plan.new_namespaces, clone::NEW_MOUNT | clone::NEW_PID | clone::NEW_CGROUP);
    let network = JoinedNamespace { kind: clone::NEW_NETWORK, of: NamespaceOwner::Sandbox };
    assert_eq!(plan.joined_namespaces, [network]);
}

#[test]
fn a_target_container_lends_its_pid_namespace() {
    let mut request = request(minimal());
    request.target_pid_namespace_of = Some("app/0".into());
    let plan = planned_request(&request).unwrap();
    assert_eq!(plan.new_namespaces & clone::NEW_PID, 0);
    let pid = JoinedNamespace { kind: clone::NEW_PID, of: NamespaceOwner::Container("app/0".into()) };
    assert!(plan.joined_namespaces.contains(&pid));
}

#[test]
fn operations_are_ordered_so_that_each_is_possible() {
    let mut spec = minimal();
    spec["process"]["cwd"] = json!("/srv");
    spec["root"] = json!({ "path": "r", "readonly": true });
    spec["mounts"] = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
    spec["linux"]["maskedPaths"] = json!(["/proc/kcore"]);
    spec["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    let names: Vec<&str> = planned(spec)
        .unwrap()
        .operations
        .iter()
        .map(|operation| match operation {
            Operation::Rootfs(_) => "rootfs",
            Operation::Mount(_) => "mount",
            Operation::Device(_) => "device",
            Operation::Symlink { .. } => "link",
            Operation::Directory(_) => "directory",
            Operation::ReadOnly(_) => "read-only",
            Operation::Mask(_) => "mask",
            Operation::ReadOnlyRoot => "read-only root",
            Operation::EnterRoot => "enter",
            _ => "other",
        })
        .collect();
    let mut distinct = names.clone();
    distinct.dedup();
    let expected =
        ["rootfs", "mount", "device", "link", "directory", "read-only", "mask", "read-only root", "enter"];
    assert_eq!(distinct, expected);
}

#[test]
fn the_hosts_dev_is_not_filled() {
    let mut spec = minimal();
    spec["mounts"] = json!([{ "destination": "/dev/", "source": "/dev", "options": ["rbind"] }]);
    let plan = planned(spec).unwrap();
    assert!(!plan.operations.iter().any(|operation| matches!(operation, Operation::Device(_))));
}

#[test]
fn bind_options_become_attributes() {
    let bound = mount(&["rbind", "ro", "nosuid", "rslave"], "none").unwrap();
    assert_eq!(bound.source, MountSource::Bind { path: "/source".into(), recursive: true });
    assert_eq!(bound.set, attributes::READ_ONLY | attributes::NO_SUID);
    assert_eq!((bound.propagation, bound.propagation_recursive), (attributes::SLAVE, true));
    let private = mount(&["bind"], "none").unwrap();
    assert_eq!((private.propagation, private.propagation_recursive), (attributes::PRIVATE, true));
    let deep = mount(&["rbind", "rro"], "none").unwrap();
    assert_eq!((deep.set, deep.set_recursive), (0, attributes::READ_ONLY));
}

#[test]
fn a_user_namespace_is_the_sandboxs_and_binds_in_it_have_mapped_owners() {
    let mut spec = minimal();
    let mapping = json!([{ "containerID": 0, "hostID": 1_879_048_192, "size": 65_536 }]);
    spec["linux"]["namespaces"] = json!([{ "type": "user" }, { "type": "pid" }]);
    spec["linux"]["uidMappings"] = mapping.clone();
    spec["linux"]["gidMappings"] = mapping.clone();
    spec["mounts"] = json!([
        { "destination": "/x", "source": "/y", "options": ["rbind"], "uidMappings": mapping, "gidMappings": mapping },
        { "destination": "/z", "source": "/y", "options": ["bind"] },
    ]);
    let plan = planned(spec).unwrap();
    let users = JoinedNamespace { kind: clone::NEW_USER, of: NamespaceOwner::Sandbox };
    assert_eq!(plan.joined_namespaces, [users]);
    assert_eq!(plan.new_namespaces, clone::NEW_MOUNT | clone::NEW_PID);
    let sources: Vec<_> = plan
        .operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::Mount(mount) => Some(mount.source.clone()),
            _ => None,
        })
        .collect();
    let path = PathBuf::from("/y");
    assert_eq!(
        sources,
        [
            MountSource::MappedBind { path: path.clone(), recursive: true },
            MountSource::Bind { path, recursive: false },
        ]
    );
}

#[test]
fn the_last_of_contradicting_options_holds() {
    let mount = mount(&["bind", "ro", "rw", "noatime", "strictatime"], "none").unwrap();
    assert_eq!(mount.set, attributes::STRICT_ACCESS_TIME);
    assert_eq!(mount.clear & attributes::READ_ONLY, attributes::READ_ONLY);
}

#[test]
fn filesystem_options_become_parameters() {
    let mount = mount(&["nosuid", "mode=755", "size=64k", "newinstance"], "tmpfs").unwrap();
    let parameter = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let expected =
        vec![parameter("mode", Some("755")), parameter("size", Some("64k")), parameter("newinstance", None)];
    assert_eq!(
        mount.source,
        MountSource::Filesystem { kind: "tmpfs".into(), source: "/source".into(), parameters: expected }
    );
}

#[test]
fn what_cannot_be_carried_out_is_refused() {
    let refused = |change: fn(&mut Value), reason: &str| {
        let mut spec = minimal();
        change(&mut spec);
        let error = planned(spec).unwrap_err();
        assert!(error.contains(reason), "{error}");
    };
    refused(|spec| spec["process"]["args"] = json!([]), "no program");
    refused(|spec| spec["process"]["cwd"] = json!("here"), "not an absolute path");
    refused(|spec| spec["linux"]["namespaces"] = json!([{ "type": "time" }]), "type time");
    refused(|spec| spec["linux"]["namespaces"] = json!([{ "type": "user", "path": "/x" }]), "by its path");
    refused(
        |spec| {
            let mapping = json!([{ "containerID": 0, "hostID": 5, "size": 1 }]);
            spec["mounts"] =
                json!([{ "destination": "/x", "source": "/y", "options": ["bind"], "gidMappings": mapping }]);
        },
        "mappings of the mount at /x",
    );
    refused(|spec| spec["linux"]["rootfsPropagation"] = json!("sideways"), "sideways");
    refused(
        |spec| spec["mounts"] = json!([{ "destination": "/x", "source": "rel", "options": ["bind"] }]),
        "absolute",
    );
    refused(|spec| spec["mounts"] = json!([{ "destination": "/x", "source": "/y" }]), "no type");
    refused(
        |spec| spec["mounts"] = json!([{ "destination": "/x", "type": "tmpfs", "options": ["idmap"] }]),
        "idmap",
    );
    let mut without_layers = request(minimal());
    without_layers.rootfs.lower.clear();
    assert!(planned_request(&without_layers).unwrap_err().contains("no layers"));
}

#[test]
fn capabilities_are_those_the_machine_can_give() {
    let mut spec = minimal();
    spec["process"]["capabilities"] =
        json!({ "bounding": ["CAP_CHOWN", "CAP_SYS_ADMIN"], "ambient": ["CAP_CHOWN"] });
    let sets = planned(spec).unwrap().process.capabilities.unwrap();
    assert_eq!((sets.bounding, sets.ambient, sets.permitted), (1, 1, 0));
}

#[test]
fn the_bundle_names_the_sandboxs_namespaces_by_path() {
    let filters = FilterCache::default();
    let context = Context {
        pod_dir: Path::new("/run/pod"),
        pod_cgroup: "/podling/n/podu",
        available_capabilities: 0,
        filters: &filters,
    };
    let mut request = request(minimal());
    request.runtime = RuntimeHandler::External("/usr/bin/crun".into());
    let sandbox = bundle::SandboxNamespaces { pause_pid: 42, shares_processes: false };
    let (plan, spec) = bundle::plan(&request, sandbox, &context).unwrap();
    assert_eq!(plan.id, "podling.n.podu.web.3");
    assert_eq!(spec.root().as_ref().unwrap().path(), &PathBuf::from("/run/pod/bundles/web.3/rootfs"));
    let linux = spec.linux().clone().unwrap();
    assert_eq!(linux.cgroups_path(), &Some(PathBuf::from("/podling/n/podu/web")));
    let paths: Vec<Option<PathBuf>> =
        linux.namespaces().iter().flatten().map(|namespace| namespace.path().clone()).collect();
    assert_eq!(paths, [None, None, Some("/proc/42/ns/net".into()), None]);
}

#[test]
fn a_host_network_sandbox_leaves_the_hosts_name_alone() {
    let spec = SandboxSpec { hostname: "pod".into(), netns: None, ..SandboxSpec::default() };
    let plan = sandbox(&spec, "/pod").unwrap();
    assert_eq!((plan.new_namespaces, plan.hostname), (clone::NEW_IPC, None));
    let spec = SandboxSpec {
        hostname: "pod".into(),
        netns: Some(Arc::new(linux::netns::current().unwrap())),
        share_process_namespace: true,
        first_containers: vec!["web".into()],
        ..SandboxSpec::default()
    };
    let plan = sandbox(&spec, "/pod").unwrap();
    assert_eq!(plan.new_namespaces, clone::NEW_UTS | clone::NEW_IPC | clone::NEW_PID);
    assert_eq!((plan.hostname.as_deref(), plan.cgroups.as_slice()), (Some("pod"), &["/pod/web".into()][..]));
}
