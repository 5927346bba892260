//! Images that no container can be made of, and those that could not be looked at.

use std::collections::BTreeSet;

use model::pod::ImagePullPolicy;

use crate::facts::Looked;
use crate::finding::{Draft, Severity};
use crate::subject::{Member, Subject};

/// Of each image a note is made once, however many containers have it.
pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let earlier = subject.earlier.iter().flat_map(|pod| pod.spec.all_containers());
    let mut noted: BTreeSet<&str> = earlier.map(|container| container.image.as_str()).collect();
    let mut found = Vec::new();
    for member in subject.members() {
        let is_new = noted.insert(&member.container.image);
        found.extend(of(subject, &member).filter(|draft| is_new || draft.severity != Severity::Note));
    }
    found
}

fn of(subject: &Subject<'_>, member: &Member<'_>) -> Option<Draft> {
    let image = &member.container.image;
    let draft = |severity, rule, message| Some(Draft::new(severity, rule, member.field("image"), message));
    match subject.facts.images.get(image)? {
        Looked::Here(_) => None,
        Looked::Unusable(why) => {
            let message = format!("container `{}` cannot be started: {why}", member.name());
            draft(Severity::Error, "image-unusable", message)
        }
        Looked::NotHere if member.container.image_pull_policy == ImagePullPolicy::Never => {
            let message = format!("image {image} is not on this machine, and imagePullPolicy is Never");
            draft(Severity::Error, "image-unusable", message)
                .map(|draft| draft.hint("load it with `podling image load`, or pull it"))
        }
        Looked::NotHere => {
            let message = format!(
                "image {image} is not on this machine: its user, programs and ports were not looked at"
            );
            draft(Severity::Note, "image-not-looked-at", message)
        }
        Looked::NotLookedAt(why) => {
            let message = format!("image {image} was not looked at: {why}");
            draft(Severity::Note, "image-not-looked-at", message)
        }
    }
}
