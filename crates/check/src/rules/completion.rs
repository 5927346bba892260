//! A helper among the main containers of a Pod that should complete: it never ends, and so never does the Pod.

use std::collections::BTreeMap;

use model::pod::RestartPolicy;

use crate::endless;
use crate::finding::{Draft, Severity};
use crate::play::{self, Life, Script};
use crate::subject::{Role, Subject};

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let spec = &subject.pod.spec;
    // Where everything starts again, nothing is meant to complete.
    if spec.restart_policy == RestartPolicy::Always || spec.containers.len() < 2 {
        return Vec::new();
    }
    let members = subject.members();
    let mains = members.iter().filter(|member| member.role == Role::Main);
    let reasons: Vec<_> = mains.map(|member| (member, endless::reason(subject, member))).collect();
    let worker = reasons.iter().find(|(_, reason)| reason.is_none());
    let Some((worker, _)) = worker else { return Vec::new() };
    let lives: BTreeMap<String, Life> = reasons
        .iter()
        .map(|(member, reason)| {
            let life = if reason.is_some() { Life::Forever } else { Life::EndsAfter { seconds: 0 } };
            (member.name().to_owned(), life)
        })
        .collect();
    let mut pod = subject.pod.clone();
    pod.spec.active_deadline_seconds = None;
    let played = play::play(&pod, &Script { lives, ..Script::default() });
    if played.is_none_or(|played| played.ended.is_some()) {
        return Vec::new();
    }
    let helpers = reasons.iter().filter_map(|(member, reason)| Some((member, reason.as_ref()?)));
    helpers
        .map(|(helper, reason)| {
            let name = helper.name();
            let message = format!(
                "container `{name}` never ends by itself ({reason}), so the Pod never completes, also when `{}` has",
                worker.name()
            );
            let hint = format!(
                "make `{name}` a sidecar: move it to spec.initContainers, with `restartPolicy: Always`; it is then stopped \
                 when the main containers have ended"
            );
            Draft::new(Severity::Advice, "never-completes", helper.field("name"), message).hint(hint)
        })
        .collect()
}
