//! What a daemon that died left in the node's directories: Pods to go on with, and remains of Pods that nobody can go on
//! with.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use container::Shim;

use crate::checkpoint::Saved;

/// How long a shim may take to end a Pod that nobody knows any more before its cgroup is killed.
const SHIM_TIMEOUT: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Predecessor {
    /// Whether there has ever been one.
    pub(crate) existed: bool,
    pub(crate) pods: Vec<Saved>,
    /// UIDs of Pods of which nothing was begun, or whose checkpoint cannot be understood.
    pub(crate) remains: Vec<String>,
}

/// Reads the checkpoints of a node.
pub(crate) fn find(data_dir: &Path, run_dir: &Path) -> io::Result<Predecessor> {
    let data = data_dir.join("pods");
    let mut found = Predecessor { existed: data.exists(), ..Predecessor::default() };
    let mut uids = BTreeSet::new();
    for directory in [&data, &run_dir.join("pods")] {
        let entries = match std::fs::read_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            uids.extend(entry?.file_name().into_string());
        }
    }
    for uid in uids {
        match Saved::load(&data.join(&uid))? {
            // A directory that was renamed by hand is not that Pod's.
            Some(saved) if saved.pod.meta.uid == uid => found.pods.push(saved),
            _ => found.remains.push(uid),
        }
    }
    Ok(found)
}

/// Ends and removes what is left of a Pod of which nothing else is known. Goes on after an error and tells each.
pub(crate) async fn discard(node: &crate::node::NodeShared, uid: &str) {
    let config = &node.config;
    let run = config.run_dir.join("pods").join(uid);
    let ended = tokio::time::timeout(SHIM_TIMEOUT, async {
        if let Ok((shim, _events)) = Shim::connect(&run).await {
            let _ = shim.shutdown().await;
        }
    });
    // One that does not answer has its cgroup killed.
    let _ = ended.await;
    let cgroup = format!("/podling/{}/pod{uid}", config.name);
    match tokio::task::spawn_blocking(move || crate::cgroups::end(&cgroup)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(uid, %error, "cannot end what is left of a Pod"),
        Err(panic) => tracing::warn!(uid, %panic, "cannot end what is left of a Pod"),
    }
    if let Err(error) = node.network.detach(uid).await {
        tracing::warn!(uid, %error, "cannot take what is left of a Pod out of the network");
    }
    for directory in [run, config.data_dir.join("pods").join(uid)] {
        if let Err(error) = linux::tree::remove(&directory) {
            tracing::warn!(path = %directory.display(), %error, "cannot remove what is left of a Pod");
        }
    }
}
