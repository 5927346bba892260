//! From an image reference to a root filesystem: store, load, save, pull.
//!
//! [`Images`] is a directory of the machine that any number of nodes and processes share. Images come in by `load`, `pull`
//! and `ensure_builtin`; `find` gives what a container needs (configuration, layers for overlayfs), `hold`
//! keeps it from being removed, and [`user`] looks names up inside of it.
//!
//! Everything that comes in is hostile until its digest says otherwise, and afterwards still: unpacking trusts no name, no
//! size and no link. This is the only room that talks to registries. It mounts nothing, but for the instant in which it
//! tries whether the kernel would.

mod access;
mod archive;
mod builtin;
mod collect;
mod commit;
mod compression;
mod digest;
mod erofs;
mod error;
mod form;
mod layer;
mod load;
mod manifest;
mod merged;
mod pipe;
mod progress;
mod prune;
mod pull;
mod record;
mod reference;
mod registry;
mod remove;
mod save;
mod staging;
mod store;
mod takeover;
mod tar_header;
mod tar_reader;
mod tree;
mod unpack;
pub mod user;

pub use crate::access::Presence;
pub use crate::builtin::{BUILTIN_NAME, Toolbox};
pub use crate::collect::{Collected, CollectionPolicy, Scope};
pub use crate::compression::Compression;
pub use crate::digest::{Digest, DigestError};
pub use crate::erofs::probe_erofs;
pub use crate::error::{Error, Holder};
pub use crate::form::LayerForm;
pub use crate::load::Loaded;
pub use crate::progress::{Progress, Silent};
pub use crate::prune::{Inspected, InspectedLayer, Prune, Pruned};
pub use crate::pull::{PullError, PullOptions, PullReason};
pub use crate::record::{Image, ImageSummary};
pub use crate::reference::{Reference, ReferenceError, ReferenceProblem};
pub use crate::registry::{Credentials, CredentialsError};
pub use crate::remove::Removed;
pub use crate::staging::{Trash, sweep};
pub use crate::store::{Hold, Images};
pub use crate::takeover::Engine;
pub use crate::unpack::{Limits, Refusal, UnpackError};
