//! Takes a Pod over from a daemon that died: finds its shim, and sees what is there.
//!
//! ```text
//!              shim answers                     shim is gone, same boot            another boot
//! containers   as the shim has them             the exits that it recorded         nothing
//! sandbox      as recorded, if pause stands     dead                               absent
//! volumes      as recorded, else made in part   the same                           made in part
//! ```
//!
//! It decides nothing. The first observation tells the Memory what became of the Pod meanwhile, and what was under way
//! when the daemon died is decided again, by the same keys: the shim answers those with what it did.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use container::{Key, Shim, ShimState};
use lifecycle::{Event, Instance, InstanceState, Memory};

use super::context::{PodContext, parse_key};
use super::records::ContainerRecord;
use super::world::{Change, World};
use crate::{clock, perform, termination};

/// What is there of the Pod.
pub(super) async fn recover(context: &Arc<PodContext>, memory: &Memory) -> World {
    let mut world = World::default();
    let state = match find_shim(context).await {
        Some(shim) => {
            context.prepared().users = context.directories.load_users();
            shim.state().await.unwrap_or_default()
        }
        None => ShimState::default(),
    };
    for remembered in memory.incarnations() {
        context.incarnations.begin(&remembered.container, remembered.attempt);
        context.incarnations.ended(&remembered.container, remembered.attempt, remembered.exit_code);
    }
    for (key, container_state) in newest(&state) {
        take_container(context, &mut world, key, container_state).await;
    }
    take_recorded_exits(context, memory, &mut world);
    world.apply(sandbox(context, &state));
    world.apply(volumes(context));
    end_execs(context, &state).await;
    world
}

/// The shim that still lives; what it tells from now on goes to the Pod's task.
async fn find_shim(context: &Arc<PodContext>) -> Option<Shim> {
    match Shim::connect(&context.directories.run).await {
        Ok((shim, events)) => {
            context.adopt_shim(shim.clone(), events);
            Some(shim)
        }
        Err(error) => {
            let is_absent = matches!(&error, container::Error::Shim { source, .. } if matches!(
                source.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ));
            if !is_absent {
                let message = format!("what runs of the Pod is ended: {}", perform::chain(&error));
                context.report_event(Event { warning: true, reason: "ShimDied", message, container: None });
            }
            // Containers die with their shim; what they left in their cgroups does not.
            context.end_cgroup().await;
            None
        }
    }
}

/// The newest incarnation of each container.
fn newest(state: &ShimState) -> Vec<(&Key, &container::ContainerState)> {
    let mut newest: BTreeMap<&str, (u32, (&Key, &container::ContainerState))> = BTreeMap::new();
    for entry in &state.containers {
        let Some((container, attempt)) = parse_key(entry.0) else { continue };
        let known = newest.entry(container).or_insert((attempt, entry));
        if attempt > known.0 {
            *known = (attempt, entry);
        }
    }
    newest.into_values().map(|(_, entry)| entry).collect()
}

/// Takes over one incarnation. A start that failed is left out: it is decided again and fails again by its key.
async fn take_container(
    context: &Arc<PodContext>,
    world: &mut World,
    key: &Key,
    state: &container::ContainerState,
) {
    let Some((container, attempt)) = parse_key(key) else { return };
    context.incarnations.begin(container, attempt);
    let record = context.directories.load_container(container, attempt);
    remember(context, container, record.as_ref());
    let state = match state {
        container::ContainerState::Starting => {
            let Some(shim) = context.running_shim() else { return };
            match shim.started(key).await {
                Ok(started) => running(context, container, attempt, started.pid, started.started_at),
                Err(_) => return context.incarnations.ended(container, attempt, None),
            }
        }
        container::ContainerState::Running { pid, started_at } => {
            running(context, container, attempt, *pid, *started_at)
        }
        container::ContainerState::Exited { started_at, exit } => {
            context.incarnations.ended(container, attempt, Some(exit.code));
            let ended = termination::ended(context, container, attempt, *exit);
            InstanceState::Exited { started_at: at(*started_at), finished_at: ended.at, exit: ended.exit }
        }
        container::ContainerState::Failed(_) => return context.incarnations.ended(container, attempt, None),
    };
    world.apply(Change::Started {
        container: container.to_owned(),
        instance: instance(context, container, attempt, record, state),
    });
}

fn at(started_at: container::UnixNanos) -> lifecycle::Now {
    clock::at_wall(i64::try_from(started_at.0).unwrap_or(i64::MAX))
}

