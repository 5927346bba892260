//! Runs what a probe or hook asks for: a command in the container, a request to the Pod's address, a wait.
//!
//! Requests leave from the node, so nothing is needed inside the image.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use container::{ExecRequest, ExecStdio, ExecStreams, Key};
use lifecycle::{Failure, Reason};
use model::pod::{Handler, PortRef};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::unix::pipe;

use super::{chain, failed};
use crate::answer::{Answer, LIMIT_BYTES, authority, within};
use crate::grpc_probe;
use crate::http_probe::{self, Purpose};
use crate::pod::{PodContext, RunningExec, key, new_key};
use crate::spec::exec_process;

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
        Handler::Exec(command) => exec(context, container, attempt, command, asker).await,
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

fn probe_error(message: String) -> Failure {
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

/// Runs a command in the container, for as long as it may take.
async fn exec(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    command: &[String],
    asker: Asker,
) -> Result<Answer, Failure> {
    let (timeout, key) = match asker {
        Asker::Probe(timeout) => (Some(timeout), new_key("exec")),
        Asker::Hook(name) => (None, format!("{HOOK_KEY}{name}:{container}:{attempt}")),
    };
    match within(timeout, run_command(context, container, attempt, command, key)).await {
        Some(answer) => answer,
        None => Ok(Answer::Failure(format!(
            "command timed out: {:?} timed out after {:?}",
            command.join(" "),
            timeout.unwrap_or_default()
        ))),
    }
}

/// Runs a command in the container and judges its exit code.
async fn run_command(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    command: &[String],
    exec_key: Key,
) -> Result<Answer, Failure> {
    let process = context.prepared().processes.get(container).cloned();
    let (Some(shim), Some(process)) = (context.running_shim(), process) else {
        return Err(probe_error(format!("container {container} is not running")));
    };
    let exit = context.expect_exec(exec_key.clone());
    let (output, stdout) = output_pipe().map_err(|error| probe_error(chain(&error)))?;
    let stderr = stdout.try_clone().map_err(|error| probe_error(chain(&error)))?;
    let request = ExecRequest {
        container: key(container, attempt),
        key: exec_key.clone(),
        process: exec_process(&process, command.to_vec(), false),
        stdio: ExecStdio::Descriptors { stdin: None, stdout: Some(stdout), stderr: Some(stderr) },
    };
    let mut running = RunningExec::new(context, shim.clone(), exec_key);
    let streams = shim.exec(request).await;
    if let Err(error) = &streams {
        running.ended();
        return match error {
            // The container has no such program: an answer of the container, not a failure of podling.
            container::Error::Start(start) => Ok(Answer::Failure(start.message.clone())),
            other => Err(probe_error(chain(other))),
        };
    }
    let Ok(container::Exec { streams: ExecStreams::Given, .. }) = streams else {
        return Err(probe_error(format!("the shim gave other streams to {container} than asked for")));
    };
    let (exit, text) = read_until(output, exit.wait()).await;
    let exit = exit.ok_or_else(|| probe_error(format!("the shim of {container} went away")))?;
    running.ended();
    if exit.code == 0 {
        return Ok(Answer::Success);
    }
    let text = text.trim();
    Ok(Answer::Failure(if text.is_empty() {
        format!("command {command:?} exited with {}", exit.code)
    } else {
        text.to_owned()
    }))
}

/// A pipe for a command's output; only our end does not block.
fn output_pipe() -> std::io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((pipe::Receiver::from_owned_fd(reader)?, writer))
}

/// Reads until the command has ended; what processes that it left behind still write is not waited for.
/// Everything is read, so that no command hangs on a full pipe; only the beginning is kept.
async fn read_until<T>(mut output: pipe::Receiver, ended: impl Future<Output = T>) -> (T, String) {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    let keep = |kept: &mut Vec<u8>, bytes: &[u8]| {
        kept.extend_from_slice(&bytes[..bytes.len().min(LIMIT_BYTES - kept.len())]);
    };
    tokio::pin!(ended);
    let mut open = true;
    let exit = loop {
        tokio::select! {
            exit = &mut ended => break exit,
            read = output.read(&mut buffer), if open => match read {
                Ok(length) if length > 0 => keep(&mut kept, &buffer[..length]),
                _ => open = false,
            }
        }
    };
    while let Ok(length) = output.try_read(&mut buffer)
        && length > 0
    {
        keep(&mut kept, &buffer[..length]);
    }
    (exit, String::from_utf8_lossy(&kept).into_owned())
}
