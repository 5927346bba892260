//! What all objects of the Kubernetes API have in common: their schemas, patches, selectors, names and tables.
//!
//! Objects are JSON here ([`serde_json::Value`]). Nothing in this crate does IO, reads a clock or is random.

pub mod field_error;
pub mod group;
pub mod resource;
pub mod schema;
pub mod status;
