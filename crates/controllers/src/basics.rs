//! What every namespace has: the ServiceAccount `default`, and the ConfigMap `kube-root-ca.crt` with which Pods know the
//! API server. Both come back when somebody removes them, and the ConfigMap's content when somebody changes it.

use std::collections::BTreeSet;

use client::{Change, Client, Query, kinds};
use serde_json::{Value, json};

/// Name of the ServiceAccount.
const ACCOUNT: &str = "default";
/// Name of the ConfigMap.
const ROOT_CA: &str = "kube-root-ca.crt";

/// Keeps them in every namespace.
pub(crate) async fn run(client: Client, authority_pem: String) {
    let named = |name: &str| Query::none().with("fieldSelector", format!("metadata.name={name}"));
    let mut namespaces = client.inform(&kinds::NAMESPACES, None, Query::none());
    let mut accounts = client.inform(&kinds::SERVICE_ACCOUNTS, None, named(ACCOUNT));
    let mut maps = client.inform(&kinds::CONFIG_MAPS, None, named(ROOT_CA));
    let mut keeper = Keeper { client, authority_pem, active: BTreeSet::new() };
    loop {
        tokio::select! {
            Some(change) = namespaces.next() => match change {
                Change::Applied(namespace) if is_active(&namespace) => keeper.begin(name_of(&namespace)).await,
                Change::Applied(namespace) | Change::Deleted(namespace) => {
                    keeper.active.remove(name_of(&namespace));
                }
                Change::Synced => {}
            },
            Some(change) = accounts.next() => {
                if let Change::Deleted(account) = change {
                    keeper.ensure_account(namespace_of(&account)).await;
                }
            }
            Some(change) = maps.next() => match change {
                Change::Deleted(map) => keeper.ensure_map(namespace_of(&map)).await,
                Change::Applied(map) => keeper.mend_map(&map).await,
                Change::Synced => {}
            },
            else => return,
        }
    }
}

struct Keeper {
    client: Client,
    authority_pem: String,
    /// Namespaces that do not end.
    active: BTreeSet<String>,
}

impl Keeper {
    async fn begin(&mut self, namespace: &str) {
        if self.active.insert(namespace.to_owned()) {
            self.ensure_account(namespace).await;
            self.ensure_map(namespace).await;
        }
    }

    async fn ensure_account(&self, namespace: &str) {
        if !self.active.contains(namespace) {
            return;
        }
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": namespace},
        });
        let created = self.client.create(&kinds::SERVICE_ACCOUNTS, Some(namespace), &account).await;
        told(created, "create the ServiceAccount default", namespace);
    }

    async fn ensure_map(&self, namespace: &str) {
        if !self.active.contains(namespace) {
            return;
        }
        let created = self.client.create(&kinds::CONFIG_MAPS, Some(namespace), &self.map(namespace)).await;
        told(created, "create the ConfigMap kube-root-ca.crt", namespace);
    }

    async fn mend_map(&self, found: &Value) {
        let namespace = namespace_of(found);
        if found["data"] == self.map(namespace)["data"] || !self.active.contains(namespace) {
            return;
        }
        let mut mended = found.clone();
        mended["data"] = self.map(namespace)["data"].clone();
        let replaced =
            self.client.replace(&kinds::CONFIG_MAPS, Some(namespace), ROOT_CA, None, &mended).await;
        told(replaced, "mend the ConfigMap kube-root-ca.crt", namespace);
    }

    fn map(&self, namespace: &str) -> Value {
        let why =
            "Contains a CA bundle that can be used to verify the API server; kept up to date by podling.";
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": ROOT_CA, "namespace": namespace,
                "annotations": {"kubernetes.io/description": why},
            },
            "data": {"ca.crt": self.authority_pem},
        })
    }
}

/// What is there already, or in a namespace that ends meanwhile, needs nothing.
fn told(result: Result<Value, client::Error>, attempted: &str, namespace: &str) {
    match result {
        Ok(_) => {}
        Err(error) if error.is_conflict() || error.is_not_found() || error.code() == Some(403) => {}
        Err(error) => tracing::warn!(namespace, %error, "cannot {attempted}"),
    }
}

fn is_active(namespace: &Value) -> bool {
    namespace["metadata"]["deletionTimestamp"].is_null() && namespace["status"]["phase"] != "Terminating"
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}
