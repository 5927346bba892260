//! How long a command sleeps, where its own words say so: `sleep 30`, `sh -c "sleep 30; nginx -s quit"`.

use crate::process::{program_name, script, without_wrapper};

/// A sleep that was found in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sleep {
    /// How long; `u64::MAX` for `infinity`.
    pub(crate) seconds: u64,
    /// The command is nothing but this, so it takes this long whatever happens.
    pub(crate) is_all: bool,
}

/// The sleep that every run of a command comes by. Scripts with conditions, loops and background jobs have none.
pub(crate) fn of(command: &[String]) -> Option<Sleep> {
    let command = without_wrapper(command.to_vec());
    let Some(script) = script(&command) else {
        let seconds = of_words(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
        return Some(Sleep { seconds, is_all: true });
    };
    let statements: Vec<Vec<&str>> = script
        .split(['\n', ';'])
        .flat_map(|line| line.split("&&"))
        .map(|statement| statement.split_whitespace().collect())
        .filter(|statement: &Vec<&str>| !statement.is_empty())
        .collect();
    const BRANCHES: [&str; 13] =
        ["if", "while", "until", "for", "case", "do", "then", "else", "trap", "function", "&", "||", "|"];
    let branches = statements.iter().flatten().any(|word| BRANCHES.contains(word) || word.ends_with('&'));
    let is_cut = script.contains(['|', '(', '{', '`']);
    if branches || is_cut {
        return None;
    }
    let sleeps: Vec<u64> = statements.iter().filter_map(|words| of_words(words)).collect();
    let seconds = sleeps.iter().copied().reduce(u64::saturating_add)?;
    Some(Sleep { seconds, is_all: sleeps.len() == statements.len() })
}

/// `sleep 1m 30s` in seconds, rounded down.
fn of_words(words: &[&str]) -> Option<u64> {
    let (program, durations) = words.split_first()?;
    if program_name(program) != "sleep" || durations.is_empty() {
        return None;
    }
    durations.iter().map(|text| duration(text)).try_fold(0u64, |sum, next| Some(sum.saturating_add(next?)))
}

/// A duration as sleep(1) takes it.
fn duration(text: &str) -> Option<u64> {
    if text.starts_with("inf") {
        return Some(u64::MAX);
    }
    let (number, factor) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => {
            let factor = match text.as_bytes().last() {
                Some(b'm') => 60.0,
                Some(b'h') => 3600.0,
                Some(b'd') => 86_400.0,
                _ => 1.0,
            };
            (number, factor)
        }
        None => (text, 1.0),
    };
    let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let count: f64 = number.parse().ok().filter(|_| is_plain)?;
    Some((count * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep(command: &[&str]) -> Option<(u64, bool)> {
        of(&command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
            .map(|sleep| (sleep.seconds, sleep.is_all))
    }

    #[test]
    fn plain_sleeps_are_understood() {
        for (command, expected) in [
            (&["sleep", "30"][..], (30, true)),
            (&["/bin/sleep", "1m", "30s"], (90, true)),
            (&["/bin/toolbox", "sleep", "2h"], (7200, true)),
            (&["sleep", "infinity"], (u64::MAX, true)),
            (&["sleep", "0.5"], (0, true)),
            (&["sh", "-c", "sleep 40"], (40, true)),
            (&["sh", "-c", "sleep 40; nginx -s quit"], (40, false)),
            (&["/bin/sh", "-c", "nginx -s quit && sleep 5\nsleep 6"], (11, false)),
        ] {
            assert_eq!(sleep(command), Some(expected), "{command:?}");
        }
    }

    #[test]
    fn what_may_not_sleep_is_left_alone() {
        for command in [
            &["sh", "-c", "if true; then sleep 40; fi"][..],
            &["sh", "-c", "sleep 40 & wait"],
            &["sh", "-c", "nc -z a 1 || sleep 40"],
            &["sh", "-c", "while true; do sleep 1; done"],
            &["echo", "sleep", "40"],
            &["sleep"],
            &["sleep", "$TIME"],
            &["nginx", "-s", "quit"],
            &["sh", "-c", "timeout 5 sleep 40"],
        ] {
            assert_eq!(sleep(command), None, "{command:?}");
        }
    }
}
