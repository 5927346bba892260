//! Giving the space of a removed image back after the command has ended.
//!
//! An image is gone within milliseconds, by renames; to free half a gigabyte takes the file system much longer: pages of the
//! cache, and with the mount option `discard` the disk is told of every block. Nobody has to wait for that. Another podling
//! does it and ends; when it is killed, the next command that changes the store goes on.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use ::image::Trash;

use super::ImageFailure;
use crate::exit::Code;
use crate::failure::Failure;

/// Less is given back sooner than a process is started.
const WORTH_A_PROCESS_BYTES: u64 = 16 << 20;

/// Leaves `trash` to a process of its own. What is little, or where none can be started, is given back here.
#[allow(clippy::zombie_processes, reason = "this command ends before it does, and init reaps it")]
pub(super) fn hand_over(trash: Trash, freed_bytes: u64) {
    if trash.is_empty() || freed_bytes < WORTH_A_PROCESS_BYTES {
        return;
    }
    let Ok(lock) = trash.lock() else { return };
    let mut sweeper = Command::new("/proc/self/exe");
    sweeper.args(["image", "sweep"]).env_clear();
    // Nobody waits for the end of its output, and Ctrl-C is not meant for it.
    sweeper.stdin(Stdio::from(lock)).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    if sweeper.spawn().is_ok() {
        trash.hand_over();
    }
}

/// What a removal left to this process.
pub(super) fn sweep() -> Result<Code, Failure> {
    ::image::sweep(io::stdin().as_fd()).map_err(ImageFailure::from)?;
    Ok(Code::SUCCESS)
}
