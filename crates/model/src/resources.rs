//! What a Pod as a whole asks for, and the class of service that follows from it.
//!
//! The formula is KEP-753's: init containers run one after the other beside the sidecars that started before
//! them; then all sidecars run beside all main containers. Whichever moment needs most decides.

use std::collections::BTreeMap;

use crate::pod::{Container, PodSpec, Resources};
use crate::quantity::Quantity;

type Amounts = BTreeMap<String, i128>;

/// Kubernetes' quality of service classes, which decide who is killed first when memory runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum QosClass {
    /// Every container has limits of cpu and memory, and requests equal to them.
    Guaranteed,
    /// Something is asked for.
    Burstable,
    /// Nothing is asked for.
    BestEffort,
}

impl std::fmt::Display for QosClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            QosClass::Guaranteed => "Guaranteed",
            QosClass::Burstable => "Burstable",
            QosClass::BestEffort => "BestEffort",
        })
    }
}

/// The class of a Pod: of its own resources where it has some (KEP-2837), else of all its containers'.
pub fn qos_class(spec: &PodSpec) -> QosClass {
    let all: Vec<&Resources> = match &spec.resources {
        Some(resources) => vec![resources],
        None => spec.all_containers().map(|container| &container.resources).collect(),
    };
    let amount = |list: &BTreeMap<String, Quantity>, name: &str| {
        list.get(name).map(Quantity::nanos).filter(|nanos| *nanos > 0)
    };
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let asks = |resources: &Resources| {
        COUNTED.iter().any(|name| {
            amount(&resources.requests, name).is_some() || amount(&resources.limits, name).is_some()
        })
    };
    let is_guaranteed = |resources: &Resources| {
        COUNTED.iter().all(|name| {
            let limit = amount(&resources.limits, name);
            limit.is_some() && limit == amount(&resources.requests, name)
        })
    };
    if !all.iter().any(|resources| asks(resources)) {
        QosClass::BestEffort
    } else if all.iter().all(|resources| is_guaranteed(resources)) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// What the Pod as a whole requests, and what it is limited to: a limit exists only where every container has
/// one, since one container without it may use anything. The Pod's own resources (KEP-2837) come first.
pub fn effective(spec: &PodSpec) -> Resources {
    let mut requests = peak(spec, &|container| nanos(&container.resources.requests));
    let mut limits = peak(spec, &|container| nanos(&container.resources.limits));
    limits.retain(|name, _| {
        spec.all_containers().all(|container| container.resources.limits.contains_key(name))
    });
    if let Some(own) = &spec.resources {
        requests.extend(nanos(&own.requests));
        limits.extend(nanos(&own.limits));
    }
    Resources { requests: quantities(requests), limits: quantities(limits) }
}

/// What all containers together request, without regard to the Pod's own resources.
pub(crate) fn of_containers(
    spec: &PodSpec,
    amounts: fn(&Resources) -> &BTreeMap<String, Quantity>,
) -> BTreeMap<String, Quantity> {
    quantities(peak(spec, &|container| nanos(amounts(&container.resources))))
}

/// max(max over init containers of (it + the sidecars before it), all sidecars + all main containers).
fn peak(spec: &PodSpec, amounts: &dyn Fn(&Container) -> Amounts) -> Amounts {
    let mut highest = Amounts::new();
    let mut sidecars = Amounts::new();
    for container in &spec.init_containers {
        if container.is_sidecar() {
            add(&mut sidecars, &amounts(container));
            raise(&mut highest, &sidecars);
        } else {
            let mut moment = sidecars.clone();
            add(&mut moment, &amounts(container));
            raise(&mut highest, &moment);
        }
    }
    let mut running = sidecars;
    for container in &spec.containers {
        add(&mut running, &amounts(container));
    }
    raise(&mut highest, &running);
    highest
}

fn add(sum: &mut Amounts, amounts: &Amounts) {
    for (name, nanos) in amounts {
        let total = sum.entry(name.clone()).or_default();
        *total = total.saturating_add(*nanos);
    }
}

fn raise(highest: &mut Amounts, moment: &Amounts) {
    for (name, nanos) in moment {
        let most = highest.entry(name.clone()).or_default();
        *most = (*most).max(*nanos);
    }
}

fn nanos(list: &BTreeMap<String, Quantity>) -> Amounts {
    list.iter().map(|(name, quantity)| (name.clone(), quantity.nanos())).collect()
}

fn quantities(amounts: Amounts) -> BTreeMap<String, Quantity> {
    let quantity = |(name, nanos): (String, i128)| {
        let quantity =
            if is_in_bytes(&name) { Quantity::bytes_from_nanos(nanos) } else { Quantity::from_nanos(nanos) };
        (name, quantity)
    };
    amounts.into_iter().map(quantity).collect()
}

/// Resources that are counted in bytes.
fn is_in_bytes(name: &str) -> bool {
    matches!(name, "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Pod of containers given as `role cpu-request/cpu-limit memory-request/memory-limit`.
    fn pod(containers: &[&str]) -> PodSpec {
        let mut text = String::from("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n");
        for (field, roles) in [("initContainers", &["init", "sidecar"][..]), ("containers", &["main"])] {
            let mine = containers
                .iter()
                .enumerate()
                .filter(|(_, line)| roles.contains(&line.split(' ').next().unwrap_or("")));
            let items: Vec<String> = mine
                .map(|(index, line)| {
                    let words: Vec<&str> = line.split(' ').collect();
                    let restart = if words[0] == "sidecar" { ", restartPolicy: Always" } else { "" };
                    let list = |at: usize| {
                        let entry = |name: &str, word: usize| {
                            let amount = words.get(word).and_then(|word| word.split('/').nth(at)).unwrap_or("");
                            if amount.is_empty() { String::new() } else { format!("{name}: {amount}, ") }
                        };
                        entry("cpu", 1) + &entry("memory", 2)
                    };
                    format!(
                        "  - {{name: c{index}, image: a{restart}, resources: {{requests: {{{}}}, limits: {{{}}}}}}}\n",
                        list(0).trim_end_matches(", "),
                        list(1).trim_end_matches(", ")
                    )
                })
                .collect();
            if !items.is_empty() {
                text += &format!("  {field}:\n{}", items.concat());
            }
        }
        crate::manifest::parse("pod.yaml", text.as_bytes())
            .unwrap_or_else(|problems| panic!("{text}\n{problems}"))
            .pods
            .remove(0)
            .spec
    }

    #[test]
    fn the_class_follows_from_every_container() {
        for (containers, expected) in [
            (&["main"][..], QosClass::BestEffort),
            (&["main 1/1 1Gi/1Gi"], QosClass::Guaranteed),
            (&["main 1000m/1 1Gi/1024Mi"], QosClass::Guaranteed),
            (&["main /1 /1Gi"], QosClass::Guaranteed),
            (&["main 0/ 0/"], QosClass::BestEffort),
            (&["main 1/2 1Gi/1Gi"], QosClass::Burstable),
            (&["main 1/1"], QosClass::Burstable),
            (&["main 1/1 1Gi/1Gi", "main"], QosClass::Burstable),
            (&["main 1/1 1Gi/1Gi", "init"], QosClass::Burstable),
            (&["main 1/1 1Gi/1Gi", "init 1/1 1Gi/1Gi"], QosClass::Guaranteed),
        ] {
            assert_eq!(qos_class(&pod(containers)), expected, "{containers:?}");
        }
    }

    #[test]
    fn the_moment_that_needs_most_decides() {
        for (containers, cpu) in [
            (&["main 1/", "main 2/"][..], "3"),
            (&["init 5/", "main 1/", "main 2/"], "5"),
            (&["init 5/", "init 4/", "main 1/"], "5"),
            (&["sidecar 1/", "main 2/"], "3"),
            (&["sidecar 1/", "init 5/", "main 2/"], "6"),
            (&["init 5/", "sidecar 1/", "main 2/"], "5"),
            (&["sidecar 1/", "init 3/", "sidecar 2/", "main 2/"], "5"),
        ] {
            let effective = effective(&pod(containers));
            assert_eq!(effective.requests.get("cpu").map(Quantity::text), Some(cpu), "{containers:?}");
        }
    }

    #[test]
    fn a_limit_needs_every_container_to_have_one() {
        let both = effective(&pod(&["main /1 /1Gi", "main /2 /1Gi"]));
        assert_eq!(both.limits.get("memory").map(Quantity::value), Some(2 << 30));
        assert_eq!(both.limits.get("memory").map(Quantity::text), Some("2Gi"), "as Kubernetes tells memory");
        assert_eq!(both.limits.get("cpu").map(Quantity::value), Some(3));
        let one = effective(&pod(&["main /1 /1Gi", "main /2 1Gi/"]));
        assert_eq!(one.limits.get("memory"), None);
    }
}
