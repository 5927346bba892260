//! Which number a field has: the table numbers.txt, whose head says how it is written.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

static TABLE: &str = include_str!("numbers.txt");

/// The fields of a message by number.
pub(super) type Members = BTreeMap<u32, Member>;

/// What a number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    /// A field.
    Field {
        /// Its name in JSON.
        name: &'static str,
        /// It is always on the wire, and in JSON only when it is not zero.
        is_omitted_when_zero: bool,
    },
    /// A message whose fields stand in JSON beside those of the message around it.
    Embedded(Members),
}

/// A message: its lines, and its fields once somebody has asked for them.
struct Message {
    lines: &'static str,
    members: OnceLock<Members>,
}

static MESSAGES: LazyLock<BTreeMap<&'static str, Message>> = LazyLock::new(|| {
    let mut messages = BTreeMap::new();
    let mut left = TABLE;
    while let Some(start) = left.find("\nio.k8s.") {
        let (name, lines) = left[start + 1..].split_once('\n').unwrap_or((&left[start + 1..], ""));
        let end = lines.find("\nio.k8s.").map_or(lines.len(), |end| end + 1);
        messages.insert(name, Message { lines: &lines[..end], members: OnceLock::new() });
        // The line break before the next name is needed to find it.
        left = &lines[end.saturating_sub(1)..];
    }
    messages
});

/// The names of all messages.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    MESSAGES.keys().copied()
}

/// The fields of the message of a definition.
pub(super) fn members(definition: &str) -> Option<&'static Members> {
    let message = MESSAGES.get(definition)?;
    Some(message.members.get_or_init(|| parse(message.lines)))
}

/// The file is ours, and a test reads all of it: every line can be read.
fn parse(lines: &'static str) -> Members {
    let mut members = Members::new();
    for line in lines.lines() {
        let Some((path, name)) = line.trim_start().split_once(' ') else { continue };
        let (name, is_omitted_when_zero) = match name.strip_suffix('?') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let path: Vec<u32> = path.split('.').filter_map(|number| number.parse().ok()).collect();
        insert(&mut members, &path, Member::Field { name, is_omitted_when_zero });
    }
    members
}

fn insert(members: &mut Members, path: &[u32], member: Member) {
    match path {
        [] => {}
        [number] => {
            members.insert(*number, member);
        }
        [number, rest @ ..] => {
            let embedded = members.entry(*number).or_insert_with(|| Member::Embedded(Members::new()));
            if let Member::Embedded(embedded) = embedded {
                insert(embedded, rest, member);
            }
        }
    }
}
