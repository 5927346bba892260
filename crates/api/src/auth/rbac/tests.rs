//! Tables of questions and answers, in Kubernetes' words.

use serde_json::{Value, json};

use super::*;
use crate::auth::bootstrap;

fn role(kind: &str, namespace: &str, name: &str, rules: Value) -> Value {
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role.0, "name": role.1}, "subjects": subjects})
}

fn user(name: &str) -> Value {
    json!([{"kind": "User", "name": name}])
}

/// A policy in which `me` has these rules everywhere.
fn mine(rules: Value) -> Policy {
    Policy::new(&[role("ClusterRole", "", "r", rules), binding("", "b", ("ClusterRole", "r"), user("me"))])
        .unwrap()
}

fn bootstrapped(more: &[Value]) -> Policy {
    let (roles, bindings) = (bootstrap::cluster_roles(), bootstrap::cluster_role_bindings());
    Policy::new(roles.iter().chain(&bindings).chain(more)).unwrap()
}

fn may(policy: &Policy, user: &User, verb: &str, resource: &str, namespace: &str) -> bool {
    let (group, resource) = resource.rsplit_once(':').unwrap_or(("", resource));
    policy.authorize(user, &Attributes::resource(verb, group, resource, namespace, "x")).is_allowed()
}

#[test]
fn a_rule_allows_what_it_names() {
    let cases = [
        // verbs, groups, resources, names; the question; the answer
        (json!(["get"]), json!([""]), json!(["pods"]), json!([]), ("get", "", "pods", "x"), true),
        (json!(["get"]), json!([""]), json!(["pods"]), json!([]), ("list", "", "pods", "x"), false),
        (json!(["get"]), json!([""]), json!(["pods"]), json!([]), ("get", "apps", "pods", "x"), false),
        (json!(["get"]), json!([""]), json!(["pods"]), json!([]), ("get", "", "pods/log", "x"), false),
        (json!(["get"]), json!([""]), json!(["pods/log"]), json!([]), ("get", "", "pods/log", "x"), true),
        (json!(["get"]), json!([""]), json!(["pods/log"]), json!([]), ("get", "", "pods", "x"), false),
        (json!(["get"]), json!([""]), json!(["*/log"]), json!([]), ("get", "", "pods/log", "x"), true),
        (json!(["get"]), json!([""]), json!(["*/log"]), json!([]), ("get", "", "pods/exec", "x"), false),
        (json!(["get"]), json!([""]), json!(["*/log"]), json!([]), ("get", "", "pods", "x"), false),
        (json!(["*"]), json!(["*"]), json!(["*"]), json!([]), ("bind", "apps", "a/b", "x"), true),
        (json!(["get"]), json!([""]), json!(["pods"]), json!(["x"]), ("get", "", "pods", "x"), true),
        (json!(["get"]), json!([""]), json!(["pods"]), json!(["y"]), ("get", "", "pods", "x"), false),
        // A collection has no name, so a rule for names does not allow it.
        (json!(["list"]), json!([""]), json!(["pods"]), json!(["x"]), ("list", "", "pods", ""), false),
        (json!(["get"]), json!([]), json!(["pods"]), json!([]), ("get", "", "pods", "x"), false),
        (json!([]), json!([""]), json!(["pods"]), json!([]), ("get", "", "pods", "x"), false),
    ];
    for (verbs, groups, resources, names, (verb, group, resource, name), allowed) in cases {
        let rule =
            json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names});
        let attributes = Attributes::resource(verb, group, resource, "ns", name);
        let decision = mine(json!([rule])).authorize(&User::new("me", &[]), &attributes);
        assert_eq!(decision.is_allowed(), allowed, "{rule} {attributes:?}");
    }
}

#[test]
fn a_path_is_allowed_by_its_beginning_only_with_a_star_at_the_end() {
    for (rule, path, allowed) in [
        ("/metrics", "/metrics", true),
        ("/metrics", "/metrics/slis", false),
        ("/healthz/*", "/healthz/ping", true),
        ("/healthz/*", "/healthz", false),
        ("/api*", "/apis/x", true),
        ("*", "/anything", true),
        ("/a/*/b", "/a/x/b", false),
    ] {
        let policy = mine(json!([{"verbs": ["get"], "nonResourceURLs": [rule]}]));
        let me = User::new("me", &[]);
        assert_eq!(
            policy.authorize(&me, &Attributes::path("get", path)).is_allowed(),
            allowed,
            "{rule} {path}"
        );
        assert!(!policy.authorize(&me, &Attributes::path("post", path)).is_allowed());
        assert!(!may(&policy, &me, "get", "pods", ""));
    }
}

