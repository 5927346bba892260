//! What is wrong with one field of an object, as Kubernetes words it (apimachinery's `field.Error`).
//!
//! The kind is what machines react to; the text is made of it in one place, so that `kubectl` prints what its users know.

use std::fmt;

use serde_json::Value;

/// What sort of thing is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldErrorKind {
    /// A reference to something that does not exist.
    NotFound,
    /// A required value is missing.
    Required,
    /// A value that must be unique and is not.
    Duplicate,
    /// A value that breaks a rule.
    Invalid,
    /// A value that is none of those possible.
    NotSupported,
    /// A value that is not allowed here, whatever it is.
    Forbidden,
    /// A value with too many bytes.
    TooLong,
    /// A list with too many items.
    TooMany,
    /// Not the client's fault.
    Internal,
    /// A value of another type than the field's.
    TypeInvalid,
}

impl FieldErrorKind {
    /// How it stands in the causes of a `metav1.Status`.
    pub fn cause(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    /// Whether the message repeats the value: not when there is none, and not when it would be too long to read.
    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Internal)
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// What sort of thing it is.
    pub kind: FieldErrorKind,
    /// The field's path, such as `spec.containers[0].name`.
    pub field: String,
    /// The value that stands there.
    pub value: Option<Value>,
    /// The rule that it breaks; may be empty.
    pub detail: String,
}

impl FieldError {
    /// A required value is missing.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind: FieldErrorKind::Required, field: field.into(), value: None, detail: detail.into() }
    }

    /// The value breaks a rule.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::with(FieldErrorKind::Invalid, field, value, detail)
    }

    /// The value is of another type than the field.
    pub fn type_invalid(
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::with(FieldErrorKind::TypeInvalid, field, value, detail)
    }

    /// The value must be unique, and stands there already.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::with(FieldErrorKind::Duplicate, field, value, "")
    }

    /// What the value names does not exist.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::with(FieldErrorKind::NotFound, field, value, "")
    }

    /// The value is none of those supported.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<_> = supported.iter().map(|text| quoted(text)).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::with(FieldErrorKind::NotSupported, field, value, detail)
    }

    /// The field may not be set here, or not be changed.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind: FieldErrorKind::Forbidden, field: field.into(), value: None, detail: detail.into() }
    }

    /// The value has more bytes than it may have.
    pub fn too_long(field: impl Into<String>, most_bytes: usize) -> Self {
        let detail = format!("may not be more than {most_bytes} bytes");
        Self { kind: FieldErrorKind::TooLong, field: field.into(), value: None, detail }
    }

    /// The list has more items than it may have.
    pub fn too_many(field: impl Into<String>, actual: usize, most: usize) -> Self {
        let items = if most == 1 { "item" } else { "items" };
        Self::with(FieldErrorKind::TooMany, field, actual, format!("must have at most {most} {items}"))
    }

    fn with(
        kind: FieldErrorKind,
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, field: field.into(), value: Some(value.into()), detail: detail.into() }
    }

    /// The message without the field's name: `Invalid value: "A": must be lower case`.
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = self.value.as_ref().filter(|_| self.kind.shows_value()) {
            text.push_str(": ");
            match value {
                Value::String(value) => text.push_str(&quoted(value)),
                value => text.push_str(&value.to_string()),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

/// A text in quotes, with escapes as Go's `%q` writes them: `kubectl` users compare these messages.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_are_worded_as_kubernetes_words_them() {
        let table = [
            (FieldError::required("spec.containers", ""), "spec.containers: Required value"),
            (
                FieldError::required("metadata.name", "name or generateName is required"),
                "metadata.name: Required value: name or generateName is required",
            ),
            (FieldError::invalid("a.b", "x\"y", "no"), "a.b: Invalid value: \"x\\\"y\": no"),
            (FieldError::invalid("a", 7, "too odd"), "a: Invalid value: 7: too odd"),
            (FieldError::invalid("a", Value::Null, ""), "a: Invalid value: null"),
            (FieldError::invalid("a", json!({"b": [1]}), "no"), "a: Invalid value: {\"b\":[1]}: no"),
            (
                FieldError::not_supported("spec.type", "x", &["A", "B"]),
                "spec.type: Unsupported value: \"x\": supported values: \"A\", \"B\"",
            ),
            (FieldError::duplicate("a[1].name", "x"), "a[1].name: Duplicate value: \"x\""),
            (FieldError::not_found("a", "x"), "a: Not found: \"x\""),
            (FieldError::forbidden("spec", "may not change"), "spec: Forbidden: may not change"),
            (FieldError::too_long("a", 253), "a: Too long: may not be more than 253 bytes"),
            (FieldError::too_many("a", 3, 2), "a: Too many: 3: must have at most 2 items"),
        ];
        for (error, expected) in table {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn quotes_escape_as_go_does() {
        assert_eq!(quoted("a\\\n\t\u{1}\u{85}ä"), "\"a\\\\\\n\\t\\x01\\u0085ä\"");
    }
}
