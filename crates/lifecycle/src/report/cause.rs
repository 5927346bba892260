//! `cause`: one sentence that says why the Pod is not what was asked, on which a person can act.
//!
//! It names no instant and no remaining time, so that it changes only when the cause does; whoever shows it
//! knows since when it holds.

use model::pod::Pod;

use crate::action::{Action, ProbeKind};
use crate::memory::{ContainerStopCause, ContainerStopping, FailureMemory, Memory, StopCause, Wait};
use crate::observation::{Observation, Sandbox, Volumes};
use crate::plan;
use crate::policy::Backoff;
use crate::report::containers::{is_ready, is_started};
use crate::restart::{Gate, Verdict, restart_gate, retry_gate, verdict};
use crate::role::{Member, Role, mains, member, members};
use crate::status::{Phase, TerminatedReason};
use crate::time::{Now, SECOND};

/// The sentence; none when all is as asked.
pub(super) fn cause(pod: &Pod, memory: &Memory, seen: &Observation, now: &Now) -> Option<String> {
    let teller = Teller { pod, memory, seen, now };
    // What programs and registries say may have several lines.
    teller.sentence().map(|sentence| sentence.split_whitespace().collect::<Vec<_>>().join(" "))
}

struct Teller<'a> {
    pod: &'a Pod,
    memory: &'a Memory,
    seen: &'a Observation,
    now: &'a Now,
}

