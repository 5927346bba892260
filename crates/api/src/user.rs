//! Who asks: what authentication found out, and all that authorization looks at.

use std::collections::BTreeMap;

/// An authenticated user. Only authentication and impersonation make one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// `kubernetes-admin`, `system:serviceaccount:default:builder`, ...
    pub name: String,
    /// Tells users of one name apart over time; of a ServiceAccount its UID.
    pub uid: String,
    /// All groups, `system:authenticated` among them.
    pub groups: Vec<String>,
    /// What else is known, such as the Pod that a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user of that name in these groups, and in the group of all that are authenticated.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> User {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        if !groups.iter().any(|group| group == Self::AUTHENTICATED) {
            groups.push(Self::AUTHENTICATED.to_owned());
        }
        User { name: name.into(), groups, ..User::default() }
    }

    /// The group of everybody who is known.
    pub const AUTHENTICATED: &'static str = "system:authenticated";
    /// The group that may do everything.
    pub const MASTERS: &'static str = "system:masters";
}
