//! OCI mounts and their options (OCI runtime spec, config.md, "Linux mount options").

use std::path::PathBuf;

use linux::mount;
use oci_spec::runtime::Mount as OciMount;
use shim::plan::{Mount, MountSource};

/// Options that stand for attributes of the mount: what they set and what they clear.
const ATTRIBUTES: [(&str, u64, u64); 20] = [
    ("defaults", 0, 0),
    ("ro", mount::READ_ONLY, 0),
    ("rw", 0, mount::READ_ONLY),
    ("nosuid", mount::NO_SUID, 0),
    ("suid", 0, mount::NO_SUID),
    ("nodev", mount::NO_DEV, 0),
    ("dev", 0, mount::NO_DEV),
    ("noexec", mount::NO_EXEC, 0),
    ("exec", 0, mount::NO_EXEC),
    ("nodiratime", mount::NO_DIRECTORY_ACCESS_TIME, 0),
    ("diratime", 0, mount::NO_DIRECTORY_ACCESS_TIME),
    ("relatime", mount::RELATIVE_ACCESS_TIME, mount::ACCESS_TIME_MASK),
    ("norelatime", 0, mount::ACCESS_TIME_MASK),
    ("noatime", mount::NO_ACCESS_TIME, mount::ACCESS_TIME_MASK),
    ("atime", 0, mount::ACCESS_TIME_MASK),
    ("strictatime", mount::STRICT_ACCESS_TIME, mount::ACCESS_TIME_MASK),
    ("nostrictatime", 0, mount::ACCESS_TIME_MASK),
    ("nosymfollow", mount::NO_SYMLINK_FOLLOW, 0),
    ("symfollow", 0, mount::NO_SYMLINK_FOLLOW),
    ("loud", 0, 0),
];

/// Options that hold for everything below, too.
const RECURSIVE_ATTRIBUTES: [(&str, u64); 6] = [
    ("rro", mount::READ_ONLY),
    ("rnosuid", mount::NO_SUID),
    ("rnodev", mount::NO_DEV),
    ("rnoexec", mount::NO_EXEC),
    ("rnodiratime", mount::NO_DIRECTORY_ACCESS_TIME),
    ("rnosymfollow", mount::NO_SYMLINK_FOLLOW),
];

/// Options that are understood and refused.
const REFUSED: [&str; 5] = ["remount", "idmap", "ridmap", "tmpcopyup", "mand"];

/// Whether a mount binds something that exists.
pub(super) fn is_bind(mount: &OciMount) -> bool {
    mount.typ().as_deref() == Some("bind")
        || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind")
}

/// The flag of a kind of propagation, and whether it holds for everything below.
pub(super) fn propagation(name: &str) -> Option<(u64, bool)> {
    let (name, recursive) = match name.strip_prefix('r') {
        Some(rest) => (rest, true),
        None => (name, false),
    };
    let flag = match name {
        "private" => mount::PRIVATE,
        "slave" => mount::SLAVE,
        "shared" => mount::SHARED,
        "unbindable" => mount::UNBINDABLE,
        _ => return None,
    };
    Some((flag, recursive))
}

/// Plans one mount.
pub(super) fn plan(oci: &OciMount) -> Result<Mount, String> {
    let target = oci.destination().clone();
    let bind = is_bind(oci);
    let mut mount = Mount {
        target: target.clone(),
        source: MountSource::Cgroup,
        set: 0,
        clear: 0,
        set_recursive: 0,
        // What a bind brings along from the host must not keep in touch with the host.
        propagation: if bind { mount::PRIVATE } else { 0 },
        propagation_recursive: true,
    };
    let (mut recursive, mut parameters) = (false, Vec::new());
    for option in oci.options().iter().flatten() {
        if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|(name, ..)| name == option) {
            mount.set = mount.set & !clear | set;
            mount.clear = mount.clear & !set | clear;
        } else if let Some((_, set)) = RECURSIVE_ATTRIBUTES.iter().find(|(name, _)| name == option) {
            mount.set_recursive |= set;
        } else if let Some((flag, everywhere)) = propagation(option) {
            (mount.propagation, mount.propagation_recursive) = (flag, everywhere);
        } else if option == "rbind" {
            recursive = true;
        } else if REFUSED.contains(&option.as_str()) {
            return Err(format!("mount option {option:?} of {}, which is not supported", target.display()));
        } else if option != "bind" {
            parameters.push(parameter(option));
        }
    }
    mount.source = source(oci, bind, recursive, parameters)?;
    if maps_owners(oci) {
        mount.source = match mount.source {
            MountSource::Bind { path, recursive } => MountSource::MappedBind { path, recursive },
            _ => return Err(format!("uidMappings of {}, which is no bind mount", target.display())),
        };
    }
    if mount.source == MountSource::Cgroup && mount.propagation == 0 {
        // They are binds of the host's.
        mount.propagation = mount::PRIVATE;
    }
    Ok(mount)
}

/// Whether the owners of what is mounted are mapped.
pub(super) fn maps_owners(mount: &OciMount) -> bool {
    [mount.uid_mappings(), mount.gid_mappings()]
        .into_iter()
        .any(|mappings| mappings.as_ref().is_some_and(|mappings| !mappings.is_empty()))
}

fn source(
    oci: &OciMount,
    bind: bool,
    recursive: bool,
    parameters: Vec<(String, Option<String>)>,
) -> Result<MountSource, String> {
    let shown = oci.destination().display();
    if bind {
        let path = oci.source().clone().unwrap_or_default();
        if !path.is_absolute() {
            return Err(format!("the bind mount at {shown} of {path:?}, which is not an absolute path"));
        }
        if let Some((name, _)) = parameters.first() {
            return Err(format!("mount option {name:?} of the bind mount at {shown}"));
        }
        return Ok(MountSource::Bind { path, recursive });
    }
    match oci.typ().as_deref() {
        Some("cgroup" | "cgroup2") => Ok(MountSource::Cgroup),
        Some(kind) if !kind.is_empty() => Ok(MountSource::Filesystem {
            kind: kind.to_owned(),
            source: oci.source().clone().unwrap_or_else(|| PathBuf::from(kind)).display().to_string(),
            parameters,
        }),
        _ => Err(format!("the mount at {shown}, which has no type")),
    }
}

fn parameter(option: &str) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (option.to_owned(), None),
    }
}
