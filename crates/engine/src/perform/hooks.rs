//! PostStart, PreStop and Probe: what the manifest has podling do to a running container.

use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Done, Failure, ProbeKind, Reason};
use model::pod::{Container, Handler, Probe};

use super::handler::{self, Answer};
use super::{Performed, failed};
use crate::pod::{Change, PodContext};

pub(super) async fn post_start(context: &Arc<PodContext>, container: &str, attempt: u32) -> Performed {
    hook(context, container, attempt, Reason::FailedPostStartHook, |spec| spec.post_start.clone()).await
}

pub(super) async fn pre_stop(context: &Arc<PodContext>, container: &str, attempt: u32) -> Performed {
    hook(context, container, attempt, Reason::FailedPreStopHook, |spec| spec.pre_stop.clone()).await
}

async fn hook(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    reason: Reason,
    choose: fn(&Container) -> Option<Handler>,
) -> Performed {
    let Some(handler) = context.pod().spec.container(container).and_then(choose) else {
        return (Ok(Done::Performed), Change::Nothing);
    };
    let result = match handler::run(context, container, attempt, &handler).await {
        Ok(Answer::Success) => Ok(Done::Performed),
        Ok(Answer::Failure(message)) => Err(failed(reason, message)),
        Err(failure) => Err(Failure { reason, ..failure }),
    };
    (result, Change::Nothing)
}

/// One round of a probe, within its timeout.
pub(super) async fn probe(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    kind: ProbeKind,
) -> Performed {
    let pod = context.pod();
    let probe: Option<&Probe> = pod.spec.container(container).and_then(|spec| match kind {
        ProbeKind::Startup => spec.startup_probe.as_ref(),
        ProbeKind::Liveness => spec.liveness_probe.as_ref(),
        ProbeKind::Readiness => spec.readiness_probe.as_ref(),
    });
    let Some(probe) = probe else { return (Ok(Done::Healthy), Change::Nothing) };
    let timeout = Duration::from_secs(u64::from(probe.timeout_seconds));
    let answer =
        tokio::time::timeout(timeout, handler::run(context, container, attempt, &probe.handler)).await;
    let result = match answer {
        Ok(Ok(Answer::Success)) => Ok(Done::Healthy),
        Ok(Ok(Answer::Failure(message))) => Ok(Done::Unhealthy { message }),
        Ok(Err(failure)) => Err(failure),
        Err(_) => {
            Ok(Done::Unhealthy { message: format!("command timed out after {}s", probe.timeout_seconds) })
        }
    };
    (result, Change::Nothing)
}
