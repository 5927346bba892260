//! What a Pod says of nodes and of other Pods: selectors, affinity, taints and tolerations. Pure.

use apimachinery::selector::LabelSelector;
use serde_json::Value;

/// A label of an object.
pub(super) fn label<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object["metadata"]["labels"].get(key)?.as_str()
}

/// Whether a cordoned node may be used all the same.
pub(super) fn tolerates_unschedulable(tolerations: &[Value]) -> bool {
    let taint = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    tolerations.iter().any(|toleration| tolerates(toleration, &taint))
}

/// The first taint that keeps the Pod away, as `key: value`.
pub(super) fn untolerated(node: &Value, tolerations: &[Value]) -> Option<String> {
    let taints = node["spec"]["taints"].as_array()?.iter();
    let mut hard =
        taints.filter(|taint| matches!(taint["effect"].as_str(), Some("NoSchedule" | "NoExecute")));
    let taint = hard.find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))?;
    let text = |field: &str| taint[field].as_str().unwrap_or_default();
    Some(format!("{}: {}", text("key"), text("value")))
}

/// Kubernetes' `Toleration.ToleratesTaint`.
fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let effect = text(toleration, "effect");
    let key = text(toleration, "key");
    if !(effect.is_empty() || effect == text(taint, "effect"))
        || !(key.is_empty() || key == text(taint, "key"))
    {
        return false;
    }
    match toleration["operator"].as_str().unwrap_or("Equal") {
        "Exists" => true,
        "Equal" | "" => text(toleration, "value") == text(taint, "value"),
        _ => false,
    }
}

/// `nodeSelector` and required node affinity.
pub(super) fn is_wanted_node(spec: &Value, node: &Value) -> bool {
    let selector = spec["nodeSelector"].as_object();
    let has_labels = selector
        .into_iter()
        .flatten()
        .all(|(key, value)| label(node, key) == Some(value.as_str().unwrap_or_default()));
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = required["nodeSelectorTerms"].as_array();
    has_labels && terms.is_none_or(|terms| terms.iter().any(|term| node_term(term, node)))
}

/// One term: all of its expressions. One without any selects nothing.
fn node_term(term: &Value, node: &Value) -> bool {
    let list = |field: &str| term[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let (labels, fields) = (list("matchExpressions"), list("matchFields"));
    let name = node["metadata"]["name"].as_str();
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|e| holds(e, label(node, e["key"].as_str().unwrap_or_default())))
        && fields.iter().all(|e| holds(e, name.filter(|_| e["key"] == "metadata.name")))
}

/// Kubernetes' NodeSelectorRequirement, which has Gt and Lt beside what label selectors have.
fn holds(expression: &Value, value: Option<&str>) -> bool {
    let mut values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut is_in = || value.is_some_and(|value| values.any(|wanted| wanted == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let limit = || number(expression["values"][0].as_str());
    match expression["operator"].as_str().unwrap_or_default() {
        "In" => is_in(),
        "NotIn" => !is_in(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(limit()).is_some_and(|(value, limit)| value > limit),
        "Lt" => number(value).zip(limit()).is_some_and(|(value, limit)| value < limit),
        _ => false,
    }
}

/// One required term of (anti-)affinity between Pods.
pub(super) struct Term {
    pub(super) topology_key: String,
    selector: LabelSelector,
    /// Namespaces that it looks at; with a namespaceSelector every namespace.
    namespaces: Option<Vec<String>>,
}

impl Term {
    /// Whether a Pod is meant.
    pub(super) fn selects(&self, pod: &Value) -> bool {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let is_looked_at = |names: &Vec<String>| names.iter().any(|name| name == namespace);
        self.namespaces.as_ref().is_none_or(is_looked_at) && self.selector.matches_object(pod)
    }
}

/// The required terms of a Pod's `podAffinity` or `podAntiAffinity`.
pub(super) fn terms(affinity: &Value, pod: &Value) -> Vec<Term> {
    let required = affinity["requiredDuringSchedulingIgnoredDuringExecution"].as_array();
    let read = |term: &Value| {
        let listed: Vec<String> = term["namespaces"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        let own = pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let namespaces = match (term["namespaceSelector"].is_null(), listed.is_empty()) {
            (false, _) => None,
            (true, true) => Some(vec![own]),
            (true, false) => Some(listed),
        };
        Term {
            topology_key: term["topologyKey"].as_str().unwrap_or_default().to_owned(),
            // Validated when the Pod was accepted.
            selector: LabelSelector::from_json(term.get("labelSelector"))
                .unwrap_or_else(|_| LabelSelector::nothing()),
            namespaces,
        }
    };
    required.into_iter().flatten().map(read).collect()
}
