//! A patch of a request: which of the four kinds it is, and what it makes of an object.

use std::sync::Arc;

use apimachinery::patch::{self, PatchKind};
use apimachinery::schema::Definitions;
use apimachinery::status::Status;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::decode;
use crate::fields::Manner;
use crate::objects::{self, metadata};
use crate::respond::{Failure, Response};

/// A patch, read as far as it can be without an object.
pub(crate) struct Patch {
    kind: PatchKind,
    bytes: Bytes,
    /// What server-side apply wants to own.
    applied: Option<Value>,
}

impl Patch {
    /// Reads a patch; its content type says which kind it is.
    pub(crate) fn parse(call: &Call, bytes: &Bytes) -> Result<Patch, Failure> {
        let takes_strategic = call.kind.custom.is_none();
        let kind = PatchKind::of_media_type(body::media_type(&call.headers))
            .filter(|kind| takes_strategic || *kind != PatchKind::StrategicMerge)
            .ok_or_else(|| Status::unsupported_media_type(PatchKind::media_types(takes_strategic)))?;
        let is_apply = kind == PatchKind::Apply;
        crate::fields::check_manager(call, is_apply)?;
        if !is_apply && call.query.get("force").is_some() {
            return Err(invalid("force: Forbidden: may not be specified for non-apply patch"));
        }
        let applied = match is_apply {
            false => None,
            true => {
                let mut object = decode::object(call, bytes)?;
                let (api_version, kind) = call.sent_kind();
                if object.get("apiVersion").is_none() || object.get("kind").is_none() {
                    return Err(
                        Status::bad_request("apiVersion and kind must be set in an apply patch").into()
                    );
                }
                metadata::check_kind(&mut object, &api_version, &kind)?;
                Some(object)
            }
        };
        Ok(Patch { kind, bytes: bytes.clone(), applied })
    }

    /// Whether it is server-side apply.
    pub(crate) fn is_apply(&self) -> bool {
        self.kind == PatchKind::Apply
    }

    /// The object after the patch; both as they are stored.
    pub(crate) fn apply(&self, call: &Call, old: &Value) -> Result<Value, Failure> {
        let shown = objects::shown(&call.kind, old.clone());
        let patched = match self.kind {
            PatchKind::Json => patch::apply_json_patch(&shown, &self.bytes),
            PatchKind::Merge => patch::apply_merge_patch(&shown, &self.bytes),
            PatchKind::StrategicMerge => {
                let definitions = Definitions::builtin();
                let name = call.sent_definition();
                let schema = definitions.get(&name).ok_or_else(|| {
                    Failure::internal("patch an object", &format!("there is no definition {name}"))
                })?;
                patch::apply_strategic_merge_patch(&shown, &self.bytes, schema, definitions)
            }
            PatchKind::Apply => {
                let mut applied = self.applied.clone().unwrap_or_default();
                call.kind.make_stored(&mut applied);
                return crate::fields::apply(call, old, &applied);
            }
        };
        let mut object = patched.map_err(|error| error.to_status())?;
        let (api_version, kind) = (shown["apiVersion"].clone(), shown["kind"].clone());
        metadata::check_kind(
            &mut object,
            api_version.as_str().unwrap_or_default(),
            kind.as_str().unwrap_or_default(),
        )?;
        decode::check(call, &mut object, &[], Vec::new())?;
        call.kind.make_stored(&mut object);
        Ok(object)
    }
}

/// Server-side apply of an object that does not exist makes it.
pub(crate) async fn create(api: &Arc<Api>, call: &Call, patch: &Patch) -> Result<Response, Failure> {
    let mut object = patch.applied.clone().unwrap_or_default();
    crate::kinds::fill::child(&mut object, "metadata")["name"] = json!(call.name());
    call.kind.make_stored(&mut object);
    let object = crate::fields::apply(call, &json!({}), &object)?;
    let made = objects::create::create(api, call, Manner::Apply, object).await?;
    crate::handlers::shape::one(call, http::StatusCode::CREATED, made)
}

fn invalid(fault: &str) -> Failure {
    let message = format!("PatchOptions.meta.k8s.io \"\" is invalid: {fault}");
    Status::failure(422, apimachinery::status::Reason::Invalid, message).into()
}
