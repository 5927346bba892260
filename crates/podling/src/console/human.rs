//! Durations and sizes as people say them.

use std::time::Duration;

/// `40 ms`, `1.2 s`, `10 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match millis {
        0 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        1..1000 => format!("{millis} ms"),
        1000..10_000 if !millis.is_multiple_of(1000) => format!("{:.1} s", duration.as_secs_f64()),
        _ if seconds < 120 => format!("{seconds} s"),
        _ if seconds < 7200 => with_rest(seconds, 60, "min", "s"),
        _ => with_rest(seconds / 60, 60, "h", "min"),
    }
}

fn with_rest(amount: u64, divisor: u64, unit: &str, rest_unit: &str) -> String {
    match amount % divisor {
        0 => format!("{} {unit}", amount / divisor),
        rest => format!("{} {unit} {rest} {rest_unit}", amount / divisor),
    }
}

/// `0 B`, `812 B`, `3.4 kB`, `12 MB`, `1.2 GB`: powers of 1000, as other image tools print them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    if unit == 0 || amount >= 9.95 {
        format!("{amount:.0} {}", UNITS[unit])
    } else {
        format!("{amount:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (millis, expected) in [
            (40, "40 ms"),
            (999, "999 ms"),
            (1000, "1 s"),
            (1234, "1.2 s"),
            (10_000, "10 s"),
            (10_900, "10 s"),
            (120_000, "2 min"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
        assert_eq!(duration(Duration::from_micros(340)), "0.3 ms");
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 B"),
            (812, "812 B"),
            (3_400, "3.4 kB"),
            (12_000_000, "12 MB"),
            (999_600, "1.0 MB"),
            (1_230_000_000, "1.2 GB"),
            (5_000_000_000_000_000, "5000 TB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
