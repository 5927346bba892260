//! Nodes and Pods that fit, and the words for those that do not.

use super::*;
use serde_json::json;

fn node(name: &str, extra: Value) -> Arc<Value> {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "disk": "ssd", "rank": "5"}},
        "spec": {},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}},
    });
    merge(&mut node, &extra);
    Arc::new(node)
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn pod(name: &str, extra: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "d", "name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "a:1"}]},
    });
    merge(&mut pod, &extra);
    pod
}

fn asking(name: &str, cpu: &str) -> Value {
    let container = json!({"name": "main", "image": "a:1", "resources": {"requests": {"cpu": cpu}}});
    pod(name, json!({"spec": {"containers": [container]}}))
}

fn find(world: &World, pod: &Value) -> Result<String, String> {
    world.find(&Needs::of(pod).unwrap())
}

fn one_node() -> World {
    let mut world = World::default();
    world.set_node(node("n1", json!({})));
    world
}

#[test]
fn what_is_asked_for_must_be_left() {
    let mut world = one_node();
    let first = asking("a", "1500m");
    assert_eq!(find(&world, &first).as_deref(), Ok("n1"));
    world.assume("d/a".to_owned(), "n1", load(&first).unwrap(), &first);
    let second = asking("b", "1");
    assert_eq!(find(&world, &second).unwrap_err(), "0/1 nodes are available: 1 Insufficient cpu.");
    // When the first ends, there is room.
    let mut ended = first.clone();
    merge(&mut ended, &json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Succeeded"}}));
    assert!(world.set_pod("d/a".to_owned(), &ended));
    assert_eq!(find(&world, &second).as_deref(), Ok("n1"));
}

#[test]
fn a_resize_that_gives_something_back_makes_room() {
    let mut world = one_node();
    let placed = |cpu: &str| {
        let mut pod = asking("a", cpu);
        merge(&mut pod, &json!({"spec": {"nodeName": "n1"}}));
        pod
    };
    assert!(!world.set_pod("d/a".to_owned(), &placed("2")));
    assert!(find(&world, &asking("b", "1")).is_err());
    assert!(world.set_pod("d/a".to_owned(), &placed("1")));
    assert!(find(&world, &asking("b", "1")).is_ok());
}

#[test]
fn a_port_of_the_node_is_given_once() {
    let mut world = one_node();
    let with_port = |name: &str, ip: &str| {
        let port = json!({"containerPort": 80, "hostPort": 8080, "hostIP": ip});
        pod(name, json!({"spec": {"containers": [{"name": "m", "image": "a:1", "ports": [port]}]}}))
    };
    let first = with_port("a", "127.0.0.1");
    world.assume("d/a".to_owned(), "n1", load(&first).unwrap(), &first);
    assert_eq!(find(&world, &with_port("b", "127.0.0.2")).as_deref(), Ok("n1"));
    let why = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. \
               Port 8080/TCP of node n1 is held by Pod d/a.";
    assert_eq!(find(&world, &with_port("b", "0.0.0.0")).unwrap_err(), why);
}

#[test]
fn too_many_pods_and_no_node() {
    let mut world = one_node();
    for name in ["a", "b", "c"] {
        let pod = pod(name, json!({}));
        world.assume(format!("d/{name}"), "n1", load(&pod).unwrap(), &pod);
    }
    assert_eq!(find(&world, &pod("e", json!({}))).unwrap_err(), "0/1 nodes are available: 1 Too many pods.");
    assert_eq!(
        find(&World::default(), &pod("e", json!({}))).unwrap_err(),
        "no nodes available to schedule pods"
    );
}

#[test]
fn selectors_and_affinity_choose_nodes() {
    let world = one_node();
    let affinity = |expression: Value| {
        let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
        find(&world, &pod("a", json!({"spec": {"affinity": {"nodeAffinity": required}}})))
    };
    assert!(find(&world, &pod("a", json!({"spec": {"nodeSelector": {"disk": "ssd"}}}))).is_ok());
    let refused = find(&world, &pod("a", json!({"spec": {"nodeSelector": {"disk": "tape"}}})));
    let why = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    assert_eq!(refused.unwrap_err(), why);
    assert!(affinity(json!({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]})).is_ok());
    assert!(affinity(json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]})).is_err());
    assert!(affinity(json!({"key": "rank", "operator": "Gt", "values": ["4"]})).is_ok());
    assert!(affinity(json!({"key": "rank", "operator": "Lt", "values": ["5"]})).is_err());
    assert!(affinity(json!({"key": "gpu", "operator": "DoesNotExist"})).is_ok());
}

#[test]
fn taints_and_cordons_keep_away_whoever_does_not_tolerate_them() {
    let mut world = World::default();
    let taint = json!({"key": "gpu", "value": "yes", "effect": "NoSchedule"});
    world.set_node(node("n1", json!({"spec": {"taints": [taint]}})));
    let why = "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.";
    assert_eq!(find(&world, &pod("a", json!({}))).unwrap_err(), why);
    let tolerant = |toleration: Value| pod("a", json!({"spec": {"tolerations": [toleration]}}));
    assert!(find(&world, &tolerant(json!({"key": "gpu", "operator": "Exists"}))).is_ok());
    assert!(find(&world, &tolerant(json!({"key": "gpu", "value": "no"}))).is_err());
    world.set_node(node("n1", json!({"spec": {"unschedulable": true, "taints": []}})));
    let why = "0/1 nodes are available: 1 node(s) were unschedulable.";
    assert_eq!(find(&world, &pod("a", json!({}))).unwrap_err(), why);
    assert!(find(&world, &tolerant(json!({"operator": "Exists"}))).is_ok());
}

#[test]
fn pods_may_want_each_other_near_or_far() {
    let mut world = one_node();
    let term = |app: &str| {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}]})
    };
    let near = |name: &str, app: &str| pod(name, json!({"spec": {"affinity": {"podAffinity": term(app)}}}));
    let far =
        |name: &str, app: &str| pod(name, json!({"spec": {"affinity": {"podAntiAffinity": term(app)}}}));
    assert!(find(&world, &near("web", "db")).is_err());
    // The first of a group that wants to be together.
    assert!(find(&world, &near("web", "web")).is_ok());
    let lonely = far("db", "web");
    world.assume("d/db".to_owned(), "n1", load(&lonely).unwrap(), &lonely);
    assert!(find(&world, &near("app", "db")).is_ok());
    let why = "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.";
    assert_eq!(find(&world, &pod("web", json!({}))).unwrap_err(), why);
    let why = "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.";
    assert_eq!(find(&world, &far("app", "db")).unwrap_err(), why);
}

#[test]
fn room_that_was_only_assumed_is_given_back() {
    let mut world = one_node();
    let first = asking("a", "1500m");
    world.assume("d/a".to_owned(), "n1", load(&first).unwrap(), &first);
    assert!(find(&world, &asking("b", "1")).is_err());
    assert!(world.withdraw("d/a"));
    assert!(find(&world, &asking("b", "1")).is_ok());
    // What the API has said is not taken back by a binding that failed.
    let mut bound = first.clone();
    bound["spec"]["nodeName"] = json!("n1");
    world.assume("d/a".to_owned(), "n1", load(&first).unwrap(), &first);
    world.set_pod("d/a".to_owned(), &bound);
    assert!(!world.withdraw("d/a"));
    assert!(find(&world, &asking("b", "1")).is_err());
}
