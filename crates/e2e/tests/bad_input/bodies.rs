//! Bodies that are no objects, patches that cannot be meant, and what is far too large.

use e2e::wire::head;
use e2e::{Node, Podling, Wire};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

/// What a node holds beyond its own at most while it refuses something: a request of the largest size, and what is made of it.
const GROWTH_LIMIT_KIB: u64 = 48 << 10;

fn post(wire: &Wire, what: &str, content_type: &str, body: &[u8], code: u16, reason: &str) {
    let reply = wire.request("POST", MAPS, &[("Content-Type", content_type)], body);
    reply.assert_refused(what, code, reason);
}

#[test]
fn bodies_that_are_no_objects_are_refused() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_object = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","x":{}"#, r#"{"a":"#.repeat(100_000));
    let json: [(&str, &[u8]); 12] = [
        ("nothing", b""),
        ("cut", br#"{"apiVersion":"v1","kind":"Conf"#),
        ("a list", b"[]"),
        ("null", b"null"),
        ("a word", br#""ConfigMap""#),
        ("a number", b"42"),
        ("more after the end", br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}} {}"#),
        ("no UTF-8", b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":{\"a\":\"\xff\xfe\"}}"),
        ("half a surrogate", br#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"\ud800"}}"#),
        ("lists in lists", deep.as_bytes()),
        ("objects in objects", deep_object.as_bytes()),
        ("another kind", br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#),
    ];
    for (what, body) in json {
        post(&wire, what, JSON, body, 400, "BadRequest");
    }
    // Nine lists, each of nine times the one before: 9^9 words when it is read as it is written.
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..9 {
        let before = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let yaml: [(&str, &[u8]); 5] = [
        ("tabs", b"kind:\n\tConfigMap"),
        ("an open bracket", b"metadata: {name: a"),
        ("an unknown anchor", b"kind: *nobody"),
        ("a billion laughs", laughs.as_bytes()),
        ("a text", b"just words"),
    ];
    for (what, body) in yaml {
        post(&wire, what, "application/yaml", body, 400, "BadRequest");
    }
    let protobuf = "application/vnd.kubernetes.protobuf";
    post(&wire, "no magic", protobuf, b"hello", 400, "BadRequest");
    post(&wire, "only magic", protobuf, b"k8s\0", 400, "BadRequest");
    post(
        &wire,
        "a length of 2^63",
        protobuf,
        b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        400,
        "BadRequest",
    );
    post(&wire, "another language", "text/html", b"<p>", 415, "UnsupportedMediaType");
    assert_eq!(wire.request("POST", MAPS, &[("Content-Type", JSON)], &ours("fine")).code, 201);
    node.running().assert_quiet();
}

fn ours(name: &str) -> Vec<u8> {
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}});
    map.to_string().into_bytes()
}

