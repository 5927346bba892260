//! Requests within the process: what every kind has in common.

mod harness;

use harness::Harness;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}})
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let harness = Harness::new().await;
    let made = harness.post(MAPS, &map("a", "1")).await.expect(201);
    assert_eq!(made["metadata"]["namespace"], "default");
    assert!(made["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36));
    let read = harness.get(&format!("{MAPS}/a")).await.expect(200);
    assert_eq!(read, made);
    let again = harness.post(MAPS, &map("a", "1")).await;
    assert_eq!((again.code, again.message()), (409, "configmaps \"a\" already exists"));
    let mut changed = read.clone();
    changed["data"]["k"] = json!("2");
    let written = harness.put(&format!("{MAPS}/a"), &changed).await.expect(200);
    assert_ne!(written["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"]);
    let stale = harness.put(&format!("{MAPS}/a"), &changed).await;
    assert_eq!((stale.code, stale.body["reason"].as_str()), (409, Some("Conflict")));
    let deleted = harness.delete(&format!("{MAPS}/a")).await.expect(200);
    assert_eq!((&deleted["status"], &deleted["details"]["kind"]), (&json!("Success"), &json!("configmaps")));
    let gone = harness.get(&format!("{MAPS}/a")).await;
    assert_eq!((gone.code, gone.message()), (404, "configmaps \"a\" not found"));
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_version() {
    let harness = Harness::new().await;
    let made = harness.post(MAPS, &map("a", "1")).await.expect(201);
    let same = harness.put(&format!("{MAPS}/a"), &map("a", "1")).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn lists_come_in_pages_of_one_revision() {
    let harness = Harness::new().await;
    for name in ["a", "b", "c", "d"] {
        harness.post(MAPS, &map(name, "1")).await.expect(201);
    }
    let first = harness.get(&format!("{MAPS}?limit=2")).await.expect(200);
    assert_eq!(first["kind"], "ConfigMapList");
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    harness.delete(&format!("{MAPS}/c")).await.expect(200);
    let second = harness.get(&format!("{MAPS}?limit=5&continue={token}")).await.expect(200);
    let names: Vec<&str> = second["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["c", "d"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["metadata"].get("continue"), None);
    let wrong = harness.get(&format!("{MAPS}?continue=bm8")).await;
    assert_eq!(wrong.code, 400);
}

#[tokio::test]
async fn a_watch_tells_what_a_selector_sees() {
    let harness = Harness::new().await;
    let mut seen = harness.watch(&format!("{MAPS}?watch=1&labelSelector=app%3Dx")).await;
    let labelled = |name: &str, app: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": app}}});
    harness.post(MAPS, &labelled("other", "y")).await.expect(201);
    harness.post(MAPS, &labelled("a", "x")).await.expect(201);
    assert_eq!(seen.event().await, "ADDED a");
    harness.put(&format!("{MAPS}/a"), &labelled("a", "y")).await.expect(200);
    assert_eq!(seen.event().await, "DELETED a");
    harness.put(&format!("{MAPS}/a"), &labelled("a", "x")).await.expect(200);
    assert_eq!(seen.event().await, "ADDED a");
    harness.delete(&format!("{MAPS}/a")).await.expect(200);
    assert_eq!(seen.event().await, "DELETED a");
}

#[tokio::test]
async fn a_watch_from_the_future_is_refused() {
    let harness = Harness::new().await;
    let future = harness.get(&format!("{MAPS}?watch=1&resourceVersion=999999")).await;
    assert_eq!((future.code, future.body["reason"].as_str()), (504, Some("Timeout")));
    let nonsense = harness.get(&format!("{MAPS}?watch=1&resourceVersion=abc")).await;
    assert_eq!(nonsense.code, 400);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let harness = Harness::new().await;
    harness.post(MAPS, &map("a", "1")).await.expect(201);
    let path = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = harness.watch(&path).await;
    assert_eq!(watch.event().await, "ADDED a");
    let bookmark = watch.next().await.expect("a document");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
}

#[tokio::test]
async fn names_are_generated_and_checked() {
    let harness = Harness::new().await;
    let object = json!({"metadata": {"generateName": "web-"}});
    let made = harness.post(MAPS, &object).await.expect(201);
    let name = made["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    let wrong = harness.post(MAPS, &map("A_b", "1")).await;
    assert_eq!((wrong.code, wrong.body["reason"].as_str()), (422, Some("Invalid")));
    let none = harness.post(MAPS, &json!({"data": {}})).await;
    assert_eq!(
        none.message(),
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
    let elsewhere = json!({"metadata": {"name": "a", "namespace": "other"}});
    assert_eq!(harness.post(MAPS, &elsewhere).await.code, 400);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let harness = Harness::new().await;
    harness.post(&format!("{MAPS}?dryRun=All"), &map("a", "1")).await.expect(201);
    assert_eq!(harness.get(&format!("{MAPS}/a")).await.code, 404);
    assert_eq!(harness.post(&format!("{MAPS}?dryRun=Some"), &map("a", "1")).await.code, 400);
}

#[tokio::test]
async fn paths_out_of_place_are_refused() {
    let harness = Harness::new().await;
    for (path, code) in [
        ("/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets%2fx", 400),
        ("/api/v1/namespaces/default/configmaps/%00", 400),
        ("/api/v1/namespaces/default/nothing", 404),
        ("/api/v2/pods", 404),
        ("/api/v1/namespaces/default/nodes", 404),
        ("/api/v1/namespaces/default/configmaps/a/status", 404),
        ("/nothing", 404),
    ] {
        let answer = harness.get(path).await;
        assert_eq!(
            (answer.code, answer.body["kind"].as_str()),
            (code, Some("Status")),
            "{path}: {}",
            answer.text
        );
    }
    assert_eq!(harness.send("TRACE", MAPS, "", "").await.code, 405);
}

#[tokio::test]
async fn bodies_that_are_none_are_refused() {
    let harness = Harness::new().await;
    for (content_type, body, code) in [
        ("application/json", "{", 400),
        ("application/json", "[]", 400),
        ("application/json", "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}", 400),
        ("application/vnd.kubernetes.protobuf", "k8s", 400),
        ("application/cbor", "k8s", 415),
    ] {
        let answer = harness.send("POST", MAPS, content_type, body).await;
        assert_eq!(
            (answer.code, answer.body["kind"].as_str()),
            (code, Some("Status")),
            "{body}: {}",
            answer.text
        );
    }
    let huge = format!("{{\"data\":\"{}\"}}", "x".repeat(4 << 20));
    let answer = harness.send("POST", MAPS, "application/json", &huge).await;
    assert_eq!((answer.code, answer.body["reason"].as_str()), (413, Some("RequestEntityTooLarge")));
}

/// A body in protobuf; lengths below 128 are one byte, so that it is text.
fn protobuf(kind: &str, raw: &str) -> String {
    let length = |length: usize| char::from(length as u8);
    let type_meta = format!("\n\u{2}v1\u{12}{}{kind}", length(kind.len()));
    format!("k8s\0\n{}{type_meta}\u{12}{}{raw}", length(type_meta.len()), length(raw.len()))
}

#[tokio::test]
async fn bodies_of_built_in_kinds_may_be_protobuf() {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let harness = Harness::new().await;
    let map = protobuf("ConfigMap", "\n\u{3}\n\u{1}a\u{12}\u{6}\n\u{1}k\u{12}\u{1}v");
    let made = harness.send("POST", MAPS, PROTOBUF, &map).await.expect(201);
    assert_eq!((&made["metadata"]["name"], &made["data"]), (&json!("a"), &json!({"k": "v"})));
    // Field 5, which there is not.
    let strange = protobuf("ConfigMap", "\n\u{3}\n\u{1}b\u{28}\u{1}");
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let refused = harness.send("POST", &strict, PROTOBUF, &strange).await;
    assert!(refused.code == 400 && refused.message().contains("unknown field \"5\""), "{}", refused.text);
    // What the path does not take.
    assert_eq!(harness.send("POST", MAPS, PROTOBUF, &protobuf("Pod", "")).await.code, 400);
    let options = protobuf("DeleteOptions", "\u{12}\u{7}\n\u{5}other");
    let refused = harness.send("DELETE", &format!("{MAPS}/a"), PROTOBUF, &options).await;
    assert_eq!((refused.code, refused.body["reason"].as_str()), (409, Some("Conflict")), "{}", refused.text);
}

#[tokio::test]
async fn nothing_begins_in_a_namespace_that_is_not_there() {
    let harness = Harness::new().await;
    let answer = harness.post("/api/v1/namespaces/none/configmaps", &map("a", "1")).await;
    assert_eq!((answer.code, answer.message()), (404, "namespaces \"none\" not found"));
    assert_eq!(harness.delete("/api/v1/namespaces/default").await.code, 403);
}

#[tokio::test]
async fn a_namespace_ends_when_it_is_finalized() {
    let harness = Harness::new().await;
    let object = json!({"metadata": {"name": "team"}});
    let made = harness.post("/api/v1/namespaces", &object).await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "team"}));
    let ending = harness.delete("/api/v1/namespaces/team").await.expect(200);
    assert_eq!(ending["status"]["phase"], "Terminating");
    let refused = harness.post("/api/v1/namespaces/team/configmaps", &map("a", "1")).await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut last = ending.clone();
    last["spec"]["finalizers"] = json!([]);
    harness.put("/api/v1/namespaces/team/finalize", &last).await.expect(200);
    assert_eq!(harness.get("/api/v1/namespaces/team").await.code, 404);
}

#[tokio::test]
async fn a_finalizer_keeps_an_object() {
    let harness = Harness::new().await;
    let object = json!({"metadata": {"name": "a", "finalizers": ["example.com/keep"]}});
    harness.post(MAPS, &object).await.expect(201);
    let ending = harness.delete(&format!("{MAPS}/a")).await.expect(200);
    assert!(ending["metadata"]["deletionTimestamp"].is_string());
    let merged = harness
        .send(
            "PATCH",
            &format!("{MAPS}/a"),
            "application/merge-patch+json",
            "{\"metadata\":{\"finalizers\":null}}",
        )
        .await;
    merged.expect(200);
    assert_eq!(harness.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn no_update_is_lost() {
    let harness = std::sync::Arc::new(Harness::new().await);
    harness.post(MAPS, &map("count", "0")).await.expect(201);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let harness = std::sync::Arc::clone(&harness);
            tokio::spawn(async move {
                let mut done = 0;
                while done < 10 {
                    let mut object = harness.get(&format!("{MAPS}/count")).await.expect(200);
                    let count: u64 =
                        object["data"]["k"].as_str().and_then(|n| n.parse().ok()).expect("a number");
                    object["data"]["k"] = json!((count + 1).to_string());
                    match harness.put(&format!("{MAPS}/count"), &object).await.code {
                        200 => done += 1,
                        409 => {}
                        code => panic!("{code}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("done");
    }
    let object = harness.get(&format!("{MAPS}/count")).await.expect(200);
    assert_eq!(object["data"]["k"], "80");
}

#[tokio::test]
async fn services_get_addresses_of_their_own() {
    let harness = Harness::new().await;
    let path = "/api/v1/namespaces/default/services";
    let service = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let ports = json!([{"port": 80}]);
    let one = harness.post(path, &service("a", json!({"ports": ports}))).await.expect(201);
    let address = one["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    assert!(address.starts_with("10.96."), "{address}");
    let taken = harness.post(path, &service("b", json!({"ports": ports, "clusterIP": address}))).await;
    assert_eq!(taken.code, 422);
    assert!(taken.message().contains("provided IP is already allocated"), "{}", taken.message());
    harness.delete(&format!("{path}/a")).await.expect(200);
    harness.post(path, &service("b", json!({"ports": ports, "clusterIP": address}))).await.expect(201);
    let node =
        harness.post(path, &service("n", json!({"ports": ports, "type": "NodePort"}))).await.expect(201);
    assert!(node["spec"]["ports"][0]["nodePort"].as_i64().is_some_and(|port| (30000..32768).contains(&port)));
}
