//! How a container ended, on disk: written by the shim before anyone is told, read by the daemon when the shim is
//! gone.
//!
//! One small text file per key below `exits/`, put in place by rename. The run directory is memory, cleared by a
//! reboot like the processes themselves, so nothing is synced.

use std::io;
use std::path::{Path, PathBuf};

use crate::protocol::{Exit, UnixNanos};

/// Stands for the slash of a key in a file name; no container's name has it.
const SLASH: char = '~';

/// The directory of exit records in a Pod's run directory.
pub fn directory(pod_dir: &Path) -> PathBuf {
    pod_dir.join("exits")
}

/// Records an exit.
pub(crate) fn record(pod_dir: &Path, key: &str, exit: &Exit) -> io::Result<()> {
    let directory = directory(pod_dir);
    let name = key.replace('/', &SLASH.to_string());
    let draft = directory.join(format!(".{name}"));
    let write = || std::fs::write(&draft, format(exit));
    match write() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(&directory)?;
            write()?;
        }
        outcome => outcome?,
    }
    std::fs::rename(&draft, directory.join(name))
}

/// All exits that were recorded, by key.
pub fn read(pod_dir: &Path) -> io::Result<Vec<(String, Exit)>> {
    let entries = match std::fs::read_dir(directory(pod_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut exits = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        if let Some(exit) = parse(&std::fs::read_to_string(entry.path())?) {
            exits.push((name.replace(SLASH, "/"), exit));
        }
    }
    Ok(exits)
}

fn format(exit: &Exit) -> String {
    let signal = exit.signal.unwrap_or(0);
    let oom_killed = u8::from(exit.oom_killed);
    format!(
        "code={}\nsignal={signal}\noom_killed={oom_killed}\nfinished_at={}\n",
        exit.code, exit.finished_at.0
    )
}

fn parse(text: &str) -> Option<Exit> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    Some(Exit {
        code: field("code")?.parse().ok()?,
        signal: Some(field("signal")?.parse().ok()?).filter(|signal| *signal != 0),
        oom_killed: field("oom_killed")? == "1",
        finished_at: UnixNanos(field("finished_at")?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back() {
        let dir = std::env::temp_dir().join(format!("podling-exits-{}", std::process::id()));
        let killed = Exit { code: 137, signal: Some(9), oom_killed: true, finished_at: UnixNanos(5) };
        let done = Exit { code: 0, signal: None, oom_killed: false, finished_at: UnixNanos(7) };
        record(&dir, "web/0", &killed).unwrap();
        record(&dir, "web/1", &done).unwrap();
        let mut exits = read(&dir).unwrap();
        exits.sort_by(|a, b| a.0.cmp(&b.0));
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(exits, [("web/0".to_owned(), killed), ("web/1".to_owned(), done)]);
    }
}
