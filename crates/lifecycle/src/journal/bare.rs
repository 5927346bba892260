//! A Pod without all that `decide` does not look at, so that no secret can stand in a journal: no environment, no
//! command, no annotations, of volumes only where they are mounted, of probes and hooks only that and when they are.
//!
//! What is kept is named here, not what is left out: a new field of the Pod is out until somebody puts it in. That
//! nothing is missing is seen by the simulation, whose worlds are all replayed with such Pods.

use model::pod::{
    Container, DnsConfig, DnsPolicy, EphemeralContainer, Handler, Meta, Pod, PodSecurityContext, PodSpec,
    Probe, SecurityContext,
};

/// The Pod as a journal keeps it.
pub fn bare(pod: &Pod) -> Pod {
    let Pod { meta, spec } = pod;
    let ephemeral = |added: &EphemeralContainer| EphemeralContainer {
        container: bare_container(&added.container),
        target: added.target.clone(),
    };
    Pod {
        meta: Meta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            generation: meta.generation,
            ..Meta::default()
        },
        spec: PodSpec {
            init_containers: spec.init_containers.iter().map(bare_container).collect(),
            containers: spec.containers.iter().map(bare_container).collect(),
            ephemeral_containers: spec.ephemeral_containers.iter().map(ephemeral).collect(),
            restart_policy: spec.restart_policy,
            termination_grace_period_seconds: spec.termination_grace_period_seconds,
            active_deadline_seconds: spec.active_deadline_seconds,
            readiness_gates: spec.readiness_gates.clone(),
            resources: spec.resources.clone(),
            host_network: spec.host_network,
            volumes: Vec::new(),
            share_process_namespace: false,
            host_pid: false,
            host_ipc: false,
            host_users: true,
            hostname: None,
            subdomain: None,
            set_hostname_as_fqdn: false,
            hostname_override: None,
            host_aliases: Vec::new(),
            dns_policy: DnsPolicy::ClusterFirst,
            dns_config: DnsConfig::default(),
            security_context: PodSecurityContext::default(),
            enable_service_links: false,
            service_account_name: String::new(),
            image_pull_secrets: Vec::new(),
            node_name: None,
            runtime_class_name: None,
        },
    }
}

fn bare_container(container: &Container) -> Container {
    Container {
        name: container.name.clone(),
        image: container.image.clone(),
        image_pull_policy: container.image_pull_policy,
        resources: container.resources.clone(),
        resize_policy: container.resize_policy,
        restart_policy: container.restart_policy,
        restart_policy_rules: container.restart_policy_rules.clone(),
        startup_probe: container.startup_probe.as_ref().map(bare_probe),
        liveness_probe: container.liveness_probe.as_ref().map(bare_probe),
        readiness_probe: container.readiness_probe.as_ref().map(bare_probe),
        post_start: container.post_start.as_ref().map(|_| BARE_HANDLER),
        pre_stop: container.pre_stop.as_ref().map(|_| BARE_HANDLER),
        stop_signal: container.stop_signal.clone(),
        volume_mounts: container.volume_mounts.clone(),
        command: Vec::new(),
        args: Vec::new(),
        working_dir: None,
        env_from: Vec::new(),
        env: Vec::new(),
        ports: Vec::new(),
        termination_message_path: String::new(),
        termination_message_policy: container.termination_message_policy,
        security_context: SecurityContext::default(),
        stdin: false,
        stdin_once: false,
        tty: false,
    }
}

/// What a probe or hook does is the engine's business; that there is one is `decide`'s.
const BARE_HANDLER: Handler = Handler::Sleep { seconds: 0 };

fn bare_probe(probe: &Probe) -> Probe {
    Probe { handler: BARE_HANDLER, ..probe.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "
        apiVersion: v1
        kind: Pod
        metadata: {name: web, annotations: {note: hush}}
        spec:
          initContainers:
          - name: first
            image: toolbox
            command: [sh, -c, hush]
            env: [{name: TOKEN, value: hush}]
          containers:
          - name: web
            image: nginx:1.27
            args: [--password=hush]
            workingDir: /hush
            envFrom: [{prefix: hush, secretRef: {name: hush}}]
            env:
            - {name: PASSWORD, value: hush}
            - {name: KEY, valueFrom: {secretKeyRef: {name: hush, key: hush}}}
            volumeMounts: [{name: store, mountPath: /data}]
            livenessProbe:
              httpGet: {path: /hush, port: 80, httpHeaders: [{name: Authorization, value: hush}]}
              periodSeconds: 7
            lifecycle:
              preStop: {exec: {command: [curl, hush]}}
              postStart: {exec: {command: [curl, hush]}}
          volumes: [{name: store, hostPath: {path: /hush}}]
    ";

    #[test]
    fn nothing_that_could_be_a_secret_stands_in_a_journal() {
        let manifest = model::manifest::parse("pod.yaml", POD.as_bytes()).expect("a manifest");
        let pod = &manifest.pods[0];
        let text = serde_json::to_string(pod).expect("JSON");
        assert!(text.matches("hush").count() > 12, "the manifest is full of them: {text}");
        let text = serde_json::to_string(&bare(pod)).expect("JSON");
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("nginx:1.27") && text.contains("\"period_seconds\":7"), "{text}");
    }
}
