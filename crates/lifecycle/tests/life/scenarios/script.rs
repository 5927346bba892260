//! Reads the upper part of a scenario: the Pod and what happens to it.

mod commands;

use std::collections::BTreeMap;

use lifecycle::{Action, Done, Eviction, Failure, ProbeKind, Reason, Retry};
use model::pod::{
    Container, ExitCodeOperator, Handler, ImagePullPolicy, Pod, Probe, ResizePolicy, Resources,
    RestartPolicy, RestartRule, RestartRuleAction,
};
use model::quantity::Quantity;

use crate::world::SECOND;
use crate::world::fate::{Fate, Life, Plan};
use crate::world::pods::{container, empty_pod, probe};

/// Something that happens at an instant.
pub enum Command {
    Exit { container: String, code: i32, oom_killed: bool },
    PauseDies,
    Delete { grace_seconds: Option<u64> },
    Restart { container: Option<String> },
    DaemonDown { nanos: u64 },
    Reboot,
    Clock { nanos: i64 },
    DependencyChanged,
    Gate { gate: String, opens: bool },
    Edit { told: String, change: Box<dyn Fn(&mut Pod)> },
    Evict { why: Eviction, message: String },
    MostDelay { seconds: u64 },
    Fate(Box<dyn Fn(&mut ScriptFate)>),
    Status,
    End,
}

pub struct Script {
    pub pod: Pod,
    pub commands: Vec<(u64, Command)>,
    pub fate: ScriptFate,
}

/// Everything succeeds at once, unless the script says otherwise.
#[derive(Debug, Clone, Default)]
pub struct ScriptFate {
    runs: BTreeMap<String, (u64, i32)>,
    on_signal: BTreeMap<String, Option<(u64, i32)>>,
    hooks: BTreeMap<(String, &'static str), (u64, bool)>,
    failing_probes: Vec<(String, ProbeKind)>,
    failing_starts: BTreeMap<String, Reason>,
    failing_pulls: Vec<String>,
    slow_pulls: BTreeMap<String, u64>,
    never_pulled: Vec<String>,
    failing_sandbox: bool,
    /// What the node says to those that want other resources.
    refusal: Option<Reason>,
    /// Whose memory in use is above the new limit.
    failing_resizes: Vec<String>,
}

impl Fate for ScriptFate {
    fn plan(&mut self, action: &Action) -> Plan {
        let fail = |reason, message: &str| {
            let retry =
                if reason == Reason::CreateContainerConfigError { Retry::OnChange } else { Retry::Backoff };
            Err(Failure { reason, message: message.to_owned(), retry })
        };
        let hook = |container: &String, which, reason| {
            let (nanos, fails) = self.hooks.get(&(container.clone(), which)).copied().unwrap_or_default();
            (nanos, if fails { fail(reason, "command exited with 1") } else { Ok(Done::Performed) })
        };
        let (takes_nanos, result) = match action {
            Action::Probe { container, kind, .. } => {
                let fails = self.failing_probes.contains(&(container.clone(), *kind));
                let message = "command exited with 1".to_owned();
                (0, Ok(if fails { Done::Unhealthy { message } } else { Done::Healthy }))
            }
            Action::Pull { container, .. } if self.failing_pulls.contains(container) => {
                (0, fail(Reason::ErrImagePull, "manifest unknown"))
            }
            Action::Pull { container, .. } if self.never_pulled.contains(container) => {
                let message = "Container image is not present with pull policy of Never".to_owned();
                let (reason, retry) = (Reason::ErrImageNeverPull, Retry::OnChange);
                (0, Err(Failure { reason, message, retry }))
            }
            Action::Pull { container, .. } => {
                (self.slow_pulls.get(container).copied().unwrap_or_default(), Ok(Done::Performed))
            }
            Action::Start { container, .. } => match self.failing_starts.get(container) {
                Some(reason) => (0, fail(*reason, "it cannot be")),
                None => (0, Ok(Done::Performed)),
            },
            Action::AllocateResources { .. } if self.refusal.is_some() => {
                let message = "Node didn't have enough resource: memory".to_owned();
                let reason = self.refusal.unwrap_or(Reason::Deferred);
                (0, Err(Failure { reason, message, retry: Retry::OnChange }))
            }
            Action::ResizeContainer { container, .. } if self.failing_resizes.contains(container) => {
                (0, fail(Reason::ResizeError, "the memory limit is below the current usage"))
            }
            Action::CreateSandbox { .. } if self.failing_sandbox => {
                (0, fail(Reason::FailedCreatePodSandBox, "no address is free"))
            }
            Action::PostStart { container, .. } => hook(container, "postStart", Reason::FailedPostStartHook),
            Action::PreStop { container, .. } => hook(container, "preStop", Reason::FailedPreStopHook),
            _ => (0, Ok(Done::Performed)),
        };
        Plan { takes_nanos, result }
    }

