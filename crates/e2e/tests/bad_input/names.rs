//! Names that are paths, paths that are none, and revisions that are not there.

use e2e::{Node, Podling, Wire};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn names_that_lead_elsewhere_lead_nowhere() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    let segments = [
        "..",
        ".",
        "%2e%2e",
        "%2E%2E",
        "a%2Fb",
        "..%2F..%2Fsecrets",
        "a%00b",
        "%00",
        "a%0ab",
        "%",
        "%zz",
        "%ff%fe",
        "a%25b",
    ];
    for segment in segments {
        for path in [format!("{MAPS}/{segment}"), format!("/api/v1/namespaces/{segment}/configmaps")] {
            for method in ["GET", "DELETE"] {
                let reply = wire.request(method, &path, &[], b"");
                // `kubectl` never sends them; a path that Kubernetes would clean is no resource here.
                let status = reply.json();
                assert!(matches!(reply.code, 400 | 404), "{method} {path}: {reply:?}");
                assert_eq!(status["kind"], "Status", "{method} {path}: {status}");
            }
        }
    }
    for name in ["..", ".", "a/b", "../secrets/a", "a\0b", "", "A", "a b", "a\u{202e}b", &"x".repeat(254)] {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let reply =
            wire.request("POST", MAPS, &[("Content-Type", "application/json")], map.to_string().as_bytes());
        reply.assert_refused(&format!("{name:?}"), 422, "Invalid");
    }
    let elsewhere = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "kube-system"}});
    let reply =
        wire.request("POST", MAPS, &[("Content-Type", "application/json")], elsewhere.to_string().as_bytes());
    reply.assert_refused("another namespace than the path's", 400, "BadRequest");
    // No HTTP at all.
    for line in
        ["GET /api\0/v1 HTTP/1.1\r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"]
    {
        let mut connection = wire.connect();
        let _ = connection.send(line.as_bytes());
        connection.assert_ended();
    }
    node.running().assert_quiet();
}

/// What a watch from a revision is answered.
fn watch(wire: &Wire, revision: &str) -> (u16, serde_json::Value) {
    let path = format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={revision}");
    let reply = wire.request("GET", &path, &[], b"");
    (reply.code, serde_json::from_slice(&reply.body).unwrap_or_default())
}

#[test]
fn revisions_that_are_not_there_are_told() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    let now: u64 = revision(&wire);
    let (code, status) = watch(&wire, &(now + 1_000_000).to_string());
    assert_eq!((code, &status["reason"]), (504, &json!("Timeout")), "{status}");
    assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge", "{status}");
    let reply = wire.request("GET", &format!("{MAPS}?resourceVersion={}", now + 1_000_000), &[], b"");
    reply.assert_refused("a list of the future", 504, "Timeout");
    for wrong in ["abc", "-1", "1.5", "99999999999999999999999999"] {
        let (code, status) = watch(&wire, wrong);
        assert!(matches!(code, 400 | 422) && status["kind"] == "Status", "{wrong}: {code} {status}");
    }

    // The history is as long as 10,000 changes; a start begins it anew, which takes less.
    node.kill();
    node.restart(&["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    let (code, status) = watch(&wire, "1");
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{status}");
    let reply =
        wire.request("GET", &format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Exact"), &[], b"");
    reply.assert_refused("a list of the past", 410, "Expired");
    let reply = wire.request("GET", &format!("{MAPS}?continue=bm9uc2Vuc2U"), &[], b"");
    reply.assert_refused("a token of nobody", 400, "BadRequest");
    node.running().assert_quiet();
}

fn revision(wire: &Wire) -> u64 {
    let list = wire.get(MAPS);
    list["metadata"]["resourceVersion"].as_str().expect("a revision").parse().expect("a number")
}
