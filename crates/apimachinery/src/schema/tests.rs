//! Tests of schemas: the built-in ones as Kubernetes has them, and custom ones from their text.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::field_error::FieldError;

fn built_in(name: &str) -> &'static Schema {
    Definitions::builtin().get(name).map(Arc::as_ref).unwrap()
}

fn field<'a>(definition: &'a Schema, name: &str) -> &'a Field {
    match &definition.kind {
        Kind::Object(object) => &object.fields[name],
        other => panic!("{other:?} has no fields"),
    }
}

#[test]
fn every_definition_is_json_and_refers_to_definitions() {
    fn references(schema: &Schema, found: &mut Vec<String>) {
        match &schema.kind {
            Kind::Reference(name) => found.push(name.clone()),
            Kind::List { items, .. } => references(items, found),
            Kind::Map { values, .. } => references(values, found),
            Kind::Object(object) => object.fields.values().for_each(|field| references(&field.schema, found)),
            _ => {}
        }
    }
    let definitions = Definitions::builtin();
    let mut count = 0;
    for (name, schema) in definitions.iter() {
        assert!(
            definitions.document(name).is_some_and(|document| document.get("description").is_some()
                || document.get("properties").is_some()
                || document.get("type").is_some()),
            "{name}"
        );
        let mut found = Vec::new();
        references(schema, &mut found);
        for reference in found {
            assert!(definitions.get(&reference).is_some(), "{name} refers to {reference}");
        }
        count += 1;
    }
    assert!(count > 400, "{count}");
}

#[test]
fn lists_merge_as_kubernetes_merges_them() {
    let ports = field(built_in("io.k8s.api.core.v1.Container"), "ports");
    let Kind::List { list_type, patch, items } = &ports.schema.kind else { panic!("no list") };
    let keys = vec!["containerPort".to_owned(), "protocol".to_owned()];
    assert_eq!(*list_type, ListType::Map { keys });
    assert_eq!(*patch, PatchStrategy::Merge { key: Some("containerPort".to_owned()), retains_keys: false });
    let port = Definitions::builtin().resolve(items);
    assert_eq!(field(port, "protocol").schema.default, Some(json!("TCP")));

    let volumes = field(built_in("io.k8s.api.core.v1.PodSpec"), "volumes");
    let Kind::List { patch, .. } = &volumes.schema.kind else { panic!("no list") };
    assert_eq!(*patch, PatchStrategy::Merge { key: Some("name".to_owned()), retains_keys: true });

    let finalizers = field(built_in("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"), "finalizers");
    let Kind::List { list_type, patch, .. } = &finalizers.schema.kind else { panic!("no list") };
    assert_eq!(*list_type, ListType::Set);
    assert_eq!(*patch, PatchStrategy::Merge { key: None, retains_keys: false });

    let deployment = built_in("io.k8s.api.apps.v1.DeploymentSpec");
    assert!(field(deployment, "strategy").retains_keys);
    assert!(field(built_in("io.k8s.api.policy.v1.PodDisruptionBudgetSpec"), "selector").is_replaced);
    let Kind::Object(selector) = &built_in("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector").kind else {
        panic!("no object")
    };
    assert!(selector.is_atomic);
}

fn pod(value: Value) -> (Value, Result<Conformed, WrongType>) {
    let mut value = value;
    let outcome = conform(&mut value, built_in("io.k8s.api.core.v1.Pod"), Definitions::builtin());
    (value, outcome)
}

#[test]
fn unknown_fields_go_and_are_named() {
    let (value, outcome) = pod(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "creationTimestamp": null, "labels": {"any": "x"}, "nam": 1},
        "spec": {"foo": 1, "containers": [{"name": "c", "imge": "x", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]},
    }));
    assert_eq!(outcome.unwrap().unknown, ["metadata.nam", "spec.foo", "spec.containers[0].imge"]);
    assert_eq!(
        value,
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"any": "x"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]},
        })
    );
}

#[test]
fn a_value_of_another_type_is_refused_with_its_place() {
    let wrong = |spec: Value, expected: Expect| {
        let (_, outcome) = pod(json!({"spec": spec}));
        expected.assert_eq(&outcome.unwrap_err().to_string());
    };
    wrong(
        json!({"containers": "x"}),
        expect![
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"
        ],
    );
    wrong(
        json!({"containers": [{"ports": [{"containerPort": "80"}]}]}),
        expect![
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers[0].ports[0].containerPort of type int32"
        ],
    );
    wrong(
        json!({"terminationGracePeriodSeconds": 1.5}),
        expect![
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"
        ],
    );
    wrong(
        json!({"nodeSelector": {"a": 1}}),
        expect![
            "json: cannot unmarshal number into Go struct field PodSpec.spec.nodeSelector.a of type string"
        ],
    );
    wrong(
        json!({"containers": [{"resources": {"limits": {"cpu": "abc"}}}]}),
        expect![
            "spec.containers[0].resources.limits.cpu: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        ],
    );
}

/// The schema of the example in Kubernetes' documentation.
fn cron_tab() -> Value {
    json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "required": ["replicas"],
            "properties": {
                "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(\\s+(\\d+|\\*)){4}$"},
                "image": {"type": "string", "default": "cron"},
                "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
                "size": {"x-kubernetes-int-or-string": true},
                "mode": {"type": "string", "enum": ["a", "b"], "nullable": true},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "hosts": {
                    "type": "array", "maxItems": 2, "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "maxLength": 3}}},
                },
            },
        }},
    })
}

