//! The Pod as the rest of podling sees it: every default filled in, every choice an enum.
//!
//! Field by field this is Kubernetes' `core/v1` PodSpec; where Kubernetes has an optional field with a
//! default, the default is already here, so no reader decides it a second time. Fields that podling does
//! not honour yet are absent on purpose: [`crate::manifest`] names them in a warning instead.
//!
//! The length of this file is that of Kubernetes' PodSpec: types without logic, read side by side with its API page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// What identifies an object; for a Pod the UID is given by whoever admits it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, `default` when absent.
    pub namespace: String,
    /// `metadata.uid`; empty until the Pod is admitted.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.generation`, 1 for a manifest.
    pub generation: i64,
}

/// A Pod: what shall run together on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Name, namespace, UID, labels, annotations.
    pub meta: Meta,
    /// What is asked for.
    pub spec: PodSpec,
}

/// `spec` of a Pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodSpec {
    /// Init containers and sidecars (KEP-753), in the order in which they start.
    pub init_containers: Vec<Container>,
    /// Main containers, in the order in which they start.
    pub containers: Vec<Container>,
    /// Containers that were added to the running Pod, to look into it (KEP-277).
    pub ephemeral_containers: Vec<EphemeralContainer>,
    /// Pod-wide restart policy.
    pub restart_policy: RestartPolicy,
    /// Seconds between the stop request and KILL, preStop included.
    pub termination_grace_period_seconds: u64,
    /// Seconds after the Pod's start at which it fails with DeadlineExceeded.
    pub active_deadline_seconds: Option<u64>,
    /// Volumes that containers may mount.
    pub volumes: Vec<Volume>,
    /// One PID namespace for all containers, with pause as PID 1.
    pub share_process_namespace: bool,
    /// Use the node's network namespace.
    pub host_network: bool,
    /// Use the node's PID namespace.
    pub host_pid: bool,
    /// Use the node's IPC namespace.
    pub host_ipc: bool,
    /// Use the node's user namespace; else the Pod has users of its own (KEP-127).
    pub host_users: bool,
    /// `spec.hostname`; the Pod's name when absent.
    pub hostname: Option<String>,
    /// `spec.subdomain`.
    pub subdomain: Option<String>,
    /// The kernel's hostname is the fully qualified one.
    pub set_hostname_as_fqdn: bool,
    /// `spec.hostnameOverride` (KEP-4762): the hostname as it is, whatever the other fields say.
    pub hostname_override: Option<String>,
    /// Further lines of /etc/hosts.
    pub host_aliases: Vec<HostAlias>,
    /// Where /etc/resolv.conf comes from.
    pub dns_policy: DnsPolicy,
    /// What is merged into /etc/resolv.conf.
    pub dns_config: DnsConfig,
    /// Pod-wide security settings.
    pub security_context: PodSecurityContext,
    /// Further conditions that must be True before the Pod is Ready.
    pub readiness_gates: Vec<String>,
    /// Service environment variables.
    pub enable_service_links: bool,
    /// `spec.serviceAccountName`.
    pub service_account_name: String,
    /// Names of the Secrets that open registries, `spec.imagePullSecrets`.
    #[serde(default)]
    pub image_pull_secrets: Vec<String>,
    /// `spec.nodeName`, when the manifest binds the Pod itself.
    pub node_name: Option<String>,
    /// `spec.runtimeClassName`.
    pub runtime_class_name: Option<String>,
    /// Pod-level requests and limits (KEP-2837).
    pub resources: Option<Resources>,
}

impl PodSpec {
    /// Init containers, sidecars and main containers, in the order in which they start.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// The container of that name, of whatever role; ephemeral ones too.
    pub fn container(&self, name: &str) -> Option<&Container> {
        let ephemeral = self.ephemeral_containers.iter().map(|ephemeral| &ephemeral.container);
        self.all_containers().chain(ephemeral).find(|container| container.name == name)
    }
}

/// Pod-wide restart policy, and the per-container one of KEP-5307.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Restart whatever the exit code.
    #[default]
    Always,
    /// Restart on a code other than 0.
    OnFailure,
    /// Never restart.
    Never,
}

