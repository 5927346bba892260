//! Durations as people type them: `90`, `90s`, `1m30s`, `1.5h`, `250ms`.

use std::time::Duration;

/// Units by name; the longest names first, so that `ms` is not read as `m`.
const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// The longest that is accepted: ten years.
const LONGEST_SECONDS: f64 = 10.0 * 366.0 * 86400.0;

/// A duration; a number without a unit is in seconds, as for timeout(1).
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write it like 90s, 5m or 1h30m");
    if let Ok(seconds) = text.parse::<u32>() {
        return positive(f64::from(seconds), wrong);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let (unit, scale) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
        seconds += number * scale;
    }
    positive(seconds, wrong)
}

fn positive(seconds: f64, wrong: impl Fn() -> String) -> Result<Duration, String> {
    if seconds > 0.0 && seconds <= LONGEST_SECONDS {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_forms() {
        for (text, millis) in [
            ("90", 90_000),
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("1.5m", 90_000),
            ("250ms", 250),
            ("1h", 3_600_000),
            ("1h0m1s", 3_601_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "0", "0s", "s", "5x", "-5s", "5 s", "1.2.3s", "1e9h", "9999999999h", "5m3", "nan", "inf"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
