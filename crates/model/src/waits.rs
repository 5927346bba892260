//! Init containers that wait for something nobody can give them: a port that only a later container opens.
//!
//! A look at the text of commands, not at running programs: `nc -z`, `wget`, `curl`, `nslookup`, `wait-for`,
//! `/dev/tcp` and their like, in the arguments or in the text of `sh -c`. It may miss a wait, and is meant to
//! name one only where the words are plain.

use std::collections::{BTreeSet, HashMap};

use crate::pod::{Container, EnvValue, Handler, Pod, PortRef, Probe};

/// Something that an init container connects to or looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The init container.
    pub container: String,
    /// The host as written.
    pub host: String,
    /// The port; none for a name that is only looked up.
    pub port: Option<u16>,
    /// The later container that would open the port, when the host is the Pod itself.
    pub opened_by: Option<String>,
}

impl Wait {
    /// Whether it waits for a port of its own Pod.
    pub fn is_local(&self) -> bool {
        is_local(&self.host)
    }
}

/// Whether a host is the Pod itself.
pub fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host == "::1" || host == "0.0.0.0" || host.starts_with("127.")
}

/// What the Pod's init containers wait for, in the order in which they start. A wait for a port that an earlier
/// sidecar opens is in order, and left out.
pub fn find(pod: &Pod) -> Vec<Wait> {
    let mut waits: Vec<Wait> = Vec::new();
    let all: Vec<&Container> = pod.spec.init_containers.iter().chain(&pod.spec.containers).collect();
    let openers = Openers::of(&all);
    let init = pod.spec.init_containers.iter().enumerate();
    for (index, container) in init.filter(|(_, container)| !container.is_sidecar()) {
        let of_earlier = waits.len();
        for (host, port) in targets(&words(container)) {
            let is_own = is_local(&host) || host == pod.meta.name;
            let mut opened_by = None;
            if let (true, Some(port)) = (is_own, port) {
                if openers.is_open_before(port, index) {
                    continue;
                }
                opened_by = openers.after(port, index);
            }
            let opened_by = opened_by.map(|opener| all[opener].name.clone());
            let wait = Wait { container: container.name.clone(), host, port, opened_by };
            if !waits[of_earlier..].contains(&wait) {
                waits.push(wait);
            }
        }
    }
    waits
}

/// Who opens which port: one look at each container, however many wait.
#[derive(Default)]
struct Openers {
    /// By port, the places of the containers in the order of their start.
    declared: HashMap<u16, Vec<usize>>,
    mentioned: HashMap<u16, Vec<usize>>,
    /// By port, the place of the first sidecar that opens it.
    first_sidecar: HashMap<u16, usize>,
}

impl Openers {
    fn of(containers: &[&Container]) -> Openers {
        let mut openers = Openers::default();
        for (place, container) in containers.iter().enumerate() {
            let (declared, mentioned) = (declared_ports(container), mentioned_ports(container));
            if container.is_sidecar() {
                for port in declared.iter().chain(&mentioned) {
                    openers.first_sidecar.entry(*port).or_insert(place);
                }
            }
            for (ports, by_port) in [(declared, &mut openers.declared), (mentioned, &mut openers.mentioned)] {
                for port in ports {
                    by_port.entry(port).or_default().push(place);
                }
            }
        }
        openers
    }

    /// Whether a sidecar that starts before the container at `place` opens the port.
    fn is_open_before(&self, port: u16, place: usize) -> bool {
        self.first_sidecar.get(&port).is_some_and(|sidecar| *sidecar < place)
    }

    /// Who opens the port of those that start after the container at `place`; who declares it comes first.
    fn after(&self, port: u16, place: usize) -> Option<usize> {
        let first = |by_port: &HashMap<u16, Vec<usize>>| {
            let places = by_port.get(&port)?;
            places.get(places.partition_point(|opener| *opener <= place)).copied()
        };
        first(&self.declared).or_else(|| first(&self.mentioned))
    }
}

