//! The table of built-in kinds: to serve one more is to write one more row.
//!
//! A row is what is served (a [`Resource`]) and how it behaves (a [`Strategy`]). The length of this file is that of the
//! API.

use apimachinery::resource::{Resource, Verb};

use super::strategy::{Admission, Names, Strategy};
use super::{Kind, plain_defaults, rules, workloads};

/// What Deployments and the like are answered with until their controllers exist.
const NOBODY_ACTS: &str =
    "nothing acts on this kind yet: podling stores the object and makes no Pods of it; create the Pod itself";
const NO_DATA_PLANE: &str =
    "podling does not carry traffic of Services yet; reach the Pod by its address or a hostPort";
const NOT_ENFORCED: &str = "podling stores this object and does not enforce it yet";
const NOT_PROVISIONED: &str = "podling stores this object and does not provision storage yet";

const READ: [Verb; 3] = [Verb::Get, Verb::List, Verb::Watch];
const CREATE: [Verb; 1] = [Verb::Create];
const PUT: [Verb; 3] = [Verb::Get, Verb::Patch, Verb::Update];
const ACT: [Verb; 2] = [Verb::Create, Verb::Get];
const PROXY: [Verb; 5] = [Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];

/// An object by itself: no status, no generation.
const PLAIN: Strategy = Strategy::PLAIN;
/// An object with a spec that controllers act on.
const WITH_SPEC: Strategy = Strategy { counts_generation: true, ..PLAIN };
/// A kind that makes Pods.
const WORKLOAD: Strategy = Strategy { warning: Some(NOBODY_ACTS), ..WITH_SPEC };
/// An object with a status and without a generation.
const RBAC: Strategy = Strategy { names: Names::PathSegment, ..PLAIN };

fn core(plural: &str, kind: &str) -> Resource {
    Resource::new("", "v1", plural, kind)
}

fn apps(plural: &str, kind: &str) -> Resource {
    Resource::new("apps", "v1", plural, kind).status()
}

fn rbac(plural: &str, kind: &str) -> Resource {
    Resource::new("rbac.authorization.k8s.io", "v1", plural, kind)
}

/// Every built-in kind.
pub(crate) fn built_in() -> Vec<Kind> {
    let mut kinds = core_kinds();
    kinds.extend(workload_kinds());
    kinds.extend(other_kinds());
    kinds.extend(asked_kinds());
    kinds
}

