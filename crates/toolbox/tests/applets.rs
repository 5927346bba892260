//! The built program, run as a user would: exit codes, signals, following of files, serving of HTTP.
//! Needs no privilege. Every wait is for an event: a line, an exit.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

fn toolbox(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toolbox"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = toolbox(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A running applet whose lines are read one by one; killed when dropped.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = toolbox(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the applet ended").unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert_eq!(run(&["kill", &format!("-{name}"), &pid]), (Some(0), String::new(), String::new()));
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of this test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("toolbox-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn exit_codes_are_a_contract() {
    assert_eq!(run(&["true"]).0, Some(0));
    assert_eq!(run(&["false"]).0, Some(1));
    assert_eq!(run(&["exit", "42"]).0, Some(42));
    assert_eq!(run(&["sleep"]).0, Some(2));
    assert_eq!(run(&["sh"]).0, Some(2));
    assert_eq!(run(&["cat", "/nonexistent"]).0, Some(1));
}

#[test]
fn wrong_arguments_are_told_with_the_usage() {
    let (_, _, stderr) = run(&["sleep", "soon"]);
    assert_eq!(
        stderr,
        "sleep: \"soon\" is not a duration; write for example 5, 1.5s, 200ms, 2m, 1h or infinity\n\
         usage: sleep DURATION\n"
    );
}

#[test]
fn the_list_is_one_name_a_line() {
    let (_, stdout, _) = run(&["--list"]);
    assert_eq!(stdout.lines().collect::<Vec<_>>(), toolbox::APPLETS);
}

#[test]
fn a_sleeping_applet_ends_at_term() {
    let mut trap = Running::start(&["trap", "-n", "2", "--code", "7", "USR1", "TERM"]);
    assert_eq!(trap.line(), "waiting for SIGUSR1, SIGTERM");
    trap.signal("USR1");
    assert_eq!(trap.line(), "received SIGUSR1 (1)");
    trap.signal("TERM");
    assert_eq!(trap.line(), "received SIGTERM (2)");
    assert_eq!(trap.code(), Some(7));

    let mut held = Running::start(&["alloc", "1m"]);
    assert_eq!(held.line(), "allocated 1048576 bytes");
    held.signal("TERM");
    assert_eq!(held.code(), Some(143));
}

#[test]
fn children_are_counted_and_ended() {
    let mut spawn = Running::start(&["spawn", "3"]);
    let line = spawn.line();
    let pids: Vec<_> = line.strip_prefix("started 3 of 3 children: ").unwrap().split(' ').collect();
    spawn.signal("TERM");
    assert_eq!(spawn.code(), Some(143));
    for pid in pids {
        assert!(!PathBuf::from("/proc").join(pid).exists(), "{pid} is still there");
    }
}

#[test]
fn tail_waits_for_the_file_and_survives_rotation() {
    let directory = Directory::new("tail");
    let path = directory.path("logs/access.log");
    let mut tail = Running::start(&["tail", "-F", &path]);
    fs::create_dir(directory.path("logs")).unwrap();
    fs::write(&path, "one\n").unwrap();
    assert_eq!(tail.line(), "one");
    run(&["write", "--append", &path, "two"]);
    assert_eq!(tail.line(), "two");
    fs::rename(&path, directory.path("logs/access.log.1")).unwrap();
    run(&["write", "--append", &directory.path("logs/access.log.1"), "late"]);
    assert_eq!(tail.line(), "late");
    fs::write(&path, "three\n").unwrap();
    assert_eq!(tail.line(), "three");
    fs::write(&path, "4\n").unwrap();
    assert_eq!(tail.line(), "4");
}

#[test]
fn a_directory_is_served_and_logged() {
    let directory = Directory::new("http");
    fs::write(directory.path("page.txt"), "hello\n").unwrap();
    let port = free_port();
    let mut server =
        Running::start(&["http", "--addr", "127.0.0.1", "--port", &port, "--dir", &directory.path("")]);
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    assert_eq!(run(&["wait-for", "--timeout", "10", &format!("127.0.0.1:{port}")]).0, Some(0));

    assert_eq!(run(&["get", &at("/page.txt")]), (Some(0), "hello\n".into(), String::new()));
    let line = server.line();
    assert!(
        line.starts_with("127.0.0.1 - - [") && line.contains("\"GET /page.txt HTTP/1.0\" 200 6"),
        "{line}"
    );
    assert_eq!(run(&["get", &at("/healthz")]).1, "ok\n");
    assert_eq!(run(&["get", &at("/")]).1, "page.txt\n");
    assert_eq!(run(&["get", &at("/absent")]).0, Some(4));
    assert_eq!(run(&["nc", "-z", "127.0.0.1", &port]).0, Some(0));

    server.signal("TERM");
    assert_eq!(server.code(), Some(0));
    assert_eq!(run(&["get", &at("/")]).0, Some(1));
}

#[test]
fn a_taken_port_is_told() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let (code, _, stderr) = run(&["bind", "--addr", "127.0.0.1", &port]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, format!("bind: listening on 127.0.0.1:{port}: Address already in use\n"));
}

#[test]
fn a_closed_port_is_waited_for_no_longer_than_asked() {
    let (code, stdout, _) = run(&["wait-for", "--timeout", "50ms", &format!("127.0.0.1:{}", free_port())]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("Connection refused"), "{stdout}");
}

#[test]
fn the_report_tells_of_this_process() {
    let (code, stdout, _) = run(&["report"]);
    assert_eq!(code, Some(0));
    for part in ["\"capabilities\": {", "\"net\": \"net:[", "\"Max open files\": ", "\"null\": \"c 1:3 "] {
        assert!(stdout.contains(part), "{part} is missing in {stdout}");
    }
}

/// A port that was free a moment ago.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}
