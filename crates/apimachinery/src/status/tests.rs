//! Every kind of error with the code, reason and words that kube-apiserver gives.

use expect_test::{Expect, expect};

use super::*;

fn pods() -> GroupResource {
    GroupResource::new("", "pods")
}

fn deployments() -> GroupResource {
    GroupResource::new("apps", "deployments")
}

#[test]
fn every_error_has_its_code_reason_and_words() {
    let table = [
        (Status::bad_request("no"), 400, "BadRequest", "no"),
        (Status::unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (Status::forbidden(&pods(), "x", "no"), 403, "Forbidden", "pods \"x\" is forbidden: no"),
        (Status::forbidden(&deployments(), "", "no"), 403, "Forbidden", "deployments.apps is forbidden: no"),
        (Status::forbidden(&GroupResource::new("", ""), "", "no"), 403, "Forbidden", "forbidden: no"),
        (Status::not_found(&pods(), "x"), 404, "NotFound", "pods \"x\" not found"),
        (Status::not_found(&deployments(), "x"), 404, "NotFound", "deployments.apps \"x\" not found"),
        (Status::no_such_path(), 404, "NotFound", "the server could not find the requested resource"),
        (Status::already_exists(&pods(), "x"), 409, "AlreadyExists", "pods \"x\" already exists"),
        (
            Status::modified(&pods(), "x"),
            409,
            "Conflict",
            "Operation cannot be fulfilled on pods \"x\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        (Status::gone("no"), 410, "Gone", "no"),
        (
            Status::expired("too old resource version: 1 (9)"),
            410,
            "Expired",
            "too old resource version: 1 (9)",
        ),
        (
            Status::method_not_allowed(&deployments(), "delete"),
            405,
            "MethodNotAllowed",
            "delete is not supported on resources of kind \"deployments.apps\"",
        ),
        (
            Status::not_acceptable(&["application/json", "application/yaml"]),
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml",
        ),
        (
            Status::unsupported_media_type(&["application/json"]),
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json",
        ),
        (
            Status::request_entity_too_large("limit is 3145728"),
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 3145728",
        ),
        (Status::too_many_requests("later", 1), 429, "TooManyRequests", "later"),
        (Status::timeout("slow", 0), 504, "Timeout", "Timeout: slow"),
        (
            Status::server_timeout(&pods(), "list", 2),
            500,
            "ServerTimeout",
            "The list operation against pods could not be completed at this time, please try again.",
        ),
        (Status::internal_error("bug"), 500, "InternalError", "Internal error occurred: bug"),
        (Status::service_unavailable("starting"), 503, "ServiceUnavailable", "starting"),
    ];
    for (status, code, reason, message) in table {
        let json = status.to_json();
        assert_eq!(json["code"], code, "{message}");
        assert_eq!(json["reason"], reason, "{message}");
        assert_eq!(json["message"], message);
        assert_eq!(json["status"], "Failure");
        assert_eq!(Status::from_json(&json), Some(status));
    }
}

#[test]
fn invalid_objects_tell_every_broken_rule() {
    let one = FieldError::required("spec.containers", "");
    let two = FieldError::invalid("metadata.name", "A", "must be lower case");
    let pod = GroupKind::new("", "Pod");
    assert_eq!(
        Status::invalid(&pod, "x", std::slice::from_ref(&one)).message,
        "Pod \"x\" is invalid: spec.containers: Required value"
    );
    assert_eq!(
        Status::invalid(&GroupKind::new("apps", "Deployment"), "x", &[one.clone(), two.clone()]).message,
        "Deployment.apps \"x\" is invalid: [spec.containers: Required value, metadata.name: Invalid value: \"A\": must be lower case]"
    );
    assert_eq!(Status::invalid(&pod, "x", &[]).message, "Pod \"x\" is invalid");
    assert_eq!(
        Status::invalid(&pod, "x", &[one.clone(), one.clone()]).message,
        "Pod \"x\" is invalid: spec.containers: Required value"
    );
    check(
        &Status::invalid(&pod, "x", &[one, two]),
        expect![[r#"
            {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Pod \"x\" is invalid: [spec.containers: Required value, metadata.name: Invalid value: \"A\": must be lower case]","reason":"Invalid","details":{"name":"x","kind":"Pod","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.containers"},{"reason":"FieldValueInvalid","message":"Invalid value: \"A\": must be lower case","field":"metadata.name"}]},"code":422}
        "#]],
    );
}

#[test]
fn details_say_what_it_is_about() {
    check(
        &Status::not_found(&deployments(), "x"),
        expect![[r#"
            {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"x\" not found","reason":"NotFound","details":{"name":"x","group":"apps","kind":"deployments"},"code":404}
        "#]],
    );
    check(
        &Status::too_many_requests("later", 5),
        expect![[r#"
            {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"later","reason":"TooManyRequests","details":{"retryAfterSeconds":5},"code":429}
        "#]],
    );
    check(
        &Status::internal_error("bug"),
        expect![[r#"
            {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Internal error occurred: bug","reason":"InternalError","details":{"causes":[{"message":"bug"}]},"code":500}
        "#]],
    );
    check(
        &Status::no_such_path(),
        expect![[r#"
            {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}
        "#]],
    );
}

#[test]
fn a_deletion_is_answered_without_a_code() {
    let status = Status::deleted(&GroupResource::new("", "configmaps"), "x", "u");
    check(
        &status,
        expect![[r#"
            {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"x","kind":"configmaps","uid":"u"}}
        "#]],
    );
    assert_eq!(status.http_code(), 200);
}

#[test]
fn the_answer_of_another_server_is_read() {
    let json = serde_json::json!({"kind": "Status", "status": "Failure", "reason": "Novel", "code": 418});
    let status = Status::from_json(&json).expect("a Status");
    assert_eq!((status.reason, status.code), (Some(Reason::Unknown), 418));
    assert_eq!(Status::from_json(&serde_json::json!({"kind": "Pod"})), None);
    assert_eq!(Status::from_json(&serde_json::json!([])), None);
}

fn check(status: &Status, expected: Expect) {
    expected.assert_eq(&format!("{}\n", status.to_json()));
}
