//! Every definition that the API serves, one a line: crates/apimachinery/src/schema/definitions.json.
//!
//! The file is JSON as a whole, and sorted by name with one definition a line, so that its reader finds one without
//! parsing the others. References stand beside descriptions, as in OpenAPI v2, with the paths of v3. It must not be edited; what `k8s-openapi` does not know stands in
//! extensions.txt, and the kinds of `metrics.k8s.io`, which are not its business, at the end of this file.

use std::collections::BTreeMap;

use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::extensions;

/// The file's text.
pub(super) fn generate() -> Result<String, String> {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut kinds = Vec::new();
    core(&mut generator, &mut kinds);
    workloads(&mut generator, &mut kinds);
    others(&mut generator, &mut kinds);
    generator.subschema_for::<meta::DeleteOptions>();
    generator.subschema_for::<meta::ListMeta>();
    generator.subschema_for::<meta::Status>();
    let mut definitions: BTreeMap<String, Value> = generator.take_definitions(true).into_iter().collect();
    for (name, kind) in kinds {
        let definition =
            definitions.get_mut(&name).ok_or_else(|| format!("there is no definition {name}"))?;
        definition["x-kubernetes-group-version-kind"] = json!([kind]);
    }
    // The types of k8s-openapi always have a metadata; for the API its absence is an empty one.
    definitions.values_mut().for_each(|definition| extensions::require(definition, "metadata", false));
    definitions.extend(metrics());
    extensions::add(&mut definitions)?;
    let mut lines = Vec::new();
    for (name, mut definition) in definitions {
        tidy(&mut definition);
        lines.push(format!("{}:{definition}", Value::String(name)));
    }
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

/// Adds the definition of each type, and its group, version and kind.
macro_rules! kinds {
    ($generator:expr, $kinds:expr; $($type:ty),* $(,)?) => {
        $(
            $generator.subschema_for::<$type>();
            $kinds.push((
                <$type as schemars::JsonSchema>::schema_name().into_owned(),
                json!({
                    "group": <$type as k8s_openapi::Resource>::GROUP,
                    "kind": <$type as k8s_openapi::Resource>::KIND,
                    "version": <$type as k8s_openapi::Resource>::VERSION,
                }),
            ));
        )*
    };
}

fn core(generator: &mut SchemaGenerator, kinds: &mut Vec<(String, Value)>) {
    use api::core::v1 as core;
    kinds!(generator, kinds;
        core::Binding, core::ConfigMap, core::Endpoints, core::Event, core::LimitRange, core::Namespace, core::Node,
        core::PersistentVolume, core::PersistentVolumeClaim, core::Pod, core::PodTemplate,
        core::ReplicationController, core::ResourceQuota, core::Secret, core::Service, core::ServiceAccount,
    );
}

fn workloads(generator: &mut SchemaGenerator, kinds: &mut Vec<(String, Value)>) {
    use api::{apps::v1 as apps, autoscaling, batch::v1 as batch, policy::v1 as policy};
    kinds!(generator, kinds;
        apps::ControllerRevision, apps::DaemonSet, apps::Deployment, apps::ReplicaSet, apps::StatefulSet,
        autoscaling::v1::Scale, autoscaling::v1::HorizontalPodAutoscaler, autoscaling::v2::HorizontalPodAutoscaler,
        batch::CronJob, batch::Job, policy::Eviction, policy::PodDisruptionBudget,
    );
}

fn others(generator: &mut SchemaGenerator, kinds: &mut Vec<(String, Value)>) {
    use api::{authentication::v1 as authentication, authorization::v1 as authorization};
    use api::{networking::v1 as networking, rbac::v1 as rbac, storage::v1 as storage};
    kinds!(generator, kinds;
        authentication::SelfSubjectReview, authentication::TokenRequest, authentication::TokenReview,
        authorization::LocalSubjectAccessReview, authorization::SelfSubjectAccessReview,
        authorization::SelfSubjectRulesReview, authorization::SubjectAccessReview,
        api::certificates::v1::CertificateSigningRequest, api::coordination::v1::Lease,
        api::discovery::v1::EndpointSlice, api::events::v1::Event, networking::IPAddress, networking::Ingress,
        networking::IngressClass, networking::NetworkPolicy, networking::ServiceCIDR, api::node::v1::RuntimeClass,
        rbac::ClusterRole, rbac::ClusterRoleBinding, rbac::Role, rbac::RoleBinding,
        api::scheduling::v1::PriorityClass, storage::CSIDriver, storage::CSINode, storage::CSIStorageCapacity,
        storage::StorageClass, storage::VolumeAttachment, storage::VolumeAttributesClass,
        apiextensions::CustomResourceDefinition, apiregistration::APIService,
    );
}

/// References as OpenAPI v3 writes them, and members in one order whatever the generator's.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref") {
                *reference = reference.replace("#/$defs/", "#/components/schemas/");
            }
            members.values_mut().for_each(tidy);
            members.sort_keys();
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// `metrics.k8s.io/v1beta1`, which Kubernetes' metrics-server serves and `k8s-openapi` does not have.
fn metrics() -> Vec<(String, Value)> {
    let name = |kind: &str| format!("io.k8s.metrics.pkg.apis.metrics.v1beta1.{kind}");
    let reference = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    let described =
        |description: &str, name: &str| json!({"allOf": [reference(name)], "description": description});
    let usage = json!({
        "additionalProperties": reference("io.k8s.apimachinery.pkg.api.resource.Quantity"),
        "description": "The memory usage is the memory working set.",
        "type": "object",
    });
    let measured = |kind: &str, description: &str, own: (&str, Value)| {
        let mut properties: Map<String, Value> = serde_json::from_str(HEAD).unwrap_or_default();
        let time = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
        properties.insert(
            "metadata".to_owned(),
            described("Standard object's metadata.", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
        );
        properties.insert("timestamp".to_owned(), described("The following fields define time interval from which metrics were collected from the interval [Timestamp-Window, Timestamp].", time));
        properties.insert("window".to_owned(), json!({"type": "string"}));
        properties.insert(own.0.to_owned(), own.1);
        let definition = json!({
            "description": description,
            "properties": properties,
            "required": ["timestamp", "window", own.0],
            "type": "object",
            "x-kubernetes-group-version-kind": [{"group": "metrics.k8s.io", "kind": kind, "version": "v1beta1"}],
        });
        (name(kind), definition)
    };
    let containers = json!({
        "description": "Metrics for all containers are collected within the same time window.",
        "items": reference(&name("ContainerMetrics")),
        "type": "array",
        "x-kubernetes-list-type": "atomic",
    });
    vec![
        (
            name("ContainerMetrics"),
            json!({
                "description": "ContainerMetrics sets resource usage metrics of a container.",
                "properties": {
                    "name": {"description": "Container name corresponding to the one from pod.spec.containers.", "type": "string"},
                    "usage": usage,
                },
                "required": ["name", "usage"],
                "type": "object",
            }),
        ),
        measured(
            "NodeMetrics",
            "NodeMetrics sets resource usage metrics of a node.",
            ("usage", usage.clone()),
        ),
        measured(
            "PodMetrics",
            "PodMetrics sets resource usage metrics of a pod.",
            ("containers", containers),
        ),
    ]
}

/// What every kind begins with, in the words of Kubernetes.
const HEAD: &str = r#"{
    "apiVersion": {"description": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources", "type": "string"},
    "kind": {"description": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds", "type": "string"}
}"#;
