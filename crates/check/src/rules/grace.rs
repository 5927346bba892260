//! A preStop hook that does not fit the grace, of which it is a part: the rest of it is cut off by KILL.

use std::collections::BTreeMap;

use model::pod::Handler;

use crate::finding::{Draft, Severity};
use crate::play::{self, Script};
use crate::sleeps::{self, Sleep};
use crate::subject::{Member, Role, Subject};

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let members = subject.members();
    let slept: Vec<(&Member<'_>, Sleep, &str)> = members
        .iter()
        .filter(|member| member.role != Role::Init)
        .filter_map(|member| {
            let (sleep, field) = match member.container.pre_stop.as_ref()? {
                Handler::Sleep { seconds } => (Sleep { seconds: *seconds, is_all: true }, "sleep.seconds"),
                Handler::Exec(command) => (sleeps::of(command)?, "exec.command"),
                _ => return None,
            };
            Some((member, sleep, field))
        })
        .collect();
    if slept.is_empty() {
        return Vec::new();
    }
    let grace = subject.pod.spec.termination_grace_period_seconds;
    let seconds: BTreeMap<String, u64> =
        slept.iter().map(|(member, sleep, _)| (member.name().to_owned(), sleep.seconds)).collect();
    let script = Script { pre_stop_seconds: seconds, ..Script::default() };
    let Some(played) = play::play_and_stop(subject.pod, &script) else { return Vec::new() };
    let mut found = Vec::new();
    for (member, sleep, field) in slept {
        let name = member.name();
        let is_cut = played.cut_off.contains(name);
        let message = match sleep.seconds {
            u64::MAX => format!(
                "preStop of container `{name}` never ends, and is cut off after the grace of {grace} s"
            ),
            seconds if is_cut => {
                format!(
                    "preStop of container `{name}` takes {seconds} s, and is cut off after the grace of {grace} s"
                )
            }
            seconds if seconds >= grace && grace > 0 => format!(
                "preStop of container `{name}` takes {seconds} s, the whole grace of the Pod: nothing is left for the \
                 container to stop in"
            ),
            _ => continue,
        };
        // A grace of 0 stops at once, without hooks: that is what was asked for.
        if grace == 0 {
            continue;
        }
        let severity = if is_cut && sleep.is_all { Severity::Error } else { Severity::Advice };
        let least = if sleep.seconds == u64::MAX { None } else { sleep.seconds.checked_add(10) };
        let path = member.field(&format!("lifecycle.preStop.{field}"));
        let draft = Draft::new(severity, "pre-stop-cut-off", path, message);
        found.push(match least {
            Some(least) => draft
                .hint(format!("terminationGracePeriodSeconds: {least} leaves 10 s for the container itself")),
            None => draft,
        });
    }
    found
}
