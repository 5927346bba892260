//! `cargo xtask schema [--check]`: what of the Kubernetes API is checked in, made from the schemas of `k8s-openapi`.
//!
//! - [`fields`]: crates/model/src/fields.rs, the table of every field that a manifest may have.
//! - [`definitions`]: crates/apimachinery/src/schema/definitions.json, every definition that the API serves, with the
//!   extensions that `k8s-openapi` leaves out, from our own table.
//!
//! Both are made at development time, so that podling itself carries neither the schemas' generator nor the types,
//! and reads a manifest without building anything first.

mod definitions;
mod extensions;
mod fields;

use std::path::Path;

/// What the command was asked for.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// Write the files.
    Write,
    /// Only say whether they are current.
    Check,
}

/// Generates the files and writes them, or compares them with those checked in.
pub(crate) fn run(root: &Path, mode: Mode) -> Result<(), String> {
    keep(&root.join("crates/model/src/fields.rs"), &fields::generate()?, mode)?;
    keep(&root.join("crates/apimachinery/src/schema/definitions.json"), &definitions::generate()?, mode)
}

fn keep(path: &Path, generated: &str, mode: Mode) -> Result<(), String> {
    match mode {
        Mode::Write => std::fs::write(path, generated)
            .map_err(|error| format!("cannot write {}: {error}", path.display())),
        Mode::Check => {
            let current = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            if current == generated {
                Ok(())
            } else {
                Err(format!("{} is not current: run `cargo xtask schema`", path.display()))
            }
        }
    }
}
