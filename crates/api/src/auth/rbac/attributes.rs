//! What is asked for, and the answer in Kubernetes' words.

use apimachinery::group::GroupResource;
use apimachinery::status::Status;

use crate::user::User;

/// What a request wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attributes {
    /// Something with objects.
    Resource {
        /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or a verb such as `bind`.
        verb: String,
        /// The API group; empty for the core group.
        group: String,
        /// The plural name.
        resource: String,
        /// `log`, `status` ...; empty for the object itself.
        subresource: String,
        /// Empty for what is in no namespace, and for all namespaces.
        namespace: String,
        /// Empty for collections, and for a creation.
        name: String,
    },
    /// A path that is no object's, such as `/metrics`.
    Path {
        /// The method in lower case.
        verb: String,
        /// The path without query.
        path: String,
    },
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allowed {
        /// Which binding allows it; empty for `system:masters`.
        why: String,
    },
    /// Nobody has allowed it.
    Denied {
        /// What was wrong with bindings that might have; mostly empty.
        why: String,
    },
}

impl Decision {
    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed { .. })
    }
}

impl Attributes {
    /// A question about objects, with the subresource after a slash: `pods/log`.
    pub fn resource(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes::Resource {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// A question about a path.
    pub fn path(verb: &str, path: &str) -> Self {
        Attributes::Path { verb: verb.to_owned(), path: path.to_owned() }
    }

    pub(crate) fn namespace(&self) -> &str {
        match self {
            Attributes::Resource { namespace, .. } => namespace,
            Attributes::Path { .. } => "",
        }
    }

    /// The 403 with the message of `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`; `why` is that of the decision.
    pub fn forbidden(&self, user: &User, why: &str) -> Status {
        let separator = if why.is_empty() { "" } else { ": " };
        let message = format!("{}{separator}{why}", self.cannot(user));
        match self {
            Attributes::Resource { group, resource, name, .. } => {
                Status::forbidden(&GroupResource::new(group, resource), name, message)
            }
            Attributes::Path { .. } => Status::forbidden(&GroupResource::new("", ""), "", message),
        }
    }

    fn cannot(&self, user: &User) -> String {
        let name = &user.name;
        match self {
            Attributes::Path { verb, path } => format!("User {name:?} cannot {verb} path {path:?}"),
            Attributes::Resource { verb, group, resource, subresource, namespace, .. } => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                let place = if namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace {namespace:?}")
                };
                format!(
                    "User {name:?} cannot {verb} resource \"{resource}{slash}{subresource}\" in API group {group:?} {place}"
                )
            }
        }
    }
}
