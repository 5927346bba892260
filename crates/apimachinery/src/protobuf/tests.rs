//! What kubectl really sends, every form that a field may have, and bytes that mean nothing.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::numbers::{Member, Members};
use super::*;
use crate::schema::Kind;

/// A field with text, bytes or a message.
fn bytes(number: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut field = varint(u64::from(number << 3 | 2));
    field.extend(varint(content.len() as u64));
    field.extend(content);
    field
}

/// A field with a number.
fn int(number: u32, value: i64) -> Vec<u8> {
    [varint(u64::from(number << 3)), varint(value as u64)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, api_version), bytes(2, kind)].concat();
    [MAGIC.to_vec(), bytes(1, type_meta), bytes(2, raw), bytes(3, ""), bytes(4, "")].concat()
}

fn decoded(api_version: &str, kind: &str, raw: &[u8]) -> Decoded {
    read(&envelope(api_version, kind, raw), Definitions::builtin()).unwrap()
}

/// The problem of a body, as the client is told.
fn problem(body: &[u8]) -> String {
    read(body, Definitions::builtin()).unwrap_err().to_string()
}

/// Absence and null are one.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Command, bytes and JSON of everything in captured.txt: kubectl 1.32 with `-v=10`, and what it prints itself with
/// `--dry-run=client -o json`.
fn captured() -> Vec<(&'static str, Vec<u8>, Value)> {
    let blocks = include_str!("tests/captured.txt").split("\n\n").map(|block| {
        let mut lines: Vec<&str> = block.lines().collect();
        let json = serde_json::from_str(lines.pop().unwrap()).unwrap();
        let hex: String = lines[1..].concat();
        let digits = |index: usize| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
        (lines[0], (0..hex.len()).step_by(2).map(digits).collect(), json)
    });
    blocks.collect()
}

#[test]
fn what_kubectl_sends_is_what_it_prints_as_json() {
    let captured = captured();
    assert_eq!(captured.len(), 20);
    for (command, body, expected) in captured {
        let decoded = read(&body, Definitions::builtin()).unwrap();
        assert_eq!(without_nulls(decoded.value), without_nulls(expected), "{command}");
        assert!(decoded.unknown.is_empty() && decoded.duplicates.is_empty(), "{command}");
    }
}

#[test]
fn every_line_of_the_table_is_a_field_of_its_definition() {
    fn walk(name: &str, members: &Members, seen: &mut BTreeSet<&'static str>) -> usize {
        members.values().fold(0, |count, member| match member {
            Member::Embedded(embedded) => count + walk(name, embedded, seen),
            Member::Field { name: field, .. } => {
                assert!(seen.insert(field), "{name}.{field} stands twice");
                count + 1
            }
        })
    }
    let mut fields = 0;
    for name in numbers::names() {
        let Some(Kind::Object(object)) = Definitions::builtin().get(name).map(|schema| &schema.kind) else {
            panic!("{name} is no object")
        };
        let mut seen = BTreeSet::new();
        fields += walk(name, numbers::members(name).unwrap(), &mut seen);
        let strangers: Vec<_> = seen.iter().filter(|field| !object.fields.contains_key(**field)).collect();
        assert!(strangers.is_empty(), "{name}: {strangers:?}");
    }
    let lines = include_str!("numbers.txt").lines().filter(|line| line.starts_with("  ")).count();
    assert_eq!(fields, lines);
}

