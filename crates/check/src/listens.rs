//! Which TCP ports a container opens although it declares none: its image's own command, or a server whose command says the
//! port. Where anything else may say the port (a mounted configuration, the environment, a script that does more), nothing is
//! concluded.

use crate::process::{program_name, script, told_words, without_wrapper};
use crate::subject::{Member, Subject};

/// A port that a container opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) port: u16,
    /// It is kept open for as long as the container runs.
    pub(crate) stays: bool,
}

/// The ports of a container.
pub(crate) fn ports(subject: &Subject<'_>, member: &Member<'_>) -> Vec<Listening> {
    let container = member.container;
    if container.command.is_empty() && container.args.is_empty() {
        let is_plain =
            container.env.is_empty() && container.env_from.is_empty() && container.volume_mounts.is_empty();
        let exposed =
            subject.image(container).filter(|_| is_plain).map(|image| image.exposed_ports.as_slice());
        return exposed.unwrap_or_default().iter().filter_map(|exposed| tcp(exposed)).collect();
    }
    of_words(&told_words(subject, member)).into_iter().collect()
}

/// `80`, `80/tcp`.
fn tcp(exposed: &str) -> Option<Listening> {
    let (number, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
    let port = number.parse().ok().filter(|_| protocol.eq_ignore_ascii_case("tcp"))?;
    Some(Listening { port, stays: true })
}

fn of_words(words: &[String]) -> Option<Listening> {
    if let Some(script) = script(words) {
        let is_one_command = !script.contains([';', '&', '|', '\n', '(', '`', '$']);
        let words = script.split_whitespace().map(str::to_owned).collect();
        return is_one_command.then(|| of_words(&without_wrapper(words))).flatten();
    }
    let (program, arguments) = words.split_first()?;
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.parse().ok()
    };
    let last = || arguments.last()?.parse().ok();
    let has = |letter: char| {
        arguments.iter().any(|argument| {
            argument.starts_with('-') && !argument.starts_with("--") && argument.contains(letter)
        })
    };
    let (port, stays) = match program_name(program) {
        "nc" | "ncat" | "netcat" if has('l') && !has('u') => (after("-p").or_else(last)?, has('k')),
        "http" => (after("--port")?, true),
        "bind" => (last()?, true),
        "redis-server" => (after("--port")?, true),
        name if name.starts_with("python") && arguments.starts_with(&["-m".into(), "http.server".into()]) => {
            let port = arguments.get(2).map_or(Some(8000), |argument| argument.parse().ok());
            (port?, true)
        }
        _ => return None,
    };
    Some(Listening { port, stays })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_their_ports() {
        let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        for (text, expected) in [
            ("nc|-l|-p|8080", Some((8080, false))),
            ("nc|-lk|8080", Some((8080, true))),
            ("sh|-c|nc -lk -p 8080", Some((8080, true))),
            ("sh|-c|exec nc -lk -p 8080", Some((8080, true))),
            ("python3|-m|http.server", Some((8000, true))),
            ("python3.12|-m|http.server|9000", Some((9000, true))),
            ("http|--port|80|--dir|/", Some((80, true))),
            ("nc|-z|web|8080", None),
            ("nc|-lu|-p|53", None),
            ("sh|-c|sleep 5; nc -lk -p 8080", None),
            ("sh|-c|nc -l -p $PORT", None),
            ("redis-server|/etc/redis.conf", None),
            ("nc|-l|-p", None),
        ] {
            let found = of_words(&words(text)).map(|listening| (listening.port, listening.stays));
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(tcp("53/udp"), None);
    }
}
