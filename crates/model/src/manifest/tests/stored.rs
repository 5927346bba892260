//! A Pod as an API server holds it.

use crate::manifest::stored;

fn pod(metadata: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web","namespace":"shop",{metadata}}},
            "spec":{{"containers":[{{"name":"main","image":"nginx:1"}}]{spec}}},"status":{{"phase":"Running"}}}}"#
    )
}

#[test]
fn what_the_system_wrote_is_read() {
    let text = pod(r#""uid":"u-1","generation":3,"resourceVersion":"7""#, "");
    let (pod, warnings) = stored("pods/web", text.as_bytes()).unwrap();
    assert_eq!((pod.meta.uid.as_str(), pod.meta.generation), ("u-1", 3));
    assert_eq!((pod.meta.namespace.as_str(), pod.meta.name.as_str()), ("shop", "web"));
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn ephemeral_containers_are_read_and_keep_their_rules() {
    let ephemeral = |fields: &str| {
        let text =
            pod(r#""uid":"u""#, &format!(r#","ephemeralContainers":[{{"image":"busybox:1",{fields}}}]"#));
        stored("pods/web", text.as_bytes())
    };
    let (pod, _) = ephemeral(r#""name":"debugger","stdin":true,"targetContainerName":"main""#).unwrap();
    let added = &pod.spec.ephemeral_containers[0];
    assert_eq!((added.container.name.as_str(), added.target.as_deref()), ("debugger", Some("main")));
    assert!(added.container.stdin);

    let refused = |fields: &str| ephemeral(fields).unwrap_err().to_string();
    let ports = refused(r#""name":"debugger","ports":[{"containerPort":80}]"#);
    assert!(ports.contains("spec.ephemeralContainers[0].ports"), "{ports}");
    assert!(ports.contains("cannot be set for an Ephemeral Container"), "{ports}");
    assert!(refused(r#""name":"main""#).contains("Duplicate value"));
    assert!(refused(r#""name":"d","targetContainerName":"nobody""#).contains("Not found"));
}

#[test]
fn what_is_no_pod_is_refused() {
    assert!(stored("x", b"").is_err());
    assert!(stored("x", b"{").is_err());
    assert!(stored("x", br#"{"metadata":{"name":"a"}}"#).is_err());
}
