//! Written scenarios: `scenarios/*.txt`, a Pod and what happens to it above `---`, the timeline below.
//!
//! They are for people who know Kubernetes and no Rust; `scenarios/README.md` explains the words. `UPDATE=1`
//! writes the timelines anew, for a human to review.

mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lifecycle::invariants::Ledger;
use lifecycle::status::{Condition, ContainerState};
use lifecycle::{
    Action, Decision, End, Event, Fact, Memory, Policy, Status, Transition, decide, transitions,
};

use crate::world::{SECOND, World};
use model::pod::Resources;
use model::quantity::Quantity;
use script::{Command, Script, ScriptFate};

/// A scenario being played.
struct Play {
    script: Script,
    fate: ScriptFate,
    world: World,
    memory: Memory,
    ledger: Ledger,
    status: Option<Status>,
    timeline: Vec<String>,
    begun_at: u64,
    end: Option<End>,
    is_over: bool,
}

impl Play {
    fn new(text: &str) -> Play {
        let script = Script::parse(text);
        let world = World::new();
        Play {
            fate: script.fate.clone(),
            memory: Memory::new(&script.pod, Policy::default(), world.now),
            ledger: Ledger::new(&script.pod, Policy::default(), world.now),
            begun_at: world.now.boot_nanos,
            script,
            world,
            status: None,
            timeline: vec![],
            end: None,
            is_over: false,
        }
    }

    fn elapsed(&self) -> u64 {
        self.world.now.boot_nanos.saturating_sub(self.begun_at)
    }

    fn tell(&mut self, what: impl AsRef<str>) {
        let millis = self.elapsed() / 1_000_000;
        let at = match millis % 1000 {
            0 => format!("t={}s", millis / 1000),
            _ => format!("t={}.{:03}s", millis / 1000, millis % 1000),
        };
        self.timeline.push(format!("{at:<9} {}", what.as_ref()).trim_end().to_owned());
    }

    fn note(&mut self, fact: &Fact) {
        self.ledger.note(&self.script.pod, fact, &self.world.now);
        for event in self.memory.note(&self.script.pod, fact, &self.world.now) {
            if is_worth_telling(&event) {
                self.tell(format!("event {}: {}", event.reason, event.message));
            }
        }
    }

    fn round(&mut self, facts: Vec<Fact>) -> Decision {
        facts.iter().for_each(|fact| self.note(fact));
        let observed = Fact::Observed(self.world.observe(&self.script.pod));
        self.note(&observed);
        let Fact::Observed(seen) = observed else { unreachable!() };
        let decision = decide(&self.script.pod, &self.memory, &seen, &self.world.now);
        let violations = self.ledger.check(&self.script.pod, &seen, &decision, &self.world.now);
        assert!(violations.is_empty(), "{violations:#?}\n{}", self.timeline.join("\n"));
        for transition in transitions(self.status.as_ref(), &decision.status) {
            self.tell(words_of_transition(&transition));
        }
        self.status = Some(decision.status.clone());
        for action in &decision.cancel {
            self.world.cancel(action);
        }
        let told: Vec<_> = decision.actions.iter().filter_map(words_of_action).collect();
        if !told.is_empty() {
            self.tell(format!("> {}", told.join(", ")));
        }
        for action in &decision.actions {
            self.world.begin(action, &mut self.fate);
        }
        if let Some(end) = decision.end.filter(|end| self.end.replace(*end) != Some(*end)) {
            self.tell(match end {
                End::Finished(_) => "finished",
                End::Gone(_) => "gone",
            });
        }
        decision
    }