#[test]
fn fields_without_a_number_are_the_newest_ones() {
    let mut missing = Vec::new();
    for (name, schema) in Definitions::builtin().iter() {
        let Kind::Object(object) = &schema.kind else { continue };
        let Some(members) = numbers::members(name) else {
            missing.push(name.rsplit('.').next().unwrap().to_owned());
            continue;
        };
        let written = format!("{members:?}");
        for field in object.fields.keys().filter(|field| !matches!(field.as_str(), "apiVersion" | "kind")) {
            if !written.contains(&format!("name: {field:?}")) {
                missing.push(format!("{}.{field}", name.rsplit('.').next().unwrap()));
            }
        }
    }
    // Since 1.36; a client that sets one of them is told so.
    expect_test::expect![[r#"
        TokenRequestSpec.attestations
        HorizontalPodAutoscalerCondition.observedGeneration
        JobSchedulingConfiguration
        JobSpec.scheduling
        ClusterTrustBundleProjection.user
        ConfigMapVolumeSource.defaultUser
        DownwardAPIVolumeFile.user
        DownwardAPIVolumeSource.defaultUser
        EmptyDirVolumeSource.mode
        EvictionResponder
        GRPCAction.mode
        HTTPGetAction.protocol
        ImageVolumeStatus
        KeyToPath.user
        NodeAllocatableMappedResources
        NodeAllocatableOverheadResources
        NodeAllocatableResourceClaimStatus
        NodePodPreemptionPolicy
        NodeSpec.podPreemptionPolicy
        NodeSystemInfo.runningInUserNamespace
        PersistentVolumeClaimStatus.healthStatus
        PodCertificateProjection.user
        PodSchedulingGroup
        PodSpec.evictionResponders
        PodSpec.schedulingGroup
        PodStatus.nodeAllocatableResourceClaimStatuses
        PodStatus.volumeHealth
        PodVolumeHealth
        ProjectedVolumeSource.defaultUser
        ResourceHealth.message
        SecretVolumeSource.defaultUser
        ServiceAccountTokenProjection.user
        VolumeHealthCondition
        VolumeHealthStatus
        VolumeMount.bindMountOptions
        VolumeMountStatus.volumeStatus
        VolumeStatus
        TopologyConstraint
        WorkloadPodGroupDisruptionMode
        WorkloadPodGroupGangSchedulingPolicy
        WorkloadPodGroupResourceClaim
        WorkloadPodGroupSchedulingConstraints
        WorkloadPodGroupSchedulingPolicy
        CSIDriverSpec.preventPodSchedulingIfMissing
        CSINode.status
        CSINodeStatus
        StorageHealth
        StorageHealthCondition
        ListMeta.shardInfo
        ShardInfo"#]]
    .assert_eq(&missing.join("\n"));
}

#[test]
fn a_scalar_that_is_always_written_is_omitted_when_it_is_zero() {
    let context = bytes(14, [int(4, 0), int(3, 0)].concat());
    let spec = [bytes(3, ""), int(4, 0), int(11, 0), context.clone(), int(12, 0)].concat();
    let metadata = [bytes(1, "p"), bytes(3, ""), bytes(8, "")].concat();
    let pod = [bytes(1, metadata), bytes(2, spec), bytes(3, bytes(1, ""))].concat();
    assert_eq!(
        decoded("v1", "Pod", &pod).value,
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            // Pointers: zero is a value.
            "spec": {"terminationGracePeriodSeconds": 0, "securityContext": {"supplementalGroups": [0], "runAsNonRoot": false}},
            "status": {},
        })
    );
}

#[test]
fn every_form_of_a_pods_fields_is_read() {
    let probe = bytes(
        10,
        bytes(
            1,
            bytes(2, [bytes(1, "/"), bytes(2, [int(1, 1), int(2, 0), bytes(3, "web")].concat())].concat()),
        ),
    );
    let limit = bytes(1, [bytes(1, "cpu"), bytes(2, bytes(1, "500m"))].concat());
    let nothing = bytes(1, bytes(1, "memory"));
    let env = bytes(
        7,
        [bytes(1, "A"), bytes(2, ""), bytes(3, bytes(3, [bytes(1, bytes(1, "cm")), bytes(2, "k")].concat()))]
            .concat(),
    );
    let container = [bytes(1, "c"), env, bytes(8, [limit, nothing].concat()), probe].concat();
    let ephemeral = [bytes(1, [bytes(1, "e"), bytes(2, "i")].concat()), bytes(2, "c")].concat();
    let volume = [bytes(1, "v"), bytes(2, bytes(2, bytes(1, "Memory")))].concat();
    // Groups: packed, and one by one.
    let groups = [bytes(4, [varint(1), varint(2)].concat()), int(4, 3)].concat();
    let spec = [bytes(1, volume), bytes(2, container), bytes(34, ephemeral), bytes(14, groups), int(25, -5)]
        .concat();
    assert_eq!(
        decoded("v1", "Pod", &bytes(2, spec)).value["spec"],
        json!({
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
            "containers": [{
                "name": "c",
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}],
                "resources": {"limits": {"cpu": "500m", "memory": "0"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "web"}},
            }],
            "ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "c"}],
            "securityContext": {"supplementalGroups": [1, 2, 3]},
            "priority": -5,
        })
    );
}

