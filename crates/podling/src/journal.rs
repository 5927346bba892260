//! `podling journal`: what happened to a Pod, from the journal that its node keeps or that a run kept (docs/journal.md).

mod rows;
mod timeline;
mod words;

use std::path::{Path, PathBuf};

use engine::journal::{Recorded, find, read_file};
use lifecycle::replay::replay;

use crate::console::{Palette, print};
use crate::exit::Code;
use crate::failure::Failure;
use crate::run::require_root;
use crate::typed::{Journal, ListOutput};

/// Shows the journals that are asked for.
pub(crate) fn perform(asked: &Journal) -> Result<Code, Failure> {
    let journals = match &asked.file {
        Some(file) => chosen(read_file(file)?, asked.pod.as_deref(), file)?,
        None => {
            require_root("journal")?;
            of_nodes(&asked.directories.data_dir, asked.pod.as_deref())?
        }
    };
    for (index, journal) in journals.iter().enumerate() {
        if asked.replay {
            print(replayed(journal)?)?;
            continue;
        }
        match asked.output {
            ListOutput::Json => print_entries(journal)?,
            ListOutput::Table => {
                let gap = if index > 0 { "\n" } else { "" };
                print(format_args!("{gap}{}", timeline::text(journal, Palette::of_stdout())))?;
            }
        }
    }
    Ok(Code::SUCCESS)
}

/// The journal of a Pod of any node in this data directory: the directory itself, and those of runs in it.
fn of_nodes(data_dir: &Path, pod: Option<&str>) -> Result<Vec<Recorded>, Failure> {
    let (mut journals, mut unreadable) = (Vec::new(), None);
    for directory in std::iter::once(data_dir.to_owned()).chain(runs(data_dir)) {
        for journal in find(&directory)? {
            match journal {
                Ok(journal) => journals.push(journal),
                Err(error) => unreadable = Some(error),
            }
        }
    }
    match (chosen(journals, pod, data_dir), unreadable) {
        // It may be the one that was asked for.
        (Err(Failure::NoSuchJournal { .. }), Some(error)) => Err(error.into()),
        (chosen, _) => chosen,
    }
}

/// The data directories of runs.
fn runs(data_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(data_dir.join("runs")) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The one of that name or UID; all of them when none is named. Of Pods that had one name after the other, it is the last.
fn chosen(journals: Vec<Recorded>, pod: Option<&str>, place: &Path) -> Result<Vec<Recorded>, Failure> {
    let Some(pod) = pod else { return Ok(journals) };
    let (mut found, others): (Vec<_>, Vec<_>) = journals.into_iter().partition(|journal| {
        let name = journal.pod();
        journal.uid() == pod || name == pod || name.split('/').next_back() == Some(pod)
    });
    found.sort_by(|one, other| one.pod().cmp(&other.pod()).then(began_at(other).cmp(&began_at(one))));
    found.dedup_by_key(|journal| journal.pod());
    match found.as_slice() {
        [] => {
            let (pod, place) = (pod.to_owned(), place.to_owned());
            let names: Vec<_> = others.iter().map(Recorded::pod).collect();
            let hint = match names.as_slice() {
                [] => "no Pod runs there. `podling run --journal FILE` keeps the journals of Pods that end"
                    .to_owned(),
                names => format!("those there are {}", names.join(", ")),
            };
            Err(Failure::NoSuchJournal { pod, place, hint })
        }
        [_] => Ok(found),
        several => {
            let names = several.iter().map(Recorded::pod).collect();
            Err(Failure::SeveralJournals { pod: pod.to_owned(), names })
        }
    }
}

fn began_at(journal: &Recorded) -> i64 {
    journal.head().map_or(0, |head| head.now.wall_nanos)
}

fn replayed(journal: &Recorded) -> Result<String, Failure> {
    let pod = journal.pod();
    let replayed = replay(&journal.entries).map_err(|source| Failure::Replay { pod: pod.clone(), source })?;
    let gaps = match replayed.gaps {
        0 => String::new(),
        1 => ", on both sides of one gap".to_owned(),
        gaps => format!(", on all sides of {gaps} gaps"),
    };
    Ok(format!(
        "{pod}: {} decisions and {} facts come out as they were recorded{gaps}\n",
        replayed.rounds, replayed.facts
    ))
}

/// The entries as they are, one a line.
fn print_entries(journal: &Recorded) -> Result<(), Failure> {
    let mut text = String::new();
    for entry in &journal.entries {
        let line = serde_json::to_string(entry).map_err(|error| Failure::Output(error.into()))?;
        text.push_str(&line);
        text.push('\n');
    }
    print(text)
}