#[test]
fn a_binding_gives_to_its_subjects_in_its_namespace() {
    let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    let subjects = json!([
        {"kind": "User", "name": "jane"}, {"kind": "Group", "name": "developers"},
        {"kind": "ServiceAccount", "name": "builder"}, {"kind": "ServiceAccount", "name": "other", "namespace": "tools"},
    ]);
    let policy = Policy::new(&[
        role("Role", "ns", "reader", rules.clone()),
        role("ClusterRole", "", "reader", rules),
        binding("ns", "a", ("Role", "reader"), subjects.clone()),
        binding("only", "b", ("ClusterRole", "reader"), subjects),
    ])
    .unwrap();
    for (user, allowed) in [
        (User::new("jane", &[]), true),
        (User::new("developers", &[]), false),
        (User::new("joe", &["developers"]), true),
        (User::new("system:serviceaccount:ns:builder", &[]), true),
        (User::new("system:serviceaccount:tools:other", &[]), true),
        (User::new("system:serviceaccount:tools:builder", &[]), false),
        (User::new("builder", &[]), false),
    ] {
        assert_eq!(may(&policy, &user, "get", "pods", "ns"), allowed, "{user:?}");
        assert!(!may(&policy, &user, "get", "pods", "other"), "{user:?}");
        assert!(!may(&policy, &user, "get", "pods", ""), "{user:?}");
    }
    assert!(may(&policy, &User::new("jane", &[]), "get", "pods", "only"));
    let decision =
        policy.authorize(&User::new("jane", &[]), &Attributes::resource("get", "", "pods", "ns", ""));
    let why = r#"RBAC: allowed by RoleBinding "a/ns" of Role "reader" to User "jane""#;
    assert_eq!(decision, Decision::Allowed { why: why.to_owned() });
}

#[test]
fn a_refusal_has_the_words_of_kubernetes() {
    let user = User::new("x", &[]);
    let message = |attributes: Attributes, policy: &Policy| match policy.authorize(&user, &attributes) {
        Decision::Denied { why } => attributes.forbidden(&user, &why).message,
        Decision::Allowed { .. } => panic!("allowed"),
    };
    let nothing = Policy::default();
    let cases = [
        (
            Attributes::resource("list", "", "pods", "default", ""),
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            Attributes::resource("get", "apps", "deployments/scale", "", "web"),
            r#"deployments.apps "web" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" at the cluster scope"#,
        ),
        (Attributes::path("get", "/metrics"), r#"forbidden: User "x" cannot get path "/metrics""#),
    ];
    for (attributes, expected) in cases {
        assert_eq!(message(attributes, &nothing), expected);
    }
    let dangling = Policy::new(&[binding("", "b", ("ClusterRole", "gone"), user_of(&user))]).unwrap();
    assert!(
        message(Attributes::resource("list", "", "pods", "", ""), &dangling).ends_with(
            r#"at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#
        )
    );
}

fn user_of(user: &User) -> Value {
    json!([{"kind": "User", "name": user.name}])
}

#[test]
fn the_bootstrap_roles_do_what_their_names_say() {
    let policy = bootstrapped(&[
        binding("ns", "v", ("ClusterRole", "view"), user("viewer")),
        binding("ns", "e", ("ClusterRole", "edit"), user("editor")),
        binding("ns", "a", ("ClusterRole", "admin"), user("admin")),
    ]);
    let answers = |verb: &str, resource: &str| {
        ["viewer", "editor", "admin"].map(|name| may(&policy, &User::new(name, &[]), verb, resource, "ns"))
    };
    assert_eq!(answers("get", "pods"), [true; 3]);
    assert_eq!(answers("get", "pods/log"), [true; 3]);
    assert_eq!(answers("list", "apps:deployments"), [true; 3]);
    assert_eq!(answers("create", "pods"), [false, true, true]);
    assert_eq!(answers("get", "secrets"), [false, true, true]);
    assert_eq!(answers("create", "pods/exec"), [false, true, true]);
    assert_eq!(answers("create", "rbac.authorization.k8s.io:rolebindings"), [false, false, true]);
    assert_eq!(answers("update", "endpoints"), [false; 3]);
    assert_eq!(answers("delete", "resourcequotas"), [false; 3]);
    assert_eq!(answers("update", "namespaces"), [false; 3]);

    let master = User::new("root", &[User::MASTERS]);
    assert!(may(&policy, &master, "delete", "nodes", ""));
    let nobody = User::new("system:serviceaccount:default:default", &["system:serviceaccounts"]);
    assert!(!may(&policy, &nobody, "create", "pods", "default"));
    assert!(!may(&policy, &nobody, "get", "secrets", "default"));
    assert!(may(&policy, &nobody, "create", "authorization.k8s.io:selfsubjectaccessreviews", ""));
    assert!(policy.authorize(&nobody, &Attributes::path("get", "/api/v1")).is_allowed());
    assert!(!policy.authorize(&nobody, &Attributes::path("get", "/metrics")).is_allowed());
    let node = User::new("system:node:n", &["system:nodes"]);
    assert!(may(&policy, &node, "patch", "pods/status", "ns"));
    assert!(may(&policy, &node, "create", "serviceaccounts/token", "ns"));
    assert!(!may(&policy, &node, "delete", "namespaces", ""));
    assert!(!may(&policy, &node, "create", "rbac.authorization.k8s.io:clusterrolebindings", ""));
    let controllers = User::new(bootstrap::CONTROLLER_MANAGER, &[]);
    assert!(may(&policy, &controllers, "delete", "example.com:anything", "ns"));
    assert!(!may(&policy, &controllers, "create", "rbac.authorization.k8s.io:clusterrolebindings", ""));
    assert!(may(&policy, &User::new(bootstrap::SCHEDULER, &[]), "create", "pods/binding", "ns"));
}

#[test]
fn a_label_extends_an_aggregated_role() {
    let mut crds = role(
        "ClusterRole",
        "",
        "crds",
        json!([{"verbs": ["get"], "apiGroups": ["x.io"], "resources": ["y"]}]),
    );
    crds["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let policy = bootstrapped(&[crds, binding("ns", "a", ("ClusterRole", "admin"), user("admin"))]);
    // view is aggregated into edit, and edit into admin.
    assert!(may(&policy, &User::new("admin", &[]), "get", "x.io:y", "ns"));
    let rules = policy.cluster_rules("view").unwrap();
    assert!(rules.iter().any(|rule| rule.api_groups == ["x.io"]));
    assert!(policy.cluster_rules("no-such").is_none());
    // What is aggregated says what it has now, not what was once written into it.
    assert!(policy.cluster_rules("admin").unwrap().len() > rules.len());
}

#[test]
fn roles_that_select_each_other_end() {
    let selecting = |name: &str| {
        json!({"kind": "ClusterRole", "metadata": {"name": name, "labels": {"a": "b"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}})
    };
    let policy = Policy::new(&[selecting("one"), selecting("two")]).unwrap();
    assert_eq!(policy.cluster_rules("one").unwrap().len(), 0);
}

#[test]
fn nobody_gives_what_they_do_not_have() {
    let pods = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]);
    let policy = mine(pods.clone());
    let me = User::new("me", &["g"]);
    let wanted = RoleRef { kind: RoleKind::Role, name: "new".to_owned() };
    let rules = |rules: Value| -> Vec<Rule> { serde_json::from_value(rules).unwrap() };
    let write =
        |rules: &[Rule]| policy.may_write_role(&me, "ns", &wanted, rules).map_err(|error| error.to_string());
    assert_eq!(write(&rules(pods)), Ok(()));
    let more =
        rules(json!([{"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods", "secrets"]}]));
    assert_eq!(
        write(&more).unwrap_err(),
        "user \"me\" (groups=[\"g\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"delete\"]}"
    );
    for refused in [
        json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}]),
        json!([{"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"]}]),
        json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["*"]}]),
        json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}]),
        json!([{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]),
    ] {
        assert!(write(&rules(refused.clone())).is_err(), "{refused}");
    }
    let named =
        rules(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}]));
    assert_eq!(write(&named), Ok(()));
    let master = User::new("root", &[User::MASTERS]);
    assert_eq!(policy.may_write_role(&master, "", &wanted, &more), Ok(()));
}

