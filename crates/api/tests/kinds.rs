//! Requests within the process: what single kinds and subresources do.

mod harness;

use harness::Harness;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A namespace has a ServiceAccount before it has Pods; controllers make it.
async fn with_account() -> Harness {
    let harness = Harness::new().await;
    let account = json!({"metadata": {"name": "default"}});
    harness.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    harness
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "busybox:1"}]},
    })
}

#[tokio::test]
async fn a_pod_is_completed_and_bound_and_ends_gracefully() {
    let harness = with_account().await;
    let made = harness.post(PODS, &pod("a")).await.expect(201);
    assert_eq!(made["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["priority"], 0);
    assert_eq!(made["metadata"]["generation"], 1);
    let mount = &made["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    harness.post(&format!("{PODS}/a/binding"), &binding).await.expect(201);
    let again = harness.post(&format!("{PODS}/a/binding"), &binding).await;
    assert_eq!(again.code, 409, "{}", again.text);
    let bound = harness.get(&format!("{PODS}/a")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "n");
    assert_eq!(bound["metadata"]["generation"], 1, "nothing else is asked for than before");
    let mut status = bound.clone();
    status["status"]["phase"] = json!("Running");
    status["spec"]["nodeName"] = json!("other");
    let status = harness.put(&format!("{PODS}/a/status"), &status).await.expect(200);
    assert_eq!((&status["status"]["phase"], &status["spec"]["nodeName"]), (&json!("Running"), &json!("n")));
    let ending = harness.delete(&format!("{PODS}/a")).await.expect(200);
    assert_eq!(ending["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(ending["metadata"]["generation"], 2);
    harness.delete(&format!("{PODS}/a?gracePeriodSeconds=0")).await.expect(200);
    assert_eq!(harness.get(&format!("{PODS}/a")).await.code, 404);
}

#[tokio::test]
async fn a_pod_is_validated_and_only_images_may_change() {
    let harness = with_account().await;
    let mut wrong = pod("a");
    wrong["spec"]["containers"][0]["name"] = json!("C");
    let answer = harness.post(PODS, &wrong).await;
    assert_eq!(
        (answer.code, answer.body["details"]["causes"][0]["field"].as_str()),
        (422, Some("spec.containers[0].name"))
    );
    harness.post(PODS, &pod("a")).await.expect(201);
    let strategic = "application/strategic-merge-patch+json";
    let image = "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox:2\"}]}}";
    let changed = harness.send("PATCH", &format!("{PODS}/a"), strategic, image).await.expect(200);
    assert_eq!(changed["spec"]["containers"][0]["image"], "busybox:2");
    assert_eq!(changed["metadata"]["generation"], 2);
    let policy = "{\"spec\":{\"restartPolicy\":\"Never\"}}";
    let refused = harness.send("PATCH", &format!("{PODS}/a"), strategic, policy).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let resize =
        "{\"spec\":{\"containers\":[{\"name\":\"c\",\"resources\":{\"requests\":{\"cpu\":\"1\"}}}]}}";
    let resized = harness.send("PATCH", &format!("{PODS}/a/resize"), strategic, resize).await;
    // A Pod without requests may not become one of another class.
    assert_eq!(resized.code, 422, "{}", resized.text);
    let shell = "{\"spec\":{\"ephemeralContainers\":[{\"name\":\"d\",\"image\":\"busybox:1\"}]}}";
    let debugged =
        harness.send("PATCH", &format!("{PODS}/a/ephemeralcontainers"), strategic, shell).await.expect(200);
    assert_eq!(debugged["spec"]["ephemeralContainers"][0]["name"], "d");
    harness
        .send("PATCH", &format!("{PODS}/a"), strategic, "{\"metadata\":{\"labels\":{\"x\":\"y\"}}}")
        .await
        .expect(200);
}

#[tokio::test]
async fn a_namespace_without_account_takes_no_pod() {
    let harness = Harness::new().await;
    let answer = harness.post(PODS, &pod("a")).await;
    assert_eq!(answer.code, 403);
    assert!(
        answer.message().contains("error looking up service account default/default"),
        "{}",
        answer.message()
    );
}

#[tokio::test]
async fn eviction_asks_the_budget() {
    let harness = with_account().await;
    harness.post(PODS, &pod("a")).await.expect(201);
    let mut status = harness.get(&format!("{PODS}/a")).await.expect(200);
    status["status"]["phase"] = json!("Running");
    status["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    harness.put(&format!("{PODS}/a/status"), &status).await.expect(200);
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    harness.post(budgets, &budget).await.expect(201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    let refused = harness.post(&format!("{PODS}/a/eviction"), &eviction).await;
    assert_eq!((refused.code, refused.body["reason"].as_str()), (429, Some("TooManyRequests")));
    harness.delete(&format!("{budgets}/b")).await.expect(200);
    harness.post(&format!("{PODS}/a/eviction"), &eviction).await.expect(201);
    assert_eq!(harness.get(&format!("{PODS}/a")).await.code, 404);
}

#[tokio::test]
async fn fields_are_owned_and_conflicts_told() {
    let harness = Harness::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments/d";
    let deployment = |replicas: i64| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
            },
        })
        .to_string()
    };
    let apply = "application/apply-patch+yaml";
    let made = harness.send("PATCH", &format!("{path}?fieldManager=one"), apply, &deployment(1)).await;
    assert!(
        made.warnings.iter().any(|warning| warning.contains("nothing acts on this kind")),
        "{:?}",
        made.warnings
    );
    let made = made.expect(201);
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "one");
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Apply");
    let same =
        harness.send("PATCH", &format!("{path}?fieldManager=one"), apply, &deployment(1)).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let conflict = harness.send("PATCH", &format!("{path}?fieldManager=two"), apply, &deployment(2)).await;
    assert_eq!(conflict.code, 409);
    assert!(conflict.message().contains("conflict with \"one\": .spec.replicas"), "{}", conflict.message());
    let forced = format!("{path}?fieldManager=two&force=true");
    let forced = harness.send("PATCH", &forced, apply, &deployment(2)).await.expect(200);
    assert_eq!((&forced["spec"]["replicas"], &forced["metadata"]["generation"]), (&json!(2), &json!(2)));
    let scale = harness.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(2), &json!("a=b")));
    let merge = "application/merge-patch+json";
    harness.send("PATCH", &format!("{path}/scale"), merge, "{\"spec\":{\"replicas\":0}}").await.expect(200);
    assert_eq!(harness.get(path).await.expect(200)["spec"]["replicas"], 0);
}

