//! What is done for a request about a resource: one file per verb, and here who does what.

pub(crate) mod delete;
pub(crate) mod other;
pub(crate) mod read;
pub(crate) mod shape;
pub(crate) mod watch;
pub(crate) mod write;

use std::sync::Arc;

use apimachinery::resource::Verb;
use apimachinery::status::Status;
use http::Request;

use crate::api::Api;
use crate::call::Call;
use crate::respond::{Body, Failure, Response};

/// Answers a request about a resource.
pub(crate) async fn answer(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    let allowed = match call.route.subresource.as_deref() {
        Some(name) => call.kind.resource.find(name).map(|found| found.verbs.as_slice()).unwrap_or_default(),
        None => &call.kind.resource.verbs,
    };
    if !allowed.contains(&call.verb) {
        return Err(Status::method_not_allowed(&call.group_resource(), call.verb.as_str()).into());
    }
    match call.verb {
        Verb::Get => read::get(api, call),
        Verb::List => read::list(api, call).await,
        Verb::Watch => watch::answer(api, call).await,
        Verb::Create => write::create(api, call, request).await,
        Verb::Update => write::update(api, call, request).await,
        Verb::Patch => write::patch(api, call, request).await,
        Verb::Delete => delete::one(api, call, request).await,
        Verb::DeleteCollection => delete::collection(api, call, request).await,
    }
}
