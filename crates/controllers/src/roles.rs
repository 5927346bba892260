//! A ClusterRole with an aggregationRule has the rules of all that it selects, written into it, so that whoever looks at `edit` sees what
//! it gives. As kube-controller-manager's ClusterRoleAggregation does it (`pkg/controller/clusterroleaggregation`).
//!
//! What is allowed does not wait for this: the API server follows the selectors itself.

use std::collections::BTreeMap;

use apimachinery::selector::LabelSelector;
use client::{Change, Client, PatchKind, Query, kinds};
use serde_json::{Value, json};

/// Follows ClusterRoles.
pub(crate) async fn run(client: Client) {
    let mut changes = client.inform(&kinds::CLUSTER_ROLES, None, Query::none());
    let mut roles: BTreeMap<String, Value> = BTreeMap::new();
    let mut is_synced = false;
    while let Some(change) = changes.next().await {
        match change {
            Change::Applied(role) => drop(roles.insert(name_of(&role).to_owned(), Value::clone(&role))),
            Change::Deleted(role) => drop(roles.remove(name_of(&role))),
            // Before, a role that is selected may not have been seen.
            Change::Synced => is_synced = true,
        }
        if !is_synced {
            continue;
        }
        for (name, patch) in stale(&roles) {
            match client.patch(&kinds::CLUSTER_ROLES, None, &name, None, (PatchKind::Merge, &patch)).await {
                // Our own change comes back like anybody's.
                Ok(written) => drop(roles.insert(name, written)),
                // Whoever was faster brings it here again.
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                Err(error) => tracing::warn!(role = name, %error, "cannot write the rules of a ClusterRole"),
            }
        }
    }
}

/// Roles that do not show what they aggregate, and the change that they need.
fn stale(roles: &BTreeMap<String, Value>) -> Vec<(String, Value)> {
    let aggregated = roles.iter().filter_map(|(name, role)| {
        let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
        let rules = rules(name, selectors, roles)?;
        (role["rules"] != rules).then(|| {
            let version = &role["metadata"]["resourceVersion"];
            (name.clone(), json!({"metadata": {"resourceVersion": version}, "rules": rules}))
        })
    });
    aggregated.collect()
}

/// The rules of all that is selected, each once, in the order of the roles' names; none when a selector cannot be read.
fn rules(name: &str, selectors: &[Value], roles: &BTreeMap<String, Value>) -> Option<Value> {
    let selectors: Vec<LabelSelector> = selectors
        .iter()
        .map(|selector| LabelSelector::from_json(Some(selector)))
        .collect::<Result<_, _>>()
        .ok()?;
    let mut rules: Vec<&Value> = Vec::new();
    for (_, role) in roles.iter().filter(|(other, _)| *other != name) {
        if selectors.iter().any(|selector| selector.matches_object(role)) {
            for rule in role["rules"].as_array().into_iter().flatten() {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    Some(json!(rules))
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, labels: Value, rules: Value) -> (String, Value) {
        (
            name.to_owned(),
            json!({"metadata": {"name": name, "labels": labels, "resourceVersion": "1"}, "rules": rules}),
        )
    }

    #[test]
    fn a_role_shows_the_rules_of_those_that_it_selects() {
        let read = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        let write = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["update"]});
        let mut edit = role("edit", json!({}), json!([]));
        edit.1["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"to-edit": "true"}}]});
        let mut roles = BTreeMap::from([
            edit,
            role("a", json!({"to-edit": "true"}), json!([read])),
            role("b", json!({"to-edit": "true"}), json!([read, write])),
            role("c", json!({}), json!([{"verbs": ["*"]}])),
        ]);
        let stale_roles = stale(&roles);
        assert_eq!(stale_roles.len(), 1);
        assert_eq!(stale_roles[0].0, "edit");
        assert_eq!(stale_roles[0].1["rules"], json!([read, write]));
        roles.get_mut("edit").unwrap()["rules"] = stale_roles[0].1["rules"].clone();
        assert_eq!(stale(&roles), []);
    }
}
