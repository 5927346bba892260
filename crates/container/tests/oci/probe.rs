//! What a container looks like from inside: a program that the tests compile statically (`rustc`, standard
//! library only) and run in containers. Each argument is one act; what it found goes to standard output.
//!
//! ```text
//! report        everything that the OCI runtime specification lets a runtime decide
//! read=PATH     the content, or the error number
//! write=PATH    opens for writing and writes one line
//! open=PATH     opens for reading only
//! list=PATH     names and kinds
//! mkdir=PATH    ... and symlink=PATH, unlink=PATH, exec=PATH: what comes of it
//! link=PATH     where a symbolic link leads
//! hunt=PATH     looks at the programs of all other processes and tries to overwrite them, until PATH exists;
//!               makes PATH.met as soon as it has met one that is not this program
//! connect6      a socket of family INET6
//! say=TEXT      prints it
//! exit=CODE     ends so; abort ends by SIGABRT; sleep waits for ever; stdin waits for its end
//! ```
//!
//! Must not use `unsafe` or crates: it is no part of the crate, and it must build wherever rustc is.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

fn main() {
    for act in std::env::args().skip(1) {
        let (verb, value) = act.split_once('=').unwrap_or((&act, ""));
        perform(verb, value);
        // What was found must be out before the next act, which may be the last.
        let _ = io::stdout().flush();
    }
}

fn perform(verb: &str, value: &str) {
    let path = Path::new(value);
    match verb {
        "report" => report(),
        "read" => told(verb, value, fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        "write" => {
            let opened = fs::OpenOptions::new().write(true).open(path);
            told(verb, value, opened.and_then(|mut file| file.write_all(b"probe\n")).map(|()| "done".into()));
        }
        "open" => told(verb, value, fs::File::open(path).map(|_| "opened".into())),
        "list" => told(verb, value, listing(path)),
        "mkdir" => told(verb, value, fs::create_dir(path).map(|()| "done".into())),
        "unlink" => told(verb, value, fs::remove_file(path).map(|()| "done".into())),
        "symlink" => told(verb, value, std::os::unix::fs::symlink("/", path).map(|()| "done".into())),
        "exec" => told(verb, value, std::process::Command::new(path).status().map(|status| status.to_string())),
        "link" => told(verb, value, fs::read_link(path).map(|to| to.display().to_string())),
        "hunt" => hunt(path),
        "connect6" => told(verb, value, std::net::TcpListener::bind("[::1]:0").map(|_| "bound".into())),
        "say" => println!("{value}"),
        "exit" => std::process::exit(value.parse().unwrap_or(99)),
        "abort" => std::process::abort(),
        "sleep" => loop {
            std::thread::park();
        },
        "stdin" => {
            let _ = io::stdin().read_to_end(&mut Vec::new());
        }
        _ => println!("unknown act {verb}"),
    }
}

/// CVE-2019-5736: whoever enters a container may still be executing the runtime's program; /proc/PID/exe leads
/// to it, and a descriptor of it can be opened again for writing.
fn hunt(until: &Path) {
    let own = std::process::id();
    let (mut closed, mut foreign, mut overwritten) = (0, 0, 0);
    while !until.exists() {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            if pid == own {
                continue;
            }
            let exe = entry.path().join("exe");
            let met = match fs::read_link(&exe) {
                Ok(link) if link != Path::new("/bin/probe") => {
                    foreign += 1;
                    let again = fs::File::open(&exe).and_then(|held| {
                        let held = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
                        fs::OpenOptions::new().write(true).open(held)
                    });
                    let written = again.and_then(|mut file| file.write_all(b"#!/bin/probe\n"));
                    overwritten += u32::from(written.is_ok());
                    true
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    closed += 1;
                    true
                }
                _ => false,
            };
            if met {
                let _ = fs::write(until.with_extension("met"), "");
            }
        }
    }
    println!("hunt: closed {} foreign {} overwritten {overwritten}", closed > 0, foreign > 0);
}

