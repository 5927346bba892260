//! Why something does not work, where podling can see it and the program cannot: who holds a port that another
//! container wanted, and that nothing listens where an init container waits.
//!
//! Only tells; nothing is decided by it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lifecycle::Event;
use model::pod::Pod;
use model::waits::{self, Wait};
use network::Protocol;
use network::sockets::{Listener, listeners, owner};

use crate::pod::{Ended, PodContext};
use crate::termination::log_tail;

/// Text of a program that looks at what it said last.
const LOG_TAIL_BYTES: usize = 4096;
/// How programs say EADDRINUSE.
const IN_USE: [&str; 4] =
    ["address already in use", "address in use", "eaddrinuse", "port is already in use"];
/// When a wait is looked at; a healthy one is over by then.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How often a wait is told again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A container that failed and spoke of an address in use is told who holds it.
pub(crate) fn after_exit(context: &PodContext, container: &str, attempt: u32, ended: &Ended) {
    if ended.exit.code == 0 {
        return;
    }
    let text = log_tail(&context.directories.log(container, attempt), LOG_TAIL_BYTES);
    let Some(line) = text.lines().rev().find(|line| {
        let line = line.to_ascii_lowercase();
        IN_USE.iter().any(|words| line.contains(words))
    }) else {
        return;
    };
    let Some(netns) = context.prepared().netns.clone() else { return };
    let Ok(listeners) = listeners(netns.as_fd()) else { return };
    let pod = context.pod();
    let wanted = wanted_ports(&pod, container, line);
    let Some(held) = listeners.iter().find(|listener| wanted.contains(&listener.port)) else { return };
    let holder = holder(context, container, held);
    context.report_event(Event {
        warning: true,
        reason: "PortInUse",
        message: format!(
            "container {container} could not listen on port {}: {holder}. Containers of one Pod share one \
             network, so each port can be taken once: give one of them another port",
            held.port
        ),
        container: Some(container.to_owned()),
    });
}

/// Ports that the failed container may have meant: those in its own words, then those that it declares.
fn wanted_ports(pod: &Pod, container: &str, line: &str) -> Vec<u16> {
    let spoken =
        line.split(|character: char| !character.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let declared = pod.spec.container(container).into_iter().flat_map(|spec| &spec.ports);
    spoken.chain(declared.map(|port| port.container_port)).filter(|port| *port != 0).collect()
}

/// Who listens there, as far as it can be seen.
fn holder(context: &PodContext, loser: &str, held: &Listener) -> String {
    for (name, running) in context.incarnations.running().iter().filter(|(name, _)| name != loser) {
        let Ok(members) = crate::cgroups::processes(&context.cgroup, name) else { continue };
        let members = if members.is_empty() { vec![running.pid] } else { members };
        if let Some(pid) = owner(held.inode, members) {
            let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return format!("container {name} (pid {pid}, {}) holds it", program.trim());
        }
    }
    "another process of the Pod holds it".to_owned()
}

/// Looks after a container that waits for a port: while it runs and nothing listens there, says so, and who would.
pub(crate) fn after_start(context: &Arc<PodContext>, container: &str, attempt: u32) {
    let pod = context.pod();
    let waits: Vec<(Wait, u16)> = waits::find(&pod)
        .into_iter()
        .filter(|wait| wait.container == container && wait.is_local())
        .filter_map(|wait| wait.port.map(|port| (wait, port)))
        .collect();
    if waits.is_empty() {
        return;
    }
    let context = Arc::downgrade(context);
    let container = container.to_owned();
    tokio::spawn(async move {
        tokio::time::sleep(FIRST_LOOK).await;
        loop {
            let Some(context) = context.upgrade() else { return };
            if !context.is_running(&container, attempt) {
                return;
            }
            // Not held while asleep: the namespace must be able to die.
            let Some(netns) = context.prepared().netns.clone() else { return };
            for (wait, port) in waits.iter().filter(|(_, port)| !is_open(&netns, *port)) {
                context.report_event(Event {
                    warning: true,
                    reason: "NothingListens",
                    message: sentence(wait, *port),
                    container: Some(container.clone()),
                });
            }
            drop((context, netns));
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
}

fn is_open(netns: &OwnedFd, port: u16) -> bool {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    listeners(netns.as_fd())
        .is_ok_and(|listeners| listeners.iter().any(|l| l.answers(Protocol::Tcp, localhost, port)))
}

fn sentence(wait: &Wait, port: u16) -> String {
    let Wait { container, host, opened_by, .. } = wait;
    match opened_by {
        Some(opener) => format!(
            "init container {container} waits for {host}:{port}, where nothing listens. Container {opener} would \
             open that port, but it starts only after {container} has ended, so this can never end. Make \
             {opener} a sidecar (an init container with restartPolicy: Always that stands before {container})"
        ),
        None => format!(
            "init container {container} waits for {host}:{port}, where nothing listens, and no container of this \
             Pod declares that port"
        ),
    }
}
