//! proxy: HTTP to a port of a Pod or a Service, or to what a node serves, through the API and its authorization.
//!
//! The name says where: `[SCHEME:]NAME[:PORT]`. Only plain HTTP is spoken behind it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::Status;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Uri};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::api::Api;
use crate::call::Call;
use crate::kinds::fill::text;
use crate::objects;
use crate::respond::{Body, BodyError, Failure, Response};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Passes a request on.
pub(super) async fn answer(
    api: &Arc<Api>,
    call: &Call,
    mut request: Request<Body>,
) -> Result<Response, Failure> {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", call.route.rest.as_deref().unwrap_or("/"));
    *request.uri_mut() = path
        .parse::<Uri>()
        .map_err(|error| Status::bad_request(format!("the path behind proxy is no URL: {error}")))?;
    let target = Target::parse(call.name())?;
    match call.kind.resource.plural.as_str() {
        "nodes" => {
            let node = api
                .node(&target.name)
                .ok_or_else(|| Status::not_found(&call.group_resource(), &target.name))?;
            Ok(node.handle(request).await)
        }
        "services" => {
            let (address, port) = endpoint(api, call, &target)?;
            forward(request, address, port).await
        }
        _ => {
            let found = api.read("pods", call.namespace(), &target.name)?;
            let pod = found.ok_or_else(|| Status::not_found(&call.group_resource(), &target.name))?.object;
            let address = text(&pod, "/status/podIP").and_then(|address| address.parse::<IpAddr>().ok());
            let address = address.ok_or_else(|| {
                Status::service_unavailable(format!("pod {} has no address yet", target.name))
            })?;
            let declared = pod.pointer("/spec/containers/0/ports/0/containerPort").and_then(Value::as_u64);
            let port = match target.port.as_deref() {
                Some(port) => port.parse::<u16>().map_err(|_| {
                    Status::bad_request(format!("invalid port {port:?} of pod {}", target.name))
                })?,
                None => declared.and_then(|port| u16::try_from(port).ok()).unwrap_or(80),
            };
            forward(request, address, port).await
        }
    }
}

/// `[SCHEME:]NAME[:PORT]`.
struct Target {
    name: String,
    port: Option<String>,
}

impl Target {
    fn parse(text: &str) -> Result<Target, Failure> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("http", *name, None),
            [name, port] => ("http", *name, Some(*port)),
            [scheme, name, port] => (*scheme, *name, Some(*port)),
            _ => return Err(Status::bad_request(format!("invalid proxy request {text:?}")).into()),
        };
        if !matches!(scheme, "" | "http") {
            return Err(Status::bad_request(format!("podling does not proxy {scheme:?}, only http")).into());
        }
        let port = port.filter(|port| !port.is_empty()).map(str::to_owned);
        Ok(Target { name: name.to_owned(), port })
    }
}

/// A ready address of a Service, and its port there.
fn endpoint(api: &Api, call: &Call, target: &Target) -> Result<(IpAddr, u16), Failure> {
    let found = api.read("services", call.namespace(), &target.name)?;
    let service = found.ok_or_else(|| Status::not_found(&call.group_resource(), &target.name))?.object;
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let asked = target.port.as_deref();
    let wanted = match asked {
        None => ports.first(),
        Some(asked) => ports
            .iter()
            .find(|port| text(port, "/name") == Some(asked) || port["port"].as_u64() == asked.parse().ok()),
    };
    let missing = || {
        let port = asked.unwrap_or_default();
        Failure::from(Status::service_unavailable(format!(
            "no endpoints available for service \"{}:{port}\"",
            target.name
        )))
    };
    let name = text(wanted.ok_or_else(missing)?, "/name").unwrap_or_default();
    for row in api.rows(&format!("endpointslices.discovery.k8s.io/{}/", call.namespace())) {
        let slice = objects::stored(&row.value, row.revision.get())?.object;
        if text(&slice, "/metadata/labels/kubernetes.io~1service-name") != Some(target.name.as_str()) {
            continue;
        }
        let ports = slice.get("ports").and_then(Value::as_array).into_iter().flatten();
        let mut ports = ports.filter(|port| text(port, "/name").unwrap_or_default() == name);
        let Some(port) = ports.next().and_then(|port| port["port"].as_u64()) else { continue };
        let endpoints = slice.get("endpoints").and_then(Value::as_array).into_iter().flatten();
        let ready =
            endpoints.filter(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)));
        let addresses = ready.filter_map(|endpoint| text(endpoint, "/addresses/0"));
        for address in addresses.filter_map(|address| address.parse::<IpAddr>().ok()) {
            if let Ok(port) = u16::try_from(port) {
                return Ok((address, port));
            }
        }
    }
    Err(missing())
}

async fn forward(mut request: Request<Body>, address: IpAddr, port: u16) -> Result<Response, Failure> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Failure::from(Status::service_unavailable(format!(
            "error trying to reach service: {address}:{port}: {error}"
        )))
    };
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((address, port)));
    let stream =
        connecting.await.map_err(|error| unreachable(&error))?.map_err(|error| unreachable(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    let headers = request.headers_mut();
    // What was meant for the API is not for the Pod: above all, nobody's token.
    for header in [AUTHORIZATION, CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(header);
    }
    let host = HeaderValue::from_str(&format!("{address}:{port}")).map_err(|error| unreachable(&error))?;
    headers.insert(HOST, host);
    *request.version_mut() = http::Version::HTTP_11;
    let mut response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
    for header in [CONNECTION, TRANSFER_ENCODING] {
        response.headers_mut().remove(header);
    }
    Ok(response.map(|body| body.map_err(BodyError::new).boxed()))
}
