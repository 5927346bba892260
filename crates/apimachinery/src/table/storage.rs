//! Volumes, claims and classes.

use serde_json::{Value, json};

use super::view::View;
use super::{AGE, Cells, Column, NAME, Printer};

pub(super) fn printer(group: &str, kind: &str) -> Option<Printer> {
    let (columns, cells): (&'static [Column], Cells) = match (group, kind) {
        ("", "PersistentVolume") => (VOLUMES, volume),
        ("", "PersistentVolumeClaim") => (CLAIMS, claim),
        ("storage.k8s.io", "StorageClass") => (CLASSES, class),
        ("storage.k8s.io", "VolumeAttachment") => (ATTACHMENTS, attachment),
        ("storage.k8s.io", "CSINode") => (CSI_NODES, csi_node),
        ("storage.k8s.io", "VolumeAttributesClass") => (ATTRIBUTES, attributes_class),
        _ => return None,
    };
    Some(Printer { columns, cells })
}

const ACCESS_MODES: Column =
    Column::new("Access Modes", "string", 0, "The desired access modes the volume should have.");
const STORAGE_CLASS: Column = Column::new("StorageClass", "string", 0, "StorageClass of the volume");
const ATTRIBUTES_CLASS: Column =
    Column::new("VolumeAttributesClass", "string", 0, "VolumeAttributesClass of the volume");
const VOLUME_MODE: Column = Column::new(
    "VolumeMode",
    "string",
    1,
    "Whether a volume is intended to be used with a formatted filesystem or to remain in raw block state.",
);

const VOLUMES: &[Column] = &[
    NAME,
    Column::new("Capacity", "string", 0, "capacity is the description of the persistent volume's resources."),
    ACCESS_MODES,
    Column::new(
        "Reclaim Policy",
        "string",
        0,
        "What happens to a persistent volume when released from its claim.",
    ),
    Column::new(
        "Status",
        "string",
        0,
        "Whether a volume is available, bound to a claim, or released by a claim.",
    ),
    Column::new("Claim", "string", 0, "claimRef is part of a bi-directional binding."),
    STORAGE_CLASS,
    ATTRIBUTES_CLASS,
    Column::new("Reason", "string", 0, "Why the volume is in this state."),
    AGE,
    VOLUME_MODE,
];

const CLAIMS: &[Column] = &[
    NAME,
    Column::new("Status", "string", 0, "phase represents the current phase of PersistentVolumeClaim."),
    Column::new("Volume", "string", 0, "The binding reference to the PersistentVolume backing this claim."),
    Column::new(
        "Capacity",
        "string",
        0,
        "capacity represents the actual resources of the underlying volume.",
    ),
    ACCESS_MODES,
    STORAGE_CLASS,
    ATTRIBUTES_CLASS,
    AGE,
    VOLUME_MODE,
];

const CLASSES: &[Column] = &[
    NAME,
    Column::new("Provisioner", "string", 0, "provisioner indicates the type of the provisioner."),
    Column::new(
        "ReclaimPolicy",
        "string",
        0,
        "The reclaimPolicy of volumes of this storage class. Defaults to Delete.",
    ),
    Column::new(
        "VolumeBindingMode",
        "string",
        0,
        "How PersistentVolumeClaims should be provisioned and bound.",
    ),
    Column::new("AllowVolumeExpansion", "string", 0, "Whether the storage class allows volume expand."),
    AGE,
];

const ATTACHMENTS: &[Column] = &[
    NAME,
    Column::new("Attacher", "string", 0, "attacher indicates the name of the volume driver."),
    Column::new("PV", "string", 0, "The name of the persistent volume to attach."),
    Column::new("Node", "string", 0, "nodeName represents the node that the volume should be attached to."),
    Column::new("Attached", "boolean", 0, "attached indicates the volume is successfully attached."),
    AGE,
];

