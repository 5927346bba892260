//! Discovery and OpenAPI: documents that are made of the kinds, and remade when those change.
//!
//! OpenAPI documents are large and asked for again and again, so their bytes are kept with the kinds they describe.

use std::sync::Arc;

use apimachinery::discovery::{self, AGGREGATED, Half};
use apimachinery::openapi::{self, Served};
use apimachinery::status::Status;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Request, StatusCode};
use serde_json::Value;

use crate::api::Api;
use crate::kinds::Kinds;
use crate::negotiate::{self, Accepted, Encoding, Shape};
use crate::respond::{self, Body, Failure, Response};

/// The version that documents change with.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers with a document.
pub(crate) fn answer(api: &Api, request: &Request<Body>, path: &str) -> Result<Response, Failure> {
    let kinds = api.kinds();
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["openapi", "v2"] => return Ok(version_two(&kinds, accept)),
        ["openapi", "v3"] => return Ok(index(&kinds)),
        ["openapi", "v3", rest @ ..] => return version_three(&kinds, request, rest),
        _ => {}
    }
    let accepted = negotiate::negotiate(accept).ok_or_else(|| Status::not_acceptable(&negotiate::SERVED))?;
    let resources = kinds.resources();
    let document = match parts.as_slice() {
        ["api"] if accepted.shape == Shape::Discovery => {
            return Ok(aggregated(&discovery::aggregated(&resources, Half::Core)));
        }
        ["apis"] if accepted.shape == Shape::Discovery => {
            return Ok(aggregated(&discovery::aggregated(&resources, Half::Groups)));
        }
        ["api"] => Some(discovery::api_versions("")),
        ["apis"] => Some(discovery::api_group_list(&resources)),
        ["apis", group] => discovery::api_group(&resources, group),
        ["api", version] => discovery::api_resource_list(&resources, "", version),
        ["apis", group, version] => discovery::api_resource_list(&resources, group, version),
        _ => None,
    };
    Ok(found(&document.ok_or_else(Status::no_such_path)?, accepted))
}

fn found(document: &Value, accepted: Accepted) -> Response {
    let mut response = respond::object(StatusCode::OK, document, accepted.encoding);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn aggregated(document: &Value) -> Response {
    let mut response = found(document, Accepted { encoding: Encoding::Json, shape: Shape::Discovery });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    response
}

/// All kinds, with the schemas that definitions bring.
fn served(kinds: &Kinds) -> Vec<Served<'_>> {
    kinds
        .iter()
        .map(|kind| Served {
            resource: &kind.resource,
            schema: kind.custom.as_ref().and_then(|custom| custom.document()),
        })
        .collect()
}

fn version_two(kinds: &Arc<Kinds>, accept: Option<&str>) -> Response {
    // Old clients take nothing but protobuf, and name it in two ways.
    let wants_protobuf = accept.is_some_and(|accept| accept.contains("proto-openapi.spec.v2"));
    if wants_protobuf {
        let bytes =
            kinds.document("v2.pb", || openapi::to_protobuf(&openapi::v2_document(&served(kinds), VERSION)));
        return respond::bytes(StatusCode::OK, openapi::V2_PROTOBUF, bytes);
    }
    let bytes = kinds.document("v2.json", || written(&openapi::v2_document(&served(kinds), VERSION)));
    respond::bytes(StatusCode::OK, "application/json", bytes)
}

fn index(kinds: &Arc<Kinds>) -> Response {
    let bytes = kinds.document("v3", || written(&openapi::v3_index(&served(kinds), VERSION)));
    respond::bytes(StatusCode::OK, "application/json", bytes)
}

fn version_three(kinds: &Arc<Kinds>, request: &Request<Body>, rest: &[&str]) -> Result<Response, Failure> {
    let (group, version) = match rest {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return Err(Status::no_such_path().into()),
    };
    let name = format!("v3/{group}/{version}");
    let bytes = kinds.document(&name, || {
        let document = openapi::v3_document(&served(kinds), group, version, VERSION);
        document.map(|document| written(&document)).unwrap_or_default()
    });
    if bytes.is_empty() {
        return Err(Status::no_such_path().into());
    }
    // The index's links carry a hash: what they point to never changes.
    let hash = request.uri().query().unwrap_or_default().strip_prefix("hash=").unwrap_or_default();
    let etag = crate::api::header_value(&format!("\"{hash}\""));
    if !hash.is_empty() && request.headers().get(IF_NONE_MATCH) == Some(&etag) {
        return Ok(respond::bytes(StatusCode::NOT_MODIFIED, "application/json", Bytes::new()));
    }
    let mut response = respond::bytes(StatusCode::OK, "application/json", bytes);
    if !hash.is_empty() {
        response.headers_mut().insert(ETAG, etag);
        let for_ever = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert(http::header::CACHE_CONTROL, for_ever);
    }
    Ok(response)
}

fn written(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}
