//! What the probe said, made comparable: finely keyed, and without numbers that differ from run to run.

use std::collections::BTreeMap;
use std::path::Path;

/// What was said under each key, sorted.
pub(crate) type Observation = BTreeMap<String, Vec<String>>;

/// Reads what the probe printed. `stage` is the test's directory, whose name occurs in mounts.
pub(crate) fn parse(output: &str, stage: &Path) -> Observation {
    let mut observation = Observation::new();
    for entry in output.lines() {
        let Some((key, value)) = entry.split_once(": ").or_else(|| Some((entry.strip_suffix(':')?, "")))
        else {
            continue;
        };
        for (key, value) in facts(key, value, stage) {
            observation.entry(key).or_default().push(value);
        }
    }
    for values in observation.values_mut() {
        values.sort();
    }
    observation
}

/// The facts of one line, each under a key that two runtimes can differ in by itself.
fn facts(key: &str, value: &str, stage: &Path) -> Vec<(String, String)> {
    let first_word = || value.split_once(' ').unwrap_or((value, ""));
    match key {
        "mount" => mount(value, stage),
        "namespace" => {
            let kind = value.split(':').next().unwrap_or_default();
            let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            let whose = if host.to_str() == Some(value) { "the host's" } else { "its own" };
            vec![(format!("namespace {kind}"), whose.to_owned())]
        }
        "cgroup" => {
            let mut fields = value.splitn(3, ':').skip(1);
            let controllers = fields.next().unwrap_or_default();
            let controllers = if controllers.is_empty() { "unified" } else { controllers };
            let path = fields.next().unwrap_or_default();
            let path = if path.contains("podling-suite") { "its own" } else { path };
            vec![(format!("cgroup {controllers}"), path.to_owned())]
        }
        "env" => {
            let (name, content) = value.split_once('=').unwrap_or((value, ""));
            vec![(format!("env {name}"), content.to_owned())]
        }
        // Numbers of pipes and sockets.
        "descriptor" => vec![(key.to_owned(), value.split(":[").next().unwrap_or_default().to_owned())],
        "node" | "open" => vec![(format!("{key} {}", first_word().0), first_word().1.to_owned())],
        "limit" => {
            let at = value.find(|letter: char| letter.is_ascii_digit()).or_else(|| value.find("unlimited"));
            let (name, values) = value.split_at(at.unwrap_or(0));
            vec![(format!("limit {}", name.trim()), values.to_owned())]
        }
        _ => vec![(key.to_owned(), value.to_owned())],
    }
}

/// One line of mountinfo (proc_pid_mountinfo(5)) as facts about its mount point. What is mounted several
/// times at one place appears as several values.
fn mount(line: &str, stage: &Path) -> Vec<(String, String)> {
    let (own, filesystem) = line.split_once(" - ").unwrap_or((line, ""));
    let own: Vec<&str> = own.split(' ').collect();
    let field = |index: usize| own.get(index).copied().unwrap_or_default();
    let (root, point, options) = (field(3), field(4), field(5));
    let tags = own.iter().skip(6);
    let propagation: Vec<&str> = tags.map(|tag| tag.split(':').next().unwrap_or_default()).collect();
    let mut filesystem = filesystem.split(' ');
    let kind = filesystem.next().unwrap_or_default();
    let mut parameters: Vec<&str> = filesystem.nth(1).unwrap_or_default().split(',').collect();
    parameters.sort_unstable();
    // Layers are the stage's, the others the kernel's doing.
    const UNTOLD: [&str; 7] = ["lowerdir", "upperdir=", "workdir=", "inode64", "uuid=", "fsync=", "volatile"];
    parameters.retain(|parameter| !UNTOLD.iter().any(|prefix| parameter.starts_with(prefix)));
    let mut facts = vec![
        (format!("mount {point} options"), options.to_owned()),
        (format!("mount {point} propagation"), propagation.join(" ")),
        (format!("mount {point} type"), kind.to_owned()),
    ];
    // The root of a cgroup mount is told relative to the reader's cgroup namespace; devtmpfs is the host's.
    if kind != "cgroup" && kind != "devtmpfs" {
        facts.push((format!("mount {point} parameters"), parameters.join(",")));
    }
    let within_stage = stage.to_str().and_then(|stage| root.strip_prefix(stage));
    // Where the root filesystem of the stage is itself a mount, its path is shorter.
    let root = within_stage.unwrap_or(root);
    if kind != "cgroup" && kind != "overlay" {
        facts.push((format!("mount {point} root"), root.to_owned()));
    }
    facts
}
