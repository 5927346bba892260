//! The multi-call program of podling's built-in image: everything that examples and tests need inside a
//! container, so that they run on any Linux machine, offline, without a shell.
//!
//! An applet is chosen by the name the program is called by (`/bin/echo` is a link to it) or by the first
//! argument (`toolbox echo hi`). The one list of applets is [`TABLE`]; whoever builds an image makes a link
//! for every name in [`APPLETS`].
//!
//! It is built static and small, as PID 1 of a container it stops at SIGTERM (see [`signals`]), and it must
//! never need anything else of the image: no shell, no libc database, no configuration beyond /etc/hosts and
//! /etc/resolv.conf.

pub mod failure;
pub mod files;
pub mod follow;
pub mod get;
pub mod json;
pub mod load;
pub mod names;
pub mod processes;
pub mod report;
pub mod serve;
pub mod signals;
pub mod tcp;
pub mod text;
pub mod time;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

pub use failure::Failure;

/// What an applet is given (without its own name) and what it gives back.
pub type Run = fn(&[String]) -> Result<(), Failure>;

/// One applet: its name, how it is called, what it does.
pub struct Applet {
    /// The name it is called by: /bin/NAME in the image.
    pub name: &'static str,
    /// The arguments, as the usage line shows them.
    pub arguments: &'static str,
    /// One sentence.
    pub summary: &'static str,
    run: Run,
}

const fn applet(name: &'static str, arguments: &'static str, summary: &'static str, run: Run) -> Applet {
    Applet { name, arguments, summary, run }
}

/// Every applet, in alphabetical order.
pub const TABLE: &[Applet] = &[
    applet("alloc", "BYTES[k|m|g]", "touches that much memory, says so and holds it until TERM", load::alloc),
    applet("bind", "[--addr ADDR] PORT", "holds a TCP port until TERM; fails when it is taken", tcp::bind),
    applet("cat", "[FILE...]", "prints files, or standard input", files::cat),
    applet("chain", "COMMAND... , COMMAND...", "runs commands in order until one fails", processes::chain),
    applet("cpu", "SECONDS", "keeps one CPU busy, then prints wall and CPU time", load::cpu),
    applet("echo", "[-n] [TEXT...]", "prints its arguments", text::echo),
    applet(
        "echo-loop",
        "[--every MS] [--count N] [TEXT...]",
        "prints a numbered line again and again",
        text::echo_loop,
    ),
    applet("env", "[NAME]", "prints the environment, or one variable", text::env),
    applet("exit", "CODE", "ends with that code", processes::exit),
    applet("false", "", "fails", processes::fail),
    applet(
        "get",
        "[--timeout T] [--output FILE] URL",
        "HTTP GET; exit 0 below 400, 4 for 4xx, 5 for 5xx, 1 for no answer",
        get::get,
    ),
    applet("hostname", "", "prints the host name", processes::hostname),
    applet(
        "http",
        "[--port N] [--addr ADDR] [--dir DIR] [--log FILE] [--healthz-file FILE]",
        "HTTP/1.1 server of a directory, /healthz and /env, with an access log",
        serve::http,
    ),
    applet("id", "[-u|-g|-G]", "prints user, group and supplementary groups", processes::id),
    applet("kill", "[-SIGNAL] PID...", "sends a signal, TERM by default", signals::kill),
    applet("ls", "[-l] [PATH...]", "lists directories", files::ls),
    applet("mkdir", "PATH...", "makes directories and their parents", files::mkdir),
    applet("mount-info", "[PATH]", "prints the mounts seen from here", processes::mount_info),
    applet("nc", "-z [-w SECONDS] HOST PORT", "succeeds when the TCP port accepts a connection", tcp::nc),
    applet("nslookup", "NAME", "prints the addresses of a name: /etc/hosts, then DNS", names::nslookup),
    applet("ps", "", "lists the processes of this PID namespace", processes::ps),
    applet("report", "", "prints as JSON what a process finds around itself", report::report),
    applet("rm", "PATH...", "removes files, and directories with what is in them", files::rm),
    applet("shm-read", "NAME", "prints a POSIX shared memory object", files::shm_read),
    applet("shm-write", "NAME TEXT", "writes a POSIX shared memory object", files::shm_write),
    applet("sleep", "DURATION", "waits (5, 1.5s, 2m, 1h, infinity); ends at once at TERM", processes::sleep),
    applet("spawn", "N", "starts N sleeping children, says how many it got, ends them at TERM", load::spawn),
    applet("stat", "PATH...", "prints type, mode, owner and size", files::stat),
    applet(
        "tail",
        "-F [-n LINES] FILE...",
        "follows files that may not exist yet and may be rotated",
        follow::tail,
    ),
    applet(
        "tcp-proxy",
        "LISTEN TARGET",
        "passes TCP connections on ([ADDR:]PORT, HOST:PORT)",
        tcp::tcp_proxy,
    ),
    applet("touch", "FILE...", "makes empty files", files::touch),
    applet(
        "trap",
        "[-n N] [--code CODE] SIGNAL...",
        "prints each signal that arrives, ends after the N-th (0: never)",
        signals::trap,
    ),
    applet("true", "", "succeeds", processes::succeed),
    applet(
        "wait-for",
        "[--timeout T] HOST:PORT",
        "waits until the TCP port accepts a connection",
        tcp::wait_for,
    ),
    applet("write", "[--append] FILE TEXT", "writes a line into a file", files::write),
];

