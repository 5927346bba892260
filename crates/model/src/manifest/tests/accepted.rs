//! What is right is read whole: every form of writing it, every default, every warning.
//!
//! Its length is that of one manifest with every field, and of what it becomes.

use expect_test::expect;

use super::*;
use crate::manifest::Position;
use crate::pod::*;

const MINIMAL: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: main, image: busybox}]}\n";

#[test]
fn kubernetes_defaults_are_filled_in() {
    let pod = accepted(MINIMAL).pods.remove(0);
    assert_eq!((pod.meta.namespace.as_str(), pod.meta.generation), ("default", 1));
    let spec = &pod.spec;
    assert_eq!(spec.restart_policy, RestartPolicy::Always);
    assert_eq!(spec.termination_grace_period_seconds, 30);
    assert_eq!(spec.dns_policy, DnsPolicy::ClusterFirst);
    assert!(spec.enable_service_links);
    assert_eq!(spec.service_account_name, "default");
    let main = &spec.containers[0];
    assert_eq!(main.image_pull_policy, ImagePullPolicy::Always);
    assert_eq!(main.termination_message_path, "/dev/termination-log");
    assert_eq!(main.termination_message_policy, TerminationMessagePolicy::File);
}

#[test]
fn the_tag_decides_when_to_pull() {
    for (image, expected) in [
        ("busybox", ImagePullPolicy::Always),
        ("busybox:latest", ImagePullPolicy::Always),
        ("localhost:5000/busybox", ImagePullPolicy::Always),
        ("busybox:1.36", ImagePullPolicy::IfNotPresent),
        ("localhost:5000/busybox:1", ImagePullPolicy::IfNotPresent),
        ("busybox@sha256:00", ImagePullPolicy::IfNotPresent),
        ("busybox:latest@sha256:00", ImagePullPolicy::IfNotPresent),
    ] {
        let text = MINIMAL.replace("busybox", &format!("'{image}'"));
        assert_eq!(accepted(&text).pods[0].spec.containers[0].image_pull_policy, expected, "{image}");
    }
}

#[test]
fn probes_ports_and_resources_get_their_defaults() {
    let text = container(
        "livenessProbe: {httpGet: {port: http}}\nstartupProbe: {exec: {command: [a]}, failureThreshold: 30, periodSeconds: 0}\nports: [{containerPort: 80, name: http}]\nresources: {limits: {cpu: 1500m, memory: 1Gi}, requests: {cpu: 1}}\n",
    );
    let pod = accepted(&text).pods.remove(0);
    let main = &pod.spec.containers[0];
    let probe = main.liveness_probe.as_ref().expect("a probe");
    assert_eq!(
        (probe.timeout_seconds, probe.period_seconds, probe.success_threshold, probe.failure_threshold),
        (1, 10, 1, 3)
    );
    let Handler::HttpGet { port, path, tls: false, .. } = &probe.handler else { panic!("{probe:?}") };
    assert_eq!((port, path.as_str()), (&PortRef::Name("http".to_owned()), "/"));
    let startup = main.startup_probe.as_ref().expect("a probe");
    assert_eq!((startup.period_seconds, startup.failure_threshold), (10, 30));
    assert_eq!(main.ports[0].protocol, Protocol::Tcp);
    assert_eq!(main.resources.requests["cpu"].text(), "1");
    assert_eq!(main.resources.requests["memory"].text(), "1Gi");
    assert_eq!(main.resources.limits["cpu"].milli_value(), 1500);
}

#[test]
fn octal_modes_are_octal() {
    for (written, expected) in [("0644", 0o644), ("0o400", 0o400), ("420", 0o644), ("0777", 0o777), ("0", 0)]
    {
        let text = pod(&format!(
            "containers: [{{name: a, image: b, volumeMounts: [{{name: c, mountPath: /c}}]}}]\nvolumes: [{{name: c, configMap: {{name: c, defaultMode: {written}}}}}]"
        ));
        let VolumeSource::Object { default_mode, .. } = accepted(&text).pods[0].spec.volumes[0].source else {
            panic!("a configMap volume");
        };
        assert_eq!(default_mode, expected, "{written}");
    }
}

