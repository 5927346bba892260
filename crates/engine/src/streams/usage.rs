//! Usage of the node's Pods, read from their cgroups at the moment of asking: nothing is kept, nothing polls.

use std::collections::BTreeMap;
use std::sync::Arc;

use linux::cgroup::{Cgroup, CgroupError, Hierarchy};

use super::{PodUsage, Usage};
use crate::clock;
use crate::node::NodeShared;
use crate::pod::PodContext;

pub(super) async fn usage(node: &Arc<NodeShared>) -> Vec<PodUsage> {
    let pods = node.pods();
    // Some hundred small files for a full node.
    let measured = tokio::task::spawn_blocking(move || measure_all(&pods)).await;
    match measured {
        Ok(measured) => measured,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn measure_all(pods: &[Arc<PodContext>]) -> Vec<PodUsage> {
    let hierarchy = match Hierarchy::detect() {
        Ok(hierarchy) => hierarchy,
        Err(error) => {
            tracing::warn!(%error, "cannot measure the usage of Pods");
            return Vec::new();
        }
    };
    let measured = |context: &Arc<PodContext>| match measure(&hierarchy, context) {
        Ok(usage) => usage,
        Err(error) => {
            tracing::warn!(pod = %context.pod().meta.name, %error, "cannot measure the usage of a Pod");
            None
        }
    };
    pods.iter().filter_map(measured).collect()
}

/// Nothing of a Pod that holds nothing.
fn measure(hierarchy: &Hierarchy, context: &PodContext) -> Result<Option<PodUsage>, CgroupError> {
    let pod = context.pod();
    let of = |path: &str, started_wall_nanos: i64| -> Result<Usage, CgroupError> {
        let usage = Cgroup::open(hierarchy, path)?.usage()?;
        Ok(Usage {
            cpu_nanos: usage.cpu_ns,
            working_set_bytes: usage.memory_working_set_bytes,
            memory_bytes: usage.memory_bytes,
            started_wall_nanos,
        })
    };
    if !Cgroup::open(hierarchy, &context.cgroup)?.exists() {
        return Ok(None);
    }
    let mut containers = BTreeMap::new();
    for (name, running) in context.incarnations.running() {
        let path = container::cgroup_of(&context.cgroup, &name);
        containers.insert(name, of(&path, running.started_wall_nanos)?);
    }
    let started = context.status().map_or(0, |status| status.start_time_wall_nanos);
    Ok(Some(PodUsage {
        namespace: pod.meta.namespace.clone(),
        pod: pod.meta.name.clone(),
        uid: pod.meta.uid.clone(),
        containers,
        whole: of(&context.cgroup, started)?,
        wall_nanos: clock::now().wall_nanos,
    }))
}
