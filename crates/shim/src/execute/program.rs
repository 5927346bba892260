//! The last steps before the program: from streams to exec, and why an exec failed.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux::exec::Arguments;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};

use super::attempt::{Attempt, failure};
use super::exec_server::Server;
use super::identity;
use super::proc::Proc;
use super::report::{Report, Reporter};
use super::stdio::{Streams, open_terminal};
use linux::seccomp::Filter;
use linux::user_namespace::IdRange;

use crate::plan::ProcessPlan;
use crate::protocol::{StartError, StartErrorKind, Step};

/// The search path when the environment has none, as in runc.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether the terminal becomes /dev/console, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Console {
    /// The container's first process.
    Bind,
    /// An exec.
    Leave,
}

/// Gives the calling process what only the machine's own root can give, before it enters the user namespace in which the
/// program is to run: resource limits, a score, and streams that are the user's.
pub(super) fn give(
    process: &ProcessPlan,
    streams: &Streams,
    users: IdRange,
    proc: &Proc,
    reporter: &Reporter,
) -> Result<(), StartError> {
    for (what, id) in [("user", process.uid), ("group", process.gid)]
        .into_iter()
        .chain(process.groups.iter().map(|group| ("group", *group)))
    {
        if users.outside(id).is_none() {
            let cause = io::Error::other(format!(
                "with hostUsers: false a Pod has those from 0 to {}",
                users.count - 1
            ));
            return Err(failure(Step::Identity, &format!("become {what} {id}"), cause));
        }
    }
    if process.terminal.is_none() {
        streams.install(users.outside(process.uid).unwrap_or(users.first))?;
    }
    identity::set_limits(process, proc, reporter)
}

/// Becomes the program. The caller is in its namespaces and its root already; without `streams` it was [given](give) those
/// and its limits before. Returns the failure.
pub(super) fn run(
    process: &ProcessPlan,
    streams: Option<&Streams>,
    proc: &Proc,
    reporter: &Reporter,
    console: Console,
) -> Result<StartError, StartError> {
    let arguments = prepare(process, streams, proc, reporter, console)?;
    linux::exec::close_all_on_exec().attempt(Step::Exec, || "close descriptors".to_owned())?;
    reporter.report(&Report::Ready);
    if let (true, Some(filter)) = (process.no_new_privileges, &process.seccomp) {
        install(filter)?;
    }
    Ok(execute(process, &arguments))
}

/// Becomes all that the program is, but goes on as this one: the server of the container's execs, to which `socket` leads.
pub(super) fn serve(
    process: &ProcessPlan,
    streams: Option<&Streams>,
    proc: &Proc,
    reporter: &Reporter,
    socket: OwnedFd,
) -> Result<Infallible, StartError> {
    let arguments = prepare(process, streams, proc, reporter, Console::Leave)?;
    // A change of user makes a process what fs.suid_dumpable says.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .attempt(Step::Exec, || "close its memory to others".to_owned())?;
    let _ = rustix::thread::set_name(c"podling-execs");
    reporter.report(&Report::Ready);
    // The reporter with them, which tells the shim that this is done. From here on nothing of the machine is in reach.
    linux::exec::close_all_but(socket.as_fd()).attempt(Step::Exec, || "close descriptors".to_owned())?;
    if let (true, Some(filter)) = (process.no_new_privileges, &process.seccomp) {
        install(filter)?;
    }
    Server::new(process, arguments, socket).serve()
}

/// Takes on everything that the program is to have but its filter, if that can come last; returns what it is given.
fn prepare(
    process: &ProcessPlan,
    streams: Option<&Streams>,
    proc: &Proc,
    reporter: &Reporter,
    console: Console,
) -> Result<Arguments, StartError> {
    linux::exec::reset_own_signals();
    // A process that leads a session already (an exec of a leader's child never does) is fine as it is.
    let _ = rustix::process::setsid();
    match (process.terminal, streams) {
        (Some(size), _) => open_terminal(size, process.uid, console == Console::Bind, reporter)?,
        (None, Some(streams)) => streams.install(process.uid)?,
        (None, None) => {}
    }
    if streams.is_some() {
        identity::set_limits(process, proc, reporter)?;
    }
    set_labels(process, proc)?;
    rustix::process::umask(Mode::from_raw_mode(process.umask));
    // As root it can be entered even where the user has to be in a group of root's; as the user where root may not
    // (root-squashed NFS).
    let entered = rustix::process::chdir(&process.cwd);
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).attempt(Step::Identity, || "set no_new_privs".to_owned())?;
    } else if let Some(filter) = &process.seccomp {
        // Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to go.
        install(filter)?;
    }
    identity::assume(process)?;
    if entered.is_err() {
        rustix::process::chdir(&process.cwd).attempt(Step::WorkingDirectory, || {
            format!("enter the working directory {}", process.cwd.display())
        })?;
    }
    verify_working_directory(&process.cwd)?;
    let arguments = arguments(process)?;
    // After the change of user, which clears it.
    set_parent_process_death_signal(Some(Signal::KILL))
        .attempt(Step::Exec, || "ask to die with the shim".to_owned())?;
    Ok(arguments)
}

