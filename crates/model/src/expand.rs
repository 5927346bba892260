//! `$(NAME)` in commands, arguments and values, as Kubernetes expands it.
//!
//! `$(NAME)` becomes the value where there is one and stays as it is where there is none; `$$` becomes `$`, so
//! `$$(NAME)` is the way to write `$(NAME)`; any other `$` is itself. Nothing is expanded twice.

/// Replaces the references in `text` by what `value_of` gives.
pub fn expand(text: &str, value_of: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            after
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value_of(name) {
                Some(value) => expanded.push_str(&value),
                None => {
                    expanded.push_str("$(");
                    expanded.push_str(name);
                    expanded.push(')');
                }
            }
            after
        } else {
            expanded.push('$');
            after
        };
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn every_form_of_a_reference() {
        let value_of = |name: &str| match name {
            "A" => Some("x".to_owned()),
            "LOOP" => Some("$(A)".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("plain", "plain"),
            ("$(A)", "x"),
            ("-$(A)-$(A)-", "-x-x-"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$x"),
            ("$$$$(A)", "$$(A)"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$()", "$()"),
            ("$(LOOP)", "$(A)"),
            ("[$(EMPTY)]", "[]"),
            ("$(A)ü$(A)", "xüx"),
        ] {
            assert_eq!(expand(text, value_of), expected, "{text}");
        }
    }
}
