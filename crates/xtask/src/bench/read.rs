//! Reading in a container: a Pod of the big image reads a tenth of a gigabyte of its files twice, once with layers that are
//! mounted and once with layers that are unpacked, in turn. Nothing of it comes from the disk: both have just been written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::statistics::Samples;
use crate::command;
use crate::failure::{Attempt, Failure, Result};

const READ_BYTES: u64 = 100_000_000;
/// Of the big image, whose files are this machine's.
const READ_DIRECTORY: &str = "/usr";
/// How long reading again what a container has read may take where layers are mounted, over where they are unpacked.
const AGAIN_RATIO_LIMIT: f64 = 1.1;

/// The reading program, compiled for containers that have no library.
pub(crate) struct Reading {
    program: PathBuf,
}

/// What one Pod told.
pub(crate) struct Times {
    first_ms: f64,
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

    /// Runs a Pod of the image `reference` in the store.
    pub(crate) fn run(&self, podling: &Path, store: &Path, reference: &str) -> Result<Times> {
        let manifest = self.program.with_file_name("read.yaml");
        fs::write(&manifest, self.manifest(reference)).attempt("writing the reading Pod")?;
        let mut run = Command::new(podling);
        run.arg("run").arg("--image-dir").arg(store).arg(&manifest);
        let text = command::text(&mut run)?;
        parse(&text).ok_or_else(|| Failure::new(format!("the reading Pod said {text:?}")))
    }

    fn manifest(&self, reference: &str) -> String {
        format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: bench}}
spec:
  restartPolicy: Never
  containers:
    - name: bench
      image: {reference}
      imagePullPolicy: IfNotPresent
      command: [/bench/reader, {READ_DIRECTORY}, '{READ_BYTES}']
      volumeMounts: [{{name: reader, mountPath: /bench/reader, readOnly: true}}]
  volumes:
    - name: reader
      hostPath: {{path: {}, type: File}}
",
            self.program.display()
        )
    }
}

/// `read BYTES FIRST AGAIN`, somewhere in what podling printed.
fn parse(text: &str) -> Option<Times> {
    let (_, told) = text.split_once("read ")?;
    let mut words = told.split_ascii_whitespace();
    let bytes: u64 = words.next()?.parse().ok()?;
    let times = Times { first_ms: words.next()?.parse().ok()?, again_ms: words.next()?.parse().ok()? };
    (bytes >= READ_BYTES).then_some(times)
}

/// One round of both.
pub(crate) fn note(samples: &mut Samples, mounted: &Times, unpacked: &Times) {
    samples.add_ms("podling: read 100 MB in a new Pod, layers mounted", None, mounted.first_ms);
    samples.add_ms("podling:   layers unpacked", None, unpacked.first_ms);
    samples.add_ms("podling: read them again in that Pod, layers mounted", None, mounted.again_ms);
    samples.add_ms("podling:   again, layers unpacked", None, unpacked.again_ms);
    let ratio = mounted.again_ms / unpacked.again_ms;
    samples.add_ratio("podling:   again, mounted over unpacked", Some(AGAIN_RATIO_LIMIT), ratio);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_line_is_found_and_too_few_bytes_are_none() {
        let times = parse("bench | read 100000001 61.5 20.25\n");
        assert_eq!(times.map(|times| (times.first_ms, times.again_ms)), Some((61.5, 20.25)));
        assert!(parse("read 99 1 1").is_none());
    }
}
