//! The OCI spec of one incarnation: gathers what [`crate::spec::build`] (pure) is made from, and nothing else.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use image::Image;
use lifecycle::{Failure, Reason};
use model::expand::expand;
use model::pod::{Container, Pod, SeccompProfile, SubPath};
use oci_spec::image::Config;

use super::{chain, failed, stuck};
use crate::env::{self, EnvError};
use crate::identity;
use crate::pod::PodContext;
use crate::spec::{self, ContainerSpec, SeccompChoice, SharedFiles, VolumePath};

/// Makes the spec of one incarnation, and the files that it names.
pub(super) fn make(
    context: &PodContext,
    pod: &Pod,
    container: &Container,
    attempt: u32,
    image: &Image,
) -> Result<ContainerSpec, Failure> {
    let name = container.name.as_str();
    let settings = image.config.config().clone().unwrap_or_default();
    let variables = variables(context, pod, container)?;
    let identity::Resolved { identity, home } =
        identity::resolve(pod, container, image).map_err(|error| config_error(chain(&error)))?;
    let hostname = crate::names::of(pod).map_err(|error| config_error(error.to_string()))?.kernel;
    let given = env::Given { hostname: &hostname, home: &home, tty: container.tty };
    let privileged = container.security_context.privileged;
    spec::build(&spec::Input {
        pod,
        container,
        args: command_line(container, &settings, &variables)?,
        env: env::with_image(&words(settings.env()), &variables, &given),
        cwd: spec::working_directory(container.working_dir.as_deref(), settings.working_dir().as_deref()),
        identity,
        volumes: &volume_paths(context, pod),
        sub_paths: sub_paths(container, &variables),
        files: &shared_files(context, pod),
        termination_log: create_termination_log(context, name, attempt)?,
        staging_dir: context.directories.staging(name, attempt),
        pod_cgroup: &context.cgroup,
        node_memory_bytes: context.node.memory_bytes(),
        seccomp: seccomp(context, pod, container)?,
        users: context.prepared().users,
        host_devices: &if privileged { crate::host_devices::list() } else { Vec::new() },
    })
    .map_err(|error| config_error(chain(&error)))
}

/// What only a change of the manifest, the image or an object mends.
fn config_error(message: String) -> Failure {
    stuck(Reason::CreateContainerConfigError, message)
}

fn words(list: &Option<Vec<String>>) -> Vec<String> {
    list.clone().unwrap_or_default()
}

fn command_line(
    container: &Container,
    settings: &Config,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<String>, Failure> {
    let line = env::command_line(container, &words(settings.entrypoint()), &words(settings.cmd()), variables);
    line.ok_or_else(|| {
        config_error(format!(
            "container {} has nothing to run: image {} has neither ENTRYPOINT nor CMD; set `command`",
            container.name, container.image
        ))
    })
}

fn shared_files(context: &PodContext, pod: &Pod) -> SharedFiles {
    let etc = context.directories.etc();
    SharedFiles {
        hosts: etc.join("hosts"),
        hostname: etc.join("hostname"),
        resolv_conf: etc.join("resolv.conf"),
        shm: if pod.spec.host_ipc { "/dev/shm".into() } else { context.directories.run.join("shm") },
    }
}

fn variables(
    context: &PodContext,
    pod: &Pod,
    container: &Container,
) -> Result<BTreeMap<String, String>, Failure> {
    let downward = context.downward();
    let objects = |kind, name: &str| context.node.control_plane.object(kind, &pod.meta.namespace, name);
    env::resolve(pod, container, &downward, &objects).map_err(|error| {
        let may_come = matches!(error, EnvError::ObjectMissing { .. } | EnvError::KeyMissing { .. })
            && context.node.control_plane.objects_may_appear();
        let failure = if may_come { failed } else { stuck };
        failure(Reason::CreateContainerConfigError, error.to_string())
    })
}

fn volume_paths(context: &PodContext, pod: &Pod) -> BTreeMap<String, VolumePath> {
    let prepared = context.prepared();
    let of = |volume: &model::pod::Volume| {
        let path = prepared.volumes.get(&volume.name)?.path().to_owned();
        Some((volume.name.clone(), VolumePath { path, read_only: volume.source.is_written() }))
    };
    pod.spec.volumes.iter().filter_map(of).collect()
}

fn sub_paths(container: &Container, variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let of = |mount: &model::pod::VolumeMount| {
        let path = match mount.sub_path.as_ref()? {
            SubPath::Literal(path) => path.clone(),
            SubPath::Expression(text) => expand(text, |name| variables.get(name).cloned()),
        };
        (!path.is_empty()).then(|| (mount.mount_path.clone(), path))
    };
    container.volume_mounts.iter().filter_map(of).collect()
}

/// The container's own profile, else the Pod's, else RuntimeDefault: stricter than the kubelet, which leaves
/// a Pod that says nothing unconfined.
fn seccomp(context: &PodContext, pod: &Pod, container: &Container) -> Result<SeccompChoice, Failure> {
    if container.security_context.privileged {
        return Ok(SeccompChoice::Unconfined);
    }
    let pod_profile = pod.spec.security_context.seccomp_profile.as_ref();
    match container.security_context.seccomp_profile.as_ref().or(pod_profile) {
        None | Some(SeccompProfile::RuntimeDefault) => Ok(SeccompChoice::RuntimeDefault),
        Some(SeccompProfile::Unconfined) => Ok(SeccompChoice::Unconfined),
        Some(SeccompProfile::Localhost(name)) => {
            let path = context.node.config.seccomp_dir.join(name);
            let read = std::fs::read(&path).map_err(|error| error.to_string());
            let parsed =
                read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
            parsed.map(|profile| SeccompChoice::Localhost(Box::new(profile))).map_err(|error| {
                let message = format!("cannot use the seccomp profile {}: {error}", path.display());
                stuck(Reason::CreateContainerConfigError, message)
            })
        }
    }
}

/// The file behind `terminationMessagePath`: written by whoever the container runs as, read by podling, so
/// world-writable as the kubelet has it.
fn create_termination_log(context: &PodContext, container: &str, attempt: u32) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let path = context.directories.termination_log(container, attempt);
    let create = || -> std::io::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o666).open(&path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o666))
    };
    match create() {
        Ok(()) => Ok(path),
        Err(error) => {
            Err(failed(Reason::CreateContainerError, format!("cannot make {}: {error}", path.display())))
        }
    }
}
