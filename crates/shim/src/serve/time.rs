//! The wall clock and how logs write it; a calendar library would be larger than the shim.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::UnixNanos;

const DAY_SECONDS: u64 = 86_400;

/// Now.
pub(super) fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(since.as_nanos() as u64)
}

/// `2026-01-01T00:00:00.000000000Z`.
pub(super) fn rfc3339(at: UnixNanos) -> Vec<u8> {
    let parts = Parts::of(at);
    let mut text = b"0000-00-00T00:00:00.000000000Z".to_vec();
    let fields = [
        (0, 4, parts.year),
        (5, 2, parts.month),
        (8, 2, parts.day),
        (11, 2, parts.hour),
        (14, 2, parts.minute),
        (17, 2, parts.second),
        (20, 9, parts.nanosecond),
    ];
    for (start, width, value) in fields {
        put(&mut text[start..start + width], value);
    }
    text
}

/// `20260101-000000.000000000`: the kubelet's name of a rotated log, with the fraction that fast logs need.
pub(super) fn for_file_name(at: UnixNanos) -> String {
    let text: Vec<u8> = rfc3339(at)
        .into_iter()
        .filter(|byte| !matches!(byte, b'-' | b':' | b'Z'))
        .map(|byte| if byte == b'T' { b'-' } else { byte })
        .collect();
    String::from_utf8_lossy(&text).into_owned()
}

fn put(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

struct Parts {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    nanosecond: u64,
}

impl Parts {
    /// The civil date from days, by Howard Hinnant's `civil_from_days`, for dates after 1970.
    fn of(at: UnixNanos) -> Self {
        let seconds = at.0 / 1_000_000_000;
        let days = seconds / DAY_SECONDS + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let rest = seconds % DAY_SECONDS;
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            nanosecond: at.0 % 1_000_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(seconds: u64) -> String {
        String::from_utf8(rfc3339(UnixNanos(seconds * 1_000_000_000 + 7))).unwrap()
    }

    #[test]
    fn dates_are_civil() {
        assert_eq!(written(0), "1970-01-01T00:00:00.000000007Z");
        assert_eq!(written(951_782_400), "2000-02-29T00:00:00.000000007Z");
        assert_eq!(written(1_798_761_599), "2026-12-31T23:59:59.000000007Z");
        assert_eq!(written(4_107_542_400), "2100-03-01T00:00:00.000000007Z");
    }

    #[test]
    fn file_names_sort_by_time() {
        assert_eq!(for_file_name(UnixNanos(951_782_400_000_000_001)), "20000229-000000.000000001");
    }
}
