//! A Pod and its friends once parsed, defaulted and valid.
//!
//! Text becomes a [`manifest::Manifest`] here and nowhere else; whoever holds a [`pod::Pod`] holds one
//! that Kubernetes would accept, with every default filled in. Nothing in this crate does IO or reads a clock.

pub mod edit;
pub mod expand;
mod fields;
pub mod manifest;
pub mod names;
pub mod pod;
pub mod quantity;
pub mod resources;
pub mod waits;
