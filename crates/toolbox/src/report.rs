//! `report`: one JSON document of everything that a process can see of how it was started. Two runtimes that
//! were given the same OCI runtime spec must give the same report; tests compare them.
//!
//! What differs from run to run by nature (namespace inode numbers, PIDs) is reported too; the comparison
//! decides what to leave out.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::failure::Failure;
use crate::json::Json;
use crate::processes::parse_mount;
use crate::text;

/// Paths that runtimes hide or make read-only; what a read of each gives is part of the report.
const GUARDED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// `report`
pub fn report(_: &[String]) -> Result<(), Failure> {
    let status = read("/proc/self/status")?;
    let uname = rustix::system::uname();
    let document = Json::object([
        ("args", Json::texts(std::env::args())),
        ("cwd", std::env::current_dir().map_or(Json::Null, |path| Json::text(path.to_string_lossy()))),
        ("env", Json::texts(environment())),
        ("hostname", Json::text(uname.nodename().to_string_lossy())),
        ("domainname", Json::text(uname.domainname().to_string_lossy())),
        ("pid", Json::Number(i64::from(std::process::id()))),
        (
            "credentials",
            fields(&status, &["Uid", "Gid", "Groups", "Umask", "NoNewPrivs", "Seccomp", "Seccomp_filters"]),
        ),
        ("capabilities", fields(&status, &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])),
        ("oom_score_adj", optional("/proc/self/oom_score_adj")),
        ("apparmor", optional("/proc/self/attr/current")),
        ("rlimits", rlimits(&read("/proc/self/limits")?)),
        ("namespaces", namespaces()?),
        ("cgroups", Json::texts(read("/proc/self/cgroup")?.lines())),
        ("mounts", mounts(&read("/proc/self/mountinfo")?)),
        ("devices", devices()?),
        ("descriptors", descriptors()?),
        ("guarded", Json::object(GUARDED.iter().map(|path| (*path, Json::text(guarded(Path::new(path))))))),
        ("interfaces", Json::texts(names_in("/sys/class/net"))),
    ]);
    text::print_lines([document.to_string()])
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::io(format!("reading {path}"), error))
}

fn optional(path: &str) -> Json {
    fs::read_to_string(path).map_or(Json::Null, |text| Json::text(text.trim_end_matches(['\n', '\0'])))
}

fn environment() -> Vec<String> {
    let mut variables: Vec<_> =
        std::env::vars_os().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
    variables.sort();
    variables
}

/// The named fields of proc_pid_status(5), white space made single.
fn fields(status: &str, names: &[&str]) -> Json {
    Json::object(names.iter().map(|name| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = value.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "));
        (*name, value.map_or(Json::Null, Json::Text))
    }))
}

/// proc_pid_limits(5): a table whose columns begin at fixed places.
fn rlimits(table: &str) -> Json {
    Json::object(table.lines().skip(1).filter_map(|line| {
        let name = line.get(..26)?.trim();
        let mut values = line.get(26..)?.split_whitespace();
        let (soft, hard) = (values.next()?, values.next()?);
        Some((name, Json::text(format!("{soft} {hard}"))))
    }))
}

fn namespaces() -> Result<Json, Failure> {
    let mut found = BTreeMap::new();
    for name in names_in("/proc/self/ns") {
        let target = fs::read_link(Path::new("/proc/self/ns").join(&name))
            .map_err(|error| Failure::io(format!("reading namespace {name}"), error))?;
        found.insert(name, Json::text(target.to_string_lossy()));
    }
    Ok(Json::object(found))
}

fn mounts(table: &str) -> Json {
    let mounts = table.lines().filter_map(parse_mount).map(|mount| {
        Json::object([
            ("target", Json::text(mount.target)),
            ("type", Json::text(mount.fs_type)),
            ("options", Json::text(mount.options)),
            ("propagation", Json::text(mount.propagation.join(" "))),
            ("root", Json::text(mount.root)),
            ("source", Json::text(mount.source)),
            ("fs_options", Json::text(mount.fs_options)),
        ])
    });
    Json::List(mounts.collect())
}

/// Everything in /dev, one level: `c 1:3 0666 0:0`, or where a link leads.
fn devices() -> Result<Json, Failure> {
    let mut found = BTreeMap::new();
    for name in names_in("/dev") {
        let path = Path::new("/dev").join(&name);
        let metadata = fs::symlink_metadata(&path).map_err(|error| Failure::io(path.display(), error))?;
        let kind = metadata.file_type();
        let owner = format!("{:04o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        let number = metadata.rdev();
        let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        let text = match () {
            () if kind.is_symlink() => {
                format!("link to {}", fs::read_link(&path).unwrap_or_default().display())
            }
            () if kind.is_char_device() => format!("c {number} {owner}"),
            () if kind.is_block_device() => format!("b {number} {owner}"),
            () if kind.is_dir() => format!("directory {owner}"),
            () => format!("other {owner}"),
        };
        found.insert(name, Json::Text(text));
    }
    Ok(Json::object(found))
}

/// What each open descriptor refers to, so that a leaked one is seen (CVE-2024-21626).
fn descriptors() -> Result<Json, Failure> {
    let mut found = BTreeMap::new();
    for name in names_in("/proc/self/fd") {
        // The descriptor of the listing itself is gone by now.
        let Ok(target) = fs::read_link(Path::new("/proc/self/fd").join(&name)) else { continue };
        found.insert(name, Json::text(target.to_string_lossy()));
    }
    Ok(Json::object(found))
}

/// Names in a directory, sorted; none when it cannot be read.
fn names_in(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What is found behind a path that should be masked: never its content.
fn guarded(path: &Path) -> &'static str {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => "absent",
        Err(_) => "refused",
        Ok(metadata) if metadata.is_dir() => {
            match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
                Ok(true) => "empty directory",
                Ok(false) => "directory",
                Err(_) => "refused",
            }
        }
        Ok(metadata) if metadata.file_type().is_char_device() => "device",
        Ok(_) => "file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_fields_are_single_spaced() {
        let status = "Name:\tx\nUid:\t0\t1\t2\t3\nGroups:\t \n";
        let expected = Json::object([
            ("Uid", Json::text("0 1 2 3")),
            ("Groups", Json::text("")),
            ("Seccomp", Json::Null),
        ]);
        assert_eq!(fields(status, &["Uid", "Groups", "Seccomp"]), expected);
    }

    #[test]
    fn limits_are_read_by_column() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max open files            1024                 unlimited            files     \n\
                     Max nice priority         0                    0                    \n";
        let expected = Json::object([
            ("Max open files", Json::text("1024 unlimited")),
            ("Max nice priority", Json::text("0 0")),
        ]);
        assert_eq!(rlimits(table), expected);
    }
}