#[test]
fn messages_that_json_writes_otherwise_are_read() {
    let lease =
        bytes(2, [bytes(1, "me"), bytes(4, [int(1, 1_700_000_000), int(2, 1_234_999)].concat())].concat());
    assert_eq!(
        decoded("coordination.k8s.io/v1", "Lease", &lease).value["spec"],
        json!({"holderIdentity": "me", "renewTime": "2023-11-14T22:13:20.001234Z"})
    );
    let managed =
        [bytes(1, "m"), bytes(4, int(1, 1_700_000_000)), bytes(7, bytes(1, "{\"f:data\":{}}"))].concat();
    let secret = [
        bytes(1, bytes(17, managed)),
        bytes(2, [bytes(1, "k"), bytes(2, [0xff, 0])].concat()),
        bytes(2, bytes(1, "empty")),
    ]
    .concat();
    let secret = decoded("v1", "Secret", &secret).value;
    assert_eq!(secret["data"], json!({"k": "/wA=", "empty": ""}));
    assert_eq!(
        secret["metadata"]["managedFields"],
        json!([{"manager": "m", "time": "2023-11-14T22:13:20Z", "fieldsV1": {"f:data": {}}}])
    );
    let extra = bytes(5, [bytes(1, "scopes"), bytes(2, [bytes(1, "a"), bytes(1, "b")].concat())].concat());
    let review = decoded("authorization.k8s.io/v1", "SubjectAccessReview", &bytes(2, extra)).value;
    assert_eq!(review["spec"], json!({"extra": {"scopes": ["a", "b"]}}));
    let revision = [bytes(2, bytes(1, "{\"spec\":[1]}")), int(3, 7)].concat();
    let revision = decoded("apps/v1", "ControllerRevision", &revision).value;
    assert_eq!((&revision["data"], &revision["revision"]), (&json!({"spec": [1]}), &json!(7)));
}

#[test]
fn a_schema_of_a_custom_kind_is_read() {
    let double =
        |number: u32, value: f64| [varint(u64::from(number << 3 | 1)), value.to_le_bytes().to_vec()].concat();
    let leaf = [bytes(5, "number"), double(9, 2.0), double(11, 0.5), bytes(8, bytes(1, "1.5"))].concat();
    let schema = [
        bytes(29, [bytes(1, "a.b"), bytes(2, leaf)].concat()),
        bytes(24, bytes(1, bytes(5, "string"))),
        bytes(30, int(1, 1)),
        bytes(32, [bytes(1, "x.y"), bytes(2, bytes(2, "z"))].concat()),
        int(38, 1),
    ]
    .concat();
    let version =
        [bytes(1, "v1"), int(2, 1), int(3, 1), bytes(4, bytes(1, schema)), bytes(5, bytes(1, ""))].concat();
    let crd =
        decoded("apiextensions.k8s.io/v1", "CustomResourceDefinition", &bytes(2, bytes(7, version))).value;
    assert_eq!(
        crd["spec"]["versions"][0],
        json!({
            "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {
                "properties": {"a.b": {"type": "number", "maximum": 2, "minimum": 0.5, "default": 1.5}},
                "items": {"type": "string"},
                "additionalProperties": true,
                "dependencies": {"x.y": ["z"]},
                "x-kubernetes-preserve-unknown-fields": true,
            }},
        })
    );
}

#[test]
fn options_of_a_deletion_are_of_every_group() {
    let options = [int(1, 0), bytes(2, bytes(1, "u")), bytes(4, "Foreground")].concat();
    assert_eq!(
        decoded("apps/v1", "DeleteOptions", &options).value,
        json!({
            "apiVersion": "apps/v1", "kind": "DeleteOptions",
            "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}, "propagationPolicy": "Foreground",
        })
    );
}

#[test]
fn a_message_that_stands_twice_is_one() {
    let pod =
        [bytes(1, bytes(1, "a")), bytes(1, [bytes(1, "b"), bytes(3, "n")].concat()), bytes(1, bytes(3, ""))];
    assert_eq!(decoded("v1", "Pod", &pod.concat()).value["metadata"], json!({"name": "b"}));
}

#[test]
fn numbers_that_are_not_known_are_named_unless_they_are_empty() {
    // clusterName, which kubectl wrote until 1.23.
    let metadata = bytes(1, [bytes(1, "c"), bytes(15, "")].concat());
    assert!(decoded("v1", "ConfigMap", &metadata).unknown.is_empty());
    let container = bytes(2, [int(999, 1), bytes(998, "x"), int(999, 2)].concat());
    assert_eq!(
        decoded("v1", "Pod", &bytes(2, container)).unknown,
        ["spec.containers[0].999", "spec.containers[0].998"]
    );
}

