//! `metadata`: name, namespace, labels, annotations.

use std::collections::BTreeMap;

use super::{check, ruled};
use crate::manifest::report::Report;
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::Meta;

/// All annotations of an object together, as Kubernetes limits them.
const MOST_ANNOTATION_BYTES: usize = 256 << 10;

/// Reads an object's metadata.
pub(crate) fn meta(report: &mut Report<'_, '_>, object: &Node) -> Meta {
    let Some(node) = object.get("metadata") else {
        report.required_because(object, "metadata.name", "name is required", None);
        return Meta { namespace: "default".to_owned(), generation: 1, ..Meta::default() };
    };
    if node.get("name").is_none_or(|name| name.as_text() == Some("")) {
        let hint = node.get("generateName").map(|_| "podling does not generate names: give it one");
        report.required_because(node, "name", "name is required", hint);
    }
    let name = ruled(report, node, "name", names::dns_subdomain).unwrap_or_default();
    let namespace = ruled(report, node, "namespace", names::dns_label).unwrap_or("default");
    let annotations = texts(node, "annotations");
    let annotation_bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if let Some(node) = node.get("annotations") {
        if annotation_bytes > MOST_ANNOTATION_BYTES {
            report.too_long(node, MOST_ANNOTATION_BYTES, "");
        }
        keys(report, node);
    }
    if let Some(labels) = node.get("labels") {
        keys(report, labels);
        for entry in labels.entries() {
            if let Some(value) = entry.value.as_text() {
                check(report, &entry.value, value, names::label_value);
            }
        }
    }
    Meta {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        uid: String::new(),
        labels: texts(node, "labels"),
        annotations,
        generation: 1,
    }
}

/// Keys of labels and annotations are qualified names.
fn keys(report: &mut Report<'_, '_>, node: &Node) {
    for (index, entry) in node.entries().iter().enumerate() {
        if let Err(broken) = names::qualified_name(&entry.key) {
            report.invalid_key(node, index, broken);
        }
    }
}

fn texts(node: &Node, field: &str) -> BTreeMap<String, String> {
    let entries = node.get(field).map(Node::entries).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((entry.key.clone(), entry.value.as_text()?.to_owned()))).collect()
}
