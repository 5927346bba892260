//! Why a text is not YAML, said so that a beginner can mend it.
//!
//! A YAML parser says what it expected; the writer needs to know which line it read how. The usual mistakes
//! are found by looking at the lines, and only when the parser has refused the document: a line indented
//! deeper than the field above it, a line in no column in use, tabs, templates, missing quotes.

use granit_parser::{ErrorKind, ScanError};

use super::source::{Chunk, Source};
use super::tree::Mark;

/// One syntax mistake.
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) width: usize,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Mistake {
    /// A mistake at the place of a token.
    pub(crate) fn at(mark: Mark, message: String, hint: Option<String>) -> Mistake {
        Mistake { line: mark.line, column: mark.column, width: mark.width, message, hint }
    }
}

/// A line cut into indentation, `- ` markers, key and value.
struct Line<'a> {
    number: usize,
    text: &'a str,
    /// Column of the first character, list markers not counted, from 1.
    column: usize,
    /// Column of the first `-`, if the line begins a list item.
    dash: Option<usize>,
    key: Option<&'a str>,
    value: &'a str,
}

/// Every mistake that can be named in a document that the parser refused. With `may_show` unset the document
/// may hold a Secret, and no value is repeated.
pub(crate) fn explain(
    source: &mut Source<'_>,
    chunk: Chunk<'_>,
    error: &ScanError,
    may_show: bool,
) -> Vec<Mistake> {
    let line = (error.marker().line() + chunk.lines_before).max(1);
    let column = error.marker().col() + 1;
    let lines = lines_outside_blocks(chunk);
    if let Some(mistake) = tabs(chunk) {
        return vec![mistake];
    }
    let nested = nested_under_values(&lines, may_show);
    if nested.iter().any(|mistake| mistake.line.abs_diff(line) <= 1) {
        return nested;
    }
    let text = source.line(line);
    let at = |message: String, hint: Option<String>| Mistake { line, column, width: 1, message, hint };
    if let Some(mistake) = template(text, line) {
        return vec![mistake];
    }
    let is_in_quotes =
        matches!(error.kind(), ErrorKind::InvalidQuotedScalarIndent | ErrorKind::UnclosedQuotedScalar);
    let found = if is_in_quotes { open_quote(&lines) } else { None };
    let found = found.or_else(|| odd_column(&lines, line)).or_else(|| no_colon(&lines, line));
    if let Some(mistake) = found {
        return vec![mistake];
    }
    let rest = if may_show { text.chars().skip(column - 1).collect() } else { String::new() };
    vec![by_kind(error.kind(), text, rest.trim_end(), at)]
}

/// `{{ ... }}`, which a template engine should have replaced.
pub(crate) fn template(text: &str, line: usize) -> Option<Mistake> {
    let start = text.find("{{")?;
    Some(Mistake {
        line,
        column: text[..start].chars().count() + 1,
        width: 2,
        message: "`{{` is not YAML as it stands here".to_owned(),
        hint: Some(
            "this looks like a template (Helm): render it first, for example by `helm template`".to_owned(),
        ),
    })
}

