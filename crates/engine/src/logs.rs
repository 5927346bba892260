//! Log files of containers as the shim writes them: CRI records, rotated by renaming, found again by whoever reads.
//!
//! ```text
//! NAMESPACE_NAME_UID/CONTAINER/0.log.20261120-214202   oldest
//!                              0.log.20261120-214203
//!                              0.log                   newest, still written
//!                              1.log                   the next incarnation
//! ```
//!
//! [`Files`] reads them as one stream across rotation, [`Changes`] tells when there may be more, `tail` finds where the
//! last lines begin, `Text` makes of records what `kubectl logs` prints. Nothing here writes, and nothing polls.

mod changes;
pub mod cri;
mod files;
mod retention;
pub(crate) mod tail;
mod text;

pub use changes::{Change, Changes};
pub(crate) use changes::{Growth, Watching};
pub use files::Files;
pub(crate) use retention::prune;
pub(crate) use text::{Text, Wanted};