/// The names of all applets, for whoever makes the links.
pub const APPLETS: &[&str] = &NAMES;

const NAMES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut i = 0;
    while i < TABLE.len() {
        names[i] = TABLE[i].name;
        i += 1;
    }
    names
};

/// Runs the applet that `argv` asks for. Messages go to standard error, prefixed with the applet's name.
pub fn run(argv: Vec<OsString>) -> ExitCode {
    let argv: Vec<String> = argv.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    match choose(&argv) {
        Choice::Applet(applet, arguments) => finish(applet, (applet.run)(arguments)),
        Choice::List => ended(text::print_lines(APPLETS.iter().copied())),
        Choice::Help => ended(text::print_lines(help().lines())),
        Choice::Unknown(name) => {
            eprintln!("toolbox: there is no applet {name:?}; `toolbox --list` prints them all");
            ExitCode::from(failure::USAGE)
        }
    }
}

enum Choice<'a> {
    Applet(&'static Applet, &'a [String]),
    List,
    Help,
    Unknown(&'a str),
}

fn choose(argv: &[String]) -> Choice<'_> {
    let called_as = argv.first().map(String::as_str).unwrap_or("toolbox");
    let called_as = Path::new(called_as).file_name().and_then(|name| name.to_str()).unwrap_or(called_as);
    if let Some(applet) = find(called_as) {
        return Choice::Applet(applet, &argv[1..]);
    }
    match argv.get(1).map(String::as_str) {
        None | Some("--help" | "-h" | "help") => Choice::Help,
        Some("--list") => Choice::List,
        Some(name) => match find(name) {
            Some(applet) => Choice::Applet(applet, &argv[2..]),
            None => Choice::Unknown(name),
        },
    }
}

fn find(name: &str) -> Option<&'static Applet> {
    TABLE.iter().find(|applet| applet.name == name)
}

fn help() -> String {
    let mut text = String::from("usage: toolbox APPLET [ARGUMENT...]\n\n");
    for applet in TABLE {
        text.push_str(&format!("  {} {}\n      {}\n", applet.name, applet.arguments, applet.summary));
    }
    text
}

fn finish(applet: &Applet, result: Result<(), Failure>) -> ExitCode {
    match &result {
        Ok(()) | Err(Failure::Code(_)) => {}
        Err(Failure::Usage(why)) => {
            eprintln!("{}: {why}\nusage: {} {}", applet.name, applet.name, applet.arguments);
        }
        Err(failure) => eprintln!("{}: {failure}", applet.name),
    }
    ended(result)
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    #[test]
    fn the_table_is_sorted_and_without_duplicates() {
        assert!(APPLETS.windows(2).all(|pair| pair[0] < pair[1]), "{APPLETS:?}");
    }

    #[test]
    fn an_applet_is_chosen_by_the_name_of_the_link_or_by_the_first_argument() {
        for words in [&["/bin/echo", "cat"][..], &["toolbox", "echo", "cat"]] {
            let argv = argv(words);
            let Choice::Applet(applet, arguments) = choose(&argv) else { panic!("{words:?}") };
            assert_eq!((applet.name, arguments), ("echo", &["cat".to_string()][..]));
        }
    }

    #[test]
    fn an_unknown_applet_is_named() {
        assert!(matches!(choose(&argv(&["toolbox", "sh"])), Choice::Unknown("sh")));
    }
}
