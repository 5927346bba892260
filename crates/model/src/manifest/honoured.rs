//! What podling honours of all that the API has.
//!
//! A field of the API that is not in [`HONOURED`] is accepted with a warning that names it: nothing is dropped
//! in silence. Whoever makes podling honour a field adds it here, and to the types in `pod.rs`. A field in
//! [`SATISFIED`] has no code behind it: on a single machine its meaning holds by itself, for the reason given.

use super::scalar::Meaning;
use super::schema::Type;
use super::tree::Node;

/// What becomes of a field.
pub(crate) enum Verdict {
    /// It is honoured, or asks for nothing.
    Honoured,
    /// It holds by itself, with everything below it.
    Satisfied,
    /// It has no effect, and the user is told.
    Ignored {
        /// What podling does instead, where that helps.
        hint: Option<&'static str>,
    },
}

/// Type by type, the fields that podling honours.
pub(crate) const HONOURED: &[(&str, &[&str])] = &[
    ("Pod", &["apiVersion", "kind", "metadata", "spec"]),
    ("ConfigMap", &["apiVersion", "binaryData", "data", "immutable", "kind", "metadata"]),
    ("Secret", &["apiVersion", "data", "immutable", "kind", "metadata", "stringData", "type"]),
    ("ObjectMeta", &["annotations", "labels", "name", "namespace"]),
    (
        "PodSpec",
        &[
            "activeDeadlineSeconds",
            "containers",
            "dnsConfig",
            "dnsPolicy",
            "enableServiceLinks",
            "ephemeralContainers",
            "hostAliases",
            "hostIPC",
            "hostNetwork",
            "hostPID",
            "hostUsers",
            "hostname",
            "hostnameOverride",
            "imagePullSecrets",
            "initContainers",
            "nodeName",
            "readinessGates",
            "resources",
            "restartPolicy",
            "runtimeClassName",
            "securityContext",
            "serviceAccount",
            "serviceAccountName",
            "setHostnameAsFQDN",
            "shareProcessNamespace",
            "subdomain",
            "terminationGracePeriodSeconds",
            "volumes",
        ],
    ),
    (
        "Container",
        &[
            "args",
            "command",
            "env",
            "envFrom",
            "image",
            "imagePullPolicy",
            "lifecycle",
            "livenessProbe",
            "name",
            "ports",
            "readinessProbe",
            "resizePolicy",
            "resources",
            "restartPolicy",
            "restartPolicyRules",
            "securityContext",
            "startupProbe",
            "stdin",
            "stdinOnce",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "tty",
            "volumeMounts",
            "workingDir",
        ],
    ),
    ("ContainerResizePolicy", &["resourceName", "restartPolicy"]),
    // Refused in a manifest; honoured when it is added to a running Pod.
    (
        "EphemeralContainer",
        &[
            "args",
            "command",
            "env",
            "envFrom",
            "image",
            "imagePullPolicy",
            "name",
            "securityContext",
            "stdin",
            "stdinOnce",
            "targetContainerName",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "tty",
            "volumeMounts",
            "workingDir",
        ],
    ),
    ("EnvVar", &["name", "value", "valueFrom"]),
    ("EnvVarSource", &["configMapKeyRef", "fieldRef", "resourceFieldRef", "secretKeyRef"]),
    ("LocalObjectReference", &["name"]),
    ("ConfigMapKeySelector", &["key", "name", "optional"]),
    ("SecretKeySelector", &["key", "name", "optional"]),
    ("ObjectFieldSelector", &["apiVersion", "fieldPath"]),
    ("ResourceFieldSelector", &["containerName", "divisor", "resource"]),
    ("EnvFromSource", &["configMapRef", "prefix", "secretRef"]),
    ("ConfigMapEnvSource", &["name", "optional"]),
    ("SecretEnvSource", &["name", "optional"]),
    ("ContainerPort", &["containerPort", "hostIP", "hostPort", "name", "protocol"]),
    ("ResourceRequirements", &["limits", "requests"]),
    (
        "VolumeMount",
        &["mountPath", "mountPropagation", "name", "readOnly", "recursiveReadOnly", "subPath", "subPathExpr"],
    ),
    ("ContainerRestartRule", &["action", "exitCodes"]),
    ("ContainerRestartRuleOnExitCodes", &["operator", "values"]),
    (
        "Probe",
        &[
            "exec",
            "failureThreshold",
            "grpc",
            "httpGet",
            "initialDelaySeconds",
            "periodSeconds",
            "successThreshold",
            "tcpSocket",
            "terminationGracePeriodSeconds",
            "timeoutSeconds",
        ],
    ),
    ("ExecAction", &["command"]),
    ("HTTPGetAction", &["host", "httpHeaders", "path", "port", "scheme"]),
    ("HTTPHeader", &["name", "value"]),
    ("TCPSocketAction", &["host", "port"]),
    ("GRPCAction", &["port", "service"]),
    ("SleepAction", &["seconds"]),
    ("Lifecycle", &["postStart", "preStop", "stopSignal"]),
    ("LifecycleHandler", &["exec", "httpGet", "sleep", "tcpSocket"]),
    (
        "SecurityContext",
        &[
            "allowPrivilegeEscalation",
            "capabilities",
            "privileged",
            "procMount",
            "readOnlyRootFilesystem",
            "runAsGroup",
            "runAsNonRoot",
            "runAsUser",
            "seccompProfile",
        ],
    ),
    ("Capabilities", &["add", "drop"]),
    ("SeccompProfile", &["localhostProfile", "type"]),
    (
        "PodSecurityContext",
        &[
            "fsGroup",
            "fsGroupChangePolicy",
            "runAsGroup",
            "runAsNonRoot",
            "runAsUser",
            "seccompProfile",
            "supplementalGroups",
            "supplementalGroupsPolicy",
            "sysctls",
        ],
    ),
    ("Sysctl", &["name", "value"]),
    ("HostAlias", &["hostnames", "ip"]),
    ("PodDNSConfig", &["nameservers", "options", "searches"]),
    ("PodDNSConfigOption", &["name", "value"]),
    ("PodReadinessGate", &["conditionType"]),
    ("Volume", &["configMap", "downwardAPI", "emptyDir", "hostPath", "name", "projected", "secret"]),
    ("EmptyDirVolumeSource", &["medium", "sizeLimit"]),
    ("ConfigMapVolumeSource", &["defaultMode", "items", "name", "optional"]),
    ("SecretVolumeSource", &["defaultMode", "items", "optional", "secretName"]),
    ("KeyToPath", &["key", "mode", "path"]),
    ("DownwardAPIVolumeSource", &["defaultMode", "items"]),
    ("DownwardAPIVolumeFile", &["fieldRef", "mode", "path", "resourceFieldRef"]),
    ("ProjectedVolumeSource", &["defaultMode", "sources"]),
    ("VolumeProjection", &["configMap", "downwardAPI", "secret", "serviceAccountToken"]),
    ("ConfigMapProjection", &["items", "name", "optional"]),
    ("SecretProjection", &["items", "name", "optional"]),
    ("DownwardAPIProjection", &["items"]),
    ("ServiceAccountTokenProjection", &["audience", "expirationSeconds", "path"]),
    ("HostPathVolumeSource", &["path", "type"]),
];

