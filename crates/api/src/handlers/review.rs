//! Reviews: questions about who somebody is and what they may do. They are answered and not stored.

use std::sync::Arc;

use apimachinery::status::Status;
use http::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::Api;
use crate::auth::rbac::{Attributes, Decision};
use crate::auth::tokens::Bound;
use crate::body;
use crate::call::Call;
use crate::decode;
use crate::fresh;
use crate::kinds::fill::{child, text};
use crate::objects::metadata;
use crate::respond::{self, Body, Failure, Response};
use crate::security;
use crate::user::User;

/// Answers a question.
pub(super) async fn answer(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response, Failure> {
    let bytes = body::read(request.into_body(), api.options.body_timeout).await?;
    let mut review = decode::object(call, &bytes)?;
    let resource = &call.kind.resource;
    metadata::check_kind(&mut review, &resource.api_version(), &resource.kind)?;
    child(&mut review, "metadata")["creationTimestamp"] = json!(null);
    let status = match resource.kind.as_str() {
        "SelfSubjectReview" => {
            review["metadata"]["creationTimestamp"] = json!(fresh::now());
            json!({"userInfo": info(&call.user)})
        }
        "TokenReview" => token(api, &review),
        "SelfSubjectRulesReview" => rules(api, call, &review)?,
        "SelfSubjectAccessReview" => access(api, &call.user, &review)?,
        "LocalSubjectAccessReview" => {
            let namespace = text(&review, "/spec/resourceAttributes/namespace").unwrap_or_default();
            if namespace != call.namespace() {
                return Err(Status::bad_request(
                    "spec.resourceAttributes.namespace must match the namespace of the request",
                )
                .into());
            }
            access(api, &subject(&review)?, &review)?
        }
        _ => access(api, &subject(&review)?, &review)?,
    };
    review["status"] = status;
    Ok(respond::object(StatusCode::CREATED, &review, call.accepted.encoding))
}

fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whom a review asks about.
fn subject(review: &Value) -> Result<User, Failure> {
    let name = text(review, "/spec/user").unwrap_or_default().to_owned();
    let groups = strings(review.pointer("/spec/groups"));
    if name.is_empty() && groups.is_empty() {
        return Err(Status::bad_request("at least one of user or group must be specified").into());
    }
    Ok(User { name, groups, ..User::default() })
}

fn access(api: &Api, user: &User, review: &Value) -> Result<Value, Failure> {
    let of_resource = review.pointer("/spec/resourceAttributes").filter(|value| value.is_object());
    let of_path = review.pointer("/spec/nonResourceAttributes").filter(|value| value.is_object());
    let get =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let attributes = match (of_resource, of_path) {
        (Some(asked), None) => Attributes::Resource {
            verb: get(asked, "verb"),
            group: get(asked, "group"),
            resource: get(asked, "resource"),
            subresource: get(asked, "subresource"),
            namespace: get(asked, "namespace"),
            name: get(asked, "name"),
        },
        (None, Some(asked)) => Attributes::Path { verb: get(asked, "verb"), path: get(asked, "path") },
        _ => {
            return Err(Status::bad_request(
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
            .into());
        }
    };
    let (is_allowed, why) = match api.security.policy().authorize(user, &attributes) {
        Decision::Allowed { why } => (true, why),
        Decision::Denied { why } => (false, why),
    };
    let mut status = json!({"allowed": is_allowed});
    if !why.is_empty() {
        status["reason"] = json!(why);
    }
    Ok(status)
}

fn rules(api: &Api, call: &Call, review: &Value) -> Result<Value, Failure> {
    let Some(namespace) = text(review, "/spec/namespace") else {
        return Err(Status::bad_request("no namespace on request").into());
    };
    let policy = api.security.policy();
    let (mut of_resources, mut of_paths) = (Vec::new(), Vec::new());
    if call.user.groups.iter().any(|group| group == User::MASTERS) {
        of_resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        of_paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in policy.rules_of(&call.user, namespace) {
        if !rule.resources.is_empty() {
            let mut shown =
                json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                shown["resourceNames"] = json!(rule.resource_names);
            }
            of_resources.push(shown);
        }
        if !rule.non_resource_urls.is_empty() {
            of_paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    Ok(json!({"resourceRules": of_resources, "nonResourceRules": of_paths, "incomplete": false}))
}

fn token(api: &Api, review: &Value) -> Value {
    let token = text(review, "/spec/token").unwrap_or_default();
    let audiences = strings(review.pointer("/spec/audiences"));
    let find = |bound: &Bound<'_>| security::uid_of(&api.store, bound);
    match api.security.tokens.verify(token, &audiences, Timestamp::now(), &find) {
        Ok(verified) => json!({
            "authenticated": true, "user": info(&verified.user()), "audiences": verified.audiences,
        }),
        Err(error) => json!({"authenticated": false, "user": {}, "error": error.to_string()}),
    }
}
