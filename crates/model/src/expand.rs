//! `$(NAME)` in commands, arguments, environment and subPathExpr.
//!
//! Kubernetes' `third_party/forked/golang/expansion`, case by case: a name that is not known stays as written,
//! `$$` is one `$` (so `$$(NAME)` is the text `$(NAME)`), and every other `$` is just a `$`. Expansion happens
//! once: what a variable brings in is not expanded again.

/// Expands the references of a text; `lookup` answers with the value of a name.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = match after.chars().next() {
            Some('$') => {
                expanded.push('$');
                &after[1..]
            }
            Some('(') => match after.find(')') {
                Some(end) => {
                    let name = &after[1..end];
                    expanded.push_str(&lookup(name).unwrap_or_else(|| format!("$({name})")));
                    &after[end + 1..]
                }
                None => {
                    expanded.push_str("$(");
                    &after[1..]
                }
            },
            _ => {
                expanded.push('$');
                after
            }
        };
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn references_expand_as_in_kubernetes() {
        let lookup = |name: &str| match name {
            "VAR_A" => Some("A".to_owned()),
            "VAR_B" => Some("B".to_owned()),
            "VAR_REF" => Some("$(VAR_A)".to_owned()),
            "VAR_EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("$(VAR_A)", "A"),
            ("___$(VAR_B)___", "___B___"),
            ("$(VAR_A)$(VAR_B)", "AB"),
            ("$(VAR_REF)", "$(VAR_A)"),
            ("$(VAR_EMPTY)", ""),
            ("foo$(VAR_EMPTY)bar", "foobar"),
            ("$(VAR_DNE)", "$(VAR_DNE)"),
            ("$$(VAR_A)", "$(VAR_A)"),
            ("$$$(VAR_A)", "$A"),
            ("$$$$(VAR_A)", "$$(VAR_A)"),
            ("$VAR_A", "$VAR_A"),
            ("${VAR_A}", "${VAR_A}"),
            ("$(VAR_A", "$(VAR_A"),
            ("$(VAR_A$(VAR_B)", "$(VAR_A$(VAR_B)"),
            ("f000-$(VAR_A)_$(VAR_B)--1", "f000-A_B--1"),
            ("$?", "$?"),
            ("$", "$"),
            ("$$", "$"),
            ("a$", "a$"),
            ("$()", "$()"),
            ("\u{e4}$\u{e4}$(VAR_A)\u{e4}", "\u{e4}$\u{e4}A\u{e4}"),
            ("", ""),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }
}
