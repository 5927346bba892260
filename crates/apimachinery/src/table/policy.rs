//! Who may do what, and how much of it: RBAC, quotas, budgets, certificates.

use serde_json::{Value, json};

use super::age::human_duration;
use super::view::View;
use super::{AGE, CREATED_AT, Cells, Column, NAME, Printer};

pub(super) fn printer(group: &str, kind: &str) -> Option<Printer> {
    let (columns, cells): (&'static [Column], Cells) = match (group, kind) {
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            (ROLES, |object| vec![object.name(), object.cell("/metadata/creationTimestamp")])
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => (BINDINGS, binding),
        ("policy", "PodDisruptionBudget") => (BUDGETS, budget),
        ("", "ResourceQuota") => (QUOTAS, quota),
        ("certificates.k8s.io", "CertificateSigningRequest") => (REQUESTS, request),
        _ => return None,
    };
    Some(Printer { columns, cells })
}

const ROLES: &[Column] = &[NAME, CREATED_AT];

const BINDINGS: &[Column] = &[
    NAME,
    Column::new("Role", "string", 0, "The role that is granted."),
    AGE,
    Column::new("Users", "string", 1, "Users in the binding"),
    Column::new("Groups", "string", 1, "Groups in the binding"),
    Column::new("ServiceAccounts", "string", 1, "ServiceAccounts in the binding"),
];

const BUDGETS: &[Column] = &[
    NAME,
    Column::new("Min Available", "string", 0, "The minimum number of pods that must be available."),
    Column::new("Max Unavailable", "string", 0, "The maximum number of pods that may be unavailable."),
    Column::new(
        "Allowed Disruptions",
        "integer",
        0,
        "Calculated number of pods that may be disrupted at this time.",
    ),
    AGE,
];

const QUOTAS: &[Column] = &[
    NAME,
    Column::new(
        "Request",
        "string",
        0,
        "Request represents a minimum amount of cpu/memory that a container may consume.",
    ),
    Column::new(
        "Limit",
        "string",
        0,
        "Limits control the maximum amount of cpu/memory that a container may use.",
    ),
    AGE,
];

const REQUESTS: &[Column] = &[
    NAME,
    AGE,
    Column::new("SignerName", "string", 0, "The requested signer."),
    Column::new("Requestor", "string", 0, "The user that made the request."),
    Column::new("RequestedDuration", "string", 0, "The requested duration of validity."),
    Column::new("Condition", "string", 0, "What became of the request."),
];

fn binding(object: &View<'_>) -> Vec<Value> {
    let role = object.at("/roleRef");
    let subjects = |kind: &str| {
        let names: Vec<String> = object
            .list("/subjects")
            .iter()
            .filter(|subject| subject.text("/kind") == kind)
            .map(|subject| match subject.text("/namespace") {
                namespace if kind == "ServiceAccount" => format!("{namespace}/{}", subject.text("/name")),
                _ => subject.text("/name").to_owned(),
            })
            .collect();
        json!(names.join(", "))
    };
    vec![
        object.name(),
        json!(format!("{}/{}", role.text("/kind"), role.text("/name"))),
        object.age(),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn budget(object: &View<'_>) -> Vec<Value> {
    vec![
        object.name(),
        object.cell_or("/spec/minAvailable", "N/A"),
        object.cell_or("/spec/maxUnavailable", "N/A"),
        json!(object.integer("/status/disruptionsAllowed")),
        object.age(),
    ]
}

fn quota(object: &View<'_>) -> Vec<Value> {
    let hard = object.object.pointer("/status/hard").and_then(Value::as_object);
    let mut names: Vec<&str> = hard.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for name in names {
        let key = name.replace('~', "~0").replace('/', "~1");
        let used = object.text_or(&format!("/status/used/{key}"), "0");
        let text = format!("{name}: {used}/{}", object.text(&format!("/status/hard/{key}")));
        if name.starts_with("limits") { limits.push(text) } else { requests.push(text) }
    }
    vec![object.name(), json!(requests.join(", ")), json!(limits.join(", ")), object.age()]
}

fn request(object: &View<'_>) -> Vec<Value> {
    let duration = match object.integer("/spec/expirationSeconds") {
        0 => "<none>".to_owned(),
        seconds => human_duration(seconds),
    };
    let has = |kind: &str| object.condition(kind).is_some();
    let mut condition = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied".to_owned(),
        (false, true) => "Approved".to_owned(),
        (false, false) => "Pending".to_owned(),
    };
    if has("Failed") {
        condition.push_str(",Failed");
    }
    if !object.text("/status/certificate").is_empty() {
        condition.push_str(",Issued");
    }
    vec![
        object.name(),
        object.age(),
        object.cell_or("/spec/signerName", "<none>"),
        json!(object.text("/spec/username")),
        json!(duration),
        json!(condition),
    ]
}
