//! `podling doctor`: what this machine offers, what is missing and what to do about it, and what dead runs
//! left behind.
//!
//! [`machine`] looks, [`Finding`] is what was found, this file prints. Looking changes nothing on the machine: what
//! has to be tried is tried in a network namespace that goes at once.

mod machine;
mod probe;

use serde::Serialize;

pub(crate) use machine::has_user_namespaces;

use crate::console::{Palette, print};
use crate::exit::Code;
use crate::failure::Failure;
use crate::run::leftovers;
use crate::run::place::{Place, Record};
use crate::typed::{self, ListOutput};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    name: &'static str,
    /// Whether it will do.
    verdict: Verdict,
    /// What is there.
    found: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// Whether what was found will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// It is there.
    Good,
    /// podling works, and something is weaker or missing.
    Weak,
    /// podling cannot run Pods without it.
    Missing,
}

impl Finding {
    fn good(name: &'static str, found: impl Into<String>) -> Finding {
        Finding { name, verdict: Verdict::Good, found: found.into(), advice: None }
    }

    fn weak(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { name, verdict: Verdict::Weak, found: found.into(), advice: Some(advice.into()) }
    }

    fn missing(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { name, verdict: Verdict::Missing, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Exit code 0: Pods can run, and nothing dead is left. 1: something is missing or left.
pub(crate) fn perform(asked: typed::Doctor) -> Result<Code, Failure> {
    let findings = machine::look(&asked.directories);
    let is_root = rustix::process::geteuid().is_root();
    // Without root the directories of runs cannot be read, which is said by a finding already.
    let dead = if is_root { Place::claim_dead(&asked.directories)? } else { Vec::new() };
    let records: Vec<Record> = dead.iter().map(|place| place.record.clone()).collect();
    match asked.output {
        ListOutput::Table => print(text(&findings, &records, asked.clean, Palette::of_stdout()))?,
        ListOutput::Json => {
            let document = serde_json::json!({ "machine": findings, "dead_runs": records });
            print(format_args!("{document:#}\n"))?;
        }
    }
    let mut is_well = findings.iter().all(|finding| finding.verdict != Verdict::Missing);
    if asked.clean && !dead.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::io("start threads of", "the process"))?;
        is_well &= runtime.block_on(leftovers::clean(dead)) == 0;
    } else {
        is_well &= dead.is_empty();
    }
    Ok(if is_well { Code::SUCCESS } else { Code::NOT_ALL_WELL })
}

fn text(findings: &[Finding], dead: &[Record], is_cleaning: bool, palette: Palette) -> String {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Good => palette.success("ok     "),
            Verdict::Weak => palette.warning("weak   "),
            Verdict::Missing => palette.failure("missing"),
        };
        text.push_str(&format!("{verdict}  {:width$}  {}\n", finding.name, finding.found));
        if let Some(advice) = &finding.advice {
            text.push_str(&format!("{:width$}  -> {advice}\n", "", width = width + 9));
        }
    }
    text.push('\n');
    if dead.is_empty() {
        text.push_str("no dead run has left anything\n");
    }
    for record in dead {
        let pods: Vec<_> = record.pods.iter().map(|(_, name)| name.as_str()).collect();
        let pods = if pods.is_empty() { "no Pod yet".to_owned() } else { pods.join(", ") };
        text.push_str(&format!("run {} ({pods}) was killed and left:\n", record.id));
        for place in [&record.run_dir, &record.data_dir] {
            text.push_str(&format!("  {}\n", place.display()));
        }
    }
    if !dead.is_empty() && !is_cleaning {
        text.push_str("the next `podling run` cleans up, or `podling doctor --clean` now\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_stands_below_what_was_found() {
        let findings = [
            Finding::good("kernel", "6.18"),
            Finding::missing("overlayfs", "not known to the kernel", "modprobe overlay"),
        ];
        let expected = "\
ok       kernel     6.18
missing  overlayfs  not known to the kernel
                    -> modprobe overlay

no dead run has left anything
";
        assert_eq!(text(&findings, &[], false, Palette::plain()), expected);
    }
}
