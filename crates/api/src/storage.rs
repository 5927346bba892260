//! How an object lies in the store: JSON without its resourceVersion, which is the store's own and put back when it is read.
//!
//! `apiVersion`, `kind` and `metadata` come first in the bytes, so that a list is made of them by inserting the
//! resourceVersion at a known place, without reading the JSON: that is what makes long lists fast.

use serde_json::{Map, Value};

use crate::respond::Failure;

/// What stands in front of the place where the resourceVersion belongs.
const BEFORE: &[u8] = b"\"metadata\":{";

/// The bytes of an object. Its resourceVersion is left out, and the fields that name it come first.
pub(crate) fn encode(object: &Value) -> Vec<u8> {
    let Some(fields) = object.as_object() else { return b"{}".to_vec() };
    let mut ordered = Map::with_capacity(fields.len());
    for first in ["apiVersion", "kind"] {
        ordered.insert(first.to_owned(), fields.get(first).cloned().unwrap_or_default());
    }
    let mut metadata = fields.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    metadata.shift_remove("resourceVersion");
    ordered.insert("metadata".to_owned(), Value::Object(metadata));
    for (name, value) in fields {
        if !ordered.contains_key(name) {
            ordered.insert(name.clone(), value.clone());
        }
    }
    serde_json::to_vec(&ordered).unwrap_or_default()
}

/// The object of stored bytes, in the version in which it is stored.
pub(crate) fn decode(bytes: &[u8], revision: u64) -> Result<Value, Failure> {
    let mut object: Value =
        serde_json::from_slice(bytes).map_err(|error| Failure::internal("read a stored object", &error))?;
    object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
    Ok(object)
}

/// Writes stored bytes with their resourceVersion; only for kinds that are served as they are stored.
pub(crate) fn write_served(out: &mut Vec<u8>, bytes: &[u8], revision: u64) {
    let found = bytes.windows(BEFORE.len()).position(|window| window == BEFORE);
    let Some(at) = found.map(|at| at + BEFORE.len()) else {
        return out.extend_from_slice(bytes);
    };
    out.extend_from_slice(&bytes[..at]);
    out.extend_from_slice(b"\"resourceVersion\":\"");
    out.extend_from_slice(revision.to_string().as_bytes());
    out.push(b'"');
    if bytes.get(at) != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(&bytes[at..]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_comes_back_with_its_resource_version() {
        let object = json!({
            "data": {"metadata": "{\"metadata\":{"}, "kind": "ConfigMap",
            "metadata": {"name": "a", "resourceVersion": "3"}, "apiVersion": "v1",
        });
        let bytes = encode(&object);
        assert!(
            bytes.starts_with(b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}")
        );
        let mut served = Vec::new();
        write_served(&mut served, &bytes, 7);
        let served: Value = serde_json::from_slice(&served).expect("JSON");
        let mut expected = object;
        expected["metadata"]["resourceVersion"] = json!("7");
        assert_eq!(served, expected);
    }

    #[test]
    fn empty_metadata_is_no_trap() {
        let mut served = Vec::new();
        write_served(&mut served, &encode(&json!({"kind": "A"})), 1);
        let served: Value = serde_json::from_slice(&served).expect("JSON");
        assert_eq!(served["metadata"], json!({"resourceVersion": "1"}));
    }
}
