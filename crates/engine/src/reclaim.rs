//! Takes away what a dead node left: its processes, cgroups and network. For nodes whose Pods nobody wants any
//! more, because they died with the foreground that wanted them (`podling run`).
//!
//! A node that shall go on is not reclaimed: it is started again in its directories.

use std::path::Path;
use std::time::Duration;

use container::Shim;
use linux::cgroup::CgroupError;

/// How long a shim may take to end its Pod before the Pod's cgroup is killed without it.
const SHIM_TIMEOUT: Duration = Duration::from_secs(5);

/// What could not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum ReclaimError {
    /// Something in the cgroup tree.
    #[error("cannot end the processes of the dead node {node}")]
    Cgroup {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: CgroupError,
    },
    /// Something in the network.
    #[error("cannot remove the network of the dead node {node}")]
    Network {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: network::Error,
    },
}

/// Ends everything of a dead node but its files, which the caller removes. Its shims are asked first, because they
/// know all of their Pod; what is left in the node's cgroup is killed. Goes on after an error and returns all.
pub async fn reclaim(node: &str, run_dir: &Path) -> Vec<ReclaimError> {
    end_shims(&run_dir.join("pods")).await;
    let (name, run_dir) = (node.to_owned(), run_dir.to_owned());
    let rest = tokio::task::spawn_blocking(move || {
        let mut errors = Vec::new();
        if let Err(source) = end_cgroup(&name) {
            errors.push(ReclaimError::Cgroup { node: name.clone(), source });
        }
        errors.extend(
            end_network(&run_dir)
                .into_iter()
                .map(|source| ReclaimError::Network { node: name.clone(), source }),
        );
        errors
    });
    match rest.await {
        Ok(errors) => errors,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Asks the shims that still live to end their Pods, all at the same time.
async fn end_shims(pods: &Path) {
    let Ok(entries) = std::fs::read_dir(pods) else { return };
    let mut ends = tokio::task::JoinSet::new();
    for entry in entries.flatten() {
        ends.spawn(tokio::time::timeout(SHIM_TIMEOUT, async move {
            // A shim that is dead, or does not answer, has its cgroup killed below; so no error is lost here.
            if let Ok((shim, _events)) = Shim::connect(&entry.path()).await {
                let _ = shim.shutdown().await;
            }
        }));
    }
    while ends.join_next().await.is_some() {}
}

fn end_cgroup(node: &str) -> Result<(), CgroupError> {
    crate::cgroups::end(&format!("/podling/{node}"))?;
    crate::cgroups::remove_node(node)
}

fn end_network(run_dir: &Path) -> Vec<network::Error> {
    let claims = Path::new(network::CLAIMS_DIR);
    // Without the directory of claims no node has ever had a network here.
    if !claims.exists() {
        return Vec::new();
    }
    let found = match network::leftovers::find(claims, |other| other != run_dir) {
        Ok(found) => found,
        Err(error) => return vec![error],
    };
    // What tells no owner is not known to be this node's.
    let of_this_node =
        found.iter().filter(|leftover| leftover.run_dir.as_deref().map(Path::new) == Some(run_dir));
    of_this_node.filter_map(|leftover| network::leftovers::remove(claims, leftover).err()).flatten().collect()
}
