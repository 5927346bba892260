//! Field selectors: `metadata.name=x,status.phase!=Running` (`apimachinery/pkg/fields`). Which fields may be asked for is
//! the resource's business; a selector tells which it names.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// The field, such as `status.phase`.
    pub field: String,
    /// The value that it must have, or must not have. An absent field has the empty value.
    pub value: String,
    /// Whether it must have the value.
    pub wants_equal: bool,
}

/// Conditions that must all hold; without any, everything is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

/// Why a text is no field selector. The words are those of `apimachinery/pkg/fields`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A part has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{part}'")]
    NoOperator {
        /// The whole text.
        selector: String,
        /// What is not understood.
        part: String,
    },
    /// A backslash before something that needs none, or at the end.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A character that needs a backslash has none. Kubernetes gives its number.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    Unescaped(char),
}

impl FieldSelector {
    /// Reads the text of a query. An empty text selects everything.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let mut parts: Vec<&str> = split(text).collect();
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let Some((field, wants_equal, value)) = operator(part) else {
                return Err(FieldSelectorError::NoOperator {
                    selector: text.to_owned(),
                    part: part.to_owned(),
                });
            };
            terms.push(Term { field: field.to_owned(), value: unescape(value)?, wants_equal });
        }
        // By what they say and not by how it is written: `=` and `==` are one.
        terms.sort_unstable();
        Ok(Self { terms })
    }

    /// What must hold.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether everything is selected.
    pub fn selects_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a field must have, if one is asked for: a name in a selector can save a list.
    pub fn exact(&self, field: &str) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.wants_equal && term.field == field)?;
        Some(&term.value)
    }

    /// Whether all conditions hold; `value` gives the text of a field.
    pub fn matches<'a>(&self, value: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.terms.iter().all(|term| {
            let value = value(&term.field).unwrap_or_default();
            (value == term.value.as_str()) == term.wants_equal
        })
    }

    /// Whether all conditions hold of the object's own fields.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches(|field| field_text(object, field))
    }
}

/// The text of the field with that path of names; numbers and truth values as they are written.
pub fn field_text<'a>(object: &'a Value, path: &str) -> Option<Cow<'a, str>> {
    let value = path.split('.').try_fold(object, |value, name| value.get(name))?;
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The parts between commas that have no backslash before them.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    text.split(move |c| {
        let is_end = c == ',' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    })
}

fn operator(part: &str) -> Option<(&str, bool, &str)> {
    part.char_indices().find_map(|(index, _)| {
        let (field, rest) = part.split_at(index);
        let (wants_equal, value) = match rest.strip_prefix("!=") {
            Some(value) => (false, value),
            None => (true, rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?),
        };
        Some((field, wants_equal, value))
    })
}

fn unescape(text: &str) -> Result<String, FieldSelectorError> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => value.push(c),
                Some(c) => return Err(FieldSelectorError::Escape(format!("\\{c}"))),
                None => return Err(FieldSelectorError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(c)),
            c => value.push(c),
        }
    }
    Ok(value)
}

/// A value as it stands in a field selector.
pub fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.wants_equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}
