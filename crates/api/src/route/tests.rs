//! Paths in a table, and the router's fuzz target under proptest.

use proptest::prelude::*;

use super::*;

fn shown(path: &str) -> String {
    match parse(path) {
        Ok(Route::Other(path)) => format!("other {path}"),
        Ok(Route::Resource(r)) => format!(
            "{}/{} ns={} {} name={} sub={} rest={}{}",
            r.group,
            r.version,
            r.namespace.as_deref().unwrap_or("-"),
            r.resource,
            r.name.as_deref().unwrap_or("-"),
            r.subresource.as_deref().unwrap_or("-"),
            r.rest.as_deref().unwrap_or("-"),
            if r.is_watch_path { " watch" } else { "" },
        ),
        Err(error) => error.to_string(),
    }
}

#[test]
fn paths_name_resources() {
    for (path, expected) in [
        ("/", "other /"),
        ("/api", "other /api"),
        ("/api/v1", "other /api/v1"),
        ("/api/v1/", "other /api/v1"),
        ("/apis/apps/v1", "other /apis/apps/v1"),
        ("/healthz/ping", "other /healthz/ping"),
        ("/api/v1/pods", "/v1 ns=- pods name=- sub=- rest=-"),
        ("/api/v1/nodes/n1", "/v1 ns=- nodes name=n1 sub=- rest=-"),
        ("/api/v1/namespaces", "/v1 ns=- namespaces name=- sub=- rest=-"),
        ("/api/v1/namespaces/a", "/v1 ns=a namespaces name=a sub=- rest=-"),
        ("/api/v1/namespaces/a/", "/v1 ns=a namespaces name=a sub=- rest=-"),
        ("/api/v1/namespaces/a/status", "/v1 ns=a namespaces name=a sub=status rest=-"),
        ("/api/v1/namespaces/a/finalize", "/v1 ns=a namespaces name=a sub=finalize rest=-"),
        ("/api/v1/namespaces/a/pods", "/v1 ns=a pods name=- sub=- rest=-"),
        ("/api/v1/namespaces/a/pods/p/log", "/v1 ns=a pods name=p sub=log rest=-"),
        ("/api/v1/namespaces/a/pods/p/proxy/x%2Fy/z/", "/v1 ns=a pods name=p sub=proxy rest=/x%2Fy/z/"),
        ("/api/v1/namespaces/a/pods/p/proxy/", "/v1 ns=a pods name=p sub=proxy rest=/"),
        (
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            "apps/v1 ns=a deployments name=d sub=scale rest=-",
        ),
        ("/api/v1/watch/namespaces/a/pods", "/v1 ns=a pods name=- sub=- rest=- watch"),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            "rbac.authorization.k8s.io/v1 ns=- clusterroles name=system:node sub=- rest=-",
        ),
        ("/api/v1/namespaces/a/pods/p/log/more", "the server could not find the requested resource"),
        ("/api/v1/namespaces/a/pods/..", "the path segment \"..\" is not allowed: may not be '..'"),
        ("/api/v1/namespaces/a/pods/%2e%2E", "the path segment \"..\" is not allowed: may not be '..'"),
        ("/api/v1/namespaces/a/pods/a%2Fb", "the path segment \"a/b\" is not allowed: may not contain '/'"),
        (
            "/api/v1/namespaces/a/pods/a%00b",
            "the path segment \"a\\0b\" is not allowed: may not contain control characters",
        ),
        ("/api/v1/namespaces/a/pods/%zz", "the path has an invalid escape in \"%zz\""),
        ("/api/v1/namespaces/a/pods/%ff", "the path has an invalid escape in \"%ff\""),
        ("/api/v1/namespaces//pods", "the path segment \"\" is not allowed: it may not be empty"),
    ] {
        assert_eq!(shown(path), expected, "{path}");
    }
}

#[test]
fn methods_become_verbs() {
    let route = |path| match parse(path) {
        Ok(Route::Resource(route)) => route,
        other => panic!("{other:?}"),
    };
    let (one, all) = (route("/api/v1/nodes/n"), route("/api/v1/nodes"));
    assert_eq!(verb(&Method::GET, &one, false), Some(Verb::Get));
    assert_eq!(verb(&Method::GET, &all, false), Some(Verb::List));
    assert_eq!(verb(&Method::GET, &all, true), Some(Verb::Watch));
    assert_eq!(verb(&Method::DELETE, &all, false), Some(Verb::DeleteCollection));
    assert_eq!(verb(&Method::DELETE, &one, false), Some(Verb::Delete));
    assert_eq!(verb(&Method::TRACE, &one, false), None);
}

#[test]
fn queries_keep_repeated_names() {
    let query = Query::parse("command=sh&command=-c&command=a+b%26c&stdin=true&tty=false&container=&watch");
    assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "a b&c"]);
    assert!(query.flag("stdin") && !query.flag("tty") && !query.flag("absent") && query.flag("watch"));
    assert_eq!(query.get("container"), None);
}

proptest! {
    #[test]
    fn no_path_leaves_its_place(path in "/(api|apis)?(/([a-z.%/]|%2[ef]|%00|\\PC){0,12}){0,8}", query in "\\PC{0,40}") {
        crate::fuzzed::router(&path, &query);
    }
}