fn told(verb: &str, value: &str, outcome: io::Result<String>) {
    match outcome {
        Ok(text) => println!("{verb} {value}: {}", text.trim_end().replace('\n', "|")),
        Err(error) => println!("{verb} {value}: errno {}", error.raw_os_error().unwrap_or(-1)),
    }
}

fn line(key: &str, value: impl std::fmt::Display) {
    println!("{key}: {value}");
}

/// One `key: value` per line; keys repeat where there are several.
fn report() {
    line("args", format!("{:?}", std::env::args().collect::<Vec<_>>()));
    line("pid", std::process::id());
    line("cwd", std::env::current_dir().map_or_else(|error| error.to_string(), |dir| dir.display().to_string()));
    let mut env: Vec<_> = std::env::vars_os().collect();
    env.sort();
    for (name, value) in env {
        line("env", format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let told = [
        "Umask", "PPid", "Uid", "Gid", "Groups", "NSsid", "NSpgid", "SigBlk", "SigIgn", "CapInh", "CapPrm",
        "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Cpus_allowed_list",
    ];
    for entry in status.lines() {
        if let Some((key, value)) = entry.split_once(':')
            && told.contains(&key)
        {
            line(key, value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    for file in ["oom_score_adj", "personality", "cgroup", "comm", "attr/current"] {
        let content = fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_else(|error| error.to_string());
        for entry in content.lines() {
            line(file, entry);
        }
    }
    for entry in fs::read_to_string("/proc/self/limits").unwrap_or_default().lines().skip(1) {
        line("limit", entry.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    line("hostname", fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim());
    line("domainname", fs::read_to_string("/proc/sys/kernel/domainname").unwrap_or_default().trim());
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"] {
        let link = fs::read_link(format!("/proc/self/ns/{kind}"));
        line("namespace", link.map_or_else(|error| error.to_string(), |link| link.display().to_string()));
    }
    for entry in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        line("mount", entry);
    }
    descriptors();
    tree("node", Path::new("/dev"));
    tree("node", Path::new("/nodes"));
    for path in opened("/nodes").into_iter().chain(opened("/dev")) {
        line("open", path);
    }
}

/// Descriptors the program was started with (the directory's own is left out).
fn descriptors() {
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).map_or_else(|error| error.to_string(), |at| at.display().to_string());
        if !target.starts_with("/proc/") || !target.ends_with("/fd") {
            line("descriptor", format!("{} {target}", entry.file_name().to_string_lossy()));
        }
    }
}

/// Whether the device nodes of a directory can be opened for reading.
fn opened(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_device = entry.file_type().is_ok_and(|kind| kind.is_char_device() || kind.is_block_device());
        if is_device {
            let outcome = match fs::File::open(entry.path()) {
                Ok(_) => "opens".to_owned(),
                Err(error) => format!("errno {}", error.raw_os_error().unwrap_or(-1)),
            };
            found.push(format!("{} {outcome}", entry.path().display()));
        }
    }
    found.sort();
    found
}

/// Everything below a directory: kind, mode, owner, device number or link target.
fn tree(key: &str, directory: &Path) {
    let mut entries: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let kind = meta.file_type();
        let extra = if kind.is_symlink() {
            fs::read_link(&path).map_or_else(|error| error.to_string(), |at| at.display().to_string())
        } else {
            // major(3) and minor(3) of the numbers that occur here.
            format!("{}:{}", meta.rdev() >> 8 & 0xfff, meta.rdev() & 0xff)
        };
        line(key, format!("{} {:o} {}:{} {extra}", path.display(), meta.mode(), meta.uid(), meta.gid()));
        if kind.is_dir() {
            tree(key, &path);
        }
    }
}

fn listing(path: &Path) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        names.push(format!("{}{}", entry.file_name().to_string_lossy(), if entry.file_type()?.is_dir() { "/" } else { "" }));
    }
    names.sort();
    Ok(names.join(" "))
}