/// Hosts and ports that a command of a container connects to, or names that it looks up.
pub fn reached_by(command: &[String], container: &Container) -> Vec<(String, Option<u16>)> {
    targets(&words_of(command, container))
}

/// How a container lets it be known that it listens on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opens {
    /// The port's number stands in its command, arguments or environment.
    Mentioned,
    /// In `ports`, or in a probe of its own.
    Declared,
}

/// Whether a container says that it listens on a port.
pub fn opens(container: &Container, port: u16) -> Option<Opens> {
    if declared_ports(container).contains(&port) {
        Some(Opens::Declared)
    } else {
        mentioned_ports(container).contains(&port).then_some(Opens::Mentioned)
    }
}

/// The words of command and arguments; text of a shell is cut into words too, at blanks and operators.
fn words(container: &Container) -> Vec<String> {
    words_of(container.command.iter().chain(&container.args), container)
}

fn words_of<'a>(arguments: impl IntoIterator<Item = &'a String>, container: &Container) -> Vec<String> {
    let mut words = Vec::new();
    for argument in arguments {
        let text = with_variables(argument, container);
        let is_separator = |c: char| {
            c.is_whitespace() || matches!(c, ';' | '|' | '&' | '(' | ')' | '`' | '"' | '\'' | '<' | '>')
        };
        let mut start = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| is_separator(*c)) {
            words.push(text[start..at].to_owned());
            // A command ends here: its arguments do not reach further.
            if matches!(c, ';' | '|' | '&' | '\n' | ')' | '`') {
                words.push(END.to_owned());
            }
            start = at + c.len_utf8();
        }
        words.push(text[start..].to_owned());
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Stands between two commands.
const END: &str = ";";

/// `$(NAME)`, `${NAME}` and `$NAME` by the container's literal environment.
fn with_variables(text: &str, container: &Container) -> String {
    let mut text = text.to_owned();
    for variable in &container.env {
        if let EnvValue::Literal(value) = &variable.value {
            let name = &variable.name;
            for form in [format!("$({name})"), format!("${{{name}}}"), format!("${name}")] {
                if text.contains(&form) {
                    text = text.replace(&form, value);
                }
            }
        }
    }
    text
}

/// Hosts and ports that known programs are asked to reach.
fn targets(words: &[String]) -> Vec<(String, Option<u16>)> {
    let mut targets = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if let Some((host, port)) = word.strip_prefix("/dev/tcp/").and_then(|rest| rest.split_once('/')) {
            targets.push((host.to_owned(), port.parse().ok()));
            continue;
        }
        let rest = &words[index + 1..];
        let end = rest.iter().position(|word| word == END).unwrap_or(rest.len());
        let arguments: Vec<&str> = rest[..end].iter().map(String::as_str).collect();
        let program = word.rsplit('/').next().unwrap_or(word);
        targets.extend(of_program(program, &arguments));
    }
    targets
}

fn of_program(program: &str, arguments: &[&str]) -> Vec<(String, Option<u16>)> {
    let plain = || arguments.iter().copied().filter(|argument| !argument.starts_with('-'));
    match program {
        "nc" | "ncat" | "netcat" | "telnet" => {
            let listens = arguments.iter().any(|argument| {
                argument.starts_with('-') && !argument.starts_with("--") && argument.contains('l')
            });
            let plain: Vec<&str> = plain().collect();
            let pair = plain.windows(2).find_map(|pair| {
                let port = pair[1].parse::<u16>().ok()?;
                pair[0].parse::<u64>().is_err().then(|| (pair[0].to_owned(), Some(port)))
            });
            pair.filter(|_| !listens).into_iter().collect()
        }
        "wget" | "curl" | "wait-for" | "wait-for-it" | "wait-for-it.sh" | "wait-for.sh" | "dockerize"
        | "wait4x" => plain().filter_map(address).collect(),
        "nslookup" | "getent" | "dig" | "host" | "ping" => {
            let name =
                plain().find(|word| !matches!(*word, "hosts" | "ahosts") && word.parse::<u32>().is_err());
            name.map(|name| (name.to_owned(), None)).into_iter().collect()
        }
        "pg_isready" => by_options(arguments, 5432),
        "redis-cli" => by_options(arguments, 6379),
        "mysqladmin" | "mysql" => by_options(arguments, 3306),
        _ => Vec::new(),
    }
}

