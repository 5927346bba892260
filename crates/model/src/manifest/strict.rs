//! Walks a document beside the API's own table of fields: nothing unknown, nothing of the wrong type, nothing
//! required left out, and a word about everything that podling does not honour.
//!
//! The readers come after and may trust what they find; this walk must not know what any field means.

use super::honoured::{self, Verdict};
use super::problem::ProblemKind;
use super::report::{Report, Target};
use super::scalar::Meaning;
use super::schema::{Shape, Type};
use super::suggest::{self, Chain};
use super::tree::{Node, Value, push_key};

/// Checks an object of the given type; `path` is where it stands in its document.
pub(crate) fn check(report: &mut Report<'_, '_>, node: &Node, of: &'static Type, path: &str) {
    Walk { report, does_warn: true }.value(node, &Shape::Object(of), None, path);
}

struct Walk<'r, 'a, 's> {
    report: &'r mut Report<'a, 's>,
    /// Off below a field with a verdict of its own: one word about the whole of it is enough.
    does_warn: bool,
}

impl Walk<'_, '_, '_> {
    fn value(&mut self, node: &Node, shape: &Shape, parent: Option<&Chain<'_>>, path: &str) {
        match (shape, &node.value) {
            (Shape::Any, _) => {}
            (Shape::Object(of), Value::Map(_)) => self.object(node, of, parent, path),
            (Shape::List(items), Value::List(nodes)) => {
                for (index, item) in nodes.iter().enumerate() {
                    self.value(item, items, parent, &format!("{path}[{index}]"));
                }
            }
            (Shape::Map(values), Value::Map(entries)) => {
                for entry in entries.iter().filter(|entry| !entry.value.is_null()) {
                    let mut below = path.to_owned();
                    push_key(&mut below, &entry.key);
                    self.value(&entry.value, values, parent, &below);
                }
            }
            (shape, Value::Scalar(scalar)) if fits(shape, scalar.meaning) => {
                self.scalar(node, shape, &scalar.text)
            }
            _ => self.wrong_type(node, shape),
        }
    }

    fn object(&mut self, node: &Node, of: &'static Type, parent: Option<&Chain<'_>>, path: &str) {
        let chain = Chain { here: of, parent, path };
        let mut meant: Vec<&str> = Vec::new();
        for (index, entry) in node.entries().iter().enumerate() {
            let Some(field) = of.field(&entry.key) else {
                let suggestion = suggest::for_unknown(&entry.key, &chain);
                let (name, hint) = suggestion.map(|found| (found.name, found.hint)).unzip();
                meant.extend(name.flatten());
                let target = Target::Key(node, index);
                self.report.add(target, ProblemKind::UnknownField, "unknown field".to_owned(), hint);
                continue;
            };
            if entry.value.is_null() {
                continue;
            }
            let did_warn = self.does_warn;
            if did_warn {
                match honoured::verdict(of, field.name, &entry.value) {
                    Verdict::Honoured => {}
                    Verdict::Satisfied => self.does_warn = false,
                    Verdict::Ignored { hint } => {
                        let message = "valid Kubernetes, but not honoured by podling yet";
                        let hint = hint.unwrap_or("it has no effect here");
                        self.report.warn(
                            Target::Key(node, index),
                            ProblemKind::NotHonoured,
                            message,
                            Some(hint),
                        );
                        self.does_warn = false;
                    }
                }
            }
            let mut below = path.to_owned();
            push_key(&mut below, &entry.key);
            self.value(&entry.value, &field.shape, Some(&chain), &below);
            self.does_warn = did_warn;
        }
        for field in of.fields.iter().filter(|field| field.is_required) {
            // Of metadata it is the name that is required, and the reader says so; and a field that was meant by a
            // wrong name is not missing besides.
            let is_metadata = matches!(field.shape, Shape::Object(inner) if inner.name == "ObjectMeta");
            if is_metadata || meant.contains(&field.name) {
                continue;
            }
            let is_empty = |value: &Node| match field.shape {
                // Zero is no port, and Kubernetes takes it for an absent one.
                Shape::Int32 => field.name == "containerPort" && value.as_int() == Some(0),
                Shape::Text => field.name != "value" && value.as_text() == Some(""),
                _ => false,
            };
            if node.get(field.name).is_none_or(is_empty) {
                self.report.required(node, field.name);
            }
        }
    }

    /// A scalar of the right type may still be out of its type's range.
    fn scalar(&mut self, node: &Node, shape: &Shape, text: &str) {
        match shape {
            Shape::Int32 if node.as_int().is_none_or(|value| i32::try_from(value).is_err()) => {
                self.report.invalid(node, "must fit in 32 bits");
            }
            Shape::Int64 if node.as_int().is_none() => self.report.invalid(node, "must fit in 64 bits"),
            // No program can be given such a text, and no file can be named so.
            Shape::Text if text.contains('\0') => {
                self.report.invalid(node, "must not contain a NUL character")
            }
            _ => {}
        }
    }

    fn wrong_type(&mut self, node: &Node, shape: &Shape) {
        let expected = match shape {
            Shape::Text | Shape::Bytes | Shape::Time => "a string",
            Shape::Int32 | Shape::Int64 => "a whole number",
            Shape::Bool => "true or false",
            Shape::Quantity => "a quantity such as 500m or 1Gi",
            Shape::IntOrString => "a whole number or a string",
            Shape::List(_) => "a list",
            Shape::Map(_) | Shape::Object(_) => "a mapping",
            Shape::Any => return,
        };
        let may_show = self.report.may_show(node);
        let shown = self.report.shown(node);
        let found = match &node.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Scalar(scalar) => {
                let kind = match scalar.meaning {
                    Meaning::Null => "nothing",
                    Meaning::Bool(_) => "the boolean",
                    Meaning::Int(_) | Meaning::Float => "the number",
                    Meaning::Text => "the string",
                };
                match scalar.meaning {
                    Meaning::Null => kind.to_owned(),
                    _ if !may_show => kind.replacen("the", "a", 1),
                    Meaning::Text => format!("{kind} {shown}"),
                    // As written: the boolean `yes`, the number `0644`.
                    _ => format!("{kind} {}", scalar.text),
                }
            }
        };
        let hint = type_hint(node, shape, may_show);
        let message = format!("expected {expected}, found {found}");
        self.report.add(Target::Value(node), ProblemKind::WrongType, message, hint);
    }
}

