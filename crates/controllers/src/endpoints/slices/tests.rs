//! Services, Pods, and the endpoints that follow.

use super::*;

fn service(extra: Value) -> Value {
    let mut service = json!({
        "metadata": {"namespace": "d", "name": "web", "uid": "s-1", "labels": {"team": "a"}},
        "spec": {
            "selector": {"app": "web"}, "ipFamilies": ["IPv4"], "clusterIP": "10.0.0.1",
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
        },
    });
    if let (Some(spec), Some(extra)) = (service["spec"].as_object_mut(), extra.as_object()) {
        spec.extend(extra.clone());
    }
    service
}

fn pod(name: &str, ip: &str, ready: bool, port: u16) -> Value {
    json!({
        "metadata": {"namespace": "d", "name": name, "uid": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "web", "containerPort": port}]}]},
        "status": {
            "phase": "Running", "podIP": ip,
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    })
}

#[test]
fn readiness_decides() {
    let (a, b) = (pod("a", "10.1.0.2", true, 8080), pod("b", "10.1.0.3", false, 8080));
    let slices = plan(&service(json!({})), &[&b, &a]);
    assert_eq!(slices.len(), 1);
    let slice = slices.values().next().unwrap();
    assert!(slice["metadata"]["name"].as_str().unwrap().starts_with("web-"));
    assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    let conditions: Vec<&Value> = slice["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| &endpoint["conditions"]["ready"])
        .collect();
    assert_eq!(conditions, [&json!(true), &json!(false)]);
    let older = endpoints(&service(json!({})), &[&a, &b]);
    assert_eq!(older["subsets"][0]["addresses"][0]["ip"], "10.1.0.2");
    assert_eq!(older["subsets"][0]["notReadyAddresses"][0]["ip"], "10.1.0.3");
}

#[test]
fn who_terminates_serves_but_is_not_ready() {
    let mut leaving = pod("a", "10.1.0.2", true, 80);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let slices = plan(&service(json!({})), &[&leaving]);
    let conditions = &slices.values().next().unwrap()["endpoints"][0]["conditions"];
    assert_eq!(*conditions, json!({"ready": false, "serving": true, "terminating": true}));
    assert!(endpoints(&service(json!({})), &[&leaving]).get("subsets").is_none());
    let all = service(json!({"publishNotReadyAddresses": true}));
    assert_eq!(plan(&all, &[&leaving]).values().next().unwrap()["endpoints"][0]["conditions"]["ready"], true);
}

#[test]
fn who_has_ended_or_has_no_address_is_no_endpoint() {
    let mut ended = pod("a", "10.1.0.2", true, 80);
    ended["status"]["phase"] = json!("Succeeded");
    let without = pod("b", "", false, 80);
    let slices = plan(&service(json!({})), &[&ended, &without]);
    assert_eq!(slices.len(), 1);
    assert_eq!(slices.values().next().unwrap()["endpoints"], json!([]));
}

#[test]
fn other_numbers_for_a_named_port_are_other_slices() {
    let (a, b) = (pod("a", "10.1.0.2", true, 8080), pod("b", "10.1.0.3", true, 9090));
    let slices = plan(&service(json!({})), &[&a, &b]);
    let ports: Vec<i64> = slices.values().map(|slice| slice["ports"][0]["port"].as_i64().unwrap()).collect();
    assert_eq!(ports.iter().sum::<i64>(), 8080 + 9090);
    assert_eq!(slices.len(), 2);
}

#[test]
fn a_slice_holds_a_hundred() {
    let pods: Vec<Value> =
        (0..250).map(|i| pod(&format!("p{i:03}"), &format!("10.1.1.{i}"), true, 80)).collect();
    let slices = plan(&service(json!({})), &pods.iter().collect::<Vec<_>>());
    let mut sizes: Vec<usize> =
        slices.values().map(|slice| slice["endpoints"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
    // The same again is the same.
    assert_eq!(slices, plan(&service(json!({})), &pods.iter().rev().collect::<Vec<_>>()));
}

#[test]
fn a_pod_has_a_name_below_its_subdomain() {
    let mut db = pod("db-0", "10.1.0.9", true, 80);
    db["spec"]["hostname"] = json!("db-0");
    db["spec"]["subdomain"] = json!("web");
    let slices = plan(&service(json!({"clusterIP": "None"})), &[&db]);
    let slice = slices.values().next().unwrap();
    assert_eq!(slice["endpoints"][0]["hostname"], "db-0");
    assert_eq!(slice["metadata"]["labels"]["service.kubernetes.io/headless"], "");
}

#[test]
fn a_service_that_selects_nothing_is_somebody_elses() {
    assert!(selector(&service(json!({"selector": null}))).is_none());
    assert!(selector(&service(json!({"selector": {}}))).is_none());
    assert!(selector(&service(json!({"type": "ExternalName"}))).is_none());
    assert!(selector(&service(json!({}))).is_some());
}
