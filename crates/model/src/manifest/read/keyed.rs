//! ConfigMaps and Secrets: keys and bytes.

use std::collections::BTreeMap;

use super::meta;
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::{KeyedObject, ObjectKind};

/// All values of one object together, as Kubernetes limits them.
const MOST_DATA_BYTES: usize = 1 << 20;

/// Reads a ConfigMap or Secret.
pub(crate) fn object(report: &mut Report<'_, '_>, node: &Node, kind: ObjectKind) -> KeyedObject {
    let meta = meta::meta(report, node);
    // Later fields win: stringData over data (Secret); binaryData may not repeat a key of data (ConfigMap).
    let fields: &[(&str, bool)] = match kind {
        ObjectKind::ConfigMap => &[("data", false), ("binaryData", true)],
        ObjectKind::Secret => &[("data", true), ("stringData", false)],
    };
    let mut data = BTreeMap::new();
    for (field, is_base64) in fields {
        let Some(values) = node.get(field) else { continue };
        for (index, entry) in values.entries().iter().enumerate() {
            if let Err(broken) = names::config_key(&entry.key) {
                report.invalid_key(values, index, broken);
            }
            if *field == "binaryData" && data.contains_key(&entry.key) {
                let message = "Invalid value: duplicate of key present in data".to_owned();
                report.add(Target::Key(values, index), ProblemKind::Duplicate, message, None);
            }
            let bytes = match entry.value.as_text() {
                Some(text) if *is_base64 => decoded(report, &entry.value, text, kind),
                Some(text) => text.as_bytes().to_vec(),
                // `key:` with nothing behind it is an empty value, as in Kubernetes.
                None => Vec::new(),
            };
            data.insert(entry.key.clone(), bytes);
        }
    }
    if data.values().map(Vec::len).sum::<usize>() > MOST_DATA_BYTES {
        report.too_long(node.get("data").unwrap_or(node), MOST_DATA_BYTES, "");
    }
    KeyedObject { kind, meta, data, immutable: node.bool("immutable").unwrap_or(false) }
}

fn decoded(report: &mut Report<'_, '_>, node: &Node, text: &str, kind: ObjectKind) -> Vec<u8> {
    match base64(text) {
        Some(bytes) => bytes,
        None => {
            let plain = if kind == ObjectKind::Secret { "stringData" } else { "data" };
            let hint = format!(
                "for plain text, write the key under {plain}; for base64: printf %s TEXT | base64 -w0"
            );
            let message = "Invalid value: must be base64".to_owned();
            report.add(Target::Value(node), ProblemKind::Invalid, message, Some(hint));
            Vec::new()
        }
    }
}

/// Standard base64 with padding (RFC 4648 section 4); line breaks are allowed, as in Go's decoder.
fn base64(text: &str) -> Option<Vec<u8>> {
    let letters: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    if !letters.len().is_multiple_of(4) {
        return None;
    }
    let padding = letters.iter().rev().take_while(|letter| **letter == b'=').count();
    if padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(letters.len() / 4 * 3);
    for quad in letters[..letters.len() - padding].chunks(4) {
        let mut bits = 0u32;
        for letter in quad {
            bits = bits << 6 | sextet(*letter)?;
        }
        let group = (bits << (6 * (4 - quad.len()))).to_be_bytes();
        bytes.extend_from_slice(&group[1..quad.len()]);
    }
    Some(bytes)
}

fn sextet(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_decoded_as_the_standard_says() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("Zg==", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9v\nYmFy\n", Some(b"foobar")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("Zg=", None),
            ("Zg", None),
            ("Z===", None),
            ("====", None),
            ("Zm9=v===", None),
            ("Zm_v", None),
            ("hunter2!", None),
        ] {
            assert_eq!(base64(text).as_deref(), expected, "{text:?}");
        }
    }
}