impl Teller<'_> {
    fn sentence(&self) -> Option<String> {
        let (pod, memory) = (self.pod, self.memory);
        if memory.outcome.is_some() {
            return self.with_removal_failure(self.outcome());
        }
        if memory.stopping.is_some() {
            return self.with_removal_failure(Some(self.stopping()));
        }
        // What blocks the Pod comes before what may still pass: `podling run` gives up for it.
        self.blocking_failure()
            .or_else(|| self.setup_failure())
            .or_else(|| members(pod).find_map(|member| self.container_failure(&member)))
            .or_else(|| self.setup())
            .or_else(|| self.init())
            .or_else(|| members(pod).find_map(|member| self.not_ready(&member)))
            .or_else(|| self.gates())
            .or_else(|| self.ended_beside_others())
    }

    /// The step that only a change from outside gets on, as [`crate::Decision::blocked`] names it.
    fn blocking_failure(&self) -> Option<String> {
        let is_stuck = |failure: &Option<FailureMemory>| {
            failure.as_ref().is_some_and(|failure| failure.wait == Wait::OnChange)
        };
        match plan::blocked(self.pod, self.memory)?.container {
            None if is_stuck(&self.memory.volumes_failure) => self.volumes_failure(),
            None => self.sandbox_failure(),
            Some(name) => {
                let member = member(self.pod, &name)?;
                let is_creation = is_stuck(&self.memory.container(&name).create_failure);
                if is_creation { self.create_failure(&member) } else { self.pull_failure(&member) }
            }
        }
    }

    /// A Pod that has ended or ends, and holds what cannot be taken from it.
    fn with_removal_failure(&self, why: Option<String>) -> Option<String> {
        let Some(failure) = &self.memory.removal_failure else { return why };
        let again = self.next_try(failure, self.memory.policy.setup);
        let held = format!("what the Pod held could not be removed: {}{again}", failure.message);
        Some(why.map_or(held.clone(), |why| format!("{why}, and {held}")))
    }

    /// A main container that failed for good, beside others that go on: the Pod will not be Ready again.
    fn ended_beside_others(&self) -> Option<String> {
        let failed = mains(self.pod).find(|main| {
            let ended = self.memory.container(main.name()).ended();
            self.memory.is_main_finished(self.pod, main) && ended.is_some_and(|ended| ended.code != 0)
        })?;
        let how = self.how_it_ended(&failed)?;
        Some(format!("{} {how} and may not restart, while others of the Pod go on", title(&failed)))
    }

    fn outcome(&self) -> Option<String> {
        let outcome = self.memory.outcome.as_ref()?;
        if outcome.phase == Phase::Succeeded {
            return None;
        }
        if let Some(message) = &outcome.message {
            return Some(message.clone());
        }
        if self.memory.stop_requested {
            return Some("the Pod was stopped on request".to_owned());
        }
        let why = self.memory.stopping.as_ref().map(|stopping| &stopping.why);
        let failed = match why {
            Some(StopCause::InitFailed { container }) => members(self.pod).find(|m| m.name() == container),
            _ => mains(self.pod)
                .find(|main| self.memory.container(main.name()).ended().is_some_and(|ended| ended.code != 0)),
        }?;
        let how = self.how_it_ended(&failed)?;
        Some(format!("{} {how} and may not restart", title(&failed)))
    }

    fn stopping(&self) -> String {
        let Some(stopping) = &self.memory.stopping else { return String::new() };
        let why = match &stopping.why {
            StopCause::SandboxChanged => "the Pod's sandbox died and everything starts again".to_owned(),
            StopCause::RestartAll { container } => {
                format!("container `{container}` ended with a code that restarts all containers")
            }
            StopCause::Completed => "the Pod has completed".to_owned(),
            StopCause::SandboxLost => "the Pod's sandbox died".to_owned(),
            StopCause::InitFailed { container } => format!("init container `{container}` failed"),
            StopCause::DeadlineExceeded => "activeDeadlineSeconds is over".to_owned(),
            StopCause::Evicted { message, .. } => {
                format!("the node ends the Pod: {}", message.trim_end_matches('.'))
            }
            StopCause::Requested => "a stop was requested".to_owned(),
        };
        let running: Vec<_> = members(self.pod)
            .filter(|member| self.memory.container(member.name()).running().is_some())
            .map(|member| format!("`{}`", member.name()))
            .collect();
        if let Some(failure) = self.kill_failure() {
            return format!("{why}; {failure}");
        }
        let grace = span(stopping.grace_nanos);
        match running.as_slice() {
            [] => format!("{why}; nothing runs any more"),
            [one] => format!("{why}; {one} still runs, with a grace of {grace}"),
            running => format!("{why}; {} still run, with a grace of {grace}", running.join(", ")),
        }
    }

    fn kill_failure(&self) -> Option<String> {
        members(self.pod).find_map(|member| {
            let failure = self.memory.container(member.name()).running()?.kill_failure.as_ref()?;
            let again = self.next_try(failure, self.memory.policy.setup);
            Some(format!("{} could not be killed: {}{again}", title(&member), failure.message))
        })
    }

    fn setup_failure(&self) -> Option<String> {
        self.volumes_failure().or_else(|| self.sandbox_failure())
    }

    fn volumes_failure(&self) -> Option<String> {
        let failure = self.memory.volumes_failure.as_ref()?;
        let again = self.next_try(failure, self.memory.policy.setup);
        Some(format!("the Pod's volumes could not be made: {}{again}", failure.message))
    }

    fn sandbox_failure(&self) -> Option<String> {
        let failure = self.memory.sandbox_failure.as_ref()?;
        let again = self.next_try(failure, self.memory.policy.setup);
        Some(format!("the Pod's sandbox could not be made: {}{again}", failure.message))
    }

    fn create_failure(&self, member: &Member<'_>) -> Option<String> {
        let failure = self.memory.container(member.name()).create_failure.as_ref()?;
        let again = self.next_try(failure, self.memory.policy.setup);
        Some(format!("{} could not be created: {}{again}", title(member), failure.message))
    }

    fn pull_failure(&self, member: &Member<'_>) -> Option<String> {
        let failure = self.memory.container(member.name()).pull_failure.as_ref()?;
        let again = self.next_try(failure, self.memory.policy.pull);
        Some(format!("the image of {} is not here: {}{again}", title(member), failure.message))
    }

    fn container_failure(&self, member: &Member<'_>) -> Option<String> {
        if let Some(failure) = self.create_failure(member).or_else(|| self.pull_failure(member)) {
            return Some(failure);
        }
        let container = self.memory.container(member.name());
        let title = title(member);
        if let Some(running) = container.running() {
            let why = why_alone(running.stopping.as_ref()?);
            return Some(format!("{title} is being stopped because it {why}"));
        }
        let is_finished_main = member.role == Role::Main && self.memory.is_main_finished(self.pod, member);
        if container.of_this_run().is_none() || is_finished_main || member.role == Role::Ephemeral {
            return None;
        }
        let is_behind = member.role == Role::Init && member.index < self.memory.progress;
        if is_behind {
            return None;
        }
        self.delayed_restart(member).or_else(|| {
            let how = self.how_it_ended(member)?;
            Some(format!("{title} restarts after it {how} ({} restart)", ordinal(container.next_attempt())))
        })
    }

    /// A container whose restart is not due yet.
    fn delayed_restart(&self, member: &Member<'_>) -> Option<String> {
        let container = self.memory.container(member.name());
        let Gate::Until(_) = restart_gate(self.memory, container, self.now) else { return None };
        let (title, nth) = (title(member), ordinal(container.next_attempt()));
        let delay = span(self.memory.policy.restart.nanos(container.streak));
        if let Some(why) = self.why_all_restart().filter(|_| container.of_this_run().is_none()) {
            return Some(format!("{title} restarts {delay} after its end, because {why} ({nth} restart)"));
        }
        let how = self.how_it_ended(member)?;
        Some(format!("{title} restarts {delay} after it {how} ({nth} restart)"))
    }

    /// Whose end began this run of all containers (KEP-5532).
    fn why_all_restart(&self) -> Option<String> {
        let asks = |member: &Member<'_>| {
            let ended = self.memory.container(member.name()).ended();
            ended.is_some_and(|ended| {
                verdict(self.pod, member.role, member.container, ended) == Verdict::RestartAll
            })
        };
        let who = members(self.pod).filter(|_| self.memory.rerun_completed).find(asks)?;
        Some(format!("{} {} and so restarts all", title(&who), self.how_it_ended(&who)?))
    }

    /// A container whose turn has come, be it for the first time or again.
    fn being_started(&self, member: &Member<'_>) -> String {
        self.delayed_restart(member).unwrap_or_else(|| format!("{} is being started", title(member)))
    }

    fn setup(&self) -> Option<String> {
        if let Some(pulling) = self.seen.in_flight.iter().find_map(|action| match action {
            Action::Pull { container, image, .. } => Some((container, image)),
            _ => None,
        }) {
            let (container, image) = pulling;
            return Some(format!("pulling image {image:?} for container `{container}`"));
        }
        if self.seen.volumes != Volumes::Ready {
            return Some("the Pod's volumes are being made".to_owned());
        }
        match self.seen.sandbox {
            Sandbox::Ready { .. } => None,
            Sandbox::Dead { .. } => Some("the dead sandbox is being removed".to_owned()),
            Sandbox::Absent => Some("the Pod's sandbox is being made".to_owned()),
        }
    }

    fn init(&self) -> Option<String> {
        let member = members(self.pod)
            .find(|m| matches!(m.role, Role::Init | Role::Sidecar) && m.index == self.memory.progress)?;
        let title = title(&member);
        let Some(running) = self.memory.container(member.name()).running() else {
            return Some(self.being_started(&member));
        };
        Some(match member.role {
            Role::Init => format!("{title} is running, and the others wait for its end"),
            _ if !running.post_start_done => format!("{title} waits for its postStart hook"),
            _ => {
                format!("{title} has not passed its startup probe{}", last_failure(&running.startup.message))
            }
        })
    }

    fn not_ready(&self, member: &Member<'_>) -> Option<String> {
        let is_finished_main = member.role == Role::Main && self.memory.is_main_finished(self.pod, member);
        if matches!(member.role, Role::Init | Role::Ephemeral) || is_finished_main {
            return None;
        }
        let title = title(member);
        let Some(running) = self.memory.container(member.name()).running() else {
            return Some(self.being_started(member));
        };
        if !running.post_start_done {
            return Some(format!("{title} waits for its postStart hook"));
        }
        if !is_started(self.memory, member) {
            let last = last_failure(&running.startup.message);
            return Some(format!("{title} has not passed its startup probe{last}"));
        }
        if !is_ready(self.memory, member) {
            let last = last_failure(&running.readiness.message);
            return Some(format!("{title} has not passed its readiness probe{last}"));
        }
        None
    }

    fn gates(&self) -> Option<String> {
        let gate = self.pod.spec.readiness_gates.iter().find(|gate| !self.seen.gates.contains(*gate))?;
        Some(format!("readiness gate `{gate}` is not True"))
    }

    fn how_it_ended(&self, member: &Member<'_>) -> Option<String> {
        let ended = self.memory.container(member.name()).ended()?;
        // The signal that ended it was podling's own: what made podling send it is the cause.
        if let Some(stopping) = &ended.stopped_for {
            match stopping.why {
                ContainerStopCause::Probe(_) | ContainerStopCause::PostStart => {
                    return Some(why_alone(stopping));
                }
                ContainerStopCause::RestartRequested
                | ContainerStopCause::ImageChanged
                | ContainerStopCause::Resized => {}
            }
        }
        Some(match ended.reason {
            TerminatedReason::OOMKilled => "ran out of memory (OOMKilled)".to_owned(),
            TerminatedReason::StartError => {
                let message = ended.message.as_deref().unwrap_or("StartError");
                format!("could not be started ({message})")
            }
            TerminatedReason::ContainerStatusUnknown => "was lost without a trace".to_owned(),
            _ => match ended.signal {
                Some(signal) => format!("was ended by signal {signal}"),
                None => format!("exited with code {}", ended.code),
            },
        })
    }

    fn next_try(&self, failure: &FailureMemory, backoff: Backoff) -> String {
        match retry_gate(Some(failure), backoff, self.now) {
            Gate::Until(_) => format!("; tried again after {}", span(backoff.nanos(failure.count))),
            Gate::Open => "; trying again".to_owned(),
            Gate::Shut => {
                debug_assert_eq!(failure.wait, Wait::OnChange);
                "; waiting for that to change".to_owned()
            }
        }
    }
}