    fn life(&mut self, container: &str, _attempt: u32) -> Life {
        let exits_after = self.runs.get(container).map(|(nanos, code)| (*nanos, *code, false));
        let on_signal = self.on_signal.get(container).copied().unwrap_or(Some((0, 143)));
        Life { exits_after, on_signal }
    }
}

impl Script {
    pub fn parse(text: &str) -> Script {
        let mut script = Script { pod: empty_pod(), commands: vec![], fate: ScriptFate::default() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
            match head {
                "pod" => script.pod_settings(rest),
                "init" | "sidecar" | "main" => script.container(head, rest),
                _ => {
                    let at = head.strip_prefix("t=").unwrap_or_else(|| panic!("what is {line:?}?"));
                    script.commands.push((duration(at), commands::command(rest.trim())));
                }
            }
        }
        script
    }

    fn pod_settings(&mut self, text: &str) {
        let spec = &mut self.pod.spec;
        for setting in text.split(',') {
            match words(setting).as_slice() {
                ["restartPolicy", policy] => spec.restart_policy = restart_policy(policy),
                ["grace", grace] => spec.termination_grace_period_seconds = duration(grace) / SECOND,
                ["cpu" | "memory", ..] => resource(spec.resources.get_or_insert_default(), &words(setting)),
                ["readinessGate", gate] => spec.readiness_gates.push((*gate).to_owned()),
                ["activeDeadline", limit] => spec.active_deadline_seconds = Some(duration(limit) / SECOND),
                other => panic!("what is {other:?} of a Pod?"),
            }
        }
    }

    fn container(&mut self, role: &str, text: &str) {
        let (name, attributes) = text.split_once(':').unwrap_or((text, ""));
        let mut made = container(name.trim());
        for attribute in attributes.split(',').filter(|attribute| !attribute.trim().is_empty()) {
            self.attribute(&mut made, &words(attribute));
        }
        match role {
            "main" => self.pod.spec.containers.push(made),
            "init" => self.pod.spec.init_containers.push(made),
            _ => {
                made.restart_policy = Some(RestartPolicy::Always);
                self.pod.spec.init_containers.push(made);
            }
        }
    }

