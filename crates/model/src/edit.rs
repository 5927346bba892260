//! Which edits of a running Pod are allowed: nearly none, each by its own way.
//!
//! The rules are those of Kubernetes' `ValidatePodUpdate`, `ValidatePodResize` (KEP-1287, and KEP-5419 for resources of
//! the Pod itself) and `ValidatePodEphemeralContainersUpdate` (KEP-277). Both Pods are valid by themselves; whoever
//! accepts an edit gives the new Pod the next `generation`.

use std::collections::BTreeMap;

use crate::pod::{Container, EphemeralContainer, Pod, PodSpec, Resources};
use crate::quantity::Quantity;
use crate::resources::qos_class;

/// The ways in which a Pod's spec may be edited: the Pod itself, or one of its subresources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `pods/NAME`: images and `activeDeadlineSeconds`.
    Update,
    /// `pods/NAME/resize`: cpu and memory.
    Resize,
    /// `pods/NAME/ephemeralcontainers`: one more of those.
    EphemeralContainers,
}

/// A change that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Refused {
    /// The field.
    pub path: String,
    /// Kubernetes' words.
    pub message: String,
}

/// All that is wrong with an edit from `old` to `new`; nothing, when it is allowed.
pub fn check(old: &Pod, new: &Pod, way: Way) -> Vec<Refused> {
    let mut checked = Edit { old: &old.spec, new: &new.spec, refused: Vec::new() };
    match way {
        Way::Update => checked.update(),
        Way::Resize => checked.resize(),
        Way::EphemeralContainers => checked.ephemeral_containers(),
    }
    checked.refused
}

struct Edit<'a> {
    old: &'a PodSpec,
    new: &'a PodSpec,
    refused: Vec<Refused>,
}

