//! Which containers wait for a port, read off their command, and which container would open it.
//!
//! People write `until nc -z db 5432; do sleep 2; done`, `wget -q --spider http://localhost:8081/health` and the like
//! in init containers. Whether such a wait can ever end can often be told from the manifest: a port that only a
//! container after it opens stays closed for ever. Only what is surely a wait is reported.

use crate::pod::{Container, Handler, Pod, PortRef};

/// A container that waits for a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The container that waits.
    pub container: String,
    /// The host as written; `localhost` when it is this Pod.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The container that declares the port and starts only after the waiting one has ended.
    pub opened_by: Option<String>,
}

/// Every wait of an init container that is none of a sidecar.
pub fn find(pod: &Pod) -> Vec<Wait> {
    let mut waits = Vec::new();
    for (index, init) in pod.spec.init_containers.iter().enumerate() {
        if init.is_sidecar() {
            continue;
        }
        let later = || pod.spec.init_containers[index + 1..].iter().chain(&pod.spec.containers);
        for (host, port) in targets(init) {
            let opened_by = later().find(|container| opens(container, port)).map(|opener| opener.name.clone());
            let wait = Wait { container: init.name.clone(), host, port, opened_by };
            if !waits.contains(&wait) {
                waits.push(wait);
            }
        }
    }
    waits
}

/// Whether a container says that it listens on a port: by declaring it, or by having it probed.
fn opens(container: &Container, port: u16) -> bool {
    let declared = container.ports.iter().any(|declared| declared.container_port == port);
    let probes = [&container.startup_probe, &container.readiness_probe, &container.liveness_probe];
    let probed = probes.into_iter().flatten().any(|probe| match &probe.handler {
        Handler::HttpGet { port: PortRef::Number(number), .. }
        | Handler::TcpSocket { port: PortRef::Number(number), .. } => *number == port,
        Handler::Grpc { port: number, .. } => *number == port,
        _ => false,
    });
    declared || probed
}

/// Hosts and ports that the command asks for.
fn targets(container: &Container) -> Vec<(String, u16)> {
    let words: Vec<&str> = container.command.iter().chain(&container.args).flat_map(|text| split(text)).collect();
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let rest = &words[index + 1..];
        match program(word) {
            "nc" | "ncat" | "netcat" => found.extend(host_and_port(rest)),
            "wget" | "curl" | "get" => found.extend(rest_of_command(rest).find_map(|word| url(word))),
            "wait-for" | "wait-for-it" | "wait-for-it.sh" => {
                found.extend(rest_of_command(rest).find_map(|word| colon_pair(word)).or_else(|| host_and_port(rest)));
            }
            _ => {}
        }
    }
    found
}

/// Words as a shell would see them, near enough: quotes and brackets are no part of a host.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([';', '|', '&', '\n'])
        .flat_map(|part| {
            let (words, end) = match part.strip_suffix([';', '|', '&', '\n']) {
                Some(words) => (words, Some(";")),
                None => (part, None),
            };
            words.split_whitespace().chain(end)
        })
        .map(|word| word.trim_matches(['"', '\'', '(', ')', '`', '!']))
        .filter(|word| !word.is_empty())
}

fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn rest_of_command<'a>(words: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    words.iter().copied().take_while(|word| *word != ";")
}

/// `nc -z -w 2 HOST PORT`: the first word that is a host and is followed by a port.
fn host_and_port(words: &[&str]) -> Option<(String, u16)> {
    let words: Vec<&str> = rest_of_command(words).collect();
    words.windows(2).find_map(|pair| {
        let port: u16 = pair[1].parse().ok().filter(|port| *port > 0)?;
        let is_host = !pair[0].starts_with('-') && pair[0].parse::<u32>().is_err();
        is_host.then(|| (pair[0].to_owned(), port))
    })
}

/// `HOST:PORT`.
fn colon_pair(word: &str) -> Option<(String, u16)> {
    let (host, port) = word.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty() && !host.contains('/')).then(|| (host.to_owned(), port))
}

/// The host and port of an address; 80 and 443 where it names none.
fn url(word: &str) -> Option<(String, u16)> {
    let (scheme, rest) = word.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    colon_pair(authority).or_else(|| (!authority.is_empty()).then(|| (authority.to_owned(), usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets_of(script: &str) -> Vec<(String, u16)> {
        let words: Vec<String> = script.split('\u{1f}').map(str::to_owned).collect();
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  initContainers:\n  - name: wait\n    image: i\n    \
             command: {words:?}\n  containers:\n  - {{name: app, image: i, ports: [{{containerPort: 8081}}]}}\n"
        );
        let pod = crate::manifest::parse("test.yaml", text.as_bytes()).unwrap().pods.remove(0);
        find(&pod).into_iter().map(|wait| (wait.host, wait.port)).collect()
    }

    #[test]
    fn the_usual_ways_to_wait() {
        for (script, host, port) in [
            ("sh\u{1f}-c\u{1f}until nc -z postgres-service 5432; do sleep 2; done", "postgres-service", 5432),
            ("sh\u{1f}-c\u{1f}until nc -zv -w 2 db 3306; do sleep 1; done", "db", 3306),
            ("sh\u{1f}-c\u{1f}until wget -q --spider http://localhost:8081/health; do sleep 2; done", "localhost", 8081),
            ("sh\u{1f}-c\u{1f}while ! curl -sf \"http://127.0.0.1/ready\"; do sleep 1; done", "127.0.0.1", 80),
            ("wait-for\u{1f}--timeout\u{1f}30s\u{1f}localhost:6379", "localhost", 6379),
            ("/bin/nc\u{1f}-z\u{1f}localhost\u{1f}8081", "localhost", 8081),
        ] {
            assert_eq!(targets_of(script), [(host.to_owned(), port)], "{script}");
        }
    }

    #[test]
    fn what_is_no_wait() {
        for script in ["sh\u{1f}-c\u{1f}sleep 5", "echo\u{1f}nc", "sh\u{1f}-c\u{1f}nc -l -p 80", "sleep\u{1f}5432"] {
            assert_eq!(targets_of(script), [], "{script}");
        }
    }
}
