//! Pods: a plain one to build upon, and random ones.

use std::collections::BTreeMap;

use model::pod::{
    Container, DnsConfig, DnsPolicy, EphemeralContainer, ExitCodeOperator, Handler, ImagePullPolicy, Meta,
    MountPropagation, Pod, PodSecurityContext, PodSpec, Probe, RecursiveReadOnly, ResizePolicies,
    ResizePolicy, Resources, RestartPolicy, RestartRule, RestartRuleAction, SecurityContext,
    TerminationMessagePolicy, VolumeMount,
};

use model::quantity::Quantity;

use super::fate::Dice;

/// A Pod `default/pod` without containers.
pub fn empty_pod() -> Pod {
    let meta = Meta {
        name: "pod".to_owned(),
        namespace: "default".to_owned(),
        uid: "uid".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        generation: 1,
    };
    let spec = PodSpec {
        init_containers: vec![],
        containers: vec![],
        ephemeral_containers: vec![],
        restart_policy: RestartPolicy::Always,
        termination_grace_period_seconds: 30,
        active_deadline_seconds: None,
        volumes: vec![],
        share_process_namespace: false,
        host_network: false,
        host_pid: false,
        host_ipc: false,
        host_users: true,
        hostname: None,
        subdomain: None,
        set_hostname_as_fqdn: false,
        hostname_override: None,
        host_aliases: vec![],
        dns_policy: DnsPolicy::ClusterFirst,
        dns_config: DnsConfig::default(),
        security_context: PodSecurityContext::default(),
        readiness_gates: vec![],
        enable_service_links: true,
        service_account_name: "default".to_owned(),
        image_pull_secrets: Vec::new(),
        node_name: None,
        runtime_class_name: None,
        resources: None,
    };
    Pod { meta, spec }
}

/// A container without probes, hooks or policy of its own.
pub fn container(name: &str) -> Container {
    Container {
        name: name.to_owned(),
        image: format!("{name}:1"),
        image_pull_policy: ImagePullPolicy::IfNotPresent,
        command: vec![],
        args: vec![],
        working_dir: None,
        env_from: vec![],
        env: vec![],
        ports: vec![],
        resources: Resources::default(),
        resize_policy: ResizePolicies::default(),
        volume_mounts: vec![],
        restart_policy: None,
        restart_policy_rules: vec![],
        startup_probe: None,
        liveness_probe: None,
        readiness_probe: None,
        post_start: None,
        pre_stop: None,
        stop_signal: None,
        termination_message_path: "/dev/termination-log".to_owned(),
        termination_message_policy: TerminationMessagePolicy::File,
        security_context: SecurityContext::default(),
        stdin: false,
        stdin_once: false,
        tty: false,
    }
}

/// An exec probe with Kubernetes' defaults but for the period.
pub fn probe(period_seconds: u32) -> Probe {
    Probe {
        handler: Handler::Exec(vec!["true".to_owned()]),
        initial_delay_seconds: 0,
        period_seconds,
        timeout_seconds: 1,
        success_threshold: 1,
        failure_threshold: 3,
        termination_grace_period_seconds: None,
    }
}

fn random_probe(dice: &mut Dice, may_need_successes: bool) -> Probe {
    Probe {
        initial_delay_seconds: dice.pick(&[0, 0, 3]),
        success_threshold: if may_need_successes { dice.pick(&[1, 2]) } else { 1 },
        failure_threshold: dice.pick(&[1, 3]),
        termination_grace_period_seconds: dice.pick(&[None, None, Some(1)]),
        ..probe(dice.pick(&[1, 10, 60]))
    }
}

