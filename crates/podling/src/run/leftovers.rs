//! What dead runs left behind, taken away: their processes, cgroups, network and files.

use engine::abandoned::Abandoned;
use engine::reclaim;

use super::place::Place;
use crate::console::print_warning;
use crate::failure::chain;

/// Cleans up after runs that were killed. Goes on after every failure, and tells it: a run that cannot be
/// cleaned up must not keep another from starting.
pub(crate) async fn clean(dead: Vec<Place>) -> usize {
    let mut failures = 0;
    for place in dead {
        let record = place.record.clone();
        let pods: Vec<_> = record.pods.iter().map(|(_, name)| name.as_str()).collect();
        eprintln!("cleaning up after run {}, which was killed: {}", record.id, pods.join(", "));
        let errors = reclaim(&record.id, &record.run_dir).await;
        for error in &errors {
            print_warning(&chain(error));
        }
        failures += errors.len();
        if !errors.is_empty() {
            // The directories are how it is found again.
            continue;
        }
        for failure in place.remove() {
            print_warning(&chain(&failure));
            failures += 1;
        }
    }
    failures
}

/// Ends what is left of nodes whose directories are gone. Returns how much of it could not be ended.
pub(crate) fn end(abandoned: &[Abandoned]) -> usize {
    let mut failures = 0;
    for node in abandoned {
        eprintln!("ending what is left of the node in {}", node.run_dir.display());
        for error in node.end() {
            print_warning(&chain(&error));
            failures += 1;
        }
    }
    failures
}
