//! AllocateResources, ResizePod and ResizeContainer: cpu and memory of what runs already (KEP-1287).
//!
//! A resize is told as done only when the kernel, asked afterwards, has the values: status shows what holds.

use container::Resized;
use lifecycle::{Failure, Reason};
use linux::cgroup::{Limits, weight_from_shares};
use model::pod::Resources;
use model::quantity::Quantity;

use super::{Performed, chain, failed, performed, stuck};
use crate::allocations::Amounts;
use crate::pod::{Change, PodContext, key};
use crate::spec::resources;

/// The largest pages of the processors that podling runs on.
const PAGE_BYTES: i64 = 64 << 10;

/// Asks the node's books.
pub(super) fn allocate(context: &PodContext, resources: &Resources) -> Performed {
    let uid = &context.pod().meta.uid;
    match context.node.allocations.resize(uid, Amounts::requested(resources), context.inputs()) {
        Ok(()) => performed(Change::Nothing),
        Err(refusal) => (Err(stuck(refusal.reason, refusal.message)), Change::Nothing),
    }
}

/// Changes the Pod's cgroup.
pub(super) async fn pod(context: &PodContext, resources: &Resources) -> Performed {
    told(apply(context, None, resources, "pod").await)
}

/// Changes the cgroup of a running incarnation.
pub(super) async fn container(
    context: &PodContext,
    container: &str,
    attempt: u32,
    resources: &Resources,
) -> Performed {
    let what = format!("container {container}");
    told(apply(context, Some(key(container, attempt)), resources, &what).await)
}

fn told(result: Result<(), Failure>) -> Performed {
    match result {
        Ok(()) => performed(Change::Nothing),
        Err(failure) => (Err(failure), Change::Nothing),
    }
}

async fn apply(
    context: &PodContext,
    key: Option<String>,
    resources: &Resources,
    what: &str,
) -> Result<(), Failure> {
    let refused = |message: String| failed(Reason::ResizeError, message);
    let wanted = resources::resized(resources).map_err(|error| refused(chain(&error)))?;
    let shim = context.running_shim().ok_or_else(|| refused(format!("{what} does not run")))?;
    let resized = shim.resize(key.as_deref(), wanted.clone()).await;
    match resized.map_err(|error| refused(chain(&error)))? {
        Resized::InForce(in_force) => match difference(&wanted, &in_force) {
            None => Ok(()),
            Some(difference) => Err(refused(format!("cannot resize {what}: {difference}"))),
        },
        Resized::MemoryInUse { bytes } => {
            // The kubelet's words.
            let limit_bytes = resources.limits.get("memory").map_or(0, Quantity::value);
            let what = match what.strip_prefix("container ") {
                Some(name) => format!("container {name:?}"),
                None => "pod".to_owned(),
            };
            Err(refused(format!(
                "cannot decrease memory limits: attempting to set {what} memory limit ({limit_bytes}) below current \
                 usage ({bytes})"
            )))
        }
    }
}

/// What the kernel has other than it was told. It counts memory in pages, and v2 has fewer weights than shares.
fn difference(wanted: &Limits, in_force: &Limits) -> Option<String> {
    let weight = |limits: &Limits| limits.cpu_shares.map(weight_from_shares);
    let differs = |file: &str, wanted: Option<i64>, has: Option<i64>| {
        format!("the kernel has {has:?} for {file}, told {wanted:?}")
    };
    let is_rounded = wanted
        .memory_limit_bytes
        .zip(in_force.memory_limit_bytes)
        .is_some_and(|(wanted, has)| wanted == has || has >= 0 && (0..PAGE_BYTES).contains(&(wanted - has)));
    if !is_rounded {
        return Some(differs("the memory limit", wanted.memory_limit_bytes, in_force.memory_limit_bytes));
    }
    if wanted.cpu_quota_us != in_force.cpu_quota_us {
        return Some(differs("the cpu quota", wanted.cpu_quota_us, in_force.cpu_quota_us));
    }
    if weight(wanted) != weight(in_force) {
        let shares = |limits: &Limits| limits.cpu_shares.and_then(|shares| i64::try_from(shares).ok());
        return Some(differs("the cpu shares", shares(wanted), shares(in_force)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_no_difference_and_everything_else_is() {
        let wanted = Limits {
            cpu_shares: Some(1000),
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            memory_limit_bytes: Some(64_000_001),
            ..Limits::default()
        };
        let rounded =
            Limits { memory_limit_bytes: Some(63_995_904 + 4096), cpu_shares: Some(1001), ..wanted.clone() };
        assert_eq!(difference(&wanted, &rounded), None);
        let unlimited = Limits { memory_limit_bytes: Some(-1), ..wanted.clone() };
        let told = "the kernel has Some(-1) for the memory limit, told Some(64000001)";
        assert_eq!(difference(&wanted, &unlimited).as_deref(), Some(told));
        let unbound = Limits { cpu_quota_us: Some(-1), ..wanted.clone() };
        assert!(difference(&wanted, &unbound).is_some());
        let light = Limits { cpu_shares: Some(2), ..wanted.clone() };
        assert!(difference(&wanted, &light).is_some());
    }
}
