//! One port wanted twice: by two containers of a Pod, which share one network, or on the machine by two Pods.

use std::net::IpAddr;

use model::pod::{Pod, Port, Protocol};
use model::waits::{self, Opens};

use crate::finding::{Draft, Severity};
use crate::listens::{self, Listening};
use crate::subject::{Member, Role, Subject};

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let mut found = in_the_pod(subject);
    found.extend(without_a_word(subject));
    found.extend(on_the_machine(subject));
    found
}

/// Whether a container runs its image's own command, and the image says that this listens on a TCP port.
pub(super) fn exposes(subject: &Subject<'_>, member: &Member<'_>, port: u16) -> bool {
    let is_own_command = member.container.command.is_empty() && member.container.args.is_empty();
    let listens = |exposed: &String| {
        let (number, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        protocol.eq_ignore_ascii_case("tcp") && number.parse() == Ok(port)
    };
    is_own_command
        && subject.image(member.container).is_some_and(|image| image.exposed_ports.iter().any(listens))
}

/// Containers that run at the same time and declare one port.
fn in_the_pod(subject: &Subject<'_>) -> Vec<Draft> {
    let members = subject.members();
    let mut found = Vec::new();
    let mut seen: Vec<(&Member<'_>, &Port)> = Vec::new();
    for member in members.iter().filter(|member| member.role != Role::Init) {
        for (index, port) in member.container.ports.iter().enumerate() {
            let other = seen.iter().find(|(other, earlier)| {
                other.name() != member.name()
                    && (earlier.container_port, earlier.protocol) == (port.container_port, port.protocol)
            });
            if let Some((other, _)) = other {
                let path = member.field(&format!("ports[{index}].containerPort"));
                found.push(twice(subject, other, member, port).placed_at(path));
            }
            seen.push((member, port));
        }
    }
    found
}

/// Containers that run at the same time and open one port, which at least one of them does not declare.
fn without_a_word(subject: &Subject<'_>) -> Vec<Draft> {
    let members = subject.members();
    let mut seen: Vec<(&Member<'_>, Listening)> = Vec::new();
    let mut found = Vec::new();
    let declares = |member: &Member<'_>, port: u16| {
        member.container.ports.iter().any(|declared| declared.container_port == port)
    };
    for member in members.iter().filter(|member| member.role != Role::Init) {
        for listening in listens::ports(subject, member) {
            let port = listening.port;
            let other = seen.iter().find(|(other, earlier)| {
                earlier.port == port && !(declares(other, port) && declares(member, port))
            });
            if let Some((other, earlier)) = other {
                let severity = if earlier.stays { Severity::Error } else { Severity::Advice };
                let message = format!(
                    "containers `{}` and `{}` both listen on port {port}: they share one network, so the second fails",
                    other.name(),
                    member.name()
                );
                let path = member.field(if member.container.command.is_empty() { "name" } else { "command" });
                let draft = Draft::new(severity, "port-twice", path, message);
                found.push(draft.hint("give one of them another port"));
            }
            seen.push((member, listening));
        }
    }
    found
}

/// Two containers that only declare a port may mean the same one; two that are known to open it cannot both.
fn twice(subject: &Subject<'_>, one: &Member<'_>, other: &Member<'_>, port: &Port) -> Draft {
    let number = port.container_port;
    let is_known = |member: &Member<'_>| {
        let bare = model::pod::Container { ports: Vec::new(), ..member.container.clone() };
        let bare = model::pod::Container {
            startup_probe: None,
            liveness_probe: None,
            readiness_probe: None,
            ..bare
        };
        waits::opens(&bare, number) == Some(Opens::Mentioned) || exposes(subject, member, number)
    };
    let (a, b) = (one.name(), other.name());
    let is_certain = port.protocol == Protocol::Tcp && is_known(one) && is_known(other);
    let (severity, message) = if is_certain {
        let message = format!(
            "containers `{a}` and `{b}` both listen on port {number}: they share one network, so the second fails"
        );
        (Severity::Error, message)
    } else {
        let message = format!(
            "containers `{a}` and `{b}` both declare port {number}: they share one network, and only one of them can listen there"
        );
        (Severity::Advice, message)
    };
    Draft::new(severity, "port-twice", "", message).hint("give one of them another port")
}

impl Draft {
    fn placed_at(mut self, path: String) -> Draft {
        self.path = path;
        self
    }
}

/// A port of the machine, and who wants it.
struct Wanted<'a> {
    path: String,
    container: &'a str,
    number: u16,
    protocol: Protocol,
    address: Option<IpAddr>,
}

impl Wanted<'_> {
    /// Same protocol and number, and an address in common.
    fn conflicts(&self, other: &Wanted<'_>) -> bool {
        let has_common_address = match (self.address, other.address) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        (self.protocol, self.number) == (other.protocol, other.number) && has_common_address
    }
}

fn wanted(pod: &Pod) -> Vec<Wanted<'_>> {
    let fields = [("initContainers", &pod.spec.init_containers), ("containers", &pod.spec.containers)];
    let mut wanted = Vec::new();
    for (field, containers) in fields {
        for (at, container) in containers.iter().enumerate() {
            for (index, port) in container.ports.iter().enumerate() {
                let implied = Some(port.container_port).filter(|_| pod.spec.host_network);
                let Some(number) = port.host_port.or(implied) else { continue };
                let written = if port.host_port.is_some() { "hostPort" } else { "containerPort" };
                let address = port.host_ip.as_deref().and_then(|ip| ip.parse().ok());
                wanted.push(Wanted {
                    path: format!("spec.{field}[{at}].ports[{index}].{written}"),
                    container: &container.name,
                    number,
                    protocol: port.protocol,
                    address: address.filter(|ip: &IpAddr| !ip.is_unspecified()),
                });
            }
        }
    }
    wanted
}

/// Ports of the machine that an earlier Pod, or the same one, wants too.
fn on_the_machine(subject: &Subject<'_>) -> Vec<Draft> {
    let mine = wanted(subject.pod);
    let mut found = Vec::new();
    for (index, port) in mine.iter().enumerate() {
        let same = mine[..index].iter().find(|other| other.conflicts(port)).map(|other| {
            // Containers that declare one port of a shared host network may mean the same one.
            let severity = if subject.pod.spec.host_network { Severity::Advice } else { Severity::Error };
            (severity, format!("container `{}`", other.container))
        });
        let of_another = || {
            let pods = subject.earlier.iter();
            let is_taken = |pod: &&&Pod| wanted(pod).iter().any(|other| other.conflicts(port));
            pods.into_iter().find(is_taken).map(|pod| (Severity::Error, format!("Pod `{}`", pod.meta.name)))
        };
        let Some((severity, holder)) = same.or_else(of_another) else { continue };
        let message = format!("port {} of the machine is wanted by {holder} too", port.number);
        let hint = "give one of them another hostPort, or another hostIP";
        found.push(Draft::new(severity, "host-port-twice", port.path.clone(), message).hint(hint));
    }
    found
}