fn running(
    context: &PodContext,
    container: &str,
    attempt: u32,
    pid: i32,
    started_at: container::UnixNanos,
) -> InstanceState {
    let started_at = at(started_at);
    context.incarnations.started(container, attempt, pid, started_at.wall_nanos);
    InstanceState::Running { started_at }
}

fn remember(context: &PodContext, container: &str, record: Option<&ContainerRecord>) {
    let Some(record) = record else { return };
    let mut prepared = context.prepared();
    prepared.stop_signals.insert(container.to_owned(), record.stop_signal);
    if let Some(process) = &record.process {
        prepared.processes.insert(container.to_owned(), process.clone());
    }
}

fn instance(
    context: &PodContext,
    container: &str,
    attempt: u32,
    record: Option<ContainerRecord>,
    state: InstanceState,
) -> Instance {
    let stop_signal = record.as_ref().map(|record| crate::signals::name(record.stop_signal));
    let container_id = perform::container_id(&context.pod(), container, attempt);
    Instance { attempt, container_id, user: record.and_then(|record| record.user), stop_signal, state }
}

/// Of containers whose shim is gone: how those ended of which it wrote that down.
fn take_recorded_exits(context: &Arc<PodContext>, memory: &Memory, world: &mut World) {
    if context.running_shim().is_some() {
        return;
    }
    let recorded = container::recorded_exits(&context.directories.run).unwrap_or_default();
    for remembered in memory.incarnations().into_iter().filter(|remembered| remembered.is_running) {
        let (container, attempt) = (remembered.container.as_str(), remembered.attempt);
        let Some(exit) = recorded.get(&super::key(container, attempt)) else { continue };
        context.incarnations.ended(container, attempt, Some(exit.code));
        let ended = termination::ended(context, container, attempt, *exit);
        let started_at = remembered.started_at.unwrap_or(ended.at);
        let state = InstanceState::Exited { started_at, finished_at: ended.at, exit: ended.exit };
        let record = context.directories.load_container(container, attempt);
        let instance = instance(context, container, attempt, record, state);
        world.apply(Change::Started { container: container.to_owned(), instance });
    }
}

/// A sandbox stands when it was finished and pause still runs; else what is left of it is of no use.
fn sandbox(context: &PodContext, state: &ShimState) -> Change {
    let record = context.directories.load_sandbox();
    let pause = state.sandbox.as_ref().and_then(|(key, pid, _)| {
        let attempt = key.strip_prefix("sandbox/")?.parse::<u32>().ok()?;
        Some((attempt, *pid))
    });
    let attempt = match (&record, pause) {
        (None, None) => return Change::SandboxAbsent,
        (None, Some((attempt, _))) => attempt,
        (Some(record), _) => record.attempt,
    };
    let (Some(standing), Some((of_pause, pid))) = (record.and_then(|record| record.standing), pause) else {
        return Change::SandboxDead { attempt };
    };
    if of_pause != attempt {
        return Change::SandboxDead { attempt };
    }
    if standing.attachment.is_some() {
        match std::fs::File::open(format!("/proc/{pid}/ns/net")) {
            Ok(netns) => context.prepared().netns = Some(Arc::new(netns.into())),
            // It has just died.
            Err(_) => return Change::SandboxDead { attempt },
        }
    }
    context.prepared().pod_ips.clone_from(&standing.pod_ips);
    Change::SandboxReady { attempt, pod_ips: standing.pod_ips, host_ips: standing.host_ips }
}

fn volumes(context: &PodContext) -> Change {
    let directories = &context.directories;
    if let Some(volumes) = directories.load_volumes() {
        context.prepared().volumes = volumes;
        return Change::VolumesReady;
    }
    let is_there = |base: &Path| base.join("volumes").exists();
    // The shim goes with the volumes, so while it is there they are not wholly removed.
    if context.running_shim().is_some() || is_there(&directories.data) || is_there(&directories.run) {
        Change::VolumesPartial
    } else {
        Change::VolumesAbsent
    }
}

/// Ends what nobody reads any more: sessions and probes of the dead daemon. Hooks go on: they are asked for again.
async fn end_execs(context: &PodContext, state: &ShimState) {
    let Some(shim) = context.running_shim() else { return };
    for key in state.execs.keys().filter(|key| !key.starts_with(perform::HOOK_KEY)) {
        if let Err(error) = shim.kill(key).await {
            tracing::debug!(key, error = perform::chain(&error), "cannot end what a dead daemon ran");
        }
    }
}
