//! Carries out what was decided: one file per kind of action. Nothing here chooses.

mod command;
mod container_spec;
mod earlier;
mod handler;
mod hooks;
mod pull;
mod resize;
mod sandbox;
mod start;
mod stop;
mod tokens;
mod volumes;

pub(crate) use self::handler::HOOK_KEY;
pub(crate) use self::pull::Ahead;
pub(crate) use self::start::container_id;

use std::sync::Arc;

use lifecycle::{Action, Done, Failure, Reason, Retry};

use crate::pod::{Change, PodContext};

/// What an action came to, and what is different in the world for it.
pub(crate) type Performed = (Result<Done, Failure>, Change);

/// Carries out one action.
pub(crate) async fn perform(context: &Arc<PodContext>, action: &Action) -> Performed {
    match action {
        Action::PrepareVolumes { .. } => volumes::prepare(context).await,
        Action::CreateSandbox { attempt } => sandbox::create(context, *attempt).await,
        Action::Pull { container, .. } => pull::pull(context, action, container).await,
        Action::Start { container, attempt, retry, .. } => {
            earlier::forget_failed(context, container, *attempt, *retry).await;
            start::start(context, container, *attempt).await
        }
        Action::PostStart { container, attempt } => hooks::post_start(context, container, *attempt).await,
        Action::AllocateResources { resources, .. } => resize::allocate(context, resources),
        Action::ResizePod { resources, .. } => resize::pod(context, resources).await,
        Action::ResizeContainer { container, attempt, resources, .. } => {
            resize::container(context, container, *attempt, resources).await
        }
        Action::PreStop { container, attempt } => hooks::pre_stop(context, container, *attempt).await,
        Action::Probe { container, attempt, kind, .. } => {
            hooks::probe(context, container, *attempt, *kind).await
        }
        Action::Signal { container, attempt } => stop::signal(context, container, *attempt).await,
        Action::Kill { container, attempt } => stop::kill(context, container, *attempt).await,
        Action::RemoveSandbox { .. } => stop::remove_sandbox(context).await,
        Action::RemoveVolumes => volumes::remove(context).await,
    }
}

/// Brings the files of volumes up to date, without making the Pod's task wait.
pub(crate) fn refresh_volumes(context: &Arc<PodContext>) {
    if !context.pod().spec.volumes.iter().any(|volume| volume.source.is_written()) {
        return;
    }
    let context = Arc::clone(context);
    tokio::spawn(async move {
        let refreshed = volumes::refresh(&context).await;
        if let Err(error) = &refreshed {
            tokens::tell(&context, error);
        }
        tokens::keep(&context, u32::from(refreshed.is_err()));
    });
}

/// Done, with nothing more to tell.
fn performed(change: Change) -> Performed {
    (Ok(Done::Performed), change)
}

/// Failed, and worth trying again after a while.
fn failed(reason: Reason, message: impl Into<String>) -> Failure {
    Failure { reason, message: message.into(), retry: Retry::Backoff }
}

/// Failed, and the same again until somebody changes something.
fn stuck(reason: Reason, message: impl Into<String>) -> Failure {
    Failure { reason, message: message.into(), retry: Retry::OnChange }
}

/// An error with its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
