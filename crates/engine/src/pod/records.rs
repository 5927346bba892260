//! What a later daemon cannot ask anybody for, written down beside the Pod's sockets: how a sandbox was attached, what its
//! containers' processes are, which volumes are whole.
//!
//! In the run directory, because all of it ends with the boot; where that directory outlives a reboot, the boot's id tells.
//! Each is one small file, put in place by rename, written before what it speaks of can be seen and removed after it is
//! gone.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;

use lifecycle::User;
use linux::user_namespace::IdRange;
use network::Attachment;
use oci_spec::runtime::Process;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use volume::Prepared;

use super::context::PodDirectories;
use crate::clock;

/// A sandbox that is being made, or stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) attempt: u32,
    boot_id: u128,
    /// None until it stands.
    pub(crate) standing: Option<StandingSandbox>,
}

/// What belongs to a sandbox that stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StandingSandbox {
    pub(crate) pod_ips: Vec<String>,
    pub(crate) host_ips: Vec<String>,
    /// None on the machine's network.
    pub(crate) attachment: Option<Attachment>,
}

impl SandboxRecord {
    pub(crate) fn new(attempt: u32, standing: Option<StandingSandbox>) -> SandboxRecord {
        SandboxRecord { attempt, boot_id: clock::now().boot_id, standing }
    }
}

/// One incarnation, from before it is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// Its process as its spec has it; an exec is the same with another command.
    pub(crate) process: Option<Process>,
    pub(crate) user: Option<User>,
    /// What signal stops it.
    pub(crate) stop_signal: i32,
}

impl PodDirectories {
    pub(crate) fn save_sandbox(&self, record: &SandboxRecord) -> io::Result<()> {
        save(&self.sandbox_record(), record)
    }

    /// The sandbox of this boot, if one was begun.
    pub(crate) fn load_sandbox(&self) -> Option<SandboxRecord> {
        let record: SandboxRecord = load(&self.sandbox_record())?;
        (record.boot_id == clock::now().boot_id).then_some(record)
    }

    pub(crate) fn forget_sandbox(&self) -> io::Result<()> {
        remove(&self.sandbox_record())
    }

    /// Whose users the Pod has on the machine: the next sandbox has the same, as with the kubelet.
    pub(crate) fn save_users(&self, range: IdRange) -> io::Result<()> {
        save(&self.users_record(), &(range.first, range.count))
    }

    pub(crate) fn load_users(&self) -> Option<IdRange> {
        load(&self.users_record()).map(|(first, count)| IdRange { first, count })
    }

    pub(crate) fn save_volumes(&self, volumes: &BTreeMap<String, Prepared>) -> io::Result<()> {
        save(&self.volumes_record(), volumes)
    }

    /// The volumes, if all of them were made.
    pub(crate) fn load_volumes(&self) -> Option<BTreeMap<String, Prepared>> {
        load(&self.volumes_record())
    }

    pub(crate) fn forget_volumes(&self) -> io::Result<()> {
        remove(&self.volumes_record())
    }

    pub(crate) fn save_container(
        &self,
        container: &str,
        attempt: u32,
        record: &ContainerRecord,
    ) -> io::Result<()> {
        save(&self.container_record(container, attempt), record)
    }

    pub(crate) fn load_container(&self, container: &str, attempt: u32) -> Option<ContainerRecord> {
        load(&self.container_record(container, attempt))
    }
}

fn save(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let draft = path.with_extension("new");
    let text = serde_json::to_vec(record)?;
    match std::fs::write(&draft, &text) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(draft.parent().unwrap_or(&draft))?;
            std::fs::write(&draft, &text)?;
        }
        written => written?,
    }
    std::fs::rename(&draft, path)
}

/// What is not there, or is not whole, was never relied on.
fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = std::fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot understand what an earlier podling wrote");
            None
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
