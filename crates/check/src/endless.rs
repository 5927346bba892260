//! Whether a container runs until it is stopped, as far as manifest and image tell.

use crate::process::{program_name, script, told_words};
use crate::subject::{Member, Subject};
use crate::{process, sleeps};

/// Images whose own command serves for ever, by the last part of their name.
const SERVERS: [&str; 31] = [
    "caddy",
    "cassandra",
    "consul",
    "elasticsearch",
    "envoy",
    "etcd",
    "filebeat",
    "fluent-bit",
    "fluentd",
    "grafana",
    "haproxy",
    "httpd",
    "influxdb",
    "istio-proxy",
    "kafka",
    "kibana",
    "mariadb",
    "memcached",
    "mongo",
    "mysql",
    "nats",
    "nginx",
    "otel-collector",
    "postgres",
    "prometheus",
    "promtail",
    "proxyv2",
    "rabbitmq",
    "redis",
    "traefik",
    "vector",
];

/// Why a container never ends by itself; `None` when nothing says so.
pub(crate) fn reason(subject: &Subject<'_>, member: &Member<'_>) -> Option<String> {
    let words = told_words(subject, member);
    if let Some(reason) = of_words(&words) {
        return Some(reason);
    }
    let container = member.container;
    if [&container.liveness_probe, &container.readiness_probe].iter().any(|probe| probe.is_some()) {
        return Some("it has a probe that is asked for ever".to_owned());
    }
    // What somebody gave another command may do anything.
    if !container.command.is_empty() {
        return None;
    }
    if let Some(port) = container.ports.first() {
        return Some(format!("it serves port {}", port.container_port));
    }
    let name = process::program_name(&container.image).split([':', '@']).next().unwrap_or_default();
    (SERVERS.contains(&name) && container.args.is_empty())
        .then(|| format!("{name} serves until it is stopped"))
}

fn of_words(words: &[String]) -> Option<String> {
    if let Some(script) = script(words) {
        let squeezed = script.split_whitespace().collect::<Vec<_>>().join(" ");
        let has_way_out = ["break", "exit", "return", "kill"]
            .iter()
            .any(|way| squeezed.split([' ', ';']).any(|word| word == *way));
        let endless_loop =
            ["while true", "while :", "while sleep", "while [ 1 ]", "for ((;;))", "until false"]
                .into_iter()
                .find(|text| squeezed.contains(text));
        if let (Some(found), false) = (endless_loop, has_way_out) {
            return Some(format!("`{found}` has no end"));
        }
        // The last command of a script decides; one before it would have to end first.
        let last = squeezed.rsplit([';', '&']).map(str::trim).find(|part| !part.is_empty())?;
        let is_piped = last.contains('|');
        let last: Vec<String> = last.split(' ').map(str::to_owned).collect();
        return if is_piped { None } else { of_words(&process::without_wrapper(last)) };
    }
    let arguments = words.get(1..).unwrap_or_default();
    let has = |flags: &[&str]| arguments.iter().any(|argument| flags.contains(&argument.as_str()));
    match program_name(words.first()?) {
        "sleep" => {
            sleeps::of(words).filter(|s| s.seconds == u64::MAX).map(|_| "`sleep infinity` has no end".into())
        }
        "tail" if has(&["-f", "-F", "--follow", "-fn0"]) => Some("`tail -f` follows for ever".to_owned()),
        "http" | "tcp-proxy" | "redis-server" | "envoy" | "haproxy" | "filebeat" | "fluent-bit"
        | "traefik" => Some(format!("`{}` serves until it is stopped", program_name(&words[0]))),
        "nginx" if has(&["daemon off;"]) => Some("`nginx` serves until it is stopped".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endless(command: &[&str]) -> bool {
        of_words(&command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).is_some()
    }

    #[test]
    fn loops_and_servers_have_no_end() {
        for command in [
            &["sleep", "infinity"][..],
            &["tail", "-F", "/log"],
            &["sh", "-c", "while true; do echo x; sleep 20; done"],
            &["sh", "-c", "echo begin; exec tail -f /log/x"],
            &["sh", "-c", "while :\ndo\n  sync\n  sleep 1\ndone"],
            &["nginx", "-g", "daemon off;"],
        ] {
            assert!(endless(command), "{command:?}");
        }
    }

    #[test]
    fn what_ends_or_may_end_is_left_alone() {
        for command in [
            &["sleep", "30"][..],
            &["tail", "-n", "5", "/log"],
            &["sh", "-c", "while true; do test -e /done && break; sleep 1; done"],
            &["sh", "-c", "tail -f /log & work; kill %1"],
            &["sh", "-c", "tail -f /log | grep -q done"],
            &["sh", "-c", "until test -e /done; do sleep 1; done"],
            &["work"],
            &[],
        ] {
            assert!(!endless(command), "{command:?}");
        }
    }
}
