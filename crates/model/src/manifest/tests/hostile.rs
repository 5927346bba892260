//! Manifests made to hurt: nothing panics, nothing is expanded without bound, no Secret is printed.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::manifest::ProblemKind;

fn kinds(bytes: &[u8]) -> Vec<ProblemKind> {
    match parse("x", bytes) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|problem| problem.kind).collect(),
    }
}

#[test]
fn depth_is_bounded_however_it_is_written() {
    let block: String = (0..2_000).fold(String::new(), |mut text, level| {
        let _ = writeln!(text, "{}a:", " ".repeat(level));
        text
    });
    let aliases: String = (1..2_000).fold("a0: &a0 [x]\n".to_owned(), |mut text, level| {
        let _ = writeln!(text, "a{level}: &a{level} [*a{}]", level - 1);
        text
    });
    for text in
        ["[".repeat(10_000), "{a: ".repeat(10_000), "- ".repeat(10_000), "? ".repeat(10_000), block, aliases]
    {
        assert_eq!(kinds(text.as_bytes()), [ProblemKind::TooComplex], "{}", &text[..40]);
    }
}

#[test]
fn alias_bombs_do_not_go_off() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(text, "a{level}: &a{level} [{inner}]");
    }
    assert_eq!(kinds(text.as_bytes()), [ProblemKind::TooComplex]);
    assert_eq!(kinds(b"a: &a [*a]"), [ProblemKind::Syntax]);
}

#[test]
fn size_and_number_are_bounded() {
    assert_eq!(kinds(&vec![b' '; 9 << 20]), [ProblemKind::TooComplex]);
    assert_eq!(kinds("- a\n".repeat(300_000).as_bytes()), [ProblemKind::TooComplex]);
    let keys = (0..50_000).fold(
        String::from("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"),
        |mut text, key| {
            let _ = writeln!(text, "k{key}: a");
            text
        },
    );
    let problems = parse("x", keys.as_bytes()).expect_err("unknown fields");
    assert_eq!(problems.iter().count(), 100);
    assert!(problems.count() > 50_000);
}

#[test]
fn what_is_no_text_is_refused_as_such() {
    for bytes in [&b"\x7fELF\x02\x01"[..], b"\x1f\x8b\x08\x00", b"\xff\xfea\x00", b"a: \xff\n", b"a: \0\n"] {
        assert_eq!(kinds(bytes), [ProblemKind::NotText]);
    }
    assert_eq!(kinds(b""), [ProblemKind::Incomplete]);
    assert_eq!(kinds(b"---\n# nothing\n---\n"), [ProblemKind::Incomplete]);
}

#[test]
fn a_manifest_cannot_paint_the_terminal() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: \"\\e[31mred\\u202e\"}\nspec: {\"\\e[2J\": 1, containers: [{name: a, image: b, imagePullPolicy: \"\\a\"}]}\n";
    let shown = refused(text).to_string();
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n') && !shown.contains('\u{202e}'), "{shown}");
}

#[test]
fn secrets_are_not_repeated() {
    for text in [
        "apiVersion: v1\nkind: Secret\nmetadata: {name: -x}\ndata: {password: hunter2, b: [hunter2], c: 1}\nstringData: {c: {a: hunter2}, d: 12}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData:\n  a: hunter2\n    b: hunter2\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData:\n  a: *hunter2\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ntype: Opaque\ndata: {a: aHVudGVyMg=}\n",
        "apiVersion: v1\nkind: secret\nmetadata: {name: x}\ndata: {a: hunter2}\nfoo: hunter2\n",
        "data: {a: hunter2}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: [hunter2]}\nkind: Secret\n",
        "stringData:\n  a: hunter2\n",
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}, {\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"X\"}, \"stringData\": {\"a\": \"hunter2\"}}]}",
    ] {
        let problems = refused(text);
        assert!(!format!("{problems}{problems:?}").contains("hunter2"), "{problems}");
        assert!(!format!("{problems}").contains("aHVudGVyMg"), "{problems}");
    }
}

/// A manifest with most of what there is.
const RICH: &str = include_str!("rich.yaml");

#[test]
fn the_manifest_to_be_mutated_is_right() {
    assert_eq!(accepted(RICH).warnings, []);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse("x", &bytes).map_err(|problems| problems.to_string());
    }

    #[test]
    fn any_text_of_yaml_characters_is_read_or_refused(text in "[-:{}\\[\\],&*#?|>!%@`\"'a-c0-9 \n\t~<.=]{0,200}") {
        let _ = parse("x", text.as_bytes()).map_err(|problems| problems.to_string());
    }

    #[test]
    fn any_change_of_a_right_manifest_is_read_or_refused_and_keeps_the_secret(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[-:{}\\[\\],&*#|>!\"' \n\ta-zA-Z0-9]{0,6}"), 1..4),
    ) {
        let mut characters: Vec<char> = RICH.chars().collect();
        for (place, removed, inserted) in changes {
            let start = place.index(characters.len());
            let end = (start + removed).min(characters.len());
            characters.splice(start..end, inserted.chars());
        }
        let text: String = characters.into_iter().collect();
        if let Err(problems) = parse("x", text.as_bytes()) {
            let shown = problems.to_string();
            prop_assert!(!problems.iter().any(|problem| problem.line == 0 || problem.column == 0));
            // Whole only where the change left the kind of the object as it was.
            if text.contains("\nkind: Secret\n") && text.contains("\n---\n# the secret\n") {
                prop_assert!(!shown.contains("hunter2hunter2"), "{}", shown);
            }
        }
    }

    #[test]
    fn lines_swapped_and_shifted_are_read_or_refused(
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..6), 1..6),
    ) {
        let mut lines: Vec<String> = RICH.lines().map(str::to_owned).collect();
        for (from, to, shift) in swaps {
            let (from, to) = (from.index(lines.len()), to.index(lines.len()));
            lines.swap(from, to);
            lines[to] = format!("{}{}", " ".repeat(shift), lines[to].trim_start());
        }
        let _ = parse("x", lines.join("\n").as_bytes()).map_err(|problems| problems.to_string());
    }
}
