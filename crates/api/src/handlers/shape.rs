//! An object as its client wants it: whole, as a row of a Table, or its metadata alone.

use http::StatusCode;
use serde_json::{Value, json};

use crate::call::Call;
use crate::negotiate::Shape;
use crate::objects;
use crate::respond::{self, Failure, Response};

/// Answers with one object, given as it is stored.
pub(crate) fn one(call: &Call, code: StatusCode, stored: Value) -> Result<Response, Failure> {
    let object = objects::shown(&call.kind, stored);
    let shaped = match call.accepted.shape {
        Shape::Whole | Shape::Discovery => object,
        Shape::Metadata => partial(object),
        Shape::Table => crate::tables::table(call, vec![object], json!({}))?,
    };
    Ok(respond::object(code, &shaped, call.accepted.encoding))
}

/// An object without anything but its metadata.
pub(crate) fn partial(mut object: Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get_mut("metadata").map(Value::take).unwrap_or_default(),
    })
}
