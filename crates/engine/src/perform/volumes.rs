//! PrepareVolumes and RemoveVolumes.

use std::sync::Arc;

use lifecycle::{Event, Failure, Reason};
use model::pod::{Container, Pod, Volume, VolumeSource};
use volume::{Prepared, VolumeError};

use super::{Performed, chain, failed, performed, stuck};
use crate::pod::{Change, PodContext};

/// Makes the Pod's directories and every volume that some container mounts.
pub(super) fn prepare(context: &PodContext) -> Performed {
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

/// Brings the files of ConfigMaps and Secrets up to date in a running Pod, all at once for each volume. What is missing
/// now stays as it was, as in Kubernetes.
pub(super) fn refresh(context: &PodContext) {
    let _alone = context.volumes_in_work();
    let pod = context.pod();
    let prepared: Vec<String> = context.prepared().volumes.keys().cloned().collect();
    for volume in pod.spec.volumes.iter().filter(|volume| prepared.contains(&volume.name)) {
        if !matches!(volume.source, VolumeSource::Object { .. }) {
            continue;
        }
        if let Err(error) = prepare_one(context, &pod, volume) {
            let message = format!("cannot refresh volume {:?}: {}", volume.name, chain(&error));
            let reason = Reason::FailedMount.as_str();
            context.report_event(Event { warning: true, reason, message, container: None });
        }
    }
}

/// Makes the volumes of a container that nobody mounted before it: those of an ephemeral container, which came after the
/// Pod's volumes were made.
pub(super) fn prepare_missing(context: &PodContext, pod: &Pod, container: &Container) -> Result<(), Failure> {
    let is_mounted = |volume: &&Volume| container.volume_mounts.iter().any(|mount| mount.name == volume.name);
    for volume in pod.spec.volumes.iter().filter(is_mounted) {
        if context.prepared().volumes.contains_key(&volume.name) {
            continue;
        }
        let prepared = prepare_one(context, pod, volume).map_err(|error| {
            let failure = failure(context, &error);
            // It is the container that waits for it, and says so.
            Failure { reason: Reason::CreateContainerConfigError, ..failure }
        })?;
        context.prepared().volumes.insert(volume.name.clone(), prepared);
    }
    Ok(())
}

/// Makes one volume; the same again changes nothing.
pub(super) fn prepare_one(context: &PodContext, pod: &Pod, volume: &Volume) -> Result<Prepared, VolumeError> {
    let objects = |kind, name: &str| context.node.control_plane.object(kind, &pod.meta.namespace, name);
    volume::prepare(
        volume,
        &volume::Context {
            data_dir: &context.directories.data,
            run_dir: &context.directories.run,
            fs_group: pod.spec.security_context.fs_group,
            objects: &objects,
        },
    )
}

/// A missing ConfigMap may still come, unless the control plane has said all that it will ever say; other
/// errors may pass.
fn failure(context: &PodContext, error: &VolumeError) -> Failure {
    let waits_in_vain = error.waits_for().is_some() && !context.node.control_plane.objects_may_appear();
    if waits_in_vain || matches!(error, VolumeError::Unsupported { .. }) {
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
    let removal = volume::remove(&context.directories.data, &context.directories.run);
    removal.iter().map(|error| chain(error)).collect()
}