fn install(filter: &Filter) -> Result<(), StartError> {
    linux::seccomp::load(filter).attempt(Step::Seccomp, || "install the seccomp filter".to_owned())
}

/// Labels take effect at exec (apparmor(7), selinux(8)).
fn set_labels(process: &ProcessPlan, proc: &Proc) -> Result<(), StartError> {
    if let Some(profile) = &process.apparmor_profile {
        let value = format!("exec {profile}");
        proc.write("thread-self/attr/apparmor/exec", &value)
            .or_else(|_| proc.write("thread-self/attr/exec", &value))
            .attempt(Step::Identity, || format!("apply the AppArmor profile {profile}"))?;
    }
    if let Some(label) = &process.selinux_label {
        proc.write("thread-self/attr/exec", label)
            .attempt(Step::Identity, || format!("apply the SELinux label {label}"))?;
    }
    Ok(())
}

/// CVE-2024-21626: a working directory reached through a leaked descriptor lies outside of the root, and the
/// kernel tells so.
fn verify_working_directory(wanted: &Path) -> Result<(), StartError> {
    let inside = rustix::process::getcwd(Vec::new()).is_ok_and(|path| path.to_bytes().starts_with(b"/"));
    if inside {
        return Ok(());
    }
    let cause = io::Error::other("it is outside of the container");
    let what = format!("enter the working directory {}", wanted.display());
    Err(failure(Step::WorkingDirectory, &what, cause))
}

fn arguments(process: &ProcessPlan) -> Result<Arguments, StartError> {
    let mut environment = process.env.clone();
    if !environment.iter().any(|variable| variable.starts_with("HOME=")) {
        environment.push(format!("HOME={}", home_of(process.uid)));
    }
    Ok(Arguments::new(c_strings(&process.args)?, c_strings(&environment)?))
}

/// Strings as execve takes them.
pub(super) fn c_strings(strings: &[String]) -> Result<Vec<CString>, StartError> {
    strings
        .iter()
        .map(|string| CString::new(string.as_str()))
        .collect::<Result<_, _>>()
        .attempt(Step::Exec, || "pass an argument or environment variable with a zero byte".to_owned())
}

/// The user's home directory by the container's /etc/passwd, as runc and crun set it; "/" for a stranger.
fn home_of(uid: u32) -> String {
    const MAX_PASSWD_BYTES: u64 = 1 << 20;
    let read = || -> io::Result<String> {
        // A fifo in its place must not stop the start.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open("/etc/passwd", flags, Mode::empty())?;
        let found = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a file"));
        }
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(std::fs::File::from(file), MAX_PASSWD_BYTES), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let home = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (id, home) = (fields.nth(2)?, fields.nth(2)?);
        (id.parse() == Ok(uid) && !home.is_empty()).then(|| home.to_owned())
    });
    home.unwrap_or_else(|| "/".to_owned())
}

/// Executes the program in place of this one. Returns the refusal.
fn execute(process: &ProcessPlan, arguments: &Arguments) -> StartError {
    let executed = search(&process.args[0], &process.env, |path| -> io::Result<Infallible> {
        Err(arguments.execute(path))
    });
    match executed {
        Ok(never) => match never {},
        Err(refusal) => refusal,
    }
}

