//! Tests of the documents: what kubectl looks for in them is there.

use serde_json::{Value, json};

use super::*;
use crate::resource::{Resource, Verb};

fn pods() -> Resource {
    Resource::new("", "v1", "pods", "Pod")
        .status()
        .subresource("eviction", "policy", "v1", "Eviction", &[Verb::Create])
        .connect("exec", "PodExecOptions", &[Verb::Create, Verb::Get])
        .connect("proxy", "PodProxyOptions", &[Verb::Create, Verb::Get])
}

fn nodes() -> Resource {
    Resource::new("", "v1", "nodes", "Node").cluster()
}

fn deployments() -> Resource {
    Resource::new("apps", "v1", "deployments", "Deployment").status().scale()
}

#[test]
fn the_index_has_a_hash_that_changes_with_what_is_served() {
    let (pods, deployments) = (pods(), deployments());
    let both = [Served::built_in(&pods), Served::built_in(&deployments)];
    let index = v3_index(&both, "v1.37.0");
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
    assert_eq!(v3_index(&both, "v1.37.0"), index);
    assert_ne!(v3_index(&both, "v1.37.1")["paths"]["api/v1"], index["paths"]["api/v1"]);
    let custom = Resource::new("x.io", "v1", "foos", "Foo");
    let one = json!({"type": "object"});
    let other = json!({"type": "object", "description": "x"});
    let url = |schema: &Value| {
        v3_index(&[Served { resource: &custom, schema: Some(schema) }], "v")["paths"]["apis/x.io/v1"].clone()
    };
    assert_ne!(url(&one), url(&other));
}

#[test]
fn v3_has_what_explain_and_validation_look_for() {
    let (pods, nodes, deployments) = (pods(), nodes(), deployments());
    let served = [Served::built_in(&pods), Served::built_in(&nodes), Served::built_in(&deployments)];
    let document = v3_document(&served, "", "v1", "v1.37.0").unwrap();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/api/v1/pods",
        "/api/v1/namespaces/{namespace}/pods",
        "/api/v1/namespaces/{namespace}/pods/{name}/status",
        "/api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}",
        "/api/v1/nodes/{name}",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    assert!(!paths.keys().any(|path| path.contains("deployments")));
    let patch = &paths["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "", "kind": "Pod", "version": "v1"})
    );
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let types: Vec<&String> = patch["requestBody"]["content"].as_object().unwrap().keys().collect();
    assert!(types.contains(&&"application/apply-patch+yaml".to_owned()), "{types:?}");
    assert_eq!(
        paths["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"]["x-kubernetes-action"],
        "connect"
    );
    assert_eq!(
        paths["/api/v1/namespaces/{namespace}/pods"]["delete"]["operationId"],
        "deleteCoreV1CollectionNamespacedPod"
    );

    let schemas = document["components"]["schemas"].as_object().unwrap();
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "kind": "Pod", "version": "v1"}])
    );
    assert_eq!(
        pod["properties"]["spec"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.api.core.v1.PodSpec"
    );
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    assert_eq!(
        schemas["io.k8s.api.core.v1.PodList"]["x-kubernetes-group-version-kind"][0]["kind"],
        "PodList"
    );
    assert_eq!(v3_document(&served, "batch", "v1", "v"), None);
    all_references_hold(&document, &document["components"]["schemas"], "#/components/schemas/");
}

#[test]
fn v2_has_no_words_of_v3() {
    let (pods, deployments) = (pods(), deployments());
    let custom = Resource::new("x.io", "v1", "foos", "Foo");
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "mode": {"type": "string", "nullable": true},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
        "items": {"type": "array", "items": {"type": "string"}},
    }}}});
    let served = [
        Served::built_in(&pods),
        Served::built_in(&deployments),
        Served { resource: &custom, schema: Some(&schema) },
    ];
    let document = v2_document(&served, "v1.37.0");
    let foo = &document["definitions"]["io.x.v1.Foo"];
    let spec = &foo["properties"]["spec"]["properties"];
    assert_eq!(spec["port"], json!({"x-kubernetes-int-or-string": true}));
    assert_eq!(spec["mode"], json!({}));
    assert_eq!(spec["any"], json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    assert_eq!(
        spec["items"],
        json!({"type": "array", "items": {"type": "string"}}),
        "a field may be called items"
    );
    assert_eq!(
        foo["properties"]["metadata"]["$ref"],
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    let int_or_string = &document["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!(
        (int_or_string["type"].as_str(), int_or_string["format"].as_str()),
        (Some("string"), Some("int-or-string"))
    );
    assert!(!document.to_string().contains("#/components/"));
    all_references_hold(&document, &document["definitions"], "#/definitions/");
    let bytes = to_protobuf(&document);
    assert!(bytes.len() > 100_000, "{}", bytes.len());
}

fn all_references_hold(value: &Value, definitions: &Value, prefix: &str) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                let name = reference.strip_prefix(prefix).unwrap_or_else(|| panic!("{reference}"));
                assert!(definitions.get(name).is_some(), "{name}");
            }
            members.values().for_each(|inner| all_references_hold(inner, definitions, prefix));
        }
        Value::Array(items) => items.iter().for_each(|inner| all_references_hold(inner, definitions, prefix)),
        _ => {}
    }
}