/// Its length is that of the Pod, written out whole so that a new field cannot be forgotten.
#[test]
fn every_field_that_is_honoured_arrives() {
    let text = pod(
        "initContainers:\n- {name: side, image: a:1, restartPolicy: Always, lifecycle: {preStop: {sleep: {seconds: 3}}}}\ncontainers:\n- name: main\n  image: a:1\n  command: [sh]\n  args: [-c, 'true']\n  workingDir: /w\n  envFrom: [{prefix: P_, secretRef: {name: s, optional: true}}]\n  env:\n  - {name: A, value: b}\n  - {name: B, valueFrom: {configMapKeyRef: {name: c, key: k}}}\n  - {name: C, valueFrom: {fieldRef: {fieldPath: status.podIP}}}\n  - {name: D, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}\n  - name: E\n  ports: [{containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1, protocol: UDP}]\n  volumeMounts:\n  - {name: e, mountPath: /e/, subPath: a/b, readOnly: true, recursiveReadOnly: IfPossible}\n  - {name: h, mountPath: h, mountPropagation: HostToContainer}\n  restartPolicy: Never\n  restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: NotIn, values: [0, 42]}}]\n  securityContext: {runAsUser: 5, capabilities: {add: [CAP_NET_ADMIN], drop: [all]}, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, seccompProfile: {type: Localhost, localhostProfile: a/b.json}}\n  lifecycle: {stopSignal: SIGUSR1}\n  stdin: true\n  tty: true\nvolumes:\n- {name: e, emptyDir: {medium: Memory, sizeLimit: 1Mi}}\n- {name: h, hostPath: {path: /tmp, type: Directory}}\nos: {name: linux}\nsecurityContext: {fsGroup: 7, fsGroupChangePolicy: OnRootMismatch, supplementalGroups: [8], supplementalGroupsPolicy: Strict, sysctls: [{name: net/core/somaxconn, value: '5'}]}\nhostAliases: [{ip: 10.0.0.1, hostnames: [a.b]}]\ndnsConfig: {nameservers: ['::1'], searches: [a_b.c.], options: [{name: ndots, value: '2'}, {name: debug}]}\nreadinessGates: [{conditionType: a.b/c}]\nterminationGracePeriodSeconds: 5\nactiveDeadlineSeconds: 9\nshareProcessNamespace: true\n",
    );
    let manifest = accepted(&text);
    assert_eq!(manifest.warnings, []);
    expect![[r#"
        Pod {
            meta: Meta {
                name: "web",
                namespace: "default",
                uid: "",
                labels: {},
                annotations: {},
                generation: 1,
            },
            spec: PodSpec {
                init_containers: [
                    Container {
                        name: "side",
                        image: "a:1",
                        image_pull_policy: IfNotPresent,
                        command: [],
                        args: [],
                        working_dir: None,
                        env_from: [],
                        env: [],
                        ports: [],
                        resources: Resources {
                            requests: {},
                            limits: {},
                        },
                        resize_policy: ResizePolicies {
                            cpu: NotRequired,
                            memory: NotRequired,
                        },
                        volume_mounts: [],
                        restart_policy: Some(
                            Always,
                        ),
                        restart_policy_rules: [],
                        startup_probe: None,
                        liveness_probe: None,
                        readiness_probe: None,
                        post_start: None,
                        pre_stop: Some(
                            Sleep {
                                seconds: 3,
                            },
                        ),
                        stop_signal: None,
                        termination_message_path: "/dev/termination-log",
                        termination_message_policy: File,
                        security_context: SecurityContext {
                            run_as_user: None,
                            run_as_group: None,
                            run_as_non_root: None,
                            capabilities_add: [],
                            capabilities_drop: [],
                            privileged: false,
                            allow_privilege_escalation: None,
                            read_only_root_filesystem: false,
                            seccomp_profile: None,
                            proc_mount: Default,
                        },
                        stdin: false,
                        stdin_once: false,
                        tty: false,
                    },
                ],
                containers: [
                    Container {
                        name: "main",
                        image: "a:1",
                        image_pull_policy: IfNotPresent,
                        command: [
                            "sh",
                        ],
                        args: [
                            "-c",
                            "true",
                        ],
                        working_dir: Some(
                            "/w",
                        ),
                        env_from: [
                            EnvFrom {
                                prefix: "P_",
                                source: Secret,
                                name: "s",
                                optional: true,
                            },
                        ],
                        env: [
                            EnvVar {
                                name: "A",
                                value: Literal(
                                    "b",
                                ),
                            },
                            EnvVar {
                                name: "B",
                                value: Key {
                                    kind: ConfigMap,
                                    name: "c",
                                    key: "k",
                                    optional: false,
                                },
                            },
                            EnvVar {
                                name: "C",
                                value: Field(
                                    "status.podIP",
                                ),
                            },
                            EnvVar {
                                name: "D",
                                value: Resource {
                                    container: None,
                                    resource: "limits.memory",
                                    divisor: Quantity {
                                        nanos: 1048576000000000,
                                        text: "1Mi",
                                    },
                                },
                            },
                            EnvVar {
                                name: "E",
                                value: Literal(
                                    "",
                                ),
                            },
                        ],
                        ports: [
                            Port {
                                name: None,
                                container_port: 80,
                                host_port: Some(
                                    8080,
                                ),
                                host_ip: Some(
                                    "127.0.0.1",
                                ),
                                protocol: Udp,
                            },
                        ],
                        resources: Resources {
                            requests: {},
                            limits: {},
                        },
                        resize_policy: ResizePolicies {
                            cpu: NotRequired,
                            memory: NotRequired,
                        },
                        volume_mounts: [
                            VolumeMount {
                                name: "e",
                                mount_path: "/e",
                                sub_path: Some(
                                    Literal(
                                        "a/b",
                                    ),
                                ),
                                read_only: true,
                                recursive_read_only: IfPossible,
                                propagation: None,
                            },
                            VolumeMount {
                                name: "h",
                                mount_path: "/h",
                                sub_path: None,
                                read_only: false,
                                recursive_read_only: Disabled,
                                propagation: HostToContainer,
                            },
                        ],
                        restart_policy: Some(
                            Never,
                        ),
                        restart_policy_rules: [
                            RestartRule {
                                action: RestartAllContainers,
                                operator: NotIn,
                                codes: [
                                    0,
                                    42,
                                ],
                            },
                        ],
                        startup_probe: None,
                        liveness_probe: None,
                        readiness_probe: None,
                        post_start: None,
                        pre_stop: None,
                        stop_signal: Some(
                            "SIGUSR1",
                        ),
                        termination_message_path: "/dev/termination-log",
                        termination_message_policy: File,
                        security_context: SecurityContext {
                            run_as_user: Some(
                                5,
                            ),
                            run_as_group: None,
                            run_as_non_root: None,
                            capabilities_add: [
                                "NET_ADMIN",
                            ],
                            capabilities_drop: [
                                "ALL",
                            ],
                            privileged: false,
                            allow_privilege_escalation: Some(
                                false,
                            ),
                            read_only_root_filesystem: true,
                            seccomp_profile: Some(
                                Localhost(
                                    "a/b.json",
                                ),
                            ),
                            proc_mount: Default,
                        },
                        stdin: true,
                        stdin_once: false,
                        tty: true,
                    },
                ],
                ephemeral_containers: [],
                restart_policy: Always,
                termination_grace_period_seconds: 5,
                active_deadline_seconds: Some(
                    9,
                ),
                volumes: [
                    Volume {
                        name: "e",
                        source: EmptyDir {
                            medium: Memory,
                            size_limit: Some(
                                Quantity {
                                    nanos: 1048576000000000,
                                    text: "1Mi",
                                },
                            ),
                        },
                    },
                    Volume {
                        name: "h",
                        source: HostPath {
                            path: "/tmp",
                            kind: Directory,
                        },
                    },
                ],
                share_process_namespace: true,
                host_network: false,
                host_pid: false,
                host_ipc: false,
                host_users: true,
                hostname: None,
                subdomain: None,
                set_hostname_as_fqdn: false,
                hostname_override: None,
                host_aliases: [
                    HostAlias {
                        ip: "10.0.0.1",
                        hostnames: [
                            "a.b",
                        ],
                    },
                ],
                dns_policy: ClusterFirst,
                dns_config: DnsConfig {
                    nameservers: [
                        "::1",
                    ],
                    searches: [
                        "a_b.c.",
                    ],
                    options: [
                        (
                            "ndots",
                            Some(
                                "2",
                            ),
                        ),
                        (
                            "debug",
                            None,
                        ),
                    ],
                },
                security_context: PodSecurityContext {
                    run_as_user: None,
                    run_as_group: None,
                    run_as_non_root: None,
                    supplemental_groups: [
                        8,
                    ],
                    supplemental_groups_policy: Strict,
                    fs_group: Some(
                        7,
                    ),
                    fs_group_change_policy: OnRootMismatch,
                    sysctls: [
                        (
                            "net.core.somaxconn",
                            "5",
                        ),
                    ],
                    seccomp_profile: None,
                },
                readiness_gates: [
                    "a.b/c",
                ],
                enable_service_links: true,
                service_account_name: "default",
                image_pull_secrets: [],
                node_name: None,
                runtime_class_name: None,
                resources: None,
            },
        }
    "#]]
    .assert_debug_eq(&manifest.pods[0]);
}

#[test]
fn yaml_json_and_lists_say_the_same() {
    let yaml = accepted(MINIMAL);
    let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},
	"spec":{"containers":[{"name":"main","image":"busybox"}]}}"#;
    assert_eq!(accepted(json).pods, yaml.pods);
    let list = format!(
        "apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems:\n{}",
        "- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: main, image: busybox}]}}\n"
    );
    let list = accepted(&list);
    assert_eq!(list.pods, yaml.pods);
    assert_eq!(list.objects.len(), 1);
    let windows = MINIMAL.replace('\n', "\r\n");
    assert_eq!(accepted(&format!("\u{feff}{windows}")).pods, yaml.pods);
    assert_eq!(accepted(&format!("%YAML 1.2\n---\n{MINIMAL}...\n---\n# end\n")).pods, yaml.pods);
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    let text = pod(
        "containers:\n- &base\n  name: a\n  image: busybox:1\n  env: &env\n  - {name: A, value: b}\n- <<: *base\n  name: b\n- name: c\n  image: c:1\n  env: *env\n",
    );
    let pod = accepted(&text).pods.remove(0);
    let [a, b, c] = pod.spec.containers.as_slice() else { panic!("three containers") };
    assert_eq!((b.name.as_str(), b.image.as_str()), ("b", "busybox:1"));
    assert_eq!((&b.env, &c.env), (&a.env, &a.env));
}