    fn play(mut self) -> String {
        let mut commands = std::mem::take(&mut self.script.commands).into_iter().peekable();
        let mut facts = vec![];
        while !self.is_over {
            while let Some((_, command)) = commands.next_if(|(at, _)| *at <= self.elapsed()) {
                self.perform(command, &mut facts);
            }
            if self.is_over {
                break;
            }
            let decision = self.round(std::mem::take(&mut facts));
            let wake_at = decision.wake_at.map(|wake_at| wake_at.boot_nanos);
            let next_command = commands.peek().map(|(at, _)| at + self.begun_at);
            let candidates = [self.world.next_at(), wake_at, next_command];
            let Some(next) = candidates.into_iter().flatten().min() else { break };
            self.world.set_time(next);
            facts = self.world.settle(&mut self.fate);
        }
        self.timeline.join("\n") + "\n"
    }

    fn perform(&mut self, command: Command, facts: &mut Vec<Fact>) {
        match command {
            Command::Exit { container, code, oom_killed } => self.world.exit(&container, code, oom_killed),
            Command::PauseDies => {
                self.tell("pause dies");
                self.world.kill_pause();
            }
            Command::Delete { grace_seconds } => {
                self.tell("delete");
                facts.push(Fact::StopRequested { grace_seconds });
            }
            Command::Restart { container } => {
                self.tell("restart requested");
                facts.push(Fact::RestartRequested { container });
            }
            Command::DaemonDown { nanos } => {
                self.tell("daemon dies");
                self.world.lose_daemon();
                let back_at = self.world.now.boot_nanos + nanos;
                while let Some(at) = self.world.next_at().filter(|at| *at <= back_at) {
                    self.world.set_time(at);
                    self.world.settle(&mut self.fate);
                }
                self.world.set_time(back_at);
                self.tell("daemon is back");
            }
            Command::Reboot => {
                self.tell("the machine reboots");
                let elapsed = self.elapsed();
                self.world.reboot();
                self.world.now.boot_nanos += 1000 * SECOND;
                self.begun_at = self.world.now.boot_nanos - elapsed;
            }
            Command::Clock { nanos } => {
                self.tell("the wall clock jumps");
                self.world.now.wall_nanos += nanos;
            }
            Command::Gate { gate, opens } => {
                let gates = &mut self.world.gates;
                if opens {
                    gates.insert(gate)
                } else {
                    gates.remove(&gate)
                };
            }
            Command::DependencyChanged => facts.push(Fact::DependencyChanged),
            Command::Edit { told, change } => {
                self.tell(told);
                change(&mut self.script.pod);
                self.script.pod.meta.generation += 1;
                facts.push(Fact::PodChanged);
            }
            Command::Evict { why, message } => {
                facts.push(Fact::Evicted { why, message, grace_seconds: None });
            }
            Command::MostDelay { seconds } => {
                let mut policy = Policy::default();
                policy.restart.max_seconds = seconds;
                facts.push(Fact::PolicyChanged(policy));
            }
            Command::Fate(change) => change(&mut self.fate),
            Command::Status => self.tell_status(),
            Command::End => self.is_over = true,
        }
    }

    /// What `kubectl get pod` and `describe` would show.
    fn tell_status(&mut self) {
        let Some(status) = self.status.clone() else { return };
        let ready = if status.is_ready() { "Ready" } else { "not Ready" };
        let reason = status.reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
        self.tell(format!("status: {}{reason}, {ready}", status.phase));
        let told = |condition: &&Condition| condition.status && TOLD.contains(&&*condition.kind);
        for condition in status.conditions.iter().filter(told) {
            let words = [&condition.reason, &condition.message].map(|word| word.clone().unwrap_or_default());
            self.tell(
                format!("  {}: {}", condition.kind, words.join(", ")).trim_end_matches([',', ' ', ':']),
            );
        }
        let lists = [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ];
        for container in lists.into_iter().flatten() {
            let state = match &container.state {
                ContainerState::Waiting { reason, .. } => format!("Waiting ({})", reason.as_str()),
                ContainerState::Running { .. } => "Running".to_owned(),
                ContainerState::Terminated(end) => {
                    format!("Terminated ({}, code {})", end.reason.as_str(), end.exit_code)
                }
            };
            let last = container.last_state.as_ref().map(|end| {
                format!(", last state Terminated ({}, code {})", end.reason.as_str(), end.exit_code)
            });
            let last = last.unwrap_or_default();
            let restarts = container.restart_count;
            let has = match &container.resources {
                none if *none == Resources::default() => String::new(),
                some => format!(", {}", words_of_resources(some)),
            };
            self.tell(format!("  {}: {state}{last}, restarts {restarts}{has}", container.name));
        }
        if let Some(cause) = status.cause {
            self.tell(format!("  because {cause}"));
        }
    }
}