/// One container of a Pod. Its role follows from the list it stands in and, for init containers, from
/// `restart_policy`: see [`Container::is_sidecar`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Name, unique in the Pod over all roles.
    pub name: String,
    /// Image reference as written.
    pub image: String,
    /// When to pull; Kubernetes' defaulting by tag has been applied.
    pub image_pull_policy: ImagePullPolicy,
    /// Replaces the image's ENTRYPOINT when not empty.
    pub command: Vec<String>,
    /// Replaces the image's CMD when not empty.
    pub args: Vec<String>,
    /// Replaces the image's WORKDIR.
    pub working_dir: Option<String>,
    /// Whole ConfigMaps and Secrets as environment, before `env`.
    pub env_from: Vec<EnvFrom>,
    /// Environment, in order; later entries see earlier ones through `$(NAME)`.
    pub env: Vec<EnvVar>,
    /// Declared ports.
    pub ports: Vec<Port>,
    /// Requests and limits.
    pub resources: Resources,
    /// What a change of `resources` does to the running container (KEP-1287).
    pub resize_policy: ResizePolicies,
    /// Where volumes appear.
    pub volume_mounts: Vec<VolumeMount>,
    /// The container's own restart policy; `Always` on an init container makes it a sidecar.
    pub restart_policy: Option<RestartPolicy>,
    /// What restarts on which exit codes (KEP-5307).
    pub restart_policy_rules: Vec<RestartRule>,
    /// Holds the others back until it has passed.
    pub startup_probe: Option<Probe>,
    /// A failure restarts the container.
    pub liveness_probe: Option<Probe>,
    /// A failure makes the container not ready.
    pub readiness_probe: Option<Probe>,
    /// Called right after the start.
    pub post_start: Option<Handler>,
    /// Called before the stop signal.
    pub pre_stop: Option<Handler>,
    /// `lifecycle.stopSignal`, a name such as `SIGUSR1`; else the image's STOPSIGNAL, else TERM.
    pub stop_signal: Option<String>,
    /// File in the container whose text becomes the termination message.
    pub termination_message_path: String,
    /// Whether the log's end stands in for a missing message of a failed container.
    pub termination_message_policy: TerminationMessagePolicy,
    /// Container security settings.
    pub security_context: SecurityContext,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input after the first attach.
    pub stdin_once: bool,
    /// Give the container a terminal.
    pub tty: bool,
}

impl Container {
    /// Whether this container, standing among the init containers, is a sidecar (KEP-753).
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }
}

/// A container that is added to a running Pod, runs once and is never restarted (KEP-277).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EphemeralContainer {
    /// What runs: without ports, probes, hooks, resources or a restart policy.
    pub container: Container,
    /// `targetContainerName`: the container whose PID namespace it joins.
    pub target: Option<String>,
}

/// `resizePolicy`, resource by resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizePolicies {
    /// For `cpu`.
    pub cpu: ResizePolicy,
    /// For `memory`.
    pub memory: ResizePolicy,
}

/// What a changed amount of one resource needs to take effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResizePolicy {
    /// It is applied to the container as it runs.
    #[default]
    NotRequired,
    /// The container is restarted with it.
    RestartContainer,
}

/// `imagePullPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImagePullPolicy {
    /// Ask the registry at every start.
    Always,
    /// Pull only what is not there.
    IfNotPresent,
    /// Never pull; a missing image is ErrImageNeverPull.
    Never,
}

/// One `envFrom` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFrom {
    /// Put before every key.
    pub prefix: String,
    /// Where the keys come from.
    pub source: ObjectKind,
    /// Name of the ConfigMap or Secret.
    pub name: String,
    /// A missing object is not an error.
    pub optional: bool,
}

/// The two kinds of objects that hold keys for Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ObjectKind::ConfigMap => "ConfigMap",
            ObjectKind::Secret => "Secret",
        })
    }
}

/// One `env` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Variable name.
    pub name: String,
    /// Its value or where that comes from.
    pub value: EnvValue,
}

/// Where the value of an environment variable comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvValue {
    /// Text with `$(NAME)` references.
    Literal(String),
    /// A key of a ConfigMap or Secret.
    Key {
        /// ConfigMap or Secret.
        kind: ObjectKind,
        /// Its name.
        name: String,
        /// The key in it.
        key: String,
        /// A missing object or key is not an error: the variable is left out.
        optional: bool,
    },
    /// A field of the Pod, such as `status.podIP`.
    Field(String),
    /// A resource of a container, such as `limits.memory`.
    Resource {
        /// The container; this one when absent.
        container: Option<String>,
        /// `limits.cpu`, `requests.memory`, ...
        resource: String,
        /// The unit in which it is given.
        divisor: Quantity,
    },
}

