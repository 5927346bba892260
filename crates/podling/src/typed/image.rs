//! `podling image prune`, `inspect` and `import-from` as they are typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Directories, ListOutput, duration};

/// `podling image inspect`.
#[derive(Debug, Args)]
pub(crate) struct ImageInspect {
    /// Images by name or ID
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) references: Vec<String>,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: ListOutput,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling image prune`.
#[derive(Debug, Args)]
pub(crate) struct ImagePrune {
    /// Every image that nobody uses, instead of those without a name
    #[arg(long, conflicts_with_all = ["unused_for", "until_free"])]
    pub(crate) all: bool,
    /// Images that no container has used for this time (90m, 48h)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "until_free")]
    pub(crate) unused_for: Option<Duration>,
    /// Images used longest ago, until this much is free on the disk (20Gi, 500M)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) until_free: Option<u64>,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling image import-from`.
#[derive(Debug, Args)]
pub(crate) struct ImageImport {
    /// Whose images
    #[arg(value_name = "ENGINE")]
    pub(crate) engine: Engine,
    /// These images only, instead of all that run on this machine
    #[arg(value_name = "IMAGE")]
    pub(crate) references: Vec<String>,
    /// Where the engine keeps them, if not where it does by default
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// Engines whose images can be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Docker with its overlay2 driver
    Docker,
    /// containerd, and Docker where it keeps its images there
    Containerd,
    /// Podman, Buildah and CRI-O
    Podman,
}

/// A Kubernetes quantity of bytes.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write it like 20Gi or 500M");
    let quantity = model::quantity::Quantity::parse(text).map_err(|_| wrong())?;
    u64::try_from(quantity.value()).ok().filter(|bytes| *bytes > 0).ok_or_else(wrong)
}
