//! What a manifest becomes in the OCI spec, choice by choice.

use std::collections::BTreeMap;
use std::path::PathBuf;

use linux::user_namespace::IdRange;
use model::manifest;
use model::pod::Pod;
use oci_spec::runtime::{Capability, LinuxNamespaceType, Mount, Spec};

use super::{ContainerSpec, Identity, Input, SeccompChoice, SharedFiles, VolumePath, build};

fn pod(pod_fields: &str, container_fields: &str) -> Pod {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n{pod_fields}  containers:\n  - name: app\n    \
         image: i\n{container_fields}"
    );
    manifest::parse("test.yaml", text.as_bytes()).unwrap().pods.remove(0)
}

fn built(pod: &Pod) -> ContainerSpec {
    built_for(pod, None)
}

fn built_for(pod: &Pod, users: Option<IdRange>) -> ContainerSpec {
    let volume = |read_only| VolumePath { path: PathBuf::from("/host/data"), read_only };
    let volumes = BTreeMap::from([("data".to_owned(), volume(false)), ("config".to_owned(), volume(true))]);
    let container = &pod.spec.containers[0];
    let sub_paths = container.volume_mounts.iter().filter_map(|mount| match &mount.sub_path {
        Some(model::pod::SubPath::Literal(path)) => Some((mount.mount_path.clone(), path.clone())),
        _ => None,
    });
    build(&Input {
        pod,
        container,
        args: vec!["/app".into()],
        env: Vec::new(),
        cwd: "/".into(),
        identity: Identity { uid: 1, gid: 2, groups: vec![3] },
        volumes: &volumes,
        sub_paths: sub_paths.collect(),
        files: &SharedFiles {
            hosts: "/run/etc/hosts".into(),
            hostname: "/run/etc/hostname".into(),
            resolv_conf: "/run/etc/resolv.conf".into(),
            shm: "/run/shm".into(),
        },
        termination_log: "/run/app/0.termination".into(),
        staging_dir: "/run/app/0.staged".into(),
        pod_cgroup: "/podling/n/podu",
        node_memory_bytes: 8 << 30,
        seccomp: SeccompChoice::RuntimeDefault,
        users,
        host_devices: &[],
    })
    .unwrap()
}

fn spec(pod_fields: &str, container_fields: &str) -> Spec {
    built(&pod(pod_fields, container_fields)).spec
}

fn mount<'a>(spec: &'a Spec, target: &str) -> Option<&'a Mount> {
    spec.mounts().as_ref().unwrap().iter().find(|mount| mount.destination().to_str() == Some(target))
}

fn options(spec: &Spec, target: &str) -> String {
    mount(spec, target).unwrap().options().clone().unwrap().join(",")
}

fn capabilities(container_fields: &str) -> Vec<Capability> {
    let spec = spec("", container_fields);
    let set = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
    assert_eq!(set.effective(), set.bounding());
    let mut names: Vec<Capability> = set.bounding().clone().unwrap().into_iter().collect();
    names.sort_by_key(ToString::to_string);
    names
}

#[test]
fn capabilities_are_the_engines_with_the_manifests_changes() {
    let context = |lists: &str| format!("    securityContext: {{capabilities: {{{lists}}}}}\n");
    assert_eq!(capabilities("").len(), 14);
    assert_eq!(capabilities(&context("drop: [ALL]")), []);
    assert_eq!(capabilities(&context("drop: [ALL], add: [NET_BIND_SERVICE]")), [Capability::NetBindService]);
    assert!(!capabilities(&context("drop: [CHOWN]")).contains(&Capability::Chown));
    assert!(capabilities(&context("add: [SYS_TIME]")).contains(&Capability::SysTime));
    assert_eq!(capabilities("    securityContext: {privileged: true}\n").len(), 41);
}

#[test]
fn privileged_unmasks_and_unfilters() {
    let linux = spec("", "").linux().clone().unwrap();
    assert!(linux.masked_paths().as_ref().unwrap().contains(&"/proc/kcore".to_owned()));
    assert!(linux.readonly_paths().as_ref().unwrap().contains(&"/proc/sys".to_owned()));
    assert!(linux.seccomp().is_some());
    let privileged = spec("", "    securityContext: {privileged: true}\n").linux().clone().unwrap();
    assert!(privileged.masked_paths().as_ref().is_none_or(Vec::is_empty));
    let rules = privileged.resources().as_ref().unwrap().devices().clone().unwrap();
    assert!(rules[0].allow());
}

#[test]
fn no_new_privileges_follows_allow_privilege_escalation() {
    let no_new = |fields: &str| spec("", fields).process().as_ref().unwrap().no_new_privileges().unwrap();
    assert!(!no_new(""));
    assert!(no_new("    securityContext: {allowPrivilegeEscalation: false}\n"));
}

#[test]
fn namespaces_of_the_host_are_left_out() {
    let types = |fields: &str| -> Vec<LinuxNamespaceType> {
        let linux = spec(fields, "").linux().clone().unwrap();
        linux.namespaces().as_ref().unwrap().iter().map(|namespace| namespace.typ()).collect()
    };
    assert_eq!(types("").len(), 6);
    assert!(!types("  hostNetwork: true\n").contains(&LinuxNamespaceType::Network));
    assert!(!types("  hostPID: true\n").contains(&LinuxNamespaceType::Pid));
    assert!(!types("  hostIPC: true\n").contains(&LinuxNamespaceType::Ipc));
}