/// `-h HOST -p PORT`.
fn by_options(arguments: &[&str], default_port: u16) -> Vec<(String, Option<u16>)> {
    let value = |names: [&str; 2]| {
        let at = arguments.iter().position(|argument| names.contains(argument))?;
        arguments.get(at + 1).copied()
    };
    let port = value(["-p", "--port"]).or_else(|| value(["-P", "--port"]));
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(default_port);
    value(["-h", "--host"]).map(|host| (host.to_owned(), Some(port))).into_iter().collect()
}

/// `http://host:port/path`, `tcp://host:port`, `host:port`, `host:port/path`.
fn address(word: &str) -> Option<(String, Option<u16>)> {
    let (scheme, rest) = match word.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, word),
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => (host, Some(port.parse::<u16>().ok()?)),
        _ => (authority, None),
    };
    let default_port = match scheme {
        Some("http" | "ws") => Some(80),
        Some("https" | "wss") => Some(443),
        _ => None,
    };
    let port = port.or(default_port)?;
    (!host.is_empty()).then(|| (host.to_owned(), Some(port)))
}

/// The ports on which a container says that it listens: by `ports`, or by a probe of its own.
fn declared_ports(container: &Container) -> BTreeSet<u16> {
    let number = |reference: &PortRef| match reference {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => container
            .ports
            .iter()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port),
    };
    let probed = |probe: &Probe| match &probe.handler {
        Handler::HttpGet { port, host: None, .. } | Handler::TcpSocket { port, host: None } => number(port),
        Handler::Grpc { port, .. } => Some(*port),
        _ => None,
    };
    let probes = [&container.startup_probe, &container.liveness_probe, &container.readiness_probe];
    let probed = probes.into_iter().flatten().filter_map(probed);
    container.ports.iter().map(|port| port.container_port).chain(probed).collect()
}

/// The ports whose number a container's words or environment hold by itself or behind a `:` or `=`.
fn mentioned_ports(container: &Container) -> BTreeSet<u16> {
    let in_env = container.env.iter().filter_map(|variable| match &variable.value {
        EnvValue::Literal(value) if variable.name.ends_with("PORT") => written_port(value),
        _ => None,
    });
    let words = words(container);
    let in_words = words.iter().filter_map(|word| written_port(word.rsplit([':', '=']).next()?));
    in_env.chain(in_words).collect()
}

