//! What is done for a request about a resource: one file per verb or subresource, and here who does what.

mod connect;
pub(crate) mod delete;
mod evict;
pub(crate) mod other;
mod proxy;
pub(crate) mod read;
mod review;
mod scale;
pub(crate) mod shape;
mod token;
mod usage;
pub(crate) mod watch;
pub(crate) mod write;

use std::sync::Arc;

use apimachinery::resource::Verb;
use apimachinery::status::Status;
use http::Request;

use crate::api::Api;
use crate::call::Call;
use crate::kinds::Admission;
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
    if let Some(custom) = &call.kind.custom
        && let Some(warning) = custom.warning()
    {
        call.warnings.add(warning);
    }
    match (call.route.subresource.as_deref(), call.kind.strategy.admission) {
        (None, Admission::Review) => review::answer(api, call, request).await,
        (None, Admission::Metrics) => usage::answer(api, call).await,
        (None, Admission::Binding) => evict::bind_named(api, call, request).await,
        (Some("attach" | "exec" | "log" | "portforward"), _) => connect::answer(api, call, request).await,
        (Some("binding"), _) => evict::bind(api, call, request).await,
        (Some("eviction"), _) => evict::evict(api, call, request).await,
        (Some("proxy"), _) => proxy::answer(api, call, request).await,
        (Some("scale"), _) => scale::answer(api, call, request).await,
        (Some("token"), _) => token::answer(api, call, request).await,
        _ => plain(api, call, request).await,
    }
}

/// What every kind has.
async fn plain(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
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
