//! The ClusterRoles and bindings that every cluster has from the start, as objects to be written into the store. Pure.
//!
//! They are those of `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, for the resources that podling serves: `admin`, `edit` and
//! `view` are aggregated, so that a ClusterRole with the label `rbac.authorization.k8s.io/aggregate-to-edit: "true"` extends
//! them. As there, writing Endpoints is in none of them (CVE-2021-25740).
//!
//! Length: a table.

use serde_json::{Map, Value, json};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const READ_WRITE: &[&str] =
    &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
const RBAC: &str = "rbac.authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";

/// A row of rules: verbs, group, resources.
type Row = (&'static [&'static str], &'static str, &'static [&'static str]);

/// The user name of podling's own controllers.
pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The user name of podling's own scheduler, which binds Pods to the node.
pub const SCHEDULER: &str = "system:kube-scheduler";
/// The group of nodes.
pub const NODES: &str = "system:nodes";

/// Namespaced things that everybody with `view` may read; Secrets are not among them, since reading one is acting as another.
const VIEW: &[Row] = &[
    (
        READ,
        "",
        &[
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/status",
            "endpoints",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "configmaps",
        ],
    ),
    (
        READ,
        "",
        &[
            "limitranges",
            "resourcequotas",
            "bindings",
            "events",
            "pods/status",
            "resourcequotas/status",
            "namespaces/status",
            "replicationcontrollers/status",
            "pods/log",
        ],
    ),
    (READ, "", &["namespaces"]),
    (READ, "discovery.k8s.io", &["endpointslices"]),
    (
        READ,
        "apps",
        &[
            "controllerrevisions",
            "statefulsets",
            "statefulsets/status",
            "statefulsets/scale",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/status",
            "deployments/scale",
            "replicasets",
            "replicasets/status",
            "replicasets/scale",
        ],
    ),
    (READ, "autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    (READ, "batch", &["jobs", "cronjobs", "cronjobs/status", "jobs/status"]),
    (READ, "policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
    (READ, "networking.k8s.io", &["networkpolicies", "ingresses", "ingresses/status"]),
    // system:aggregated-metrics-reader of metrics-server.
    (READ, "metrics.k8s.io", &["pods", "nodes"]),
];

const EDIT: &[Row] = &[
    (READ, "", &["pods/attach", "pods/proxy", "pods/exec", "pods/portforward", "secrets", "services/proxy"]),
    (&["impersonate"], "", &["serviceaccounts"]),
    (WRITE, "", &["pods", "pods/attach", "pods/proxy", "pods/exec", "pods/portforward"]),
    (&["create"], "", &["pods/eviction"]),
    (
        WRITE,
        "",
        &[
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/proxy",
            "persistentvolumeclaims",
            "configmaps",
            "secrets",
            "events",
        ],
    ),
    (&["create"], "", &["serviceaccounts/token"]),
    (
        WRITE,
        "apps",
        &[
            "statefulsets",
            "statefulsets/scale",
            "daemonsets",
            "deployments",
            "deployments/scale",
            "deployments/rollback",
            "replicasets",
            "replicasets/scale",
        ],
    ),
    (WRITE, "autoscaling", &["horizontalpodautoscalers"]),
    (WRITE, "batch", &["jobs", "cronjobs"]),
    (WRITE, "policy", &["poddisruptionbudgets"]),
    (WRITE, "networking.k8s.io", &["networkpolicies", "ingresses"]),
    (READ_WRITE, COORDINATION, &["leases"]),
];

const ADMIN: &[Row] = &[
    (&["create"], AUTHORIZATION, &["localsubjectaccessreviews"]),
    (READ_WRITE, RBAC, &["roles", "rolebindings"]),
];

const BASIC_USER: &[Row] = &[
    (&["create"], AUTHORIZATION, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
    (&["create"], AUTHENTICATION, &["selfsubjectreviews"]),
];

const AUTH_DELEGATOR: &[Row] = &[
    (&["create"], AUTHENTICATION, &["tokenreviews"]),
    (&["create"], AUTHORIZATION, &["subjectaccessreviews"]),
];

/// What a node may do; which Pods and whose Secrets is not known to RBAC.
const NODE: &[Row] = &[
    (&["create"], AUTHENTICATION, &["tokenreviews"]),
    (&["create"], AUTHORIZATION, &["subjectaccessreviews", "localsubjectaccessreviews"]),
    (READ, "", &["services"]),
    (&["create", "get", "list", "watch"], "", &["nodes"]),
    (&["update", "patch"], "", &["nodes/status"]),
    (&["update", "patch"], "", &["nodes"]),
    (&["create", "update", "patch"], "", &["events"]),
    (&["create", "update", "patch"], "events.k8s.io", &["events"]),
    (READ, "", &["pods"]),
    (&["create", "delete"], "", &["pods"]),
    (&["update", "patch"], "", &["pods/status"]),
    (&["create"], "", &["pods/eviction"]),
    (READ, "", &["secrets", "configmaps"]),
    (&["get"], "", &["persistentvolumeclaims", "persistentvolumes"]),
    (&["get", "update", "patch"], "", &["persistentvolumeclaims/status"]),
    (&["get"], "", &["endpoints"]),
    (&["create", "get", "list", "watch"], "certificates.k8s.io", &["certificatesigningrequests"]),
    (&["get", "create", "update", "patch", "delete"], COORDINATION, &["leases"]),
    (&["create"], "", &["serviceaccounts/token"]),
    (&["get"], "", &["serviceaccounts"]),
    (READ, "node.k8s.io", &["runtimeclasses"]),
];

/// podling's controllers are one identity: garbage collection deletes whatever is owned, and the end of a namespace
/// whatever is in it, so they are given what kube-controller-manager's controllers have together.
const CONTROLLERS: &[Row] = &[
    (READ, "*", &["*"]),
    (&["update", "patch", "delete", "deletecollection"], "*", &["*"]),
    (&["create", "patch", "update"], "", &["events"]),
    (&["create", "patch", "update"], "events.k8s.io", &["events"]),
    (
        &["create"],
        "",
        &["endpoints", "configmaps", "secrets", "serviceaccounts", "serviceaccounts/token", "pods"],
    ),
    (&["create"], "discovery.k8s.io", &["endpointslices"]),
    (&["create"], COORDINATION, &["leases"]),
    (&["create"], "apps", &["controllerrevisions", "replicasets"]),
    (&["create"], "batch", &["jobs"]),
    (&["update"], "", &["namespaces/finalize", "namespaces/status"]),
    (&["create"], AUTHENTICATION, &["tokenreviews"]),
    (&["create"], AUTHORIZATION, &["subjectaccessreviews"]),
    // Aggregated roles are shown with rules that no controller has itself.
    (&["escalate"], RBAC, &["clusterroles"]),
];

const SCHEDULING: &[Row] = &[
    (&["create", "patch", "update"], "", &["events"]),
    (&["create", "patch", "update"], "events.k8s.io", &["events"]),
    (READ, "", &["nodes", "pods", "namespaces", "services", "replicationcontrollers"]),
    (&["delete"], "", &["pods"]),
    (&["create"], "", &["bindings", "pods/binding"]),
    (&["patch", "update"], "", &["pods/status"]),
    (READ, "", &["persistentvolumeclaims", "persistentvolumes"]),
    (READ, "apps", &["replicasets", "statefulsets"]),
    (READ, "policy", &["poddisruptionbudgets"]),
];

const DISCOVERY_PATHS: &[&str] = &[
    "/livez",
    "/readyz",
    "/healthz",
    "/version",
    "/version/",
    "/openapi",
    "/openapi/*",
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
];
const PUBLIC_PATHS: &[&str] = &["/livez", "/readyz", "/healthz", "/version", "/version/"];
const ISSUER_PATHS: &[&str] = &["/.well-known/openid-configuration", "/openid/v1/jwks"];
const MONITORING_PATHS: &[&str] =
    &["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"];

/// The ClusterRoles, in the order of their names.
pub fn cluster_roles() -> Vec<Value> {
    let mut roles = vec![
        aggregated("admin", None, "admin"),
        aggregated("edit", Some("admin"), "edit"),
        aggregated("view", Some("edit"), "view"),
        labelled("system:aggregate-to-admin", Some("admin"), rules(ADMIN)),
        labelled("system:aggregate-to-edit", Some("edit"), rules(EDIT)),
        labelled("system:aggregate-to-view", Some("view"), rules(VIEW)),
        role(
            "cluster-admin",
            json!([
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ]),
        ),
        role("system:auth-delegator", rules(AUTH_DELEGATOR)),
        role("system:basic-user", rules(BASIC_USER)),
        role("system:discovery", paths(DISCOVERY_PATHS)),
        role("system:monitoring", paths(MONITORING_PATHS)),
        role("system:node", rules(NODE)),
        role("system:public-info-viewer", paths(PUBLIC_PATHS)),
        role("system:service-account-issuer-discovery", paths(ISSUER_PATHS)),
        role(CONTROLLER_MANAGER, rules(CONTROLLERS)),
        role(SCHEDULER, rules(SCHEDULING)),
    ];
    roles.sort_by(|a, b| a["metadata"]["name"].as_str().cmp(&b["metadata"]["name"].as_str()));
    roles
}

/// The ClusterRoleBindings, in the order of their names.
///
/// Kubernetes binds `system:node` to nobody, because its node authorizer grants by itself. Here the group is bound, and
/// `auth::node` narrows what a node elsewhere may do to itself and its Pods.
pub fn cluster_role_bindings() -> Vec<Value> {
    vec![
        binding("cluster-admin", "Group", "system:masters"),
        binding("system:basic-user", "Group", "system:authenticated"),
        binding("system:discovery", "Group", "system:authenticated"),
        binding(CONTROLLER_MANAGER, "User", CONTROLLER_MANAGER),
        binding(SCHEDULER, "User", SCHEDULER),
        binding("system:monitoring", "Group", "system:monitoring"),
        binding("system:node", "Group", NODES),
        binding_of(
            "system:public-info-viewer",
            json!([group("system:authenticated"), group("system:unauthenticated")]),
        ),
        binding("system:service-account-issuer-discovery", "Group", "system:serviceaccounts"),
    ]
}

fn rules(rows: &[Row]) -> Value {
    let rule = |(verbs, group, resources): &Row| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    rows.iter().map(rule).collect()
}

fn paths(paths: &[&str]) -> Value {
    json!([{"nonResourceURLs": paths, "verbs": ["get"]}])
}

fn role(name: &str, rules: Value) -> Value {
    labelled(name, None, rules)
}

fn labelled(name: &str, aggregate_to: Option<&str>, rules: Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": metadata(name, aggregate_to),
        "rules": rules,
    })
}

fn aggregated(name: &str, aggregate_to: Option<&str>, from: &str) -> Value {
    let mut role = labelled(name, aggregate_to, json!([]));
    role["aggregationRule"] =
        json!({"clusterRoleSelectors": [{"matchLabels": {aggregation_label(from): "true"}}]});
    role
}

fn aggregation_label(to: &str) -> String {
    format!("{RBAC}/aggregate-to-{to}")
}

fn metadata(name: &str, aggregate_to: Option<&str>) -> Value {
    let mut labels = Map::new();
    labels.insert("kubernetes.io/bootstrapping".to_owned(), json!("rbac-defaults"));
    if let Some(to) = aggregate_to {
        labels.insert(aggregation_label(to), json!("true"));
    }
    json!({
        "name": name,
        "labels": labels,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

fn binding(role: &str, kind: &str, subject: &str) -> Value {
    binding_of(role, json!([{"apiGroup": RBAC, "kind": kind, "name": subject}]))
}

fn group(name: &str) -> Value {
    json!({"apiGroup": RBAC, "kind": "Group", "name": name})
}

fn binding_of(role: &str, subjects: Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata(role, None),
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    })
}
