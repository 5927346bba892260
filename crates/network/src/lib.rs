//! A Pod's address, its ports, and the files about names.
//!
//! Main path: [`Network::attach`] takes a Pod in, in about a millisecond: it claims a range of addresses for the
//! node (`claim`, `address`), plans the Pod's link and the node's rules ([`plan`], pure) and puts them in the
//! kernel (`link` by rtnetlink, `ruleset` by nfnetlink). [`Network::detach`] undoes it, [`leftovers`] undoes it for nodes
//! that were killed. Beside it stand the pure files of a Pod ([`hosts`], [`resolv_conf`], [`hostname`]) and the
//! question who listens ([`sockets`]).
//!
//! Promise: what is planned without the kernel is decided without it. This crate knows no Pod object and no
//! container: the engine gives it a namespace and asks for addresses.

pub mod address;
mod claim;
mod error;
mod flows;
pub mod hostname;
pub mod hosts;
pub mod leftovers;
mod link;
mod network;
pub mod plan;
pub mod ports;
pub mod resolv_conf;
mod ruleset;
pub mod sockets;

pub use address::Range;
pub use error::Error;
pub use network::{AttachRequest, Attachment, CLAIMS_DIR, Network, NetworkConfig, Warning, host_address};
pub use ports::{HostPort, Protocol};
