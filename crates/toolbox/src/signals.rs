//! Signals: how a long-running applet stops, and the applets `trap` and `kill`.
//!
//! An applet is often PID 1 of a container, where the kernel drops signals with a default disposition
//! (pid_namespaces(7)). So each applet that runs for long blocks TERM, INT, QUIT and HUP and reads them from
//! a signalfd in a thread of its own. This must happen before any other thread is started.

use std::process;
use std::thread;

use linux::signalfd::{Received, SignalFd};
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;
use crate::text;

/// The signals by number (x86-64 and arm64 agree on these, signal(7)).
const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("WINCH", 28),
];

/// What asks a program to end.
const STOPPING: [i32; 4] = [1, 2, 3, 15];

/// What exit code a stop gives.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// A server that was asked to stop has succeeded.
    Success,
    /// 128 + the signal's number, as a shell tells of a program that the signal killed.
    AsKilled,
}

/// Ends the process at the first stopping signal. Call it before starting threads.
pub fn exit_at_stop(stop: Stop) -> Result<(), Failure> {
    let signals = blocked_stop_signals()?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if let Ok(received) = signals.read() {
                process::exit(exit_code(stop, received));
            }
        })
        .map_err(|error| Failure::io("starting the signal thread", error))?;
    Ok(())
}

/// Waits for the first stopping signal and gives the failure that ends the applet as [`Stop::AsKilled`].
/// The signals were blocked before the applet said that it is ready, so none is lost in between.
pub fn wait_for_stop(signals: &SignalFd) -> Result<(), Failure> {
    let received = signals.read().map_err(|error| Failure::io("reading signals", error))?;
    Err(Failure::Code(exit_code(Stop::AsKilled, received) as u8))
}

/// A descriptor of the stopping signals, which are blocked from now on.
pub fn blocked_stop_signals() -> Result<SignalFd, Failure> {
    SignalFd::block_and_open(&STOPPING, false).map_err(|error| Failure::io("blocking signals", error))
}

/// The exit code that tells of `received`.
pub fn exit_code(stop: Stop, received: Received) -> i32 {
    match stop {
        Stop::Success => 0,
        Stop::AsKilled => 128 + received.signal,
    }
}

/// `TERM`, `SIGTERM` or `15`.
pub fn parse_signal(text: &str) -> Result<i32, Failure> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    match name.parse() {
        Ok(number) if (1..=64).contains(&number) => Ok(number),
        _ => Err(Failure::usage(format!("{text:?} is not a signal; write for example TERM or 15"))),
    }
}

fn signal_name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

#[derive(Debug, PartialEq)]
struct Trap {
    signals: Vec<i32>,
    count: u64,
    code: u8,
}

/// `trap [-n N] [--code CODE] SIGNAL...`
pub fn trap(arguments: &[String]) -> Result<(), Failure> {
    let Trap { signals, count, code } = parse_trap(arguments)?;
    let fd = SignalFd::block_and_open(&signals, false)
        .map_err(|error| Failure::io("blocking the signals", error))?;
    let names: Vec<_> = signals.iter().map(|signal| signal_name(*signal)).collect();
    text::print_lines([format!("waiting for {}", names.join(", "))])?;
    let mut seen = 0;
    loop {
        let received = fd.read().map_err(|error| Failure::io("reading signals", error))?;
        seen += 1;
        text::print_lines([format!("received {} ({seen})", signal_name(received.signal))])?;
        if seen == count {
            return if code == 0 { Ok(()) } else { Err(Failure::Code(code)) };
        }
    }
}

fn parse_trap(arguments: &[String]) -> Result<Trap, Failure> {
    let mut trap = Trap { signals: Vec::new(), count: 1, code: 0 };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| Failure::usage(format!("{argument} needs a value")));
        match argument.as_str() {
            "-n" => trap.count = text::number("-n", value()?)?,
            "--code" => trap.code = text::number("--code", value()?)?,
            signal => trap.signals.push(parse_signal(signal)?),
        }
    }
    if trap.signals.is_empty() {
        return Err(Failure::usage("needs at least one signal"));
    }
    Ok(trap)
}

/// `kill [-SIGNAL] PID...`
pub fn kill(arguments: &[String]) -> Result<(), Failure> {
    let (signal, pids) = match arguments.split_first() {
        Some((first, rest)) if first.starts_with('-') => (parse_signal(&first[1..])?, rest),
        _ => (15, arguments),
    };
    if pids.is_empty() {
        return Err(Failure::usage("needs at least one PID"));
    }
    let signal = Signal::from_named_raw(signal)
        .ok_or_else(|| Failure::usage(format!("{} cannot be sent from here", signal_name(signal))))?;
    for text in pids {
        let pid = text::number::<i32>("PID", text)?;
        let pid = Pid::from_raw(pid).filter(|_| pid > 0);
        let pid = pid.ok_or_else(|| Failure::usage(format!("{text:?} is not a PID")))?;
        kill_process(pid, signal).map_err(|error| Failure::io(format!("process {text}"), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(parse_signal(text).unwrap(), 15, "{text}");
        }
        for wrong in ["", "0", "65", "TERMINATE"] {
            assert!(parse_signal(wrong).is_err(), "{wrong}");
        }
        assert_eq!(signal_name(40), "signal 40");
    }

    #[test]
    fn trap_arguments() {
        let words = ["-n", "0", "TERM", "USR1", "--code", "3"].map(String::from);
        assert_eq!(parse_trap(&words).unwrap(), Trap { signals: vec![15, 10], count: 0, code: 3 });
        assert!(parse_trap(&["-n".to_string()]).is_err());
        assert!(parse_trap(&[]).is_err());
    }
}
