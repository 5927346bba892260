//! PostStart, PreStop and Probe: what the manifest has podling do to a running container.

use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Done, Event, Failure, ProbeKind, Reason};
use model::pod::{Container, Handler, Probe};

use super::handler::Asker;
use super::{Performed, failed, handler};
use crate::answer::Answer;
use crate::pod::{Change, PodContext};

pub(super) async fn post_start(context: &Arc<PodContext>, container: &str, attempt: u32) -> Performed {
    let asker = Asker::Hook("post-start");
    hook(context, container, attempt, asker, Reason::FailedPostStartHook, |spec| spec.post_start.clone())
        .await
}

pub(super) async fn pre_stop(context: &Arc<PodContext>, container: &str, attempt: u32) -> Performed {
    let asker = Asker::Hook("pre-stop");
    hook(context, container, attempt, asker, Reason::FailedPreStopHook, |spec| spec.pre_stop.clone()).await
}

async fn hook(
    context: &Arc<PodContext>,
    container: &str,
    attempt: u32,
    asker: Asker,
    reason: Reason,
    choose: fn(&Container) -> Option<Handler>,
) -> Performed {
    let Some(handler) = context.pod().spec.container(container).and_then(choose) else {
        return (Ok(Done::Performed), Change::Nothing);
    };
    let result = match handler::run(context, container, attempt, &handler, asker).await {
        Ok(Answer::Success | Answer::Warning(_)) => Ok(Done::Performed),
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
    let result = match handler::run(context, container, attempt, &probe.handler, Asker::Probe(timeout)).await
    {
        Ok(Answer::Success) => Ok(Done::Healthy),
        Ok(Answer::Warning(message)) => {
            context.report_event(Event {
                warning: true,
                reason: "ProbeWarning",
                message: format!("{kind} probe warning: {message}"),
                container: Some(container.to_owned()),
            });
            Ok(Done::Healthy)
        }
        Ok(Answer::Failure(message)) => Ok(Done::Unhealthy { message }),
        Err(failure) => Err(failure),
    };
    (result, Change::Nothing)
}
