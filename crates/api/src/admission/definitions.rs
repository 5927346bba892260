//! CustomResourceDefinitions: accepted at once, and their objects go with them.

use std::sync::Arc;

use serde_json::Value;
use store::Operation;

use crate::api::Api;
use crate::call::Call;
use crate::custom;
use crate::fresh;
use crate::respond::Failure;

/// Completes a definition and says that it is established.
pub(super) fn complete(_call: &Call, definition: &mut Value) -> Result<(), Failure> {
    custom::default(definition);
    custom::accept(definition, &fresh::now());
    Ok(())
}

/// What removes all objects of a definition.
pub(super) fn objects(api: &Arc<Api>, definition: &Value) -> Vec<Operation> {
    let rows = api.rows(&format!("{}/", custom::storage(definition)));
    let remove =
        |row: &Arc<store::Object>| Operation::Delete { key: Arc::clone(&row.key), expected: row.revision };
    rows.iter().map(remove).collect()
}
