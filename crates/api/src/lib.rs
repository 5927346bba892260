//! Kubernetes REST over the store: discovery, CRUD, patch, watch, admission, authentication, RBAC.
//!
//! [`Api`] answers requests, of whoever sends them; [`server`] carries them over TLS. The way of a request is drawn in
//! `api.rs`, that of a write in `objects.rs`; the kinds are the rows of `kinds/table.rs`.
//!
//! This crate must not act on objects: what makes something of them are controllers and the node, which are its clients.

mod admission;
mod api;
pub mod auth;
mod body;
mod bootstrap;
mod call;
mod custom;
mod decode;
mod documents;
mod fields;
mod fresh;
#[doc(hidden)]
pub mod fuzzed;
mod handlers;
mod kinds;
mod metrics;
mod negotiate;
mod objects;
mod patch;
mod remote_node;
mod respond;
mod route;
mod security;
mod selection;
pub mod server;
mod storage;
mod tables;
mod user;
mod yaml;

pub use api::{Api, Options, Peer, ServiceCidr};
pub use bootstrap::BootstrapError;
pub use respond::{Body, BodyError, Response};
pub use user::User;
