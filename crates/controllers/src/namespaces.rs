//! The end of a namespace: everything in it is deleted, and when nothing is left the namespace itself goes.
//!
//! ```text
//!   Terminating ─► delete all of every kind ─► what is left? ─ nothing ─► finalize
//!                        ▲                        │
//!                        └──── something went ◄───┘ Pods with their grace, objects with finalizers: followed
//! ```
//!
//! What holds it up stands in the namespace's conditions, as Kubernetes words it.

use std::collections::BTreeMap;

use client::{Change, Client, Error, PatchKind, Query, kinds};
use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinSet};

use crate::discovery::{self, Resource};
use crate::time::now;

/// The finalizer that every namespace has in its spec.
const FINALIZER: &str = "kubernetes";

/// Brings to an end what is to end.
pub(crate) async fn run(client: Client) {
    let mut namespaces = client.inform(&kinds::NAMESPACES, None, Query::none());
    let mut ending: BTreeMap<String, AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            change = namespaces.next() => match change {
                Some(Change::Applied(namespace)) if is_ending(&namespace) => {
                    let name = namespace["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                    let begin = || tasks.spawn(end(client.clone(), name.clone()));
                    ending.entry(name.clone()).or_insert_with(begin);
                }
                Some(Change::Deleted(namespace)) => {
                    let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
                    if let Some(task) = ending.remove(name) {
                        task.abort();
                    }
                }
                Some(_) => {}
                None => return,
            },
            Some(ended) = tasks.join_next() => {
                if let Ok(name) = ended {
                    ending.remove(&name);
                }
            }
        }
    }
}

/// Whether it is to end and the finalizer is still ours to remove.
fn is_ending(namespace: &Value) -> bool {
    let has_finalizer =
        namespace["spec"]["finalizers"].as_array().into_iter().flatten().any(|name| name == FINALIZER);
    !namespace["metadata"]["deletionTimestamp"].is_null() && has_finalizer
}

