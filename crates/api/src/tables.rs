//! Tables, as `kubectl get` shows them: which columns a request gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apimachinery::status::Status;
use apimachinery::table::{IncludeObject, Table};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::call::Call;
use crate::kinds::Kind;
use crate::respond::Failure;

/// How the objects of a request are shown.
pub(crate) struct Shown {
    kind: Arc<Kind>,
    include: IncludeObject,
    has_told_columns: AtomicBool,
}

impl Shown {
    /// Reads the parameters of a request.
    pub(crate) fn of(call: &Call) -> Result<Shown, Failure> {
        let include = call.query.get("includeObject").unwrap_or_default();
        let include = IncludeObject::parse(include).ok_or_else(|| {
            Status::bad_request(format!(
                "includeObject: Unsupported value: {include:?}: supported values: \"Metadata\", \"None\", \"Object\""
            ))
        })?;
        Ok(Shown { kind: Arc::clone(&call.kind), include, has_told_columns: AtomicBool::new(false) })
    }

    /// A Table of objects.
    pub(crate) fn render(&self, items: &[Value], metadata: Value) -> Value {
        self.rendered(items, metadata, true)
    }

    /// A Table of one object of a watch; only the first has the columns.
    pub(crate) fn of_watch(&self, object: &Value) -> Value {
        let is_first = !self.has_told_columns.swap(true, Ordering::Relaxed);
        let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
        self.rendered(std::slice::from_ref(object), metadata, is_first)
    }

    fn rendered(&self, items: &[Value], metadata: Value, has_columns: bool) -> Value {
        let now = Timestamp::now();
        let resource = &self.kind.resource;
        let table = match &self.kind.custom {
            Some(custom) => Table::of_custom(custom.columns(), self.include, now),
            None => Table::of_kind(&resource.group, &resource.kind, self.include, now),
        };
        table.render(items, metadata, has_columns)
    }
}

/// The Table of one object or of a list.
pub(crate) fn table(call: &Call, items: &[Value], metadata: Value) -> Result<Value, Failure> {
    Ok(Shown::of(call)?.render(items, metadata))
}
