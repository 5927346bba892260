//! Acting as somebody else: `kubectl --as`, and the headers behind it. Pure.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>

use std::collections::BTreeMap;

use apimachinery::status::Status;
use http::HeaderMap;

use super::rbac::{Attributes, Decision, Policy};
use crate::user::User;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const ANONYMOUS: &str = "system:anonymous";

/// The user as whom the request shall be done: the one who asks, or the one who is named in the headers when the one who
/// asks may act as them.
///
/// # Errors
/// 400 for headers that make no sense, 403 when it is not allowed.
pub fn of_request(user: User, headers: &HeaderMap, policy: &Policy) -> Result<User, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(user) };
    for attributes in questions(&wanted) {
        if let Decision::Denied { why } = policy.authorize(&user, &attributes) {
            return Err(attributes.forbidden(&user, &why));
        }
    }
    Ok(completed(wanted))
}

/// The user in the headers, as written there.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let text = |value: &http::HeaderValue| {
        value
            .to_str()
            .map(str::to_owned)
            .map_err(|_| Status::bad_request("impersonation headers have to be text"))
    };
    let name = headers.get(USER).map(text).transpose()?.unwrap_or_default();
    let uid = headers.get(UID).map(text).transpose()?.unwrap_or_default();
    let groups = headers.get_all(GROUP).iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            extra.entry(percent_decoded(key)).or_default().push(text(value)?);
        }
    }
    if name.is_empty() {
        return if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            Ok(None)
        } else {
            Err(Status::bad_request("impersonating a group, a uid or extra needs a user to impersonate"))
        };
    }
    Ok(Some(User { name, uid, groups, extra }))
}

/// What has to be allowed, each by itself.
fn questions(wanted: &User) -> Vec<Attributes> {
    let ask = |group, resource, namespace, name| {
        Attributes::resource("impersonate", group, resource, namespace, name)
    };
    let mut questions = vec![match service_account(&wanted.name) {
        Some((namespace, name)) => ask("", "serviceaccounts", namespace, name),
        None => ask("", "users", "", &wanted.name),
    }];
    questions.extend(wanted.groups.iter().map(|group| ask("", "groups", "", group)));
    for (key, values) in &wanted.extra {
        questions.extend(values.iter().map(|value| Attributes::Resource {
            verb: "impersonate".to_owned(),
            group: AUTHENTICATION.to_owned(),
            resource: "userextras".to_owned(),
            subresource: key.clone(),
            namespace: String::new(),
            name: value.clone(),
        }));
    }
    if !wanted.uid.is_empty() {
        questions.push(ask(AUTHENTICATION, "uids", "", &wanted.uid));
    }
    questions
}

/// With the groups that everybody of that sort is in.
fn completed(mut wanted: User) -> User {
    let account = service_account(&wanted.name).map(|(namespace, _)| namespace.to_owned());
    let mut add = |group: String| {
        if !wanted.groups.contains(&group) {
            wanted.groups.push(group);
        }
    };
    if wanted.name == ANONYMOUS {
        add("system:unauthenticated".to_owned());
        return wanted;
    }
    if let Some(namespace) = account {
        add("system:serviceaccounts".to_owned());
        add(format!("system:serviceaccounts:{namespace}"));
    }
    add(User::AUTHENTICATED.to_owned());
    wanted
}

/// Namespace and name in `system:serviceaccount:NAMESPACE:NAME`.
pub(crate) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// Keys of extra are percent-encoded, because a header's name cannot have every character; what is no encoding stays.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or_default() * 16 + hex(*low).unwrap_or_default();
                bytes.push(u8::try_from(value).unwrap_or_default());
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn policy(rules: serde_json::Value) -> Policy {
        Policy::new(&[
            json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": rules}),
            json!({"kind": "ClusterRoleBinding", "metadata": {"name": "b"},
                "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "me"}]}),
        ])
        .unwrap()
    }

    #[test]
    fn without_headers_everybody_is_who_they_are() {
        let me = User::new("me", &["g"]);
        assert_eq!(of_request(me.clone(), &HeaderMap::new(), &Policy::default()), Ok(me));
    }

    #[test]
    fn an_admin_may_act_as_anybody_and_is_then_no_admin() {
        let admin = User::new("admin", &[User::MASTERS]);
        let wanted = headers(&[
            ("Impersonate-User", "jane"),
            ("Impersonate-Group", "developers"),
            ("Impersonate-Group", "admins"),
            ("Impersonate-Uid", "42"),
            ("Impersonate-Extra-Example.com%2fScopes", "view"),
            ("Impersonate-Extra-example.com%2Fscopes", "edit"),
        ]);
        let jane = of_request(admin, &wanted, &Policy::default()).unwrap();
        assert_eq!(jane.name, "jane");
        assert_eq!(jane.groups, ["developers", "admins", "system:authenticated"]);
        assert_eq!(jane.uid, "42");
        assert_eq!(jane.extra["example.com/scopes"], ["view", "edit"]);
    }

    #[test]
    fn a_service_account_comes_with_its_groups() {
        let admin = User::new("admin", &[User::MASTERS]);
        let wanted = headers(&[("Impersonate-User", "system:serviceaccount:ns:builder")]);
        let user = of_request(admin, &wanted, &Policy::default()).unwrap();
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
        );
    }

    #[test]
    fn every_part_has_to_be_allowed() {
        let rules = json!([
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["jane"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["developers"]},
            {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"]},
        ]);
        let policy = policy(rules);
        let refused = |pairs: &[(&str, &str)]| {
            let answer = of_request(User::new("me", &[]), &headers(pairs), &policy);
            answer.err().map(|status| status.message)
        };
        let jane = ("impersonate-user", "jane");
        assert_eq!(
            refused(&[jane, ("impersonate-group", "developers"), ("impersonate-extra-scopes", "x")]),
            None
        );
        assert_eq!(
            refused(&[("impersonate-user", "joe")]).unwrap(),
            r#"users "joe" is forbidden: User "me" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
        assert!(
            refused(&[jane, ("impersonate-group", "system:masters")])
                .unwrap()
                .starts_with("groups \"system:masters\"")
        );
        assert!(refused(&[jane, ("impersonate-extra-other", "x")]).unwrap().contains("userextras/other"));
        assert!(refused(&[jane, ("impersonate-uid", "1")]).unwrap().contains("uids"));
        let account = [("impersonate-user", "system:serviceaccount:ns:a")];
        assert!(refused(&account).unwrap().contains("in the namespace \"ns\""));
        assert!(refused(&[("impersonate-group", "g")]).unwrap().contains("needs a user"));
    }
}
