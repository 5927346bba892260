//! Precedence and expansion, case by case.

use std::collections::BTreeMap;

use model::manifest;
use model::pod::{KeyedObject, Meta, ObjectKind, Pod};

use super::{EnvError, Given, command_line, resolve, with_image};
use crate::downward::DownwardApi;

/// A Pod with one container `app`, whose fields after `image` are given as YAML with an indentation of 4.
fn pod(fields: &str) -> Pod {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels: {{tier: web}}\nspec:\n  containers:\n  - name: app\n    image: i\n{fields}"
    );
    let mut manifest = manifest::parse("test.yaml", text.as_bytes()).unwrap();
    manifest.pods.remove(0)
}

fn objects(kind: ObjectKind, name: &str) -> Option<KeyedObject> {
    let data = match (kind, name) {
        (ObjectKind::ConfigMap, "settings") => [("mode", "fast"), ("shared", "from-map")],
        (ObjectKind::Secret, "keys") => [("token", "t0k"), ("shared", "from-secret")],
        _ => return None,
    };
    let data = data.into_iter().map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).collect();
    Some(KeyedObject { kind, meta: Meta::default(), data, immutable: false })
}

fn resolved(fields: &str) -> Result<BTreeMap<String, String>, EnvError> {
    let pod = pod(fields);
    let downward = DownwardApi {
        pod_ips: vec!["10.0.0.2".into(), "fd00::2".into()],
        host_ip: "10.0.0.1".into(),
        node_name: "node".into(),
        allocatable_cpu_millis: 2000,
        allocatable_memory_bytes: 1 << 30,
    };
    resolve(&pod, &pod.spec.containers[0], &downward, &objects)
}

fn value(fields: &str, name: &str) -> String {
    resolved(fields).unwrap().remove(name).unwrap()
}

#[test]
fn later_env_from_wins_and_env_wins_over_both() {
    let both = "    envFrom:\n    - configMapRef: {name: settings}\n    - secretRef: {name: keys}\n";
    assert_eq!(value(both, "shared"), "from-secret");
    assert_eq!(value(both, "mode"), "fast");
    let own = format!("{both}    env:\n    - {{name: shared, value: own}}\n");
    assert_eq!(value(&own, "shared"), "own");
    let prefixed = "    envFrom:\n    - prefix: APP_\n      configMapRef: {name: settings}\n";
    assert_eq!(value(prefixed, "APP_mode"), "fast");
}

#[test]
fn references_see_what_stands_before_them_only() {
    let fields = "    env:\n    - {name: A, value: x}\n    - {name: B, value: $(A)-$(C)-$$(A)}\n    - {name: C, value: later}\n";
    assert_eq!(value(fields, "B"), "x-$(C)-$(A)");
}

#[test]
fn missing_objects_and_keys_are_named_unless_optional() {
    let missing =
        resolved("    env:\n    - name: X\n      valueFrom: {configMapKeyRef: {name: none, key: k}}\n");
    assert_eq!(missing.unwrap_err().to_string(), "configmap \"none\" not found");
    let no_key = resolved("    env:\n    - name: X\n      valueFrom: {secretKeyRef: {name: keys, key: k}}\n");
    assert_eq!(no_key.unwrap_err().to_string(), "couldn't find key k in Secret default/keys");
    let optional = resolved(
        "    env:\n    - name: X\n      valueFrom: {secretKeyRef: {name: keys, key: k, optional: true}}\n",
    );
    assert!(!optional.unwrap().contains_key("X"));
}

#[test]
fn fields_and_resources_of_the_pod() {
    let field = |path: &str| {
        format!("    env:\n    - name: X\n      valueFrom: {{fieldRef: {{fieldPath: {path}}}}}\n")
    };
    assert_eq!(value(&field("metadata.name"), "X"), "p");
    assert_eq!(value(&field("status.podIP"), "X"), "10.0.0.2");
    assert_eq!(value(&field("status.podIPs"), "X"), "10.0.0.2,fd00::2");
    assert_eq!(value(&field("\"metadata.labels['tier']\""), "X"), "web");
    let resource = |resource: &str, divisor: &str| {
        format!(
            "    resources: {{limits: {{memory: 64Mi}}, requests: {{cpu: 250m}}}}\n    env:\n    - name: X\n      \
             valueFrom: {{resourceFieldRef: {{resource: {resource}, divisor: {divisor}}}}}\n"
        )
    };
    assert_eq!(value(&resource("limits.memory", "1Mi"), "X"), "64");
    assert_eq!(value(&resource("requests.cpu", "1m"), "X"), "250");
    assert_eq!(value(&resource("requests.cpu", "\"1\""), "X"), "1", "rounded up");
    assert_eq!(value(&resource("limits.cpu", "\"1\""), "X"), "2", "the node's, when there is no limit");
}

#[test]
fn the_image_is_weaker_than_the_manifest() {
    let variables = BTreeMap::from([("A".to_owned(), "manifest".to_owned())]);
    let given = Given { hostname: "pod", home: "/root", tty: true };
    let environment =
        with_image(&["PATH=/bin".into(), "A=image".into(), "B=image".into()], &variables, &given);
    assert_eq!(
        environment,
        ["PATH=/bin", "HOSTNAME=pod", "HOME=/root", "TERM=xterm", "A=manifest", "B=image"]
    );
}

#[test]
fn command_and_args_combine_as_in_kubernetes() {
    let image = (vec!["/entry".to_owned()], vec!["cmd".to_owned()]);
    let line = |fields: &str| {
        let pod = pod(fields);
        let variables = BTreeMap::from([("N".to_owned(), "7".to_owned())]);
        command_line(&pod.spec.containers[0], &image.0, &image.1, &variables).unwrap().join(" ")
    };
    assert_eq!(line(""), "/entry cmd");
    assert_eq!(line("    args: [a]\n"), "/entry a");
    assert_eq!(line("    command: [c]\n"), "c");
    assert_eq!(line("    command: [c, $(N)]\n    args: [$$(N)]\n"), "c 7 $(N)");
    let pod = pod("");
    assert_eq!(command_line(&pod.spec.containers[0], &[], &[], &BTreeMap::new()), None);
}
