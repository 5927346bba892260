//! The rules that names, labels, annotations and finalizers of API objects must keep, and names made by the server.
//!
//! What manifests need too stands in [`model::names`], once; this file adds what only an API has.

use serde_json::Value;

pub use model::names::{
    Broken, config_key, dns_label, dns_subdomain, label_value, port_name, qualified_name,
    qualified_name as label_key,
};

use crate::field_error::FieldError;

const LABEL_1035: Broken = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// What all annotations of an object may have together, keys and values.
pub const MOST_ANNOTATION_BYTES: usize = 256 << 10;

/// A name for a resource: [`dns_label`], [`dns_subdomain`], [`dns_1035_label`] or [`path_segment`].
pub type NameRule = fn(&str) -> Result<(), Broken>;

/// A name of up to 63 characters that begins with a letter: Services.
pub fn dns_1035_label(text: &str) -> Result<(), Broken> {
    match text.len() {
        64.. => Err("must be no more than 63 bytes"),
        _ if text.starts_with(|c: char| c.is_ascii_lowercase()) && dns_label(text).is_ok() => Ok(()),
        _ => Err(LABEL_1035),
    }
}

/// Anything that can stand in a path: names of RBAC objects and of custom sorts.
pub fn path_segment(text: &str) -> Result<(), Broken> {
    match text {
        "." => Err("may not be '.'"),
        ".." => Err("may not be '..'"),
        _ if text.contains('/') => Err("may not contain '/'"),
        _ if text.contains('%') => Err("may not contain '%'"),
        _ => Ok(()),
    }
}

/// The number of a port.
pub fn port_number(number: i64) -> Result<(), Broken> {
    if (1..=65535).contains(&number) { Ok(()) } else { Err("must be between 1 and 65535, inclusive") }
}

/// The prefix of a generated name: what follows is alphanumeric, so it may end with a dash.
pub fn generate_name(rule: NameRule, prefix: &str) -> Result<(), Broken> {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => rule(&format!("{rest}a")),
        _ => rule(prefix),
    }
}

/// The letters of generated names: none that spells a word, none that looks like another (`k8s.io/apimachinery/pkg/util/rand`).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
const MOST_GENERATED_BYTES: usize = 63;

/// How many random bytes a generated name needs: a byte that would make some letters likelier than others is not used, and
/// so many of 32 leave fewer than five with a chance of 1 in 10^30.
pub const RANDOM_BYTES: usize = 32;

/// The name for a `metadata.generateName`, from random bytes. Names are cut so that they stay within 63 characters.
pub fn generated(prefix: &str, random: &[u8; RANDOM_BYTES]) -> String {
    let letters = ALPHABET.len() as u8;
    let fair = u8::MAX - u8::MAX % letters;
    let most = MOST_GENERATED_BYTES - SUFFIX_LENGTH;
    let end = (0..=most.min(prefix.len())).rev().find(|end| prefix.is_char_boundary(*end));
    let mut name = prefix[..end.unwrap_or_default()].to_owned();
    let usable = random.iter().filter(|byte| **byte < fair).chain(random);
    name.extend(usable.take(SUFFIX_LENGTH).map(|byte| char::from(ALPHABET[usize::from(byte % letters)])));
    name
}

/// Adds what is wrong with labels.
pub fn check_labels(labels: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Err(rule) = label_key(key) {
            errors.push(FieldError::invalid(field, key.as_str(), rule));
        }
        if let Err(rule) = label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(field, value.clone(), rule));
        }
    }
}

/// Adds what is wrong with annotations: their keys, and their size.
pub fn check_annotations(annotations: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let mut total_bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        total_bytes += key.len() + value.as_str().map_or(0, str::len);
        // The key of an annotation may have capital letters in its prefix too.
        if let Err(rule) = qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(field, key.as_str(), rule));
        }
    }
    if total_bytes > MOST_ANNOTATION_BYTES {
        errors.push(FieldError::too_long(field, MOST_ANNOTATION_BYTES));
    }
}

/// Adds what is wrong with finalizers.
pub fn check_finalizers(finalizers: &[&str], field: &str, errors: &mut Vec<FieldError>) {
    for finalizer in finalizers {
        if let Err(rule) = qualified_name(finalizer) {
            errors.push(FieldError::invalid(field, *finalizer, rule));
        }
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let rule = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(field, finalizers.to_vec(), rule));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn names_keep_their_rules() {
        let table: &[(NameRule, &[&str], &[&str])] = &[
            (dns_1035_label, &["a", "a-1"], &["", "1a", "-a", "a-", "A", "a.b", &"a".repeat(64)]),
            (path_segment, &["", "a", "system:node", "A b", "..."], &[".", "..", "a/b", "%2F"]),
        ];
        for (index, (rule, valid, broken)) in table.iter().enumerate() {
            for text in *valid {
                assert_eq!(rule(text), Ok(()), "rule {index}: {text:?}");
            }
            for text in *broken {
                assert!(rule(text).is_err(), "rule {index}: {text:?}");
            }
        }
        assert!(port_number(1).is_ok() && port_number(65535).is_ok());
        assert!(port_number(0).is_err() && port_number(65536).is_err());
    }

    #[test]
    fn the_prefix_of_a_generated_name_may_end_with_a_dash() {
        assert_eq!(generate_name(dns_label, "web-"), Ok(()));
        assert_eq!(generate_name(dns_label, "web"), Ok(()));
        assert!(generate_name(dns_label, "-").is_err());
        assert!(generate_name(dns_label, "Web-").is_err());
    }

    #[test]
    fn labels_annotations_and_finalizers_are_told_what_is_wrong() {
        let mut errors = Vec::new();
        check_labels(&json!({"a/b/c": "ok", "ok": "not ok"}), "metadata.labels", &mut errors);
        check_annotations(&json!({"Example.com/A": "any thing"}), "metadata.annotations", &mut errors);
        check_annotations(&json!({"a": "x".repeat(256 << 10)}), "metadata.annotations", &mut errors);
        check_finalizers(&["orphan", "foregroundDeletion", "a b"], "metadata.finalizers", &mut errors);
        let told: Vec<_> = errors.iter().map(|error| (error.field.as_str(), error.kind.cause())).collect();
        let expected = [
            ("metadata.labels", "FieldValueInvalid"),
            ("metadata.labels", "FieldValueInvalid"),
            ("metadata.annotations", "FieldValueTooLong"),
            ("metadata.finalizers", "FieldValueInvalid"),
            ("metadata.finalizers", "FieldValueInvalid"),
        ];
        assert_eq!(told, expected);
    }

    proptest! {
        #[test]
        fn a_generated_name_is_a_name(prefix in "[a-z][a-z0-9]{0,80}-", random in any::<[u8; RANDOM_BYTES]>()) {
            let name = generated(&prefix, &random);
            prop_assert_eq!(dns_label(&name), Ok(()));
            let kept = prefix.len().min(58);
            prop_assert_eq!(&name[..kept], &prefix[..kept]);
            prop_assert_eq!(name.len(), kept + 5);
        }

        #[test]
        fn a_generated_name_is_made_of_any_prefix(prefix in ".{0,80}", random in any::<[u8; RANDOM_BYTES]>()) {
            prop_assert!(generated(&prefix, &random).len() <= 63);
        }
    }
}
