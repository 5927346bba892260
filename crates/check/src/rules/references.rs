//! ConfigMaps, Secrets and keys of them that stand in none of the files.
//!
//! An object that the files do not bring is an advice: they may be meant for a cluster that has it. A key that an object
//! lacks which they do bring is an error, there as here.

use model::manifest::nearest;
use model::pod::{
    EnvValue, KeyToPath, KeyedObject, ObjectKind, Projection, SubPath, VolumeMount, VolumeSource,
};

use crate::finding::{Draft, Severity};
use crate::subject::Subject;

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let mut found = environment(subject);
    found.extend(volumes(subject));
    found
}

/// `configMapKeyRef` and its like.
fn field_of(kind: ObjectKind, config_map: &'static str, secret: &'static str) -> &'static str {
    match kind {
        ObjectKind::ConfigMap => config_map,
        ObjectKind::Secret => secret,
    }
}

fn environment(subject: &Subject<'_>) -> Vec<Draft> {
    let mut found = Vec::new();
    for member in subject.members() {
        for (index, from) in member.container.env_from.iter().enumerate().filter(|(_, from)| !from.optional) {
            if subject.object(from.source, &from.name).is_none() {
                let field = field_of(from.source, "configMapRef", "secretRef");
                let path = member.field(&format!("envFrom[{index}].{field}.name"));
                found.push(no_object(subject, from.source, &from.name, path));
            }
        }
        for (index, variable) in member.container.env.iter().enumerate() {
            let EnvValue::Key { kind, name, key, optional: false } = &variable.value else { continue };
            let field = field_of(*kind, "configMapKeyRef", "secretKeyRef");
            let path = |of: &str| member.field(&format!("env[{index}].valueFrom.{field}.{of}"));
            match subject.object(*kind, name) {
                None => found.push(no_object(subject, *kind, name, path("name"))),
                Some(object) if !object.data.contains_key(key) => {
                    found.push(no_key(Severity::Error, object, key, path("key")));
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// Volumes that some container mounts: others are not made.
fn volumes(subject: &Subject<'_>) -> Vec<Draft> {
    let mut found = Vec::new();
    let members = subject.members();
    for (index, volume) in subject.pod.spec.volumes.iter().enumerate() {
        let mounts: Vec<_> = members
            .iter()
            .flat_map(|member| {
                let mounts = member.container.volume_mounts.iter().enumerate();
                mounts.map(move |(index, mount)| {
                    (member.field(&format!("volumeMounts[{index}].subPath")), mount)
                })
            })
            .filter(|(_, mount)| mount.name == volume.name)
            .collect();
        if mounts.is_empty() {
            continue;
        }
        for source in sources(&volume.source, &format!("spec.volumes[{index}]")) {
            let Some(object) = subject.object(source.kind, source.name) else {
                if !source.optional {
                    let path = format!("{}.{}", source.path, source.name_field);
                    found.push(no_object(subject, source.kind, source.name, path));
                }
                continue;
            };
            for (at, item) in source.items.iter().enumerate() {
                if !source.optional && !object.data.contains_key(&item.key) {
                    let path = format!("{}.items[{at}].key", source.path);
                    found.push(no_key(Severity::Error, object, &item.key, path));
                }
            }
            // A projected volume has files of other sources too.
            if matches!(volume.source, VolumeSource::Object { .. }) {
                found.extend(mounts.iter().filter_map(|(path, mount)| no_file(&source, object, mount, path)));
            }
        }
    }
    found
}

/// What a volume takes of one ConfigMap or Secret.
struct Source<'a> {
    kind: ObjectKind,
    name: &'a str,
    items: &'a [KeyToPath],
    optional: bool,
    /// Path of its field.
    path: String,
    name_field: &'static str,
}

fn sources<'a>(source: &'a VolumeSource, path: &str) -> Vec<Source<'a>> {
    match source {
        VolumeSource::Object { kind, name, items, optional, .. } => {
            let path = format!("{path}.{}", field_of(*kind, "configMap", "secret"));
            let name_field = field_of(*kind, "name", "secretName");
            vec![Source { kind: *kind, name, items, optional: *optional, path, name_field }]
        }
        VolumeSource::Projected { sources, .. } => {
            let of = |(at, projection): (usize, &'a Projection)| match projection {
                Projection::Object { kind, name, items, optional } => {
                    let field = field_of(*kind, "configMap", "secret");
                    let path = format!("{path}.projected.sources[{at}].{field}");
                    Some(Source { kind: *kind, name, items, optional: *optional, path, name_field: "name" })
                }
                Projection::DownwardApi(_) | Projection::Token(_) => None,
            };
            sources.iter().enumerate().filter_map(of).collect()
        }
        VolumeSource::EmptyDir { .. }
        | VolumeSource::DownwardApi { .. }
        | VolumeSource::HostPath { .. }
        | VolumeSource::Unsupported { .. } => Vec::new(),
    }
}

/// A `subPath` that is none of the volume's files.
fn no_file(source: &Source<'_>, object: &KeyedObject, mount: &VolumeMount, path: &str) -> Option<Draft> {
    let SubPath::Literal(wanted) = mount.sub_path.as_ref()? else { return None };
    let mut files: Vec<&str> = match source.items {
        [] => object.data.keys().map(String::as_str).collect(),
        items => items.iter().map(|item| item.path.as_str()).collect(),
    };
    files.retain(|file| *file == wanted || file.starts_with(&format!("{wanted}/")));
    files.is_empty().then(|| no_key(Severity::Advice, object, wanted, path.to_owned()))
}

fn no_object(subject: &Subject<'_>, kind: ObjectKind, name: &str, path: String) -> Draft {
    let namespace = &subject.pod.meta.namespace;
    // A cluster or a node may have it, so nothing is wrong with the manifest.
    let message = format!(
        "{kind} {name:?} stands in none of the files: a cluster may have it, `podling run` of these files ends without it"
    );
    let elsewhere = subject.objects.iter().find(|object| object.kind == kind && object.meta.name == name);
    let names = subject
        .objects
        .iter()
        .filter(|object| object.kind == kind && object.meta.namespace == *namespace)
        .map(|object| object.meta.name.as_str());
    let hint = match (elsewhere, nearest(name, names)) {
        (Some(object), _) => format!(
            "one of that name is in namespace {:?}, and the Pod is in {namespace:?}",
            object.meta.namespace
        ),
        (None, Some(nearest)) => format!("did you mean {nearest:?}?"),
        (None, None) => format!("add the {kind} to the file or name its file too, or write `optional: true`"),
    };
    Draft::new(Severity::Advice, "no-such-object", path, message).hint(hint)
}

fn no_key(severity: Severity, object: &KeyedObject, key: &str, path: String) -> Draft {
    let message = format!("{} {:?} has no key {key:?}", object.kind, object.meta.name);
    let hint = match nearest(key, object.data.keys().map(String::as_str)) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None if object.data.is_empty() => "it has no keys at all".to_owned(),
        None => {
            let keys: Vec<&str> = object.data.keys().take(10).map(String::as_str).collect();
            format!("it has {}", keys.join(", "))
        }
    };
    Draft::new(severity, "no-such-key", path, message).hint(hint)
}
