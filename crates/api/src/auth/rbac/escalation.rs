//! Nobody gives what they do not have: the check of writing roles and bindings, as of
//! `pkg/registry/rbac/{role,rolebinding}/policybased` and `k8s.io/component-helpers/auth/rbac/validation`.

use std::fmt;

use super::objects::is_path;
use super::{Attributes, Policy, RoleKind, RoleRef, Rule};
use crate::user::User;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The user would give away more than they have; the message is Kubernetes'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    user: String,
    groups: Vec<String>,
    /// What the user does not have, split as far as it can be.
    pub missing: Vec<Rule>,
    errors: Vec<String>,
}

impl Policy {
    /// Whether the user may write a role (of that namespace, empty for a ClusterRole) with these rules: who may `escalate` it
    /// may, and who has all of them. For an update only when the rules are changed.
    ///
    /// # Errors
    /// What the user does not have.
    pub fn may_write_role<'a>(
        &self,
        user: &User,
        namespace: &str,
        role: &RoleRef,
        rules: impl IntoIterator<Item = &'a Rule>,
    ) -> Result<(), Refused> {
        if self.may(user, "escalate", role, namespace) {
            return Ok(());
        }
        self.covers(user, namespace, rules, Vec::new())
    }

    /// Whether the user may write a binding (of that namespace, empty for a ClusterRoleBinding) to that role: who may `bind` it
    /// may, and who has all of its rules.
    ///
    /// # Errors
    /// What the user does not have; a role that does not exist can be bound only by who may `bind` it.
    pub fn may_write_binding(&self, user: &User, namespace: &str, role: &RoleRef) -> Result<(), Refused> {
        if self.may(user, "bind", role, namespace) {
            return Ok(());
        }
        match self.rules_of_role(role, namespace) {
            Some(rules) => self.covers(user, namespace, rules, Vec::new()),
            None => self.covers(user, namespace, [], vec![role.not_found()]),
        }
    }

    /// `bind` and `escalate` on the role by its name. A ClusterRole is asked for in the namespace of the binding, so that a
    /// RoleBinding can allow to bind it there.
    fn may(&self, user: &User, verb: &str, role: &RoleRef, namespace: &str) -> bool {
        let namespace = if role.kind == RoleKind::ClusterRole && verb == "escalate" { "" } else { namespace };
        let attributes = Attributes::resource(verb, GROUP, role.kind.resource(), namespace, &role.name);
        self.authorize(user, &attributes).is_allowed()
    }

    fn covers<'a>(
        &self,
        user: &User,
        namespace: &str,
        rules: impl IntoIterator<Item = &'a Rule>,
        errors: Vec<String>,
    ) -> Result<(), Refused> {
        let owned = self.rules_of(user, namespace);
        let missing: Vec<Rule> = rules
            .into_iter()
            .flat_map(split)
            .filter(|part| !owned.iter().any(|owned| covers(owned, part)))
            .collect();
        if missing.is_empty() && errors.is_empty() {
            return Ok(());
        }
        Err(Refused { user: user.name.clone(), groups: user.groups.clone(), missing, errors })
    }
}

/// A rule as many of one verb and one resource or path each, so that several rules together can cover it.
fn split(rule: &Rule) -> Vec<Rule> {
    let mut parts = Vec::new();
    for verb in &rule.verbs {
        let verbs = vec![verb.clone()];
        for url in &rule.non_resource_urls {
            let non_resource_urls = vec![url.clone()];
            parts.push(Rule { verbs: verbs.clone(), non_resource_urls, ..Rule::default() });
        }
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let part = Rule {
                    verbs: verbs.clone(),
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                    continue;
                }
                for name in &rule.resource_names {
                    parts.push(Rule { resource_names: vec![name.clone()], ..part.clone() });
                }
            }
        }
    }
    parts
}

/// Whether whoever has `owned` has `part`, which was split.
fn covers(owned: &Rule, part: &Rule) -> bool {
    let has = |owned: &[String], part: &[String]| {
        part.iter().all(|one| owned.iter().any(|other| other == "*" || other == one))
    };
    let names = owned.resource_names.is_empty()
        || (!part.resource_names.is_empty()
            && part.resource_names.iter().all(|name| owned.resource_names.contains(name)));
    let urls = part
        .non_resource_urls
        .iter()
        .all(|url| owned.non_resource_urls.iter().any(|rule| is_path(rule, url)));
    let resources =
        part.resources.iter().all(|one| owned.resources.iter().any(|other| is_within(one, other)));
    has(&owned.verbs, &part.verbs) && has(&owned.api_groups, &part.api_groups) && resources && names && urls
}

/// `pods/log` is within itself, `*/log` and `*`.
fn is_within(one: &str, other: &str) -> bool {
    let wildcard = || {
        let (_, subresource) = one.split_once('/')?;
        Some(subresource == other.strip_prefix("*/")?)
    };
    other == "*" || other == one || wildcard() == Some(true)
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { user, groups, missing, errors } = self;
        write!(
            f,
            "user {user:?} (groups={}) is attempting to grant RBAC permissions not currently held:",
            list(groups)
        )?;
        for rule in missing {
            f.write_str("\n")?;
            compact(rule, f)?;
        }
        if !errors.is_empty() {
            write!(f, "; resolution errors: [{}]", errors.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// As Go prints a list of strings with `%q`.
fn list(values: &[String]) -> String {
    let quoted: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

fn compact(rule: &Rule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| format!("{name}:{}", list(values)))
        .collect();
    write!(f, "{{{}}}", parts.join(", "))
}