impl Edit<'_> {
    fn refuse(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.refused.push(Refused { path: path.into(), message: message.into() });
    }

    fn has_the_same_containers(&mut self) -> bool {
        let names = |list: &[Container]| list.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        let lists = [
            ("spec.containers", names(&self.old.containers), names(&self.new.containers)),
            ("spec.initContainers", names(&self.old.init_containers), names(&self.new.init_containers)),
        ];
        for (path, old, new) in lists {
            if old != new {
                self.refuse(path, "Forbidden: pod updates may not add or remove containers");
            }
        }
        self.refused.is_empty()
    }

    /// Compares all that is left when what may differ has been made equal.
    fn nothing_else(&mut self, new: &PodSpec, message: &str) {
        if new != self.old {
            self.refuse("spec", format!("Forbidden: {message}"));
        }
    }

    fn update(&mut self) {
        if !self.has_the_same_containers() {
            return;
        }
        match (self.old.active_deadline_seconds, self.new.active_deadline_seconds) {
            (Some(_), None) => self.refuse(
                "spec.activeDeadlineSeconds",
                "Invalid value: null: must not update from a positive integer to nil value",
            ),
            (Some(old), Some(new)) if new > old => self.refuse(
                "spec.activeDeadlineSeconds",
                format!("Invalid value: {new}: must be less than or equal to previous value"),
            ),
            _ => {}
        }
        let mut rest = self.new.clone();
        rest.active_deadline_seconds = self.old.active_deadline_seconds;
        each_container(self.old, &mut rest, |old, new| new.image.clone_from(&old.image));
        self.nothing_else(
            &rest,
            "pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`",
        );
    }

    fn resize(&mut self) {
        if !self.has_the_same_containers() {
            return;
        }
        if qos_class(self.old) != qos_class(self.new) {
            let class = qos_class(self.new);
            let message =
                format!("Invalid value: \"{class}\": Pod QOS Class may not change as a result of resizing");
            self.refuse("spec", message);
        }
        let (old, new) = (self.old, self.new);
        if let (Some(old), Some(new)) = (&old.resources, &new.resources) {
            self.nothing_removed("spec.resources", old, new);
        }
        let lists = [
            ("spec.initContainers", &old.init_containers, &new.init_containers),
            ("spec.containers", &old.containers, &new.containers),
        ];
        for (list, old, new) in lists {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                if list == "spec.initContainers" && !old.is_sidecar() && old.resources != new.resources {
                    self.refuse("spec", "Forbidden: resources for non-sidecar init containers are immutable");
                    continue;
                }
                self.nothing_removed(&format!("{list}[{index}].resources"), &old.resources, &new.resources);
            }
        }
        let mut rest = new.clone();
        if let (Some(old), Some(new)) = (&old.resources, &mut rest.resources) {
            with_cpu_and_memory_of(old, new);
        }
        each_container(old, &mut rest, |old, new| with_cpu_and_memory_of(&old.resources, &mut new.resources));
        self.nothing_else(&rest, "only cpu and memory resources are mutable");
    }

    fn nothing_removed(&mut self, path: &str, old: &Resources, new: &Resources) {
        let is_removed = |old: &BTreeMap<String, Quantity>, new: &BTreeMap<String, Quantity>| {
            old.keys().any(|name| !new.contains_key(name))
        };
        if is_removed(&old.requests, &new.requests) {
            self.refuse(format!("{path}.requests"), "Forbidden: resource requests cannot be removed");
        }
        if is_removed(&old.limits, &new.limits) {
            self.refuse(format!("{path}.limits"), "Forbidden: resource limits cannot be removed");
        }
    }

    fn ephemeral_containers(&mut self) {
        const LIST: &str = "spec.ephemeralContainers";
        let (old, new) = (&self.old.ephemeral_containers, &self.new.ephemeral_containers);
        for known in old {
            let name = &known.container.name;
            match new.iter().find(|ephemeral| ephemeral.container.name == *name) {
                None => self.refuse(
                    LIST,
                    format!("Forbidden: existing ephemeral containers {name:?} may not be removed"),
                ),
                Some(same) if same != known => self.refuse(
                    LIST,
                    format!("Forbidden: existing ephemeral containers {name:?} may not be changed"),
                ),
                Some(_) => {}
            }
        }
        for (index, added) in new.iter().enumerate().filter(|(_, ephemeral)| !old.contains(ephemeral)) {
            self.added(&format!("{LIST}[{index}]"), index, added);
        }
        let mut rest = self.new.clone();
        rest.ephemeral_containers.clone_from(old);
        self.nothing_else(&rest, "only spec.ephemeralContainers may be changed here");
    }

    fn added(&mut self, path: &str, index: usize, added: &EphemeralContainer) {
        let container = &added.container;
        let earlier = self.new.ephemeral_containers[..index].iter().map(|e| &e.container);
        if self.new.all_containers().chain(earlier).any(|other| other.name == container.name) {
            self.refuse(format!("{path}.name"), format!("Duplicate value: {:?}", container.name));
        }
        if let Some(target) = added.target.as_deref()
            && !self.new.all_containers().any(|other| other.name == target)
        {
            self.refuse(format!("{path}.targetContainerName"), format!("Not found: {target:?}"));
        }
        let has_sub_path = container.volume_mounts.iter().any(|mount| mount.sub_path.is_some());
        for (field, is_set) in [
            ("ports", !container.ports.is_empty()),
            ("resources", container.resources != Resources::default()),
            ("resizePolicy", container.resize_policy != Default::default()),
            ("restartPolicy", container.restart_policy.is_some()),
            ("restartPolicyRules", !container.restart_policy_rules.is_empty()),
            ("startupProbe", container.startup_probe.is_some()),
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("lifecycle", container.post_start.is_some() || container.pre_stop.is_some()),
            ("volumeMounts", has_sub_path),
        ] {
            if is_set {
                self.refuse(format!("{path}.{field}"), "Forbidden: cannot be set for an Ephemeral Container");
            }
        }
    }
}

