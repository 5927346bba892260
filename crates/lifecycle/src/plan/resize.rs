//! In-place resize (KEP-1287): first the node is asked, then cgroups change one stage after the other, so that
//! the Pod's cgroup always has room for those of its containers:
//!
//! 1. what is raised of the Pod's cgroup,
//! 2. containers of which anything is lowered,
//! 3. the other containers,
//! 4. what is lowered of the Pod's cgroup.

use model::pod::Resources;

use super::Plan;
use crate::action::Action;
use crate::decide::Due;
use crate::observation::Sandbox;
use crate::resize::{is_resizable, of_pod, wider};
use crate::restart::{Gate, retry_gate};
use crate::role::members;

impl Plan<'_> {
    pub(super) fn resize(&mut self) {
        self.is_allocating = self.flying(|action| matches!(action, Action::AllocateResources { .. }));
        if !self.is_allocating && !self.memory.allocated.is_as_asked(self.pod) {
            self.allocate();
        }
        if self.memory.resizing.is_some() {
            self.apply();
        }
    }

    /// What is being made is made with what was allocated before: one waits for the other.
    fn allocate(&mut self) {
        let is_making =
            |action: &Action| matches!(action, Action::CreateSandbox { .. } | Action::Start { .. });
        let failure = self.memory.allocation_failure.as_ref();
        let gate = retry_gate(failure, self.memory.policy.setup, self.now);
        self.is_allocating |= gate == Gate::Open;
        if !self.is_allocating || !self.flying(is_making) {
            let ask = Action::AllocateResources { resources: of_pod(self.pod), number: self.memory.resizes };
            self.act_when(gate, || Due::Resize, ask);
        }
    }

    fn apply(&mut self) {
        let is_resizing =
            |action: &Action| matches!(action, Action::ResizePod { .. } | Action::ResizeContainer { .. });
        let (Sandbox::Ready { attempt: sandbox }, false) = (self.seen.sandbox, self.flying(is_resizing))
        else {
            return;
        };
        if self.memory.sandbox != Some(sandbox) {
            return;
        }
        let number = self.memory.resizes;
        let memory = self.memory;
        let allocated = memory.pod_as_allocated(self.pod);
        let target = of_pod(&allocated);
        let widened = wider(&memory.pod_cgroup, &target);
        if widened != memory.pod_cgroup {
            return self.change(vec![Action::ResizePod { sandbox, resources: widened, number }]);
        }
        let (mut lowering, mut raising, mut restarting) = (vec![], vec![], false);
        for member in members(&allocated).filter(is_resizable) {
            let Some(running) = memory.container(member.name()).running() else { continue };
            let resources = &member.container.resources;
            if running.resources == *resources {
                continue;
            }
            if running.stopping.is_some() {
                restarting = true;
                continue;
            }
            let resize = Action::ResizeContainer {
                container: member.name().to_owned(),
                attempt: running.attempt,
                resources: resources.clone(),
                number,
            };
            if lowers(&running.resources, resources) { &mut lowering } else { &mut raising }.push(resize);
        }
        match (lowering.is_empty(), raising.is_empty()) {
            (false, _) => self.change(lowering),
            (true, false) => self.change(raising),
            (true, true) if !restarting && target != memory.pod_cgroup => {
                self.change(vec![Action::ResizePod { sandbox, resources: target, number }]);
            }
            (true, true) => {}
        }
    }

    fn change(&mut self, stage: Vec<Action>) {
        let gate = retry_gate(self.memory.resize_failure.as_ref(), self.memory.policy.setup, self.now);
        for action in stage {
            self.act_when(gate, || Due::Resize, action);
        }
    }
}

/// Whether the step from `old` to `new` takes anything away.
fn lowers(old: &Resources, new: &Resources) -> bool {
    wider(old, new) != *new
}
