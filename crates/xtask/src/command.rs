//! Running other programs: the command line is part of every message, and output that was asked for is given
//! back as text.

use std::fmt::Write;
use std::process::{Command, Stdio};

use crate::failure::{Attempt, Failure, Result};

/// Runs it with our own standard streams; anything but exit code 0 is a failure.
pub(crate) fn run(command: &mut Command) -> Result {
    let line = line(command);
    let status = command.status().attempt(format!("starting `{line}`"))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{line}` failed: {status}"))) }
}

/// Runs it and gives its standard output; standard error becomes part of the failure.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let line = line(command);
    let output = command.stdin(Stdio::null()).output().attempt(format!("starting `{line}`"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("`{line}` failed: {}\n{}", output.status, stderr.trim_end())))
}

/// As [`output`], as text without the last end of line.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    let line = line(command);
    let text = String::from_utf8(output(command)?).attempt(format!("reading the output of `{line}`"))?;
    Ok(text.trim_end().to_string())
}

/// Whether a program of that name is on the PATH.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The command line as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        // Writing into a String cannot fail.
        let _ = write!(line, " {}", argument.to_string_lossy());
    }
    line
}