/// A port as a number is written: no sign, no leading zero.
fn written_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port.to_string() == text).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(init: &str, main: &str) -> Pod {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  initContainers:\n{init}\n  containers:\n{main}\n"
        );
        let manifest = crate::manifest::parse("pod.yaml", text.as_bytes())
            .unwrap_or_else(|problems| panic!("{problems}"));
        manifest.pods.into_iter().next().expect("a Pod")
    }

    /// What an init container with the given shell text waits for.
    fn waits(text: &str) -> Vec<(String, Option<u16>)> {
        let command = serde_json::to_string(text).expect("a JSON string");
        let pod = pod(
            &format!(
                "  - {{name: i, image: a, command: [sh, -c, {command}], env: [{{name: DB, value: db}}]}}"
            ),
            "  - {name: m, image: a}",
        );
        find(&pod).into_iter().map(|wait| (wait.host, wait.port)).collect()
    }

    #[test]
    fn the_usual_ways_to_wait_are_recognised() {
        for (text, host, port) in [
            ("until nc -z postgres-service 5432; do sleep 2; done", "postgres-service", Some(5432)),
            ("while ! nc -z -w 2 localhost 80; do sleep 1; done", "localhost", Some(80)),
            (
                "until wget -q --spider http://localhost:8081/health; do sleep 2; done",
                "localhost",
                Some(8081),
            ),
            ("until curl -sf \"http://api/ready\" > /dev/null; do sleep 1; done", "api", Some(80)),
            ("until curl -sf https://user:pw@api:8443/; do sleep 1; done", "api", Some(8443)),
            ("curl localhost:9000/x", "localhost", Some(9000)),
            ("until nslookup my-db-service; do sleep 4; done", "my-db-service", None),
            ("until getent hosts db; do sleep 1; done", "db", None),
            ("until (echo > /dev/tcp/127.0.0.1/3306) 2>/dev/null; do sleep 1; done", "127.0.0.1", Some(3306)),
            ("until pg_isready -h ${DB} -p 5433; do sleep 1; done", "db", Some(5433)),
            ("until redis-cli -h $DB ping; do sleep 1; done", "db", Some(6379)),
            ("./wait-for-it.sh db:5432 -- echo up", "db", Some(5432)),
            ("/bin/wait-for localhost:8080", "localhost", Some(8080)),
        ] {
            assert_eq!(waits(text), [(host.to_owned(), port)], "{text}");
        }
    }

    #[test]
    fn what_does_not_wait_is_left_alone() {
        for text in [
            "echo hello",
            "nc -l -p 8080",
            "sleep 3600",
            "cat /etc/hosts",
            "echo 80; wget -V",
            "",
            "nc",
            "curl",
        ] {
            assert_eq!(waits(text), [], "{text}");
        }
    }

    #[test]
    fn who_would_open_the_port_is_found_among_the_later_ones() {
        let init = "  - {name: i, image: a, command: [wait-for, 'localhost:8081']}";
        for (main, expected) in [
            ("  - {name: m, image: a}", None),
            ("  - {name: m, image: a, ports: [{containerPort: 8081}]}", Some("m")),
            ("  - {name: m, image: a, readinessProbe: {httpGet: {port: 8081}}}", Some("m")),
            (
                "  - {name: m, image: a, ports: [{containerPort: 8081, name: http}], livenessProbe: {tcpSocket: {port: http}}}",
                Some("m"),
            ),
            ("  - {name: m, image: a, args: [--port, '8081']}", Some("m")),
            ("  - {name: m, image: a, args: ['--listen=:8081']}", Some("m")),
            ("  - {name: m, image: a, env: [{name: PORT, value: '8081'}]}", Some("m")),
        ] {
            let waits = find(&pod(init, main));
            assert_eq!(waits.len(), 1);
            assert!(waits[0].is_local());
            assert_eq!(waits[0].opened_by.as_deref(), expected, "{main}");
        }
    }

    #[test]
    fn thousands_of_containers_that_wait_are_looked_at_once_each() {
        let (mut init, mut main) = (String::new(), String::new());
        for port in 1000..4000 {
            init.push_str(&format!(
                "  - {{name: i{port}, image: a, command: [wait-for, 'localhost:{port}']}}\n"
            ));
            main.push_str(&format!("  - {{name: m{port}, image: a, args: ['--port={port}']}}\n"));
        }
        let waits = find(&pod(&init, &main));
        assert_eq!(waits.len(), 3000);
        assert!(
            waits
                .iter()
                .all(|wait| wait.opened_by.as_ref().is_some_and(|name| name[1..] == wait.container[1..]))
        );
    }

    #[test]
    fn an_earlier_sidecar_may_open_it() {
        let init = "  - {name: s, image: a, restartPolicy: Always, ports: [{containerPort: 8081}]}\n  \
                    - {name: i, image: a, command: [wait-for, 'localhost:8081']}";
        assert_eq!(find(&pod(init, "  - {name: m, image: a}")), []);
    }
}
