//! The initial file system: busybox, the few modules that reach the host's files and the disk, and init.sh.
//! Written as a `newc` archive (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fs;
use std::path::{Path, PathBuf};

use super::kernel::Kernel;
use crate::failure::{Attempt, Result};
use crate::images::packages::{self, Packages};
use crate::images::recipes;
use crate::workspace;

/// Modules without which the machine has no files; all others are loaded on demand, later.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "virtiofs", "overlay"];

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// Writes the archive that boots into the script at `run`.
pub(crate) fn write(directory: &Path, kernel: &Kernel, run: &Path) -> Result<PathBuf> {
    let tree = Packages::new(workspace::target().join("images/debs")).unpack(&recipes::BASE)?;
    let busybox = tree.file("/usr/bin/busybox")?;
    let mut archive = Newc::default();
    for name in ["bin", "dev", "host", "modules", "over", "proc", "root", "sys"] {
        archive.add(name, DIRECTORY, b"");
    }
    archive.add("bin/busybox", PROGRAM, &busybox);
    for applet in packages::busybox_applets(&busybox)? {
        archive.add(&format!("bin/{applet}"), LINK, b"busybox");
    }
    let mut order = String::new();
    for path in kernel.load_order(MODULES)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        order.push_str(&format!("{name}\n"));
        let bytes = fs::read(&path).attempt(format!("reading {}", path.display()))?;
        archive.add(&format!("modules/{name}"), FILE, &bytes);
    }
    archive.add("modules/order", FILE, order.as_bytes());
    let init = include_str!("init.sh");
    let settings = format!("MODULES={}\nRUN={}\n", kernel.modules.display(), run.display());
    let init = init.replacen("\nexport PATH", &format!("\n{settings}export PATH"), 1);
    archive.add("init", PROGRAM, init.as_bytes());
    let path = directory.join("initramfs.cpio");
    fs::write(&path, archive.finish()).attempt(format!("writing {}", path.display()))?;
    Ok(path)
}

/// An archive under construction.
#[derive(Default)]
struct Newc {
    bytes: Vec<u8>,
    inode: u32,
}

impl Newc {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        // Magic, then: inode, mode, uid, gid, links, mtime, size, device (2), device number (2), name size, check.
        let size = content.len() as u32;
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, b"");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned() {
        let mut archive = Newc::default();
        archive.add("ab", FILE, b"xyz");
        let bytes = archive.finish();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[110..113], b"ab\0");
        assert_eq!(&bytes[116..124], b"xyz\x000707");
        assert_eq!(bytes.len() % 4, 0);
    }
}
