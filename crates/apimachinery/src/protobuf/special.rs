//! Messages that JSON writes as something else than an object: times, quantities, embedded JSON.

use jiff::Timestamp;
use serde_json::{Number, Value};

use super::wire::{Field, Problem, Reader, Wire};

/// How precisely a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// metav1.Time.
    Seconds,
    /// metav1.MicroTime.
    Microseconds,
}

/// The seconds of RFC 3339: years 0 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// `Timestamp { 1: seconds, 2: nanos }`; without fields it is the zero time, which JSON writes as null.
pub(super) fn time(message: &[u8], precision: Precision) -> Result<Option<Value>, Problem> {
    if message.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Reader::new(message) {
        let Field { number, value } = field?;
        match number {
            1 => seconds = value.integer()?,
            2 => nanos = value.small_integer()?,
            _ => {}
        }
    }
    if !SECONDS.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(Problem::NoSuchTime);
    }
    let time = Timestamp::new(seconds, nanos).map_err(|_| Problem::NoSuchTime)?;
    let text = match precision {
        Precision::Seconds => time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        Precision::Microseconds => time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
    };
    Ok(Some(Value::String(text.to_string())))
}

/// `Quantity { 1: string }`; nothing is zero.
pub(super) fn quantity(message: &[u8]) -> Result<Value, Problem> {
    let text = last(message, 1)?.map_or(Ok(""), Wire::text)?;
    Ok(Value::from(if text.is_empty() { "0" } else { text }))
}

/// `IntOrString { 1: type, 2: intVal, 3: strVal }`, where type is 0 for a number and 1 for a string.
pub(super) fn int_or_string(message: &[u8]) -> Result<Value, Problem> {
    let (mut is_string, mut number, mut text) = (false, 0, "");
    for field in Reader::new(message) {
        let Field { number: field, value } = field?;
        match field {
            1 => is_string = value.integer()? == 1,
            2 => number = value.small_integer()?,
            3 => text = value.text()?,
            _ => {}
        }
    }
    Ok(if is_string { Value::from(text) } else { Value::from(number) })
}

/// `RawExtension { 1: raw }`, `FieldsV1 { 1: Raw }` and `JSON { 1: raw }`: JSON as bytes; nothing is null.
pub(super) fn raw(message: &[u8]) -> Result<Option<Value>, Problem> {
    let bytes = last(message, 1)?.map_or(Ok(&[][..]), Wire::bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(bytes).map(Some).map_err(|error| Problem::Json(error.to_string()))
}

/// A `double`; JSON writes whole ones without a fraction, as Go does.
pub(super) fn double(number: f64) -> Result<Value, Problem> {
    // Up to 2^53 a double is the whole number that it stands for.
    if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
        return Ok(Value::from(number as i64));
    }
    Number::from_f64(number).map(Value::Number).ok_or(Problem::NotFinite)
}

/// What a field holds that may stand once: the last counts.
pub(super) fn last(message: &[u8], number: u32) -> Result<Option<Wire<'_>>, Problem> {
    let mut found = None;
    for field in Reader::new(message) {
        let field = field?;
        if field.number == number {
            found = Some(field.value);
        }
    }
    Ok(found)
}
