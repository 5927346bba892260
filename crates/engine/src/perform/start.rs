//! Start: one incarnation of a container, from its image, environment, identity and volumes.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use container::{ContainerRequest, LogConfig, Rootfs, RuntimeHandler, StartErrorKind};
use image::Image;
use lifecycle::{Failure, Reason};
use model::expand::expand;
use model::pod::{Container, Pod, SeccompProfile, SubPath};

use super::{Performed, chain, earlier, failed, performed, stuck};
use crate::control_plane::ReportKind;
use crate::env::{self, DownwardApi, EnvError};
use crate::pod::{Change, PodContext, key};
use crate::spec::{self, SeccompChoice, SharedFiles, VolumePath};
use crate::{clock, identity};

/// The kubelet's log rotation: 10 MiB, 5 files.
const LOG_MAX_BYTES: u64 = 10 * 1024 * 1024;
const LOG_MAX_FILES: u32 = 5;

pub(super) async fn start(context: &Arc<PodContext>, name: &str, attempt: u32) -> Performed {
    match start_container(context, name, attempt).await {
        Ok(change) => performed(change),
        Err(failure) => (Err(failure), Change::Nothing),
    }
}

async fn start_container(context: &Arc<PodContext>, name: &str, attempt: u32) -> Result<Change, Failure> {
    let begun = clock::now().boot_nanos;
    let pod = context.pod();
    let Some(container) = pod.spec.container(name) else {
        return Err(stuck(Reason::CreateContainerError, format!("the Pod has no container {name}")));
    };
    let image = context.prepared().images.get(name).cloned();
    let Some(image) = image else {
        return Err(failed(Reason::CreateContainerError, format!("the image of {name} is not here yet")));
    };
    let request = request(context, &pod, container, attempt, &image)?;
    let container_id = container_id(&pod, name, attempt);
    earlier::forget(context, name, attempt).await;
    remember(context, name, attempt, &request, stop_signal(container, &image));
    context.report(ReportKind::Log {
        container: name.to_owned(),
        attempt,
        path: context.directories.log(name, attempt),
    });
    let shim = context.shim().await.map_err(|error| failed(Reason::CreateContainerError, chain(&error)))?;
    hold(context, &image).await?;
    let started = shim.start_container(request).await.map_err(|error| start_failure(name, &error))?;
    context.prepared().pids.insert(name.to_owned(), started.pid);
    for message in started.warnings {
        let reason = "Degraded";
        let container = Some(name.to_owned());
        context.report_event(lifecycle::Event { warning: true, reason, message, container });
    }
    context.report_step(format!("start {name}/{attempt}"), begun);
    crate::diagnose::after_start(context, name, attempt);
    let started_at = clock::at_wall(i64::try_from(started.started_at.0).unwrap_or(i64::MAX));
    Ok(Change::Started { container: name.to_owned(), attempt, container_id, started_at })
}

/// Everything that the shim is told of the container.
fn request(
    context: &PodContext,
    pod: &Pod,
    container: &Container,
    attempt: u32,
    image: &Image,
) -> Result<ContainerRequest, Failure> {
    let config_error = |message: String| stuck(Reason::CreateContainerConfigError, message);
    let name = container.name.as_str();
    let settings = image.config.config().clone().unwrap_or_default();
    let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let variables = variables(context, pod, container)?;
    let args = env::command_line(
        container,
        &words(settings.entrypoint()),
        &words(settings.cmd()),
        &variables,
    )
    .ok_or_else(|| {
        config_error(format!(
            "container {name} has nothing to run: image {} has neither ENTRYPOINT nor CMD; set `command`",
            container.image
        ))
    })?;
    let identity::Resolved { identity, home } =
        identity::resolve(pod, container, image).map_err(|error| config_error(chain(&error)))?;
    let privileged = container.security_context.privileged;
    let host_devices = if privileged { crate::host_devices::list() } else { Vec::new() };
    let directories = &context.directories;
    let termination_log = directories.termination_log(name, attempt);
    create_termination_log(&termination_log).map_err(|error| {
        failed(Reason::CreateContainerError, format!("cannot make {}: {error}", termination_log.display()))
    })?;
    let volumes = volume_paths(context, pod);
    let etc = directories.etc();
    let files = SharedFiles {
        hosts: etc.join("hosts"),
        hostname: etc.join("hostname"),
        resolv_conf: etc.join("resolv.conf"),
        shm: if pod.spec.host_ipc { "/dev/shm".into() } else { directories.run.join("shm") },
    };
    let hostname = crate::names::of(pod).map_err(|error| config_error(error.to_string()))?.kernel;
    let built = spec::build(&spec::Input {
        pod,
        container,
        args,
        env: env::with_image(
            &words(settings.env()),
            &variables,
            &env::Given { hostname: &hostname, home: &home, tty: container.tty },
        ),
        cwd: spec::working_directory(container.working_dir.as_deref(), settings.working_dir().as_deref()),
        identity,
        volumes: &volumes,
        sub_paths: sub_paths(container, &variables),
        files: &files,
        termination_log,
        staging_dir: directories.staging(name, attempt),
        pod_cgroup: &context.cgroup,
        node_memory_bytes: context.node.memory_bytes(),
        seccomp: seccomp(context, pod, container)?,
        host_devices: &host_devices,
    })
    .map_err(|error| config_error(chain(&error)))?;
    let layer = directories.layer(name, attempt);
    Ok(ContainerRequest {
        key: key(name, attempt),
        spec: built.spec,
        rootfs: Rootfs { lower: image.layers.clone(), upper: layer.join("upper"), work: layer.join("work") },
        staged: built.staged,
        log: LogConfig {
            path: directories.log(name, attempt),
            max_bytes: LOG_MAX_BYTES,
            max_files: LOG_MAX_FILES,
        },
        stdin: container.stdin,
        tty: container.tty,
        runtime: match &context.node.config.oci_runtime {
            Some(path) => RuntimeHandler::External(path.clone()),
            None => RuntimeHandler::Podling,
        },
        target_pid_namespace_of: None,
    })
}

