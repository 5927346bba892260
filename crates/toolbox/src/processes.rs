//! Applets about processes and their surroundings: `true`, `false`, `exit`, `sleep`, `chain`, `id`,
//! `hostname`, `ps`, `mount-info`.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use rustix::process::{getegid, geteuid, getgroups};

use crate::failure::Failure;
use crate::{signals, text, time};

/// `true`
pub fn succeed(_: &[String]) -> Result<(), Failure> {
    Ok(())
}

/// `false`
pub fn fail(_: &[String]) -> Result<(), Failure> {
    Err(Failure::Code(1))
}

/// `exit CODE`
pub fn exit(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [code] => match text::number("CODE", code)? {
            0 => Ok(()),
            code => Err(Failure::Code(code)),
        },
        _ => Err(Failure::usage("needs one exit code, 0 to 255")),
    }
}

/// `sleep DURATION`
pub fn sleep(arguments: &[String]) -> Result<(), Failure> {
    let [duration] = arguments else { return Err(Failure::usage("needs one duration")) };
    match time::parse_duration(duration)? {
        None => signals::wait_for_stop(&signals::blocked_stop_signals()?),
        Some(duration) => {
            signals::exit_at_stop(signals::Stop::AsKilled)?;
            thread::sleep(duration);
            Ok(())
        }
    }
}

/// `chain COMMAND... , COMMAND...`: all but the last run as children, the last takes the process over, so
/// that signals reach it.
pub fn chain(arguments: &[String]) -> Result<(), Failure> {
    let commands = split_commands(arguments)?;
    let (last, first) = commands.split_last().ok_or_else(|| Failure::usage("needs a command"))?;
    for command in first {
        let status = Command::new(&command[0]).args(&command[1..]).status();
        let status = status.map_err(|error| not_started(&command[0], error))?;
        match status.code() {
            Some(0) => {}
            Some(code) => {
                return Err(Failure::Coded(code as u8, format!("{} exited with {code}", command[0])));
            }
            None => return Err(Failure::Failed(format!("{} was ended by a signal", command[0]))),
        }
    }
    Err(not_started(&last[0], Command::new(&last[0]).args(&last[1..]).exec()))
}

fn not_started(program: &str, error: io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Failure::Coded(code, format!("starting {program}: {}", crate::failure::reason(&error)))
}

fn split_commands(arguments: &[String]) -> Result<Vec<&[String]>, Failure> {
    let commands: Vec<_> = arguments.split(|argument| argument == ",").collect();
    if commands.iter().any(|command| command.is_empty()) {
        return Err(Failure::usage("has an empty command; commands are separated by a lone comma"));
    }
    Ok(commands)
}

/// `id [-u|-g|-G]`
pub fn id(arguments: &[String]) -> Result<(), Failure> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let groups = getgroups().map_err(|error| Failure::io("reading the supplementary groups", error))?;
    let groups: Vec<_> = groups.iter().map(|group| group.as_raw().to_string()).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            let user = named(uid, "/etc/passwd");
            let group = named(gid, "/etc/group");
            text::print_lines([format!("uid={user} gid={group} groups={}", groups.join(","))])
        }
        ["-u"] => text::print_lines([uid.to_string()]),
        ["-g"] => text::print_lines([gid.to_string()]),
        ["-G"] => text::print_lines([groups.join(" ")]),
        _ => Err(Failure::usage("takes -u, -g or -G")),
    }
}

fn named(id: u32, database: &str) -> String {
    let text = fs::read_to_string(database).unwrap_or_default();
    match name_in(&text, id) {
        Some(name) => format!("{id}({name})"),
        None => id.to_string(),
    }
}