/// Ends one namespace; gives back its name.
async fn end(client: Client, name: String) -> String {
    loop {
        match attempt(&client, &name).await {
            Ok(()) => return name,
            Err(error) if error.is_not_found() => return name,
            Err(error) => {
                tracing::warn!(namespace = name, %error, "cannot end the namespace yet");
                // The server is away, or refuses for a while.
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

async fn attempt(client: &Client, name: &str) -> Result<(), Error> {
    loop {
        let resources = discovery::resources(client).await?;
        let namespaced: Vec<Resource> = resources.into_iter().filter(|kind| kind.is_namespaced).collect();
        for resource in &namespaced {
            delete_all(client, resource, name).await?;
        }
        let left = what_is_left(client, &namespaced, name).await?;
        if left.is_empty() {
            return finalize(client, name).await;
        }
        tell(client, name, &left).await?;
        for (resource, _) in left {
            until_empty(client, &resource, name).await;
        }
    }
}

async fn delete_all(client: &Client, resource: &Resource, namespace: &str) -> Result<(), Error> {
    let listed = client.list(&resource.kind, Some(namespace), &Query::metadata()).await;
    let is_empty = match listed {
        Ok(list) => list.items.is_empty(),
        // The kind went away.
        Err(error) if error.is_not_found() => true,
        Err(error) => return Err(error),
    };
    if is_empty {
        return Ok(());
    }
    match client.delete_all(&resource.kind, Some(namespace), &Query::none()).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() || error.code() == Some(405) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What is left of each kind.
type Left = Vec<(Resource, Vec<Value>)>;

async fn what_is_left(client: &Client, resources: &[Resource], namespace: &str) -> Result<Left, Error> {
    let mut left = Vec::new();
    for resource in resources {
        match client.list(&resource.kind, Some(namespace), &Query::metadata()).await {
            Ok(list) if list.items.is_empty() => {}
            Ok(list) => left.push((resource.clone(), list.items)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(left)
}

/// Follows one kind until nothing of it is left.
async fn until_empty(client: &Client, resource: &Resource, namespace: &str) {
    let mut informer = client.inform(&resource.kind, Some(namespace.to_owned()), Query::metadata());
    let mut count: usize = 0;
    let mut is_synced = false;
    while let Some(change) = informer.next().await {
        match change {
            // A change of one that is there counts once: names are unique, but an Applied may repeat.
            Change::Applied(object) if object["metadata"]["deletionTimestamp"].is_null() && is_synced => {
                return;
            }
            Change::Applied(_) if !is_synced => count += 1,
            Change::Applied(_) => {}
            Change::Deleted(_) => count = count.saturating_sub(1),
            Change::Synced => is_synced = true,
        }
        if is_synced && count == 0 {
            return;
        }
    }
}

/// Says in the namespace's conditions what holds it up.
async fn tell(client: &Client, name: &str, left: &Left) -> Result<(), Error> {
    let patch = json!({"status": {"conditions": conditions(left, &now())}});
    let body = (PatchKind::Strategic, &patch);
    client.patch(&kinds::NAMESPACES, None, name, Some("status"), body).await.map(drop)
}

/// Kubernetes' `NamespaceContentRemaining` and `NamespaceFinalizersRemaining`.
fn conditions(left: &Left, now: &str) -> Value {
    let kinds: Vec<String> = left
        .iter()
        .map(|(resource, items)| {
            let group = if resource.kind.group.is_empty() {
                String::new()
            } else {
                format!(".{}", resource.kind.group)
            };
            format!("{}{group} has {} resource instances", resource.kind.plural, items.len())
        })
        .collect();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    let items = left.iter().flat_map(|(_, items)| items);
    for finalizer in items.flat_map(|item| item["metadata"]["finalizers"].as_array().into_iter().flatten()) {
        *finalizers.entry(finalizer.as_str().unwrap_or_default()).or_default() += 1;
    }
    let condition = |kind: &str, holds: bool, reason: &str, message: String| {
        let status = if holds { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now})
    };
    let remaining: Vec<String> =
        finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    json!([
        condition(
            "NamespaceContentRemaining",
            true,
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", kinds.join(", "))
        ),
        if remaining.is_empty() {
            let message = "All content-preserving finalizers finished".to_owned();
            condition("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", message)
        } else {
            let message =
                format!("Some content in the namespace has finalizers remaining: {}", remaining.join(", "));
            condition("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", message)
        },
    ])
}

/// Takes our finalizer away; with the last one the namespace is gone.
async fn finalize(client: &Client, name: &str) -> Result<(), Error> {
    let mut namespace = client.get(&kinds::NAMESPACES, None, name).await?;
    if let Some(finalizers) = namespace["spec"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    client.replace(&kinds::NAMESPACES, None, name, Some("finalize"), &namespace).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Kind;

    #[test]
    fn what_holds_a_namespace_up_is_told_in_kubernetes_words() {
        let pods = Resource { kind: kinds::PODS, name: "Pod".to_owned(), is_namespaced: true };
        let deployments = Resource {
            kind: Kind::new("apps", "v1", "deployments"),
            name: "Deployment".to_owned(),
            is_namespaced: true,
        };
        let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
        let told = conditions(&vec![(pods, vec![json!({}), json!({})]), (deployments, vec![held])], "T");
        assert_eq!(
            told[0]["message"],
            "Some resources are remaining: pods has 2 resource instances, deployments.apps has 1 resource instances"
        );
        assert_eq!(
            told[1]["message"],
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
    }

    #[test]
    fn only_a_namespace_with_our_finalizer_is_ours_to_end() {
        let namespace = |deleted: Value, finalizers: Value| json!({"metadata": {"deletionTimestamp": deleted}, "spec": {"finalizers": finalizers}});
        assert!(is_ending(&namespace(json!("2026-01-01T00:00:00Z"), json!(["kubernetes"]))));
        assert!(!is_ending(&namespace(Value::Null, json!(["kubernetes"]))));
        assert!(!is_ending(&namespace(json!("2026-01-01T00:00:00Z"), json!([]))));
    }
}
