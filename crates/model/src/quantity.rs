//! Kubernetes quantities: `500m`, `1Gi`, `1e3`, exact and ordered.
//!
//! Kept as an integer number of nano-units (10⁻⁹), the finest step that Kubernetes has, together with the
//! text as written, which is what a user wants to see again. Two quantities are equal when their amounts are:
//! `1` is `1000m`. The grammar is that of apimachinery's `resource.Quantity`.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

const NANOS: i128 = 1_000_000_000;
/// Kubernetes caps every quantity at 2⁶³-1 units.
const MOST_NANOS: i128 = i64::MAX as i128 * NANOS;

/// An amount of a resource.
#[derive(Debug, Clone)]
pub struct Quantity {
    nanos: i128,
    text: String,
}

/// A text that is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantities are a number and one of the suffixes n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei, or an exponent (500m, 1Gi, 1e3)"
)]
pub struct NotAQuantity;

/// How a quantity was written, which decides its canonical form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

impl Quantity {
    /// Reads a quantity. A fraction finer than a nano-unit is rounded up, as in Kubernetes; what is beyond
    /// 2⁶³-1 units becomes that.
    pub fn parse(text: &str) -> Result<Quantity, NotAQuantity> {
        let (number, suffix) = split(text)?;
        let (format, power) = suffix_power(suffix).ok_or(NotAQuantity)?;
        let nanos = number.nanos(format, power);
        Ok(Quantity { nanos, text: text.to_owned() })
    }

    /// The whole number of units, rounded up (as Kubernetes' `Value()` does).
    pub fn value(&self) -> i64 {
        self.scaled(NANOS)
    }

    /// The number of thousandths, rounded up (as Kubernetes' `MilliValue()` does).
    pub fn milli_value(&self) -> i64 {
        self.scaled(1_000_000)
    }

    /// Nano-units.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A quantity of so many nano-units, written in the decimal canonical form.
    pub fn from_nanos(nanos: i128) -> Quantity {
        let nanos = nanos.clamp(-MOST_NANOS, MOST_NANOS);
        Quantity { nanos, text: decimal(nanos, Format::Decimal) }
    }

    /// The same of a resource that is counted in bytes, in the form in which Kubernetes tells those: `128Mi`.
    pub fn bytes_from_nanos(nanos: i128) -> Quantity {
        match i64::try_from(nanos / NANOS) {
            Ok(bytes) if nanos % NANOS == 0 => Quantity { nanos, text: binary(bytes) },
            _ => Quantity::from_nanos(nanos),
        }
    }

    /// The form in which Kubernetes stores it: `1000m` is `1`, `1024Mi` is `1Gi`, `0.5` is `500m`.
    pub fn canonical(&self) -> String {
        let format = match split(&self.text).ok().and_then(|(_, suffix)| suffix_power(suffix)) {
            Some((format, _)) => format,
            None => Format::Decimal,
        };
        // Below 1024 units a binary form would have to round.
        let is_small = self.nanos.abs() < 1024 * NANOS;
        match format {
            Format::Binary if !is_small => binary(self.value()),
            Format::Binary => decimal(self.nanos, Format::Decimal),
            _ => decimal(self.nanos, format),
        }
    }

    fn scaled(&self, unit_nanos: i128) -> i64 {
        let rounded_up =
            self.nanos.div_euclid(unit_nanos) + i128::from(self.nanos.rem_euclid(unit_nanos) != 0);
        rounded_up.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

/// Sign, whole digits and fraction digits of a number, as written.
struct Number<'a> {
    is_negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl Number<'_> {
    /// The number times 10^power (decimal) or 2^power (binary), in nano-units, rounded away from zero.
    fn nanos(&self, format: Format, power: i32) -> i128 {
        let (tens, factor) = match format {
            Format::Binary => (9, 1i128 << power),
            _ => (9 + i64::from(power), 1),
        };
        let digits = [self.whole, self.fraction].concat();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return 0;
        }
        // How many of the digits stand before the nano-unit's point.
        let point = digits.len() as i64 - self.fraction.len() as i64 + tens;
        let (before, behind) = digits.split_at(point.clamp(0, digits.len() as i64) as usize);
        let zeros_before = (point - digits.len() as i64).clamp(0, 64) as u32;
        let whole = saturating_digits(before).saturating_mul(10i128.saturating_pow(zeros_before));
        // Twenty digits behind the point are exact with every binary factor; further ones only round up.
        let zeros_behind = (-point).clamp(0, 20) as usize;
        let (read, unread) = behind.split_at(behind.len().min(20 - zeros_behind));
        let scale = 10i128.pow((zeros_behind + read.len()) as u32);
        let part = saturating_digits(read) * factor;
        let is_rounded = part % scale != 0 || unread.bytes().any(|digit| digit != b'0');
        let total = whole
            .saturating_mul(factor)
            .saturating_add(part / scale)
            .saturating_add(i128::from(is_rounded))
            .min(MOST_NANOS);
        if self.is_negative { -total } else { total }
    }
}

fn saturating_digits(digits: &str) -> i128 {
    digits.bytes().fold(0i128, |sum, digit| sum.saturating_mul(10).saturating_add(i128::from(digit - b'0')))
}

/// `<sign><digits>.<digits>` and what follows.
fn split(text: &str) -> Result<(Number<'_>, &str), NotAQuantity> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, rest) = digits(unsigned);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(NotAQuantity);
    }
    Ok((Number { is_negative: text.starts_with('-'), whole, fraction }, suffix))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The power of ten, or of two for the binary suffixes, that a suffix stands for.
fn suffix_power(suffix: &str) -> Option<(Format, i32)> {
    let decimal = |power| Some((Format::Decimal, power));
    let binary = |power| Some((Format::Binary, power));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let (number, is_number) = digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
            if number.is_empty() || !is_number.is_empty() {
                return None;
            }
            // So far out, the result is one nano-unit or the cap, whatever the exponent.
            let magnitude = number.parse::<i32>().unwrap_or(i32::MAX).min(10_000);
            Some((Format::Exponent, if exponent.starts_with('-') { -magnitude } else { magnitude }))
        }
    }
}

/// Digits with the largest suffix that leaves no fraction.
fn decimal(nanos: i128, format: Format) -> String {
    if nanos == 0 {
        return "0".to_owned();
    }
    let (mut mantissa, mut power) = (nanos, -9);
    while mantissa % 1000 == 0 && power < 18 {
        mantissa /= 1000;
        power += 3;
    }
    let suffix = match (format, power) {
        (_, 0) => String::new(),
        (Format::Exponent, power) => format!("e{power}"),
        (_, power) => ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][(power / 3 + 3) as usize].to_owned(),
    };
    format!("{mantissa}{suffix}")
}

fn binary(units: i64) -> String {
    let (mut mantissa, mut step) = (units, 0);
    while mantissa % 1024 == 0 && step < 6 {
        mantissa /= 1024;
        step += 1;
    }
    format!("{mantissa}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step])
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Quantity, NotAQuantity> {
        Quantity::parse(text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        let text = String::deserialize(deserializer)?;
        Quantity::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
