//! The calls of the new mount API that rustix lacks: mount_setattr(2), and propagation by descriptor.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Attributes of a mount as mount_setattr(2) changes them; `MOUNT_ATTR_*` in `set` and `clear`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttributes {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear, before setting.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
}

/// Read-only.
pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// Set-user-ID bits and file capabilities have no effect.
pub const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// Device nodes cannot be opened.
pub const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
/// Programs cannot be executed.
pub const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
/// The mask of the three kinds of access times.
pub const ACCESS_TIME_MASK: u64 = libc::MOUNT_ATTR__ATIME;
/// Access times are updated when older than changes.
pub const RELATIVE_ACCESS_TIME: u64 = libc::MOUNT_ATTR_RELATIME;
/// Access times are never updated.
pub const NO_ACCESS_TIME: u64 = libc::MOUNT_ATTR_NOATIME;
/// Access times are always updated.
pub const STRICT_ACCESS_TIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
/// Access times of directories are not updated.
pub const NO_DIRECTORY_ACCESS_TIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
/// Symbolic links are not followed.
pub const NO_SYMLINK_FOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;

/// Mount events stay here and come from nowhere.
pub const PRIVATE: u64 = libc::MS_PRIVATE;
/// Mount events come from the master and stay here.
pub const SLAVE: u64 = libc::MS_SLAVE;
/// Mount events are shared with the peers.
pub const SHARED: u64 = libc::MS_SHARED;
/// Private, and not to be bound elsewhere.
pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// Has a detached mount show the owners of its files as `users` maps them: what is 0 on the disk is 0 in that namespace
/// (mount_setattr(2), `MOUNT_ATTR_IDMAP`). EINVAL: the filesystem knows no mapped mounts.
pub fn map_owners(root: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let argument = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd() as u64,
    };
    set(root, &argument, libc::AT_EMPTY_PATH)
}

/// Changes the attributes of the mount that `root` is the root of, and with `recursive` of all below.
pub fn set_attributes(root: BorrowedFd<'_>, attributes: MountAttributes, recursive: bool) -> io::Result<()> {
    let argument = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    set(root, &argument, libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 })
}

fn set(root: BorrowedFd<'_>, argument: &libc::mount_attr, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: the path is the empty C string and `argument` is a whole mount_attr of the size that is given.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            root.as_raw_fd(),
            c"".as_ptr(),
            flags,
            argument as *const libc::mount_attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
