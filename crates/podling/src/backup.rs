//! `podling backup` and `podling restore`: the objects of a node in one file, made and brought back while the node runs or not.
//!
//! A backup needs nothing of the node: it reads the node's database beside it. A restore exchanges the database, so
//! whoever has the data directory does it: this process, when no node runs, and else the node, which is asked at its
//! control socket (`serve::control`) and goes on serving.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use store::{DataLock, Existing, OpenError};

use crate::console::print;
use crate::exit::Code;
use crate::failure::Failure;
use crate::serve::control;
use crate::typed;

/// Makes a backup.
pub(crate) fn make(asked: &typed::Backup) -> Result<Code, Failure> {
    let existing = if asked.overwrite { Existing::Replace } else { Existing::Refuse };
    let verified = store::backup(&asked.data_dir, &asked.file, existing)?;
    print(format_args!(
        "backed up {} at revision {} to {}\n",
        objects(verified.objects),
        verified.revision,
        asked.file.display()
    ))?;
    Ok(Code::SUCCESS)
}

/// Brings one back.
pub(crate) fn restore(asked: &typed::Restore) -> Result<Code, Failure> {
    // What is wrong with the file is said before anybody is asked for anything.
    store::verify(&asked.file)?;
    let (restored, how) = match DataLock::acquire(&asked.data_dir) {
        Ok(lock) => {
            let (verified, replaced) = store::restore(&lock, &asked.file)?;
            let restored =
                control::Restored { objects: verified.objects, revision: verified.revision.get(), replaced };
            (restored, "the next `podling serve` serves them")
        }
        Err(OpenError::Locked { directory, pid }) => {
            (restore_live(&directory, pid, &asked.file)?, "the running node serves them")
        }
        Err(error) => return Err(error.into()),
    };
    print(format_args!(
        "restored {} from {}; {how} from revision {} on\n",
        objects(restored.objects),
        asked.file.display(),
        restored.revision
    ))?;
    if let Some(replaced) = restored.replaced {
        print(format_args!(
            "what was there before is kept in {}; remove it when it is not needed\n",
            replaced.display()
        ))?;
    }
    Ok(Code::SUCCESS)
}

/// The node may see other files than this process does, so it is given the backup where both see the same.
fn restore_live(data_dir: &Path, pid: Option<u32>, file: &Path) -> Result<control::Restored, Failure> {
    let copy = Copy::make(file, data_dir.join(format!("restore-{}.part", std::process::id())))?;
    control::ask(data_dir, pid, &copy.path)
}

/// A copy for its owner alone, gone when the restore is done or not.
struct Copy {
    path: PathBuf,
}

impl Copy {
    fn make(file: &Path, path: PathBuf) -> Result<Copy, Failure> {
        let mut from = fs::File::open(file).map_err(Failure::io("read", file))?;
        let mut options = fs::OpenOptions::new();
        let to = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let copy = Copy { path };
        let copied = to.and_then(|mut to| {
            // Of a process that had the same id and was killed, it may be there already.
            to.set_permissions(fs::Permissions::from_mode(0o600))?;
            std::io::copy(&mut from, &mut to)
        });
        copied.map_err(Failure::io("write", &copy.path))?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What is left is a file of the owner's that the next attempt does not need.
        let _ = fs::remove_file(&self.path);
    }
}

fn objects(count: usize) -> String {
    match count {
        1 => "1 object".to_owned(),
        count => format!("{count} objects"),
    }
}