#[tokio::test]
async fn fields_that_are_not_known_are_told_as_asked() {
    let harness = Harness::new().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let body = "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"1\",\"k\":\"2\"},\"more\":1}";
    let strict =
        harness.send("POST", &format!("{path}?fieldValidation=Strict"), "application/json", body).await;
    assert_eq!(strict.code, 400);
    assert!(strict.message().contains("unknown field \"more\""), "{}", strict.message());
    assert!(strict.message().contains("duplicate field \"data.k\""), "{}", strict.message());
    let warned = harness.send("POST", path, "application/json", body).await;
    assert_eq!((warned.code, warned.warnings.len()), (201, 2), "{:?}", warned.warnings);
    assert_eq!(warned.body.get("more"), None);
    let wrong =
        harness.send("POST", path, "application/json", "{\"metadata\":{\"name\":\"b\"},\"data\":[]}").await;
    assert_eq!(wrong.code, 400, "{}", wrong.text);
}

#[tokio::test]
async fn a_definition_becomes_a_kind() {
    let harness = Harness::new().await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tabs.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "tabs", "kind": "Tab", "shortNames": ["tb"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["size"], "properties": {
                        "size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red"},
                    }},
                    "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
                }}},
            }],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = harness.post(definitions, &definition).await.expect(201);
    assert_eq!(made["status"]["conditions"][1]["type"], "Established");
    let discovered = harness.get("/apis/example.com/v1").await.expect(200);
    assert_eq!(discovered["resources"][0]["shortNames"], json!(["tb"]));
    let path = "/apis/example.com/v1/namespaces/default/tabs";
    let tab = json!({"apiVersion": "example.com/v1", "kind": "Tab", "metadata": {"name": "t"}, "spec": {"size": 2, "other": 1}, "status": {"ready": true}});
    let stored = harness.post(path, &tab).await.expect(201);
    assert_eq!(stored["spec"], json!({"size": 2, "color": "red"}));
    assert_eq!(stored.get("status"), None);
    let wrong = json!({"apiVersion": "example.com/v1", "kind": "Tab", "metadata": {"name": "u"}, "spec": {"size": 0}});
    assert_eq!(harness.post(path, &wrong).await.code, 422);
    let table = harness
        .send_with("GET", path, &[("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")], "")
        .await
        .expect(200);
    assert_eq!(table["rows"][0]["cells"], json!(["t", 2]));
    harness.delete(&format!("{definitions}/tabs.example.com")).await.expect(200);
    assert_eq!(harness.get(path).await.code, 404);
    harness.post(definitions, &definition).await.expect(201);
    assert_eq!(harness.get(path).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn events_have_two_faces() {
    let harness = Harness::new().await;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Started", "message": "hello",
        "type": "Normal", "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
    });
    harness.post("/api/v1/namespaces/default/events", &event).await.expect(201);
    let new = harness.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.expect(200);
    assert_eq!(
        (&new["note"], &new["regarding"]["name"], &new["apiVersion"]),
        (&json!("hello"), &json!("p"), &json!("events.k8s.io/v1"))
    );
    let found =
        harness.get("/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dp").await.expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    let none = harness.get("/api/v1/events?fieldSelector=involvedObject.name%3Dq").await.expect(200);
    assert_eq!(none["items"], json!([]));
    assert_eq!(harness.get("/api/v1/pods?fieldSelector=spec.what%3Dq").await.code, 400);
}

