//! `echo`, `echo-loop` and `env`: lines on standard output. A closed pipe ends an applet quietly with a
//! failure, it never panics.

use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;
use crate::signals;

/// Prints lines and flushes them.
pub fn print_lines<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let print = || {
        for line in lines {
            writeln!(out, "{}", line.as_ref())?;
        }
        out.flush()
    };
    print().map_err(|error| Failure::io("writing to standard output", error))
}

/// `echo [-n] [TEXT...]`
pub fn echo(arguments: &[String]) -> Result<(), Failure> {
    let (end, words) = match arguments.split_first() {
        Some((flag, rest)) if flag == "-n" => ("", rest),
        _ => ("\n", arguments),
    };
    let mut out = io::stdout().lock();
    write!(out, "{}{end}", words.join(" "))
        .and_then(|()| out.flush())
        .map_err(|error| Failure::io("writing to standard output", error))
}

/// `env [NAME]`
pub fn env(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [] => print_lines(
            std::env::vars_os().map(|(name, value)| format!("{}={}", name.display(), value.display())),
        ),
        [name] => match std::env::var_os(name) {
            Some(value) => print_lines([value.to_string_lossy()]),
            None => Err(Failure::Failed(format!("{name} is not set"))),
        },
        _ => Err(Failure::usage("takes at most one variable name")),
    }
}

#[derive(Debug, PartialEq)]
struct Loop {
    every: Duration,
    count: Option<u64>,
    text: String,
}

/// `echo-loop [--every MS] [--count N] [TEXT...]`
pub fn echo_loop(arguments: &[String]) -> Result<(), Failure> {
    let Loop { every, count, text } = parse_loop(arguments)?;
    signals::exit_at_stop(signals::Stop::AsKilled)?;
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut number = 0u64;
    while count.is_none_or(|count| number < count) {
        number += 1;
        let mut written = writeln!(out, "{text} {number}");
        if !every.is_zero() {
            written = written.and_then(|()| out.flush());
        }
        written.map_err(|error| Failure::io("writing to standard output", error))?;
        if !every.is_zero() && count != Some(number) {
            thread::sleep(every);
        }
    }
    out.flush().map_err(|error| Failure::io("writing to standard output", error))
}

fn parse_loop(arguments: &[String]) -> Result<Loop, Failure> {
    let mut every = Duration::from_secs(1);
    let mut count = None;
    let mut rest = arguments;
    loop {
        match rest {
            [flag, value, tail @ ..] if flag == "--every" => {
                every = Duration::from_millis(number(flag, value)?);
                rest = tail;
            }
            [flag, value, tail @ ..] if flag == "--count" => {
                count = Some(number(flag, value)?);
                rest = tail;
            }
            [flag, ..] if flag.starts_with("--") => {
                return Err(Failure::usage(format!("does not know {flag}, or its value is missing")));
            }
            _ => break,
        }
    }
    let text = if rest.is_empty() { "line".to_string() } else { rest.join(" ") };
    Ok(Loop { every, count, text })
}

/// The value of a flag that must be a number.
pub fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|_| Failure::usage(format!("{flag} needs a number, not {value:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Loop, Failure> {
        parse_loop(&words.iter().map(|word| word.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn loop_arguments() {
        let every = |ms| Duration::from_millis(ms);
        assert_eq!(parse(&[]).unwrap(), Loop { every: every(1000), count: None, text: "line".into() });
        assert_eq!(
            parse(&["--count", "3", "--every", "0", "hello", "--world"]).unwrap(),
            Loop { every: every(0), count: Some(3), text: "hello --world".into() }
        );
        assert!(parse(&["--every", "soon"]).is_err());
        assert!(parse(&["--often"]).is_err());
    }
}
