//! Paths that are no resources: discovery, documents, health, metrics, the version.

use std::sync::Arc;

use apimachinery::status::Status;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::api::Api;
use crate::negotiate::Encoding;
use crate::respond::{self, Body, Failure, Response};
use crate::user::User;

/// The Kubernetes API that is spoken.
const MINOR: &str = "37";

/// Answers a request that is about no resource.
pub(crate) async fn answer(api: &Arc<Api>, request: Request<Body>, path: &str, _user: &User) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let resource = apimachinery::group::GroupResource::new("", path);
        return Failure::from(Status::method_not_allowed(&resource, request.method().as_str()))
            .response(Encoding::Json);
    }
    match path {
        "/version" => json(&version()),
        "/metrics" => respond::bytes(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            api.metrics.text(&api.store),
        ),
        "/healthz" | "/livez" | "/readyz" => health(api, &request, path),
        _ => crate::documents::answer(api, &request, path)
            .unwrap_or_else(|failure| failure.response(Encoding::Json)),
    }
}

fn json(value: &Value) -> Response {
    respond::object(StatusCode::OK, value, Encoding::Json)
}

/// What `kubectl version` shows. A version of Kubernetes first, because clients compare it with their own.
fn version() -> Value {
    json!({
        "major": "1",
        "minor": MINOR,
        "gitVersion": format!("v1.{MINOR}.0+podling-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// The architecture, as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn health(api: &Api, request: &Request<Body>, path: &str) -> Response {
    let is_closing = *api.is_closing().borrow();
    let checks = [("ping", true), ("store", true), ("shutdown", !(is_closing && path == "/readyz"))];
    let is_well = checks.iter().all(|(_, is_well)| *is_well);
    let is_verbose = request.uri().query().is_some_and(|query| query.contains("verbose"));
    if is_well && !is_verbose {
        return respond::text(StatusCode::OK, "ok");
    }
    let mut text = String::new();
    for (name, is_well) in checks {
        text += &if is_well { format!("[+]{name} ok\n") } else { format!("[-]{name} failed\n") };
    }
    let name = path.trim_start_matches('/');
    let (code, end) = match is_well {
        true => (StatusCode::OK, format!("{name} check passed\n")),
        false => (StatusCode::INTERNAL_SERVER_ERROR, format!("{name} check failed\n")),
    };
    respond::text(code, text + &end)
}
