//! Commands in a container, for probes and hooks.
//!
//! A probe's command is repeated, so it runs in the container's exec server: a process made once that has everything an
//! exec needs, which leaves starting the program. A hook's command runs once and is an exec of its own; so is a probe's
//! where an exec server cannot be: a filter of the user's own may not let it speak, and labels of AppArmor and SELinux
//! are for the program alone.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use container::{ExecRequest, ExecServer, ExecStdio, ExecStreams, Key};
use lifecycle::Failure;
use model::pod::{Container, Pod, SeccompProfile};
use oci_spec::runtime::Process;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::chain;
use super::handler::{Asker, HOOK_KEY, probe_error};
use crate::answer::{Answer, LIMIT_BYTES, within};
use crate::pod::{PodContext, RunningExec, key, new_key};
use crate::spec::exec_process;

/// Runs a command in the container: a probe's within its timeout, a hook's for as long as it may take.
pub(super) async fn run(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    command: &[String],
    asker: Asker,
) -> Result<Answer, Failure> {
    let timeout = match asker {
        Asker::Probe(timeout) => timeout,
        Asker::Hook(name) => {
            let exec_key = format!("{HOOK_KEY}{name}:{container}:{attempt}");
            return run_once(context, container, attempt, command, exec_key, judged_hook).await;
        }
    };
    match within(Some(timeout), run_repeated(context, container, attempt, command)).await {
        Some(answer) => answer,
        None => Ok(Answer::Failure(format!(
            "command timed out: {:?} timed out after {timeout:?}",
            command.join(" ")
        ))),
    }
}

/// Runs a command in the container's exec server, or without one where there is none.
async fn run_repeated(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    command: &[String],
) -> Result<Answer, Failure> {
    let slot = context.exec_server(container, attempt);
    let server = slot.get_or_init(|| open_server(context, container, attempt)).await;
    let Some(server) = server else {
        return run_once(context, container, attempt, command, new_key("exec"), judged).await;
    };
    match server.run(command.to_vec()).await {
        Ok(ran) => Ok(judged(command, ran.code, &String::from_utf8_lossy(&ran.output))),
        // The container has no such program: an answer of the container, not a failure of podling.
        Err(container::Error::Start(start)) => Ok(Answer::Failure(start.message)),
        Err(container::Error::Gone { .. }) if context.is_running(container, attempt) => {
            // It was killed, for want of memory or by hand. The container goes on without.
            context.forgo_exec_server(container, attempt);
            run_once(context, container, attempt, command, new_key("exec"), judged).await
        }
        Err(other) => Err(probe_error(chain(&other))),
    }
}

/// Makes the container's exec server. One that cannot be had is no failure: execs work without it.
async fn open_server(context: &Arc<PodContext>, container: &str, attempt: u32) -> Option<ExecServer> {
    let process = context.prepared().processes.get(container).cloned()?;
    let pod = context.pod();
    if !may_be_served(&pod, pod.spec.container(container)?, &process) {
        return None;
    }
    let shim = context.running_shim()?;
    match shim.open_exec_server(key(container, attempt), new_key("execs"), &process).await {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::debug!(%error, container, "probes run without an exec server");
            None
        }
    }
}

fn may_be_served(pod: &Pod, container: &Container, process: &Process) -> bool {
    let own = container.security_context.seccomp_profile.as_ref();
    let profile = own.or(pod.spec.security_context.seccomp_profile.as_ref());
    let has_own_filter =
        !container.security_context.privileged && matches!(profile, Some(SeccompProfile::Localhost(_)));
    !has_own_filter && process.apparmor_profile().is_none() && process.selinux_label().is_none()
}

/// Runs a command by an exec of its own.
async fn run_once(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    command: &[String],
    exec_key: Key,
    judged: fn(&[String], i32, &str) -> Answer,
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
    Ok(judged(command, exit.code, &text))
}

/// What the exit code and the output of a hook say. Its container is stopped for it, so both are told.
fn judged_hook(command: &[String], code: i32, output: &str) -> Answer {
    match output.trim() {
        text if code != 0 && !text.is_empty() => {
            Answer::Failure(format!("command {command:?} exited with {code}: {text}"))
        }
        text => judged(command, code, text),
    }
}

/// What the exit code and the output of a probe say: as in the kubelet, the output where there is any.
fn judged(command: &[String], code: i32, output: &str) -> Answer {
    match output.trim() {
        _ if code == 0 => Answer::Success,
        "" => Answer::Failure(format!("command {command:?} exited with {code}")),
        text => Answer::Failure(text.to_owned()),
    }
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
