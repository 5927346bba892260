//! The root filesystem: an image's layers under a writable one, joined by overlayfs.
//!
//! Layers are given one by one (`lowerdir+`, Linux 6.5) so that their number is not bounded by a page of text;
//! older kernels get the classic option string, in which every layer is named by its descriptor to keep it short.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use linux::mount::{self, MountAttributes};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::attempt::Attempt;
use super::operations::attach_on_host;
use super::paths::ensure_directory_on_host;
use crate::plan::Overlay;
use crate::protocol::{StartError, Step};

/// fsconfig(2) takes strings of up to 255 bytes; a longer path is given as /proc/self/fd/N.
const MAX_PARAMETER_BYTES: usize = 255;
/// overlayfs' magic number (statfs(2)).
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

/// Mounts the overlay at its target, in the calling process's mount namespace, and returns its root.
pub(super) fn mount(overlay: &Overlay) -> Result<OwnedFd, StartError> {
    let describe = || format!("mount the root filesystem at {}", overlay.target.display());
    for directory in [&overlay.upper, &overlay.work, &overlay.target] {
        ensure_directory_on_host(directory)
            .attempt(Step::Rootfs, || format!("make the directory {}", directory.display()))?;
    }
    // A volatile overlay whose machine crashed leaves this mark and refuses to be mounted again, because what was
    // written may be lost. A container's writable layer promises no more than that.
    let mark = overlay.work.join("work/incompat/volatile");
    let _ = std::fs::remove_file(mark.join("dirty"));
    let _ = std::fs::remove_dir(mark);
    let root = match layer_by_layer(overlay) {
        Ok(root) => {
            attach_on_host(&root, &overlay.target).attempt(Step::Rootfs, describe)?;
            root
        }
        Err(_) => {
            one_option_string(overlay).attempt(Step::Rootfs, || describe_refusal(overlay, describe()))?;
            open_directory(&overlay.target).attempt(Step::Rootfs, describe)?
        }
    };
    let attributes = MountAttributes { propagation: overlay.propagation, ..Default::default() };
    if overlay.propagation != 0 {
        mount::set_attributes(root.as_fd(), attributes, false).attempt(Step::Rootfs, describe)?;
    }
    Ok(root)
}

/// The kernel's EINVAL does not say which directory it means; the usual one is known.
fn describe_refusal(overlay: &Overlay, attempt: String) -> String {
    let is_overlay =
        |path: &Path| rustix::fs::statfs(path).is_ok_and(|status| status.f_type as u64 == OVERLAYFS_MAGIC);
    if !is_overlay(&overlay.upper) {
        return format!("{attempt} with overlayfs");
    }
    let upper = overlay.upper.display();
    format!(
        "{attempt}: {upper} lies on an overlay, and overlayfs takes no other overlay as its writable layer; put the data directory on a disk or a tmpfs"
    )
}

/// Whether the kernel knows `lowerdir+`: an older one writes a line to its log for each try.
fn takes_single_layers() -> bool {
    let name = rustix::system::uname();
    let mut numbers = name.release().to_str().unwrap_or_default().split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 5),
        _ => true,
    }
}

fn layer_by_layer(overlay: &Overlay) -> rustix::io::Result<OwnedFd> {
    if !takes_single_layers() {
        return Err(Errno::NOSYS);
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let mut long_paths = Vec::new();
    let mut set = |name: &str, path: &Path| -> rustix::io::Result<()> {
        if path.as_os_str().len() <= MAX_PARAMETER_BYTES {
            return fsconfig_set_string(&context, name, path);
        }
        let opened = open_directory(path)?;
        let result = fsconfig_set_string(&context, name, format!("/proc/self/fd/{}", opened.as_raw_fd()));
        long_paths.push(opened);
        result
    };
    for layer in &overlay.lower {
        set("lowerdir+", layer)?;
    }
    set("upperdir", &overlay.upper)?;
    set("workdir", &overlay.work)?;
    fsconfig_set_string(&context, "source", "overlay")?;
    // No sync of the whole underlying filesystem when the container goes: its layer goes with it.
    fsconfig_set_flag(&context, "volatile")?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn one_option_string(overlay: &Overlay) -> io::Result<()> {
    let mut opened = Vec::new();
    let mut options = String::from("lowerdir=");
    for (index, layer) in overlay.lower.iter().enumerate() {
        let layer = open_directory(layer)?;
        let separator = if index == 0 { "" } else { ":" };
        let _ = write!(options, "{separator}/proc/self/fd/{}", layer.as_raw_fd());
        opened.push(layer);
    }
    let (upper, work) = (open_directory(&overlay.upper)?, open_directory(&overlay.work)?);
    let _ = write!(
        options,
        ",upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{},volatile",
        upper.as_raw_fd(),
        work.as_raw_fd()
    );
    let options = std::ffi::CString::new(options)?;
    Ok(rustix::mount::mount("overlay", &overlay.target, "overlay", MountFlags::empty(), &*options)?)
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
