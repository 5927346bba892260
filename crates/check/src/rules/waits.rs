//! Waits for something that cannot come before the waiting one has ended: the deadlocks of Pods.
//!
//! A wait that its text shows to be certain is played: the Pod must come to a stand there, or nothing is said.

use std::collections::{BTreeMap, BTreeSet};

use model::pod::{Handler, PortRef};
use model::waits::{self, Opens, Wait};

use super::ports::exposes;
use crate::finding::{Draft, Severity};
use crate::play::{self, Life};
use crate::process::{self, program_name};
use crate::shell;
use crate::subject::{Member, Role, Subject};

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let members = subject.members();
    let waits = waits::find(subject.pod);
    let mut found = Vec::new();
    for (index, member) in members.iter().enumerate() {
        match member.role {
            Role::Init => {
                for wait in waits.iter().filter(|wait| wait.container == member.name()) {
                    found.extend(if is_own(subject, &wait.host) {
                        of_own_port(subject, &members, index, wait)
                    } else {
                        outside(subject, member, wait)
                    });
                }
            }
            Role::Sidecar => found.extend(startup_probe(subject, &members, index)),
            Role::Main => found.extend(post_start(subject, &members, index)),
        }
    }
    found
}

/// Whether a host is the Pod itself.
fn is_own(subject: &Subject<'_>, host: &str) -> bool {
    let hostname = subject.pod.spec.hostname.as_ref().unwrap_or(&subject.pod.meta.name);
    waits::is_local(host) || host == hostname
}

/// An init container that waits for a port of its own Pod.
fn of_own_port(subject: &Subject<'_>, members: &[Member<'_>], index: usize, wait: &Wait) -> Option<Draft> {
    let member = &members[index];
    let port = wait.port?;
    let before = members[..index].iter().filter(|other| other.role == Role::Sidecar);
    let before: Vec<_> = before.collect();
    if before.iter().any(|sidecar| opens(subject, sidecar, port)) {
        return None;
    }
    // A port of the node may be anybody's.
    if subject.pod.spec.host_network {
        return None;
    }
    let opener = wait.opened_by.as_deref();
    let is_secretive = |sidecar: &&&Member<'_>| says_nothing_of_ports(subject, sidecar);
    let secretive = before.iter().find(is_secretive).map(|sidecar| sidecar.name());
    let certainty = certainty(member);
    let is_certain = certainty == Certainty::Blocks && secretive.is_none();
    if !is_certain && opener.is_none() {
        return None;
    }
    if is_certain && !gets_stuck(subject, members, member, port) {
        return None;
    }
    let name = member.name();
    let target = format!("{}:{port}", wait.host);
    let who = match opener {
        Some(opener) => {
            format!("container `{opener}` would open it, and starts only after `{name}` has ended")
        }
        None => format!("no container of the Pod runs before `{name}` has ended"),
    };
    let verdict = if is_certain { "this can never end" } else { "this may never end" };
    let message =
        format!("init container `{name}` waits for {target}, where nothing listens: {who}; {verdict}");
    let hint = match opener {
        Some(opener) if is_main(subject, opener) => format!(
            "make it a sidecar: move `{opener}` to spec.initContainers before `{name}`, with `restartPolicy: Always`; or \
             drop `{name}` and let the main containers wait"
        ),
        Some(opener) => format!("put the sidecar `{opener}` before `{name}` in spec.initContainers"),
        None => format!(
            "what listens there must be a sidecar (an init container with `restartPolicy: Always`) that stands before `{name}`"
        ),
    };
    let severity = if is_certain { Severity::Error } else { Severity::Advice };
    Some(Draft::new(severity, "wait-never-ends", member.words_path(), message).hint(hint))
}

fn is_main(subject: &Subject<'_>, name: &str) -> bool {
    subject.pod.spec.containers.iter().any(|container| container.name == name)
}

/// Whether manifest or image say that a container listens on a port.
fn opens(subject: &Subject<'_>, member: &Member<'_>, port: u16) -> bool {
    waits::opens(member.container, port).is_some() || exposes(subject, member, port)
}

/// Whether it is not known on which ports a container listens, if on any.
fn says_nothing_of_ports(subject: &Subject<'_>, member: &Member<'_>) -> bool {
    let image = subject.image(member.container);
    member.container.ports.is_empty() && image.is_none_or(|image| image.exposed_ports.is_empty())
}

/// Whether the Pod, played forward, comes to a stand at this container.
fn gets_stuck(subject: &Subject<'_>, members: &[Member<'_>], waiting: &Member<'_>, port: u16) -> bool {
    let others = members.iter().filter(|other| other.name() != waiting.name());
    let openers = others.filter(|other| opens(subject, other, port));
    let openers: BTreeSet<String> = openers.map(|other| other.name().to_owned()).collect();
    let life = Life::EndsWhenRunning(vec![openers]);
    let script = play::Script {
        lives: BTreeMap::from([(waiting.name().to_owned(), life)]),
        ..play::Script::default()
    };
    let pod = without_deadline(subject);
    let Some(played) = play::play(&pod, &script) else { return false };
    let is_it = |cause: &String| cause.contains(&format!("`{}`", waiting.name()));
    !played.all_started(&pod) && played.status.cause.as_ref().is_some_and(is_it)
}

