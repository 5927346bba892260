//! One container: init, sidecar or main.

use super::environment::{self, MOST_STRING_BYTES};
use super::probe::{self, ProbeKind};
use super::{bounded, choice, resources, ruled, security, users, volume};
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::{
    Container, ExitCodeOperator, ImagePullPolicy, Port, Protocol, RestartPolicy, RestartRule,
    RestartRuleAction, TerminationMessagePolicy,
};

/// Rules that one container may have (KEP-5307).
const MOST_RESTART_RULES: usize = 20;
/// Exit codes that one rule may list (KEP-5307).
const MOST_EXIT_CODES: usize = 255;

/// What a container's reader needs to know of its Pod.
pub(crate) struct Surroundings<'n> {
    /// The Pod's spec.
    pub(crate) spec: &'n Node,
    pub(crate) is_init: bool,
    pub(crate) host_network: bool,
    pub(crate) grace_seconds: u64,
}

/// Reads a container.
pub(crate) fn container(report: &mut Report<'_, '_>, node: &Node, around: &Surroundings<'_>) -> Container {
    let image = image(report, node);
    let restart_policy = restart_policy(report, node);
    let is_classic_init = around.is_init && restart_policy != Some(RestartPolicy::Always);
    if is_classic_init {
        forbid_for_init(report, node);
    }
    let security_context = security::of_container(report, node);
    users::of_container(report, node, around.spec);
    let lifecycle = node.get("lifecycle");
    let mut hook =
        |field: &str| lifecycle.and_then(|node| probe::hook(report, node, field, around.grace_seconds));
    let (post_start, pre_stop) = (hook("postStart"), hook("preStop"));
    for text in node.list("command").iter().chain(node.list("args")) {
        if text.as_text().is_some_and(|text| text.len() > MOST_STRING_BYTES) {
            report.too_long(text, MOST_STRING_BYTES, ": Linux starts no program with a longer argument");
        }
    }
    let policies = [
        ("Always", ImagePullPolicy::Always),
        ("IfNotPresent", ImagePullPolicy::IfNotPresent),
        ("Never", ImagePullPolicy::Never),
    ];
    let messages = [
        ("FallbackToLogsOnError", TerminationMessagePolicy::FallbackToLogsOnError),
        ("File", TerminationMessagePolicy::File),
    ];
    Container {
        name: ruled(report, node, "name", names::dns_label).unwrap_or_default().to_owned(),
        image_pull_policy: choice(report, node, "imagePullPolicy", &policies)
            .unwrap_or_else(|| default_pull_policy(&image)),
        image,
        command: node.texts("command"),
        args: node.texts("args"),
        working_dir: node.filled_text("workingDir").map(str::to_owned),
        env_from: environment::env_from(report, node),
        env: environment::env(report, node),
        ports: ports(report, node, around.host_network),
        resources: resources::resources(report, node),
        resize_policy: resources::resize_policies(report, node, around.spec, is_classic_init),
        volume_mounts: volume::mounts(report, node, around.spec, security_context.privileged),
        restart_policy,
        restart_policy_rules: restart_rules(report, node),
        startup_probe: probe::probe(report, node, ProbeKind::Startup),
        liveness_probe: probe::probe(report, node, ProbeKind::Liveness),
        readiness_probe: probe::probe(report, node, ProbeKind::Readiness),
        post_start,
        pre_stop,
        stop_signal: lifecycle.and_then(|lifecycle| stop_signal(report, lifecycle, around.spec)),
        termination_message_path: node
            .filled_text("terminationMessagePath")
            .unwrap_or("/dev/termination-log")
            .to_owned(),
        termination_message_policy: choice(report, node, "terminationMessagePolicy", &messages)
            .unwrap_or_default(),
        security_context,
        stdin: node.bool("stdin").unwrap_or(false),
        stdin_once: node.bool("stdinOnce").unwrap_or(false),
        tty: node.bool("tty").unwrap_or(false),
    }
}

fn image(report: &mut Report<'_, '_>, node: &Node) -> String {
    match node.get("image") {
        None => report.required(node, "image"),
        Some(image) => match image.as_text() {
            Some("") => report.required(node, "image"),
            Some(text) if text.trim() != text => {
                report.invalid(image, "must not have leading or trailing whitespace");
            }
            _ => {}
        },
    }
    node.text("image").unwrap_or_default().to_owned()
}

/// Without a tag or with `latest`, the registry is asked at every start; a digest never changes.
fn default_pull_policy(image: &str) -> ImagePullPolicy {
    if image.contains('@') {
        return ImagePullPolicy::IfNotPresent;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None | Some((_, "latest")) => ImagePullPolicy::Always,
        Some(_) => ImagePullPolicy::IfNotPresent,
    }
}