const CSI_NODES: &[Column] = &[
    NAME,
    Column::new(
        "Drivers",
        "integer",
        0,
        "Drivers indicates the number of CSI drivers registered on the node",
    ),
    AGE,
];

const ATTRIBUTES: &[Column] = &[NAME, Column::new("DriverName", "string", 0, "Name of the CSI driver"), AGE];

/// `RWO,ROX`, each once, in Kubernetes' order.
fn access_modes(object: &View<'_>, pointer: &str) -> Value {
    let modes = object.texts(pointer);
    let short: Vec<&str> = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .iter()
    .filter(|(mode, _)| modes.contains(mode))
    .map(|(_, short)| *short)
    .collect();
    json!(short.join(","))
}

fn phase<'a>(object: &View<'a>) -> &'a str {
    if object.is_deleted() { "Terminating" } else { object.text("/status/phase") }
}

/// The class, also where it is still written as an annotation.
fn storage_class(object: &View<'_>) -> Value {
    let annotation = object.text("/metadata/annotations/volume.beta.kubernetes.io~1storage-class");
    json!(if annotation.is_empty() { object.text("/spec/storageClassName") } else { annotation })
}

fn volume(object: &View<'_>) -> Vec<Value> {
    let claim = if object.has("/spec/claimRef") {
        let claim = object.at("/spec/claimRef");
        format!("{}/{}", claim.text("/namespace"), claim.text("/name"))
    } else {
        String::new()
    };
    vec![
        object.name(),
        json!(object.text_or("/spec/capacity/storage", "0")),
        access_modes(object, "/spec/accessModes"),
        json!(object.text("/spec/persistentVolumeReclaimPolicy")),
        json!(phase(object)),
        json!(claim),
        storage_class(object),
        object.cell_or("/spec/volumeAttributesClassName", "<unset>"),
        json!(object.text("/status/reason")),
        object.age(),
        object.cell_or("/spec/volumeMode", "<unset>"),
    ]
}

fn claim(object: &View<'_>) -> Vec<Value> {
    let volume = object.text("/spec/volumeName");
    let (capacity, modes) = if volume.is_empty() {
        (json!(""), json!(""))
    } else {
        let capacity = object.text_or("/status/capacity/storage", "0");
        (json!(capacity), access_modes(object, "/status/accessModes"))
    };
    vec![
        object.name(),
        json!(phase(object)),
        json!(volume),
        capacity,
        modes,
        storage_class(object),
        object.cell_or("/spec/volumeAttributesClassName", "<unset>"),
        object.age(),
        object.cell_or("/spec/volumeMode", "<unset>"),
    ]
}

fn class(object: &View<'_>) -> Vec<Value> {
    let is_default = ["storageclass.kubernetes.io", "storageclass.beta.kubernetes.io"]
        .iter()
        .any(|domain| object.text(&format!("/metadata/annotations/{domain}~1is-default-class")) == "true");
    let suffix = if is_default { " (default)" } else { "" };
    vec![
        json!(format!("{}{suffix}", object.text("/metadata/name"))),
        json!(object.text("/provisioner")),
        json!(object.text_or("/reclaimPolicy", "Delete")),
        json!(object.text_or("/volumeBindingMode", "Immediate")),
        json!(object.boolean("/allowVolumeExpansion")),
        object.age(),
    ]
}

fn attachment(object: &View<'_>) -> Vec<Value> {
    vec![
        object.name(),
        json!(object.text("/spec/attacher")),
        json!(object.text("/spec/source/persistentVolumeName")),
        json!(object.text("/spec/nodeName")),
        json!(object.boolean("/status/attached")),
        object.age(),
    ]
}

fn csi_node(object: &View<'_>) -> Vec<Value> {
    vec![object.name(), json!(object.count("/spec/drivers")), object.age()]
}

fn attributes_class(object: &View<'_>) -> Vec<Value> {
    vec![object.name(), json!(object.text("/driverName")), object.age()]
}
