//! Mounting a file as an EROFS: directly (Linux 6.12, `CONFIG_EROFS_FS_BACKED_BY_FILE`), else by a loop device.
//!
//! The mount is detached: it lives as long as its descriptor, or the namespace in which it is attached. So does the loop
//! device, which the kernel frees with its last user (`LO_FLAGS_AUTOCLEAR`, loop(4)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

/// fsconfig(2) takes strings of up to 255 bytes.
const MAX_PARAMETER_BYTES: usize = 255;

/// How a file became a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// The kernel reads the file itself.
    File,
    /// The kernel reads a block device, which reads the file.
    LoopDevice,
}

/// Mounts `image` read-only. The error is of the last way that was tried: ENODEV where the kernel has no EROFS.
pub fn mount(image: &Path) -> io::Result<(OwnedFd, Backing)> {
    let file = File::open(image)?;
    let by_descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    let is_short = image.as_os_str().len() <= MAX_PARAMETER_BYTES;
    match mount_source(if is_short { image } else { Path::new(&by_descriptor) }) {
        Ok(mount) => return Ok((mount, Backing::File)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Err(error),
        // An older kernel wants a block device; so do all for a file that has no page cache of its own (tmpfs, overlayfs).
        Err(_) => {}
    }
    let device = loop_device(&file)?;
    Ok((mount_source(Path::new(&device.path))?, Backing::LoopDevice))
}

fn mount_source(source: &Path) -> io::Result<OwnedFd> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", source)?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?)
}

/// A loop device that is in use as long as it is open or mounted.
struct LoopDevice {
    path: String,
    _open: File,
}

/// `struct loop_config` of linux/loop.h, its `loop_info64` taken apart as far as it is used.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_bytes: u32,
    before_flags: [u8; 52],
    flags: u32,
    after_flags: [u8; 176],
    reserved: [u64; 8],
}

const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// Past the page cache of the file, whose contents are cached on the device's side already.
const LO_FLAGS_DIRECT_IO: u32 = 16;

fn loop_device(file: &File) -> io::Result<LoopDevice> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    loop {
        // SAFETY: the descriptor is open, and this request takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = format!("/dev/loop{number}");
        let device = File::open(&path)?;
        let config = LoopConfig {
            fd: file.as_raw_fd() as u32,
            block_bytes: 0,
            before_flags: [0; 52],
            flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
            after_flags: [0; 176],
            reserved: [0; 8],
        };
        // SAFETY: both descriptors are open, and `config` has the layout of `struct loop_config`.
        if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } == 0 {
            return Ok(LoopDevice { path, _open: device });
        }
        let error = io::Error::last_os_error();
        // Somebody else was given the same free device and was faster.
        if error.raw_os_error() != Some(libc::EBUSY) {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structure_has_its_size() {
        assert_eq!(size_of::<LoopConfig>(), 304);
        assert_eq!(std::mem::offset_of!(LoopConfig, flags), 60);
    }

    #[test]
    fn what_is_no_image_is_an_error() {
        assert!(mount(Path::new("/nonexistent")).is_err());
        assert!(mount(Path::new("/proc/version")).is_err());
    }
}