/// passwd(5) and group(5) both start with `name:password:id`.
fn name_in(database: &str, id: u32) -> Option<&str> {
    database.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

/// `hostname`
pub fn hostname(_: &[String]) -> Result<(), Failure> {
    text::print_lines([rustix::system::uname().nodename().to_string_lossy()])
}

/// `ps`: PID, parent, user, state, command line of every process in /proc.
pub fn ps(_: &[String]) -> Result<(), Failure> {
    let entries = fs::read_dir("/proc").map_err(|error| Failure::io("reading /proc", error))?;
    let mut pids: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let header = format!("{:>7} {:>7} {:>6} S COMMAND", "PID", "PPID", "UID");
    // A process that ends while we read is left out.
    text::print_lines([header].into_iter().chain(pids.into_iter().filter_map(process_line)))
}

fn process_line(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()
    };
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = command_line(&arguments).unwrap_or_else(|| format!("[{}]", field("Name").unwrap_or("?")));
    Some(format!("{pid:>7} {:>7} {:>6} {} {command}", field("PPid")?, field("Uid")?, field("State")?))
}

fn command_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\0').replace('\0', " ");
    (!text.is_empty()).then_some(text)
}

/// One line of /proc/self/mountinfo, proc_pid_mountinfo(5).
#[derive(Debug, PartialEq)]
pub struct Mount<'a> {
    /// The directory of the file system that is the root of this mount.
    pub root: &'a str,
    /// Where it is mounted, octal escapes as the kernel writes them.
    pub target: &'a str,
    /// Per-mount options: `ro,nosuid,...`.
    pub options: &'a str,
    /// Propagation tags: `shared:1`, `master:2`; empty when private.
    pub propagation: Vec<&'a str>,
    /// The type of file system.
    pub fs_type: &'a str,
    /// The device or name it was mounted from.
    pub source: &'a str,
    /// Options of the file system itself.
    pub fs_options: &'a str,
}

/// Parses one line; `None` when it is not one.
pub fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, target, options) = (left.next()?, left.next()?, left.next()?);
    let mut right = right.splitn(3, ' ');
    let (fs_type, source, fs_options) = (right.next()?, right.next()?, right.next()?);
    Some(Mount { root, target, options, propagation: left.collect(), fs_type, source, fs_options })
}

/// `mount-info [PATH]`
pub fn mount_info(arguments: &[String]) -> Result<(), Failure> {
    let path = match arguments {
        [] => None,
        [path] => Some(path.as_str()),
        _ => return Err(Failure::usage("takes at most one path")),
    };
    let table = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| Failure::io("reading /proc/self/mountinfo", error))?;
    let mounts: Vec<_> = table
        .lines()
        .filter_map(parse_mount)
        .filter(|mount| path.is_none_or(|path| path == mount.target))
        .map(|mount| {
            format!(
                "{} {} {} {} {}",
                mount.target, mount.fs_type, mount.options, mount.source, mount.fs_options
            )
        })
        .collect();
    match (mounts.is_empty(), path) {
        (true, Some(path)) => Err(Failure::Failed(format!("{path} is not a mount point"))),
        _ => text::print_lines(mounts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn exit_codes() {
        assert!(exit(&words("0")).is_ok());
        assert!(matches!(exit(&words("7")), Err(Failure::Code(7))));
        assert!(matches!(exit(&words("256")), Err(Failure::Usage(_))));
        assert!(matches!(exit(&[]), Err(Failure::Usage(_))));
    }

    #[test]
    fn commands_of_a_chain() {
        let arguments = words("write /a b , sleep 5");
        assert_eq!(split_commands(&arguments).unwrap(), [words("write /a b"), words("sleep 5")]);
        assert!(split_commands(&words("write /a b ,")).is_err());
    }

    #[test]
    fn names_of_ids() {
        let passwd = "root:x:0:0::/:/bin/sh\nweb:x:101:101::/:/bin/false\nbroken\n";
        assert_eq!(name_in(passwd, 101), Some("web"));
        assert_eq!(name_in(passwd, 7), None);
    }

    #[test]
    fn a_mount_line() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        let mount = parse_mount(line).unwrap();
        assert_eq!((mount.root, mount.target, mount.options), ("/mnt1", "/mnt2", "rw,noatime"));
        assert_eq!(mount.propagation, ["master:1", "shared:2"]);
        assert_eq!(
            (mount.fs_type, mount.source, mount.fs_options),
            ("ext3", "/dev/root", "rw,errors=continue")
        );
        assert_eq!(parse_mount("garbage"), None);
    }
}
