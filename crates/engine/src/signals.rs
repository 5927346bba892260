//! Names of signals, as manifests and images write them.

use rustix::process::Signal;

/// The number of a signal given as `TERM`, `SIGTERM`, `15`, `SIGRTMIN+3`.
pub(crate) fn parse(text: &str) -> Option<i32> {
    let text = text.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if let Some(number) = real_time(name) {
        return (34..=64).contains(&number).then_some(number);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| signal.as_raw())
}

/// The name of a signal as `status` shows it, `SIGTERM`.
pub(crate) fn name(number: i32) -> String {
    let known = NAMES.iter().find(|(_, signal)| signal.as_raw() == number);
    match known {
        Some((name, _)) => format!("SIG{name}"),
        None if number == 34 => "SIGRTMIN".to_owned(),
        None if number == 64 => "SIGRTMAX".to_owned(),
        None if number < 50 => format!("SIGRTMIN+{}", number - 34),
        None => format!("SIGRTMAX-{}", 64 - number),
    }
}

/// signal(7): glibc keeps two real-time signals for itself, so RTMIN is 34 and RTMAX is 64.
fn real_time(name: &str) -> Option<i32> {
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<i32>().ok() };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(34 + offset(rest)?);
    }
    name.strip_prefix("RTMAX").and_then(|rest| Some(64 + offset(rest)?))
}

const NAMES: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("STKFLT", Signal::STKFLT),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("POLL", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_way_of_writing_a_signal() {
        for (text, number) in [
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigquit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+31", None),
            ("0", None),
            ("65", None),
            ("SIGNOTHING", None),
            ("", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
    }
}
