//! Tables, as `kubectl get` shows them.

use serde_json::{Value, json};

use crate::call::Call;
use crate::handlers::shape;
use crate::respond::Failure;

/// What the rows of a watch have in common.
pub(crate) struct Header;

fn definitions() -> Value {
    json!([
        {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
        {"name": "Created At", "type": "date", "format": "", "description": "", "priority": 0},
    ])
}

/// A Table of objects.
pub(crate) fn table(_call: &Call, items: Vec<Value>, metadata: Value) -> Result<Value, Failure> {
    let rows: Vec<Value> = items.into_iter().map(row).collect();
    Ok(json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions(), "rows": rows,
    }))
}

fn row(object: Value) -> Value {
    let cells = json!([object["metadata"]["name"], object["metadata"]["creationTimestamp"]]);
    json!({"cells": cells, "object": shape::partial(object)})
}

impl Header {
    pub(crate) fn of(_call: &Call) -> Header {
        Header
    }

    pub(crate) fn row(&self, object: Value) -> Value {
        json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
            "columnDefinitions": definitions(), "rows": [row(object)],
        })
    }

    pub(crate) fn bookmark(&self, object: &Value) -> Value {
        json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": object["metadata"]["resourceVersion"]},
            "columnDefinitions": definitions(), "rows": [row(object.clone())],
        })
    }
}