/// Fields that hold by themselves: type, field, the value for which that is so (any, when `None`), and why.
pub(crate) const SATISFIED: &[(&str, &str, Option<&str>, &str)] = &[
    ("Pod", "status", None, "written by the system; Kubernetes ignores it on create"),
    ("ObjectMeta", "creationTimestamp", None, "written by the system; ignored on create"),
    ("ObjectMeta", "deletionGracePeriodSeconds", None, "written by the system; ignored on create"),
    ("ObjectMeta", "deletionTimestamp", None, "written by the system; ignored on create"),
    ("ObjectMeta", "generateName", None, "only of use without a name, which is reported on its own"),
    ("ObjectMeta", "generation", None, "written by the system; ignored on create"),
    ("ObjectMeta", "managedFields", None, "written by the system; there is no server-side apply of a file"),
    ("ObjectMeta", "resourceVersion", None, "written by the system; a file has no earlier version"),
    ("ObjectMeta", "selfLink", None, "written by the system; Kubernetes itself ignores it"),
    ("ObjectMeta", "uid", None, "written by the system: whoever admits the Pod gives it a UID"),
    ("PodSpec", "automountServiceAccountToken", Some("false"), "no token is mounted anyway"),
    ("PodSpec", "os", None, "Linux is checked by the reader; nothing else runs here"),
    ("PodSpec", "preemptionPolicy", None, "nothing is ever preempted on one machine"),
    ("PodSpec", "priority", Some("0"), "the default"),
    ("PodSpec", "schedulerName", Some("default-scheduler"), "the default; one machine needs no choice"),
];

