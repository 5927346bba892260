//! `env` and `envFrom`.

use super::{check, quantity, ruled};
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::{EnvFrom, EnvValue, EnvVar, ObjectKind};
use crate::quantity::Quantity;

/// The longest `NAME=value` with which Linux starts a program: 32 pages, the final NUL included (MAX_ARG_STRLEN).
pub(crate) const MOST_STRING_BYTES: usize = 128 * 1024 - 1;

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

/// Reads `env`.
pub(crate) fn env(report: &mut Report<'_, '_>, container: &Node) -> Vec<EnvVar> {
    let mut variables = Vec::new();
    for node in container.list("env") {
        let name = ruled(report, node, "name", names::env_name).unwrap_or_default().to_owned();
        let text = node.text("value").unwrap_or_default();
        if name.len() + 1 + text.len() > MOST_STRING_BYTES
            && let Some(value) = node.get("value")
        {
            report.too_long(
                value,
                MOST_STRING_BYTES - name.len() - 1,
                ": Linux starts no program with a longer variable",
            );
        }
        let value = match node.get("valueFrom") {
            Some(from) if !text.is_empty() => {
                report.invalid(from, "may not be specified when `value` is not empty");
                None
            }
            Some(from) => source(report, from),
            None => Some(EnvValue::Literal(text.to_owned())),
        };
        variables.extend(value.map(|value| EnvVar { name, value }));
    }
    variables
}

/// Reads `valueFrom`, which has exactly one source.
fn source(report: &mut Report<'_, '_>, from: &Node) -> Option<EnvValue> {
    if from.scalar().is_some() {
        return None;
    }
    let given: Vec<&str> = SOURCES.into_iter().filter(|name| from.get(name).is_some()).collect();
    match given.as_slice() {
        [] => {
            let rule = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            report.invalid(from, rule);
            None
        }
        ["fieldRef"] => field(report, from.get("fieldRef")?, &FIELDS).map(EnvValue::Field),
        ["resourceFieldRef"] => {
            let ResourceField { container, resource, divisor } =
                resource_field(report, from.get("resourceFieldRef")?)?;
            Some(EnvValue::Resource { container, resource, divisor })
        }
        ["configMapKeyRef"] => key(report, from.get("configMapKeyRef")?, ObjectKind::ConfigMap),
        ["secretKeyRef"] => key(report, from.get("secretKeyRef")?, ObjectKind::Secret),
        [_] => {
            let message = "podling does not honour this source yet: the variable would be missing".to_owned();
            report.add(Target::Value(from.get("fileKeyRef")?), ProblemKind::NotHonoured, message, None);
            None
        }
        _ => {
            report.invalid(from, "may not have more than one field specified at a time");
            None
        }
    }
}

fn key(report: &mut Report<'_, '_>, node: &Node, kind: ObjectKind) -> Option<EnvValue> {
    let name = object_name(report, node)?;
    let key = ruled(report, node, "key", names::config_key)?.to_owned();
    Some(EnvValue::Key { kind, name, key, optional: node.bool("optional").unwrap_or(false) })
}

/// The name of the ConfigMap or Secret that something refers to.
fn object_name(report: &mut Report<'_, '_>, node: &Node) -> Option<String> {
    match node.get("name") {
        None => report.required(node, "name"),
        Some(name) if name.as_text() == Some("") => report.required(node, "name"),
        Some(_) => {}
    }
    Some(ruled(report, node, "name", names::dns_subdomain)?.to_owned())
}

/// Reads a `fieldRef`: one of `fields`, or one label or annotation.
pub(crate) fn field(report: &mut Report<'_, '_>, node: &Node, fields: &[&str]) -> Option<String> {
    if let Some(version) = node.get("apiVersion")
        && version.as_text().is_some_and(|text| !matches!(text, "v1" | ""))
    {
        report.unsupported(version, &["v1"]);
    }
    let path = node.get("fieldPath")?;
    let text = path.as_text().filter(|text| !text.is_empty())?;
    let subscript = ["metadata.labels['", "metadata.annotations['"]
        .into_iter()
        .find_map(|start| text.strip_prefix(start));
    match subscript.map(|rest| rest.strip_suffix("']")) {
        Some(Some(key)) => check(report, path, key, names::qualified_name),
        None if fields.contains(&text) => {}
        _ => {
            let subscripts = ["metadata.labels['KEY']", "metadata.annotations['KEY']"];
            let supported: Vec<&str> = fields.iter().copied().chain(subscripts).collect();
            report.unsupported(path, &supported);
        }
    }
    Some(text.to_owned())
}

/// A `resourceFieldRef`.
pub(crate) struct ResourceField {
    pub(crate) container: Option<String>,
    pub(crate) resource: String,
    pub(crate) divisor: Quantity,
}

/// Reads a `resourceFieldRef`.
pub(crate) fn resource_field(report: &mut Report<'_, '_>, node: &Node) -> Option<ResourceField> {
    let resource = node.get("resource")?;
    let text = resource.as_text().filter(|text| !text.is_empty())?;
    let is_hugepages = text.starts_with("limits.hugepages-") || text.starts_with("requests.hugepages-");
    if !RESOURCES.contains(&text) && !is_hugepages {
        report.unsupported(resource, &RESOURCES);
    }
    let divisor = node.get("divisor").and_then(|divisor| {
        let amount = quantity(report, divisor)?;
        let units: &[&str] = if text.ends_with(".cpu") {
            &["1m", "1"]
        } else {
            &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"]
        };
        // Zero stands for the default, as in Kubernetes.
        if amount.nanos() != 0 && !units.iter().any(|unit| Quantity::parse(unit).as_ref() == Ok(&amount)) {
            report.unsupported(divisor, units);
        }
        Some(amount).filter(|amount| amount.nanos() != 0)
    });
    Some(ResourceField {
        container: node.filled_text("containerName").map(str::to_owned),
        resource: text.to_owned(),
        divisor: divisor.unwrap_or_else(|| Quantity::from_nanos(1_000_000_000)),
    })
}

/// Reads `envFrom`.
pub(crate) fn env_from(report: &mut Report<'_, '_>, container: &Node) -> Vec<EnvFrom> {
    let mut sources = Vec::new();
    for node in container.list("envFrom").iter().filter(|node| node.scalar().is_none()) {
        let prefix = ruled(report, node, "prefix", names::env_name).unwrap_or_default().to_owned();
        let (source, reference) = match (node.get("configMapRef"), node.get("secretRef")) {
            (Some(_), Some(_)) => {
                report.invalid(node, "may not have more than one field specified at a time");
                continue;
            }
            (None, None) => {
                report.invalid(node, "must specify one of: `configMapRef` or `secretRef`");
                continue;
            }
            (Some(reference), None) => (ObjectKind::ConfigMap, reference),
            (None, Some(reference)) => (ObjectKind::Secret, reference),
        };
        let Some(name) = object_name(report, reference) else { continue };
        let optional = reference.bool("optional").unwrap_or(false);
        sources.push(EnvFrom { prefix, source, name, optional });
    }
    sources
}
