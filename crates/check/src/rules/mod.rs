//! What is looked for, one file for each subject. A rule says what is wrong at which field; lines are not its business.

mod completion;
mod deadlines;
mod grace;
mod identity;
mod images;
mod ports;
mod programs;
mod references;
mod resources;
mod volumes;
mod waits;

use crate::finding::Draft;
use crate::subject::Subject;

/// All that is found in one Pod.
pub(crate) fn all(subject: &Subject<'_>) -> Vec<Draft> {
    let rules = [
        images::look,
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
    ];
    rules.iter().flat_map(|look| look(subject)).collect()
}
