//! The wall clock, and times as the API writes them.

use jiff::Timestamp;

/// `metav1.Time` of now.
pub(crate) fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// `metav1.MicroTime` of now.
pub(crate) fn now_micros() -> String {
    format!("{:.6}", Timestamp::now())
}

/// Seconds since 1970 of a time as the API writes it.
pub(crate) fn parse(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(|at| at.as_second())
}
