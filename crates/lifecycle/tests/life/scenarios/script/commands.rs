//! The lines below the Pod: what happens, what is edited, and how things go from then on.

use lifecycle::{Eviction, Reason};
use model::pod::{EphemeralContainer, Pod};

use super::{Command, ScriptFate, duration, probe_kind, resource, start_reason, words};
use crate::world::SECOND;
use crate::world::pods::container;

/// What a line says.
pub(super) fn command(text: &str) -> Command {
    let found = happening(&words(text)).or_else(|| edited(text)).or_else(|| fated(&words(text)));
    found.unwrap_or_else(|| panic!("what is {text:?}?"))
}

/// Something that happens at that instant.
fn happening(words: &[&str]) -> Option<Command> {
    Some(match words {
        [container, "exits", code] => {
            let code = code.parse().unwrap();
            Command::Exit { container: (*container).to_owned(), code, oom_killed: false }
        }
        [container, "is", "OOM-killed"] => {
            Command::Exit { container: (*container).to_owned(), code: 137, oom_killed: true }
        }
        ["pause", "dies"] => Command::PauseDies,
        ["delete"] => Command::Delete { grace_seconds: None },
        ["delete", "with", "grace", time] => Command::Delete { grace_seconds: Some(duration(time) / SECOND) },
        ["restart"] => Command::Restart { container: None },
        ["restart", container] => Command::Restart { container: Some((*container).to_owned()) },
        ["daemon", "is", "down", "for", time] => Command::DaemonDown { nanos: duration(time) },
        ["machine", "reboots"] => Command::Reboot,
        ["clock", "jumps", time] => Command::Clock { nanos: duration(time) as i64 },
        ["resources", "come", "free"] | ["the", "missing", "object", "appears"] => Command::DependencyChanged,
        ["gate", gate, does] => Command::Gate { gate: (*gate).to_owned(), opens: *does == "opens" },
        ["node", "is", "low", "on", what] => Command::Evict {
            why: Eviction::NodePressure,
            message: format!("The node was low on resource: {what}."),
        },
        ["node", "shuts", "down"] => Command::Evict {
            why: Eviction::NodeShutdown,
            message: "Pod was terminated in response to imminent node shutdown.".to_owned(),
        },
        [volume, "is", "too", "full"] => Command::Evict {
            why: Eviction::LocalStorage,
            message: format!("Usage of EmptyDir volume \"{volume}\" exceeds the limit \"1Gi\"."),
        },
        ["node", "delays", "restarts", time, "at", "most"] => {
            Command::MostDelay { seconds: duration(time) / SECOND }
        }
        ["status"] => Command::Status,
        ["end"] => Command::End,
        _ => return None,
    })
}

/// An edit of the Pod.
fn edited(text: &str) -> Option<Command> {
    Some(match words(text).as_slice() {
        ["image", "of", container, "becomes", image] => {
            let (container, image) = ((*container).to_owned(), (*image).to_owned());
            edit(text, move |pod| {
                let all = pod.spec.init_containers.iter_mut().chain(&mut pod.spec.containers);
                all.filter(|one| one.name == container).for_each(|one| one.image.clone_from(&image));
            })
        }
        ["activeDeadline", "becomes", limit] => {
            let limit = duration(limit) / SECOND;
            edit(text, move |pod| pod.spec.active_deadline_seconds = Some(limit))
        }
        [name, "gets", amounts @ ..] => {
            let (name, amounts) = ((*name).to_owned(), amounts.join(" "));
            edit(text, move |pod| {
                let all = pod.spec.init_containers.iter_mut().chain(&mut pod.spec.containers);
                let of_pod = pod.spec.resources.iter_mut().filter(|_| name == "pod");
                let of_container = all.filter(|one| one.name == name).map(|one| &mut one.resources);
                for resources in of_pod.chain(of_container) {
                    amounts.split("and").for_each(|amount| resource(resources, &words(amount)));
                }
            })
        }
        ["debug", name] => add_ephemeral(text, name, None),
        ["debug", name, "in", target] => add_ephemeral(text, name, Some(target)),
        _ => return None,
    })
}

/// How actions go from now on.
fn fated(words: &[&str]) -> Option<Command> {
    let change = |change: Box<dyn Fn(&mut ScriptFate)>| Command::Fate(change);
    Some(match words {
        ["node", "says", answer] => {
            let refusal = match *answer {
                "yes" => None,
                "Deferred" => Some(Reason::Deferred),
                "Infeasible" => Some(Reason::Infeasible),
                other => panic!("what answer is {other:?}?"),
            };
            change(Box::new(move |fate| fate.refusal = refusal))
        }
        ["resize", "of", container, outcome] => {
            let (container, fails) = ((*container).to_owned(), *outcome == "fails");
            change(Box::new(move |fate| {
                fate.failing_resizes.retain(|failing| *failing != container);
                fate.failing_resizes.extend(fails.then(|| container.clone()));
            }))
        }
        [kind, "of", container, outcome] if probe_kind(kind).is_some() => {
            let key = ((*container).to_owned(), probe_kind(kind).unwrap());
            let fails = *outcome == "fails";
            change(Box::new(move |fate| {
                fate.failing_probes.retain(|failing| *failing != key);
                fate.failing_probes.extend(fails.then(|| key.clone()));
            }))
        }
        ["start", "of", container, "fails", reason] => {
            let (container, reason) = ((*container).to_owned(), start_reason(reason));
            change(Box::new(move |fate| {
                fate.failing_starts.insert(container.clone(), reason);
            }))
        }
        ["start", "of", container, "works"] => {
            let container = (*container).to_owned();
            change(Box::new(move |fate| {
                fate.failing_starts.remove(&container);
            }))
        }
        ["pull", "of", container, outcome] => {
            let (container, fails) = ((*container).to_owned(), *outcome == "fails");
            change(Box::new(move |fate| {
                fate.never_pulled.retain(|never| *never != container);
                fate.failing_pulls.retain(|failing| *failing != container);
                fate.failing_pulls.extend(fails.then(|| container.clone()));
            }))
        }
        ["sandbox", outcome] => {
            let fails = *outcome == "fails";
            change(Box::new(move |fate| fate.failing_sandbox = fails))
        }
        _ => return None,
    })
}

fn edit(told: &str, change: impl Fn(&mut Pod) + 'static) -> Command {
    Command::Edit { told: told.to_owned(), change: Box::new(change) }
}

fn add_ephemeral(text: &str, name: &str, target: Option<&str>) -> Command {
    let ephemeral = EphemeralContainer { container: container(name), target: target.map(str::to_owned) };
    edit(text, move |pod| pod.spec.ephemeral_containers.push(ephemeral.clone()))
}
