//! CreateSandbox: pause and its namespaces, the Pod's address, and the files about its name.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use container::{SandboxSpec, TmpfsMount};
use lifecycle::{Event, Failure, Reason};
use linux::user_namespace::IdRange;
use model::pod::{Medium, Pod, VolumeSource};
use volume::Prepared;

use super::{Performed, chain, failed, performed, stuck, volumes};
use crate::clock;
use crate::pod::{Change, PodContext, SandboxRecord, StandingSandbox};
use crate::spec::resources;

/// Size of the Pod's /dev/shm, as container engines have it.
const SHM_SIZE_BYTES: u64 = 64 * 1024 * 1024;

pub(super) async fn create(context: &Arc<PodContext>, attempt: u32) -> Performed {
    match create_and_attach(context, attempt).await {
        Ok(StandingSandbox { pod_ips, host_ips, .. }) => {
            performed(Change::SandboxReady { attempt, pod_ips, host_ips })
        }
        Err(failure) => (Err(failure), Change::SandboxDead { attempt }),
    }
}

async fn create_and_attach(context: &Arc<PodContext>, attempt: u32) -> Result<StandingSandbox, Failure> {
    let pod = context.pod();
    let refused = |error: &dyn std::error::Error| failed(Reason::FailedCreatePodSandBox, chain(error));
    let begun = clock::now().boot_nanos;
    record(context, attempt, None)?;
    let shim = async {
        let shim = context.shim().await.map_err(|error| refused(&error))?;
        context.report_step("shim", begun);
        Ok(shim)
    };
    let (shim, namespaces) = tokio::join!(shim, namespaces(context, &pod));
    let (shim, Namespaces { network: netns, users }) = (shim?, namespaces?);
    context.prepared().netns.clone_from(&netns);
    let users = match users {
        Some(users) => Some(hold(context, &shim, users).await?),
        None => None,
    };
    let spec = sandbox_spec(context, &pod, attempt, netns.clone(), users)?;

    // The network is made in its namespace while pause enters it. Neither is given up half-way because the other failed.
    let begun = clock::now().boot_nanos;
    let pause = async {
        shim.create_sandbox(spec).await.map_err(|error| refused(&error))?;
        context.report_step("namespaces, cgroups and pause", begun);
        Ok(())
    };
    let network = async {
        let standing = attach(context, &pod, netns).await?;
        let name = crate::names::of(&pod).map_err(|error| refused(&error))?;
        crate::names::write(context, &pod, &name, &standing.pod_ips).map_err(|error| refused(&error))?;
        context.report_step("network", begun);
        Ok(standing)
    };
    let (standing, stands) = tokio::join!(network, pause);
    stands?;
    let standing = standing?;
    record(context, attempt, Some(standing.clone()))?;
    context.prepared().pod_ips.clone_from(&standing.pod_ips);
    Ok(standing)
}

/// Writes down how far a sandbox came. One that a daemon left half-made is taken away by its successor.
fn record(context: &PodContext, attempt: u32, standing: Option<StandingSandbox>) -> Result<(), Failure> {
    let saved = context.directories.save_sandbox(&SandboxRecord::new(attempt, standing));
    saved.map_err(|error| {
        failed(Reason::FailedCreatePodSandBox, format!("cannot write down the sandbox: {error}"))
    })
}

/// The namespaces that are made before pause, which then holds them.
#[derive(Default)]
struct Namespaces {
    /// Unless it is the machine's.
    network: Option<Arc<OwnedFd>>,
    /// With hostUsers: false.
    users: Option<NewUsers>,
}

/// A user namespace that nobody is in yet.
struct NewUsers {
    namespace: OwnedFd,
    range: IdRange,
    /// The claim on the range, unless the shim holds it already.
    lock: Option<OwnedFd>,
}

/// Makes the namespaces of the Pod's own.
async fn namespaces(context: &Arc<PodContext>, pod: &Pod) -> Result<Namespaces, Failure> {
    if pod.spec.host_network {
        return Ok(Namespaces::default());
    }
    let failure = |what: &str, error: &dyn std::fmt::Display| {
        failed(Reason::FailedCreatePodSandBox, format!("cannot make {what}: {error}"))
    };
    let (what, has_own_users) = match pod.spec.host_users {
        true => ("a network namespace", false),
        false => ("a user namespace for hostUsers: false (see user.max_user_namespaces of sysctl)", true),
    };
    let context = Arc::clone(context);
    let made = tokio::task::spawn_blocking(move || match has_own_users {
        false => Ok(Namespaces { network: Some(Arc::new(linux::netns::create()?)), users: None }),
        true => {
            let (range, lock) = context.claim_users()?;
            let created = linux::user_namespace::create_with_network(range)?;
            let users = NewUsers { namespace: created.users, range, lock };
            Ok(Namespaces { network: Some(Arc::new(created.network)), users: Some(users) })
        }
    });
    let made: std::io::Result<Namespaces> = made.await.map_err(|error| failure(what, &error))?;
    made.map_err(|error| failure(what, &error))
}