    fn attribute(&mut self, made: &mut Container, attribute: &[&str]) {
        let name = made.name.clone();
        let sleep = || Some(Handler::Sleep { seconds: 0 });
        match attribute {
            ["runs", time, "exits", code] => {
                self.fate.runs.insert(name, (duration(time), code.parse().unwrap()));
            }
            ["pulled", "in", time] => {
                self.fate.slow_pulls.insert(name, duration(time));
            }
            ["ignores", "TERM"] => {
                self.fate.on_signal.insert(name, None);
            }
            ["on", "TERM", "exits", code, "after", time] => {
                self.fate.on_signal.insert(name, Some((duration(time), code.parse().unwrap())));
            }
            ["cpu" | "memory", _] => resource(&mut made.resources, attribute),
            ["restarts", "for", "cpu"] => made.resize_policy.cpu = ResizePolicy::RestartContainer,
            ["restarts", "for", "memory"] => made.resize_policy.memory = ResizePolicy::RestartContainer,
            ["postStart", time] | ["postStart", time, "fails"] => {
                made.post_start = sleep();
                self.fate.hooks.insert((name, "postStart"), (duration(time), attribute.len() == 3));
            }
            ["preStop", time] | ["preStop", time, "fails"] => {
                made.pre_stop = sleep();
                self.fate.hooks.insert((name, "preStop"), (duration(time), attribute.len() == 3));
            }
            ["startup", rest @ ..] => made.startup_probe = Some(probe_from(rest)),
            ["liveness", rest @ ..] => made.liveness_probe = Some(probe_from(rest)),
            ["readiness", rest @ ..] => made.readiness_probe = Some(probe_from(rest)),
            ["restartPolicy", policy] => made.restart_policy = Some(restart_policy(policy)),
            ["rule", action, operator, codes @ ..] => made.restart_policy_rules.push(RestartRule {
                action: match *action {
                    "Restart" => RestartRuleAction::Restart,
                    _ => RestartRuleAction::RestartAllContainers,
                },
                operator: if *operator == "In" { ExitCodeOperator::In } else { ExitCodeOperator::NotIn },
                codes: codes.iter().map(|code| code.parse().unwrap()).collect(),
            }),
            ["imagePullPolicy", policy] => {
                self.fate.never_pulled.extend((*policy == "Never").then_some(name));
                made.image_pull_policy = match *policy {
                    "Always" => ImagePullPolicy::Always,
                    "Never" => ImagePullPolicy::Never,
                    _ => ImagePullPolicy::IfNotPresent,
                };
            }
            other => panic!("what is {other:?} of container {name}?"),
        }
    }
}

fn probe_from(text: &[&str]) -> Probe {
    let mut made = probe(10);
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return made,
            ["every", time, rest @ ..] => {
                made.period_seconds = (duration(time) / SECOND) as u32;
                rest
            }
            ["after", time, rest @ ..] => {
                made.initial_delay_seconds = (duration(time) / SECOND) as u32;
                rest
            }
            ["failures", count, rest @ ..] => {
                made.failure_threshold = count.parse().unwrap();
                rest
            }
            ["successes", count, rest @ ..] => {
                made.success_threshold = count.parse().unwrap();
                rest
            }
            ["grace", time, rest @ ..] => {
                made.termination_grace_period_seconds = Some(duration(time) / SECOND);
                rest
            }
            other => panic!("what is {other:?} of a probe?"),
        };
    }
}

/// `cpu 500m..1`, `cpu 1` for both, `cpu 500m..` for a request without a limit.
fn resource(resources: &mut Resources, words: &[&str]) {
    let [name, amounts] = words else { panic!("what amount is {words:?}?") };
    let (request, limit) = amounts.split_once("..").unwrap_or((amounts, amounts));
    let quantity = |text: &str| Quantity::parse(text).unwrap();
    resources.requests.insert((*name).to_owned(), quantity(request));
    resources.limits.remove(*name);
    if !limit.is_empty() {
        resources.limits.insert((*name).to_owned(), quantity(limit));
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn duration(text: &str) -> u64 {
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{text:?} is no duration"));
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        other => panic!("what unit is {other:?}?"),
    };
    (seconds * 1e9).round() as u64
}

fn restart_policy(text: &str) -> RestartPolicy {
    match text {
        "Always" => RestartPolicy::Always,
        "OnFailure" => RestartPolicy::OnFailure,
        "Never" => RestartPolicy::Never,
        other => panic!("what policy is {other:?}?"),
    }
}

fn probe_kind(text: &str) -> Option<ProbeKind> {
    Some(match text {
        "startup" => ProbeKind::Startup,
        "liveness" => ProbeKind::Liveness,
        "readiness" => ProbeKind::Readiness,
        _ => return None,
    })
}

fn start_reason(text: &str) -> Reason {
    match text {
        "CreateContainerConfigError" => Reason::CreateContainerConfigError,
        "CreateContainerError" => Reason::CreateContainerError,
        "StartError" => Reason::StartError,
        "RunContainerError" => Reason::RunContainerError,
        other => panic!("what reason is {other:?}?"),
    }
}