/// Classic init containers end before anything could be probed.
fn forbid_for_init(report: &mut Report<'_, '_>, node: &Node) {
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(written) = node.get(field) {
            report.forbidden(written, "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn restart_policy(report: &mut Report<'_, '_>, node: &Node) -> Option<RestartPolicy> {
    let policies = [
        ("Always", RestartPolicy::Always),
        ("Never", RestartPolicy::Never),
        ("OnFailure", RestartPolicy::OnFailure),
    ];
    choice(report, node, "restartPolicy", &policies)
}

fn restart_rules(report: &mut Report<'_, '_>, node: &Node) -> Vec<RestartRule> {
    let Some(list) = node.get("restartPolicyRules") else { return Vec::new() };
    if node.get("restartPolicy").is_none() && !list.items().is_empty() {
        let why = "must specify restartPolicy when restart rules are used";
        report.required_because(node, "restartPolicy", why, None);
    }
    if list.items().len() > MOST_RESTART_RULES {
        let message = format!("Too long: may not have more than {MOST_RESTART_RULES} rules");
        report.add(Target::Value(list), ProblemKind::TooLong, message, None);
    }
    list.items().iter().filter_map(|rule| restart_rule(report, rule)).collect()
}

fn restart_rule(report: &mut Report<'_, '_>, rule: &Node) -> Option<RestartRule> {
    let actions = [
        ("Restart", RestartRuleAction::Restart),
        ("RestartAllContainers", RestartRuleAction::RestartAllContainers),
    ];
    let action = choice(report, rule, "action", &actions);
    let Some(exit_codes) = rule.get("exitCodes") else {
        report.required_because(rule, "exitCodes", "must be specified", None);
        return None;
    };
    let operators = [("In", ExitCodeOperator::In), ("NotIn", ExitCodeOperator::NotIn)];
    let operator = choice(report, exit_codes, "operator", &operators);
    let values = exit_codes.list("values");
    if values.is_empty() {
        report.required_because(exit_codes, "values", "must specify at least one exit code", None);
    } else if values.len() > MOST_EXIT_CODES {
        let message = format!("Too long: may not have more than {MOST_EXIT_CODES} values");
        report.add(Target::Missing(exit_codes, "values"), ProblemKind::TooLong, message, None);
    }
    let codes = values.iter().filter_map(|value| i32::try_from(value.as_int()?).ok()).collect();
    Some(RestartRule { action: action?, operator: operator?, codes })
}

fn ports(report: &mut Report<'_, '_>, container: &Node, host_network: bool) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for node in container.list("ports") {
        let name = ruled(report, node, "name", names::port_name).map(str::to_owned);
        if let Some(written) = node.get("name")
            && name.is_some()
            && ports.iter().any(|port| port.name == name)
        {
            report.duplicate(written);
        }
        // Zero is an absent port, which was reported as such.
        let number = node.int("containerPort").filter(|number| *number != 0);
        let container_port = number.and_then(|_| bounded(report, node, "containerPort", 1..=65535));
        let host_port = match node.int("hostPort") {
            None | Some(0) => None,
            Some(_) => bounded(report, node, "hostPort", 1..=65535),
        };
        if let (true, Some(host_port), Some(written)) = (host_network, host_port, node.get("hostPort"))
            && Some(host_port) != container_port
        {
            report.invalid(written, "must match `containerPort` when `hostNetwork` is true");
        }
        let protocols = [("SCTP", Protocol::Sctp), ("TCP", Protocol::Tcp), ("UDP", Protocol::Udp)];
        let protocol = choice(report, node, "protocol", &protocols).unwrap_or_default();
        let host_ip = ruled(report, node, "hostIP", names::ip).map(str::to_owned);
        let Some(container_port) = container_port.and_then(|port| u16::try_from(port).ok()) else { continue };
        let host_port = host_port.and_then(|port| u16::try_from(port).ok());
        // With the node's network every declared port is a port of the node.
        let host_port = if host_network { host_port.or(Some(container_port)) } else { host_port };
        ports.push(Port { name, container_port, host_port, host_ip, protocol });
    }
    ports
}

/// Reads `lifecycle.stopSignal`, which Kubernetes takes only when the Pod names its operating system (KEP-4960).
fn stop_signal(report: &mut Report<'_, '_>, lifecycle: &Node, spec: &Node) -> Option<String> {
    let node = lifecycle.get("stopSignal")?;
    let text = node.as_text().filter(|text| !text.is_empty())?;
    if spec.get("os").and_then(|os| os.text("name")).is_none() {
        report.forbidden(node, "may not be set for containers with empty `spec.os.name`");
    }
    let real_time = text.strip_prefix("SIGRTMIN+").or_else(|| text.strip_prefix("SIGRTMAX-"));
    let is_real_time = real_time.is_some_and(|offset| offset.parse::<u8>().is_ok_and(|offset| offset <= 15));
    if !SIGNALS.contains(&text) && !is_real_time {
        report.unsupported(node, &SIGNALS);
    }
    Some(text.to_owned())
}

/// Signals by name (signal(7)).
const SIGNALS: [&str; 33] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMIN",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
];
