//! From a path to what is asked for. Pure.
//!
//! The paths are the kubelet's (`pkg/kubelet/server/server.go`), and two more: the container may be left out where the Pod has
//! one only, and `restart` starts containers again.

use engine::streams::Target;
use http::Method;

use crate::query::decoded;
use crate::status::Refusal;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// A container's log.
    Logs(Target),
    /// A command, with its streams.
    Exec(Target),
    /// The streams of the container's own process.
    Attach(Target),
    /// A command whose output is the answer.
    Run(Target),
    /// A container, or all of the Pod, to be started again.
    Restart(Target),
    /// Ports of a Pod.
    PortForward(Target),
    /// Usage as JSON.
    Summary,
    /// Usage for Prometheus.
    ResourceMetrics,
    /// The Pods of this node.
    Pods,
    /// Whether this answers at all.
    Health,
}

/// Reads a path.
pub(crate) fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    let not_found = || Refusal::not_found("the server could not find the requested resource");
    let segments: Option<Vec<String>> =
        path.trim_start_matches('/').trim_end_matches('/').split('/').map(segment).collect();
    let segments = segments.ok_or_else(not_found)?;
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (found, methods): (Route, &[Method]) = match names[..] {
        ["healthz"] => (Route::Health, &[Method::GET]),
        ["pods"] => (Route::Pods, &[Method::GET]),
        ["stats", "summary"] => (Route::Summary, &[Method::GET]),
        ["metrics", "resource"] => (Route::ResourceMetrics, &[Method::GET]),
        ["containerLogs", namespace, pod, ref rest @ ..] => {
            let target = container(namespace, pod, rest).filter(|target| target.uid.is_none());
            (Route::Logs(target.ok_or_else(not_found)?), &[Method::GET])
        }
        ["exec", namespace, pod, ref rest @ ..] => {
            let target = container(namespace, pod, rest).ok_or_else(not_found)?;
            (Route::Exec(target), &[Method::GET, Method::POST])
        }
        ["attach", namespace, pod, ref rest @ ..] => {
            let target = container(namespace, pod, rest).ok_or_else(not_found)?;
            (Route::Attach(target), &[Method::GET, Method::POST])
        }
        ["run", namespace, pod, ref rest @ ..] => {
            let target = container(namespace, pod, rest).ok_or_else(not_found)?;
            (Route::Run(target), &[Method::POST])
        }
        ["restart", namespace, pod, ref rest @ ..] => {
            let target = container(namespace, pod, rest).ok_or_else(not_found)?;
            (Route::Restart(target), &[Method::POST])
        }
        ["portForward", namespace, pod] => {
            (Route::PortForward(target(namespace, pod, None, None)), &[Method::GET, Method::POST])
        }
        ["portForward", namespace, pod, uid] => {
            (Route::PortForward(target(namespace, pod, Some(uid), None)), &[Method::GET, Method::POST])
        }
        _ => return Err(not_found()),
    };
    if methods.contains(method) { Ok(found) } else { Err(Refusal::method_not_allowed()) }
}

fn container(namespace: &str, pod: &str, rest: &[&str]) -> Option<Target> {
    match rest {
        [] => Some(target(namespace, pod, None, None)),
        [container] => Some(target(namespace, pod, None, Some(container))),
        [uid, container] => Some(target(namespace, pod, Some(uid), Some(container))),
        _ => None,
    }
}

fn target(namespace: &str, pod: &str, uid: Option<&str>, container: Option<&str>) -> Target {
    Target {
        namespace: namespace.into(),
        pod: pod.into(),
        uid: uid.map(Into::into),
        container: container.map(Into::into),
    }
}

/// A name in a path. Names of Kubernetes are never empty, never `..`, and have neither slash nor NUL.
fn segment(text: &str) -> Option<String> {
    let name = decoded(text)?;
    let sane = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0', '\\']);
    sane.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str) -> Option<Route> {
        route(&Method::GET, path).ok()
    }

    #[test]
    fn the_paths_of_the_kubelet() {
        let web = |uid, container| target("default", "web", uid, container);
        let table = [
            ("/containerLogs/default/web/app", Route::Logs(web(None, Some("app")))),
            ("/exec/default/web/app", Route::Exec(web(None, Some("app")))),
            ("/exec/default/web", Route::Exec(web(None, None))),
            ("/attach/default/web/1-2/app", Route::Attach(web(Some("1-2"), Some("app")))),
            ("/portForward/default/web", Route::PortForward(web(None, None))),
            ("/portForward/default/web/1-2", Route::PortForward(web(Some("1-2"), None))),
            ("/stats/summary", Route::Summary),
            ("/stats/summary/", Route::Summary),
            ("/metrics/resource", Route::ResourceMetrics),
            ("/pods", Route::Pods),
            ("/healthz", Route::Health),
        ];
        for (path, expected) in table {
            assert_eq!(asked(path), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_not_found() {
        for path in [
            "/",
            "/exec",
            "/exec/default",
            "/exec/default/..",
            "/exec/default/%2e%2e/app",
            "/exec/default/a%2Fb/app",
            "/exec/default/a%00/app",
            "/exec/default//app",
            "/exec/default/%zz",
            "/exec/default/%ff",
            "/exec/a/b/c/d/e",
            "/containerLogs/a/b/c/d",
            "/logs/",
        ] {
            let refused = route(&Method::GET, path).unwrap_err();
            assert_eq!(refused, Refusal::not_found("the server could not find the requested resource"));
        }
    }

    #[test]
    fn a_method_that_makes_no_sense_is_refused() {
        assert_eq!(route(&Method::DELETE, "/exec/a/b"), Err(Refusal::method_not_allowed()));
        assert_eq!(route(&Method::GET, "/run/a/b/c"), Err(Refusal::method_not_allowed()));
        assert_eq!(route(&Method::GET, "/restart/a/b"), Err(Refusal::method_not_allowed()));
        assert!(route(&Method::POST, "/exec/a/b").is_ok());
        let all = target("a", "b", None, None);
        assert_eq!(route(&Method::POST, "/restart/a/b"), Ok(Route::Restart(all)));
    }
}
