//! Runs what a probe or hook asks for: a command in the container ([`super::command`]), a request to the Pod's address,
//! a wait.
//!
//! Requests leave from the node, so nothing is needed inside the image.

use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Failure, Reason};
use model::pod::{Handler, PortRef};
use tokio::net::TcpStream;

use super::{command, failed};
use crate::answer::{Answer, authority, within};
use crate::grpc_probe;
use crate::http_probe::{self, Purpose};
use crate::pod::PodContext;

/// How long a gRPC hook may take; the manifest's reader lets none through.
const HOOK_GRPC_TIMEOUT: Duration = Duration::from_secs(1);

/// How the keys of hooks begin. Each is made of container and incarnation, so a hook that was under way when its daemon
/// died is not run a second time by the next one.
pub(crate) const HOOK_KEY: &str = "hook:";

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    /// A probe, within its timeout.
    Probe(Duration),
    /// A hook of this name, which ends with its container's grace.
    Hook(&'static str),
}

/// Asks once.
pub(super) async fn run(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    handler: &Handler,
    asker: Asker,
) -> Result<Answer, Failure> {
    let timeout = match asker {
        Asker::Probe(timeout) => Some(timeout),
        Asker::Hook(_) => None,
    };
    match handler {
        Handler::Exec(words) => command::run(context, container, attempt, words, asker).await,
        Handler::HttpGet { port, path, host, tls, headers } => {
            let port = port_number(context, container, port)?;
            let host = host_or_pod_ip(context, host.as_deref())?;
            let purpose = if timeout.is_some() { Purpose::Probe } else { Purpose::Hook };
            let request = http_probe::Request { purpose, tls: *tls, host: &host, port, path, headers };
            http_probe::get(&request, timeout).await.map_err(probe_error)
        }
        Handler::TcpSocket { port, host } => {
            let port = port_number(context, container, port)?;
            let host = host_or_pod_ip(context, host.as_deref())?;
            Ok(connect(&host, port, timeout).await)
        }
        Handler::Grpc { port, service } => {
            let host = host_or_pod_ip(context, None)?;
            Ok(grpc_probe::check(&host, *port, service, timeout.unwrap_or(HOOK_GRPC_TIMEOUT)).await)
        }
        Handler::Sleep { seconds } => {
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            Ok(Answer::Success)
        }
    }
}

pub(super) fn probe_error(message: String) -> Failure {
    failed(Reason::ProbeError, message)
}

/// Never an address of the node in place of a Pod's that is not known: somebody else may answer there.
fn host_or_pod_ip(context: &PodContext, host: Option<&str>) -> Result<String, Failure> {
    let pod_ip = || context.prepared().pod_ips.first().cloned();
    let found = host.map(str::to_owned).or_else(pod_ip);
    found.ok_or_else(|| probe_error("the Pod has no address that could be asked".to_owned()))
}

async fn connect(host: &str, port: u16, timeout: Option<Duration>) -> Answer {
    let address = authority(host, port);
    match within(timeout, TcpStream::connect((host, port))).await {
        Some(Ok(_)) => Answer::Success,
        Some(Err(error)) => Answer::Failure(format!("dial tcp {address}: {error}")),
        None => Answer::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}

fn port_number(context: &PodContext, container: &str, port: &PortRef) -> Result<u16, Failure> {
    let name = match port {
        PortRef::Number(number) => return Ok(*number),
        PortRef::Name(name) => name,
    };
    let pod = context.pod();
    let ports = pod.spec.container(container).map(|spec| spec.ports.as_slice()).unwrap_or_default();
    ports.iter().find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port).ok_or_else(
        || failed(Reason::ProbeError, format!("container {container} declares no port named {name}")),
    )
}
