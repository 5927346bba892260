//! Invariant 16: what the node has set aside, what the cgroups have, and in which order one follows the other
//! (KEP-1287, "Resizing Pod cgroups"; KEP-2837 for resources of the Pod itself).

use std::collections::BTreeMap;

use model::pod::{Pod, ResizePolicy, Resources};
use model::resources::effective;
use serde::{Deserialize, Serialize};

use super::Round;
use super::ledger::Ledger;
use super::track::{StepFailure, Track};
use crate::action::{Action, Done, Failure};
use crate::observation::Sandbox;
use crate::role::{Member, Role, members};
use crate::time::{Now, seconds};

/// The books of one Pod's resources.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Resizing {
    granted_to_pod: Option<Resources>,
    granted: BTreeMap<String, Resources>,
    /// The total of what is granted.
    target: Resources,
    pod_cgroup: Resources,
    /// Whether that is what the Pod asks for, as of the last observation.
    is_as_asked: bool,
    refusal: StepFailure,
    failure: StepFailure,
}

/// Who can be resized at all.
fn counts(member: &Member<'_>) -> bool {
    member.role == Role::Main || member.role == Role::Sidecar
}

/// Cpu and memory of the whole Pod.
fn total(pod: &Pod) -> Resources {
    let mut sum = effective(&pod.spec);
    sum.requests.retain(|name, _| name == "cpu" || name == "memory");
    sum.limits.retain(|name, _| name == "cpu" || name == "memory");
    sum
}

/// Whether nothing of `inner` is more than `outer` allows.
fn has_room(outer: &Resources, inner: &Resources) -> bool {
    outer.limits.iter().all(|(name, most)| inner.limits.get(name).is_some_and(|limit| limit <= most))
}

impl Resizing {
    pub(super) fn new(pod: &Pod) -> Resizing {
        let mut books = Resizing {
            granted_to_pod: None,
            granted: BTreeMap::new(),
            target: Resources::default(),
            pod_cgroup: total(pod),
            is_as_asked: true,
            refusal: StepFailure::default(),
            failure: StepFailure::default(),
        };
        books.grant(pod);
        books
    }

    fn grant(&mut self, pod: &Pod) {
        self.granted_to_pod.clone_from(&pod.spec.resources);
        self.target = total(pod);
        let of = |member: Member<'_>| (member.name().to_owned(), member.container.resources.clone());
        self.granted = members(pod).filter(counts).map(of).collect();
    }

    pub(super) fn granted_to(&self, member: &Member<'_>) -> Option<&Resources> {
        self.granted.get(member.name())
    }

    fn is_granted(&self, pod: &Pod) -> bool {
        self.granted_to_pod == pod.spec.resources
            && members(pod)
                .filter(counts)
                .all(|member| self.granted_to(&member) == Some(&member.container.resources))
    }

    /// A new sandbox is made with what is granted.
    pub(super) fn take_sandbox(&mut self) {
        self.pod_cgroup.clone_from(&self.target);
    }

    pub(super) fn retry_now(&mut self, pod: &Pod) {
        if self.is_granted(pod) {
            self.refusal = StepFailure::default();
        }
        self.refusal.due_boot_nanos = 0;
        self.failure.due_boot_nanos = 0;
    }
}

impl Ledger {
    /// Takes in what became of an action of resizing; says whether it was one.
    pub(super) fn note_resize(
        &mut self,
        pod: &Pod,
        action: &Action,
        result: &Result<Done, Failure>,
        now: &Now,
    ) -> bool {
        let setup = self.policy.setup;
        match (action, result) {
            (Action::AllocateResources { resources, .. }, _) if *resources != total(pod) => {}
            (Action::AllocateResources { .. }, Err(refused)) => {
                self.resizing.refusal.fail(refused, setup.initial_seconds, setup.max_seconds, now);
            }
            (Action::AllocateResources { .. }, Ok(_)) => self.note_granted(pod, now),
            (Action::ResizePod { .. } | Action::ResizeContainer { .. }, Err(failure)) => {
                self.resizing.failure.fail(failure, setup.initial_seconds, setup.max_seconds, now);
            }
            (Action::ResizePod { resources, sandbox, .. }, Ok(_)) => {
                if self.sandbox == Some(*sandbox) {
                    self.resizing.pod_cgroup.clone_from(resources);
                }
            }
            (Action::ResizeContainer { container, attempt, resources, .. }, Ok(_)) => {
                let track = self.tracks.get_mut(container).filter(|track| track.attempt == Some(*attempt));
                if let Some(track) = track {
                    track.cgroup.clone_from(resources);
                }
            }
            _ => return false,
        }
        true
    }

    fn note_granted(&mut self, pod: &Pod, now: &Now) {
        self.resizing.refusal = StepFailure::default();
        self.resizing.failure = StepFailure::default();
        self.resizing.grant(pod);
        if self.teardown.is_some() || self.terminal.is_some() {
            return;
        }
        let until = now.boot_nanos.saturating_add(seconds(pod.spec.termination_grace_period_seconds));
        for member in members(pod).filter(counts) {
            let Some(track) = self.tracks.get_mut(member.name()) else { continue };
            if track.running_since.is_some() && track.alone.is_none() && wants_restart(&member, track) {
                track.alone = Some(until);
                track.restart_requested = true;
            }
        }
    }

    /// A resize that is in place has nothing left to fail.
    pub(super) fn note_in_place(&mut self, pod: &Pod) {
        self.resizing.is_as_asked = self.resizing.is_granted(pod);
        let books = &self.resizing;
        let is_pod_in_place = self.sandbox.is_none() || books.pod_cgroup == books.target;
        if books.failure.count > 0 && is_pod_in_place && members(pod).all(|member| !self.differs(&member)) {
            self.resizing.failure = StepFailure::default();
        }
    }

