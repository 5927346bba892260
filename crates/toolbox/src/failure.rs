//! How an applet fails: one type, from which the message and the exit code follow.

use std::fmt;
use std::io;

/// The exit code for wrong arguments.
pub const USAGE: u8 = 2;

/// Why an applet ended without success.
#[derive(Debug)]
pub enum Failure {
    /// The arguments make no sense; the usage line is printed with it.
    Usage(String),
    /// What was attempted, on what, and why it failed.
    Failed(String),
    /// Nothing to say, only a code.
    Code(u8),
    /// Something to say and a code of its own.
    Coded(u8, String),
}

impl Failure {
    /// Wrong arguments.
    pub fn usage(why: impl Into<String>) -> Self {
        Self::Usage(why.into())
    }

    /// `what` failed with `error`.
    pub fn io(what: impl fmt::Display, error: impl Into<io::Error>) -> Self {
        Self::Failed(format!("{what}: {}", reason(&error.into())))
    }

    /// The exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Failed(_) => 1,
            Self::Code(code) | Self::Coded(code, _) => *code,
        }
    }
}

/// The kernel's words without std's "(os error 98)".
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) | Self::Coded(_, text) => f.write_str(text),
            Self::Code(code) => write!(f, "exit code {code}"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_do_not_carry_error_numbers() {
        let failure = Failure::io("binding port 80", io::Error::from_raw_os_error(98));
        assert_eq!(failure.to_string(), "binding port 80: Address already in use");
        assert_eq!(failure.code(), 1);
    }
}