#[test]
fn a_rule_for_names_does_not_cover_all_names() {
    let policy =
        mine(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}]));
    let all: Vec<Rule> =
        serde_json::from_value(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]))
            .unwrap();
    let role = RoleRef { kind: RoleKind::Role, name: "new".to_owned() };
    assert!(policy.may_write_role(&User::new("me", &[]), "ns", &role, &all).is_err());
}

#[test]
fn binding_needs_the_rules_or_the_verb_bind() {
    let policy = bootstrapped(&[
        binding("ns", "a", ("ClusterRole", "admin"), user("admin")),
        role(
            "ClusterRole",
            "",
            "binder",
            json!([{"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["clusterroles"], "resourceNames": ["cluster-admin"]}]),
        ),
        binding("ns", "b", ("ClusterRole", "binder"), user("binder")),
    ]);
    let to = |name: &str| RoleRef { kind: RoleKind::ClusterRole, name: name.to_owned() };
    let bind = |user: &str, namespace: &str, role: &str| {
        policy.may_write_binding(&User::new(user, &[]), namespace, &to(role)).is_ok()
    };
    assert!(bind("admin", "ns", "edit"));
    assert!(!bind("admin", "other", "edit"));
    assert!(!bind("admin", "ns", "cluster-admin"));
    assert!(bind("binder", "ns", "cluster-admin"));
    assert!(!bind("binder", "", "cluster-admin"));
    let refused =
        policy.may_write_binding(&User::new("admin", &[]), "ns", &to("gone")).unwrap_err().to_string();
    assert!(refused.contains(r#"clusterrole.rbac.authorization.k8s.io "gone" not found"#), "{refused}");
}

#[test]
fn rules_are_listed_for_a_review() {
    let policy = bootstrapped(&[binding("ns", "v", ("ClusterRole", "view"), user("viewer"))]);
    let viewer = User::new("viewer", &[]);
    let (there, elsewhere) = (policy.rules_of(&viewer, "ns").len(), policy.rules_of(&viewer, "other").len());
    assert!(there > elsewhere && elsewhere > 0);
}

#[test]
fn what_is_no_role_is_told() {
    assert!(matches!(Policy::new(&[json!({"kind": "Pod"})]), Err(ParseError::Kind { .. })));
    let broken = json!({"kind": "Role", "metadata": {"name": "x"}, "rules": 1});
    assert!(matches!(Policy::new(&[broken]), Err(ParseError::Form { name, .. }) if name == "x"));
}
