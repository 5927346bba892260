//! serviceaccounts/NAME/token: a signed token that ends, bound to what uses it.

use std::sync::Arc;

use apimachinery::field_error::FieldError;
use apimachinery::group::{GroupKind, GroupResource};
use apimachinery::status::Status;
use http::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::Api;
use crate::auth::tokens::{Binding, IssueError, Named, TokenRequest};
use crate::body;
use crate::call::Call;
use crate::decode;
use crate::fresh;
use crate::kinds::fill::text;
use crate::objects::metadata;
use crate::respond::{self, Body, Failure, Response};
use crate::security::node_refused;

/// Issues a token.
pub(super) async fn answer(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    let mut asked = decode::object(call, &bytes)?;
    let account = api.named(call)?.object;
    let audiences = asked.pointer("/spec/audiences").and_then(Value::as_array).into_iter().flatten();
    let binding = binding(api, call, &asked)?;
    if let Some(asker) = api.remote_asker(&call.user) {
        let is_for_its_pod = matches!(&binding, Binding::Pod { node: Some(node), .. } if node.name == asker);
        if !is_for_its_pod {
            return Err(node_refused(
                call,
                &format!("node '{asker}' may only request tokens bound to its own Pods"),
            ));
        }
    }
    let request = TokenRequest {
        namespace: call.namespace().to_owned(),
        account: Named { name: call.name().to_owned(), uid: metadata::uid(&account).to_owned() },
        audiences: audiences.filter_map(Value::as_str).map(str::to_owned).collect(),
        expiration_seconds: asked.pointer("/spec/expirationSeconds").and_then(Value::as_i64),
        binding,
    };
    let issued = api.security.tokens.issue(&request, Timestamp::now()).map_err(|error| match error {
        IssueError::Life(why) => {
            let value = request.expiration_seconds.unwrap_or_default();
            let fault = FieldError::invalid("spec.expirationSeconds", value, why.to_string());
            let kind = GroupKind::new("authentication.k8s.io", "TokenRequest");
            Failure::from(Status::invalid(&kind, call.name(), &[fault]))
        }
        other @ IssueError::Sign => Failure::internal("issue a token", &other),
    })?;
    let (api_version, kind) = call.sent_kind();
    asked["apiVersion"] = json!(api_version);
    asked["kind"] = json!(kind);
    asked["metadata"] =
        json!({"name": call.name(), "namespace": call.namespace(), "creationTimestamp": fresh::now()});
    asked["spec"]["audiences"] = json!(issued.audiences);
    let seconds = issued.expires_at.as_second() - Timestamp::now().as_second();
    asked["spec"]["expirationSeconds"] = json!(request.expiration_seconds.unwrap_or(seconds));
    asked["status"] =
        json!({"token": issued.token, "expirationTimestamp": fresh::written(issued.expires_at)});
    Ok(respond::object(StatusCode::CREATED, &asked, call.accepted.encoding))
}

/// What the token ends with: it must exist, with that UID, and a Pod must run as this ServiceAccount.
fn binding(api: &Api, call: &Call, asked: &Value) -> Result<Binding, Failure> {
    let Some(reference) = asked.pointer("/spec/boundObjectRef").filter(|reference| !reference.is_null())
    else {
        return Ok(Binding::None);
    };
    let (kind, name) =
        (text(reference, "/kind").unwrap_or_default(), text(reference, "/name").unwrap_or_default());
    let (plural, namespace) = match kind {
        "Pod" => ("pods", call.namespace()),
        "Secret" => ("secrets", call.namespace()),
        "Node" => ("nodes", ""),
        other => {
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {:?} {other:?}",
                text(reference, "/apiVersion").unwrap_or_default()
            ))
            .into());
        }
    };
    let resource = GroupResource::new("", plural);
    let Some(found) = api.read(plural, namespace, name)? else {
        return Err(Status::not_found(&resource, name).into());
    };
    let object = found.object;
    let uid = metadata::uid(&object).to_owned();
    if let Some(wanted) = text(reference, "/uid")
        && wanted != uid
    {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&resource, name, why).into());
    }
    let named = Named { name: name.to_owned(), uid };
    Ok(match kind {
        "Pod" => {
            let runs_as = text(&object, "/spec/serviceAccountName").unwrap_or_default();
            if runs_as != call.name() {
                let why = format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.name()
                );
                return Err(Status::bad_request(why).into());
            }
            let node = text(&object, "/spec/nodeName");
            let node = node.map(|node| api.read("nodes", "", node)).transpose()?.flatten();
            let node = node.map(|node| Named {
                name: metadata::name(&node.object).to_owned(),
                uid: metadata::uid(&node.object).to_owned(),
            });
            Binding::Pod { pod: named, node }
        }
        "Secret" => Binding::Secret(named),
        _ => Binding::Node(named),
    })
}
