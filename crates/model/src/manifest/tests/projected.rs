//! `projected` and `downwardAPI` volumes: what arrives, and what is refused in Kubernetes' words.

use expect_test::expect;

use super::*;
use crate::manifest::ProblemKind;
use crate::pod::{
    DownwardFile, DownwardValue, KeyToPath, ObjectKind, Projection, TokenProjection, VolumeSource,
};

/// The volume `v` with that source, in a Pod that mounts it.
fn volume(source: &str) -> String {
    pod(&format!(
        "containers: [{{name: a, image: b, volumeMounts: [{{name: v, mountPath: /v}}]}}]\nvolumes:\n- name: v\n  {source}\n"
    ))
}

fn source(text: &str) -> VolumeSource {
    let mut manifest = accepted(&volume(text));
    assert_eq!(manifest.warnings, []);
    manifest.pods[0].spec.volumes.remove(0).source
}

fn field(path: &str, mode: Option<u32>, field: &str) -> DownwardFile {
    DownwardFile { path: path.into(), mode, value: DownwardValue::Field(field.into()) }
}

#[test]
fn every_source_arrives() {
    let read = source(
        "projected: {defaultMode: 0440, sources: [{serviceAccountToken: {path: token}}, {serviceAccountToken: {path: v, audience: vault, expirationSeconds: 600}}, {configMap: {name: c, items: [{key: k, path: p, mode: 0400}]}}, {secret: {name: s, optional: true}}, {downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}}]}",
    );
    let token = |audience: Option<&str>, expiration_seconds, path: &str| {
        let audience = audience.map(str::to_owned);
        Projection::Token(TokenProjection { audience, expiration_seconds, path: path.into() })
    };
    let items = vec![KeyToPath { key: "k".into(), path: "p".into(), mode: Some(0o400) }];
    let sources = vec![
        token(None, 3600, "token"),
        token(Some("vault"), 600, "v"),
        Projection::Object { kind: ObjectKind::ConfigMap, name: "c".into(), items, optional: false },
        Projection::Object { kind: ObjectKind::Secret, name: "s".into(), items: vec![], optional: true },
        Projection::DownwardApi(vec![field("namespace", None, "metadata.namespace")]),
    ];
    assert_eq!(read, VolumeSource::Projected { sources, default_mode: 0o440 });
    let objects: Vec<_> = read.objects().collect();
    assert_eq!(objects, [(ObjectKind::ConfigMap, "c"), (ObjectKind::Secret, "s")]);
    assert_eq!(read.tokens().map(|token| token.path.as_str()).collect::<Vec<_>>(), ["token", "v"]);
}

#[test]
fn fields_and_resources_become_files() {
    let read = source(
        "downwardAPI: {items: [{path: labels, mode: 0400, fieldRef: {fieldPath: metadata.labels}}, {path: a/b, fieldRef: {fieldPath: \"metadata.annotations['x']\"}}, {path: m, resourceFieldRef: {containerName: a, resource: limits.memory, divisor: 1Mi}}]}",
    );
    let value = DownwardValue::Resource {
        container: "a".into(),
        resource: "limits.memory".into(),
        divisor: "1Mi".parse().expect("a quantity"),
    };
    let items = vec![
        field("labels", Some(0o400), "metadata.labels"),
        field("a/b", None, "metadata.annotations['x']"),
        DownwardFile { path: "m".into(), mode: None, value },
    ];
    assert_eq!(read, VolumeSource::DownwardApi { items, default_mode: 0o644 });
}

#[test]
fn a_source_that_is_not_honoured_is_named_and_makes_no_half_volume() {
    let text = volume(
        "projected: {sources: [{configMap: {name: c}}, {clusterTrustBundle: {name: b, path: ca.crt}}]}",
    );
    let manifest = accepted(&text);
    let expected = VolumeSource::Unsupported { kind: "projected with clusterTrustBundle".into() };
    assert_eq!(manifest.pods[0].spec.volumes[0].source, expected);
    let warned: Vec<_> = manifest.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warned, ["spec.volumes[0].projected.sources[1].clusterTrustBundle"]);
}

#[test]
fn a_source_of_nothing_is_suspicious() {
    let manifest = accepted(&volume("projected: {sources: [{}]}"));
    assert_eq!(manifest.warnings[0].path, "spec.volumes[0].projected.sources[0]");
    assert_eq!(manifest.warnings[0].kind, ProblemKind::Suspicious);
}

#[test]
fn what_kubernetes_refuses_is_refused() {
    let text = volume(
        "projected:\n    defaultMode: 644\n    sources:\n    - {}\n    - {configMap: {}, secret: {name: s}}\n    - serviceAccountToken: {path: ../x, expirationSeconds: 599}\n    - serviceAccountToken: {path: a, expirationSeconds: 4294967297}\n    - secret: {name: s, items: [{key: k, path: a}, {key: k, path: ..b}]}\n    - downwardAPI:\n        items:\n        - {path: a, fieldRef: {fieldPath: metadata.name}}\n        - {path: c, fieldRef: {fieldPath: status.podIP}}\n        - {path: d}\n        - {path: e, resourceFieldRef: {resource: limits.cpu}}\n        - {path: f, fieldRef: {fieldPath: metadata.name}, resourceFieldRef: {containerName: a, resource: limits.cpu}}\n        - {path: /g, mode: 01000, fieldRef: {fieldPath: metadata.uid}}",
    );
    expect![[r#"
        10:20 spec.volumes[0].projected.defaultMode: Invalid value: 644: must be a number between 0 and 0777 (octal), both inclusive  [an octal mode begins with 0: 0644]
        13:21 spec.volumes[0].projected.sources[1].configMap.name: Required value
        13:25 spec.volumes[0].projected.sources[1].secret: Forbidden: may not specify more than 1 volume type per source
        14:37 spec.volumes[0].projected.sources[2].serviceAccountToken.path: Invalid value: "../x": must not contain '..'
        14:62 spec.volumes[0].projected.sources[2].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes
        15:59 spec.volumes[0].projected.sources[3].serviceAccountToken.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds
        16:50 spec.volumes[0].projected.sources[4].secret.items[0].path: Invalid value: "a": conflicting duplicate paths
        16:69 spec.volumes[0].projected.sources[4].secret.items[1].path: Invalid value: "..b": must not start with '..'
        19:20 spec.volumes[0].projected.sources[5].downwardAPI.items[0].path: Invalid value: "a": conflicting duplicate paths
        20:45 spec.volumes[0].projected.sources[5].downwardAPI.items[1].fieldRef.fieldPath: Unsupported value: "status.podIP": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels['KEY']", "metadata.annotations['KEY']"
        21:13 spec.volumes[0].projected.sources[5].downwardAPI.items[2]: Required value: one of fieldRef and resourceFieldRef is required
        22:42 spec.volumes[0].projected.sources[5].downwardAPI.items[3].resourceFieldRef.containerName: Required value
        23:61 spec.volumes[0].projected.sources[5].downwardAPI.items[4].resourceFieldRef: Invalid value: mapping: fieldRef and resourceFieldRef can not be specified simultaneously
        24:20 spec.volumes[0].projected.sources[5].downwardAPI.items[5].path: Invalid value: "/g": must be a relative path
        24:30 spec.volumes[0].projected.sources[5].downwardAPI.items[5].mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive  [an octal mode begins with 0: 0512]
    "#]].assert_eq(&summaries(&refused(&text)));
}
