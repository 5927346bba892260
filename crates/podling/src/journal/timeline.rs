//! The timeline as people read it: when, who, what, and what came of it; one line each, in columns. Pure.

use std::fmt::Write;
use std::time::Duration;

use engine::journal::Recorded;
use lifecycle::journal::Head;

use super::rows::{Row, Tone, Who, rows};
use super::words;
use crate::console::{Palette, human};

/// Names longer than this are not padded to.
const WIDEST_NAME: usize = 30;

/// The whole timeline of a journal.
pub(super) fn text(journal: &Recorded, palette: Palette) -> String {
    let Some(head) = journal.head() else { return String::new() };
    let mut text = heading(head, palette);
    text.push('\n');
    text.push_str(&table(head, &rows(&journal.entries), palette));
    if journal.is_cut_short {
        let remark = "The last entry was cut off while it was being written; what it said is lost.";
        let _ = writeln!(text, "\n{}", palette.warning(remark));
    }
    text
}

fn heading(head: &Head<'_>, palette: Palette) -> String {
    let meta = &head.pod.meta;
    let name = match meta.namespace.as_str() {
        "default" => meta.name.clone(),
        namespace => format!("{namespace}/{}", meta.name),
    };
    let at = jiff::Timestamp::from_nanosecond(i128::from(head.now.wall_nanos)).unwrap_or_default();
    let details = format!("from {at:.3} on, podling {}, UID {}", head.podling, meta.uid);
    format!("{}  {}\n", palette.strong(words::one_line(&name)), palette.faint(words::one_line(&details)))
}

fn table(head: &Head<'_>, rows: &[Row], palette: Palette) -> String {
    let whens: Vec<String> = rows.iter().map(|row| words::when(row.at)).collect();
    let widest = |widths: &mut dyn Iterator<Item = usize>| widths.max().unwrap_or(0);
    let when_width = widest(&mut whens.iter().map(|when| when.chars().count()));
    let who_width = widest(&mut rows.iter().map(|row| name(&row.who).chars().count())).min(WIDEST_NAME);
    let what_width = widest(&mut rows.iter().map(|row| row.what.chars().count()));
    let mut text = String::new();
    for (row, when) in rows.iter().zip(&whens) {
        let who = format!("{:<who_width$}", name(&row.who));
        let who = match &row.who {
            Who::Podling => palette.faint(who),
            Who::Pod => palette.strong(who),
            Who::Container(name) => {
                let names = head.pod.spec.all_containers().map(|container| &container.name);
                let style = palette.container(names.into_iter().position(|n| n == name).unwrap_or(0));
                format!("{style}{who}{style:#}")
            }
        };
        let what = format!("{:<what_width$}", row.what);
        let line = format!(
            "{}  {who}  {}  {}",
            palette.faint(format_args!("{when:>when_width$}")),
            what,
            end(row, palette)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The outcome in its colour, and how long it took.
fn end(row: &Row, palette: Palette) -> String {
    let outcome = match row.tone {
        Tone::Plain => row.outcome.clone(),
        Tone::Good => palette.success(&row.outcome),
        Tone::Warning => palette.warning(&row.outcome),
        Tone::Bad => palette.failure(&row.outcome),
    };
    match row.took.filter(|took| *took >= Duration::from_micros(50)) {
        Some(took) => format!("{outcome} {}", palette.faint(format_args!("in {}", human::duration(took)))),
        None => outcome,
    }
}

fn name(who: &Who) -> &str {
    match who {
        Who::Podling => "podling",
        Who::Pod => "Pod",
        Who::Container(name) => name,
    }
}

#[cfg(test)]
mod tests;
