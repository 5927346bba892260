//! Fetches ServiceAccount tokens before they are written, and renews them while the Pod lives.

use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Event, Failure, Reason};
use model::pod::{Pod, TokenProjection, Volume};

use super::{chain, failed, stuck, volumes};
use crate::clock;
use crate::control_plane::{TokenError, TokenRequest};
use crate::pod::PodContext;

/// Delays after renewals that failed: the first, doubled each time, up to the last.
const FIRST_DELAY: Duration = Duration::from_secs(10);
const LAST_DELAY: Duration = Duration::from_secs(300);

/// The tokens in these volumes.
pub(super) fn of<'v>(volumes: impl IntoIterator<Item = &'v Volume>) -> Vec<TokenProjection> {
    volumes.into_iter().flat_map(|volume| volume.source.tokens()).cloned().collect()
}

/// Fetches those of the tokens that are missing or due. Goes on after an error, and returns the first.
pub(super) async fn fetch(
    context: &PodContext,
    pod: &Pod,
    tokens: Vec<TokenProjection>,
) -> Result<(), TokenError> {
    let mut first_error = None;
    for wanted in &tokens {
        if !context.tokens.is_due(wanted, clock::now().boot_nanos) {
            continue;
        }
        let request = TokenRequest {
            namespace: pod.meta.namespace.clone(),
            service_account: pod.spec.service_account_name.clone(),
            audience: wanted.audience.clone(),
            expiration_seconds: wanted.expiration_seconds,
            pod_name: pod.meta.name.clone(),
            pod_uid: pod.meta.uid.clone(),
        };
        match context.node.control_plane.token(request).await {
            Ok(token) => context.tokens.put(wanted, token, &clock::now()),
            Err(error) => {
                context.tokens.miss(wanted);
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// What the Pod is told when a token for its volumes cannot be had. A server may answer otherwise later; where there is
/// none, nothing but another manifest helps.
pub(super) fn failure(error: &TokenError) -> Failure {
    match error {
        TokenError::NoServer => stuck(Reason::FailedMount, chain(error)),
        TokenError::Failed { .. } => failed(Reason::FailedMount, chain(error)),
    }
}

/// Renews the Pod's tokens whenever one is due, in a task that ends with the Pod's volumes. Called after every fetch, so
/// that the task knows of all tokens.
pub(super) fn keep(context: &Arc<PodContext>, failures_so_far: u32) {
    if context.tokens.due_in(0).is_none() {
        return;
    }
    let weak = Arc::downgrade(context);
    let keeper = tokio::spawn(async move {
        let mut failures = failures_so_far;
        loop {
            let due_in = weak.upgrade().and_then(|pod| pod.tokens.due_in(clock::now().boot_nanos));
            let Some(due_in) = due_in else { return };
            tokio::time::sleep(due_in.max(delay(failures))).await;
            let Some(context) = weak.upgrade() else { return };
            match volumes::refresh(&context).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tell(&context, &error);
                }
            }
        }
    });
    context.tokens.set_keeper(keeper.abort_handle());
}

/// Tells that a token could not be renewed.
pub(super) fn tell(context: &PodContext, error: &TokenError) {
    let message = format!("cannot renew a ServiceAccount token: {}", chain(error));
    let reason = Reason::FailedMount.as_str();
    context.report_event(Event { warning: true, reason, message, container: None });
}

fn delay(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_DELAY.saturating_mul(1 << doublings.min(5)).min(LAST_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_renewals_are_tried_again_after_ten_seconds_to_five_minutes() {
        let seconds = |failures| delay(failures).as_secs();
        assert_eq!([0, 1, 2, 3].map(seconds), [0, 10, 20, 40]);
        assert_eq!([6, 7, u32::MAX].map(seconds), [300, 300, 300]);
    }
}
