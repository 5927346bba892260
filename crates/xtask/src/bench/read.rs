//! Reading in containers: two Pods of the big image, one after the other on a new node, read a tenth of a gigabyte of its
//! files twice, once with layers that are mounted and once with layers that are unpacked, in turn. Nothing of it comes from
//! the disk: both have just been written. The first Pod is the first reader of all; the second finds what is left of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::node::server::{PODS, Place, Server};
use super::statistics::Samples;
use crate::command;
use crate::failure::{Attempt, Failure, Result};

const READ_BYTES: u64 = 100_000_000;
/// Of the big image, whose files are this machine's.
const READ_DIRECTORY: &str = "/usr";
/// How long reading may take where layers are mounted, over where they are unpacked.
const RATIO_LIMIT: f64 = 1.1;

/// The reading program, compiled for containers that have no library.
pub(crate) struct Reading {
    program: PathBuf,
}

/// What one Pod told.
struct Told {
    first_ms: f64,
    again_ms: f64,
}

/// What the Pods of a node took.
pub(crate) struct Times {
    /// The node's first Pod, for the first time.
    first_ms: f64,
    /// A later Pod, for the first time.
    later_ms: f64,
    /// The later Pod, again.
    again_ms: f64,
}

impl Reading {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let (source, program) = (directory.join("reader.rs"), directory.join("reader"));
        fs::write(&source, include_str!("reader.rs")).attempt("writing the reading program")?;
        let mut rustc = Command::new("rustc");
        // Without a target of its own a static glibc is not to be had.
        rustc.args(["--edition=2024", "-O", "-C", "target-feature=+crt-static", "--target"]);
        rustc.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
        command::output(rustc.arg("-o").arg(&program).arg(&source))?;
        Ok(Self { program })
    }

    /// Runs Pods of the image `reference` in the store.
    pub(crate) fn run(&self, podling: &Path, store: &Path, reference: &str) -> Result<Times> {
        let directory = self.program.with_file_name("node");
        let place = Place::new(podling, &directory, store);
        let (server, _) = place.start()?;
        let first = self.read_in_pod(&server, "first", reference)?;
        let later = self.read_in_pod(&server, "later", reference)?;
        drop(server);
        place.clear()?;
        Ok(Times { first_ms: first.first_ms, later_ms: later.first_ms, again_ms: later.again_ms })
    }

    /// Runs a Pod to its end.
    fn read_in_pod(&self, server: &Server, name: &str, reference: &str) -> Result<Told> {
        let (mut client, mut watch) = (server.connect()?, server.connect()?);
        watch.watch(&format!("{PODS}?watch=true"))?;
        client.ask("POST", PODS, Some(&self.pod(name, reference)))?;
        wait(|| {
            let event = watch.next_event()?;
            let phase = event["object"]["status"]["phase"].as_str().unwrap_or_default().to_owned();
            Ok(["Succeeded", "Failed"].contains(&phase.as_str()))
        })?;
        let text = client.ask("GET", &format!("{PODS}/{name}/log"), None)?;
        client.ask("DELETE", &format!("{PODS}/{name}"), None)?;
        wait(|| Ok(watch.next_event()?["type"] == "DELETED"))?;
        let text = String::from_utf8_lossy(&text);
        parse(&text).ok_or_else(|| Failure::new(format!("the reading Pod said {text:?}")))
    }

    fn pod(&self, name: &str, reference: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{
                    "name": "reader", "image": reference, "imagePullPolicy": "IfNotPresent",
                    "command": ["/bench/reader", READ_DIRECTORY, READ_BYTES.to_string()],
                    "volumeMounts": [{"name": "reader", "mountPath": "/bench/reader", "readOnly": true}],
                }],
                "volumes": [{"name": "reader", "hostPath": {"path": self.program, "type": "File"}}],
            },
        })
    }
}

fn wait(mut has_come: impl FnMut() -> Result<bool>) -> Result {
    while !has_come()? {}
    Ok(())
}

/// `read BYTES FIRST AGAIN`, somewhere in what podling printed.
fn parse(text: &str) -> Option<Told> {
    let (_, told) = text.split_once("read ")?;
    let mut words = told.split_ascii_whitespace();
    let bytes: u64 = words.next()?.parse().ok()?;
    let told = Told { first_ms: words.next()?.parse().ok()?, again_ms: words.next()?.parse().ok()? };
    (bytes >= READ_BYTES).then_some(told)
}

/// One round of both.
pub(crate) fn note(samples: &mut Samples, mounted: &Times, unpacked: &Times) {
    for (what, limit, mounted, unpacked) in [
        ("read 100 MB in the first Pod of a new node", None, mounted.first_ms, unpacked.first_ms),
        ("read them in a later Pod", Some(RATIO_LIMIT), mounted.later_ms, unpacked.later_ms),
        ("read them again in that Pod", Some(RATIO_LIMIT), mounted.again_ms, unpacked.again_ms),
    ] {
        samples.add_ms(format!("podling: {what}, layers mounted"), None, mounted);
        samples.add_ms(format!("podling:   {what}, layers unpacked"), None, unpacked);
        samples.add_ratio(format!("podling:   {what}, mounted over unpacked"), limit, mounted / unpacked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_line_is_found_and_too_few_bytes_are_none() {
        let told = parse("read 100000001 61.5 20.25\n");
        assert_eq!(told.map(|told| (told.first_ms, told.again_ms)), Some((61.5, 20.25)));
        assert!(parse("read 99 1 1").is_none());
    }
}