/// Why one container is stopped while the Pod goes on.
fn why_alone(stopping: &ContainerStopping) -> String {
    let why = match stopping.why {
        ContainerStopCause::Probe(ProbeKind::Startup) => "failed its startup probe",
        ContainerStopCause::Probe(_) => "failed its liveness probe",
        ContainerStopCause::PostStart => "failed its postStart hook",
        ContainerStopCause::RestartRequested => "shall restart on request",
        ContainerStopCause::ImageChanged => "shall run another image",
        ContainerStopCause::Resized => "gets other resources",
    };
    match &stopping.seen {
        Some(seen) => format!("{why} ({seen})"),
        None => why.to_owned(),
    }
}

fn title(member: &Member<'_>) -> String {
    let role = match member.role {
        Role::Init => "init container",
        Role::Sidecar => "sidecar",
        Role::Main => "container",
        Role::Ephemeral => "ephemeral container",
    };
    format!("{role} `{}`", member.name())
}

fn last_failure(message: &Option<String>) -> String {
    match message {
        Some(message) => format!(": {message}"),
        None => " yet".to_owned(),
    }
}

fn ordinal(n: u32) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// A duration as a person says it: `40 ms`, `12 s`, `3 min 5 s`, `2 h 10 min`.
fn span(nanos: u64) -> String {
    let seconds = nanos / SECOND;
    match seconds {
        0 => format!("{} ms", nanos / 1_000_000),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
