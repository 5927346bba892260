//! Which objects are meant: label selectors and field selectors, as they stand in a query or in an object.
//!
//! [`label`] is what a selector says, `syntax` reads its text; [`field`] is the smaller language of field selectors.
//! A selector asks its caller for the values and knows no object.

pub mod field;
pub mod label;
mod syntax;
#[cfg(test)]
mod tests;

pub use field::{FieldSelector, FieldSelectorError};
pub use label::{LabelSelector, LabelSelectorError, Operator, Requirement};