#[tokio::test]
async fn tokens_are_issued_and_give_nothing_by_themselves() {
    let harness = with_account().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = harness.post(path, &json!({"spec": {"expirationSeconds": 600}})).await.expect(201);
    let token = issued["status"]["token"].as_str().expect("a token").to_owned();
    let ask = |path: &'static str, token: String| {
        let harness = &harness;
        async move {
            let request = http::Request::get(path).header("authorization", format!("Bearer {token}"));
            let body = http_body_util::BodyExt::boxed(http_body_util::BodyExt::map_err(
                http_body_util::Full::new(bytes::Bytes::new()),
                |never| match never {},
            ));
            let request = request.body(body).expect("a request");
            harness.api.handle(request, api::Peer::default()).await.status().as_u16()
        }
    };
    assert_eq!(ask("/api/v1/namespaces/default/pods", token.clone()).await, 403);
    assert_eq!(ask("/api", token.clone()).await, 200);
    assert_eq!(ask("/api", format!("{token}x")).await, 401);
    assert_eq!(ask("/api", String::new()).await, 401);
    assert_eq!(ask("/healthz", String::new()).await, 200);
    let short = harness.post(path, &json!({"spec": {"expirationSeconds": 5}})).await;
    assert_eq!(short.code, 422);
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let review = harness.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:default");
    let binding = json!({
        "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    harness.post(bindings, &binding).await.expect(201);
    assert_eq!(ask("/api/v1/namespaces/default/pods", token.clone()).await, 200);
    assert_eq!(ask("/api/v1/namespaces/default/secrets", token.clone()).await, 403);
    harness.delete(&format!("{bindings}/b")).await.expect(200);
    assert_eq!(ask("/api/v1/namespaces/default/pods", token.clone()).await, 403);
    harness.delete("/api/v1/namespaces/default/serviceaccounts/default").await.expect(200);
    assert_eq!(ask("/api", token).await, 401);
}

#[tokio::test]
async fn documents_are_served() {
    let harness = Harness::new().await;
    let all =
        [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")];
    let groups = harness.send_with("GET", "/apis", &all, "").await.expect(200);
    assert_eq!(groups["kind"], "APIGroupDiscoveryList");
    let index = harness.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["api/v1"]["serverRelativeURL"].as_str().expect("a link").to_owned();
    let document = harness.get(&url).await.expect(200);
    assert!(document["components"]["schemas"]["io.k8s.api.core.v1.Pod"].is_object());
    let old = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let old = harness.send_with("GET", "/openapi/v2", &old, "").await;
    assert!(old.code == 200 && old.text.len() > 100_000);
    assert_eq!(harness.get("/version").await.expect(200)["minor"], "37");
    assert!(harness.get("/readyz?verbose").await.text.ends_with("readyz check passed\n"));
    let metrics = harness.get("/metrics").await.text;
    assert!(metrics.contains("podling_store_objects"), "{metrics}");
    assert!(harness.get("/openid/v1/jwks").await.body["keys"].is_array());
    let yaml =
        harness.send_with("GET", "/api/v1/namespaces/default", &[("accept", "application/yaml")], "").await;
    assert!(yaml.text.starts_with("apiVersion: v1\nkind: Namespace\n"), "{}", yaml.text);
}

#[tokio::test]
async fn a_selector_finds_the_zero_that_is_left_out() {
    let harness = Harness::new().await;
    for (name, spec) in [("a", json!({})), ("b", json!({"unschedulable": true}))] {
        harness.post("/api/v1/nodes", &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    }
    for (selector, expected) in [
        ("spec.unschedulable=false", "a"),
        ("spec.unschedulable!=false", "b"),
        ("spec.unschedulable=true", "b"),
    ] {
        let list = harness.get(&format!("/api/v1/nodes?fieldSelector={selector}")).await.expect(200);
        let names: Vec<_> =
            list["items"].as_array().into_iter().flatten().map(|node| &node["metadata"]["name"]).collect();
        assert_eq!(names, [expected], "{selector}");
    }
}