fn texts(errors: &[FieldError]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn a_custom_object_is_pruned_defaulted_and_validated() {
    let custom = CustomSchema::parse(&cron_tab(), "schema").unwrap();
    assert!(custom.warnings.is_empty());
    let mut value = json!({
        "apiVersion": "x/v1", "kind": "CronTab", "metadata": {"name": "a", "creationTimestamp": null, "bad": 1}, "extra": 1,
        "spec": {"replicas": 2, "mode": null, "size": "5%", "free": {"any": [1]}, "image": null, "other": {}, "hosts": [{"name": "a", "x": 1}]},
    });
    let definitions = Definitions::builtin();
    let unknown = prune(&mut value, &custom.schema, definitions);
    assert_eq!(unknown, ["metadata.bad", "extra", "spec.other", "spec.hosts[0].x"]);
    fill_defaults(&mut value, &custom.schema, definitions);
    assert_eq!(value["spec"]["image"], "cron");
    assert_eq!(value["spec"]["free"], json!({"any": [1]}));
    assert_eq!(validate(&value, &custom.schema, definitions, ""), []);
}

#[test]
fn what_a_custom_object_breaks_is_said_in_the_words_of_kubernetes() {
    let custom = CustomSchema::parse(&cron_tab(), "schema").unwrap();
    let check = |spec: Value| {
        let value = json!({"apiVersion": "x/v1", "kind": "CronTab", "spec": spec});
        texts(&validate(&value, &custom.schema, Definitions::builtin(), ""))
    };
    expect![[r#"
        spec.cronSpec: Invalid value: "* * * *": spec.cronSpec in body should match '^(\d+|\*)(\s+(\d+|\*)){4}$'
        spec.hosts: Too many: 3: must have at most 2 items
        spec.hosts[1]: Duplicate value: {"name":"a"}
        spec.hosts[2].name: Too long: may not be more than 3 bytes
        spec.mode: Unsupported value: "c": supported values: "a", "b"
        spec.replicas: Invalid value: 15: spec.replicas in body should be less than or equal to 10
        spec.size: Invalid value: "boolean": spec.size in body must be of type integer,string: "boolean"
    "#]]
    .assert_eq(&check(json!({
        "cronSpec": "* * * *", "replicas": 15, "mode": "c", "size": true,
        "hosts": [{"name": "a"}, {"name": "a"}, {"name": "long"}],
    })));
    expect![[r#"
        spec.image: Invalid value: "integer": spec.image in body must be of type string: "integer"
        spec.replicas: Required value
    "#]]
    .assert_eq(&check(json!({"image": 5})));
}

#[test]
fn what_is_not_structural_is_refused() {
    let check = |document: Value| texts(&CustomSchema::parse(&document, "s").unwrap_err());
    expect![[r#"
        s.type: Required value: must not be empty at the root
    "#]]
    .assert_eq(&check(json!({})));
    expect![[r#"
        s.properties[b].type: Required value: must not be empty for specified object fields
        s.properties[c].items: Required value: must be specified
        s.properties[d].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map
        s.properties[e].type: Unsupported value: "strin": supported values: "array", "boolean", "integer", "number", "object", "string"
        s.properties[f].default: Invalid value: "string": s.properties[f].default in body must be of type integer: "string"
        s.properties[g].$ref: Forbidden: $ref is not supported
    "#]]
    .assert_eq(&check(json!({"type": "object", "properties": {
        "b": {},
        "c": {"type": "array"},
        "d": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"},
        "e": {"type": "strin"},
        "f": {"type": "integer", "default": "x"},
        "g": {"type": "object", "$ref": "#/x"},
    }})));
}

#[test]
fn of_metadata_only_names_may_be_restricted() {
    let document = |field: &str| {
        json!({"type": "object", "properties": {"metadata": {"type": "object",
            "properties": {field: {"type": "string", "maxLength": 3}}}}})
    };
    expect![[r#"
        s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified
    "#]]
    .assert_eq(&texts(&CustomSchema::parse(&document("labels"), "s").unwrap_err()));
    let custom = CustomSchema::parse(&document("name"), "s").unwrap();
    let check = |name: &str| {
        let object =
            json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": name, "labels": {"a": "b"}}});
        validate(&object, &custom.schema, Definitions::builtin(), "").len()
    };
    assert_eq!((check("abc"), check("abcd")), (0, 1));
}

#[test]
fn rules_that_are_not_evaluated_are_told() {
    let document = json!({"type": "object", "x-kubernetes-validations": [{"rule": "true"}]});
    let custom = CustomSchema::parse(&document, "s").unwrap();
    assert_eq!(custom.warnings.len(), 1);
}

#[test]
fn junctions_hold_as_json_schema_says() {
    let document = json!({"type": "object", "properties": {"a": {"type": "integer",
        "oneOf": [{"minimum": 5}, {"maximum": 7}], "not": {"enum": [9]}}}});
    let custom = CustomSchema::parse(&document, "s").unwrap();
    let check = |a: i64| {
        texts(&validate(
            &json!({"apiVersion": "", "kind": "", "a": a}),
            &custom.schema,
            Definitions::builtin(),
            "",
        ))
    };
    assert_eq!(check(3), "");
    expect![[r#"
        a: Invalid value: 6: a in body must validate one and only one schema (oneOf). Found more than one valid
    "#]]
    .assert_eq(&check(6));
    expect![[r#"
        a: Invalid value: 9: a in body must not validate the schema (not)
    "#]]
    .assert_eq(&check(9));
}