fn random_container(dice: &mut Dice, name: &str, is_classic_init: bool) -> Container {
    let mut made = container(name);
    made.image = dice.pick(&["shared:1", "own:1", "other:1"]).to_owned();
    made.image_pull_policy =
        dice.pick(&[ImagePullPolicy::IfNotPresent, ImagePullPolicy::IfNotPresent, ImagePullPolicy::Always]);
    made.volume_mounts.push(VolumeMount {
        name: "shared".to_owned(),
        mount_path: "/data".to_owned(),
        sub_path: None,
        read_only: false,
        recursive_read_only: RecursiveReadOnly::default(),
        propagation: MountPropagation::default(),
    });
    if dice.percent(15) {
        made.restart_policy = Some(dice.pick(&[RestartPolicy::OnFailure, RestartPolicy::Never]));
    }
    if dice.percent(12) {
        let action = dice.pick(&[RestartRuleAction::Restart, RestartRuleAction::RestartAllContainers]);
        let operator = dice.pick(&[ExitCodeOperator::In, ExitCodeOperator::NotIn]);
        made.restart_policy_rules = vec![RestartRule { action, operator, codes: vec![42, 0] }];
    }
    if is_classic_init {
        return made;
    }
    let hook = || Handler::Sleep { seconds: 1 };
    made.post_start = dice.percent(15).then(hook);
    made.pre_stop = dice.percent(20).then(hook);
    made.startup_probe = dice.percent(20).then(|| random_probe(dice, false));
    made.liveness_probe = dice.percent(12).then(|| random_probe(dice, false));
    made.readiness_probe = dice.percent(12).then(|| random_probe(dice, true));
    made
}

/// Requests and limits as the dice fall; what has no limit stays without one.
fn random_resources(dice: &mut Dice) -> Resources {
    let mut made = Resources::default();
    for name in ["cpu", "memory"] {
        let amount = i128::from(dice.pick(&[1_u32, 2, 3]));
        let quantity = |units: i128| Quantity::from_nanos(units * 1_000_000_000);
        made.requests.insert(name.to_owned(), quantity(amount));
        if dice.percent(70) {
            made.limits.insert(name.to_owned(), quantity(amount + i128::from(dice.pick(&[0_u32, 2]))));
        }
    }
    made
}

/// Other amounts for what has some, of the Pod and of all that can be resized.
pub fn resize(dice: &mut Dice, pod: &mut Pod) {
    if let Some(own) = pod.spec.resources.as_mut().filter(|_| dice.percent(50)) {
        *own = random_resources(dice);
    }
    let sidecars = pod.spec.init_containers.iter_mut().filter(|init| init.is_sidecar());
    for container in sidecars.chain(&mut pod.spec.containers) {
        if container.resources != Resources::default() && dice.percent(50) {
            container.resources = random_resources(dice);
        }
    }
}

/// One more container to look into the Pod.
pub fn add_ephemeral(dice: &mut Dice, pod: &mut Pod) {
    let name = format!("e{}", pod.spec.ephemeral_containers.len());
    let mut made = container(&name);
    made.image = dice.pick(&["shared:1", "debug:1"]).to_owned();
    made.image_pull_policy = dice.pick(&[ImagePullPolicy::IfNotPresent, ImagePullPolicy::Always]);
    let target = dice.percent(50).then(|| pod.spec.containers[0].name.clone());
    pod.spec.ephemeral_containers.push(EphemeralContainer { container: made, target });
}

/// A Pod as the dice fall.
pub fn random_pod(dice: &mut Dice) -> Pod {
    let mut pod = empty_pod();
    let spec = &mut pod.spec;
    spec.restart_policy = dice.pick(&[RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never]);
    spec.termination_grace_period_seconds = dice.pick(&[0, 1, 5, 30, 30]);
    spec.active_deadline_seconds = dice.pick(&[None, None, None, None, Some(2), Some(100)]);
    for name in ["i0", "i1", "i2"].iter().take(dice.pick(&[0, 0, 1, 2, 3])) {
        let is_sidecar = dice.percent(50);
        let mut init = random_container(dice, name, !is_sidecar);
        if is_sidecar {
            init.restart_policy = Some(RestartPolicy::Always);
            init.restart_policy_rules.clear();
        }
        spec.init_containers.push(init);
    }
    for name in ["m0", "m1", "m2"].iter().take(dice.pick(&[1, 1, 2, 3])) {
        spec.containers.push(random_container(dice, name, false));
    }
    if dice.percent(25) {
        let may_restart = spec.restart_policy != RestartPolicy::Never;
        for container in spec.init_containers.iter_mut().chain(&mut spec.containers) {
            container.resources = random_resources(dice);
            if may_restart && dice.percent(30) {
                container.resize_policy.memory = ResizePolicy::RestartContainer;
            }
        }
        spec.resources = dice.percent(30).then(|| random_resources(dice));
    }
    pod
}
