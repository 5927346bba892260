//! Kubernetes' defaults of the kinds that make Pods, as `pkg/apis/{apps,batch,autoscaling}/v1/defaults.go` have them.

use serde_json::{Value, json};

use super::fill::{child, existing, fill, has, items, text};
use super::pod_defaults;

/// The template of a workload.
fn template(spec: &mut Value) {
    if let Some(template) = existing(spec, "template") {
        child(template, "metadata");
        if let Some(pod) = existing(template, "spec") {
            pod_defaults::spec(pod);
        }
    }
}

/// `apps/v1` Deployment.
pub(crate) fn deployment(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "replicas", 1);
    template(spec);
    let strategy = child(spec, "strategy");
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == Some("RollingUpdate") {
        let rolling = child(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", "25%");
        fill(rolling, "maxSurge", "25%");
    }
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
}

/// `apps/v1` ReplicaSet.
pub(crate) fn replica_set(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "replicas", 1);
    template(spec);
}

/// `v1` ReplicationController: selector and labels come from the template when they are absent.
pub(crate) fn replication_controller(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    if let Some(labels) = labels {
        fill(child(object, "spec"), "selector", labels.clone());
        fill(child(object, "metadata"), "labels", labels);
    }
    replica_set(object);
}

/// `apps/v1` StatefulSet.
pub(crate) fn stateful_set(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "replicas", 1);
    template(spec);
    for claim in items(spec, "volumeClaimTemplates") {
        fill(claim, "apiVersion", "v1");
        fill(claim, "kind", "PersistentVolumeClaim");
        fill(child(claim, "spec"), "volumeMode", "Filesystem");
        fill(child(claim, "status"), "phase", "Pending");
    }
    fill(spec, "podManagementPolicy", "OrderedReady");
    let strategy = child(spec, "updateStrategy");
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == Some("RollingUpdate") {
        fill(child(strategy, "rollingUpdate"), "partition", 0);
    }
    fill(spec, "revisionHistoryLimit", 10);
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    fill(retention, "whenDeleted", "Retain");
    fill(retention, "whenScaled", "Retain");
}

/// `apps/v1` DaemonSet.
pub(crate) fn daemon_set(object: &mut Value) {
    let spec = child(object, "spec");
    template(spec);
    let strategy = child(spec, "updateStrategy");
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == Some("RollingUpdate") {
        let rolling = child(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", 1);
        fill(rolling, "maxSurge", 0);
    }
    fill(spec, "revisionHistoryLimit", 10);
}

/// `batch/v1` Job. Its selector is made of its UID, so that it never takes Pods of a Job of the same name before it.
pub(crate) fn job(object: &mut Value) {
    job_spec(child(object, "spec"));
    let is_manual = object.pointer("/spec/manualSelector").and_then(Value::as_bool).unwrap_or(false);
    let (uid, name) = match (text(object, "/metadata/uid"), text(object, "/metadata/name")) {
        (Some(uid), Some(name)) if !is_manual => (uid.to_owned(), name.to_owned()),
        _ => return,
    };
    let spec = child(object, "spec");
    if has(spec, "selector") || !has(spec, "template") {
        return;
    }
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    for (label, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        fill(labels, label, value.as_str());
    }
    spec["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
}

fn job_spec(spec: &mut Value) {
    if !has(spec, "completions") && !has(spec, "parallelism") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    fill(spec, "backoffLimit", 6);
    template(spec);
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    let replaces = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    fill(spec, "podReplacementPolicy", replaces);
}

/// `batch/v1` CronJob.
pub(crate) fn cron_job(object: &mut Value) {
    let spec = child(object, "spec");
    fill(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = existing(spec, "jobTemplate") {
        child(job, "metadata");
        if let Some(job) = existing(job, "spec") {
            template(job);
        }
    }
}

/// `v1` PodTemplate.
pub(crate) fn pod_template(object: &mut Value) {
    template(object);
}

/// `autoscaling/v2` HorizontalPodAutoscaler.
pub(crate) fn autoscaler(object: &mut Value) {
    fill(child(object, "spec"), "minReplicas", 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_rolls() {
        let mut object =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b:1"}]}}}});
        deployment(&mut object);
        assert_eq!(
            object["spec"]["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(object["spec"]["template"]["spec"]["restartPolicy"], json!("Always"));
        let mut recreated = json!({"spec": {"strategy": {"type": "Recreate"}}});
        deployment(&mut recreated);
        assert_eq!(recreated["spec"]["strategy"], json!({"type": "Recreate"}));
    }

    #[test]
    fn a_job_selects_its_own_pods() {
        let mut object = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {"containers": []}}}});
        job(&mut object);
        assert_eq!(
            object["spec"]["selector"],
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})
        );
        assert_eq!(object["spec"]["template"]["metadata"]["labels"]["job-name"], json!("j"));
        assert_eq!((&object["spec"]["completions"], &object["spec"]["parallelism"]), (&json!(1), &json!(1)));
    }
}
