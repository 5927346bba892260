//! From nodes to typed, defaulted, validated objects.
//!
//! Each reader takes what it finds, puts Kubernetes' default where nothing is written, and reports what breaks
//! a rule; it always gives back an object, which counts only when the document has no problem.
//! The rules and their wording follow Kubernetes' `pkg/apis/core/validation`.

pub(crate) mod container;
pub(crate) mod environment;
mod ephemeral;
pub(crate) mod keyed;
pub(crate) mod meta;
pub(crate) mod pod;
pub(crate) mod probe;
mod projected;
pub(crate) mod resources;
pub(crate) mod security;
mod users;
pub(crate) mod volume;

use super::report::Report;
use super::tree::Node;
use crate::names::Broken;
use crate::quantity::Quantity;

/// The value of a field that has a fixed set of texts.
pub(crate) fn choice<T: Copy>(
    report: &mut Report<'_, '_>,
    parent: &Node,
    field: &str,
    choices: &[(&str, T)],
) -> Option<T> {
    let node = parent.get(field)?;
    let text = node.as_text()?;
    let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    if found.is_none() {
        let supported: Vec<&str> =
            choices.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
        report.unsupported(node, &supported);
    }
    found
}

/// A text that must keep a rule; nothing when it is absent or empty.
pub(crate) fn ruled<'n>(
    report: &mut Report<'_, '_>,
    parent: &'n Node,
    field: &str,
    rule: fn(&str) -> Result<(), Broken>,
) -> Option<&'n str> {
    let node = parent.get(field)?;
    let text = node.as_text().filter(|text| !text.is_empty())?;
    check(report, node, text, rule);
    Some(text)
}

/// Reports a text that breaks a rule, with a proposal where it is a name.
pub(crate) fn check(
    report: &mut Report<'_, '_>,
    node: &Node,
    text: &str,
    rule: fn(&str) -> Result<(), Broken>,
) {
    if let Err(broken) = rule(text) {
        let is_name = broken.contains("RFC 1123");
        let proposal = crate::names::like_a_label(text).filter(|_| is_name && report.may_show(node));
        report.invalid_hint(node, broken, proposal.map(|name| format!("for example {name}")));
    }
}

/// A whole number within bounds.
pub(crate) fn bounded(
    report: &mut Report<'_, '_>,
    parent: &Node,
    field: &str,
    bounds: std::ops::RangeInclusive<i64>,
) -> Option<i64> {
    let node = parent.get(field)?;
    let value = node.as_int()?;
    if !bounds.contains(&value) {
        let rule = match (*bounds.start(), *bounds.end()) {
            (0, i64::MAX) => "must be greater than or equal to 0".to_owned(),
            (1, i64::MAX) => "must be greater than 0".to_owned(),
            (least, most) => format!("must be between {least} and {most}, inclusive"),
        };
        report.invalid(node, &rule);
        return None;
    }
    Some(value)
}

/// A quantity that is not negative.
pub(crate) fn quantity(report: &mut Report<'_, '_>, node: &Node) -> Option<Quantity> {
    let text = node.quantity_text()?;
    match Quantity::parse(&text) {
        Ok(quantity) if quantity.nanos() < 0 => {
            report.invalid(node, "must be greater than or equal to 0");
            None
        }
        Ok(quantity) => Some(quantity),
        Err(error) => {
            let hint = quantity_hint(&text);
            report.invalid_hint(node, &error.to_string(), hint);
            None
        }
    }
}

/// The usual slips with suffixes: `512MB`, `1gi`, `100 Mi`.
fn quantity_hint(text: &str) -> Option<String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, suffix) = text.split_at(digits);
    let right = match suffix.trim().to_ascii_lowercase().as_str() {
        "kb" | "kib" | "ki" => "Ki",
        "mb" | "mib" | "mi" => "Mi",
        "gb" | "gib" | "g" | "gi" => "Gi",
        "tb" | "tib" | "ti" => "Ti",
        _ => return None,
    };
    (!number.is_empty()).then(|| format!("did you mean {number}{right}?"))
}