/// One declared port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name that probes and Services may use.
    pub name: Option<String>,
    /// Port in the Pod.
    pub container_port: u16,
    /// Port on the node.
    pub host_port: Option<u16>,
    /// Address on the node; every address when absent.
    pub host_ip: Option<String>,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Requests and limits by resource name (`cpu`, `memory`, `ephemeral-storage`, `hugepages-2Mi`).
/// A limit without a request has already become the request too.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// What is set aside.
    pub requests: BTreeMap<String, Quantity>,
    /// What is never exceeded.
    pub limits: BTreeMap<String, Quantity>,
}

/// One `volumeMounts` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Name of the volume.
    pub name: String,
    /// Absolute path in the container.
    pub mount_path: String,
    /// Path inside the volume.
    pub sub_path: Option<SubPath>,
    /// Mounted read-only.
    pub read_only: bool,
    /// Whether read-only holds for mounts below it too (KEP-3857).
    pub recursive_read_only: RecursiveReadOnly,
    /// How later mounts travel.
    pub propagation: MountPropagation,
}

/// `subPath` or `subPathExpr`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubPath {
    /// The path as written.
    Literal(String),
    /// A path with `$(NAME)` of the container's environment.
    Expression(String),
}

/// `recursiveReadOnly`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecursiveReadOnly {
    /// Only the mount itself.
    #[default]
    Disabled,
    /// Below too, where the kernel can.
    IfPossible,
    /// Below too, or it is an error.
    Enabled,
}

/// `mountPropagation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountPropagation {
    /// Nothing travels (`private`).
    #[default]
    None,
    /// The host's later mounts arrive (`rslave`).
    HostToContainer,
    /// Both ways (`rshared`).
    Bidirectional,
}

/// One `restartPolicyRules` entry (KEP-5307, KEP-5532).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartRule {
    /// What happens on a match.
    pub action: RestartRuleAction,
    /// Whether the codes are those that match or those that do not.
    pub operator: ExitCodeOperator,
    /// Exit codes.
    pub codes: Vec<i32>,
}

/// What a matching restart rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartRuleAction {
    /// The container restarts.
    Restart,
    /// The whole Pod starts again in place, from its first init container.
    RestartAllContainers,
}

/// How a rule compares exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitCodeOperator {
    /// The code is one of those listed.
    In,
    /// The code is none of those listed.
    NotIn,
}

/// A probe with its schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub handler: Handler,
    /// Seconds after the container's start before the first probe.
    pub initial_delay_seconds: u32,
    /// Seconds between probes.
    pub period_seconds: u32,
    /// Seconds after which a probe counts as failed.
    pub timeout_seconds: u32,
    /// Successes in a row that make it passed.
    pub success_threshold: u32,
    /// Failures in a row that make it failed.
    pub failure_threshold: u32,
    /// The grace of a container that this probe kills, when it is not the Pod's.
    pub termination_grace_period_seconds: Option<u64>,
}

/// What a probe or hook does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handler {
    /// Run a command in the container; code 0 is success.
    Exec(Vec<String>),
    /// GET; a code from 200 to 399 is success.
    HttpGet {
        /// Port by number or name.
        port: PortRef,
        /// Path and query.
        path: String,
        /// Host to connect to; the Pod's IP when absent.
        host: Option<String>,
        /// https without certificate check.
        tls: bool,
        /// Header names and values.
        headers: Vec<(String, String)>,
    },
    /// Open a connection.
    TcpSocket {
        /// Port by number or name.
        port: PortRef,
        /// Host to connect to; the Pod's IP when absent.
        host: Option<String>,
    },
    /// The standard gRPC health protocol.
    Grpc {
        /// Port.
        port: u16,
        /// Service name asked for.
        service: String,
    },
    /// Wait; hooks only.
    Sleep {
        /// How long.
        seconds: u64,
    },
}

/// A port by number or by the name of one of the container's declared ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortRef {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

