//! Which ConfigMaps and Secrets a Pod speaks of. Pure.

use std::collections::BTreeSet;

use model::pod::{EnvValue, ObjectKind, PodSpec};

/// Kind and name of each, in the Pod's own namespace.
pub(crate) fn of(spec: &PodSpec) -> BTreeSet<(ObjectKind, String)> {
    let mut found = BTreeSet::new();
    let ephemeral = spec.ephemeral_containers.iter().map(|ephemeral| &ephemeral.container);
    for container in spec.all_containers().chain(ephemeral) {
        for from in &container.env_from {
            found.insert((from.source, from.name.clone()));
        }
        for variable in &container.env {
            if let EnvValue::Key { kind, name, .. } = &variable.value {
                found.insert((*kind, name.clone()));
            }
        }
    }
    for volume in &spec.volumes {
        found.extend(volume.source.objects().map(|(kind, name)| (kind, name.to_owned())));
    }
    found.extend(spec.image_pull_secrets.iter().map(|name| (ObjectKind::Secret, name.clone())));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_an_object_is_seen() {
        let text = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  imagePullSecrets: [{name: registry}]
  initContainers:
  - {name: init, image: "a:1", envFrom: [{configMapRef: {name: first}}]}
  containers:
  - name: main
    image: a:1
    env: [{name: A, valueFrom: {secretKeyRef: {name: second, key: k}}}]
    volumeMounts: [{name: files, mountPath: /files}]
  volumes:
  - {name: files, configMap: {name: third}}
  - {name: more, projected: {sources: [{configMap: {name: fourth}}, {secret: {name: fifth}}]}}
"#;
        let manifest = model::manifest::parse("pod.yaml", text.as_bytes()).unwrap();
        let expected = [
            (ObjectKind::ConfigMap, "first"),
            (ObjectKind::ConfigMap, "third"),
            (ObjectKind::ConfigMap, "fourth"),
            (ObjectKind::Secret, "fifth"),
            (ObjectKind::Secret, "registry"),
            (ObjectKind::Secret, "second"),
        ];
        let expected: BTreeSet<_> = expected.map(|(kind, name)| (kind, name.to_owned())).into();
        assert_eq!(of(&manifest.pods[0].spec), expected);
    }
}
