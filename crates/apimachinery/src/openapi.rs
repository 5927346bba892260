//! OpenAPI documents: what `kubectl explain` shows and what clients validate with.
//!
//! ```text
//! resources ─ operations ─► paths ┐
//! definitions ───────────────────►├─ v3 ─► /openapi/v3/apis/GROUP/VERSION      one document per group and version
//!                                 └─ v2 ─► /openapi/v2 (JSON) ─ gnostic ─► the same as protobuf
//! ```
//!
//! Old kubectl (1.20) asks for `/openapi/v2` as protobuf only; it reads list types and merge keys there, and whether
//! `dryRun` is a parameter of PATCH. Newer ones look for `fieldValidation` in the paths of v3. The documents are large
//! and asked for seldom: whoever serves them makes them when asked and keeps the bytes as long as it likes.

mod gnostic;
mod operations;
mod schemas;
#[cfg(test)]
mod tests;
mod v2;
mod v3;

pub use gnostic::to_protobuf;
pub use v2::document as v2_document;
pub use v3::{document as v3_document, index as v3_index};

use serde_json::Value;

use crate::resource::Resource;

/// What clients ask for when they want `/openapi/v2` as protobuf. The first is what kubectl sends; an `@` may not stand
/// there, so the answer always says the second ([`V2_PROTOBUF`]), as kube-apiserver's does.
pub const V2_PROTOBUF_ACCEPTED: [&str; 2] =
    ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", V2_PROTOBUF];
/// The content type of `/openapi/v2` as protobuf: Go's parser refuses the one that it was asked for.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A resource and, when a CustomResourceDefinition brings it, its `openAPIV3Schema`.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// The resource.
    pub resource: &'a Resource,
    /// The schema of a custom resource.
    pub schema: Option<&'a Value>,
}

impl<'a> Served<'a> {
    /// One of Kubernetes' own.
    pub fn built_in(resource: &'a Resource) -> Served<'a> {
        Served { resource, schema: None }
    }
}

/// `api/v1` or `apis/GROUP/VERSION`.
fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}