/// `terminationMessagePolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TerminationMessagePolicy {
    /// Only the file.
    #[default]
    File,
    /// The end of the log where the file is empty and the container failed.
    FallbackToLogsOnError,
}

/// One `hostAliases` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAlias {
    /// Address.
    pub ip: String,
    /// Names of it.
    pub hostnames: Vec<String>,
}

/// `dnsPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsPolicy {
    /// The cluster's DNS first, also with hostNetwork.
    ClusterFirstWithHostNet,
    /// The cluster's DNS first.
    #[default]
    ClusterFirst,
    /// The node's resolv.conf.
    Default,
    /// Only `dnsConfig`.
    None,
}

/// `dnsConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Name servers.
    pub nameservers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options, with or without a value.
    pub options: Vec<(String, Option<String>)>,
}

/// Pod-wide `securityContext`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSecurityContext {
    /// User of every container that names none.
    pub run_as_user: Option<u32>,
    /// Group of every container that names none.
    pub run_as_group: Option<u32>,
    /// Refuse root.
    pub run_as_non_root: Option<bool>,
    /// Supplementary groups of every process.
    pub supplemental_groups: Vec<u32>,
    /// Whether the image's own groups of the user count (KEP-3619).
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// Group that owns volumes and that every process is in.
    pub fs_group: Option<u32>,
    /// When ownership is changed.
    pub fs_group_change_policy: FsGroupChangePolicy,
    /// Namespaced sysctls.
    pub sysctls: Vec<(String, String)>,
    /// seccomp of every container that names none.
    pub seccomp_profile: Option<SeccompProfile>,
}

/// `supplementalGroupsPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SupplementalGroupsPolicy {
    /// The groups of the user in the image's /etc/group count too.
    #[default]
    Merge,
    /// Only what the manifest says.
    Strict,
}

/// `fsGroupChangePolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FsGroupChangePolicy {
    /// Every file, at every start.
    #[default]
    Always,
    /// Only when the volume's root does not match.
    OnRootMismatch,
}

/// Container `securityContext`; what is absent comes from the Pod's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityContext {
    /// User.
    pub run_as_user: Option<u32>,
    /// Group.
    pub run_as_group: Option<u32>,
    /// Refuse root.
    pub run_as_non_root: Option<bool>,
    /// Capabilities added to the default ones, without `CAP_`.
    pub capabilities_add: Vec<String>,
    /// Capabilities taken away, without `CAP_`; `ALL` takes every one.
    pub capabilities_drop: Vec<String>,
    /// All of the machine.
    pub privileged: bool,
    /// `false` sets no_new_privs.
    pub allow_privilege_escalation: Option<bool>,
    /// The root filesystem cannot be written.
    pub read_only_root_filesystem: bool,
    /// System call filter.
    pub seccomp_profile: Option<SeccompProfile>,
    /// Whether /proc is masked.
    pub proc_mount: ProcMount,
}

/// `seccompProfile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompProfile {
    /// The profile of container engines.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A file of the node, relative to its seccomp directory.
    Localhost(String),
}

/// How many users and groups a Pod with `hostUsers: false` has: those of a 16-bit machine, as the kubelet gives them.
pub const USERS_PER_POD: u32 = 65_536;

/// `procMount`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcMount {
    /// Masked and read-only paths as container engines have them.
    #[default]
    Default,
    /// Nothing masked.
    Unmasked,
}

/// A volume of the Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Name that mounts use.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// An empty directory that lives as long as the Pod.
    EmptyDir {
        /// Disk or memory.
        medium: Medium,
        /// Largest size.
        size_limit: Option<Quantity>,
    },
    /// Files from the keys of a ConfigMap or Secret.
    Object {
        /// ConfigMap or Secret.
        kind: ObjectKind,
        /// Its name.
        name: String,
        /// Which keys become which files; every key when empty.
        items: Vec<KeyToPath>,
        /// Mode of files that name none.
        default_mode: u32,
        /// A missing object or key is not an error.
        optional: bool,
    },
    /// Fields of the Pod as files.
    DownwardApi {
        /// The files.
        items: Vec<DownwardFile>,
        /// Mode of files that name none.
        default_mode: u32,
    },
    /// Files of several sources in one directory.
    Projected {
        /// The sources; where two have a file of one path, the later one wins.
        sources: Vec<Projection>,
        /// Mode of files that name none.
        default_mode: u32,
    },
    /// A path of the node.
    HostPath {
        /// The path.
        path: String,
        /// What must be there.
        kind: HostPathType,
    },
    /// A kind that Kubernetes has and podling does not yet; the run fails when a container mounts it.
    Unsupported {
        /// The field's name, such as `persistentVolumeClaim`.
        kind: String,
    },
}

