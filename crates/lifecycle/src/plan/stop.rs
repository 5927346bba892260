//! Stopping: one container while the Pod goes on, or all of them in Kubernetes' order.
//!
//! preStop of all at once, sidecars included; the stop signal to every main container (and a running init
//! or ephemeral container) as its preStop ends; to sidecars, last first, when everything after them is gone. At expiry
//! whatever is left gets its signal, and KILL no sooner than [`crate::Policy::minimum_grace_seconds`] after it.

use super::Plan;
use crate::action::Action;
use crate::decide::Due;
use crate::memory::InstanceMemory;
use crate::restart::{Gate, retry_gate};
use crate::role::{Member, Role, members};
use crate::time::SECOND;

impl Plan<'_> {
    /// Containers that failed a probe or a hook, or that somebody wants restarted.
    pub(super) fn stop_single_containers(&mut self) {
        for member in members(self.pod) {
            if let Some(running) = self.memory.container(member.name()).running()
                && running.stopping.is_some()
            {
                self.stop(&member, running, true);
            }
        }
    }

    /// Every container. Sidecars are walked from the last one on, so that each knows whether one after it lives.
    pub(super) fn stop_all(&mut self) {
        let mut anyone_before = false;
        let spared = |role| self.memory.spares(role, self.seen.sandbox);
        let others = members(self.pod).filter(|member| member.role != Role::Sidecar && !spared(member.role));
        for member in others {
            anyone_before |= member.role != Role::Ephemeral && self.is_alive(member.name());
            if let Some(running) = self.memory.container(member.name()).running() {
                self.stop(&member, running, true);
            }
        }
        for member in members(self.pod).rev().filter(|member| member.role == Role::Sidecar) {
            if let Some(running) = self.memory.container(member.name()).running() {
                self.stop(&member, running, !anyone_before || running.stopping.is_some());
            }
            anyone_before |= self.is_alive(member.name());
        }
    }

    /// The next step in stopping one container. `is_its_turn`: the signal may be sent before the grace ends.
    fn stop(&mut self, member: &Member<'_>, running: &InstanceMemory, is_its_turn: bool) {
        let container = member.name().to_owned();
        let attempt = running.attempt;
        let (deadline, at_once) = self.deadline_of(running);
        if at_once {
            return self.kill(member, running, 0);
        }
        let is_over = deadline <= self.now.boot_nanos;
        let grace = || Due::Grace { container: member.name().to_owned() };
        let has_hook = member.container.pre_stop.is_some() && !running.pre_stop_done;
        match running.signalled_at {
            None if has_hook && !is_over => {
                self.act(Action::PreStop { container, attempt });
                self.wake(deadline, grace);
            }
            None if is_its_turn || is_over => self.act(Action::Signal { container, attempt }),
            None => self.wake(deadline, grace),
            Some(signalled_at) => {
                let minimum_nanos = self.memory.policy.minimum_grace_seconds.saturating_mul(SECOND);
                self.kill(member, running, deadline.max(signalled_at.plus(minimum_nanos, self.now)));
            }
        }
    }

    fn kill(&mut self, member: &Member<'_>, running: &InstanceMemory, due_boot_nanos: u64) {
        if running.killed {
            return;
        }
        let container = member.name().to_owned();
        let due = || Due::Grace { container: member.name().to_owned() };
        let retry = retry_gate(running.kill_failure.as_ref(), self.memory.policy.setup, self.now);
        let gate = match retry {
            Gate::Open if due_boot_nanos > self.now.boot_nanos => Gate::Until(due_boot_nanos),
            gate => gate,
        };
        self.act_when(gate, due, Action::Kill { container, attempt: running.attempt });
    }

    /// When the grace of a running container ends, and whether there is none at all. The stop of the Pod and
    /// that of the container alone may both be under way: the earlier one counts.
    fn deadline_of(&self, running: &InstanceMemory) -> (u64, bool) {
        let of_pod = self.memory.stopping.as_ref();
        let alone = running.stopping.as_ref();
        let pod_end = of_pod.map(|stopping| stopping.since.plus(stopping.grace_nanos, self.now));
        let own_end = alone.map(|stopping| stopping.since.plus(stopping.grace_nanos, self.now));
        let deadline = pod_end.into_iter().chain(own_end).min().unwrap_or(u64::MAX);
        (deadline, of_pod.is_some_and(|stopping| stopping.at_once))
    }
}
