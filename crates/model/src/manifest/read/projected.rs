//! `projected` and `downwardAPI` volumes: files of several sources in one directory.

use std::collections::BTreeSet;

use super::environment::{self, ResourceField};
use super::{ruled, volume};
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::{DownwardFile, DownwardValue, ObjectKind, Projection, TokenProjection, VolumeSource};

/// What files can tell of the Pod: what may change while it runs belongs here, and not into the environment.
const FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Sources that podling has.
const SOURCES: [&str; 4] = ["configMap", "downwardAPI", "secret", "serviceAccountToken"];
/// Sources that Kubernetes has too.
const OTHER_SOURCES: [&str; 2] = ["clusterTrustBundle", "podCertificate"];

/// Kubernetes' default life of a token, and its bounds.
const EXPIRATION_SECONDS: u64 = 3600;
const LEAST_EXPIRATION_SECONDS: i64 = 600;
const MOST_EXPIRATION_SECONDS: i64 = 1 << 32;

/// Reads a `downwardAPI` volume.
pub(super) fn downward_api(report: &mut Report<'_, '_>, node: &Node) -> VolumeSource {
    let default_mode = volume::mode(report, node, "defaultMode").unwrap_or(volume::DEFAULT_MODE);
    VolumeSource::DownwardApi { items: files(report, node), default_mode }
}

/// Reads a `projected` volume. One with a source that podling does not have is not made in part.
pub(super) fn projected(report: &mut Report<'_, '_>, node: &Node) -> VolumeSource {
    let default_mode = volume::mode(report, node, "defaultMode").unwrap_or(volume::DEFAULT_MODE);
    let mut sources = Vec::new();
    let mut unsupported = None;
    let mut taken = BTreeSet::new();
    for source in node.list("sources").iter().filter(|source| source.scalar().is_none()) {
        let given = |name: &&&str| source.get(name).is_some_and(|value| !value.is_null());
        let known: Vec<&str> = SOURCES.iter().chain(&OTHER_SOURCES).filter(given).copied().collect();
        match known.as_slice() {
            [] => {
                // Kubernetes takes it.
                let hint = format!("one of {}", SOURCES.join(", "));
                let message = "this source is empty: no file comes of it";
                report.warn(Target::Value(source), ProblemKind::Suspicious, message, Some(&hint));
            }
            [first, others @ ..] => {
                for other in others {
                    if let Some(written) = source.get(other) {
                        report.forbidden(written, "may not specify more than 1 volume type per source");
                    }
                }
                let Some(written) = source.get(first) else { continue };
                match projection(report, first, written) {
                    Some(projection) => {
                        refuse_taken(report, written, &projection, &mut taken);
                        sources.push(projection);
                    }
                    None => unsupported = Some(format!("projected with {first}")),
                }
            }
        }
    }
    match unsupported {
        Some(kind) => VolumeSource::Unsupported { kind },
        None => VolumeSource::Projected { sources, default_mode },
    }
}

/// Reads one source; none, when podling does not have its kind.
fn projection(report: &mut Report<'_, '_>, kind: &str, node: &Node) -> Option<Projection> {
    let object = |report: &mut Report<'_, '_>, kind| {
        if node.get("name").is_none_or(|name| name.as_text() == Some("")) {
            report.required(node, "name");
        }
        Projection::Object {
            kind,
            name: ruled(report, node, "name", names::dns_subdomain).unwrap_or_default().to_owned(),
            items: volume::items(report, node),
            optional: node.bool("optional").unwrap_or(false),
        }
    };
    Some(match kind {
        "configMap" => object(report, ObjectKind::ConfigMap),
        "secret" => object(report, ObjectKind::Secret),
        "downwardAPI" => Projection::DownwardApi(files(report, node)),
        "serviceAccountToken" => Projection::Token(token(report, node)),
        _ => return None,
    })
}

/// Two sources that name one path: which file would be there?
fn refuse_taken(
    report: &mut Report<'_, '_>,
    node: &Node,
    projection: &Projection,
    taken: &mut BTreeSet<String>,
) {
    let paths: Vec<(&str, Option<&Node>)> = match projection {
        Projection::Object { items, .. } => {
            let written = node.list("items").iter().map(|item| item.get("path"));
            items.iter().map(|item| item.path.as_str()).zip(written).collect()
        }
        Projection::DownwardApi(files) => {
            let written = node.list("items").iter().map(|item| item.get("path"));
            files.iter().map(|file| file.path.as_str()).zip(written).collect()
        }
        Projection::Token(token) => vec![(token.path.as_str(), node.get("path"))],
    };
    for (path, written) in paths {
        if !path.is_empty() && !taken.insert(path.to_owned()) {
            report.invalid(written.unwrap_or(node), "conflicting duplicate paths");
        }
    }
}

fn token(report: &mut Report<'_, '_>, node: &Node) -> TokenProjection {
    let written = node.get("expirationSeconds").and_then(|written| Some((written, written.as_int()?)));
    if let Some((written, seconds)) = written {
        if seconds < LEAST_EXPIRATION_SECONDS {
            report.invalid(written, "may not specify a duration less than 10 minutes");
        } else if seconds > MOST_EXPIRATION_SECONDS {
            report.invalid(written, "may not specify a duration larger than 2^32 seconds");
        }
    }
    let seconds = written.and_then(|(_, seconds)| u64::try_from(seconds).ok());
    TokenProjection {
        audience: node.filled_text("audience").map(str::to_owned),
        expiration_seconds: seconds.unwrap_or(EXPIRATION_SECONDS),
        path: volume::file_path(report, node),
    }
}

fn files(report: &mut Report<'_, '_>, node: &Node) -> Vec<DownwardFile> {
    let mut files = Vec::new();
    for item in node.list("items").iter().filter(|item| item.scalar().is_none()) {
        let path = volume::file_path(report, item);
        let mode = volume::mode(report, item, "mode");
        let value = value(report, item);
        // A file that cannot be read is kept, so that paths and nodes go side by side: the Pod is refused anyway.
        let value = value.unwrap_or_else(|| DownwardValue::Field(String::new()));
        files.push(DownwardFile { path, mode, value });
    }
    files
}

/// Reads `fieldRef` or `resourceFieldRef`.
fn value(report: &mut Report<'_, '_>, item: &Node) -> Option<DownwardValue> {
    match (item.get("fieldRef"), item.get("resourceFieldRef")) {
        (Some(field), None) => environment::field(report, field, &FIELDS).map(DownwardValue::Field),
        (None, Some(node)) => {
            let ResourceField { container, resource, divisor } = environment::resource_field(report, node)?;
            if container.is_none() {
                report.required(node, "containerName");
            }
            Some(DownwardValue::Resource { container: container?, resource, divisor })
        }
        (Some(_), Some(second)) => {
            report.invalid(second, "fieldRef and resourceFieldRef can not be specified simultaneously");
            None
        }
        (None, None) => {
            let message = "Required value: one of fieldRef and resourceFieldRef is required".to_owned();
            report.add(Target::Value(item), ProblemKind::Required, message, None);
            None
        }
    }
}
