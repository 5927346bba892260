//! What all objects of the Kubernetes API have in common: their schemas, patches, selectors, names and tables.
//!
//! Objects are JSON here ([`serde_json::Value`]). Nothing in this crate does IO, reads a clock or is random.

pub mod apply;
pub mod decode;
pub mod discovery;
pub mod field_error;
pub mod fuzzed;
pub mod group;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