/// Looks a program up in PATH, unless its name has a slash, and tries to execute each candidate.
pub(super) fn search<T>(
    name: &str,
    environment: &[String],
    mut try_path: impl FnMut(&CStr) -> io::Result<T>,
) -> Result<T, StartError> {
    if name.contains('/') {
        return try_path(&c_path(name.as_bytes())).map_err(|error| refused(Path::new(name), name, error));
    }
    let search = environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
    let search = search.unwrap_or(DEFAULT_PATH);
    let mut first_refusal = None;
    for directory in search.split(':') {
        let candidate = PathBuf::from(if directory.is_empty() { "." } else { directory }).join(name);
        let error = match try_path(&c_path(candidate.as_os_str().as_bytes())) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let is_missing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        if !is_missing || candidate.exists() {
            let refusal = refused(&candidate, name, error);
            // A directory of that name in the search path is no program; the next one may be.
            if refusal.kind != StartErrorKind::IsDirectory && refusal.kind != StartErrorKind::NotExecutable {
                return Err(refusal);
            }
            first_refusal.get_or_insert(refusal);
        }
    }
    Err(first_refusal.unwrap_or_else(|| StartError {
        step: Step::Exec,
        errno: Some(rustix::io::Errno::NOENT.raw_os_error()),
        message: format!("cannot run {name}: no such program in PATH ({search}) of the container"),
        kind: StartErrorKind::NotFound,
    }))
}

fn c_path(path: &[u8]) -> CString {
    // Arguments with zero bytes were refused before.
    CString::new(OsStr::from_bytes(path).as_bytes()).unwrap_or_default()
}

/// Says why the kernel refused to execute `path`.
fn refused(path: &Path, name: &str, error: io::Error) -> StartError {
    use rustix::io::Errno;
    let errno = error.raw_os_error();
    let shown = path.display();
    let found = path.metadata();
    let (kind, reason) = match Errno::from_io_error(&error) {
        Some(Errno::NOENT) if found.is_err() => {
            (StartErrorKind::NotFound, format!("{shown} does not exist in the container"))
        }
        Some(Errno::NOENT) => (
            StartErrorKind::BadInterpreter,
            match interpreter(path) {
                Some(interpreter) => format!("its interpreter {interpreter} does not exist in the container"),
                None => "its interpreter or dynamic loader does not exist in the container".to_owned(),
            },
        ),
        Some(Errno::NOTDIR) => {
            (StartErrorKind::NotFound, format!("a part of the path {shown} is not a directory"))
        }
        Some(Errno::ACCESS) if found.is_ok_and(|found| found.is_dir()) => {
            (StartErrorKind::IsDirectory, format!("{shown} is a directory"))
        }
        Some(Errno::ACCESS) => (
            StartErrorKind::NotExecutable,
            format!("{shown} may not be executed by this user (its mode, or a mount with noexec)"),
        ),
        Some(Errno::NOEXEC) => match machine(path) {
            Some(machine) if machine != own_machine() => (
                StartErrorKind::WrongArchitecture,
                format!("{shown} is a program for another processor ({})", machine_name(machine)),
            ),
            _ => (
                StartErrorKind::NotAProgram,
                format!("{shown} is neither a program nor a script that begins with #!"),
            ),
        },
        Some(Errno::TOOBIG) => (
            StartErrorKind::TooLarge,
            "its arguments and environment are larger than the kernel takes".to_owned(),
        ),
        _ => (StartErrorKind::Setup, error.to_string()),
    };
    StartError { step: Step::Exec, errno, message: format!("cannot run {name}: {reason}"), kind }
}

/// The first bytes of a file, as far as the user may read it.
fn head(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?;
    let mut bytes = vec![0; 256];
    let count = rustix::io::read(&file, &mut bytes[..]).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

/// The interpreter that a script names in its first line.
fn interpreter(path: &Path) -> Option<String> {
    let head = head(path)?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(str::to_owned)
}

/// The machine an ELF file is for (`e_machine`, elf(5)).
fn machine(path: &Path) -> Option<u16> {
    let head = head(path)?;
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return None;
    }
    Some(u16::from_le_bytes([head[18], head[19]]))
}

const fn own_machine() -> u16 {
    if cfg!(target_arch = "aarch64") { 183 } else { 62 }
}

fn machine_name(machine: u16) -> String {
    match machine {
        3 => "x86".to_owned(),
        21 => "ppc64le".to_owned(),
        22 => "s390x".to_owned(),
        40 => "arm".to_owned(),
        62 => "amd64".to_owned(),
        183 => "arm64".to_owned(),
        243 => "riscv64".to_owned(),
        other => format!("ELF machine {other}"),
    }
}
