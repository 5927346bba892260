//! A volume becomes a host path: one file per kind.
//!
//! | kind | where | file |
//! |---|---|---|
//! | emptyDir | `<data>/volumes/kubernetes.io~empty-dir/NAME`, or a tmpfs that the Pod's shim mounts | `empty_dir` |
//! | configMap | `<data>/volumes/kubernetes.io~configmap/NAME` | `keyed`, `written`, `atomic` |
//! | secret | `<run>/volumes/kubernetes.io~secret/NAME` | `keyed`, `written`, `atomic` |
//! | downwardAPI | `<run>/volumes/kubernetes.io~downward-api/NAME` | `written`, `atomic` |
//! | projected | `<run>/volumes/kubernetes.io~projected/NAME` | `written`, `atomic` |
//! | hostPath | where the manifest says | `host_path` |
//!
//! The layout is the kubelet's. `<data>` and `<run>` are the Pod's own directories; `volumes` in each of them
//! has mode 0700, so that what is world-readable or world-writable in a container is not so on the host.
//!
//! Nothing here mounts anything, knows when a volume is needed, or follows a path that a container controls.

mod atomic;
mod empty_dir;
mod host_path;
mod keyed;
mod tree;
mod written;

use std::path::{Path, PathBuf};

use model::pod::{
    Container, DownwardValue, KeyedObject, Medium, ObjectKind, PodSpec, TokenProjection, Volume, VolumeSource,
};
use serde::{Deserialize, Serialize};

pub use host_path::HostPathError;

/// What a volume needs to know about its Pod.
pub struct Context<'a> {
    /// The Pod's directory on disk, `<data-dir>/pods/UID`.
    pub data_dir: &'a Path,
    /// The Pod's directory that a reboot clears, `<run-dir>/pods/UID`. Secrets are only ever written here;
    /// /run is a tmpfs on every common system, so they do not reach a disk.
    pub run_dir: &'a Path,
    /// The Pod's `fsGroup`. Every kind that it applies to today is made anew for the Pod, so there is no
    /// question of which existing files to change (`fsGroupChangePolicy`).
    pub fs_group: Option<u32>,
    /// The user that all containers run as ([`sole_user`]): tokens are its, and nobody else's to read.
    pub user: Option<u32>,
    /// Looks up a ConfigMap or Secret of the Pod's namespace by name.
    pub objects: &'a dyn Fn(ObjectKind, &str) -> Option<KeyedObject>,
    /// Tells what the Pod is told about itself.
    pub downward: &'a dyn Fn(&DownwardValue) -> Result<String, BoxError>,
    /// Gives a token that was fetched before.
    pub tokens: &'a dyn Fn(&TokenProjection) -> Option<String>,
}

/// Why somebody else's answer is missing.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A volume that containers can be given. Serialisable, for a daemon that starts again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prepared {
    /// A directory of the Pod's.
    Directory {
        /// Where.
        path: PathBuf,
    },
    /// A tmpfs that the Pod's shim mounts on `path` in its own mount namespace.
    Tmpfs {
        /// The mount point, an empty directory.
        path: PathBuf,
        /// tmpfs' `size=`; its own default (half of the memory) when absent.
        size_limit_bytes: Option<u64>,
        /// tmpfs' `mode=`.
        mode: u32,
        /// tmpfs' `gid=`.
        gid: Option<u32>,
    },
    /// A path of the host, not the Pod's: never removed.
    HostPath {
        /// Where.
        path: PathBuf,
        /// Whether it is anything but a directory, and so is mounted on a file.
        is_file: bool,
    },
}

impl Prepared {
    /// The path on the host.
    pub fn path(&self) -> &Path {
        match self {
            Prepared::Directory { path } | Prepared::Tmpfs { path, .. } | Prepared::HostPath { path, .. } => {
                path
            }
        }
    }
}