impl VolumeSource {
    /// Whether it is a directory of files that podling writes and keeps up to date, and so is mounted read-only.
    pub fn is_written(&self) -> bool {
        match self {
            VolumeSource::Object { .. }
            | VolumeSource::DownwardApi { .. }
            | VolumeSource::Projected { .. } => true,
            VolumeSource::EmptyDir { .. }
            | VolumeSource::HostPath { .. }
            | VolumeSource::Unsupported { .. } => false,
        }
    }

    /// ConfigMaps and Secrets of which it speaks.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectKind, &str)> {
        let alone = match self {
            VolumeSource::Object { kind, name, .. } => Some((*kind, name.as_str())),
            _ => None,
        };
        let projected = self.projections().iter().filter_map(|source| match source {
            Projection::Object { kind, name, .. } => Some((*kind, name.as_str())),
            _ => None,
        });
        alone.into_iter().chain(projected)
    }

    /// Tokens that it holds.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenProjection> {
        self.projections().iter().filter_map(|source| match source {
            Projection::Token(token) => Some(token),
            _ => None,
        })
    }

    fn projections(&self) -> &[Projection] {
        match self {
            VolumeSource::Projected { sources, .. } => sources,
            _ => &[],
        }
    }
}

/// One `sources` entry of a projected volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projection {
    /// The keys of a ConfigMap or Secret.
    Object {
        /// ConfigMap or Secret.
        kind: ObjectKind,
        /// Its name.
        name: String,
        /// Which keys become which files; every key when empty.
        items: Vec<KeyToPath>,
        /// A missing object or key is not an error.
        optional: bool,
    },
    /// Fields of the Pod.
    DownwardApi(Vec<DownwardFile>),
    /// A token of the Pod's ServiceAccount.
    Token(TokenProjection),
}

/// `serviceAccountToken` of a projected volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenProjection {
    /// Whom the token is for; the API server itself when absent.
    pub audience: Option<String>,
    /// How long a token shall be good for.
    pub expiration_seconds: u64,
    /// Relative path of the file.
    pub path: String,
}

/// One `items` entry of a downwardAPI volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownwardFile {
    /// Relative path of the file.
    pub path: String,
    /// Its mode.
    pub mode: Option<u32>,
    /// What stands in it.
    pub value: DownwardValue,
}

/// What a downwardAPI volume tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownwardValue {
    /// A field of the Pod, such as `metadata.labels`.
    Field(String),
    /// A resource of a container, such as `limits.memory`.
    Resource {
        /// The container.
        container: String,
        /// `limits.cpu`, `requests.memory`, ...
        resource: String,
        /// The unit in which it is given.
        divisor: Quantity,
    },
}

/// `emptyDir.medium`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Medium {
    /// The node's disk.
    #[default]
    Disk,
    /// A tmpfs.
    Memory,
}

/// One `items` entry of a configMap or secret volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyToPath {
    /// The key.
    pub key: String,
    /// Relative path of the file.
    pub path: String,
    /// Its mode.
    pub mode: Option<u32>,
}

/// `hostPath.type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPathType {
    /// No check.
    #[default]
    Unset,
    /// A directory, made (0755) when missing.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made (0644) when missing.
    FileOrCreate,
    /// A file.
    File,
    /// A UNIX socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// A ConfigMap or Secret: keys and bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedObject {
    /// ConfigMap or Secret.
    pub kind: ObjectKind,
    /// Name and namespace.
    pub meta: Meta,
    /// `data` and `binaryData` (ConfigMap), `data` decoded and `stringData` (Secret).
    pub data: BTreeMap<String, Vec<u8>>,
    /// Never changes again.
    pub immutable: bool,
}

/// Secrets never reach a log: only the keys are shown.
impl std::fmt::Debug for KeyedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedObject")
            .field("kind", &self.kind)
            .field("namespace", &self.meta.namespace)
            .field("name", &self.meta.name)
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .finish()
    }
}
