//! Bringing a Pod up and keeping it up: volumes, sandbox and images at the same time, then init containers in
//! order, sidecars holding the next until they have started, then main containers.

use model::pod::ImagePullPolicy;

use super::Plan;
use crate::action::Action;
use crate::decide::Due;
use crate::memory::{ContainerMemory, Wait};
use crate::observation::{Sandbox, Volumes};
use crate::restart::{Gate, restart_gate, retry_gate};
use crate::role::{Member, Role, mains, members};

/// Whether the image of a container is there for its next incarnation.
enum ImageGate {
    /// It is.
    Here,
    /// It must be obtained, and that may begin or has begun.
    Pull(u32),
    /// That failed; it is tried again at that boot time, or after a change from outside.
    Failed(Gate, u32),
}

impl Plan<'_> {
    pub(super) fn bring_up(&mut self) {
        self.prepare_volumes();
        let sandbox = self.ensure_sandbox().filter(|_| !self.is_allocating);
        for member in members(self.pod) {
            self.pull(&member);
            self.run_post_start(&member);
        }
        if self.seen.volumes == Volumes::Ready
            && let Some(sandbox) = sandbox
        {
            self.start_ephemeral_containers(sandbox);
            self.start_init_containers(sandbox);
            if self.memory.progress >= self.pod.spec.init_containers.len() {
                self.start_main_containers(sandbox);
            }
        }
    }

    fn prepare_volumes(&mut self) {
        if self.seen.volumes == Volumes::Ready
            || self.flying(|a| matches!(a, Action::PrepareVolumes { .. } | Action::RemoveVolumes))
        {
            return;
        }
        let failure = self.memory.volumes_failure.as_ref();
        let gate = retry_gate(failure, self.memory.policy.setup, self.now);
        let retry = failure.map_or(0, |failure| failure.count);
        self.act_when(gate, || Due::Volumes, Action::PrepareVolumes { retry });
    }

    /// The sandbox in which containers may start now; makes one, or first removes what is left of a dead one.
    fn ensure_sandbox(&mut self) -> Option<u32> {
        let changing = |a: &Action| matches!(a, Action::CreateSandbox { .. } | Action::RemoveSandbox { .. });
        match self.seen.sandbox {
            Sandbox::Ready { attempt } if self.memory.sandbox == Some(attempt) => return Some(attempt),
            _ if self.flying(changing) => {}
            Sandbox::Ready { .. } => {}
            Sandbox::Absent if self.is_allocating => {}
            Sandbox::Absent => {
                let failure = self.memory.sandbox_failure.as_ref();
                let gate = retry_gate(failure, self.memory.policy.setup, self.now);
                let attempt = self.memory.next_sandbox;
                self.act_when(gate, || Due::Sandbox, Action::CreateSandbox { attempt });
            }
            Sandbox::Dead { attempt } => self.remove_sandbox(attempt),
        }
        None
    }

    pub(super) fn remove_sandbox(&mut self, attempt: u32) {
        let gate = retry_gate(self.memory.removal_failure.as_ref(), self.memory.policy.setup, self.now);
        self.act_when(gate, || Due::Removal, Action::RemoveSandbox { attempt });
    }

    /// Obtains the image of a container that has never run, at once and for all of them; for later
    /// incarnations when the restart is due, because `imagePullPolicy: Always` wants what is current then.
    fn pull(&mut self, member: &Member<'_>) {
        let memory = self.memory.container(member.name());
        let wanted = match memory.current {
            None => !self.is_alive(member.name()),
            Some(_) => self.wants_start(member) && restart_gate(self.memory, memory, self.now) == Gate::Open,
        };
        if !wanted {
            return;
        }
        let (container, image) = (member.name().to_owned(), member.container.image.clone());
        let attempt = memory.next_attempt();
        let due = || Due::Pull { container: member.name().to_owned() };
        match self.image_gate(member, memory) {
            ImageGate::Here => {}
            ImageGate::Pull(retry) if !self.is_pulled_by_another(member) => {
                self.act(Action::Pull { container, image, attempt, retry });
            }
            ImageGate::Pull(_) => {}
            ImageGate::Failed(gate, retry) => {
                self.act_when(gate, due, Action::Pull { container, image, attempt, retry });
            }
        }
    }

    fn image_gate(&self, member: &Member<'_>, memory: &ContainerMemory) -> ImageGate {
        let is_here = self.seen.images.contains_key(member.name());
        // An edited reference is another image; `imagePullPolicy: Always` asks the registry for every incarnation.
        let asks_each_time = member.container.image_pull_policy == ImagePullPolicy::Always;
        let is_current = memory.pulled.as_ref().is_some_and(|(attempt, image)| {
            *image == member.container.image && (!asks_each_time || *attempt == memory.next_attempt())
        });
        match &memory.pull_failure {
            _ if is_here && is_current => ImageGate::Here,
            None => ImageGate::Pull(0),
            Some(failure) => {
                let gate = retry_gate(Some(failure), self.memory.policy.pull, self.now);
                ImageGate::Failed(gate, failure.count)
            }
        }
    }

    /// One container is the first to obtain an image; the others that name the same one find it then, where
    /// finding is enough.
    fn is_pulled_by_another(&self, member: &Member<'_>) -> bool {
        let image = &member.container.image;
        let has_same = |name: &str| self.pod.spec.container(name).is_some_and(|other| other.image == *image);
        let is_found = || self.seen.images.keys().any(|name| has_same(name));
        let is_under_way = |action: &Action| match action {
            Action::Pull { container, image: pulled, .. } => container != member.name() && pulled == image,
            _ => false,
        };
        member.container.image_pull_policy == ImagePullPolicy::IfNotPresent
            && self.actions.iter().chain(&self.seen.in_flight).any(is_under_way)
            && !is_found()
    }

    fn run_post_start(&mut self, member: &Member<'_>) {
        if member.container.post_start.is_none() {
            return;
        }
        if let Some(running) = self.memory.container(member.name()).running()
            && !running.post_start_done
            && running.stopping.is_none()
        {
            let container = member.name().to_owned();
            self.act(Action::PostStart { container, attempt: running.attempt });
        }
    }

    /// Whether a container should have a (new) incarnation, delays and images apart.
    pub(super) fn wants_start(&self, member: &Member<'_>) -> bool {
        let memory = self.memory.container(member.name());
        if self.is_alive(member.name()) {
            return false;
        }
        let progress = self.memory.progress;
        match member.role {
            // One that ended in this run and is not behind us failed; if it must stay so, the Pod is stopping.
            Role::Init => member.index == progress,
            Role::Sidecar => member.index <= progress,
            Role::Ephemeral => memory.current.is_none(),
            Role::Main => {
                let is_fresh = memory.current.is_none();
                progress >= self.pod.spec.init_containers.len()
                    && (is_fresh || !self.memory.is_main_finished(self.pod, member))
            }
        }
    }

    /// Whoever looks into a Pod wants to see why its init containers do not get on: they wait for nobody.
    fn start_ephemeral_containers(&mut self, sandbox: u32) {
        for member in members(self.pod).filter(|member| member.role == Role::Ephemeral) {
            if self.wants_start(&member) {
                self.start(&member, sandbox);
            }
        }
    }

    fn start_init_containers(&mut self, sandbox: u32) {
        let up_to_here = self.pod.spec.init_containers.len().min(self.memory.progress + 1);
        for member in members(self.pod).take(up_to_here) {
            if self.wants_start(&member) {
                self.start(&member, sandbox);
            }
        }
    }

    /// First starts go in spec order: a main container waits while one before it is still on its way to its
    /// first start or in the postStart hook of that, not while one before it waits after a failure. Restarts
    /// wait for nobody, and nobody waits for them.
    fn start_main_containers(&mut self, sandbox: u32) {
        let mut held = false;
        for main in mains(self.pod) {
            let memory = self.memory.container(main.name());
            let has_hook = main.container.post_start.is_some();
            let is_first = memory.of_this_run().is_none();
            if self.is_starting(main.name()) {
                held |= has_hook && is_first;
            } else if let Some(running) = memory.running() {
                let is_first = running.attempt == memory.first_attempt;
                held |= is_first && !running.post_start_done && running.stopping.is_none();
            } else if self.wants_start(&main) {
                if held && is_first {
                    continue;
                }
                let started = self.start(&main, sandbox);
                let has_failed = memory.create_failure.is_some()
                    || memory.pull_failure.is_some()
                    || memory.current.is_some();
                held |= is_first && if started { has_hook } else { !has_failed };
            }
        }
    }

    /// Starts a container if its delays are over and its image is here; says whether it does.
    fn start(&mut self, member: &Member<'_>, sandbox: u32) -> bool {
        let name = member.name();
        let memory = self.memory.container(name);
        match restart_gate(self.memory, memory, self.now) {
            Gate::Open => {}
            Gate::Until(boot_nanos) => {
                self.wake(boot_nanos, || Due::Restart { container: name.to_owned() });
                return false;
            }
            Gate::Shut => return false,
        }
        if !matches!(self.image_gate(member, memory), ImageGate::Here) {
            return false;
        }
        let failure = memory.create_failure.as_ref();
        let gate = retry_gate(failure, self.memory.policy.setup, self.now);
        let start = Action::Start {
            container: name.to_owned(),
            attempt: memory.next_attempt(),
            retry: failure.map_or(0, |failure| failure.count),
            sandbox,
        };
        let is_ready = gate == Gate::Open;
        self.act_when(gate, || Due::Create { container: name.to_owned() }, start);
        is_ready && failure.is_none_or(|failure| failure.wait != Wait::OnChange)
    }
}
