//! Probes and lifecycle hooks: what is asked, and when.

use super::{bounded, choice, ruled};
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::{Handler, PortRef, Probe};

/// Which of the three probes one is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    /// The container's field.
    pub(crate) fn field(self) -> &'static str {
        match self {
            ProbeKind::Startup => "startupProbe",
            ProbeKind::Liveness => "livenessProbe",
            ProbeKind::Readiness => "readinessProbe",
        }
    }
}

const PROBE_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

/// Reads a container's probe of one kind.
pub(crate) fn probe(report: &mut Report<'_, '_>, container: &Node, kind: ProbeKind) -> Option<Probe> {
    let node = container.get(kind.field())?;
    let handler = handler(report, container, kind.field(), &PROBE_HANDLERS, None);
    // Zero stands for the default, as in Kubernetes.
    let mut number = |field: &str, default: u32| match bounded(report, node, field, 0..=i64::MAX) {
        None | Some(0) => default,
        Some(value) => u32::try_from(value).unwrap_or(u32::MAX),
    };
    let initial_delay_seconds = number("initialDelaySeconds", 0);
    let timeout_seconds = number("timeoutSeconds", 1);
    let period_seconds = number("periodSeconds", 10);
    let success_threshold = number("successThreshold", 1);
    let failure_threshold = number("failureThreshold", 3);
    if kind != ProbeKind::Readiness
        && success_threshold != 1
        && let Some(threshold) = node.get("successThreshold")
    {
        report.invalid(threshold, "must be 1");
    }
    let grace = match (kind, node.get("terminationGracePeriodSeconds")) {
        (ProbeKind::Readiness, Some(grace)) => {
            report.invalid(grace, "must not be set for readinessProbes");
            None
        }
        _ => bounded(report, node, "terminationGracePeriodSeconds", 1..=i64::MAX),
    };
    Some(Probe {
        handler: handler?,
        initial_delay_seconds,
        period_seconds,
        timeout_seconds,
        success_threshold,
        failure_threshold,
        termination_grace_period_seconds: grace.and_then(|grace| u64::try_from(grace).ok()),
    })
}

/// Reads `postStart` or `preStop`.
pub(crate) fn hook(
    report: &mut Report<'_, '_>,
    lifecycle: &Node,
    field: &str,
    grace_seconds: u64,
) -> Option<Handler> {
    lifecycle.get(field)?;
    handler(report, lifecycle, field, &HOOK_HANDLERS, Some(grace_seconds))
}

/// Reads the one handler of a probe or hook.
fn handler(
    report: &mut Report<'_, '_>,
    parent: &Node,
    field: &str,
    possible: &[&'static str],
    grace_seconds: Option<u64>,
) -> Option<Handler> {
    let node = parent.get(field).filter(|node| node.scalar().is_none())?;
    let mut given = possible.iter().filter(|name| node.get(name).is_some());
    let Some(first) = given.next() else {
        let hint = format!("one of {}", possible.join(", "));
        report.required_because(parent, field, "must specify a handler type", Some(&hint));
        return None;
    };
    for second in given {
        if let Some(second) = node.get(second) {
            report.forbidden(second, "may not specify more than 1 handler type");
        }
    }
    let inner = node.get(first)?;
    match *first {
        "exec" => {
            let command = inner.texts("command");
            if command.is_empty() {
                report.required(inner, "command");
            }
            Some(Handler::Exec(command))
        }
        "httpGet" => http_get(report, inner),
        "tcpSocket" => Some(Handler::TcpSocket {
            port: port(report, inner)?,
            host: inner.filled_text("host").map(str::to_owned),
        }),
        "grpc" => Some(Handler::Grpc {
            port: u16::try_from(bounded(report, inner, "port", 1..=65535)?).ok()?,
            service: inner.text("service").unwrap_or_default().to_owned(),
        }),
        _ => sleep(report, inner, grace_seconds.unwrap_or_default()),
    }
}

fn sleep(report: &mut Report<'_, '_>, node: &Node, grace_seconds: u64) -> Option<Handler> {
    let seconds = node.int("seconds")?;
    match u64::try_from(seconds) {
        Ok(seconds) if seconds <= grace_seconds => Some(Handler::Sleep { seconds }),
        _ => {
            let rule =
                format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})");
            report.invalid(node.get("seconds")?, &rule);
            None
        }
    }
}

fn http_get(report: &mut Report<'_, '_>, node: &Node) -> Option<Handler> {
    let tls = choice(report, node, "scheme", &[("HTTP", false), ("HTTPS", true)]).unwrap_or(false);
    let mut headers = Vec::new();
    for header in node.list("httpHeaders") {
        let name = ruled(report, header, "name", names::header_name).unwrap_or_default();
        let value = header.text("value").unwrap_or_default();
        if let Some(value) = header.get("value").filter(|_| value.contains(['\r', '\n'])) {
            report.invalid(value, "must not contain a line break");
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    let path = node.filled_text("path").unwrap_or("/");
    // A request line ends at the first blank (RFC 9112 section 3): such a path would be another request.
    if path.contains(|c: char| c.is_ascii_control() || c == ' ')
        && let Some(path) = node.get("path")
    {
        report.invalid(path, "must not contain blanks or control characters");
    }
    Some(Handler::HttpGet {
        port: port(report, node)?,
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        host: node.filled_text("host").map(str::to_owned),
        tls,
        headers,
    })
}

/// Reads `port`: a number, or the name of a declared port.
fn port(report: &mut Report<'_, '_>, node: &Node) -> Option<PortRef> {
    let port = node.get("port")?;
    match port.as_text() {
        Some(name) => {
            if name.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() {
                let hint = Some(format!("a port by number is written without quotes: {name}"));
                let message = format!("Invalid value: {name:?}: must contain at least one letter (a-z)");
                report.add(Target::Value(port), ProblemKind::Invalid, message, hint);
            } else {
                super::check(report, port, name, names::port_name);
            }
            Some(PortRef::Name(name.to_owned()))
        }
        None => Some(PortRef::Number(u16::try_from(bounded(report, node, "port", 1..=65535)?).ok()?)),
    }
}
