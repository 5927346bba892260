//! Bodies as client-go writes them, and bytes that are none.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
}

fn read_as(definition: &str, bytes: &[u8]) -> Value {
    let read = read(bytes, definition, Definitions::builtin()).expect("readable");
    assert_eq!(read.unknown, [""; 0]);
    read.value
}

#[test]
fn a_config_map_of_kubectl_is_read() {
    // `kubectl create configmap a --from-literal=k=1`, as kubectl 1.32 sends it: zeros of metadata and all.
    let metadata =
        [field(1, b"a"), field(2, b""), field(3, b""), field(5, b""), number(7, 0), field(8, b"")].concat();
    let entry = [field(1, b"k"), field(2, b"1")].concat();
    let bytes = envelope("v1", "ConfigMap", &[field(1, &metadata), field(2, &entry)].concat());
    assert_eq!(
        read_as("io.k8s.api.core.v1.ConfigMap", &bytes),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}})
    );
}

#[test]
fn a_service_keeps_ports_by_name_and_number() {
    let port = |target: Vec<u8>| [field(2, b"TCP"), number(3, 80), field(4, &target), number(5, 0)].concat();
    let by_number = port([number(1, 0), number(2, 90), field(3, b"")].concat());
    let by_name = port([number(1, 1), number(2, 0), field(3, b"web")].concat());
    let spec = [field(1, &by_number), field(1, &by_name)].concat();
    let bytes = envelope("v1", "Service", &field(2, &spec));
    assert_eq!(
        read_as("io.k8s.api.core.v1.Service", &bytes)["spec"]["ports"],
        json!([
            {"protocol": "TCP", "port": 80, "targetPort": 90},
            {"protocol": "TCP", "port": 80, "targetPort": "web"},
        ])
    );
}

#[test]
fn embedded_structs_and_quantities_are_read() {
    let volume = [field(1, b"v"), field(2, &field(2, &field(1, b"Memory")))].concat();
    let amount = [field(1, b"cpu"), field(2, &field(1, b"500m"))].concat();
    let container = [field(1, b"c"), field(8, &field(1, &amount)), number(16, 0)].concat();
    let container = container[..container.len() - 2].to_vec();
    let spec = [field(1, &volume), field(2, &container)].concat();
    let bytes = envelope("v1", "Pod", &field(2, &spec));
    assert_eq!(
        read_as("io.k8s.api.core.v1.Pod", &bytes)["spec"],
        json!({
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "500m"}}}],
        })
    );
}

#[test]
fn zeros_that_say_something_stay() {
    let bytes = envelope("apps/v1", "Deployment", &field(2, &number(1, 0)));
    assert_eq!(read_as("io.k8s.api.apps.v1.Deployment", &bytes)["spec"], json!({"replicas": 0}));
}

#[test]
fn a_field_that_is_not_known_is_named() {
    let bytes = envelope("v1", "ConfigMap", &field(15, b"x"));
    let read = read(&bytes, "io.k8s.api.core.v1.ConfigMap", Definitions::builtin()).expect("readable");
    assert_eq!(read.unknown, ["ConfigMap field 15"]);
}

#[test]
fn every_line_of_the_table_is_of_a_definition() {
    for line in NUMBERS.lines() {
        let (definition, fields) = line.split_once(' ').expect("fields");
        let Some(Kind::Object(object)) = Definitions::builtin().get(definition).map(|schema| &schema.kind)
        else {
            panic!("{definition} is no object");
        };
        for name in fields.split(' ').filter_map(|entry| entry.split_once('=')).map(|(name, _)| name) {
            assert!(object.fields.contains_key(name), "{definition}.{name}");
        }
        assert!(!slots(definition).expect("numbers").is_empty());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let body = [MAGIC, &bytes].concat();
        let _ = read(&body, "io.k8s.api.core.v1.Pod", Definitions::builtin());
        let inner = envelope("v1", "Pod", &bytes);
        let _ = read(&inner, "io.k8s.api.core.v1.Pod", Definitions::builtin());
    }
}
