//! Why a task failed: what was attempted, and the reasons below it. A task is read by a person and by a CI
//! log, nobody reacts to the kind of failure, so one type of text is enough.

use std::error::Error;
use std::fmt;

/// A failed task.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What a task gives back.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure that has no deeper reason.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// A failure of which everything has been said already.
    pub(crate) fn told() -> Self {
        Self::new("")
    }

    /// Whether nothing remains to be said.
    pub(crate) fn is_told(&self) -> bool {
        self.what.is_empty()
    }
}

/// Adds what was attempted to an error.
pub(crate) trait Attempt<T> {
    /// `what` is a phrase such as "reading Cargo.toml".
    fn attempt(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure { what: what.to_string(), source: Some(error.into()) })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let mut source = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            // A failure of ours has already printed what is below it.
            source = if error.is::<Failure>() { None } else { error.source() };
        }
        Ok(())
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_follow_the_attempt_once() {
        let inner: Result = Err(Failure::new("no such package"));
        let outer: Result = inner.attempt("downloading nginx").attempt("making the image");
        assert_eq!(outer.unwrap_err().to_string(), "making the image: downloading nginx: no such package");
    }
}