/// Conditions that are told while they are True.
const TOLD: [&str; 4] =
    ["AllContainersRestarting", "DisruptionTarget", "PodResizePending", "PodResizeInProgress"];

/// The others repeat what transitions and actions already tell.
fn is_worth_telling(event: &Event) -> bool {
    !matches!(event.reason, "Pulled" | "Created" | "Started" | "DeadlineExceeded")
        && !event.message.starts_with("Stopping container")
}

fn words_of_action(action: &Action) -> Option<String> {
    let nth = |attempt: u32| if attempt == 0 { String::new() } else { format!(" ({attempt})") };
    Some(match action {
        Action::PrepareVolumes { .. } => "prepare volumes".to_owned(),
        Action::CreateSandbox { attempt } => format!("create sandbox{}", nth(*attempt)),
        Action::Pull { container, .. } => format!("pull image of {container}"),
        Action::Start { container, attempt, .. } => format!("start {container}{}", nth(*attempt)),
        Action::PostStart { container, .. } => format!("postStart of {container}"),
        Action::PreStop { container, .. } => format!("preStop of {container}"),
        Action::Signal { container, .. } => format!("TERM to {container}"),
        Action::Kill { container, .. } => format!("KILL to {container}"),
        Action::RemoveSandbox { attempt } => format!("remove sandbox{}", nth(*attempt)),
        Action::RemoveVolumes => "remove volumes".to_owned(),
        Action::AllocateResources { resources, .. } => {
            format!("ask the node for {}", words_of_resources(resources))
        }
        Action::ResizePod { resources, .. } => format!("resize the Pod to {}", words_of_resources(resources)),
        Action::ResizeContainer { container, resources, .. } => {
            format!("resize {container} to {}", words_of_resources(resources))
        }
        Action::Probe { .. } => return None,
    })
}

/// `cpu 500m..1, memory 1Gi`: request and limit, or only the limit where they are the same.
fn words_of_resources(resources: &Resources) -> String {
    let of = |name: &&str| {
        let amount = |from: &BTreeMap<String, Quantity>| {
            let quantity = from.get(*name)?;
            let mebibytes = quantity.value() / (1 << 20);
            Some(match *name {
                "memory" if mebibytes % 1024 == 0 => format!("{}Gi", mebibytes / 1024),
                "memory" => format!("{mebibytes}Mi"),
                _ => quantity.canonical(),
            })
        };
        match (amount(&resources.requests), amount(&resources.limits)) {
            (None, None) => None,
            (Some(request), Some(limit)) if request == limit => Some(format!("{name} {limit}")),
            (request, limit) => {
                Some(format!("{name} {}..{}", request.unwrap_or_default(), limit.unwrap_or_default()))
            }
        }
    };
    let words: Vec<_> = ["cpu", "memory"].iter().filter_map(of).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" and ") }
}

