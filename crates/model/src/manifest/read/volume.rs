//! `volumes`, and `volumeMounts` of the containers.

use std::collections::BTreeSet;

use super::{check, choice, projected, quantity, ruled};
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::{
    HostPathType, KeyToPath, Medium, MountPropagation, ObjectKind, RecursiveReadOnly, SubPath, Volume,
    VolumeMount, VolumeSource,
};

/// Mode of files where nothing is said.
pub(super) const DEFAULT_MODE: u32 = 0o644;

const MODE_RULE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Reads the Pod's volumes.
pub(crate) fn volumes(report: &mut Report<'_, '_>, spec: &Node) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for node in spec.list("volumes").iter().filter(|node| node.scalar().is_none()) {
        let name = ruled(report, node, "name", names::dns_label).unwrap_or_default();
        if let Some(written) = node.get("name")
            && volumes.iter().any(|volume| !name.is_empty() && volume.name == name)
        {
            report.duplicate(written);
        }
        if let Some(source) = source(report, node) {
            volumes.push(Volume { name: name.to_owned(), source });
        }
    }
    volumes
}

/// Warns about volumes that no container mounts.
pub(crate) fn warn_of_unmounted(report: &mut Report<'_, '_>, spec: &Node) {
    let mounted: BTreeSet<&str> = ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .flat_map(|field| spec.list(field))
        .flat_map(|container| container.list("volumeMounts").iter().chain(container.list("volumeDevices")))
        .filter_map(|mount| mount.text("name"))
        .collect();
    for name in spec.list("volumes").iter().filter_map(|volume| volume.get("name")) {
        if name.as_text().is_some_and(|text| !text.is_empty() && !mounted.contains(text)) {
            let message = format!("volume {} is mounted by no container", report.shown(name));
            report.warn(Target::Value(name), ProblemKind::Suspicious, &message, None);
        }
    }
}

fn source(report: &mut Report<'_, '_>, volume: &Node) -> Option<VolumeSource> {
    let known = |key: &str| key != "name" && crate::fields::VOLUME.field(key).is_some();
    let mut given = volume.entries().iter().filter(|entry| known(&entry.key) && !entry.value.is_null());
    let Some(first) = given.next() else {
        let empty = volume.entries().iter().find(|entry| known(&entry.key)).map(|entry| entry.key.as_str());
        let field = empty.unwrap_or("name");
        let hint = empty.map(|kind| format!("with no settings, write `{kind}: {{}}`"));
        let hint = hint.as_deref().or(Some("for example `emptyDir: {}`"));
        let message = "Required value: must specify a volume type".to_owned();
        let target = if empty.is_some() { Target::Missing(volume, field) } else { Target::Value(volume) };
        report.add(target, ProblemKind::Required, message, hint.map(str::to_owned));
        return None;
    };
    for second in given {
        report.forbidden(&second.value, "may not specify more than 1 volume type");
    }
    let node = &first.value;
    match first.key.as_str() {
        "emptyDir" => empty_dir(report, node),
        "configMap" => object(report, node, ObjectKind::ConfigMap, "name"),
        "secret" => object(report, node, ObjectKind::Secret, "secretName"),
        "downwardAPI" => Some(projected::downward_api(report, node)),
        "projected" => Some(projected::projected(report, node)),
        "hostPath" => host_path(report, node),
        kind => Some(VolumeSource::Unsupported { kind: kind.to_owned() }),
    }
}

fn empty_dir(report: &mut Report<'_, '_>, node: &Node) -> Option<VolumeSource> {
    let size_limit = node.get("sizeLimit").and_then(|limit| quantity(report, limit));
    if let Some(medium) = node.get("medium")
        && medium.as_text().is_some_and(|text| text.starts_with("HugePages"))
    {
        let message = "podling has no emptyDir of huge pages yet: a container that mounts it cannot start";
        report.warn(Target::Value(medium), ProblemKind::NotHonoured, message, None);
        return Some(VolumeSource::Unsupported { kind: "emptyDir with medium HugePages".to_owned() });
    }
    let media = [("", Medium::Disk), ("Memory", Medium::Memory)];
    let medium = choice(report, node, "medium", &media).unwrap_or_default();
    Some(VolumeSource::EmptyDir { medium, size_limit })
}

fn object(
    report: &mut Report<'_, '_>,
    node: &Node,
    kind: ObjectKind,
    name_field: &str,
) -> Option<VolumeSource> {
    if node.get(name_field).is_none_or(|name| name.as_text() == Some("")) {
        report.required(node, name_field);
    }
    let name = ruled(report, node, name_field, names::dns_subdomain).unwrap_or_default().to_owned();
    let default_mode = mode(report, node, "defaultMode").unwrap_or(DEFAULT_MODE);
    let items = items(report, node);
    let optional = node.bool("optional").unwrap_or(false);
    Some(VolumeSource::Object { kind, name, items, default_mode, optional })
}

/// Reads which keys of an object become which files.
pub(super) fn items(report: &mut Report<'_, '_>, node: &Node) -> Vec<KeyToPath> {
    let mut items = Vec::new();
    for item in node.list("items") {
        let path = file_path(report, item);
        let key = ruled(report, item, "key", names::config_key).unwrap_or_default().to_owned();
        items.push(KeyToPath { key, path, mode: mode(report, item, "mode") });
    }
    items
}

/// Reads the relative path of a file, which must not be in the way of the links `..data` and its kin.
pub(super) fn file_path(report: &mut Report<'_, '_>, node: &Node) -> String {
    let path = ruled(report, node, "path", names::path_below).unwrap_or_default();
    if path.starts_with("..")
        && !path.starts_with("../")
        && path != ".."
        && let Some(written) = node.get("path")
    {
        report.invalid(written, "must not start with '..'");
    }
    path.to_owned()
}