/// The shim holds the claim on the Pod's users for as long as it lives.
async fn hold(
    context: &Arc<PodContext>,
    shim: &container::Shim,
    users: NewUsers,
) -> Result<Arc<OwnedFd>, Failure> {
    let refused = |error: &dyn std::error::Error| failed(Reason::FailedCreatePodSandBox, chain(error));
    if let Some(lock) = users.lock {
        shim.hold(lock).await.map_err(|error| refused(&error))?;
    }
    context.directories.save_users(users.range).map_err(|error| refused(&error))?;
    context.prepared().users = Some(users.range);
    Ok(Arc::new(users.namespace))
}

async fn attach(
    context: &PodContext,
    pod: &Pod,
    netns: Option<Arc<OwnedFd>>,
) -> Result<StandingSandbox, Failure> {
    let host_ips = || vec![context.node.network.host_ip()];
    let Some(netns) = netns else {
        return Ok(StandingSandbox { pod_ips: host_ips(), host_ips: host_ips(), attachment: None });
    };
    let refused = |error: &dyn std::error::Error| failed(Reason::FailedCreatePodSandBox, chain(error));
    let attachment = context.node.network.attach(pod, netns).await.map_err(|error| refused(&error))?;
    for warning in &attachment.warnings {
        let (reason, message) = ("NetworkDegraded", warning.to_string());
        context.report_event(Event { warning: true, reason, message, container: None });
    }
    let pod_ips = attachment.addresses.iter().map(ToString::to_string).collect();
    Ok(StandingSandbox { pod_ips, host_ips: host_ips(), attachment: Some(attachment) })
}

fn sandbox_spec(
    context: &PodContext,
    pod: &Pod,
    attempt: u32,
    netns: Option<Arc<OwnedFd>>,
    users: Option<Arc<OwnedFd>>,
) -> Result<SandboxSpec, Failure> {
    let refused = |error: &dyn std::error::Error| failed(Reason::FailedCreatePodSandBox, chain(error));
    let name =
        crate::names::of(pod).map_err(|error| stuck(Reason::FailedCreatePodSandBox, error.to_string()))?;
    Ok(SandboxSpec {
        key: format!("sandbox/{attempt}"),
        hostname: name.kernel,
        domainname: None,
        share_process_namespace: pod.spec.share_process_namespace,
        netns,
        users,
        host_ipc: pod.spec.host_ipc,
        host_pid: pod.spec.host_pid,
        sysctls: pod.spec.security_context.sysctls.iter().cloned().collect(),
        tmpfs: memory_volumes(context, pod).map_err(|error| refused(&error))?,
        shm_size_bytes: SHM_SIZE_BYTES,
        resources: Some(resources::pod(&pod.spec).map_err(|error| refused(&error))?),
        first_containers: started_first(pod),
    })
}

/// The first init container, or all main ones.
fn started_first(pod: &Pod) -> Vec<String> {
    let first = match pod.spec.init_containers.as_slice() {
        [first, ..] => std::slice::from_ref(first),
        [] => &pod.spec.containers,
    };
    first.iter().map(|container| container.name.clone()).collect()
}

/// emptyDirs with medium Memory are mounted by the shim, before any container could want them.
fn memory_volumes(context: &PodContext, pod: &Pod) -> Result<Vec<TmpfsMount>, volume::VolumeError> {
    let in_memory = |volume: &&model::pod::Volume| {
        matches!(volume.source, VolumeSource::EmptyDir { medium: Medium::Memory, .. })
    };
    let mut mounts = Vec::new();
    for volume in volume::needed(&pod.spec).filter(in_memory) {
        if let Prepared::Tmpfs { path, size_limit_bytes, mode, gid } =
            volumes::prepare_one(context, pod, volume)?
        {
            mounts.push(TmpfsMount { path, size_limit_bytes, mode, gid });
        }
    }
    Ok(mounts)
}