/// A value whose quote is not closed on its line, as every value of a manifest should be.
fn open_quote(lines: &[Line<'_>]) -> Option<Mistake> {
    let line = lines.iter().find(|line| {
        let quotes =
            |quote: char| line.value.starts_with(quote) && line.value.matches(quote).count() % 2 == 1;
        quotes('"') || quotes('\'')
    })?;
    let at = line.text.find(line.value)?;
    Some(Mistake {
        line: line.number,
        column: line.text[..at].chars().count() + 1,
        width: line.value.chars().count(),
        message: "a quote is opened here and not closed on the same line".to_owned(),
        hint: Some("put the missing quote at the end of the value".to_owned()),
    })
}

/// A word without `:`, or without the space behind it, above the line where the parser stumbled.
fn no_colon(lines: &[Line<'_>], number: usize) -> Option<Mistake> {
    let index = lines.iter().position(|line| line.number == number)?;
    let above = lines[..index].last().filter(|above| above.key.is_none())?;
    let is_deeper = lines[index].column > above.column;
    let (message, hint) = match above.value.split_once(':') {
        Some((key, rest)) if is_key(key) && !rest.starts_with('/') => (
            "a space must follow the `:` behind a field's name".to_owned(),
            format!("put a space between `{key}:` and what follows it"),
        ),
        None if is_deeper && is_key(above.value) => (
            "a field needs a `:` behind its name".to_owned(),
            "the lines below it, indented deeper, are its value".to_owned(),
        ),
        _ => return None,
    };
    let width = above.value.chars().count();
    Some(Mistake { line: above.number, column: above.column, width, message, hint: Some(hint) })
}

/// What the parser's own error means for the writer; `rest` is the line from the error on.
fn by_kind(
    kind: &ErrorKind,
    text: &str,
    rest: &str,
    at: impl Fn(String, Option<String>) -> Mistake,
) -> Mistake {
    match kind {
        ErrorKind::MappingValueNotAllowed if text.matches(": ").count() > 1 => at(
            "a second `: ` stands in one line".to_owned(),
            Some("a value that contains `: ` needs quotes".to_owned()),
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => at(
            "this line is no `key: value`".to_owned(),
            Some("a field is written `key: value`, with a space after the colon".to_owned()),
        ),
        ErrorKind::UnknownAnchor => at(
            "an alias (`*name`) without an anchor (`&name`) before it".to_owned(),
            Some(format!("text that begins with `*` needs quotes: \"{rest}\"")),
        ),
        ErrorKind::UnexpectedCharacter { character } => at(
            format!("a value cannot begin with `{}`", character.escape_default()),
            Some("put the value in quotes".to_owned()),
        ),
        ErrorKind::UnclosedQuotedScalar => at(
            "a quote is opened and never closed".to_owned(),
            Some("close it on the line where it begins".to_owned()),
        ),
        ErrorKind::UnclosedFlowCollection { open } => {
            let close = if *open == '[' { ']' } else { '}' };
            at(format!("`{open}` is opened and never closed"), Some(format!("close it with `{close}`")))
        }
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator => at(
            format!("this is not YAML: {kind}"),
            Some(
                "most often a comma is missing at the end of the line before, or a bracket is not closed"
                    .to_owned(),
            ),
        ),
        ErrorKind::RecursionLimitExceeded => at("nested too deeply: no manifest needs that".to_owned(), None),
        kind => at(format!("this is not YAML: {kind}"), None),
    }
}

/// The lines that hold structure: no blank ones, no comments, no text of `|` and `>` blocks.
fn lines_outside_blocks(chunk: Chunk<'_>) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut block_indent: Option<usize> = None;
    for (index, text) in chunk.text.lines().enumerate() {
        let content = text.trim_start_matches(' ');
        let indent = text.len() - content.len();
        if content.trim().is_empty() || content.starts_with('#') || content.starts_with("---") {
            continue;
        }
        if block_indent.is_some_and(|header| indent > header) {
            continue;
        }
        let line = Line::cut(index + 1 + chunk.lines_before, text);
        let is_block = matches!(line.value.split(' ').next(), Some("|" | ">" | "|-" | ">-" | "|+" | ">+"));
        // The text of a block stands deeper than the key, or than the dash, that opens it.
        block_indent = is_block.then(|| if line.key.is_some() { line.column - 1 } else { indent });
        lines.push(line);
    }
    lines
}

impl<'a> Line<'a> {
    fn cut(number: usize, text: &'a str) -> Line<'a> {
        let mut content = text.trim_start_matches(' ');
        let mut column = text.len() - content.len() + 1;
        let mut dash = None;
        while let Some(item) = content.strip_prefix("- ") {
            dash.get_or_insert(column);
            let trimmed = item.trim_start_matches(' ');
            column += content.len() - trimmed.len();
            content = trimmed;
        }
        if content.trim_end() == "-" {
            dash.get_or_insert(column);
        }
        let content = content.trim_end();
        let (key, value) = match content.split_once(": ") {
            Some((key, value)) if is_key(key) => (Some(key), value.trim()),
            _ => match content.strip_suffix(':') {
                Some(key) if is_key(key) => (Some(key), ""),
                _ => (None, content),
            },
        };
        let value = value.split(" #").next().unwrap_or_default().trim_end();
        Line { number, text, column, dash, key, value: if value.starts_with('#') { "" } else { value } }
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && !text.contains([' ', '"', '\'', '{', '[', '#'])
}

/// A field indented deeper than the field above it, which has a value and so can have nothing below it.
fn nested_under_values(lines: &[Line<'_>], may_show: bool) -> Vec<Mistake> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    // The column where a run of too deep lines stands: one mistake, said once.
    let mut running: Option<usize> = None;
    for pair in lines.windows(2) {
        let [above, line] = pair else { continue };
        if running.is_some_and(|column| line.column >= column) {
            continue;
        }
        running = None;
        let (Some(above_key), Some(key)) = (above.key, line.key) else { continue };
        let is_plain = above
            .value
            .starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '"' | '\''));
        if !is_plain || line.column <= above.column || line.dash.is_some() {
            continue;
        }
        running = Some(line.column);
        let has_value = if may_show { format!("the value `{}`", above.value) } else { "a value".to_owned() };
        let mut hint = format!(
            "put `{key}` in the same column as `{above_key}` (column {}), and the lines below it likewise",
            above.column
        );
        if may_show {
            let moved = format!("{}{}", " ".repeat(above.column - 1), line.text.trim());
            hint = format!("{hint}:\n{}\n{moved}", above.text.trim_end());
        }
        mistakes.push(Mistake {
            line: line.number,
            column: line.column,
            width: key.chars().count(),
            message: format!(
                "`{key}` is indented deeper than `{above_key}` in line {}, which already has {has_value}: \
                 nothing can stand below it",
                above.number
            ),
            hint: Some(hint),
        });
    }
    mistakes
}

/// A line whose column fits none of those open above it.
fn odd_column(lines: &[Line<'_>], number: usize) -> Option<Mistake> {
    let index = lines.iter().position(|line| line.number == number)?;
    let line = &lines[index];
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut bound = usize::MAX;
    for above in lines[..index].iter().rev() {
        for (column, key) in [(above.column, above.key), (above.dash.unwrap_or(above.column), Some("- "))] {
            if column < bound && (above.dash.is_some() || key != Some("- ")) {
                open.push((column, key.unwrap_or_default()));
                bound = column;
            }
        }
    }
    let column = line.dash.unwrap_or(line.column);
    if open.is_empty() || open.iter().any(|(known, _)| *known == column) || column > open[0].0 {
        return None;
    }
    let columns: Vec<String> = open.iter().rev().map(|(column, _)| column.to_string()).collect();
    let (nearest, key) = open.iter().min_by_key(|(known, _)| known.abs_diff(column))?;
    let beside = if *key == "- " || key.is_empty() { String::new() } else { format!(", beside `{key}`") };
    Some(Mistake {
        line: number,
        column,
        width: 1,
        message: format!(
            "this line begins in column {column}, where nothing above it begins (columns in use: {})",
            columns.join(", ")
        ),
        hint: Some(format!("indent it by {} spaces (column {nearest}{beside})", nearest - 1)),
    })
}

/// Tabs in the indentation.
fn tabs(chunk: Chunk<'_>) -> Option<Mistake> {
    let mut indented = chunk.text.lines().enumerate().filter_map(|(index, text)| {
        let blank = text.len() - text.trim_start().len();
        let tab = text[..blank].find('\t')?;
        (blank < text.len()).then_some((index + 1 + chunk.lines_before, tab + 1))
    });
    let (line, column) = indented.next()?;
    let more = indented.count();
    let others = if more == 0 { String::new() } else { format!(", as do {more} more lines") };
    Some(Mistake {
        line,
        column,
        width: 1,
        message: format!("a tab indents this line{others}; YAML is indented by spaces only"),
        hint: Some(
            "replace each tab by spaces (in most editors: \"convert indentation to spaces\")".to_owned(),
        ),
    })
}
