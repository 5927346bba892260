//! What a container sees mounted: the API filesystems of the OCI spec, the Pod's shared files, its volumes.

use std::path::{Path, PathBuf};

use container::StagedBind;
use model::pod::{MountPropagation, VolumeMount};
use oci_spec::runtime::{Mount, MountBuilder};

use super::{Input, SpecError};

/// Where a prepared volume is on the host (or in the shim's mount namespace).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumePath {
    /// Its root.
    pub path: PathBuf,
    /// Written through no mount: configMap and secret volumes are read-only whatever the mount says.
    pub read_only: bool,
}

pub(super) fn plan(input: &Input<'_>) -> Result<(Vec<Mount>, Vec<StagedBind>), SpecError> {
    let mut mounts = api_filesystems(input)?;
    let mut staged = Vec::new();
    let own_paths: Vec<&str> =
        input.container.volume_mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
    let shared = [
        ("/etc/hosts", &input.files.hosts),
        ("/etc/hostname", &input.files.hostname),
        ("/etc/resolv.conf", &input.files.resolv_conf),
    ];
    // A volume that the manifest mounts at one of these paths replaces it, as in Kubernetes.
    for (target, source) in shared {
        if !own_paths.contains(&target) {
            mounts.push(bind(input, target, source, &["rbind", "rprivate", read_write(input)])?);
        }
    }
    for mount in in_order_of_depth(&input.container.volume_mounts) {
        let (oci, stage) = volume(input, mount)?;
        mounts.push(oci);
        staged.extend(stage);
    }
    let message_path = &input.container.termination_message_path;
    if !own_paths.contains(&message_path.as_str()) {
        mounts.push(bind(input, message_path, &input.termination_log, &["rbind", "rprivate", "rw"])?);
    }
    Ok((mounts, staged))
}

/// The shared files can be written by containers, except where the root filesystem is read-only.
fn read_write(input: &Input<'_>) -> &'static str {
    if input.container.security_context.read_only_root_filesystem { "ro" } else { "rw" }
}

/// A mount inside another comes after it, whatever the order in the manifest.
fn in_order_of_depth(mounts: &[VolumeMount]) -> Vec<&VolumeMount> {
    let mut ordered: Vec<&VolumeMount> = mounts.iter().collect();
    ordered.sort_by_key(|mount| Path::new(&mount.mount_path).components().count());
    ordered
}

fn volume(input: &Input<'_>, mount: &VolumeMount) -> Result<(Mount, Option<StagedBind>), SpecError> {
    let Some(volume) = input.volumes.get(&mount.name) else {
        return Err(SpecError::Volume {
            container: input.container.name.clone(),
            volume: mount.name.clone(),
        });
    };
    let propagation = match mount.propagation {
        MountPropagation::None => "rprivate",
        MountPropagation::HostToContainer => "rslave",
        MountPropagation::Bidirectional => "rshared",
    };
    let access = match (mount.read_only || volume.read_only, mount.recursive_read_only) {
        (false, _) => "rw",
        (true, model::pod::RecursiveReadOnly::Disabled) => "ro",
        (true, _) => "rro",
    };
    let options = ["rbind", propagation, access];
    match input.sub_paths.get(&mount.mount_path) {
        None => Ok((bind(input, &mount.mount_path, &volume.path, &options)?, None)),
        Some(sub_path) => {
            let index = input.container.volume_mounts.iter().position(|other| other == mount).unwrap_or(0);
            let target = input.staging_dir.join(index.to_string());
            let stage = StagedBind {
                volume_root: volume.path.clone(),
                sub_path: PathBuf::from(sub_path),
                target: target.clone(),
            };
            Ok((bind(input, &mount.mount_path, &target, &options)?, Some(stage)))
        }
    }
}

/// What the OCI runtime spec calls the Linux default filesystems, as container engines mount them.
fn api_filesystems(input: &Input<'_>) -> Result<Vec<Mount>, SpecError> {
    let privileged = input.container.security_context.privileged;
    let sys_access = if privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        filesystem(input, "/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        filesystem(input, "/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        filesystem(
            input,
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        filesystem(input, "/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
        filesystem(input, "/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys_access])?,
        filesystem(
            input,
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", sys_access],
        )?,
    ];
    mounts.push(bind(input, "/dev/shm", &input.files.shm, &["rbind", "rprivate", "rw"])?);
    Ok(mounts)
}

fn filesystem(
    input: &Input<'_>,
    target: &str,
    kind: &str,
    source: &str,
    options: &[&str],
) -> Result<Mount, SpecError> {
    MountBuilder::default()
        .destination(target)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
        .map_err(|source| SpecError::Oci { container: input.container.name.clone(), source })
}

/// A bind mount. In a Pod with users of its own its files have their owners there as they have them on the disk, as the
/// kubelet asks for with every mount (KEP-127, "Handling of volumes").
fn bind(input: &Input<'_>, target: &str, source: &Path, options: &[&str]) -> Result<Mount, SpecError> {
    let mut mount = MountBuilder::default()
        .destination(target)
        .typ("bind")
        .source(source)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
        .map_err(|source| SpecError::Oci { container: input.container.name.clone(), source })?;
    let mappings = super::mappings(input)?;
    mount.set_uid_mappings(mappings.clone()).set_gid_mappings(mappings);
    Ok(mount)
}