#[test]
fn patches_that_cannot_be_meant_are_refused_and_change_nothing() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    assert_eq!(wire.request("POST", MAPS, &[("Content-Type", JSON)], &ours("target")).code, 201);
    let path = &format!("{MAPS}/target");
    let before = wire.get(path);
    // Each doubles what there is: a terabyte after forty.
    let doubling: Vec<_> = (0..40)
        .map(|number| json!({"op": "copy", "from": "/data", "path": format!("/data/{number}")}))
        .collect();
    let many = vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); 10_001];
    let texts = [json!(doubling).to_string(), json!(many).to_string()];
    let (json_patch, merge) = ("application/json-patch+json", "application/merge-patch+json");
    let (strategic, apply) = ("application/strategic-merge-patch+json", "application/apply-patch+yaml");
    let patches: [(&str, &str, &str); 19] = [
        ("an object", json_patch, "{}"),
        ("cut", json_patch, r#"[{"op":"add""#),
        ("no operation", json_patch, r#"[{"path":"/data/a"}]"#),
        ("an unknown operation", json_patch, r#"[{"op":"explode","path":"/data/a"}]"#),
        ("nothing there", json_patch, r#"[{"op":"remove","path":"/data/none"}]"#),
        ("no pointer", json_patch, r#"[{"op":"remove","path":"data"}]"#),
        ("a move into itself", json_patch, r#"[{"op":"move","from":"/data","path":"/data/a/b"}]"#),
        (
            "a test that fails",
            json_patch,
            r#"[{"op":"remove","path":"/data/a"},{"op":"test","path":"/kind","value":"Pod"}]"#,
        ),
        ("the whole removed", json_patch, r#"[{"op":"remove","path":""}]"#),
        ("a terabyte of copies", json_patch, &texts[0]),
        ("too many operations", json_patch, &texts[1]),
        ("a list", merge, "[1]"),
        ("cut", merge, r#"{"data":"#),
        ("a number where text belongs", merge, r#"{"data":{"a":1}}"#),
        ("another name", merge, r#"{"metadata":{"name":"else"}}"#),
        ("an unknown directive", strategic, r#"{"$patch":"explode"}"#),
        ("a list", strategic, "[]"),
        ("no field manager", apply, r#"{"apiVersion":"v1","kind":"ConfigMap"}"#),
        ("a tab", apply, "data:\n\ta"),
    ];
    for (what, content_type, body) in patches {
        let reply = wire.request("PATCH", path, &[("Content-Type", content_type)], body.as_bytes());
        let status = reply.json();
        let is_refused = matches!(reply.code, 400 | 413 | 422) && status["kind"] == "Status";
        assert!(is_refused && status["code"] == reply.code, "{what}, {content_type}: {reply:?}");
    }
    let reply = wire.request("PATCH", path, &[("Content-Type", JSON)], b"{}");
    reply.assert_refused("no patch's type", 415, "UnsupportedMediaType");
    assert_eq!(wire.get(path), before);
    node.running().assert_quiet();
}

/// The most memory that a process has had since the mark was set back.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the status of podling");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_body_of_100_mib_is_refused_and_not_held() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &["--no-node"]);
    let wire = Wire::of(&node.kubeconfig());
    wire.get("/version");
    let pid = node.running().pid();
    // proc(5): the peak is counted anew.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("setting the mark back");
    let before = peak_kib(pid);
    let block = vec![b'x'; 1 << 20];

    let mut told = wire.connect();
    let _ = told.send(head("POST", MAPS, &[("Content-Type", JSON)], Some(100 << 20)).as_bytes());
    told.reply().assert_refused("a length of 100 MiB", 413, "RequestEntityTooLarge");

    let mut sending = wire.connect();
    let _ = sending.send(head("POST", MAPS, &[("Content-Type", JSON)], Some(100 << 20)).as_bytes());
    let sent = (0..100).take_while(|_| sending.send(&block).is_ok()).count();
    assert!(sent < 100, "all of it was taken");

    let mut chunked = wire.connect();
    let headers = [("Content-Type", JSON), ("Transfer-Encoding", "chunked")];
    let _ = chunked.send(head("POST", MAPS, &headers, None).as_bytes());
    for _ in 0..4 {
        let _ = chunked.send(b"100000\r\n");
        let _ = chunked.send(&block);
        let _ = chunked.send(b"\r\n");
    }
    chunked.reply().assert_refused("a body without a length", 413, "RequestEntityTooLarge");

    let grown = peak_kib(pid).saturating_sub(before);
    assert!(grown < GROWTH_LIMIT_KIB, "podling grew by {grown} KiB");
    // What is as large as it may be is taken, unless the object is too large for itself.
    let large = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"a": "x".repeat(1 << 20)}});
    let reply = wire.request("POST", MAPS, &[("Content-Type", JSON)], large.to_string().as_bytes());
    assert_eq!(reply.code, 201, "{}", reply.head);
    let larger = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "larger"}, "data": {"a": "x".repeat(2 << 20)}});
    post(&wire, "a map of 2 MiB", JSON, larger.to_string().as_bytes(), 422, "Invalid");
    node.running().assert_quiet();
}
