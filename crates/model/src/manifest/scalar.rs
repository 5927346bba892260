//! What a plain YAML scalar means: YAML 1.1 as Kubernetes reads it.
//!
//! kubectl turns YAML into JSON by go-yaml v2, so `yes`, `on` and `y` are booleans, `0644` is octal 420 and
//! `1_000` is a thousand. A manifest must mean here what it means there, surprising or not; the surprise is
//! caught by the type check, which then says to use quotes.

/// A scalar and what it means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    /// The text as written, after unescaping.
    pub(crate) text: String,
    /// Its meaning.
    pub(crate) meaning: Meaning,
}

/// The JSON type that a scalar becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Meaning {
    /// Nothing: empty, `~` or `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a fraction or exponent, or too large for an integer.
    Float,
    /// Everything else, and everything in quotes.
    Text,
}

/// The meaning of a scalar without quotes.
pub(crate) fn meaning_of_plain(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Meaning::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Meaning::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf"
        | "-.Inf" | "-.INF" => return Meaning::Float,
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Meaning::Text;
    }
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    match integer(&digits) {
        Some(value) => Meaning::Int(value),
        None if is_float(&digits) => Meaning::Float,
        None => Meaning::Text,
    }
}

/// Go's `strconv.ParseInt(text, 0, 64)`: a leading 0, 0o, 0x or 0b gives the base.
fn integer(text: &str) -> Option<i128> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        _ if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if text.starts_with('-') { -magnitude } else { magnitude };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, as in go-yaml.
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (number, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = match number.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !number.is_empty() && all_digits(number),
    };
    let is_exponent = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    is_number && is_exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_kubectl_makes_of_them() {
        use Meaning::{Bool, Float, Int, Null, Text};
        for (text, expected) in [
            ("", Null),
            ("~", Null),
            ("yes", Bool(true)),
            ("off", Bool(false)),
            ("y", Bool(true)),
            ("yEs", Text),
            ("0", Int(0)),
            ("0644", Int(420)),
            ("0o644", Int(420)),
            ("0x1F", Int(31)),
            ("0b101", Int(5)),
            ("-12", Int(-12)),
            ("+12", Int(12)),
            ("1_000", Int(1000)),
            ("08", Float),
            ("18446744073709551615", Int(18446744073709551615)),
            ("18446744073709551616", Float),
            ("-9223372036854775809", Float),
            ("1.5", Float),
            ("1e3", Float),
            (".5", Float),
            ("1.", Float),
            ("1e", Text),
            ("--1", Text),
            ("-", Text),
            (".", Text),
            ("0x", Text),
            ("1.2.3", Text),
            ("2001-01-01", Text),
            ("12:30", Text),
            ("1Gi", Text),
            ("500m", Text),
        ] {
            assert_eq!(meaning_of_plain(text), expected, "{text:?}");
        }
    }
}
