//! What is looked for, one file for each subject. A rule says what is wrong at which field; lines are not its business.

mod completion;
mod deadlines;
mod grace;
mod identity;
mod ports;
mod programs;
mod references;
mod resources;
mod volumes;
mod waits;

use crate::facts::Looked;
use crate::finding::{Draft, Severity};
use crate::subject::Subject;

/// All that is found in one Pod.
pub(crate) fn all(subject: &Subject<'_>) -> Vec<Draft> {
    let mut found = images(subject);
    for rule in [
        waits::look,
        ports::look,
        resources::look,
        identity::look,
        programs::look,
        references::look,
        volumes::look,
        completion::look,
        deadlines::look,
        grace::look,
    ] {
        found.extend(rule(subject));
    }
    found
}

/// Images that could not be looked at.
fn images(subject: &Subject<'_>) -> Vec<Draft> {
    let note = |member: crate::subject::Member<'_>| {
        let Some(Looked::NotLookedAt(why)) = subject.facts.images.get(&member.container.image) else {
            return None;
        };
        let message = format!("{:?} was not looked at: {why}", member.container.image);
        Some(Draft::new(Severity::Note, "image-not-looked-at", member.field("image"), message))
    };
    subject.members().into_iter().filter_map(note).collect()
}