/// The Pod as it would go on if nobody were in a hurry.
fn without_deadline(subject: &Subject<'_>) -> model::pod::Pod {
    let mut pod = subject.pod.clone();
    pod.spec.active_deadline_seconds = None;
    pod
}

/// How sure it is that a command that reaches for something does not end without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// It loops until it gets it, or fails without it every time.
    Blocks,
    /// It may go on without it.
    Unclear,
}

fn certainty(member: &Member<'_>) -> Certainty {
    let words: Vec<String> = member.container.command.iter().chain(&member.container.args).cloned().collect();
    let words = process::without_wrapper(words);
    let Some(script) = process::script(&words) else {
        // A script of the image may do anything; these programs do one thing.
        let is_known = words.first().is_some_and(|program| {
            let known = ["nc", "ncat", "wget", "curl", "wait-for", "wait4x", "pg_isready"];
            known.contains(&program_name(program))
        });
        return if is_known { Certainty::Blocks } else { Certainty::Unclear };
    };
    let script = shell::Script::of(script);
    const WAYS_ON: [&str; 6] = ["break", "exit", "return", "for", "trap", "kill"];
    let has_way_on = WAYS_ON.iter().any(|way| script.runs(way)) || script.has_background_job();
    let may_go_on = has_way_on || script.ignores_a_failure() || script.counts();
    if script.only_waits() && !may_go_on { Certainty::Blocks } else { Certainty::Unclear }
}

/// A wait for something that is not of this Pod: nobody can tell, which is worth a note.
fn outside(subject: &Subject<'_>, member: &Member<'_>, wait: &Wait) -> Option<Draft> {
    let host = wait.host.as_str();
    let is_name = host.chars().any(|c| c.is_ascii_alphabetic()) && !host.contains([':', '$', '%']);
    let is_of_cluster = !host.contains('.') || host.contains(".svc");
    let aliases = subject.pod.spec.host_aliases.iter().flat_map(|alias| &alias.hostnames);
    if !is_name || !is_of_cluster || aliases.into_iter().any(|name| name == host) {
        return None;
    }
    let target = wait.port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let message = format!(
        "init container `{}` waits for {target}, which no Pod of these manifests can be reached by; it ends only if this \
         machine's DNS knows the name",
        member.name()
    );
    let hint = "on one machine without a cluster, name an address in spec.hostAliases";
    Some(Draft::new(Severity::Note, "wait-outside", member.words_path(), message).hint(hint))
}

/// A sidecar whose startup probe asks a port that only a later container declares holds that one back for ever.
fn startup_probe(subject: &Subject<'_>, members: &[Member<'_>], index: usize) -> Option<Draft> {
    let member = &members[index];
    let probe = member.container.startup_probe.as_ref()?;
    let (port, field) = match &probe.handler {
        Handler::HttpGet { port: PortRef::Number(port), host: None, .. } => (*port, "httpGet"),
        Handler::TcpSocket { port: PortRef::Number(port), host: None } => (*port, "tcpSocket"),
        Handler::Grpc { port, .. } => (*port, "grpc"),
        _ => return None,
    };
    let declares = |other: &Member<'_>| other.container.ports.iter().any(|p| p.container_port == port);
    let alone = model::pod::Container { startup_probe: None, ..member.container.clone() };
    let other_probes = waits::opens(&alone, port).is_some() || exposes(subject, member, port);
    if other_probes || subject.pod.spec.host_network || members[..index].iter().any(declares) {
        return None;
    }
    let later = members[index + 1..].iter().find(|other| declares(other))?;
    let message = format!(
        "the startup probe of sidecar `{}` asks port {port}, which container `{}` declares, and that starts only after the \
         probe has passed",
        member.name(),
        later.name()
    );
    let hint = format!("let the probe ask a port that `{}` opens itself", member.name());
    let path = member.field(&format!("startupProbe.{field}.port"));
    Some(Draft::new(Severity::Advice, "wait-never-ends", path, message).hint(hint))
}

/// A postStart hook is awaited before the next container is started: it cannot wait for one of those.
fn post_start(subject: &Subject<'_>, members: &[Member<'_>], index: usize) -> Option<Draft> {
    let member = &members[index];
    let Some(Handler::Exec(command)) = &member.container.post_start else { return None };
    let targets = waits::reached_by(command, member.container);
    let port = targets.iter().find_map(|(host, port)| port.filter(|_| is_own(subject, host)))?;
    let up_to_here = &members[..=index];
    let runs = |other: &&Member<'_>| other.role != Role::Init;
    if up_to_here.iter().filter(runs).any(|other| opens(subject, other, port)) {
        return None;
    }
    let declares = |other: &&Member<'_>| waits::opens(other.container, port) == Some(Opens::Declared);
    let later = members[index + 1..].iter().find(declares)?;
    let message = format!(
        "the postStart hook of `{}` reaches for port {port}, which container `{}` opens, and that starts only after the hook \
         has ended",
        member.name(),
        later.name()
    );
    let hint = format!("put `{}` before `{}`, or make it a sidecar", later.name(), member.name());
    let path = member.field("lifecycle.postStart.exec.command");
    Some(Draft::new(Severity::Advice, "wait-never-ends", path, message).hint(hint))
}
