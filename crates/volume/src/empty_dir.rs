//! emptyDir: a directory or tmpfs that is born with the Pod and goes with it.
//!
//! Mode 0777 as the kubelet has it, because the containers that share it may have different users. With an
//! `fsGroup` the directory belongs to that group and has the setgid bit, so that what any container writes
//! belongs to the group too.

use model::pod::Medium;
use model::quantity::Quantity;

use crate::{Context, Prepared, VolumeError, ensure_directory, tree};

/// The kubelet's mode of an emptyDir.
const MODE: u32 = 0o777;
/// set-group-ID.
const SETGID: u32 = 0o2000;

pub(crate) fn prepare(
    name: &str,
    medium: Medium,
    size_limit: Option<&Quantity>,
    context: &Context<'_>,
) -> Result<Prepared, VolumeError> {
    let mode = if context.fs_group.is_some() { MODE | SETGID } else { MODE };
    match medium {
        Medium::Disk => {
            let path = ensure_directory(context.data_dir, "empty-dir", name)?;
            // A directory that exists is in use: its owner and mode are the containers' business by now.
            if tree::ensure_new_directory(&path)? {
                if let Some(gid) = context.fs_group {
                    tree::set_owner(&path, None, Some(gid))?;
                }
                tree::set_mode(&path, mode)?;
            }
            Ok(Prepared::Directory { path })
        }
        Medium::Memory => {
            let path = ensure_directory(context.run_dir, "empty-dir", name)?;
            tree::ensure_new_directory(&path)?;
            // `size=0` means no limit to tmpfs, while a limit of 0 means no limit to Kubernetes as well.
            let size_limit_bytes =
                size_limit.and_then(|limit| u64::try_from(limit.value()).ok()).filter(|bytes| *bytes > 0);
            Ok(Prepared::Tmpfs { path, size_limit_bytes, mode, gid: context.fs_group })
        }
    }
}
