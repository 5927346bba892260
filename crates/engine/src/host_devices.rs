//! The machine's device nodes, which a privileged container is given.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};

/// Directories of /dev that are filesystems of their own, which a container has its own of.
const OWN_FILESYSTEMS: [&str; 4] = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/hugepages"];
/// Directories below each other; /dev is flat but for a few like /dev/mapper and /dev/bus/usb/001.
const DEPTH_LIMIT: usize = 5;

/// Every character and block device below /dev but terminals of others.
pub(crate) fn list() -> Vec<LinuxDevice> {
    let mut devices = Vec::new();
    collect(Path::new("/dev"), DEPTH_LIMIT, &mut devices);
    devices
}

/// What cannot be read is left out: the container could not use it either.
fn collect(directory: &Path, depth: usize, devices: &mut Vec<LinuxDevice>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() && depth > 0 && !OWN_FILESYSTEMS.iter().any(|own| path == Path::new(own)) {
            collect(&path, depth - 1, devices);
        } else if kind.is_char_device() && path != Path::new("/dev/console") {
            devices.extend(node(&path, LinuxDeviceType::C, &metadata));
        } else if kind.is_block_device() {
            devices.extend(node(&path, LinuxDeviceType::B, &metadata));
        }
    }
}

fn node(path: &Path, kind: LinuxDeviceType, metadata: &std::fs::Metadata) -> Option<LinuxDevice> {
    let device = metadata.rdev();
    LinuxDeviceBuilder::default()
        .path(path)
        .typ(kind)
        .major(i64::from(rustix::fs::major(device)))
        .minor(i64::from(rustix::fs::minor(device)))
        .file_mode(metadata.mode() & 0o7777)
        .uid(metadata.uid())
        .gid(metadata.gid())
        .build()
        .ok()
}