/// Fields where a word more than "no effect" helps.
const HINTS: &[(&str, &str, &str)] = &[
    (
        "Volume",
        "persistentVolumeClaim",
        "a container that mounts it cannot start; for a try, use emptyDir or hostPath",
    ),
    ("VolumeProjection", "clusterTrustBundle", "a container that mounts the volume cannot start"),
    ("VolumeProjection", "podCertificate", "a container that mounts the volume cannot start"),
    ("PodSpec", "nodeSelector", "the Pod runs on this machine, whatever its labels"),
    ("PodSpec", "affinity", "the Pod runs on this machine"),
    ("PodSpec", "schedulingGates", "the Pod is not held back"),
];

/// What becomes of a field with that value.
pub(crate) fn verdict(of: &Type, field: &str, value: &Node) -> Verdict {
    let is_honoured =
        HONOURED.iter().any(|(name, fields)| *name == of.name && fields.binary_search(&field).is_ok());
    let is_satisfied = || {
        SATISFIED.iter().any(|(name, satisfied, only, _)| {
            *name == of.name && *satisfied == field && only.is_none_or(|only| is_value(value, only))
        })
    };
    // An empty list or mapping asks for nothing.
    let is_empty = value.scalar().is_none() && value.items().is_empty() && value.entries().is_empty();
    if is_honoured || (is_empty && of.name != "Volume") {
        return Verdict::Honoured;
    }
    if is_satisfied() {
        return Verdict::Satisfied;
    }
    let hint = HINTS.iter().find(|(name, hinted, _)| *name == of.name && *hinted == field);
    let other_volume = (of.name == "Volume").then_some("a container that mounts it cannot start");
    Verdict::Ignored { hint: hint.map(|(_, _, hint)| *hint).or(other_volume) }
}

fn is_value(value: &Node, expected: &str) -> bool {
    value.scalar().is_some_and(|scalar| match scalar.meaning {
        Meaning::Bool(value) => value.to_string() == expected,
        Meaning::Int(value) => value.to_string() == expected,
        _ => scalar.text == expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields;
    use crate::manifest::schema::Shape;

    /// Every type reachable from the kinds of objects that a manifest may hold.
    fn types() -> Vec<&'static Type> {
        let mut found: Vec<&'static Type> = Vec::new();
        let mut open = vec![&fields::POD, &fields::CONFIG_MAP, &fields::SECRET];
        while let Some(next) = open.pop() {
            if !found.iter().any(|known| known.name == next.name) {
                found.push(next);
                open.extend(next.fields.iter().filter_map(|field| Shape::inner_type(&field.shape)));
            }
        }
        found
    }

    #[test]
    fn the_table_names_only_fields_that_exist_once_and_in_order() {
        let types = types();
        let find = |name: &str| *types.iter().find(|of| of.name == name).expect(name);
        for (name, honoured) in HONOURED {
            assert!(honoured.is_sorted_by(|a, b| a < b), "{name} is not sorted");
            for field in *honoured {
                assert!(find(name).field(field).is_some(), "{name}.{field}");
            }
        }
        for (name, field, _, why) in SATISFIED {
            assert!(find(name).field(field).is_some(), "{name}.{field}");
            assert!(!why.is_empty());
        }
        for (name, field, _) in HINTS {
            assert!(find(name).field(field).is_some(), "{name}.{field}");
        }
    }

    #[test]
    fn the_generated_table_is_sorted_for_its_search() {
        for of in types() {
            assert!(of.fields.is_sorted_by(|a, b| a.name < b.name), "{}", of.name);
        }
    }
}