const VOLUMES: &str =
    "  volumes:\n  - {name: data, emptyDir: {}}\n  - {name: config, configMap: {name: c}}\n";

#[test]
fn volumes_are_bound_with_what_the_mount_says() {
    let spec = spec(
        VOLUMES,
        "    volumeMounts:\n    - {name: data, mountPath: /d}\n    - {name: data, mountPath: /r, readOnly: true}\n    \
         - {name: config, mountPath: /c}\n    - {name: data, mountPath: /p, mountPropagation: HostToContainer}\n",
    );
    assert_eq!(options(&spec, "/d"), "rbind,rprivate,rw");
    assert_eq!(options(&spec, "/r"), "rbind,rprivate,ro");
    assert_eq!(options(&spec, "/c"), "rbind,rprivate,ro", "configMap volumes cannot be written");
    assert_eq!(options(&spec, "/p"), "rbind,rslave,rw");
}

#[test]
fn sub_paths_are_staged_and_bound_from_there() {
    let pod = pod(VOLUMES, "    volumeMounts:\n    - {name: data, mountPath: /out, subPath: processed}\n");
    let built = built(&pod);
    let staged = &built.staged[0];
    assert_eq!(staged.volume_root, PathBuf::from("/host/data"));
    assert_eq!(staged.sub_path, PathBuf::from("processed"));
    assert_eq!(mount(&built.spec, "/out").unwrap().source().as_ref(), Some(&staged.target));
}

#[test]
fn a_mount_inside_another_comes_after_it_and_replaces_shared_files() {
    let spec = spec(
        VOLUMES,
        "    volumeMounts:\n    - {name: data, mountPath: /a/b/c}\n    - {name: data, mountPath: /a}\n    \
         - {name: config, mountPath: /etc/hosts, subPath: hosts}\n",
    );
    let targets: Vec<&str> =
        spec.mounts().as_ref().unwrap().iter().filter_map(|mount| mount.destination().to_str()).collect();
    let position = |target: &str| targets.iter().position(|other| *other == target).unwrap();
    assert!(position("/a") < position("/a/b/c"));
    assert_eq!(targets.iter().filter(|target| **target == "/etc/hosts").count(), 1);
}

#[test]
fn requests_and_limits_become_cgroup_values() {
    let linux = spec("", "    resources: {requests: {cpu: 250m}, limits: {cpu: 500m, memory: 64Mi}}\n")
        .linux()
        .clone()
        .unwrap();
    let resources = linux.resources().clone().unwrap();
    let cpu = resources.cpu().clone().unwrap();
    assert_eq!((cpu.shares(), cpu.quota(), cpu.period()), (Some(256), Some(50_000), Some(100_000)));
    let memory = resources.memory().unwrap();
    assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(64 << 20)));
    assert_eq!(linux.cgroups_path().clone(), Some(PathBuf::from("/podling/n/podu/app")));
}

#[test]
fn the_oom_score_follows_qos_and_request() {
    let score = |fields: &str| spec("", fields).process().as_ref().unwrap().oom_score_adj().unwrap();
    assert_eq!(score(""), 1000);
    assert_eq!(score("    resources: {limits: {cpu: 1, memory: 1Gi}}\n"), -997);
    assert_eq!(score("    resources: {requests: {memory: 2Gi}}\n"), 750);
    assert_eq!(score("    resources: {requests: {memory: 1Mi}}\n"), 999);
}

#[test]
fn a_pod_with_users_of_its_own_has_them_in_every_mount_and_joins_their_namespace() {
    let range = IdRange { first: 0x7000_0000, count: 65_536 };
    let spec = built_for(
        &pod(
            "  hostUsers: false\n  volumes: [{name: data, emptyDir: {}}]\n",
            "    volumeMounts: [{name: data, mountPath: /data}]\n",
        ),
        Some(range),
    )
    .spec;
    let linux = spec.linux().as_ref().unwrap();
    let types: Vec<_> = linux.namespaces().iter().flatten().map(|namespace| namespace.typ()).collect();
    assert!(types.contains(&LinuxNamespaceType::User));
    let mapping = &linux.uid_mappings().as_ref().unwrap()[0];
    assert_eq!((mapping.container_id(), mapping.host_id(), mapping.size()), (0, 0x7000_0000, 65_536));
    for target in ["/data", "/etc/hosts", "/etc/resolv.conf", "/dev/shm", "/dev/termination-log"] {
        let bound = mount(&spec, target).unwrap();
        assert_eq!(bound.uid_mappings(), linux.uid_mappings(), "{target}");
        assert_eq!(bound.gid_mappings(), linux.gid_mappings(), "{target}");
    }
    assert!(mount(&spec, "/proc").unwrap().uid_mappings().is_none(), "it is the Pod's own");
}

#[test]
fn a_pod_with_the_machines_users_has_no_mappings() {
    let spec = spec("", "");
    assert!(spec.linux().as_ref().unwrap().uid_mappings().is_none());
    assert!(mount(&spec, "/etc/hosts").unwrap().uid_mappings().is_none());
}
