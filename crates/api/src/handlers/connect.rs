//! log, exec, attach and port-forward: a request for a Pod goes to the node that runs it, under a kubelet's path.

use std::sync::Arc;

use apimachinery::status::Status;
use http::{Request, Uri};
use serde_json::Value;

use crate::api::{Api, Node};
use crate::call::Call;
use crate::kinds::fill::text;
use crate::objects::metadata;
use crate::respond::{Body, Failure, Response};

/// Which container kubectl means when it names none.
const DEFAULT_CONTAINER: &str = "/metadata/annotations/kubectl.kubernetes.io~1default-container";

/// Hands a connection to the node.
pub(super) async fn answer(
    api: &Arc<Api>,
    call: &Call,
    mut request: Request<Body>,
) -> Result<Response, Failure> {
    let pod = api.named(call)?.object;
    let node = node_of(api, &pod)?;
    let (namespace, name, uid) = (metadata::namespace(&pod), metadata::name(&pod), metadata::uid(&pod));
    let path = match call.route.subresource.as_deref() {
        Some("portforward") => format!("/portForward/{namespace}/{name}/{uid}"),
        Some("log") => format!("/containerLogs/{namespace}/{name}/{}", container(call, &pod)?),
        Some(other) => format!("/{other}/{namespace}/{name}/{uid}/{}", container(call, &pod)?),
        None => return Err(Status::no_such_path().into()),
    };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    *request.uri_mut() = format!("{path}{query}")
        .parse::<Uri>()
        .map_err(|error| Status::bad_request(format!("the parameters are no URL: {error}")))?;
    Ok(node.handle(request).await)
}

/// Who runs a Pod.
fn node_of(api: &Api, pod: &Value) -> Result<Arc<dyn Node>, Failure> {
    let name = metadata::name(pod);
    let Some(node) = text(pod, "/spec/nodeName") else {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")).into());
    };
    api.node(node).ok_or_else(|| {
        Status::service_unavailable(format!("node {node} of pod {name} is not reachable from here")).into()
    })
}

/// The container that is meant.
fn container(call: &Call, pod: &Value) -> Result<String, Failure> {
    let name = metadata::name(pod);
    let names = |list: &str| -> Vec<&str> {
        let list = pod.pointer(list).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|container| text(container, "/name")).collect()
    };
    let (main, init) = (names("/spec/containers"), names("/spec/initContainers"));
    let ephemeral = names("/spec/ephemeralContainers");
    let all = || main.iter().chain(&init).chain(&ephemeral);
    if let Some(asked) = call.query.get("container") {
        return match all().any(|known| *known == asked) {
            true => Ok(asked.to_owned()),
            false => {
                Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")).into())
            }
        };
    }
    let default = text(pod, DEFAULT_CONTAINER).filter(|default| all().any(|known| known == default));
    match (default, main.as_slice()) {
        (Some(default), _) => Ok(default.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        _ => {
            let init = match init.is_empty() {
                true => String::new(),
                false => format!(" or one of the init containers: [{}]", init.join(" ")),
            };
            let message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]{init}",
                main.join(" ")
            );
            Err(Status::bad_request(message).into())
        }
    }
}
