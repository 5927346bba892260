//! create, update and patch: from a body to an edit.

use std::sync::Arc;

use apimachinery::status::Status;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;

use super::shape;
use crate::api::Api;
use crate::auth::node;
use crate::body;
use crate::call::Call;
use crate::decode;
use crate::fields::Manner;
use crate::objects::create;
use crate::objects::edit::{Edit, Part};
use crate::objects::metadata;
use crate::patch::{self, Patch};
use crate::respond::{Body, Failure, Response};
use crate::security::node_refused;

/// A new object.
pub(crate) async fn create(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    if call.route.name.is_some() {
        return Err(Status::method_not_allowed(&call.group_resource(), "create").into());
    }
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    crate::fields::check_manager(call, false)?;
    let object = object(call, &bytes)?;
    if let Some(node) = api.remote_asker(&call.user) {
        let allowed = node::check_new(node, &call.kind.resource.plural, metadata::name(&object));
        allowed.map_err(|why| node_refused(call, &why))?;
    }
    let made = create::create(api, call, Manner::Update, object).await?;
    shape::one(call, StatusCode::CREATED, made)
}

/// A whole object in place of the one that is there.
pub(crate) async fn update(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    let mut object = object(call, &bytes)?;
    if metadata::name(&object).is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object (based on the name on the URL) cannot be determined: name must be provided, as {:?}",
            call.name()
        ))
        .into());
    }
    crate::fields::check_manager(call, false)?;
    let edit = Edit { api, call, part: Part::of(call), manner: Manner::Update };
    call.kind.make_stored(&mut object);
    let edited = edit.perform(|_| Ok(object.clone())).await?;
    shape::one(call, StatusCode::OK, edited.object)
}

/// A part of an object.
pub(crate) async fn patch(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    let patch = Patch::parse(call, &bytes)?;
    let manner = if patch.is_apply() { Manner::Apply } else { Manner::Patch };
    if patch.is_apply() && api.named(call).is_err() && call.route.subresource.is_none() {
        return patch::create(api, call, &patch).await;
    }
    let edit = Edit { api, call, part: Part::of(call), manner };
    let edited = edit.perform(|old| patch.apply(call, old)).await?;
    shape::one(call, StatusCode::OK, edited.object)
}

/// The object of a body, checked against its kind's schema.
fn object(call: &Call, bytes: &Bytes) -> Result<Value, Failure> {
    let mut object = decode::object(call, bytes)?;
    let resource = &call.kind.resource;
    metadata::check_kind(&mut object, &resource.api_version(), &resource.kind)?;
    Ok(object)
}
