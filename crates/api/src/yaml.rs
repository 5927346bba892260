//! Writes JSON values as YAML, for clients that ask for `application/yaml`. Reading is not here.

use std::fmt::Write as _;

use serde_json::Value;

/// The document of a value.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0, false);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Writes a value below `indent` columns; `is_inline` when something stands before it in its line.
fn block(out: &mut String, value: &Value, indent: usize, is_inline: bool) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 || !is_inline {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                scalar(out, name);
                out.push(':');
                below(out, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || !is_inline {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                out.push_str("- ");
                block(out, item, indent + 2, true);
                if !out.ends_with('\n') {
                    out.push('\n');
                }
            }
        }
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) => scalar(out, text),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Writes the value of a field.
fn below(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2, false);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, indent, false);
        }
        _ => {
            out.push(' ');
            block(out, value, indent, true);
            out.push('\n');
        }
    }
}

/// A text without quotes where nothing else could be read from it; else in JSON's, which YAML knows.
fn scalar(out: &mut String, text: &str) {
    let is_word = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let begins_as_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_reserved = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
    );
    if is_word && begins_as_word && !is_reserved {
        out.push_str(text);
    } else {
        let _ = write!(out, "{}", Value::from(text));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_become_yaml() {
        let value = json!({
            "kind": "Pod", "metadata": {"name": "a", "labels": {}, "annotations": {"x/y": "true", "n": "1"}},
            "spec": {"containers": [{"name": "c", "args": ["a: b", "-x"], "ports": []}], "n": 3, "t": null},
        });
        let expected = "kind: Pod\nmetadata:\n  name: a\n  labels: {}\n  annotations:\n    x/y: \"true\"\n    \"n\": \"1\"\nspec:\n  containers:\n  - name: c\n    args:\n    - \"a: b\"\n    - \"-x\"\n    ports: []\n  \"n\": 3\n  t: null\n";
        assert_eq!(write(&value), expected);
    }

    #[test]
    fn what_is_written_reads_back_as_a_manifest() {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "line\nline\t\"q\" \u{e4}", "e": ""}});
        let manifest = model::manifest::parse("a", write(&value).as_bytes()).expect("valid");
        assert_eq!(manifest.objects.len(), 1);
    }
}