/// Why a volume cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The ConfigMap or Secret does not exist (yet).
    #[error("{kind} \"{name}\" not found")]
    ObjectMissing {
        /// ConfigMap or Secret.
        kind: ObjectKind,
        /// Its name.
        name: String,
    },
    /// The ConfigMap or Secret lacks a key that `items` names.
    #[error("{kind} \"{name}\" has no key \"{key}\", which volume \"{volume}\" wants as a file")]
    KeyMissing {
        /// ConfigMap or Secret.
        kind: ObjectKind,
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// The volume.
        volume: String,
    },
    /// A key or an `items` path that would lead out of the volume, or two that collide.
    #[error("volume \"{volume}\" cannot hold a file at {path:?}: {why}")]
    BadPath {
        /// The volume.
        volume: String,
        /// The path as given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What the Pod wants to be told about itself cannot be told.
    #[error("volume \"{volume}\" cannot hold the file {path:?}")]
    Downward {
        /// The volume.
        volume: String,
        /// The path as given.
        path: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The token was not fetched.
    #[error("volume \"{volume}\" has no ServiceAccount token for {path:?}")]
    TokenMissing {
        /// The volume.
        volume: String,
        /// The path as given.
        path: String,
    },
    /// What a hostPath asks for is not there.
    #[error("volume \"{volume}\" cannot use the host's {path}")]
    HostPath {
        /// The volume.
        volume: String,
        /// The path on the host.
        path: PathBuf,
        /// Why.
        #[source]
        source: HostPathError,
    },
    /// A kind that podling does not have yet.
    #[error("volume \"{volume}\" is a {kind}, which podling cannot provide yet")]
    Unsupported {
        /// The volume.
        volume: String,
        /// The field's name, such as `persistentVolumeClaim`.
        kind: String,
    },
    /// The filesystem refused.
    #[error("cannot {attempt} {path}")]
    Io {
        /// What was attempted, such as `write`.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl VolumeError {
    /// The ConfigMap or Secret whose arrival or change would help, if one would.
    pub fn waits_for(&self) -> Option<(ObjectKind, &str)> {
        match self {
            VolumeError::ObjectMissing { kind, name } | VolumeError::KeyMissing { kind, name, .. } => {
                Some((*kind, name))
            }
            _ => None,
        }
    }

    /// Makes `map_err` arguments short.
    pub(crate) fn io(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> VolumeError {
        move |source| VolumeError::Io { attempt, path: path.to_owned(), source }
    }
}

/// The volumes that some container mounts, of whatever role. The others are not prepared, so that a volume mounted
/// nowhere is no error, whatever it names (the kubelet does the same); one in memory is, because it can be mounted with
/// the sandbox only, and an ephemeral container may come that mounts it.
pub fn needed(spec: &PodSpec) -> impl Iterator<Item = &Volume> {
    let mounts = |container: &Container, volume: &Volume| {
        container.volume_mounts.iter().any(|mount| mount.name == volume.name)
    };
    spec.volumes.iter().filter(move |volume| {
        matches!(volume.source, VolumeSource::EmptyDir { medium: Medium::Memory, .. })
            || spec.all_containers().any(|container| mounts(container, volume))
            || spec.ephemeral_containers.iter().any(|ephemeral| mounts(&ephemeral.container, volume))
    })
}

/// What of a volume cannot be kept on this machine although the volume works: a sentence for the user.
pub fn limitation(volume: &Volume) -> Option<String> {
    match &volume.source {
        VolumeSource::EmptyDir { medium: Medium::Disk, size_limit: Some(limit) } => Some(format!(
            "volume \"{}\" is on disk, where podling does not enforce its sizeLimit of {limit} yet; \
             `medium: Memory` enforces it",
            volume.name
        )),
        _ => None,
    }
}

/// Makes the volume ready for containers. Idempotent: what is there already keeps its content, except that
/// the files of a ConfigMap or Secret become those of the present.
pub fn prepare(volume: &Volume, context: &Context<'_>) -> Result<Prepared, VolumeError> {
    match &volume.source {
        VolumeSource::EmptyDir { medium, size_limit } => {
            empty_dir::prepare(&volume.name, *medium, size_limit.as_ref(), context)
        }
        VolumeSource::Object { .. } | VolumeSource::DownwardApi { .. } | VolumeSource::Projected { .. } => {
            written::write(volume, context).map(|(path, _)| Prepared::Directory { path })
        }
        VolumeSource::HostPath { path, kind } => host_path::prepare(Path::new(path), *kind)
            .map(|is_file| Prepared::HostPath { path: path.into(), is_file })
            .map_err(|source| VolumeError::HostPath {
                volume: volume.name.clone(),
                path: path.into(),
                source,
            }),
        VolumeSource::Unsupported { kind } => {
            Err(VolumeError::Unsupported { volume: volume.name.clone(), kind: kind.clone() })
        }
    }
}

/// Brings the files of a volume that podling writes up to date, all in one instant for whoever reads them.
/// Returns whether anything changed; other kinds never do.
pub fn refresh(volume: &Volume, context: &Context<'_>) -> Result<bool, VolumeError> {
    if !volume.source.is_written() {
        return Ok(false);
    }
    written::write(volume, context).map(|(_, changed)| changed)
}

/// The user that all containers of the Pod run as, when the manifest says so of each and says the same. Ephemeral
/// containers do not count, as in the kubelet.
pub fn sole_user(spec: &PodSpec) -> Option<u32> {
    let of_pod = spec.security_context.run_as_user;
    let mut users = spec.all_containers().map(|container| container.security_context.run_as_user.or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}

/// Removes all volumes of a Pod, given its two directories. Goes on after an error and returns all of them.
/// Must run after every mount of the Pod is gone; what a hostPath names is not touched.
pub fn remove(data_dir: &Path, run_dir: &Path) -> Vec<VolumeError> {
    [data_dir, run_dir].into_iter().filter_map(|of| tree::remove(&of.join("volumes")).err()).collect()
}

/// `<base>/volumes/kubernetes.io~PLUGIN/NAME`, with `volumes` made for root's eyes only.
fn ensure_directory(base: &Path, plugin: &str, name: &str) -> Result<PathBuf, VolumeError> {
    let volumes = base.join("volumes");
    let of_plugin = volumes.join(format!("kubernetes.io~{plugin}"));
    std::fs::create_dir_all(&of_plugin).map_err(VolumeError::io("make the directory", &of_plugin))?;
    tree::set_mode(&volumes, 0o700)?;
    Ok(of_plugin.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_the_only_one_when_every_container_says_so() {
        let user = |text: &str| {
            let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  {text}\n");
            sole_user(&model::manifest::parse("pod.yaml", text.as_bytes()).unwrap().pods[0].spec)
        };
        let five = "securityContext: {runAsUser: 5}";
        assert_eq!(user(&format!("containers: [{{name: a, image: a, {five}}}]")), Some(5));
        assert_eq!(
            user(&format!("{five}\n  containers: [{{name: a, image: a}}, {{name: b, image: b}}]")),
            Some(5)
        );
        let mixed = format!("containers: [{{name: a, image: a, {five}}}, {{name: b, image: b}}]");
        assert_eq!(user(&mixed), None, "the image's user of the other is not known");
        let other = mixed.replace("image: b", "image: b, securityContext: {runAsUser: 6}");
        assert_eq!(user(&other), None);
    }

    #[test]
    fn a_limit_on_disk_is_not_kept_and_one_in_memory_is() {
        let volume = |medium, limit: Option<&str>| Volume {
            name: "cache".into(),
            source: VolumeSource::EmptyDir { medium, size_limit: limit.map(|text| text.parse().unwrap()) },
        };
        let sentence = limitation(&volume(Medium::Disk, Some("1Gi"))).unwrap();
        assert!(sentence.contains("\"cache\"") && sentence.contains("1Gi"), "{sentence}");
        assert_eq!(limitation(&volume(Medium::Disk, None)), None);
        assert_eq!(limitation(&volume(Medium::Memory, Some("1Gi"))), None);
    }
}
