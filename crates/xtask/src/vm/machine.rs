//! The machine itself: virtiofsd shows it the host's files, QEMU runs it, its serial line is our output.
//! Both processes end with us, also when something fails.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::command;
use crate::failure::{Attempt, Failure, Result};

/// Where Debian's package puts it; not on the PATH.
const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";
const MEMORY: &str = "4G";
const DISK: &str = "16G";
/// What init.sh says last.
const ENDED: &str = "== machine ended with code ";

/// A process that is killed when nobody holds it any more.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Gone already is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots and gives the exit code of the script inside; `None` when the machine ended before it.
pub(crate) fn run(directory: &Path, kernel: &Path, initramfs: &Path) -> Result<Option<i32>> {
    let disk = make_disk(directory)?;
    let socket = directory.join("virtiofs.sock");
    let files = serve_files(&socket, &directory.join("virtiofsd.log"))?;
    let machine = qemu(kernel, initramfs, &disk, &socket).stdout(Stdio::piped()).spawn();
    let mut machine = Guarded(machine.attempt("starting QEMU")?);
    let output = machine.0.stdout.take().ok_or_else(|| Failure::new("QEMU has no standard output"))?;
    let code = relay(BufReader::new(output));
    drop((machine, files));
    code
}

/// Prints what the machine says and watches for its last words.
fn relay(mut serial: impl BufRead) -> Result<Option<i32>> {
    let mut code = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        if serial.read_until(b'\n', &mut line).attempt("reading the machine's output")? == 0 {
            return Ok(code);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        println!("{text}");
        if let Some(number) = text.strip_prefix(ENDED) {
            code = number.parse().ok();
        }
    }
}

/// A new, empty disk: sparse, so that it takes no space until used.
fn make_disk(directory: &Path) -> Result<PathBuf> {
    let disk = directory.join("disk.img");
    command::output(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(&disk).arg(DISK))?;
    Ok(disk)
}

/// virtiofsd for the whole host. Its own sandbox is a chroot: the namespaces of the other one, and raising
/// limits, need rights that a container has not.
fn serve_files(socket: &Path, log: &Path) -> Result<Guarded> {
    let log_file = File::create(log).attempt(format!("creating {}", log.display()))?;
    // It inherits a socket that listens already, so QEMU need not wait for it.
    let listener = UnixListener::bind(socket).attempt(format!("listening on {}", socket.display()))?;
    fcntl_setfd(&listener, FdFlags::empty()).attempt("passing the socket on")?;
    let mut daemon = ending_with_us(VIRTIOFSD);
    daemon.args(["-f", "-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always", "-o", "xattr"]);
    daemon.args(["-o", "log_level=err", "--rlimit-nofile=0", &format!("--fd={}", listener.as_raw_fd())]);
    let child =
        daemon.stdout(Stdio::null()).stderr(log_file).spawn().attempt(format!("starting {VIRTIOFSD}"))?;
    Ok(Guarded(child))
}

/// A command that the kernel kills when we are gone, however that came about; setpriv(1) is part of every Debian.
fn ending_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

fn qemu(kernel: &Path, initramfs: &Path, disk: &Path, socket: &Path) -> Command {
    let mut qemu = ending_with_us("qemu-system-x86_64");
    qemu.args(["-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", MEMORY]);
    // virtiofsd writes into the machine's memory, so it must be shared.
    qemu.args(["-object", &format!("memory-backend-memfd,id=memory,size={MEMORY},share=on")]);
    qemu.args(["-numa", "node,memdev=memory"]);
    qemu.args(["-chardev", &format!("socket,id=files,path={}", socket.display())]);
    qemu.args(["-device", "vhost-user-fs-pci,chardev=files,tag=host"]);
    qemu.args(["-drive", &format!("file={},format=raw,if=virtio,cache=unsafe", disk.display())]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
    qemu.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
    qemu.stdin(Stdio::null());
    qemu
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_carry_the_code() {
        let serial = "boot\r\n== machine ended with code 3\r\n[ 1.0] reboot: Power down\r\n";
        assert_eq!(relay(serial.as_bytes()).unwrap(), Some(3));
        assert_eq!(relay(&b"Kernel panic\r\n"[..]).unwrap(), None);
    }
}