    /// Whether a container runs with other resources than it was granted.
    fn differs(&self, member: &Member<'_>) -> bool {
        let track = self.track(member.name());
        counts(member)
            && track.running_since.is_some()
            && self.resizing.granted_to(member) != Some(&track.cgroup)
    }
}

/// Whether what the container has and what is asked for differ in a resource that takes a restart.
fn wants_restart(member: &Member<'_>, track: &Track) -> bool {
    let (has, wants) = (&track.cgroup, &member.container.resources);
    let differs = |name: &str| {
        has.requests.get(name) != wants.requests.get(name) || has.limits.get(name) != wants.limits.get(name)
    };
    let policy = member.container.resize_policy;
    policy.cpu == ResizePolicy::RestartContainer && differs("cpu")
        || policy.memory == ResizePolicy::RestartContainer && differs("memory")
}

fn is_making(action: &Action) -> bool {
    matches!(action, Action::Start { .. } | Action::CreateSandbox { .. })
}

fn is_asking(action: &Action) -> bool {
    matches!(action, Action::AllocateResources { .. })
}

impl Round<'_> {
    fn any_action(&self, is: fn(&Action) -> bool) -> bool {
        self.seen.in_flight.iter().chain(&self.decision.actions).any(is)
    }

    pub(super) fn check_making(&mut self) {
        let asks = self.any_action(is_asking);
        self.demand(16, !asks, || "something is made while its resources are in question".to_owned());
    }

    pub(super) fn check_ask(&mut self, resources: &Resources) {
        let asked = total(self.pod);
        self.demand(16, *resources == asked, || format!("asks for {resources:?} in place of {asked:?}"));
        let is_granted = self.ledger.resizing.is_as_asked;
        self.demand(16, !is_granted, || "asks for what it has".to_owned());
    }

    pub(super) fn check_resize_pod(&mut self, resources: &Resources) {
        let books = &self.ledger.resizing;
        let (target, has) = (&books.target, &books.pod_cgroup);
        self.demand(16, has_room(resources, target), || {
            format!("the Pod gets less than granted: {resources:?}")
        });
        let unfinished = members(self.pod).any(|member| self.ledger.differs(&member));
        let shrinks = !has_room(resources, has);
        self.demand(16, !(shrinks && unfinished), || "the Pod shrinks before its containers".to_owned());
        let is_known = |name: &str| {
            let limit = resources.limits.get(name);
            limit == target.limits.get(name) || limit == has.limits.get(name)
        };
        let holds = is_known("cpu") && is_known("memory");
        self.demand(16, holds, || format!("the Pod gets what nobody granted: {resources:?}"));
    }

    pub(super) fn check_resize_container(&mut self, name: &str, attempt: u32, resources: &Resources) {
        let Some(member) = members(self.pod).find(|member| member.name() == name) else { return };
        let (ledger, track) = (self.ledger, self.ledger.track(name));
        let is_granted = ledger.resizing.granted_to(&member) == Some(resources);
        self.demand(16, is_granted, || format!("{name} gets what nobody granted: {resources:?}"));
        let is_alive =
            track.attempt == Some(attempt) && track.running_since.is_some() && track.alone.is_none();
        self.demand(16, is_alive, || format!("{name} is resized, but it does not stay as it is"));
        let has_room_for_it = has_room(&ledger.resizing.pod_cgroup, &ledger.resizing.target);
        self.demand(16, has_room_for_it, || format!("{name} is resized before there is room in the Pod"));
        let raises_only = has_room(resources, &track.cgroup)
            && track.cgroup.requests.iter().all(|(name, had)| resources.requests.get(name) >= Some(had));
        let someone_shrinks = members(self.pod).any(|other| {
            let its = ledger.track(other.name());
            let limits_shrink =
                ledger.resizing.granted_to(&other).is_some_and(|to| !has_room(to, &its.cgroup));
            ledger.differs(&other) && its.alone.is_none() && limits_shrink
        });
        self.demand(16, !(raises_only && someone_shrinks), || {
            format!("{name} grows before others have shrunk")
        });
    }

    /// Whether starts wait for the node's answer.
    pub(super) fn waits_for_grant(&self) -> bool {
        let books = &self.ledger.resizing;
        self.any_action(is_asking)
            || !books.is_as_asked && books.refusal.due_boot_nanos <= self.now.boot_nanos
    }

    pub(super) fn check_resize_lateness(&mut self) {
        let ledger = self.ledger;
        let books = &ledger.resizing;
        if !books.is_as_asked && !self.any_action(is_making) {
            self.owe(books.refusal.due_boot_nanos, "asking the node for resources", is_asking);
        }
        let Some(sandbox) = self.ledger.sandbox else { return };
        if self.seen.sandbox != (Sandbox::Ready { attempt: sandbox }) {
            return;
        }
        let differing: Vec<_> = members(self.pod).filter(|member| ledger.differs(member)).collect();
        let only_restarts = !differing.is_empty()
            && differing.iter().all(|member| ledger.track(member.name()).alone.is_some());
        let pod_grows = !has_room(&books.pod_cgroup, &books.target);
        let is_in_place = differing.is_empty() && books.pod_cgroup == books.target;
        if !is_in_place && (!only_restarts || pod_grows) {
            let is_it =
                |action: &Action| matches!(action, Action::ResizePod { .. } | Action::ResizeContainer { .. });
            self.owe(books.failure.due_boot_nanos, "resizing", is_it);
        }
    }
}
