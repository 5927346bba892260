//! Who may have what a node serves by itself: the control plane is asked, with a SubjectAccessReview for each request.
//!
//! What is asked is what a kubelet asks (`pkg/kubelet/server/auth.go`): for logs, exec and the like whether somebody may
//! reach `nodes/proxy` of this node. One thing is stricter: whatever runs a command or opens a port needs `create` also where
//! the request is a GET, as WebSocket requests are.

use client::{Client, Error, kinds};
use serde_json::json;

/// Somebody who asks, as TLS knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's name.
    pub name: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

/// Asks the control plane.
#[derive(Clone)]
pub struct Access {
    client: Client,
    node: String,
}

impl Access {
    /// For that node, which asks as itself.
    pub fn new(client: Client, node: String) -> Access {
        Access { client, node }
    }

    /// Whether the caller may make a request of this method for this path.
    ///
    /// # Errors
    /// When the control plane does not answer; then nobody may.
    pub async fn allows(&self, caller: &Caller, method: &str, path: &str) -> Result<bool, Error> {
        let (verb, subresource) = attributes(method, path);
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": caller.name,
                "groups": caller.groups,
                "resourceAttributes": {
                    "verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": self.node,
                },
            },
        });
        let answer = self.client.create(&kinds::SUBJECT_ACCESS_REVIEWS, None, &review).await?;
        Ok(answer["status"]["allowed"] == true)
    }
}

/// The verb and the subresource of the node that a request is about.
fn attributes(method: &str, path: &str) -> (&'static str, &'static str) {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let subresource = match first {
        "stats" => "stats",
        "metrics" => "metrics",
        "healthz" => "healthz",
        "pods" => "pods",
        _ => "proxy",
    };
    let acts = !matches!(first, "containerLogs" | "stats" | "metrics" | "healthz" | "pods");
    let verb = match method {
        "GET" | "HEAD" if !acts => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "create",
    };
    (verb, subresource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_what_a_kubelet_asks_and_get_runs_no_command() {
        let table = [
            ("GET", "/containerLogs/default/web/app", ("get", "proxy")),
            ("POST", "/exec/default/web/app", ("create", "proxy")),
            ("GET", "/exec/default/web/app", ("create", "proxy")),
            ("GET", "/portForward/default/web", ("create", "proxy")),
            ("GET", "/stats/summary", ("get", "stats")),
            ("GET", "/metrics/resource", ("get", "metrics")),
            ("GET", "/pods", ("get", "pods")),
            ("GET", "/healthz", ("get", "healthz")),
            ("DELETE", "/exec/default/web", ("delete", "proxy")),
            ("GET", "/unknown", ("create", "proxy")),
            ("GET", "//exec/default/web", ("create", "proxy")),
        ];
        for (method, path, expected) in table {
            assert_eq!(attributes(method, path), expected, "{method} {path}");
        }
    }
}
