//! Volumes that are mounted nowhere or cannot be made, and mounts that are in each other's way.

use std::collections::BTreeMap;

use model::pod::{Projection, VolumeSource};

use crate::finding::{Draft, Severity};
use crate::process::plain_path;
use crate::subject::{Member, Subject};

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let members = subject.members();
    let mut found = declared(subject, &members);
    found.extend(members.iter().flat_map(mounts));
    found
}

fn declared(subject: &Subject<'_>, members: &[Member<'_>]) -> Vec<Draft> {
    let mut found = Vec::new();
    let is_mounted = |name: &str| {
        members.iter().any(|member| member.container.volume_mounts.iter().any(|mount| mount.name == name))
    };
    for (index, volume) in subject.pod.spec.volumes.iter().enumerate() {
        let name = &volume.name;
        if !is_mounted(name) {
            let message = format!("volume `{name}` is mounted by no container");
            let path = format!("spec.volumes[{index}].name");
            let draft = Draft::new(Severity::Advice, "volume-unused", path, message);
            found.push(draft.hint("mount it under volumeMounts of a container, or leave it out"));
        } else if let VolumeSource::Unsupported { kind } = &volume.source {
            let field = kind.split(' ').next().unwrap_or(kind);
            // Right for Kubernetes, so no error of the manifest; what can never be is refused by its reader.
            let message = format!(
                "podling cannot make {kind} volumes yet, Kubernetes can: here containers that mount `{name}` do not start"
            );
            let path = format!("spec.volumes[{index}].{field}");
            let draft = Draft::new(Severity::Advice, "volume-not-supported", path, message);
            found.push(draft.hint("for a try, use an emptyDir or hostPath volume"));
        } else if let VolumeSource::Projected { sources, .. } = &volume.source {
            let tokens = sources.iter().enumerate();
            for (at, _) in tokens.filter(|(_, source)| matches!(source, Projection::Token(_))) {
                let message = format!(
                    "only an API server issues ServiceAccount tokens: `podling serve` and clusters have one, under \
                     `podling run` containers that mount `{name}` do not start"
                );
                let path = format!("spec.volumes[{index}].projected.sources[{at}].serviceAccountToken");
                let draft = Draft::new(Severity::Advice, "no-token", path, message);
                found.push(draft.hint("for `podling run`, leave this source out"));
            }
        }
    }
    found
}

/// The mounts of one container.
fn mounts(member: &Member<'_>) -> Vec<Draft> {
    let mut found = Vec::new();
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for (index, mount) in member.container.volume_mounts.iter().enumerate() {
        let at = plain_path(&mount.mount_path, "/");
        let path = member.field(&format!("volumeMounts[{index}].mountPath"));
        let conflict = |severity, message| Draft::new(severity, "mount-conflict", path.clone(), message);
        if let Some(earlier) = taken.get(&at) {
            let message =
                format!("{at} is taken by volume `{earlier}` already: only one of the two is seen there");
            found.push(conflict(Severity::Error, message));
        } else if at == "/" {
            let message = format!("volume `{}` is mounted over the root filesystem", mount.name);
            let hint = "mount it at a directory of its own";
            found.push(conflict(Severity::Advice, message).hint(hint));
        } else if at == "/proc" || at.starts_with("/proc/") {
            let message = "most container runtimes refuse to mount anything inside /proc".to_owned();
            found.push(conflict(Severity::Advice, message));
        }
        taken.entry(at).or_insert(&mount.name);
    }
    found
}
