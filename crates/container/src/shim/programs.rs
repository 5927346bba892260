//! Shim and pause as sealed memfds: made once in this process and executed from there, so that all Pods share their
//! pages and no container can write to them (CVE-2019-5736).

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

static SHIM: OnceLock<OwnedFd> = OnceLock::new();
static PAUSE: OnceLock<OwnedFd> = OnceLock::new();

/// The shim's program.
pub(super) fn shim() -> io::Result<BorrowedFd<'static>> {
    sealed(&SHIM, "podling-shim", programs::SHIM)
}

/// Pause's program.
pub(super) fn pause() -> io::Result<BorrowedFd<'static>> {
    sealed(&PAUSE, "pause", programs::PAUSE)
}

fn sealed(cell: &'static OnceLock<OwnedFd>, name: &str, program: &[u8]) -> io::Result<BorrowedFd<'static>> {
    if let Some(memfd) = cell.get() {
        return Ok(memfd.as_fd());
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux before 6.3 does not know EXEC, later ones may be set up to ask for it (vm.memfd_noexec).
    let memfd = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags))?;
    let mut file = std::fs::File::from(memfd);
    file.write_all(program)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    // Two threads may have made one; either will do.
    Ok(cell.get_or_init(|| OwnedFd::from(file)).as_fd())
}
