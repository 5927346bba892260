//! Directories: made, owned, removed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::VolumeError;

/// Makes the directory; `false` when it was there already.
pub(crate) fn ensure_new_directory(path: &Path) -> Result<bool, VolumeError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(VolumeError::io("make the directory", path)(error)),
    }
}

/// chmod, because the modes given to mkdir(2) and open(2) are cut by the umask.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(VolumeError::io("set the permissions of", path))
}

/// chown, not following a link; what is not given stays.
pub(crate) fn set_owner(path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<(), VolumeError> {
    std::os::unix::fs::lchown(path, uid, gid).map_err(VolumeError::io("set the owner of", path))
}

/// Removes a directory with all below it; nothing there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), VolumeError> {
    linux::tree::remove(path).map_err(VolumeError::io("remove the directory", path))
}
