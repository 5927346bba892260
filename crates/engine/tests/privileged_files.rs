//! Files that podling writes into a running Pod: tokens and what the Pod is told about itself. Needs root.

mod scene;

use engine::ReportKind;
use lifecycle::status::Phase;

use scene::{container, play, pod_with};

/// Ends well once its label has changed in the file, all else being as it should.
const READER: &str = "
set -e
test \"$(cat /files/token)\" = \"api default/default reader reader-uid\"
test \"$(cat /files/vault)\" = \"vault default/default reader reader-uid\"
test \"$(stat -Lc '%a %u' /files/token)\" = '600 65534'
test \"$(cat /files/name)\" = reader
until grep -q 'colour=\"red\"' /files/labels; do sleep 0.05; done
";

const VOLUME: &str = ", {name: files, projected: {sources: [\
    {serviceAccountToken: {path: token}}, \
    {serviceAccountToken: {path: vault, audience: AUDIENCE}}, \
    {downwardAPI: {items: [\
        {path: name, fieldRef: {fieldPath: metadata.name}}, \
        {path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]}}";

fn reader(audience: &str, script: &str) -> model::pod::Pod {
    let more = "    securityContext: {runAsUser: 65534}\n";
    let main = container("main", script, more)
        .replace("volumeMounts: [", "volumeMounts: [{name: files, mountPath: /files}, ");
    let volume = VOLUME.replace("AUDIENCE", audience);
    pod_with("reader", &volume, &format!("  restartPolicy: Never\n  containers:\n{main}"))
}

#[test]
fn a_pod_reads_its_tokens_and_follows_its_labels() {
    play("files", |mut scene| async move {
        let mut pod = reader("vault", READER);
        pod.meta.labels.insert("colour".into(), "blue".into());
        scene.run(&pod).await;
        pod.meta.labels.insert("colour".into(), "red".into());
        scene.apply(&pod).await;
        let has_ended = |status: &lifecycle::Status| matches!(status.phase, Phase::Succeeded | Phase::Failed);
        let ended = scene.status(&pod.meta.uid, has_ended).await;
        assert_eq!(ended.phase, Phase::Succeeded, "{ended:?}");
        scene.finish(&[&pod]).await;
    });
}

#[test]
fn a_pod_whose_token_nobody_issues_is_blocked_and_says_why() {
    play("tokens", |mut scene| async move {
        let pod = reader("nobody", "sleep 1000");
        scene.apply(&pod).await;
        let message = scene
            .wait(&pod.meta.uid, |kind| match kind {
                ReportKind::Event { reason, message, .. } if reason == "FailedMount" => Ok(message),
                other => Err(other),
            })
            .await;
        assert!(message.contains("no API server here that issues ServiceAccount tokens"), "{message}");
        scene
            .wait(&pod.meta.uid, |kind| match kind {
                ReportKind::Blocked(_) => Ok(()),
                other => Err(other),
            })
            .await;
        scene.finish(&[&pod]).await;
    });
}
