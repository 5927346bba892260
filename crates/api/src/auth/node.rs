//! What a node may do of what RBAC allows to nodes: only what concerns itself and the Pods bound to it. Pure.
//!
//! RBAC says what kind of thing a node does; whose Secret it may read follows from the Pods that it has. The rules are those of
//! kube-apiserver's node authorizer (`plugin/pkg/auth/authorizer/node`) and of its admission plugin NodeRestriction, for what podling's node
//! agent and a kubelet ask: a machine that is taken over gives away its own Pods, and no other's.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bootstrap::NODES;
use crate::user::User;

/// What the name of a node's user begins with.
const USER: &str = "system:node:";
/// Where the leases of nodes are.
const LEASES_NAMESPACE: &str = "kube-node-lease";
/// Labels that say where a machine stands, which it may not say itself.
const RESTRICTED_LABELS: &str = "node-restriction.kubernetes.io/";

/// Which node a user is.
pub(crate) fn of_user(user: &User) -> Option<&str> {
    let is_node = user.groups.iter().any(|group| group == NODES);
    user.name.strip_prefix(USER).filter(|name| is_node && !name.is_empty())
}

/// What a node asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    /// The one object, also when a field selector names it.
    pub(crate) name: &'a str,
    /// The node whose Pods a field selector chooses.
    pub(crate) selected_node: Option<&'a str>,
}

/// The Pods that there are.
pub(crate) trait Pods {
    /// One of them.
    fn pod(&self, namespace: &str, name: &str) -> Option<Value>;
    /// All of a namespace.
    fn of_namespace(&self, namespace: &str) -> Vec<Value>;
}

/// Whether the node may; the error says why not.
pub(crate) fn check(node: &str, asked: &Asked<'_>, pods: &impl Pods) -> Result<(), String> {
    let unrelated = || Err(format!("no relationship found between node '{node}' and this object"));
    let only_own = |kind: &str| Err(format!("node '{node}' may only have to do with its own {kind}"));
    match (asked.group, asked.resource, asked.subresource) {
        // The name of a new one is in the body.
        ("", "nodes", _) if asked.verb == "create" || asked.name == node => Ok(()),
        ("", "nodes", _) => only_own("Node object"),
        ("coordination.k8s.io", "leases", _) => {
            let is_own =
                asked.namespace == LEASES_NAMESPACE && (asked.verb == "create" || asked.name == node);
            if is_own { Ok(()) } else { only_own("lease") }
        }
        ("", "pods", "") if asked.verb == "create" => only_own("Pods, and begins none"),
        ("", "pods", "") if asked.selected_node == Some(node) => Ok(()),
        ("", "pods", _) => match pods.pod(asked.namespace, asked.name) {
            Some(pod) if is_bound(&pod, node) => Ok(()),
            // That there is none is the better answer.
            None if !asked.name.is_empty() => Ok(()),
            _ => unrelated(),
        },
        ("", kind @ ("secrets" | "configmaps" | "serviceaccounts"), _) => {
            let bound = pods.of_namespace(asked.namespace).into_iter().filter(|pod| is_bound(pod, node));
            let is_spoken_of = |pod: Value| names(kind, &pod).contains(asked.name);
            if !asked.name.is_empty() && bound.into_iter().any(is_spoken_of) { Ok(()) } else { unrelated() }
        }
        _ => Ok(()),
    }
}

/// Whether the node may create that object.
pub(crate) fn check_new(node: &str, resource: &str, name: &str) -> Result<(), String> {
    match resource {
        "nodes" | "leases" if name != node => {
            Err(format!("node '{node}' is not allowed to create {resource} of another name"))
        }
        _ => Ok(()),
    }
}

/// Whether the node may change its own Node object so.
pub(crate) fn check_edit(node: &str, old: &Value, new: &Value) -> Result<(), String> {
    let taints = |node: &Value| node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    if taints(old) != taints(new) {
        return Err(format!("node '{node}' is not allowed to modify taints"));
    }
    let labels = |node: &Value| -> BTreeSet<String> {
        let all = node["metadata"]["labels"].as_object().into_iter().flatten();
        let restricted = all.filter(|(key, _)| is_restricted(key));
        restricted.map(|(key, value)| format!("{key}={value}")).collect()
    };
    if labels(old) != labels(new) {
        return Err(format!("node '{node}' is not allowed to modify labels of {RESTRICTED_LABELS}"));
    }
    Ok(())
}

fn is_restricted(label: &str) -> bool {
    // Also below a subdomain, as in `example.com.node-restriction.kubernetes.io/fips`.
    let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
    let domain = RESTRICTED_LABELS.trim_end_matches('/');
    prefix == domain || prefix.strip_suffix(domain).is_some_and(|above| above.ends_with('.'))
}

fn is_bound(pod: &Value, node: &str) -> bool {
    pod["spec"]["nodeName"] == node
}

/// The Secrets, ConfigMaps or ServiceAccounts that a Pod speaks of.
fn names(kind: &str, pod: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    match kind {
        "serviceaccounts" => names.extend(pod["spec"]["serviceAccountName"].as_str().map(str::to_owned)),
        "secrets" => collect(&pod["spec"], &SECRETS, &mut names),
        _ => collect(&pod["spec"], &CONFIG_MAPS, &mut names),
    }
    names
}