/// The core group.
/// A part of the table, hence its length.
fn core_kinds() -> Vec<Kind> {
    let pods = core("pods", "Pod")
        .short(&["po"])
        .categories(&["all"])
        .connect("attach", "PodAttachOptions", &ACT)
        .subresource("binding", "", "v1", "Binding", &CREATE)
        .part("ephemeralcontainers", &PUT)
        .subresource("eviction", "policy", "v1", "Eviction", &CREATE)
        .connect("exec", "PodExecOptions", &ACT)
        .connect("log", "PodLogOptions", &[Verb::Get])
        .connect("portforward", "PodPortForwardOptions", &ACT)
        .connect("proxy", "PodProxyOptions", &PROXY)
        .part("resize", &PUT)
        .status();
    let service_accounts = core("serviceaccounts", "ServiceAccount").short(&["sa"]).subresource(
        "token",
        "authentication.k8s.io",
        "v1",
        "TokenRequest",
        &CREATE,
    );
    vec![
        Kind::new(
            core("bindings", "Binding").verbs(&CREATE),
            Strategy { admission: Admission::Binding, ..PLAIN },
        ),
        Kind::new(
            core("configmaps", "ConfigMap").short(&["cm"]),
            Strategy { validate: rules::config_map, validate_update: rules::immutable_data, ..PLAIN },
        ),
        Kind::new(
            core("endpoints", "Endpoints").short(&["ep"]),
            Strategy { default: plain_defaults::endpoints, warning: None, ..PLAIN },
        ),
        Kind::new(
            core("events", "Event").short(&["ev"]),
            Strategy { selectable: EVENT_FIELDS, admission: Admission::Event, ..PLAIN },
        ),
        Kind::new(
            core("limitranges", "LimitRange").short(&["limits"]),
            Strategy { default: plain_defaults::limit_range, ..PLAIN },
        ),
        Kind::new(
            core("namespaces", "Namespace")
                .cluster()
                .short(&["ns"])
                .status()
                .part("finalize", &[Verb::Update]),
            Strategy {
                names: Names::Label,
                default: plain_defaults::namespace,
                admission: Admission::Namespace,
                selectable: &[("status.phase", "/status/phase")],
                ..PLAIN
            },
        ),
        Kind::new(
            core("nodes", "Node").cluster().short(&["no"]).status().connect(
                "proxy",
                "NodeProxyOptions",
                &PROXY,
            ),
            Strategy {
                default: plain_defaults::node,
                keeps_status: true,
                selectable: &[("spec.unschedulable", "/spec/unschedulable")],
                ..PLAIN
            },
        ),
        Kind::new(
            core("persistentvolumeclaims", "PersistentVolumeClaim").short(&["pvc"]).status(),
            Strategy {
                default: plain_defaults::persistent_volume_claim,
                validate: rules::persistent_volume_claim,
                finalizer: Some("kubernetes.io/pvc-protection"),
                warning: Some(NOT_PROVISIONED),
                ..PLAIN
            },
        ),
        Kind::new(
            core("persistentvolumes", "PersistentVolume").cluster().short(&["pv"]).status(),
            Strategy {
                default: plain_defaults::persistent_volume,
                validate: rules::persistent_volume,
                finalizer: Some("kubernetes.io/pv-protection"),
                warning: Some(NOT_PROVISIONED),
                ..PLAIN
            },
        ),
        Kind::new(pods, Strategy { admission: Admission::Pod, selectable: POD_FIELDS, ..WITH_SPEC }),
        Kind::new(
            core("podtemplates", "PodTemplate"),
            Strategy { default: workloads::pod_template, ..WITH_SPEC },
        ),
        Kind::new(
            core("replicationcontrollers", "ReplicationController")
                .short(&["rc"])
                .categories(&["all"])
                .status()
                .scale(),
            Strategy {
                default: workloads::replication_controller,
                validate: rules::replication_controller,
                selectable: &[("status.replicas", "/status/replicas")],
                ..WORKLOAD
            },
        ),
        Kind::new(
            core("resourcequotas", "ResourceQuota").short(&["quota"]).status(),
            Strategy { warning: Some(NOT_ENFORCED), ..PLAIN },
        ),
        Kind::new(
            core("secrets", "Secret"),
            Strategy {
                default: plain_defaults::secret,
                validate: rules::secret,
                validate_update: rules::immutable_data,
                selectable: &[("type", "/type")],
                ..PLAIN
            },
        ),
        Kind::new(service_accounts, PLAIN),
        Kind::new(
            core("services", "Service").short(&["svc"]).categories(&["all"]).status().connect(
                "proxy",
                "ServiceProxyOptions",
                &PROXY,
            ),
            Strategy {
                names: Names::Label1035,
                default: plain_defaults::service,
                validate: rules::service,
                admission: Admission::Service,
                selectable: &[("spec.clusterIP", "/spec/clusterIP"), ("spec.type", "/spec/type")],
                warning: Some(NO_DATA_PLANE),
                ..PLAIN
            },
        ),
    ]
}

