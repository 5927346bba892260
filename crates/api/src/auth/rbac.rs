//! Role-based access control: may this user do that? Pure, over Roles and bindings as they are in the store.
//!
//! The rules are those of kube-apiserver (`plugin/pkg/auth/authorizer/rbac`, `pkg/apis/rbac/v1/evaluation_helpers.go`): grants add
//! up, nothing denies, and who is in no binding may do nothing. The group `system:masters` stands above all bindings.

mod attributes;
mod escalation;
mod objects;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::selector::LabelSelector;
use serde_json::Value;

use crate::user::User;

pub use attributes::{Attributes, Decision};
pub use escalation::Refused;
pub use objects::{Binding, ParseError, Role, RoleKind, RoleRef, Rule, Subject};

/// Every Role, ClusterRole and binding there is.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    roles: BTreeMap<(String, String), Role>,
    cluster_roles: BTreeMap<String, Role>,
    bindings: BTreeMap<String, Vec<Binding>>,
    cluster_bindings: Vec<Binding>,
}

/// A rule that a user has, and the binding that gives it.
struct Grant<'a> {
    rules: Vec<&'a Rule>,
    binding: &'a Binding,
    subject: &'a Subject,
}

impl Policy {
    /// The policy of these objects, of the four kinds of `rbac.authorization.k8s.io/v1`.
    ///
    /// # Errors
    /// The first object that is of none of these kinds or does not have their form.
    pub fn new<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Result<Self, ParseError> {
        let mut policy = Policy::default();
        for object in objects {
            policy.add(object)?;
        }
        Ok(policy)
    }

    /// Adds one more object.
    ///
    /// # Errors
    /// When it is of none of the four kinds or does not have their form.
    pub fn add(&mut self, object: &Value) -> Result<(), ParseError> {
        match object["kind"].as_str().unwrap_or_default() {
            "Role" => {
                let role = Role::parse(object)?;
                self.roles.insert((role.namespace.clone(), role.name.clone()), role);
            }
            "ClusterRole" => {
                let role = Role::parse(object)?;
                self.cluster_roles.insert(role.name.clone(), role);
            }
            "RoleBinding" => {
                let binding = Binding::parse(object)?;
                self.bindings.entry(binding.namespace.clone()).or_default().push(binding);
            }
            "ClusterRoleBinding" => self.cluster_bindings.push(Binding::parse(object)?),
            other => return Err(ParseError::Kind { kind: other.to_owned() }),
        }
        Ok(())
    }

    /// Whether the user may do that.
    pub fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        if user.groups.iter().any(|group| group == User::MASTERS) {
            return Decision::Allowed { why: String::new() };
        }
        let mut errors = Vec::new();
        let namespace = attributes.namespace();
        let decision = self
            .grants(user, namespace, &mut errors)
            .find_map(|grant| grant.rules.iter().any(|rule| rule.allows(attributes)).then(|| grant.why()));
        match decision {
            Some(why) => Decision::Allowed { why },
            None => {
                let why =
                    if errors.is_empty() { String::new() } else { format!("RBAC: {}", aggregate(&errors)) };
                Decision::Denied { why }
            }
        }
    }

    /// Every rule the user has in that namespace (empty: cluster-wide only), for SelfSubjectRulesReview.
    pub fn rules_of(&self, user: &User, namespace: &str) -> Vec<&Rule> {
        let mut errors = Vec::new();
        self.grants(user, namespace, &mut errors).flat_map(|grant| grant.rules).collect()
    }

    /// The rules of a role, also of an aggregated one; none when there is no such role. The namespace is the binding's.
    pub fn rules_of_role(&self, role: &RoleRef, namespace: &str) -> Option<Vec<&Rule>> {
        match role.kind {
            RoleKind::Role => {
                let role = self.roles.get(&(namespace.to_owned(), role.name.clone()))?;
                Some(role.rules.iter().collect())
            }
            RoleKind::ClusterRole => self.cluster_rules(&role.name),
        }
    }

    /// The rules of a ClusterRole as they are shown: of an aggregated one those of all that it selects, each once.
    pub fn cluster_rules(&self, name: &str) -> Option<Vec<&Rule>> {
        self.cluster_roles.get(name)?;
        let (mut rules, mut seen) = (Vec::new(), BTreeSet::new());
        self.aggregate(name, &mut seen, &mut rules);
        Some(rules)
    }

    /// ClusterRoles may select each other, so each is visited once.
    fn aggregate<'a>(&'a self, name: &str, seen: &mut BTreeSet<&'a str>, rules: &mut Vec<&'a Rule>) {
        let Some((name, role)) = self.cluster_roles.get_key_value(name) else { return };
        if !seen.insert(name) {
            return;
        }
        let Some(selectors) = &role.selectors else {
            for rule in &role.rules {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
            return;
        };
        for (other, candidate) in &self.cluster_roles {
            let label = |key: &str| candidate.labels.get(key).map(String::as_str);
            if selectors.iter().any(|selector: &LabelSelector| selector.matches(label)) {
                self.aggregate(other, seen, rules);
            }
        }
    }

    /// What the user is granted; a binding whose role is not there is an error that does not hide the other grants.
    fn grants<'a, 'e>(
        &'a self,
        user: &'e User,
        namespace: &str,
        errors: &'e mut Vec<String>,
    ) -> impl Iterator<Item = Grant<'a>> + use<'a, 'e> {
        let namespaced = self.bindings.get(namespace).filter(|_| !namespace.is_empty());
        let bindings = self.cluster_bindings.iter().chain(namespaced.into_iter().flatten());
        bindings.filter_map(move |binding| {
            let subject = binding.subjects.iter().find(|subject| subject.is(user, &binding.namespace))?;
            match self.rules_of_role(&binding.role, &binding.namespace) {
                Some(rules) => Some(Grant { rules, binding, subject }),
                None => {
                    errors.push(binding.role.not_found());
                    None
                }
            }
        })
    }
}

impl Grant<'_> {
    /// The words of kube-apiserver's audit annotation `authorization.k8s.io/reason`.
    fn why(&self) -> String {
        let Binding { name, namespace, role, .. } = self.binding;
        let binding = if namespace.is_empty() {
            format!("ClusterRoleBinding {name:?}")
        } else {
            format!("RoleBinding \"{name}/{namespace}\"")
        };
        format!("RBAC: allowed by {binding} of {} {:?} to {}", role.kind, role.name, self.subject)
    }
}

/// As `k8s.io/apimachinery/pkg/util/errors` prints several errors: each once, in brackets when there are more.
fn aggregate(errors: &[String]) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for error in errors {
        if !distinct.contains(&error.as_str()) {
            distinct.push(error);
        }
    }
    match distinct.as_slice() {
        [one] => (*one).to_owned(),
        several => format!("[{}]", several.join(", ")),
    }
}