fn variables(
    context: &PodContext,
    pod: &Pod,
    container: &Container,
) -> Result<BTreeMap<String, String>, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as i64);
    let downward = DownwardApi {
        pod_ips: context.prepared().pod_ips.clone(),
        host_ip: context.node.network.host_ip(),
        node_name: context.node.config.name.clone(),
        allocatable_cpu_millis: cores * 1000,
        allocatable_memory_bytes: i64::try_from(context.node.memory_bytes()).unwrap_or(i64::MAX),
    };
    let objects = |kind, name: &str| context.node.control_plane.object(kind, &pod.meta.namespace, name);
    env::resolve(pod, container, &downward, &objects).map_err(|error| {
        let may_come = matches!(error, EnvError::ObjectMissing { .. } | EnvError::KeyMissing { .. })
            && context.node.control_plane.objects_may_appear();
        let failure = if may_come { failed } else { stuck };
        failure(Reason::CreateContainerConfigError, error.to_string())
    })
}

fn volume_paths(context: &PodContext, pod: &Pod) -> BTreeMap<String, VolumePath> {
    use model::pod::VolumeSource;
    let prepared = context.prepared();
    let of = |volume: &model::pod::Volume| {
        let path = prepared.volumes.get(&volume.name)?.path().to_owned();
        let read_only = matches!(volume.source, VolumeSource::Object { .. });
        Some((volume.name.clone(), VolumePath { path, read_only }))
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

/// `lifecycle.stopSignal`, else the image's STOPSIGNAL, else TERM.
fn stop_signal(container: &Container, image: &Image) -> i32 {
    let of_image = || image.config.config().as_ref().and_then(|config| config.stop_signal().clone());
    let named = container.stop_signal.clone().or_else(of_image);
    named
        .and_then(|name| crate::signals::parse(&name))
        .unwrap_or_else(|| rustix::process::Signal::TERM.as_raw())
}

/// Written by whoever the container runs as, read by podling: world-writable, as the kubelet has it.
fn create_termination_log(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o666).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o666))
}

/// 64 hex digits as container engines give them; from UID, name and attempt, so that the same incarnation has
/// the same ID whoever asks.
fn container_id(pod: &Pod, name: &str, attempt: u32) -> String {
    let incarnation = format!("{}/{name}/{attempt}", pod.meta.uid);
    format!("podling://{}", image::Digest::of(incarnation.as_bytes()).hex())
}

/// Keeps what later actions on this incarnation need.
fn remember(context: &PodContext, name: &str, attempt: u32, request: &ContainerRequest, stop_signal: i32) {
    let mut prepared = context.prepared();
    prepared.attempts.insert(name.to_owned(), attempt);
    prepared.stop_signals.insert(name.to_owned(), stop_signal);
    if let Some(process) = request.spec.process() {
        prepared.processes.insert(name.to_owned(), process.clone());
    }
}

/// The shim holds the image for as long as it lives, so nobody removes it under the container.
async fn hold(context: &Arc<PodContext>, image: &Image) -> Result<(), Failure> {
    if context.prepared().held.contains(image.id.as_str()) {
        return Ok(());
    }
    let refused = |error: &dyn std::error::Error| failed(Reason::CreateContainerError, chain(error));
    let hold = context.node.images.hold(image).map_err(|error| refused(&error))?;
    let shim = context.shim().await.map_err(|error| refused(&error))?;
    shim.hold(hold.into_fd()).await.map_err(|error| refused(&error))?;
    context.prepared().held.insert(image.id.to_string());
    Ok(())
}

/// A program that cannot be executed uses the incarnation up (StartError, code 128); a container that could
/// not be made is tried again.
fn start_failure(name: &str, error: &container::Error) -> Failure {
    let container::Error::Start(start) = error else {
        return failed(Reason::CreateContainerError, chain(error));
    };
    let message = format!("container {name}: {}", start.message);
    match start.kind {
        StartErrorKind::NotFound
        | StartErrorKind::NotExecutable
        | StartErrorKind::IsDirectory
        | StartErrorKind::BadInterpreter
        | StartErrorKind::WrongArchitecture
        | StartErrorKind::NotAProgram
        | StartErrorKind::TooLarge
        | StartErrorKind::WorkingDirectory => failed(Reason::StartError, message),
        StartErrorKind::Mount
        | StartErrorKind::Setup
        | StartErrorKind::NoSuchContainer
        | StartErrorKind::Conflict => failed(Reason::CreateContainerError, message),
    }
}
