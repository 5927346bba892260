//! A shell script as far as the questions here go: which commands it runs, and whether it may go on after a failure.
//! No parser: where the text is not plain, the answers lean to "it may go on".

/// A script, cut into words and operators. Quoted texts are words whose content does not count.
pub(crate) struct Script {
    tokens: Vec<String>,
    has_arithmetic: bool,
}

/// What stands between commands.
const OPERATORS: [&str; 7] = [";", "&", "&&", "|", "||", "(", ")"];
/// Words after which a command stands.
const BEFORE_COMMANDS: [&str; 11] =
    ["do", "then", "else", "elif", "if", "until", "while", "!", "{", "exec", "time"];
/// The content of a quoted text.
const QUOTED: char = '"';

impl Script {
    pub(crate) fn of(text: &str) -> Script {
        let mut tokens = vec![String::new()];
        let mut rest = text.chars().peekable();
        let mut before = '\n';
        while let Some(c) = rest.next() {
            let mut operator = |operator: &str| tokens.extend([operator.to_owned(), String::new()]);
            match c {
                '\\' => drop(rest.next()),
                '\'' | '"' => {
                    while rest.next().is_some_and(|inner| inner != c) {}
                    tokens.last_mut().into_iter().for_each(|word| word.push(QUOTED));
                }
                '#' if before.is_whitespace() || before == ';' => {
                    while rest.next_if(|inner| *inner != '\n').is_some() {}
                }
                '\n' | ';' => operator(";"),
                '(' | '`' => operator("("),
                ')' => operator(")"),
                '|' if rest.next_if_eq(&'|').is_some() => operator("||"),
                '|' => operator("|"),
                '&' if rest.next_if_eq(&'&').is_some() => operator("&&"),
                // Redirections: `2>&1`, `&>/dev/null`.
                '&' if before == '>' || rest.peek() == Some(&'>') => {}
                '&' => operator("&"),
                c if c.is_whitespace() => tokens.push(String::new()),
                c => tokens.last_mut().into_iter().for_each(|word| word.push(c)),
            }
            before = c;
        }
        tokens.retain(|token| !token.is_empty());
        let comparisons = ["$((", " -lt ", " -le ", " -gt ", " -ge "];
        Script { tokens, has_arithmetic: comparisons.iter().any(|comparison| text.contains(comparison)) }
    }

    /// The words that stand where commands do, with their places.
    fn commands(&self) -> impl Iterator<Item = (usize, &str)> {
        let stands_there = |(index, _): &(usize, &str)| {
            let before = index.checked_sub(1).map(|before| self.tokens[before].as_str());
            before.is_none_or(|before| OPERATORS.contains(&before) || BEFORE_COMMANDS.contains(&before))
        };
        let words = self.tokens.iter().map(String::as_str).enumerate().filter(stands_there);
        words.filter(|(_, word)| {
            !OPERATORS.contains(word) && !BEFORE_COMMANDS.contains(word) && !word.contains('=')
        })
    }

    /// Whether a loop that goes on until something is there begins the script, with nothing but looking and waiting in
    /// it and before it: then nobody but others can end it.
    pub(crate) fn only_waits(&self) -> bool {
        const HARMLESS: [&str; 22] = [
            "busybox",
            "cat",
            "curl",
            "date",
            "done",
            "dig",
            "echo",
            "fi",
            "getent",
            "host",
            "nc",
            "ncat",
            "nslookup",
            "pg_isready",
            "ping",
            "printf",
            "set",
            "sleep",
            "telnet",
            "timeout",
            "wait-for",
            "wget",
        ];
        let is_loop = |word: &String| matches!(word.as_str(), "until" | "while");
        let Some(begin) = self.tokens.iter().position(is_loop) else { return false };
        let rest = self.tokens[begin..].iter().position(|word| word == "done");
        let end = rest.map_or(self.tokens.len(), |length| begin + length);
        self.commands().take_while(|(index, _)| *index < end).all(|(_, word)| HARMLESS.contains(&word))
    }

    /// Whether a word stands where a command does.
    pub(crate) fn runs(&self, command: &str) -> bool {
        self.commands().any(|(_, word)| word == command)
    }

    /// Whether it starts something that goes on beside it.
    pub(crate) fn has_background_job(&self) -> bool {
        self.tokens.iter().any(|token| token == "&")
    }

    /// Whether a failure leads to something that hides it: `|| true`.
    pub(crate) fn ignores_a_failure(&self) -> bool {
        let is_hidden_by = |next: &str| !matches!(next, "false" | "sleep");
        self.tokens.windows(2).any(|pair| pair[0] == "||" && is_hidden_by(&pair[1]))
    }

    /// Whether it counts or compares: a loop may end by that.
    pub(crate) fn counts(&self) -> bool {
        self.has_arithmetic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_at_the_beginning_of_statements() {
        let script = Script::of(
            "echo wait for it # exit\nuntil wget -q 'x; break' 2>&1; do sleep 1; done && exec kill 1",
        );
        for command in ["echo", "wget", "sleep", "kill"] {
            assert!(script.runs(command), "{command}");
        }
        for command in ["for", "exit", "break", "-q"] {
            assert!(!script.runs(command), "{command}");
        }
    }

    #[test]
    fn a_loop_that_only_waits_is_told_from_work() {
        for (text, expected) in [
            ("until nc -z a 1; do echo no; sleep 1; done", true),
            ("echo begin; while ! wget -q x; do sleep 1; done; ./migrate", true),
            ("until [ -e /x ]; do sleep 1; done", false),
            ("redis-server --daemonize yes; until nc -z a 1; do sleep 1; done", false),
            ("until nc -z a 1; do ./start; done", false),
            ("nc -z a 1", false),
        ] {
            assert_eq!(Script::of(text).only_waits(), expected, "{text}");
        }
    }

    #[test]
    fn background_jobs_are_told_from_redirections() {
        for (text, expected) in [
            ("server & work", true),
            ("server& work", true),
            ("work >/dev/null 2>&1", false),
            ("work &>/dev/null", false),
            ("a && b", false),
            ("echo 'a & b' \"c & d\"", false),
        ] {
            assert_eq!(Script::of(text).has_background_job(), expected, "{text}");
        }
    }

    #[test]
    fn hidden_failures_are_seen() {
        for (text, expected) in [
            ("nc -z a 1 || true", true),
            ("nc -z a 1 || :", true),
            ("until nc -z a 1 || sleep 1; do :; done", false),
            ("nc -z a 1", false),
        ] {
            assert_eq!(Script::of(text).ignores_a_failure(), expected, "{text}");
        }
        assert!(Script::of("i=$((i+1))").counts() && !Script::of("echo $i").counts());
    }
}