/// Whether a scalar of that meaning fits a shape.
fn fits(shape: &Shape, meaning: Meaning) -> bool {
    match shape {
        Shape::Text | Shape::Bytes | Shape::Time => meaning == Meaning::Text,
        Shape::Int32 | Shape::Int64 => matches!(meaning, Meaning::Int(_)),
        Shape::Bool => matches!(meaning, Meaning::Bool(_)),
        Shape::Quantity => matches!(meaning, Meaning::Int(_) | Meaning::Float | Meaning::Text),
        Shape::IntOrString => matches!(meaning, Meaning::Int(_) | Meaning::Text),
        Shape::List(_) | Shape::Map(_) | Shape::Object(_) => false,
        Shape::Any => true,
    }
}

/// What to write instead.
fn type_hint(node: &Node, shape: &Shape, may_show: bool) -> Option<String> {
    let text = node.scalar().filter(|_| may_show).map(|scalar| scalar.text.as_str());
    match (shape, &node.value) {
        (Shape::Text | Shape::Bytes, Value::Scalar(scalar)) if scalar.meaning != Meaning::Null => {
            Some(match text {
                Some(text) => format!("put it in quotes: {text:?}"),
                None => "put it in quotes".to_owned(),
            })
        }
        (Shape::Int32 | Shape::Int64 | Shape::Bool, Value::Scalar(scalar)) => {
            let plain = super::scalar::meaning_of_plain(&scalar.text);
            (scalar.meaning == Meaning::Text && fits(shape, plain))
                .then(|| format!("remove the quotes: {}", scalar.text))
        }
        (Shape::List(Shape::Text), Value::Scalar(scalar)) => match text {
            Some(text) if scalar.meaning == Meaning::Text && !text.contains(['"', '\\', '\n']) => {
                let words: Vec<String> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
                Some(format!("write a list: [{}]", words.join(", ")))
            }
            _ => Some("write a list: one `- ` item a line, or [\"a\", \"b\"]".to_owned()),
        },
        (Shape::List(_), _) => Some("each item of a list begins with `- `".to_owned()),
        (Shape::Object(_) | Shape::Map(_), Value::Scalar(scalar)) => {
            let missing_space = scalar.text.split_once(':').filter(|(key, rest)| {
                !key.is_empty() && !rest.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
            });
            match missing_space {
                Some((key, rest)) if may_show => {
                    Some(format!("a space must follow the colon: `{key}: {}`", rest.trim_start()))
                }
                _ => Some("write `key: value` lines below it, indented deeper".to_owned()),
            }
        }
        (Shape::Object(_) | Shape::Map(_), Value::List(_)) => {
            Some("write the fields without `- ` before them".to_owned())
        }
        _ => None,
    }
}
