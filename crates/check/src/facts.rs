//! What is known of the machine and of the images when a manifest is looked at. The caller gathers it.

use std::collections::BTreeMap;
use std::fmt;

/// All that is known.
#[derive(Debug, Default)]
pub struct Facts {
    /// The machine that the Pods are meant for.
    pub machine: Machine,
    /// Each image by its reference as the manifest writes it.
    pub images: BTreeMap<String, Looked>,
}

/// What a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Thousandths of a processor.
    pub cpu_millis: u64,
    /// Memory.
    pub memory_bytes: u64,
}

/// A machine on which everything fits.
impl Default for Machine {
    fn default() -> Self {
        Machine { cpu_millis: u64::MAX, memory_bytes: u64::MAX }
    }
}

/// Whether an image could be looked at.
#[derive(Debug)]
pub enum Looked {
    /// It is here.
    Here(Box<ImageFacts>),
    /// It is not on this machine.
    NotHere,
    /// It could not be looked at, and why.
    NotLookedAt(String),
    /// No container can be made of it, and why: no image name, another platform's.
    Unusable(String),
}

/// What an image says and holds.
pub struct ImageFacts {
    /// USER; empty is root.
    pub user: String,
    /// Why USER cannot be found in the image, if it cannot.
    pub unknown_user: Option<String>,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// ENV, `NAME=value`.
    pub env: Vec<String>,
    /// WORKDIR.
    pub working_dir: String,
    /// EXPOSE, such as `80/tcp` or `80`.
    pub exposed_ports: Vec<String>,
    /// What stands at an absolute path.
    pub find: Box<dyn Fn(&str) -> Found>,
}

impl fmt::Debug for ImageFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageFacts")
            .field("user", &self.user)
            .field("entrypoint", &self.entrypoint)
            .field("cmd", &self.cmd)
            .finish_non_exhaustive()
    }
}

/// What stands at a path of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No file.
    Nothing,
    /// A file.
    File,
    /// It cannot be told.
    Unknown,
}
