//! The four kinds of `rbac.authorization.k8s.io/v1`, as far as they decide something.

use std::collections::BTreeMap;
use std::fmt;

use apimachinery::selector::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Attributes;
use crate::user::User;

const GROUP: &str = "rbac.authorization.k8s.io";
const ALL: &str = "*";

/// An object does not have the form of its kind. Validation keeps such objects out of the store.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Of another kind.
    #[error("{kind:?} is no kind of {GROUP}")]
    Kind {
        /// The kind it names.
        kind: String,
    },
    /// A field has the wrong type.
    #[error("reading {kind} {name:?} failed")]
    Form {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What serde found.
        #[source]
        source: serde_json::Error,
    },
    /// An aggregation rule selects nothing that can be.
    #[error("reading the aggregation rule of ClusterRole {name:?} failed: {why}")]
    Selector {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// API groups; `*` is every one, the empty string the core group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources: `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Only objects of these names; empty: of all names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths, with a `*` at the end for everything below.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
    /// Verbs; `*` is every one.
    pub verbs: Vec<String>,
}

/// A Role or a ClusterRole.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its namespace; empty for a ClusterRole.
    pub namespace: String,
    /// Its labels, by which others aggregate it.
    pub labels: BTreeMap<String, String>,
    /// What it allows by itself. What an aggregated one holds here was computed once and is not looked at.
    pub rules: Vec<Rule>,
    /// Of an aggregated ClusterRole: which others it consists of.
    pub selectors: Option<Vec<LabelSelector>>,
}

/// Which of the two kinds of role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RoleKind {
    /// One of a namespace.
    Role,
    /// One of the cluster.
    ClusterRole,
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleKind::Role => "Role",
            RoleKind::ClusterRole => "ClusterRole",
        })
    }
}

impl RoleKind {
    pub(crate) fn resource(self) -> &'static str {
        match self {
            RoleKind::Role => "roles",
            RoleKind::ClusterRole => "clusterroles",
        }
    }
}

/// The role that a binding gives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoleRef {
    /// Its kind.
    pub kind: RoleKind,
    /// Its name.
    pub name: String,
}

impl RoleRef {
    pub(crate) fn not_found(&self) -> String {
        let kind = self.kind.to_string().to_lowercase();
        format!("{kind}.{GROUP} {:?} not found", self.name)
    }
}

/// To whom a binding gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// Of a ServiceAccount; empty: that of the binding.
    pub namespace: String,
}

/// A RoleBinding or a ClusterRoleBinding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// Its namespace; empty for a ClusterRoleBinding.
    pub namespace: String,
    /// What it gives.
    pub role: RoleRef,
    /// To whom.
    pub subjects: Vec<Subject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleForm {
    rules: Option<Vec<Rule>>,
    aggregation_rule: Option<AggregationForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregationForm {
    #[serde(default)]
    cluster_role_selectors: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BindingForm {
    role_ref: RoleRef,
    subjects: Option<Vec<Subject>>,
}

impl Role {
    /// Reads a Role or a ClusterRole.
    ///
    /// # Errors
    /// When a field has the wrong type.
    pub fn parse(object: &Value) -> Result<Self, ParseError> {
        let form: RoleForm = read(object)?;
        let (namespace, name) = names(object);
        let selectors = form.aggregation_rule.map(|rule| {
            let selectors = rule.cluster_role_selectors.iter();
            selectors.map(|selector| LabelSelector::from_json(Some(selector))).collect::<Result<Vec<_>, _>>()
        });
        let selectors = selectors
            .transpose()
            .map_err(|error| ParseError::Selector { name: name.clone(), why: error.to_string() })?;
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        Ok(Role {
            name,
            namespace,
            labels: labels.collect(),
            rules: form.rules.unwrap_or_default(),
            selectors,
        })
    }
}

impl Binding {
    /// Reads a RoleBinding or a ClusterRoleBinding.
    ///
    /// # Errors
    /// When a field has the wrong type.
    pub fn parse(object: &Value) -> Result<Self, ParseError> {
        let form: BindingForm = read(object)?;
        let (namespace, name) = names(object);
        Ok(Binding { name, namespace, role: form.role_ref, subjects: form.subjects.unwrap_or_default() })
    }
}

fn read<T: for<'de> Deserialize<'de>>(object: &Value) -> Result<T, ParseError> {
    T::deserialize(object).map_err(|source| ParseError::Form {
        kind: object["kind"].as_str().unwrap_or_default().to_owned(),
        name: names(object).1,
        source,
    })
}

fn names(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

impl Subject {
    /// Whether the user is meant; the namespace is the binding's.
    pub(crate) fn is(&self, user: &User, namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => self.name == user.name,
            "Group" => user.groups.contains(&self.name),
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() { namespace } else { &self.namespace };
                let account = user.name.strip_prefix("system:serviceaccount:");
                !namespace.is_empty()
                    && account.and_then(|account| account.split_once(':')) == Some((namespace, &self.name))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind.as_str() {
            "ServiceAccount" => write!(f, "ServiceAccount \"{}/{}\"", self.name, self.namespace),
            kind => write!(f, "{kind} {:?}", self.name),
        }
    }
}

impl Rule {
    /// Whether it allows that.
    pub fn allows(&self, attributes: &Attributes) -> bool {
        match attributes {
            Attributes::Resource { verb, group, resource, subresource, name, .. } => {
                has(&self.verbs, verb)
                    && has(&self.api_groups, group)
                    && self.resources.iter().any(|rule| is_resource(rule, resource, subresource))
                    && (self.resource_names.is_empty() || self.resource_names.contains(name))
            }
            Attributes::Path { verb, path } => {
                has(&self.verbs, verb) && self.non_resource_urls.iter().any(|rule| is_path(rule, path))
            }
        }
    }
}

fn has(values: &[String], value: &str) -> bool {
    values.iter().any(|one| one == ALL || one == value)
}

fn is_resource(rule: &str, resource: &str, subresource: &str) -> bool {
    match rule.split_once('/') {
        _ if rule == ALL => true,
        None => subresource.is_empty() && rule == resource,
        Some((of, sub)) => !subresource.is_empty() && sub == subresource && (of == ALL || of == resource),
    }
}

/// `*` at the end is everything that begins so; elsewhere it is a character like others.
pub(super) fn is_path(rule: &str, path: &str) -> bool {
    rule == path || rule.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}
