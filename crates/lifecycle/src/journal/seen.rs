//! What is seen otherwise than in the round before. A round sees nearly all as it was, and there are many rounds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::observation::{Image, Instance, Observation, Sandbox, Volumes};

/// The difference of two observations; what is absent is as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// The sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// Containers that changed; none for one that is not seen any more.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub containers: BTreeMap<String, Option<Instance>>,
    /// Images that changed, by container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, Option<Image>>,
    /// The volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Volumes>,
    /// The Pod's addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_ips: Option<Vec<String>>,
    /// The node's addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_ips: Option<Vec<String>>,
    /// Conditions that others set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gates: Option<BTreeSet<String>>,
    /// Actions under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<BTreeSet<Action>>,
}

impl Seen {
    /// What is otherwise in `new` than it was in `old`.
    pub fn since(old: &Observation, new: &Observation) -> Seen {
        // Every field by its name: a new one must be recorded too.
        let Observation { sandbox, containers, images, volumes, pod_ips, host_ips, gates, in_flight } = new;
        Seen {
            sandbox: changed(&old.sandbox, sandbox),
            containers: changed_keys(&old.containers, containers),
            images: changed_keys(&old.images, images),
            volumes: changed(&old.volumes, volumes),
            pod_ips: changed(&old.pod_ips, pod_ips),
            host_ips: changed(&old.host_ips, host_ips),
            gates: changed(&old.gates, gates),
            in_flight: changed(&old.in_flight, in_flight),
        }
    }

    /// Makes of the observation before the one of this round.
    pub fn apply(&self, seen: &mut Observation) {
        let Seen { sandbox, containers, images, volumes, pod_ips, host_ips, gates, in_flight } = self;
        take(&mut seen.sandbox, sandbox);
        take_keys(&mut seen.containers, containers);
        take_keys(&mut seen.images, images);
        take(&mut seen.volumes, volumes);
        take(&mut seen.pod_ips, pod_ips);
        take(&mut seen.host_ips, host_ips);
        take(&mut seen.gates, gates);
        take(&mut seen.in_flight, in_flight);
    }

    /// Whether all is as it was.
    pub fn is_nothing(&self) -> bool {
        *self == Seen::default()
    }
}

fn changed<T: Clone + PartialEq>(old: &T, new: &T) -> Option<T> {
    (old != new).then(|| new.clone())
}

fn changed_keys<T: Clone + PartialEq>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) -> BTreeMap<String, Option<T>> {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    let other = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    gone.chain(other.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

fn take<T: Clone>(seen: &mut T, changed: &Option<T>) {
    if let Some(changed) = changed {
        seen.clone_from(changed);
    }
}

fn take_keys<T: Clone>(seen: &mut BTreeMap<String, T>, changed: &BTreeMap<String, Option<T>>) {
    for (key, value) in changed {
        match value {
            Some(value) => seen.insert(key.clone(), value.clone()),
            None => seen.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str) -> Image {
        Image { image_id: id.to_owned() }
    }

    #[test]
    fn a_difference_makes_the_new_of_the_old() {
        let old = Observation {
            sandbox: Sandbox::Ready { attempt: 0 },
            images: [("stays".to_owned(), image("1")), ("goes".to_owned(), image("2"))].into(),
            pod_ips: vec!["10.0.0.1".to_owned()],
            ..Observation::default()
        };
        let new = Observation {
            sandbox: Sandbox::Dead { attempt: 0 },
            images: [("stays".to_owned(), image("1")), ("comes".to_owned(), image("3"))].into(),
            in_flight: [Action::RemoveVolumes].into(),
            ..Observation::default()
        };
        let difference = Seen::since(&old, &new);
        assert_eq!(difference.images.len(), 2, "what stays is not said again");
        let mut made = old.clone();
        difference.apply(&mut made);
        assert_eq!(made, new);
        assert!(Seen::since(&new, &new).is_nothing());
    }
}
