//! Durations as people type them, sizes, and the date as access logs write it. Pure.

use std::time::Duration;

use crate::Failure;

/// `5`, `1.5s`, `200ms`, `2m`, `1h`; `None` is `infinity`.
pub fn parse_duration(text: &str) -> Result<Option<Duration>, Failure> {
    if text == "infinity" || text == "inf" {
        return Ok(None);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(not_a_duration(text)),
    };
    let number: f64 = number.parse().map_err(|_| not_a_duration(text))?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map(Some).map_err(|_| not_a_duration(text))
}

fn not_a_duration(text: &str) -> Failure {
    Failure::usage(format!(
        "{text:?} is not a duration; write for example 5, 1.5s, 200ms, 2m, 1h or infinity"
    ))
}

/// `4096`, `64k`, `128m`, `1g`, also as `Ki`, `Mi`, `Gi`.
pub fn parse_size_bytes(text: &str) -> Result<usize, Failure> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "k" | "K" | "Ki" => 10,
        "m" | "M" | "Mi" => 20,
        "g" | "G" | "Gi" => 30,
        _ => return Err(not_a_size(text)),
    };
    let number: usize = number.parse().map_err(|_| not_a_size(text))?;
    number.checked_mul(1 << shift).ok_or_else(|| not_a_size(text))
}

fn not_a_size(text: &str) -> Failure {
    Failure::usage(format!("{text:?} is not a size; write for example 4096, 64k, 128m or 1g"))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The time of an access log line, in UTC: `20/Nov/2026:21:36:23 +0000`.
pub fn log_date(unix_seconds: u64) -> String {
    let (year, month, day) = civil(unix_seconds / 86400);
    let (hour, minute, second) = ((unix_seconds / 3600) % 24, (unix_seconds / 60) % 60, unix_seconds % 60);
    format!("{day:02}/{}/{year}:{hour:02}:{minute:02}:{second:02} +0000", MONTHS[month as usize - 1])
}

/// Year, month and day of a day number since 1970-01-01, proleptic Gregorian (Howard Hinnant's algorithm).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let millis = |text| parse_duration(text).unwrap().map(|duration| duration.as_millis());
        assert_eq!(millis("5"), Some(5000));
        assert_eq!(millis("1.5s"), Some(1500));
        assert_eq!(millis("200ms"), Some(200));
        assert_eq!(millis("2m"), Some(120_000));
        assert_eq!(millis("1h"), Some(3_600_000));
        assert_eq!(millis("infinity"), None);
        for wrong in ["", "s", "5x", "-1", "1..2", "1e9"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        let bytes = |text| parse_size_bytes(text).unwrap();
        assert_eq!((bytes("4096"), bytes("64k"), bytes("2Mi"), bytes("1g")), (4096, 65536, 2 << 20, 1 << 30));
        for wrong in ["", "k", "1t", "-1", "99999999999999g"] {
            assert!(parse_size_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(log_date(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(log_date(951_782_400), "29/Feb/2000:00:00:00 +0000");
        assert_eq!(log_date(1_795_210_583), "20/Nov/2026:21:36:23 +0000");
    }
}
