//! Pods for the tests of this crate, and what is found in them.

mod rules;
mod waits;

use model::manifest::{self, Manifest};
use model::pod::Pod;

use crate::{Facts, File, Finding, Found, ImageFacts, Looked, Machine, Severity, check};

/// A manifest of one Pod with that spec, which may begin at any indentation.
pub(crate) fn manifest(spec: &str) -> String {
    let lines: Vec<&str> = spec.lines().filter(|line| !line.trim().is_empty()).collect();
    let margin = lines.iter().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let spec: String = lines.iter().map(|line| format!("  {}\n", &line[margin..])).collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n{spec}")
}

/// The text as a manifest.
pub(crate) fn parse(text: &str) -> Manifest {
    manifest::parse("pod.yaml", text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The Pod with that spec.
pub(crate) fn pod(spec: &str) -> Pod {
    parse(&manifest(spec)).pods.remove(0)
}

/// All that is found in a text.
pub(crate) fn findings(text: &str, facts: &Facts) -> Vec<Finding> {
    let manifest = parse(text);
    check(&[File { name: "pod.yaml", bytes: text.as_bytes(), manifest: &manifest }], facts)
}

/// Rule, severity and line of all that is found in a text, notes left out.
pub(crate) fn found(text: &str, facts: &Facts) -> Vec<(&'static str, Severity, usize)> {
    let findings = findings(text, facts).into_iter();
    let alarms = findings.filter(|finding| finding.severity != Severity::Note);
    alarms.map(|finding| (finding.rule, finding.severity, finding.line)).collect()
}

pub(crate) const ERROR: Severity = Severity::Error;
pub(crate) const ADVICE: Severity = Severity::Advice;

/// A small machine, and images: `shell` has a shell and sleep and runs as root, `web` listens on port 80, `app` runs as
/// user 1000, `named` as a name, `lost` as a user that it does not have, `empty` has no command.
pub(crate) fn facts() -> Facts {
    let image = |user: &str, entrypoint: &[&str], exposed: &[&str]| {
        Looked::Here(Box::new(ImageFacts {
            user: user.to_owned(),
            unknown_user: (user == "lost")
                .then(|| "the image has no user \"lost\" in /etc/passwd".to_owned()),
            entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
            cmd: Vec::new(),
            env: vec!["PATH=/usr/bin:/bin".to_owned()],
            working_dir: "/srv".to_owned(),
            exposed_ports: exposed.iter().map(|port| (*port).to_owned()).collect(),
            find: Box::new(|path| match path {
                "/bin/sh" | "/usr/bin/sleep" | "/srv/run" | "/opt/tool" => Found::File,
                "/broken" => Found::Unknown,
                _ => Found::Nothing,
            }),
        }))
    };
    let images = [
        ("shell", image("", &["sh"], &[])),
        ("web", image("0", &["/srv/run"], &["80/tcp", "81/udp"])),
        ("app", image("1000:1000", &["./run"], &[])),
        ("named", image("web", &["./run"], &[])),
        ("lost", image("lost", &["./run"], &[])),
        ("empty", image("1000", &[], &[])),
    ];
    Facts {
        machine: Machine { cpu_millis: 2000, memory_bytes: 4 << 30 },
        images: images.into_iter().map(|(name, image)| (name.to_owned(), image)).collect(),
    }
}

/// Exactly these are found: rule, severity, and the line counted from the first line of the spec.
#[track_caller]
pub(crate) fn fires(spec: &str, expected: &[(&'static str, Severity, usize)]) {
    let expected: Vec<_> =
        expected.iter().map(|(rule, severity, line)| (*rule, *severity, line + 5)).collect();
    assert_eq!(found(&manifest(spec), &facts()), expected, "{spec}");
}

#[track_caller]
pub(crate) fn is_silent(spec: &str) {
    fires(spec, &[]);
}

#[track_caller]
pub(crate) fn all_are_silent(specs: &[&str]) {
    specs.iter().for_each(|spec| is_silent(spec));
}