#[test]
fn config_maps_and_secrets_hold_bytes() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: ns}\ndata: {a: text, e: ''}\nbinaryData: {b: /w==}\nimmutable: true\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: Opaque\ndata: {a: YQ==, b: Yg==}\nstringData: {b: wins}\n";
    let manifest = accepted(text);
    let [config, secret] = manifest.objects.as_slice() else { panic!("two objects") };
    assert_eq!(
        (config.kind, config.meta.namespace.as_str(), config.immutable),
        (ObjectKind::ConfigMap, "ns", true)
    );
    assert_eq!(config.data["a"], b"text");
    assert_eq!(config.data["b"], b"\xff");
    assert_eq!(config.data["e"], b"");
    assert_eq!((secret.data["a"].as_slice(), secret.data["b"].as_slice()), (&b"a"[..], &b"wins"[..]));
    assert!(!format!("{manifest:?}").contains("wins"));
}

#[test]
fn the_pod_may_come_before_what_it_needs() {
    let manifest =
        accepted(&format!("{MINIMAL}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n"));
    assert_eq!((manifest.pods.len(), manifest.objects.len()), (1, 1));
}

#[test]
fn what_is_not_honoured_is_named() {
    let text = pod(
        "nodeSelector: {a: b}\ntolerations: [{key: a}]\naffinity: {}\npriority: 0\nautomountServiceAccountToken: false\nschedulerName: default-scheduler\ntopologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]\ncontainers:\n- {name: a, image: b, ports: [{containerPort: 80}], securityContext: {seLinuxOptions: {level: a}}, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}], resources: {limits: {memory: 128m, nvidia.com/gpu: 1}}}\n- {name: b, image: b, ports: [{containerPort: 80}]}\nvolumes: [{name: x, emptyDir: {}}, {name: d, nfs: {server: a, path: /b}}]\n",
    );
    let warnings = accepted(&text).warnings;
    let lines: String =
        warnings.iter().map(|warning| format!("{:?} {}\n", warning.kind, warning.summary())).collect();
    expect![[r#"
        NotHonoured spec.nodeSelector: valid Kubernetes, but not honoured by podling yet
        NotHonoured spec.tolerations: valid Kubernetes, but not honoured by podling yet
        NotHonoured spec.topologySpreadConstraints: valid Kubernetes, but not honoured by podling yet
        NotHonoured spec.containers[0].securityContext.seLinuxOptions: valid Kubernetes, but not honoured by podling yet
        Suspicious spec.containers[0].resources.limits.memory: fractional byte value "128m" is invalid, must be an integer
        NotHonoured spec.containers[0].resources.limits[nvidia.com/gpu]: podling has no such resource: the container runs without it
        Suspicious spec.containers[1].ports[0].containerPort: containers "a" and "b" both declare port 80: they share one network, and only one of them can listen there
        Suspicious spec.volumes[0].name: volume "x" is mounted by no container
        Suspicious spec.volumes[1].name: volume "d" is mounted by no container
        NotHonoured spec.volumes[1].nfs: valid Kubernetes, but not honoured by podling yet
    "#]].assert_eq(&lines);
}

#[test]
fn what_the_system_writes_is_ignored_without_a_word() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, uid: a, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z', generation: 3, managedFields: [{manager: a}]}\nspec: {containers: [{name: main, image: busybox}]}\nstatus: {phase: Running}\n";
    let manifest = accepted(text);
    assert_eq!(manifest.warnings, []);
    assert_eq!((manifest.pods[0].meta.uid.as_str(), manifest.pods[0].meta.generation), ("", 1));
}

#[test]
fn positions_are_kept_for_later_messages() {
    let text = format!("# first\n---\n{}", container("env:\n- name: A\n  value: b\n"));
    let positions = accepted(&text).positions;
    let at =
        |path: &str| positions.lookup("Pod", "web", path).map(|Position { line, column }| (line, column));
    assert_eq!(at("spec.containers[0].image"), Some((10, 12)));
    assert_eq!(at("spec.containers[0].env"), Some((11, 5)));
    assert_eq!(at("spec.containers[0].env[0].value"), Some((13, 14)));
    // Not written: where its nearest parent stands.
    assert_eq!(at("spec.containers[0].livenessProbe.httpGet"), Some((9, 5)));
    assert_eq!(positions.lookup("Pod", "other", "spec"), None);
}

#[test]
fn a_pod_survives_a_checkpoint() {
    let pod = accepted(&container("resources: {limits: {memory: 1Gi}}\n")).pods.remove(0);
    let json = serde_json::to_string(&pod).expect("JSON");
    assert_eq!(serde_json::from_str::<Pod>(&json).expect("a Pod"), pod);
}

#[test]
fn users_that_a_pod_of_its_own_users_does_not_have_are_named() {
    let text = pod(
        "hostUsers: false\nsecurityContext: {fsGroup: 65536, runAsUser: 65535}\ncontainers:\n- {name: a, image: b, securityContext: {runAsUser: 70000, procMount: Unmasked}}\n",
    );
    let accepted = accepted(&text);
    assert!(!accepted.pods[0].spec.host_users);
    let lines: String = accepted
        .warnings
        .iter()
        .map(|warning| format!("{:?} {}\n", warning.kind, warning.summary()))
        .collect();
    expect![[r#"
        Suspicious spec.securityContext.fsGroup: with hostUsers: false a Pod has the users and groups from 0 to 65535, so no container can start
        Suspicious spec.containers[0].securityContext.runAsUser: with hostUsers: false a Pod has the users and groups from 0 to 65535, so no container can start
    "#]].assert_eq(&lines);
}
