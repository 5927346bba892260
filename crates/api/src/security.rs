//! Who asks and whether they may: `auth` with what the store has. The roles and bindings of the store are read into one
//! policy when one of them changes, so that a request costs no reading.

use std::sync::{Arc, PoisonError, RwLock};

use apimachinery::selector::FieldSelector;
use apimachinery::status::Status;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use store::{ListRequest, Store};

use crate::api::Peer;
use crate::auth::rbac::{Attributes, Decision, Policy};
use crate::auth::tokens::{Bound, Tokens};
use crate::auth::{identity, impersonation, node};
use crate::call::Call;
use crate::respond::Failure;
use crate::user::User;

/// The kinds of a policy, as their keys begin.
pub(crate) const KINDS: [&str; 4] = [
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
];

/// Tokens and policy.
pub(crate) struct Security {
    pub(crate) tokens: Tokens,
    policy: RwLock<Arc<Policy>>,
}

impl Security {
    pub(crate) fn new(tokens: Tokens) -> Security {
        Security { tokens, policy: RwLock::default() }
    }

    /// Reads the policy again. Done under its lock, so that a newer one is never replaced by an older.
    pub(crate) fn read_policy(&self, store: &Store) {
        let mut held = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        let mut policy = Policy::default();
        for kind in KINDS {
            let prefix = format!("{kind}/");
            let request = ListRequest { prefix: &prefix, ..ListRequest::default() };
            for row in store.list(&request).map(|list| list.objects).unwrap_or_default() {
                let added =
                    serde_json::from_slice::<Value>(&row.value).ok().map(|object| policy.add(&object));
                if !matches!(added, Some(Ok(()))) {
                    // It gives nobody anything; the others stay valid.
                    tracing::error!(key = %row.key, "cannot read a role or binding; it is left out");
                }
            }
        }
        *held = Arc::new(policy);
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who sends a request, also as whom they want it done.
    pub(crate) fn identify(&self, store: &Store, headers: &HeaderMap, peer: &Peer) -> Result<User, Failure> {
        let find = |bound: &Bound<'_>| uid_of(store, bound);
        let certificate = peer.certificate.as_deref();
        let user = identity::of_request(certificate, headers, &self.tokens, Timestamp::now(), &find);
        let user = user.map_err(|unknown| {
            tracing::debug!(address = ?peer.address, error = %unknown, "nobody who is known");
            Failure::from(Status::unauthorized())
        })?;
        impersonation::of_request(user, headers, &self.policy()).map_err(Failure::from)
    }

    /// 403, unless the user may do that.
    pub(crate) fn check(&self, user: &User, attributes: &Attributes) -> Result<(), Failure> {
        match self.policy().authorize(user, attributes) {
            Decision::Allowed { .. } => Ok(()),
            Decision::Denied { why } => Err(attributes.forbidden(user, &why).into()),
        }
    }

    /// 403, unless a request may be made.
    pub(crate) fn check_call(&self, call: &Call) -> Result<(), Failure> {
        self.check(&call.user, &attributes(call, call.verb.as_str()))?;
        // Who reaches into a Pod changes it, whatever the method of the handshake is.
        let reaches_in = matches!(call.route.subresource.as_deref(), Some("attach" | "exec" | "portforward"));
        if reaches_in { self.check(&call.user, &attributes(call, "create")) } else { Ok(()) }
    }
}

impl Security {
    /// 403, when this does not concern the node.
    pub(crate) fn check_node(&self, store: &Store, node: &str, call: &Call) -> Result<(), Failure> {
        let selector = call.query.get("fieldSelector").unwrap_or_default();
        // One that cannot be read selects nothing that is known, and is told so later.
        let selector = FieldSelector::parse(selector).unwrap_or_default();
        let path_name = call.name();
        let asked = node::Asked {
            verb: call.verb.as_str(),
            group: &call.kind.resource.group,
            resource: &call.kind.resource.plural,
            subresource: call.route.subresource.as_deref().unwrap_or_default(),
            namespace: call.route.namespace.as_deref().unwrap_or_default(),
            name: if path_name.is_empty() {
                selector.exact("metadata.name").unwrap_or_default()
            } else {
                path_name
            },
            selected_node: selector.exact("spec.nodeName"),
        };
        node::check(node, &asked, &StoredPods(store)).map_err(|why| node_refused(call, &why))
    }
}

/// The 403 of a node that asks for what does not concern it.
pub(crate) fn node_refused(call: &Call, why: &str) -> Failure {
    attributes(call, call.verb.as_str()).forbidden(&call.user, why).into()
}

/// Pods as they are stored. Only nodes elsewhere ask, and seldom: when a Pod comes that speaks of something new.
struct StoredPods<'a>(&'a Store);

impl node::Pods for StoredPods<'_> {
    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        let row = self.0.get(&format!("pods/{namespace}/{name}"))?;
        serde_json::from_slice(&row.value).ok()
    }

    fn of_namespace(&self, namespace: &str) -> Vec<Value> {
        let prefix = format!("pods/{namespace}/");
        let request = ListRequest { prefix: &prefix, ..ListRequest::default() };
        let rows = self.0.list(&request).map(|list| list.objects).unwrap_or_default();
        rows.iter().filter_map(|row| serde_json::from_slice(&row.value).ok()).collect()
    }
}

/// What a request wants to do.
fn attributes(call: &Call, verb: &str) -> Attributes {
    Attributes::Resource {
        verb: verb.to_owned(),
        group: call.kind.resource.group.clone(),
        resource: call.kind.resource.plural.clone(),
        subresource: call.route.subresource.clone().unwrap_or_default(),
        namespace: call.route.namespace.clone().unwrap_or_default(),
        name: call.name().to_owned(),
    }
}

/// The UID of an object that a token is bound to, if it exists.
pub(crate) fn uid_of(store: &Store, bound: &Bound<'_>) -> Option<String> {
    let key = match bound {
        Bound::ServiceAccount { namespace, name } => format!("serviceaccounts/{namespace}/{name}"),
        Bound::Pod { namespace, name } => format!("pods/{namespace}/{name}"),
        Bound::Secret { namespace, name } => format!("secrets/{namespace}/{name}"),
        Bound::Node { name } => format!("nodes/{name}"),
    };
    let row = store.get(&key)?;
    let object: Value = serde_json::from_slice(&row.value).ok()?;
    object.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned)
}
