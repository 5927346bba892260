//! While a Pod is not what was asked, its status says why, in one sentence; and nothing else that is told of it says
//! otherwise. The simulation asks this of every decision.

use lifecycle::Decision;
use lifecycle::status::{ContainerState, Phase};
use model::pod::Pod;

/// What is wrong with the cause of this decision, if anything is.
pub fn untold(pod: &Pod, decision: &Decision) -> Option<String> {
    let status = &decision.status;
    let Some(cause) = &status.cause else {
        let is_short_of_something = match status.phase {
            Phase::Succeeded => false,
            Phase::Failed => true,
            Phase::Pending | Phase::Running => !status.is_ready() && !has_completed_container(decision),
        };
        return is_short_of_something
            .then(|| format!("{:?}, and no cause is told: {status:#?}", status.phase));
    };
    if cause.is_empty() || cause.contains('\n') || cause.ends_with('.') {
        return Some(format!("the cause is no sentence to be put into another: {cause:?}"));
    }
    let blocked = decision.blocked.as_ref();
    let differs = blocked.filter(|blocked| !cause.contains(&blocked.message));
    differs.map(|blocked| format!("{} is blocked by {blocked:?}, and the cause is {cause:?}", pod.meta.name))
}

/// A main container that ended as it should makes a Pod unready for Kubernetes, and is nothing to act on.
fn has_completed_container(decision: &Decision) -> bool {
    decision.status.container_statuses.iter().any(
        |container| matches!(&container.state, ContainerState::Terminated(ended) if ended.exit_code == 0),
    )
}
