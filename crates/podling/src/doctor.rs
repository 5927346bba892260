//! `podling doctor`: what this machine offers, what is missing and what to do about it, and what dead runs
//! left behind.
//!
//! [`machine`] looks, [`Finding`] is what was found, this file prints. Looking changes nothing on the machine: what
//! has to be tried is tried in a network namespace that goes at once.

mod machine;
mod probe;

use std::path::PathBuf;

use engine::abandoned::{self, Abandoned};
use serde::Serialize;

pub(crate) use machine::has_user_namespaces;

use crate::console::{Palette, print};
use crate::exit::Code;
use crate::failure::Failure;
use crate::run::leftovers;
use crate::run::place::{Place, Record, absolute};
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
    let abandoned = if is_root { abandoned_in(&asked.directories)? } else { Vec::new() };
    let left = Left {
        dead_runs: dead.iter().map(|place| place.record.clone()).collect(),
        abandoned_nodes: abandoned.iter().map(AbandonedNode::of).collect(),
    };
    match asked.output {
        ListOutput::Table => print(text(&findings, &left, asked.clean, Palette::of_stdout()))?,
        ListOutput::Json => {
            let document = Document { machine: &findings, left };
            let document = serde_json::to_string_pretty(&document)
                .map_err(|error| Failure::io("write", "the document")(error.into()))?;
            print(format_args!("{document}\n"))?;
        }
    }
    let mut is_well = findings.iter().all(|finding| finding.verdict != Verdict::Missing);
    if asked.clean {
        is_well &= leftovers::end(&abandoned) == 0;
    } else {
        is_well &= abandoned.is_empty();
    }
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

/// Nodes of this run directory, be it that of `podling serve` or of a run, that is there no more.
fn abandoned_in(directories: &typed::Directories) -> Result<Vec<Abandoned>, Failure> {
    let asked = absolute(&directories.run_dir)?;
    Ok(abandoned::find().into_iter().filter(|node| node.run_dir.starts_with(&asked)).collect())
}

/// What is left of podlings that are dead.
#[derive(Debug, Default, Serialize)]
struct Left {
    dead_runs: Vec<Record>,
    abandoned_nodes: Vec<AbandonedNode>,
}

/// A node whose directories were removed while its Pods ran.
#[derive(Debug, Serialize)]
struct AbandonedNode {
    run_dir: PathBuf,
    /// How many Pods still run.
    pods: usize,
}

impl AbandonedNode {
    fn of(found: &Abandoned) -> AbandonedNode {
        AbandonedNode { run_dir: found.run_dir.clone(), pods: found.pods() }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    machine: &'a [Finding],
    #[serde(flatten)]
    left: Left,
}

fn text(findings: &[Finding], left: &Left, is_cleaning: bool, palette: Palette) -> String {
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
    if left.dead_runs.is_empty() {
        text.push_str("no dead run has left anything\n");
    }
    for record in &left.dead_runs {
        let pods: Vec<_> = record.pods.iter().map(|(_, name)| name.as_str()).collect();
        let pods = if pods.is_empty() { "no Pod yet".to_owned() } else { pods.join(", ") };
        text.push_str(&format!("run {} ({pods}) was killed and left:\n", record.id));
        for place in [&record.run_dir, &record.data_dir] {
            text.push_str(&format!("  {}\n", place.display()));
        }
    }
    if !left.dead_runs.is_empty() && !is_cleaning {
        text.push_str("the next `podling run` cleans up, or `podling doctor --clean` now\n");
    }
    for AbandonedNode { run_dir, pods } in &left.abandoned_nodes {
        let run_dir = run_dir.display();
        let pods = match pods {
            0 => "no Pod, but parts of its network".to_owned(),
            1 => "1 Pod, which runs".to_owned(),
            many => format!("{many} Pods, which run"),
        };
        text.push_str(&format!("the node in {run_dir}, a directory that was removed, left {pods}\n"));
    }
    if !left.abandoned_nodes.is_empty() && !is_cleaning {
        text.push_str("`podling doctor --clean` ends what is left of it\n");
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
        assert_eq!(text(&findings, &Left::default(), false, Palette::plain()), expected);
    }
}
