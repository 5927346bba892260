//! Turning a refusal of the kernel into a sentence with its step.

use std::io;

use crate::protocol::{StartError, StartErrorKind, Step};

/// Says what was attempted when it failed.
pub(crate) trait Attempt<T> {
    /// `what` is a verb and its object: "mount tmpfs at /dev".
    fn attempt(self, step: Step, what: impl FnOnce() -> String) -> Result<T, StartError>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, step: Step, what: impl FnOnce() -> String) -> Result<T, StartError> {
        self.map_err(|error| failure(step, &what(), error.into()))
    }
}

/// A start error made of an attempt and its cause.
pub(crate) fn failure(step: Step, what: &str, cause: io::Error) -> StartError {
    let kind = match step {
        Step::WorkingDirectory => StartErrorKind::WorkingDirectory,
        Step::Mount | Step::Rootfs => StartErrorKind::Mount,
        _ => StartErrorKind::Setup,
    };
    StartError { step, errno: cause.raw_os_error(), message: format!("cannot {what}: {cause}"), kind }
}