#[test]
fn json_may_be_in_the_envelope() {
    let raw = br#"{"kind":"ConfigMap","data":{"a":"1","a":"2"}}"#;
    let body = [MAGIC.to_vec(), bytes(2, raw), bytes(4, "application/json")].concat();
    let decoded = read(&body, Definitions::builtin()).unwrap();
    assert_eq!(decoded.value, json!({"kind": "ConfigMap", "data": {"a": "2"}}));
    assert_eq!(decoded.duplicates, ["data.a"]);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let pod = |raw: Vec<u8>| problem(&envelope("v1", "Pod", &raw));
    let packed = |number, text| problem(&[MAGIC.to_vec(), bytes(number, text)].concat());
    let deep = (0..200).fold(Vec::new(), |inner, _| bytes(28, inner));
    let deep = bytes(2, bytes(7, bytes(4, bytes(1, deep))));
    let deep = problem(&envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", &deep));
    assert!(deep.contains("not.not") && deep.ends_with("exceeded max depth"), "{deep}");
    let late = bytes(1, bytes(8, int(1, 1 << 50)));
    let told = [
        problem(b"{}"),
        problem(b"k8s\0\xff"),
        packed(3, "gzip"),
        packed(4, "text/plain"),
        problem(&envelope("v1", "Chair", b"")),
        problem(&envelope("example.com/v1", "Pod", b"")),
        pod(vec![0x0a, 0x05, 0x01]),
        pod(bytes(1, int(1, 1))),
        pod(bytes(1, bytes(1, [0xff]))),
        pod(int(1, 1)),
        pod(bytes(1, bytes(11, [int(0, 1), bytes(2, "b")].concat()))),
        pod(bytes(2, bytes(2, [0x0b, 0x0c]))),
        pod(late),
        pod([vec![0x08], vec![0xff; 11]].concat()),
        problem(&envelope("apps/v1", "ControllerRevision", &bytes(2, bytes(1, "{")))),
    ];
    expect_test::expect![[r#"
        provided data does not appear to be a protobuf message, expected prefix [107, 56, 115, 0]
        the envelope of the protobuf message cannot be read: unexpected EOF
        the object in the protobuf message is encoded as "gzip": send it as it is
        the object in the protobuf message is of "text/plain": send application/vnd.kubernetes.protobuf or application/json
        no kind "Chair" is registered for version "v1" as protobuf: send it as JSON
        no kind "Pod" is registered for version "example.com/v1" as protobuf: send it as JSON
        the protobuf message cannot be read at "": unexpected EOF
        the protobuf message cannot be read at "metadata.name": wrong wire type for a string
        the protobuf message cannot be read at "metadata.name": invalid UTF-8
        the protobuf message cannot be read at "metadata": wrong wire type for a message
        the protobuf message cannot be read at "metadata.labels": illegal tag 0
        the protobuf message cannot be read at "spec.containers[0]": illegal wire type 3
        the protobuf message cannot be read at "metadata.creationTimestamp": time out of range
        the protobuf message cannot be read at "": integer overflow
        the protobuf message cannot be read at "data": invalid JSON: EOF while parsing an object at line 1 column 1"#]].assert_eq(&told.join("\n"));
}

proptest! {
    #[test]
    fn no_object_makes_the_reader_panic(raw: Vec<u8>, name in 0usize..400) {
        let name = numbers::names().nth(name).unwrap();
        let mut decoder = Decoder::new(Definitions::builtin());
        let _ = decoder.message(&raw, name, &mut Map::new());
    }

    #[test]
    fn no_change_of_a_real_body_makes_the_reader_panic(which in 0usize..20, place: prop::sample::Index, byte: u8) {
        let (_, mut body, _) = captured().swap_remove(which);
        let place = place.index(body.len());
        body[place] = byte;
        let _ = read(&body, Definitions::builtin());
        body.truncate(place);
        let _ = read(&body, Definitions::builtin());
    }

    #[test]
    fn numbers_and_texts_read_as_they_were_written(number: i64, small: i32, text in "\\PC{1,20}") {
        let pod = bytes(2, [int(4, number), int(25, small.into()), bytes(16, &text)].concat());
        prop_assert_eq!(
            &decoded("v1", "Pod", &pod).value["spec"],
            &json!({"terminationGracePeriodSeconds": number, "priority": small, "hostname": text})
        );
    }
}