fn words_of_transition(transition: &Transition) -> String {
    match transition {
        Transition::InitDone { index, total, container, .. } => {
            format!("init {index}/{total} {container} done")
        }
        Transition::Started { container, restart_count: 0 } => format!("{container} runs"),
        Transition::Started { container, restart_count } => format!("{container} runs ({restart_count})"),
        Transition::Exited { container, terminated } => {
            format!("{container} ended: {}, code {}", terminated.reason.as_str(), terminated.exit_code)
        }
        Transition::Waiting { container, reason, .. } => format!("{container} waits: {reason}"),
        Transition::Ready => "Ready".to_owned(),
        Transition::NotReady => "not Ready".to_owned(),
        Transition::Finished(phase) => format!("{phase}"),
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn play(name: &str) {
    let path = directory().join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (script, expected) = text.split_once("\n---\n").unwrap_or((text.trim_end(), ""));
    let timeline = Play::new(script).play();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{script}\n---\n{timeline}")).unwrap();
    } else {
        assert!(timeline == expected, "{name}: expected\n{expected}\nbut it went\n{timeline}");
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { play(stringify!($name)); })*

        #[test]
        fn every_scenario_is_played_and_stands_beside_its_rule() {
            let played = [$(stringify!($name)),*];
            let rules = std::fs::read_to_string(directory().join("../../../docs/pod-life.md")).unwrap();
            for entry in std::fs::read_dir(directory()).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let Some(name) = name.strip_suffix(".txt") else { continue };
                assert!(played.contains(&name), "scenario {name} is not in the list");
                assert!(rules.contains(&format!("`{name}`")), "docs/pod-life.md has no rule for scenario {name}");
            }
        }
    };
}

scenarios! {
    start_order
    init_failure_is_retried
    init_failure_with_never_fails_the_pod
    restart_backoff
    restart_backoff_is_reset_by_a_long_run
    restart_policy_on_failure
    restart_policy_never
    container_restart_policy_and_rules
    restart_all_containers
    completion_stops_sidecars_in_reverse
    sidecar_restarts_whatever_the_policy
    sidecar_that_never_starts
    sidecar_counts_for_readiness
    termination_order
    termination_kills_at_the_deadline
    termination_prestop_is_part_of_the_grace
    termination_grace_zero
    termination_shorter_grace_only_shortens
    termination_survives_a_daemon_restart
    termination_while_daemon_is_down_past_the_deadline
    delete_before_start
    active_deadline
    active_deadline_is_wall_time
    sandbox_death
    sandbox_death_with_never
    sandbox_death_with_nothing_left_to_start
    reboot
    reboot_with_never
    daemon_restart_is_not_noticed
    liveness
    liveness_own_grace
    liveness_with_never_fails_the_pod
    startup_probe_holds_the_others_back
    startup_probe_failure_restarts
    readiness
    readiness_goes_on_during_termination
    post_start_is_awaited
    post_start_failure
    post_start_failure_with_never
    post_start_of_a_sidecar_is_awaited
    pre_stop_failure_does_not_prevent_the_stop
    image_pull_backoff
    image_never_pull
    image_pull_always
    command_not_found
    command_not_found_with_never
    missing_config_map
    run_container_error
    sandbox_creation_is_retried
    oom_killed
    restart_on_request
    image_edit_restarts
    ephemeral_container
    ephemeral_container_keeps_no_pod_alive
    ephemeral_container_is_not_restarted_in_a_new_sandbox
    ephemeral_container_without_image
    resize_in_place
    resize_lowers_before_it_raises
    resize_that_restarts
    resize_deferred
    resize_infeasible
    resize_taken_back
    resize_below_what_is_in_use
    resize_of_the_pod
    resize_while_stopping
    evicted_under_node_pressure
    evicted_for_its_own_storage
    node_shutdown
    restart_backoff_maximum_of_the_node
    active_deadline_is_shortened
    image_edit_of_a_sidecar
    image_edit_while_it_is_pulled
    liveness_restarts_whatever_the_exit_code
    liveness_of_a_sidecar
    init_container_restart_policy_of_its_own
    restart_all_containers_by_a_sidecar
    restart_all_containers_backs_off
    restart_all_containers_spares_ephemeral
    probe_rounds_lie_on_a_grid
    readiness_gates
    hooks_that_take_too_long
    k8s_136969_main_restarts_while_a_sidecar_runs
    k8s_132826_never_with_a_sidecar_with_startup_probe
    k8s_125880_delete_before_initialised
    k8s_126543_a_failed_create_is_tried_again
    k8s_120247_after_a_reboot_init_comes_first
}