/// Walks the containers of two Pods that have the same ones.
fn each_container(old: &PodSpec, new: &mut PodSpec, mut change: impl FnMut(&Container, &mut Container)) {
    let new = new.init_containers.iter_mut().chain(&mut new.containers);
    old.all_containers().zip(new).for_each(|(old, new)| change(old, new));
}

fn with_cpu_and_memory_of(old: &Resources, new: &mut Resources) {
    for name in ["cpu", "memory"] {
        for (old, new) in [(&old.requests, &mut new.requests), (&old.limits, &mut new.limits)] {
            match old.get(name) {
                Some(amount) => drop(new.insert(name.to_owned(), amount.clone())),
                None => drop(new.remove(name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::{Handler, Probe, RestartPolicy};

    const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  activeDeadlineSeconds: 100
  initContainers:
  - {name: setup, image: a, resources: {requests: {cpu: 1}}}
  - {name: proxy, image: a, restartPolicy: Always}
  containers:
  - {name: web, image: a:1, resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi, ephemeral-storage: 1Gi}}}
  - {name: other, image: b:1}
";

    fn pod() -> Pod {
        crate::manifest::parse("pod.yaml", POD.as_bytes()).expect("valid").pods.remove(0)
    }

    fn refused(way: Way, edit: impl Fn(&mut PodSpec)) -> Vec<String> {
        let (old, mut new) = (pod(), pod());
        edit(&mut new.spec);
        check(&old, &new, way).iter().map(ToString::to_string).collect()
    }

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).expect(text)
    }

    #[test]
    fn an_update_may_change_images_and_lower_the_deadline() {
        let allowed = refused(Way::Update, |spec| {
            spec.containers[0].image = "a:2".to_owned();
            spec.init_containers[1].image = "b".to_owned();
            spec.active_deadline_seconds = Some(50);
        });
        assert_eq!(allowed, [""; 0]);
        assert_eq!(
            refused(Way::Update, |spec| spec.active_deadline_seconds = Some(101)),
            ["spec.activeDeadlineSeconds: Invalid value: 101: must be less than or equal to previous value"]
        );
        assert_eq!(
            refused(Way::Update, |spec| spec.active_deadline_seconds = None),
            [
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"
            ]
        );
    }

    #[test]
    fn an_update_may_change_nothing_else() {
        let edits: [fn(&mut PodSpec); 6] = [
            |spec| spec.restart_policy = RestartPolicy::Never,
            |spec| spec.readiness_gates.push("a/b".to_owned()),
            |spec| spec.termination_grace_period_seconds = 1,
            |spec| spec.containers[0].command.push("x".to_owned()),
            |spec| drop(spec.containers[0].resources.requests.insert("cpu".to_owned(), quantity("2"))),
            |spec| spec.ephemeral_containers.push(shell(spec)),
        ];
        for edit in edits {
            let refused = refused(Way::Update, edit);
            assert!(
                refused[0].starts_with("spec: Forbidden: pod updates may not change fields"),
                "{refused:?}"
            );
        }
        assert_eq!(
            refused(Way::Update, |spec| drop(spec.containers.pop())),
            ["spec.containers: Forbidden: pod updates may not add or remove containers"]
        );
    }

    #[test]
    fn a_resize_may_change_cpu_and_memory() {
        let allowed = refused(Way::Resize, |spec| {
            let web = &mut spec.containers[0].resources;
            web.requests.insert("cpu".to_owned(), quantity("2"));
            web.limits.insert("cpu".to_owned(), quantity("4"));
            web.limits.insert("memory".to_owned(), quantity("1500Mi"));
            let proxy = &mut spec.init_containers[1].resources;
            proxy.requests.insert("memory".to_owned(), quantity("1Mi"));
        });
        assert_eq!(allowed, [""; 0]);
    }

    #[test]
    fn a_resize_may_change_nothing_else_and_take_nothing_away() {
        assert_eq!(
            refused(Way::Resize, |spec| {
                spec.containers[0].resources.requests.remove("cpu");
                spec.containers[0].resources.limits.remove("memory");
            }),
            [
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
            ]
        );
        assert_eq!(
            refused(Way::Resize, |spec| {
                spec.containers[0].resources.limits.insert("ephemeral-storage".to_owned(), quantity("2Gi"));
            }),
            ["spec: Forbidden: only cpu and memory resources are mutable"]
        );
        assert_eq!(
            refused(Way::Resize, |spec| {
                spec.init_containers[0].resources.requests.insert("cpu".to_owned(), quantity("2"));
            }),
            ["spec: Forbidden: resources for non-sidecar init containers are immutable"]
        );
        assert_eq!(
            refused(Way::Resize, |spec| spec.containers[0].image = "a:2".to_owned()),
            ["spec: Forbidden: only cpu and memory resources are mutable"]
        );
    }

    #[test]
    fn a_resize_keeps_the_class() {
        let plain = |resources: &str| {
            let text = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - {{name: a, image: b, resources: {resources}}}\n"
            );
            crate::manifest::parse("pod.yaml", text.as_bytes()).expect("valid").pods.remove(0)
        };
        let full = plain("{limits: {cpu: 1, memory: 1Gi}}");
        let burstable = plain("{limits: {cpu: 2, memory: 1Gi}, requests: {cpu: 1}}");
        let refused: Vec<_> = check(&full, &burstable, Way::Resize).iter().map(ToString::to_string).collect();
        assert_eq!(
            refused,
            ["spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing"]
        );
        let larger = plain("{limits: {cpu: 2, memory: 2Gi}}");
        assert_eq!(check(&full, &larger, Way::Resize), []);
    }

    fn shell(spec: &PodSpec) -> EphemeralContainer {
        let mut container = spec.containers[1].clone();
        container.name = "shell".to_owned();
        EphemeralContainer { container, target: Some("web".to_owned()) }
    }

    #[test]
    fn an_ephemeral_container_may_be_added() {
        let add = |spec: &mut PodSpec| {
            let shell = shell(spec);
            spec.ephemeral_containers.push(shell);
        };
        assert_eq!(refused(Way::EphemeralContainers, add), [""; 0]);
    }

    #[test]
    fn an_ephemeral_container_has_no_probes_ports_or_resources_of_its_own() {
        let refused = refused(Way::EphemeralContainers, |spec| {
            let mut shell = shell(spec);
            shell.container.name = "web".to_owned();
            shell.target = Some("nobody".to_owned());
            shell.container.resources.requests.insert("cpu".to_owned(), quantity("1"));
            shell.container.liveness_probe = Some(Probe {
                handler: Handler::Exec(vec![]),
                initial_delay_seconds: 0,
                period_seconds: 1,
                timeout_seconds: 1,
                success_threshold: 1,
                failure_threshold: 1,
                termination_grace_period_seconds: None,
            });
            spec.ephemeral_containers.push(shell);
            spec.restart_policy = RestartPolicy::Never;
        });
        assert_eq!(
            refused,
            [
                "spec.ephemeralContainers[0].name: Duplicate value: \"web\"",
                "spec.ephemeralContainers[0].targetContainerName: Not found: \"nobody\"",
                "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
                "spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container",
                "spec: Forbidden: only spec.ephemeralContainers may be changed here",
            ]
        );
    }

    #[test]
    fn an_ephemeral_container_may_neither_be_changed_nor_removed() {
        let mut old = pod();
        let shell = shell(&old.spec);
        old.spec.ephemeral_containers.push(shell);
        let mut changed = old.clone();
        changed.spec.ephemeral_containers[0].container.image = "other".to_owned();
        let refused = |new: &Pod| check(&old, new, Way::EphemeralContainers)[0].to_string();
        assert_eq!(
            refused(&changed),
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"shell\" may not be changed"
        );
        assert_eq!(
            refused(&pod()),
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"shell\" may not be removed"
        );
    }
}
