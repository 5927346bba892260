//! What podling says: the one place where its output is made.
//!
//! [`Told`] is everything that can be told; [`text`] tells it to people, [`json`] to machines. Nothing here
//! decides anything, and nothing else in this crate prints while a Pod runs.

mod bars;
pub(crate) mod human;
mod json;
mod palette;
mod text;
mod told;

use std::io::{self, Write};
use std::time::Duration;

pub(crate) use bars::Bars;
pub(crate) use palette::Palette;
pub(crate) use told::{Line, Role, Told};

use crate::failure::{Failure, chain};
use crate::typed::RunOutput;

/// Where a run tells what happens.
pub(crate) enum Console {
    /// To people.
    Text(text::Text),
    /// To machines.
    Json(json::Json),
    /// To nobody: the output is gone.
    Silent,
}

impl Console {
    pub(crate) fn new(output: RunOutput) -> Console {
        match output {
            RunOutput::Text => Console::Text(text::Text::new()),
            RunOutput::Json => Console::Json(json::Json::new()),
        }
    }

    /// Tells nothing from here on.
    pub(crate) fn silence(&mut self) {
        *self = Console::Silent;
    }

    /// Whether nothing is told any more.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Console::Silent)
    }

    /// Makes room for the names that will stand before lines.
    pub(crate) fn expect_names(&mut self, names: impl IntoIterator<Item = String>) {
        if let Console::Text(text) = self {
            text.expect_names(names);
        }
    }

    /// Tells one thing that happened `at` after podling's start.
    pub(crate) fn tell(&mut self, at: Duration, told: &Told<'_>) -> io::Result<()> {
        match self {
            Console::Text(text) => text.tell(told),
            Console::Json(json) => json.tell(at, told),
            Console::Silent => Ok(()),
        }
    }

    /// Prints one line of a container. Lines are buffered: call [`Console::flush`] when there is no more.
    pub(crate) fn line(&mut self, at: Duration, line: &Line<'_>) -> io::Result<()> {
        match self {
            Console::Text(text) => text.line(line),
            Console::Json(json) => json.line(at, line),
            Console::Silent => Ok(()),
        }
    }

    /// Hands all that was printed to whoever reads it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Console::Text(text) => text.flush(),
            Console::Json(json) => json.flush(),
            Console::Silent => Ok(()),
        }
    }
}

/// Prints what a command found or did, on standard output. `println!` would panic when nobody reads it any more.
pub(crate) fn print(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::Output)
}

/// Prints why a command failed, on standard error.
pub(crate) fn print_failure(failure: &Failure) {
    let palette = Palette::of_stderr();
    for problem in failure.problems() {
        eprintln!("{problem}\n");
    }
    eprintln!("{}: {}", palette.failure("podling"), chain(failure));
}

/// Prints a word of warning, on standard error.
pub(crate) fn print_warning(warning: &str) {
    let palette = Palette::of_stderr();
    eprintln!("{}: {warning}", palette.warning("warning"));
}
