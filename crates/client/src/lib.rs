//! A small client of the Kubernetes API: in process, or over TLS to a control plane elsewhere.
//!
//! ```text
//! Client ──► Transport ─┬─► an API server of this process (no socket, no TLS)
//!    │                  └─► Remote: HTTP/2 over TLS with a client certificate or token
//!    └─► Informer: list, then watch, and again, as a stream of changes
//! ```
//!
//! Objects are JSON. Whoever uses it is a client like any other: it sees nothing that kubectl would not.

mod error;
mod informer;
mod remote;
mod request;
mod transport;

pub use error::Error;
pub use informer::{Change, Informer};
pub use remote::{Credentials, Remote, RemoteConfig, RemoteError};
pub use request::{Client, Deletion, Kind, List, PatchKind, Query, kinds};
pub use transport::{Body, BoxError, Pending, Transport, body_of};