/// `apps`, `batch`, `autoscaling` and `policy`.
/// A part of the table, hence its length.
fn workload_kinds() -> Vec<Kind> {
    let batch =
        |plural: &str, kind: &str| Resource::new("batch", "v1", plural, kind).status().categories(&["all"]);
    let scaler = |version| {
        Resource::new("autoscaling", version, "horizontalpodautoscalers", "HorizontalPodAutoscaler")
            .short(&["hpa"])
            .categories(&["all"])
            .status()
    };
    vec![
        Kind::new(
            apps("deployments", "Deployment").short(&["deploy"]).categories(&["all"]).scale(),
            Strategy {
                default: workloads::deployment,
                validate: rules::workload,
                validate_update: rules::selector_is_immutable,
                ..WORKLOAD
            },
        ),
        Kind::new(
            apps("replicasets", "ReplicaSet").short(&["rs"]).categories(&["all"]).scale(),
            Strategy {
                default: workloads::replica_set,
                validate: rules::workload,
                validate_update: rules::selector_is_immutable,
                selectable: &[("status.replicas", "/status/replicas")],
                ..WORKLOAD
            },
        ),
        Kind::new(
            apps("statefulsets", "StatefulSet").short(&["sts"]).categories(&["all"]).scale(),
            Strategy {
                default: workloads::stateful_set,
                validate: rules::workload,
                validate_update: rules::stateful_set_update,
                ..WORKLOAD
            },
        ),
        Kind::new(
            apps("daemonsets", "DaemonSet").short(&["ds"]).categories(&["all"]),
            Strategy {
                default: workloads::daemon_set,
                validate: rules::workload,
                validate_update: rules::selector_is_immutable,
                ..WORKLOAD
            },
        ),
        Kind::new(
            Resource::new("apps", "v1", "controllerrevisions", "ControllerRevision"),
            Strategy { validate_update: rules::data_is_immutable, ..PLAIN },
        ),
        Kind::new(
            batch("jobs", "Job"),
            Strategy {
                default: workloads::job,
                validate: rules::job,
                validate_update: rules::job_update,
                selectable: &[("status.successful", "/status/succeeded")],
                ..WORKLOAD
            },
        ),
        Kind::new(
            batch("cronjobs", "CronJob").short(&["cj"]),
            Strategy { default: workloads::cron_job, validate: rules::cron_job, ..WORKLOAD },
        ),
        Kind::new(scaler("v2"), Strategy { default: workloads::autoscaler, ..WORKLOAD }),
        Kind::new(
            Resource::new("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
                .short(&["pdb"])
                .status(),
            Strategy { validate: rules::disruption_budget, ..WITH_SPEC },
        ),
    ]
}

/// Storage, networking, scheduling, RBAC and the rest.
/// A part of the table, hence its length.
fn other_kinds() -> Vec<Kind> {
    let networking = |plural: &str, kind: &str| Resource::new("networking.k8s.io", "v1", plural, kind);
    vec![
        Kind::new(
            Resource::new("events.k8s.io", "v1", "events", "Event").short(&["ev"]),
            Strategy { selectable: NEW_EVENT_FIELDS, admission: Admission::Event, ..PLAIN },
        )
        .stored_as("events", super::events::CONVERSION),
        Kind::new(
            networking("ingresses", "Ingress").short(&["ing"]).status(),
            Strategy { warning: Some(NOT_ENFORCED), ..WITH_SPEC },
        ),
        Kind::new(
            networking("ingressclasses", "IngressClass").cluster(),
            Strategy { warning: Some(NOT_ENFORCED), ..WITH_SPEC },
        ),
        Kind::new(
            networking("networkpolicies", "NetworkPolicy").short(&["netpol"]),
            Strategy { default: plain_defaults::network_policy, warning: Some(NOT_ENFORCED), ..WITH_SPEC },
        ),
        Kind::new(
            rbac("roles", "Role"),
            Strategy { default: plain_defaults::role, admission: Admission::Role, ..RBAC },
        ),
        Kind::new(
            rbac("clusterroles", "ClusterRole").cluster(),
            Strategy { default: plain_defaults::role, admission: Admission::Role, ..RBAC },
        ),
        Kind::new(
            rbac("rolebindings", "RoleBinding"),
            Strategy {
                default: plain_defaults::binding,
                validate: rules::role_binding,
                validate_update: rules::role_ref_is_immutable,
                admission: Admission::RoleBinding,
                ..RBAC
            },
        ),
        Kind::new(
            rbac("clusterrolebindings", "ClusterRoleBinding").cluster(),
            Strategy {
                default: plain_defaults::binding,
                validate: rules::role_binding,
                validate_update: rules::role_ref_is_immutable,
                admission: Admission::RoleBinding,
                ..RBAC
            },
        ),
        Kind::new(
            Resource::new("storage.k8s.io", "v1", "storageclasses", "StorageClass").cluster().short(&["sc"]),
            Strategy {
                default: plain_defaults::storage_class,
                validate: rules::storage_class,
                validate_update: rules::storage_class_update,
                warning: Some(NOT_PROVISIONED),
                ..PLAIN
            },
        ),
        Kind::new(
            Resource::new("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass").cluster(),
            Strategy {
                validate: rules::runtime_class,
                validate_update: rules::handler_is_immutable,
                ..PLAIN
            },
        ),
        Kind::new(
            Resource::new("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
                .cluster()
                .short(&["pc"]),
            Strategy {
                default: plain_defaults::priority_class,
                validate: rules::priority_class,
                validate_update: rules::value_is_immutable,
                ..WITH_SPEC
            },
        ),
        Kind::new(Resource::new("coordination.k8s.io", "v1", "leases", "Lease"), PLAIN),
        Kind::new(
            Resource::new("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
            Strategy {
                default: plain_defaults::endpoint_slice,
                validate: rules::endpoint_slice,
                validate_update: rules::address_type_is_immutable,
                ..WITH_SPEC
            },
        ),
        Kind::new(
            Resource::new(
                "apiextensions.k8s.io",
                "v1",
                "customresourcedefinitions",
                "CustomResourceDefinition",
            )
            .cluster()
            .short(&["crd", "crds"])
            .categories(&["api-extensions"])
            .status(),
            Strategy {
                default: crate::custom::default,
                admission: Admission::CustomResourceDefinition,
                ..WITH_SPEC
            },
        ),
    ]
}

/// Kinds that are asked, not stored: reviews, and what is measured.
fn asked_kinds() -> Vec<Kind> {
    let authorization =
        |plural: &str, kind: &str| Resource::new("authorization.k8s.io", "v1", plural, kind).verbs(&CREATE);
    let authentication = |plural: &str, kind: &str| {
        Resource::new("authentication.k8s.io", "v1", plural, kind).cluster().verbs(&CREATE)
    };
    let metrics =
        |plural: &str, kind: &str| Resource::new("metrics.k8s.io", "v1beta1", plural, kind).verbs(&READ[..2]);
    let asked = |resource, admission| Kind::new(resource, Strategy { admission, ..PLAIN });
    vec![
        asked(authorization("localsubjectaccessreviews", "LocalSubjectAccessReview"), Admission::Review),
        asked(
            authorization("selfsubjectaccessreviews", "SelfSubjectAccessReview").cluster(),
            Admission::Review,
        ),
        asked(
            authorization("selfsubjectrulesreviews", "SelfSubjectRulesReview").cluster(),
            Admission::Review,
        ),
        asked(authorization("subjectaccessreviews", "SubjectAccessReview").cluster(), Admission::Review),
        asked(authentication("selfsubjectreviews", "SelfSubjectReview"), Admission::Review),
        asked(authentication("tokenreviews", "TokenReview"), Admission::Review),
        asked(metrics("nodes", "NodeMetrics").cluster(), Admission::Metrics),
        asked(metrics("pods", "PodMetrics"), Admission::Metrics),
    ]
}

/// Fields of Pods that a field selector may name.
const POD_FIELDS: &[(&str, &str)] = &[
    ("spec.nodeName", "/spec/nodeName"),
    ("spec.restartPolicy", "/spec/restartPolicy"),
    ("spec.schedulerName", "/spec/schedulerName"),
    ("spec.serviceAccountName", "/spec/serviceAccountName"),
    ("spec.hostNetwork", "/spec/hostNetwork"),
    ("status.phase", "/status/phase"),
    ("status.podIP", "/status/podIP"),
    ("status.podIPs", "/status/podIP"),
    ("status.nominatedNodeName", "/status/nominatedNodeName"),
];

/// Fields of `v1` Events that a field selector may name.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject.kind", "/involvedObject/kind"),
    ("involvedObject.namespace", "/involvedObject/namespace"),
    ("involvedObject.name", "/involvedObject/name"),
    ("involvedObject.uid", "/involvedObject/uid"),
    ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
    ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingComponent", "/reportingComponent"),
    ("source", "/source/component"),
    ("type", "/type"),
];

/// Fields of `events.k8s.io/v1` Events that a field selector may name.
const NEW_EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding.kind", "/regarding/kind"),
    ("regarding.namespace", "/regarding/namespace"),
    ("regarding.name", "/regarding/name"),
    ("regarding.uid", "/regarding/uid"),
    ("regarding.apiVersion", "/regarding/apiVersion"),
    ("regarding.resourceVersion", "/regarding/resourceVersion"),
    ("regarding.fieldPath", "/regarding/fieldPath"),
    ("reason", "/reason"),
    ("reportingController", "/reportingController"),
    ("type", "/type"),
];