pub(super) fn mode(report: &mut Report<'_, '_>, node: &Node, field: &str) -> Option<u32> {
    let written = node.get(field)?;
    let value = written.as_int()?;
    match u32::try_from(value) {
        Ok(mode) if mode <= 0o777 => Some(mode),
        _ => {
            let text = value.to_string();
            let is_octal = text.len() == 3 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
            let hint = is_octal.then(|| format!("an octal mode begins with 0: 0{text}"));
            report.invalid_hint(written, MODE_RULE, hint);
            None
        }
    }
}

fn host_path(report: &mut Report<'_, '_>, node: &Node) -> Option<VolumeSource> {
    let path = ruled(report, node, "path", names::no_backsteps).unwrap_or_default().to_owned();
    let kinds = [
        ("", HostPathType::Unset),
        ("BlockDevice", HostPathType::BlockDevice),
        ("CharDevice", HostPathType::CharDevice),
        ("Directory", HostPathType::Directory),
        ("DirectoryOrCreate", HostPathType::DirectoryOrCreate),
        ("File", HostPathType::File),
        ("FileOrCreate", HostPathType::FileOrCreate),
        ("Socket", HostPathType::Socket),
    ];
    let kind = choice(report, node, "type", &kinds).unwrap_or_default();
    if let Some(written) = node.get("path").filter(|_| !path.is_empty() && !path.starts_with('/')) {
        report.invalid(written, "must be an absolute path of this machine");
    }
    Some(VolumeSource::HostPath { path, kind })
}

/// Reads a container's mounts of the given volumes.
pub(crate) fn mounts(
    report: &mut Report<'_, '_>,
    container: &Node,
    spec: &Node,
    privileged: bool,
) -> Vec<VolumeMount> {
    let mut declared: Vec<&str> =
        spec.list("volumes").iter().filter_map(|volume| volume.text("name")).collect();
    declared.dedup();
    let mut mounts: Vec<VolumeMount> = Vec::new();
    for node in container.list("volumeMounts") {
        if let Some(name) = node.get("name")
            && let Some(text) = name.as_text().filter(|text| !text.is_empty() && !declared.contains(text))
        {
            let nearest = crate::manifest::suggest::nearest(text, declared.iter().copied());
            let hint = match nearest {
                Some(nearest) => format!("did you mean {nearest}?"),
                None if declared.is_empty() => {
                    "the Pod declares no volumes: add it under spec.volumes".to_owned()
                }
                None => format!("spec.volumes has {}", declared.join(", ")),
            };
            report.not_found(name, Some(hint));
        }
        let mount_path = absolute(node.text("mountPath").unwrap_or_default());
        if let Some(written) = node.get("mountPath")
            && mounts.iter().any(|mount| mount.mount_path == mount_path)
        {
            report.invalid(written, "must be unique");
        }
        mounts.push(mount(report, node, mount_path, privileged));
    }
    mounts
}

fn mount(report: &mut Report<'_, '_>, node: &Node, mount_path: String, privileged: bool) -> VolumeMount {
    let propagations = [
        ("Bidirectional", MountPropagation::Bidirectional),
        ("HostToContainer", MountPropagation::HostToContainer),
        ("None", MountPropagation::None),
    ];
    let propagation = choice(report, node, "mountPropagation", &propagations).unwrap_or_default();
    if propagation == MountPropagation::Bidirectional
        && !privileged
        && let Some(written) = node.get("mountPropagation")
    {
        report
            .forbidden(written, "Bidirectional mount propagation is available only to privileged containers");
    }
    let read_only = node.bool("readOnly").unwrap_or(false);
    VolumeMount {
        name: node.text("name").unwrap_or_default().to_owned(),
        mount_path,
        sub_path: sub_path(report, node),
        read_only,
        recursive_read_only: recursive_read_only(report, node, read_only, propagation),
        propagation,
    }
}

fn sub_path(report: &mut Report<'_, '_>, node: &Node) -> Option<SubPath> {
    let given =
        |field: &str| node.get(field).filter(|value| value.as_text().is_some_and(|text| !text.is_empty()));
    let (field, written) = match (given("subPath"), given("subPathExpr")) {
        (Some(_), Some(expression)) => {
            report.invalid(expression, "subPathExpr and subPath are mutually exclusive");
            return None;
        }
        (Some(path), None) => ("subPath", path),
        (None, Some(expression)) => ("subPathExpr", expression),
        (None, None) => return None,
    };
    let text = written.as_text()?;
    check(report, written, text, names::path_below);
    Some(if field == "subPath" {
        SubPath::Literal(text.to_owned())
    } else {
        SubPath::Expression(text.to_owned())
    })
}

fn recursive_read_only(
    report: &mut Report<'_, '_>,
    node: &Node,
    read_only: bool,
    propagation: MountPropagation,
) -> RecursiveReadOnly {
    let choices = [
        ("Disabled", RecursiveReadOnly::Disabled),
        ("Enabled", RecursiveReadOnly::Enabled),
        ("IfPossible", RecursiveReadOnly::IfPossible),
    ];
    let chosen = choice(report, node, "recursiveReadOnly", &choices).unwrap_or_default();
    let Some(written) = node.get("recursiveReadOnly").filter(|_| chosen != RecursiveReadOnly::Disabled)
    else {
        return chosen;
    };
    if !read_only {
        report.forbidden(written, "may only be specified when readOnly is true");
    }
    if propagation != MountPropagation::None {
        report.forbidden(written, "may only be specified when mountPropagation is None or not specified");
    }
    chosen
}

/// A mount path as the kubelet takes it: a relative one begins at the root; a final slash does not count.
fn absolute(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    if trimmed.starts_with('/') { trimmed.to_owned() } else { format!("/{trimmed}") }
}
