//! The schemas of built-in kinds, read when they are first needed.

use std::sync::OnceLock;

use apimachinery::schema::{Definitions, Schema};

use crate::respond::Failure;

/// All definitions.
pub(crate) fn definitions() -> &'static Definitions {
    static BUILT_IN: OnceLock<Definitions> = OnceLock::new();
    BUILT_IN.get_or_init(Definitions::default)
}

/// The definition of that name.
pub(crate) fn of(name: &str) -> Result<&'static Schema, Failure> {
    let found = definitions().get(name).map(|schema| &**schema);
    found.ok_or_else(|| Failure::internal("find a schema", &format!("there is no definition {name}")))
}
