//! The JSONPath of `additionalPrinterColumns`: fields, keys, indexes, `[*]` and filters by comparison.
//!
//! This is the simple JSONPath that Kubernetes allows there. Recursive descent, slices and unions are refused when the
//! definition is created, rather than printing nothing later.

use serde_json::Value;

/// A path that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// From the front, or from the back when negative.
    Index(i64),
    Every,
    Filter {
        field: JsonPath,
        is_equal: bool,
        value: Value,
    },
}

/// A path that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no JSONPath for a column: {why}")]
pub struct NotAPath {
    path: String,
    why: &'static str,
}

impl JsonPath {
    /// Reads a path such as `.status.conditions[?(@.type=="Ready")].status`.
    pub fn parse(path: &str) -> Result<JsonPath, NotAPath> {
        let refuse = |why| NotAPath { path: path.to_owned(), why };
        let mut rest = path.trim().strip_prefix('$').unwrap_or(path.trim());
        let mut steps = Vec::new();
        if !rest.starts_with(['.', '[']) {
            return Err(refuse("it must begin with a `.`"));
        }
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                if after.starts_with('.') {
                    return Err(refuse("`..` is not supported"));
                }
                let (name, after) = field(after);
                if name == "*" {
                    steps.push(Step::Every);
                } else if !name.is_empty() {
                    steps.push(Step::Field(name));
                } else if !after.is_empty() && !after.starts_with('[') {
                    return Err(refuse("a name is missing"));
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (inner, after) = bracket(after).ok_or_else(|| refuse("a `]` is missing"))?;
                steps.push(step(inner).map_err(refuse)?);
                rest = after;
            } else {
                return Err(refuse("a `.` or `[` is expected"));
            }
        }
        Ok(JsonPath { steps })
    }

    /// The first value at the path.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        let mut found = vec![value];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        found.first().copied()
    }
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::Index(index) => {
                let Some(items) = value.as_array() else { return Vec::new() };
                let from_back = usize::try_from(index.unsigned_abs()).ok();
                let at = match *index {
                    0.. => from_back,
                    _ => from_back.and_then(|back| items.len().checked_sub(back)),
                };
                at.and_then(|at| items.get(at)).into_iter().collect()
            }
            Step::Every => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(members) => members.values().collect(),
                _ => Vec::new(),
            },
            Step::Filter { field, is_equal, value: expected } => {
                let items = value.as_array().into_iter().flatten();
                items
                    .filter(|item| field.first(item).is_some_and(|found| (found == expected) == *is_equal))
                    .collect()
            }
        }
    }
}

/// A name up to the next `.` or `[`; a backslash takes the character behind it as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
            letter => name.push(letter),
        }
    }
    (name, "")
}

/// What stands before the closing bracket, and what behind it; quotes hide brackets.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (letter, quote) {
            (']', None) => return Some((&text[..at], &text[at + 1..])),
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            _ => {}
        }
    }
    None
}

fn step(inner: &str) -> Result<Step, &'static str> {
    let inner = inner.trim();
    if inner == "*" {
        return Ok(Step::Every);
    }
    if let Some(name) = unquoted(inner) {
        return Ok(Step::Field(name.replace('\\', "")));
    }
    if let Some(condition) = inner.strip_prefix("?(").and_then(|inner| inner.strip_suffix(')')) {
        let (left, right, is_equal) = match (condition.split_once("=="), condition.split_once("!=")) {
            (Some((left, right)), _) => (left, right, true),
            (None, Some((left, right))) => (left, right, false),
            (None, None) => return Err("a filter compares by == or !="),
        };
        let field = left.trim().strip_prefix('@').ok_or("a filter begins with @")?;
        let field = JsonPath::parse(field).map_err(|error| error.why)?;
        let right = right.trim();
        let value = match unquoted(right) {
            Some(text) => Value::from(text),
            None => serde_json::from_str(right).map_err(|_| "a filter compares with a value")?,
        };
        return Ok(Step::Filter { field, is_equal, value });
    }
    inner.parse().map(Step::Index).map_err(|_| "in brackets stand an index, `*`, a quoted key or a filter")
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| {
        text.strip_prefix(quote)?.strip_suffix(quote).filter(|inner| !inner.contains(quote))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_columns_find_their_value() {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "x"}},
            "spec": {"list": [{"name": "a"}, {"name": "b"}], "a.b": 1},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        for (path, expected) in [
            (".spec.list[0].name", Some(json!("a"))),
            (".spec.list[-1].name", Some(json!("b"))),
            (".spec.list[*].name", Some(json!("a"))),
            (".spec.a\\.b", Some(json!(1))),
            (".metadata.labels['app\\.kubernetes\\.io/name']", Some(json!("x"))),
            (".metadata.labels.app\\.kubernetes\\.io/name", Some(json!("x"))),
            (".status.conditions[?(@.type==\"Ready\")].status", Some(json!("True"))),
            (".status.conditions[?(@.type=='Nope')].status", None),
            (".status.conditions[?(@.type!='Ready')].status", Some(json!("False"))),
            (".spec.list[7].name", None),
            (".missing", None),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().first(&object), expected.as_ref(), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["", "spec", "..name", ".spec[", ".spec[1:2]", ".spec[?(@.a)]", ".spec[?(a==1)]", ".a..b"]
        {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(path in "[.a@?()=!'\"\\[\\]*0-9\\\\é-]{0,24}") {
            if let Ok(path) = JsonPath::parse(&path) {
                path.first(&json!({"a": [{"a": 1}, null]}));
            }
        }
    }
}
