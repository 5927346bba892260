//! What is there before the first request: the namespaces, roles, bindings and priorities that Kubernetes has by itself.

use apimachinery::meta;
use serde_json::{Value, json};
use store::{Durability, Operation};

use crate::api::Api;
use crate::auth::bootstrap::{cluster_role_bindings, cluster_roles};
use crate::fresh;
use crate::kinds::Kind;
use crate::objects::metadata;
use crate::storage;

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// What must be there cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A row of the table of kinds is missing: a mistake of podling's.
    #[error("{kind} is not served")]
    NoKind {
        /// The kind.
        kind: &'static str,
    },
    /// The kernel gives no random bytes.
    #[error("cannot make UIDs")]
    Random,
    /// The store does not take it.
    #[error("cannot write what every cluster has into the store")]
    Store(#[source] store::Error),
}

impl Api {
    /// Makes what must be there and is not, all of it in one transaction. Done before the first client is let in.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn bootstrap(&self) -> Result<(), BootstrapError> {
        const RBAC: &str = "rbac.authorization.k8s.io";
        let namespaces = NAMESPACES.map(|name| json!({"metadata": {"name": name}})).to_vec();
        let priorities =
            [("system-cluster-critical", 2_000_000_000_i64), ("system-node-critical", 2_000_001_000)]
                .map(|(name, value)| json!({"metadata": {"name": name}, "value": value}))
                .to_vec();
        let mut operations = Vec::new();
        self.missing("", "namespaces", namespaces, &mut operations)?;
        self.missing(RBAC, "clusterroles", cluster_roles(), &mut operations)?;
        self.missing(RBAC, "clusterrolebindings", cluster_role_bindings(), &mut operations)?;
        self.missing("scheduling.k8s.io", "priorityclasses", priorities, &mut operations)?;
        if operations.is_empty() {
            return Ok(());
        }
        self.store.transaction(operations, Durability::Durable).await.map_err(BootstrapError::Store)?;
        self.security.read_policy(&self.store);
        Ok(())
    }

    /// What creates those of these objects that are not there.
    fn missing(
        &self,
        group: &str,
        plural: &'static str,
        objects: Vec<Value>,
        operations: &mut Vec<Operation>,
    ) -> Result<(), BootstrapError> {
        let kinds = self.kinds();
        let kind = kinds.find(group, "v1", plural).ok_or(BootstrapError::NoKind { kind: plural })?;
        for mut object in objects {
            let key = kind.key("", metadata::name(&object));
            if self.store.get(&key).is_none() {
                complete(kind, &mut object)?;
                operations
                    .push(Operation::Create { key: key.into(), value: storage::encode(&object).into() });
            }
        }
        Ok(())
    }
}

fn complete(kind: &Kind, object: &mut Value) -> Result<(), BootstrapError> {
    object["apiVersion"] = json!(kind.resource.api_version());
    object["kind"] = json!(kind.resource.kind);
    meta::set(object, "uid", fresh::uid().map_err(|_| BootstrapError::Random)?);
    meta::set(object, "creationTimestamp", fresh::now());
    if kind.strategy.counts_generation {
        meta::set(object, "generation", 1);
    }
    (kind.strategy.default)(object);
    Ok(())
}
