//! What a token says, in the form of Kubernetes.

use serde::{Deserialize, Serialize};

use super::{Binding, Bound, TokenRequest};

/// The claims of RFC 7519, and Kubernetes' own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) aud: Vec<String>,
    pub(super) exp: i64,
    pub(super) iat: i64,
    pub(super) iss: String,
    pub(super) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(super) private: Private,
    pub(super) nbf: i64,
    pub(super) sub: String,
}

/// The claim `kubernetes.io`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Private {
    pub(super) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<Reference>,
    pub(super) serviceaccount: Reference,
}

/// An object by name and UID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) uid: String,
}

impl Private {
    pub(super) fn of(request: &TokenRequest) -> Self {
        let mut private = Private {
            namespace: request.namespace.clone(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: (&request.account).into(),
        };
        match &request.binding {
            Binding::None => {}
            Binding::Pod { pod, node } => {
                private.pod = Some(pod.into());
                private.node = node.as_ref().map(Into::into);
            }
            Binding::Secret(secret) => private.secret = Some(secret.into()),
            Binding::Node(node) => private.node = Some(node.into()),
        }
        private
    }

    /// What has to exist, each with its UID. Beside a Pod the Node is only told.
    pub(super) fn bound(&self) -> Vec<(Bound<'_>, &str)> {
        let namespace = &*self.namespace;
        let Reference { name, uid } = &self.serviceaccount;
        let mut bound = vec![(Bound::ServiceAccount { namespace, name }, &**uid)];
        if let Some(Reference { name, uid }) = &self.pod {
            bound.push((Bound::Pod { namespace, name }, uid));
        }
        if let Some(Reference { name, uid }) = &self.secret {
            bound.push((Bound::Secret { namespace, name }, uid));
        }
        if let (Some(Reference { name, uid }), None) = (&self.node, &self.pod) {
            bound.push((Bound::Node { name }, uid));
        }
        bound
    }
}
