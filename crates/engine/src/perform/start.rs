//! Start: one incarnation of a container, from its image, environment, identity and volumes.

use std::sync::Arc;

use container::{ContainerRequest, Key, LogConfig, Rootfs, RuntimeHandler, StartErrorKind, Step};
use image::Image;
use lifecycle::{Failure, Instance, InstanceState, Reason, User};
use model::pod::{Container, Pod};

use super::{Performed, chain, container_spec, earlier, failed, performed, stuck};
use crate::clock;
use crate::control_plane::ReportKind;
use crate::pod::{Change, ContainerRecord, PodContext, key};

/// The kubelet's log rotation: 10 MiB, 5 files.
const LOG_MAX_BYTES: u64 = 10 * 1024 * 1024;
const LOG_MAX_FILES: u32 = 5;

pub(super) async fn start(context: &Arc<PodContext>, name: &str, attempt: u32) -> Performed {
    match start_container(context, name, attempt).await {
        Ok(change) => performed(change),
        Err(failure) => {
            context.incarnations.ended(name, attempt, None);
            (Err(failure), Change::Nothing)
        }
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
    super::volumes::prepare_missing(context, &pod, container).await?;
    let request = request(context, &pod, container, attempt, &image)?;
    let container_id = container_id(&pod, name, attempt);
    earlier::forget(context, name, attempt).await;
    let stop_signal = stop_signal(container, &image);
    let user = user(&request);
    remember(context, name, attempt, &request, user.as_ref(), stop_signal)?;
    context.report(ReportKind::Log {
        container: name.to_owned(),
        attempt,
        path: context.directories.log(name, attempt),
    });
    let shim = context.shim().await.map_err(|error| failed(Reason::CreateContainerError, chain(&error)))?;
    hold(context, &image).await?;
    let started = shim.start_container(request).await.map_err(|error| start_failure(name, &error))?;
    let started_wall_nanos = i64::try_from(started.started_at.0).unwrap_or(i64::MAX);
    context.incarnations.started(name, attempt, started.pid, started_wall_nanos);
    for message in started.warnings {
        let reason = "Degraded";
        let container = Some(name.to_owned());
        context.report_event(lifecycle::Event { warning: true, reason, message, container });
    }
    context.report_step(format!("start {name}/{attempt}"), begun);
    crate::diagnose::after_start(context, name, attempt);
    let started_at = clock::at_wall(started_wall_nanos);
    let instance = Instance {
        attempt,
        container_id,
        user,
        stop_signal: Some(crate::signals::name(stop_signal)),
        state: InstanceState::Running { started_at },
    };
    Ok(Change::Started { container: name.to_owned(), instance })
}

/// Everything that the shim is told of the container.
fn request(
    context: &PodContext,
    pod: &Pod,
    container: &Container,
    attempt: u32,
    image: &Image,
) -> Result<ContainerRequest, Failure> {
    let name = container.name.as_str();
    let built = container_spec::make(context, pod, container, attempt, image)?;
    let layer = context.directories.layer(name, attempt);
    let mut lower = image.layers.clone();
    lower.push(context.node.images.base());
    Ok(ContainerRequest {
        key: key(name, attempt),
        spec: built.spec,
        rootfs: Rootfs { lower, upper: layer.join("upper"), work: layer.join("work") },
        staged: built.staged,
        log: LogConfig {
            path: context.directories.log(name, attempt),
            max_bytes: LOG_MAX_BYTES,
            max_files: LOG_MAX_FILES,
        },
        stdin: container.stdin,
        tty: container.tty,
        runtime: match &context.node.config.oci_runtime {
            Some(path) => RuntimeHandler::External(path.clone()),
            None => RuntimeHandler::Podling,
        },
        target_pid_namespace_of: target(context, pod, name)?,
    })
}

/// Whom its first process runs as.
fn user(request: &ContainerRequest) -> Option<User> {
    let user = request.spec.process().as_ref()?.user();
    Some(User {
        uid: user.uid(),
        gid: user.gid(),
        supplemental_groups: user.additional_gids().clone().unwrap_or_default(),
    })
}

/// The container whose PID namespace an ephemeral one joins: its running incarnation.
fn target(context: &PodContext, pod: &Pod, name: &str) -> Result<Option<Key>, Failure> {
    let ephemeral = pod.spec.ephemeral_containers.iter().find(|ephemeral| ephemeral.container.name == name);
    let Some(target) = ephemeral.and_then(|ephemeral| ephemeral.target.as_deref()) else { return Ok(None) };
    let newest = context.incarnations.get(target).map(|incarnation| incarnation.attempt);
    let running = newest.filter(|attempt| context.is_running(target, *attempt));
    running.map(|attempt| Some(key(target, attempt))).ok_or_else(|| {
        let message = format!("unable to find target container {target:?}: it does not run");
        failed(Reason::CreateContainerError, message)
    })
}

/// `lifecycle.stopSignal`, else the image's STOPSIGNAL, else TERM.
fn stop_signal(container: &Container, image: &Image) -> i32 {
    let of_image = || image.config.config().as_ref().and_then(|config| config.stop_signal().clone());
    let named = container.stop_signal.clone().or_else(of_image);
    named
        .and_then(|name| crate::signals::parse(&name))
        .unwrap_or_else(|| rustix::process::Signal::TERM.as_raw())
}

/// 64 hex digits as container engines give them; from UID, name and attempt, so that the same incarnation has
/// the same ID whoever asks.
pub(crate) fn container_id(pod: &Pod, name: &str, attempt: u32) -> String {
    let incarnation = format!("{}/{name}/{attempt}", pod.meta.uid);
    format!("podling://{}", image::Digest::of(incarnation.as_bytes()).hex())
}

/// Keeps what later actions on this incarnation need.
fn remember(
    context: &PodContext,
    name: &str,
    attempt: u32,
    request: &ContainerRequest,
    user: Option<&User>,
    stop_signal: i32,
) -> Result<(), Failure> {
    let process = request.spec.process().clone();
    let record = ContainerRecord { process, user: user.cloned(), stop_signal };
    context.directories.save_container(name, attempt, &record).map_err(|error| {
        failed(Reason::CreateContainerError, format!("cannot write down container {name}: {error}"))
    })?;
    context.incarnations.begin(name, attempt);
    let mut prepared = context.prepared();
    prepared.stop_signals.insert(name.to_owned(), stop_signal);
    if let Some(process) = record.process {
        prepared.processes.insert(name.to_owned(), process);
    }
    Ok(())
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

/// What the kernel refuses once there is a process uses the incarnation up (code 128): that is where the kubelet has a
/// container already and asks for its start. A container that could not be made is tried again.
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
        StartErrorKind::Mount | StartErrorKind::Setup if start.step != Step::Stage => {
            failed(Reason::RunContainerError, message)
        }
        StartErrorKind::Mount
        | StartErrorKind::Setup
        | StartErrorKind::NoSuchContainer
        | StartErrorKind::Conflict => failed(Reason::CreateContainerError, message),
    }
}
