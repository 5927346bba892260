//! A start that takes, or may take, longer than the Pod's `activeDeadlineSeconds`.

use std::collections::BTreeMap;

use model::pod::{Handler, Pod};

use crate::finding::{Draft, Severity};
use crate::play::{self, Life, Pace, Script};
use crate::process::told_words;
use crate::sleeps;
use crate::subject::{Role, Subject};

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let Some(deadline) = subject.pod.spec.active_deadline_seconds else { return Vec::new() };
    let path = "spec.activeDeadlineSeconds";
    let draft = |severity, message| vec![Draft::new(severity, "deadline-too-short", path, message)];
    let mut script = script(subject);
    let mut unhurried = subject.pod.clone();
    unhurried.spec.active_deadline_seconds = None;
    let takes = |script: &Script| {
        let started = play::play(&unhurried, script)?.started;
        let last = unhurried.spec.containers.iter().map(|container| started.get(&container.name).copied());
        last.max().flatten()
    };
    if !comes_up(subject.pod, &script) {
        let Some(least) = takes(&script) else { return Vec::new() };
        let message = format!(
            "the Pod is ended after {deadline} s, and its last main container starts after {least} s at the earliest"
        );
        return draft(Severity::Error, message);
    }
    script.pace = Pace::Slowest;
    if !comes_up(subject.pod, &script) {
        let Some(most) = takes(&script) else { return Vec::new() };
        let message = format!(
            "the Pod is ended after {deadline} s, and what its startup probes and hooks allow adds up to {most} s before its \
             last main container starts"
        );
        return draft(Severity::Advice, message);
    }
    Vec::new()
}

/// Whether every main container is started, or nobody can tell.
fn comes_up(pod: &Pod, script: &Script) -> bool {
    play::play(pod, script).is_none_or(|played| played.all_started(pod))
}

/// What takes time for certain: sleeps of init containers and hooks.
fn script(subject: &Subject<'_>) -> Script {
    let members = subject.members();
    let mut lives = BTreeMap::new();
    let mut post_start_seconds = BTreeMap::new();
    for member in &members {
        let slept = sleeps::of(&told_words(subject, member)).map(|sleep| sleep.seconds);
        if let (Role::Init, Some(seconds)) = (member.role, slept) {
            lives.insert(member.name().to_owned(), Life::EndsAfter { seconds });
        }
        let hook = match &member.container.post_start {
            Some(Handler::Sleep { seconds }) => Some(*seconds),
            Some(Handler::Exec(command)) => sleeps::of(command).map(|sleep| sleep.seconds),
            _ => None,
        };
        post_start_seconds.extend(hook.map(|seconds| (member.name().to_owned(), seconds)));
    }
    Script { lives, post_start_seconds, ..Script::default() }
}
