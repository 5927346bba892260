//! PrepareVolumes and RemoveVolumes.

use std::sync::Arc;

use lifecycle::{Event, Failure, Reason};
use model::pod::{Container, Pod, Volume};
use volume::{Prepared, VolumeError};

use super::{Performed, chain, failed, performed, stuck, tokens};
use crate::control_plane::TokenError;
use crate::pod::{Change, PodContext};

/// Makes the Pod's directories and every volume that some container mounts.
pub(super) async fn prepare(context: &Arc<PodContext>) -> Performed {
    let pod = context.pod();
    if let Err(error) = tokens::fetch(context, &pod, tokens::of(volume::needed(&pod.spec))).await {
        return (Err(tokens::failure(&error)), Change::VolumesPartial);
    }
    tokens::keep(context, 0);
    let recorded = || {
        let saved = context.directories.save_volumes(&context.prepared().volumes);
        saved.map_err(|error| failed(Reason::FailedMount, format!("cannot write down the volumes: {error}")))
    };
    match prepare_all(context).and_then(|()| recorded()) {
        Ok(()) => performed(Change::VolumesReady),
        Err(failure) => (Err(failure), Change::VolumesPartial),
    }
}

fn prepare_all(context: &PodContext) -> Result<(), Failure> {
    let _alone = context.volumes_in_work();
    let pod = context.pod();
    for volume in volume::needed(&pod.spec) {
        let prepared = prepare_one(context, &pod, volume).map_err(|error| failure(context, &error))?;
        context.prepared().volumes.insert(volume.name.clone(), prepared);
        if let Some(message) = volume::limitation(volume) {
            let reason = "VolumeLimitation";
            context.report_event(Event { warning: true, reason, message, container: None });
        }
    }
    Ok(())
}

/// Brings the files of a running Pod's volumes up to date, all at once for each volume: those of ConfigMaps and Secrets,
/// fields of the Pod, and tokens. What is missing now stays as it was, as in Kubernetes. Returns why a token could not be
/// renewed; all else is told.
pub(super) async fn refresh(context: &Arc<PodContext>) -> Result<(), TokenError> {
    let prepared: Vec<String> = context.prepared().volumes.keys().cloned().collect();
    let pod = context.pod();
    let is_held = |volume: &&Volume| {
        prepared.contains(&volume.name) || volume.source.tokens().any(|token| context.tokens.is_held(token))
    };
    let held = tokens::of(pod.spec.volumes.iter().filter(is_held));
    let fetched = tokens::fetch(context, &pod, held).await;
    let context = Arc::clone(context);
    let refreshed = tokio::task::spawn_blocking(move || refresh_files(&context)).await;
    if let Err(panic) = refreshed {
        tracing::error!(%panic, "cannot refresh volumes");
    }
    fetched
}

fn refresh_files(context: &PodContext) {
    let _alone = context.volumes_in_work();
    let pod = context.pod();
    // Asked for again, because they may have been removed while tokens were fetched.
    let prepared: Vec<String> = context.prepared().volumes.keys().cloned().collect();
    for volume in pod.spec.volumes.iter().filter(|volume| prepared.contains(&volume.name)) {
        if !volume.source.is_written() {
            continue;
        }
        match prepare_one(context, &pod, volume) {
            // Why it is missing is told by whoever could not fetch it.
            Ok(_) | Err(VolumeError::TokenMissing { .. }) => {}
            Err(error) => {
                let message = format!("cannot refresh volume {:?}: {}", volume.name, chain(&error));
                let reason = Reason::FailedMount.as_str();
                context.report_event(Event { warning: true, reason, message, container: None });
            }
        }
    }
}

/// Makes the volumes of a container that nobody mounted before it: those of an ephemeral container, which came after the
/// Pod's volumes were made.
pub(super) async fn prepare_missing(
    context: &Arc<PodContext>,
    pod: &Pod,
    container: &Container,
) -> Result<(), Failure> {
    let is_missing = |volume: &&Volume| {
        container.volume_mounts.iter().any(|mount| mount.name == volume.name)
            && !context.prepared().volumes.contains_key(&volume.name)
    };
    let missing: Vec<&Volume> = pod.spec.volumes.iter().filter(is_missing).collect();
    // It is the container that waits for them, and says so.
    let of_container = |failure| Failure { reason: Reason::CreateContainerConfigError, ..failure };
    let wanted = tokens::of(missing.iter().copied());
    if !wanted.is_empty() {
        let fetched = tokens::fetch(context, pod, wanted).await;
        fetched.map_err(|error| of_container(tokens::failure(&error)))?;
        tokens::keep(context, 0);
    }
    for volume in missing {
        let prepared = prepare_one(context, pod, volume);
        let prepared = prepared.map_err(|error| of_container(failure(context, &error)))?;
        context.prepared().volumes.insert(volume.name.clone(), prepared);
    }
    Ok(())
}

/// Makes one volume; the same again changes nothing.
pub(super) fn prepare_one(context: &PodContext, pod: &Pod, volume: &Volume) -> Result<Prepared, VolumeError> {
    let objects = |kind, name: &str| context.node.control_plane.object(kind, &pod.meta.namespace, name);
    let downward = context.downward();
    volume::prepare(
        volume,
        &volume::Context {
            data_dir: &context.directories.data,
            run_dir: &context.directories.run,
            fs_group: pod.spec.security_context.fs_group,
            user: volume::sole_user(&pod.spec),
            objects: &objects,
            downward: &|value| downward.value(pod, value).map_err(Into::into),
            tokens: &|wanted| context.tokens.get(wanted),
        },
    )
}

/// A missing ConfigMap may still come, unless the control plane has said all that it will ever say; other
/// errors may pass.
fn failure(context: &PodContext, error: &VolumeError) -> Failure {
    let waits_in_vain = error.waits_for().is_some() && !context.node.control_plane.objects_may_appear();
    let needs_another_pod = matches!(error, VolumeError::Unsupported { .. } | VolumeError::Downward { .. });
    if waits_in_vain || needs_another_pod {
        stuck(Reason::FailedMount, chain(error))
    } else {
        failed(Reason::FailedMount, chain(error))
    }
}

/// Ends the shim, and with it every mount of the Pod, then removes the volumes. Errors do not hold the Pod:
/// what cannot be removed is named.
pub(super) async fn remove(context: &Arc<PodContext>) -> Performed {
    let mut errors = Vec::new();
    if let Err(error) = context.directories.forget_volumes() {
        errors.push(format!("cannot remove the record of the volumes: {error}"));
    }
    if let Some(shim) = context.take_shim()
        && let Err(error) = shim.shutdown().await
    {
        errors.push(chain(&error));
    }
    errors.extend(remove_files(context));
    if !errors.is_empty() {
        context.report_event(Event {
            warning: true,
            reason: Reason::FailedKillPod.as_str(),
            message: errors.join("; "),
            container: None,
        });
    }
    performed(Change::VolumesAbsent)
}

fn remove_files(context: &PodContext) -> Vec<String> {
    let _alone = context.volumes_in_work();
    context.prepared().volumes.clear();
    context.tokens.clear();
    let removal = volume::remove(&context.directories.data, &context.directories.run);
    removal.iter().map(|error| chain(error)).collect()
}