/// Fields whose object names a Secret, wherever in a Pod they stand.
const SECRETS: [&str; 6] =
    ["secret", "secretKeyRef", "secretRef", "imagePullSecrets", "nodePublishSecretRef", "secretName"];
/// The same of a ConfigMap.
const CONFIG_MAPS: [&str; 3] = ["configMap", "configMapKeyRef", "configMapRef"];

fn collect(value: &Value, fields: &[&str], names: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, fields, names)),
        Value::Object(object) => {
            for (field, value) in object {
                if fields.contains(&field.as_str()) {
                    let objects = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    for object in objects {
                        let name = object.get("name").or_else(|| object.get("secretName")).unwrap_or(object);
                        names.extend(name.as_str().map(str::to_owned));
                    }
                }
                collect(value, fields, names);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Some3;

    impl Pods for Some3 {
        fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
            self.of_namespace(namespace).into_iter().find(|pod| pod["metadata"]["name"] == name)
        }

        fn of_namespace(&self, namespace: &str) -> Vec<Value> {
            if namespace != "default" {
                return Vec::new();
            }
            let mine = json!({"metadata": {"name": "mine"}, "spec": {
                "nodeName": "n1", "serviceAccountName": "builder", "imagePullSecrets": [{"name": "pull"}],
                "containers": [{"envFrom": [{"secretRef": {"name": "from"}}], "env": [
                    {"valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                    {"valueFrom": {"configMapKeyRef": {"name": "map", "key": "k"}}},
                ]}],
                "volumes": [
                    {"secret": {"secretName": "volume"}},
                    {"projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "ca"}}]}},
                ],
            }});
            let other = json!({"metadata": {"name": "other"}, "spec": {
                "nodeName": "n2", "serviceAccountName": "admin", "volumes": [{"secret": {"secretName": "theirs"}}],
            }});
            vec![mine, other, json!({"metadata": {"name": "free"}, "spec": {}})]
        }
    }

    fn may(verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let group = if resource == "leases" { "coordination.k8s.io" } else { "" };
        let asked = Asked { verb, group, resource, subresource, namespace, name, selected_node: None };
        check("n1", &asked, &Some3).is_ok()
    }

    #[test]
    fn a_node_has_to_do_with_itself_and_its_pods() {
        for (verb, resource, namespace, name, expected) in [
            ("get", "nodes", "", "n1", true),
            ("patch", "nodes/status", "", "n1", true),
            ("patch", "nodes/status", "", "n2", false),
            ("list", "nodes", "", "", false),
            ("patch", "leases", "kube-node-lease", "n1", true),
            ("patch", "leases", "kube-node-lease", "n2", false),
            ("patch", "leases", "default", "n1", false),
            ("get", "pods", "default", "mine", true),
            ("patch", "pods/status", "default", "mine", true),
            ("patch", "pods/status", "default", "other", false),
            ("delete", "pods", "default", "free", false),
            ("delete", "pods", "default", "gone", true),
            ("list", "pods", "", "", false),
            ("create", "pods", "default", "", false),
            ("create", "serviceaccounts/token", "default", "builder", true),
            ("create", "serviceaccounts/token", "default", "admin", false),
            ("create", "serviceaccounts/token", "kube-system", "builder", false),
            ("list", "secrets", "default", "", false),
            ("watch", "secrets", "default", "theirs", false),
            ("get", "secrets", "kube-system", "volume", false),
            ("get", "configmaps", "default", "map", true),
            ("get", "configmaps", "default", "ca", true),
            ("get", "configmaps", "default", "volume", false),
            ("list", "services", "", "", true),
            ("create", "events", "default", "", true),
        ] {
            assert_eq!(
                may(verb, resource, namespace, name),
                expected,
                "{verb} {resource} {namespace}/{name}"
            );
        }
        for secret in ["volume", "projected", "key", "from", "pull"] {
            assert!(may("watch", "secrets", "default", secret), "{secret}");
        }
        let pods =
            |selected_node| Asked { verb: "watch", resource: "pods", selected_node, ..Asked::default() };
        assert!(check("n1", &pods(Some("n1")), &Some3).is_ok());
        assert!(check("n1", &pods(Some("n2")), &Some3).is_err());
    }

    #[test]
    fn a_node_makes_and_marks_only_itself() {
        assert!(check_new("n1", "nodes", "n1").is_ok() && check_new("n1", "nodes", "n2").is_err());
        assert!(check_new("n1", "events", "whatever").is_ok());
        let node = |labels: Value, taints: Value| json!({"metadata": {"labels": labels}, "spec": {"taints": taints}});
        let plain = node(json!({}), json!([]));
        assert!(check_edit("n1", &plain, &node(json!({"site": "north"}), json!([]))).is_ok());
        assert!(check_edit("n1", &json!({}), &plain).is_ok());
        assert!(check_edit("n1", &plain, &node(json!({}), json!([{"key": "a"}]))).is_err());
        for label in ["node-restriction.kubernetes.io/fips", "a.node-restriction.kubernetes.io/fips"] {
            assert!(check_edit("n1", &plain, &node(json!({label: "1"}), json!([]))).is_err(), "{label}");
        }
    }

    #[test]
    fn only_members_of_the_group_are_nodes() {
        assert_eq!(of_user(&User::new("system:node:n1", &[NODES])), Some("n1"));
        assert_eq!(of_user(&User::new("system:node:n1", &[])), None);
        assert_eq!(of_user(&User::new("n1", &[NODES])), None);
    }
}
