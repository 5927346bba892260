//! The toolbox: chooses the applet and turns its result into an exit code. The applets: lib.rs.

use std::process::ExitCode;

fn main() -> ExitCode {
    toolbox::run(std::env::args_os().collect())
}
