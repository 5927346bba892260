//! The real kubectl against a server over TLS. Without one on the PATH this says so and checks nothing.

mod harness;

use harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_gets_changes_and_deletes() {
    if std::process::Command::new("kubectl").arg("version").arg("--client").output().is_err() {
        eprintln!("NOT CHECKED: there is no kubectl on the PATH");
        return;
    }
    let harness = Harness::new().await;
    let served = harness.serve().await;
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '1'}\n";
    let (done, text) = served.kubectl(&["create", "-f", "-"], manifest).await;
    assert!(done && text.contains("configmap/a created"), "{text}");
    let (done, text) = served.kubectl(&["get", "configmap", "a", "-o", "jsonpath={.data.k}"], "").await;
    assert!(done && text == "1", "{text}");
    let (done, text) = served.kubectl(&["get", "configmaps"], "").await;
    assert!(done && text.starts_with("NAME"), "{text}");
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {x: z}\n";
    let (done, text) = served.kubectl(&["apply", "-f", "-"], manifest).await;
    assert!(done && text.contains("configmap/b created"), "{text}");
    let (done, text) = served.kubectl(&["label", "configmap", "b", "app=z"], "").await;
    assert!(done && text.contains("configmap/b labeled"), "{text}");
    let (done, text) = served.kubectl(&["get", "cm", "-l", "app=z", "-o", "name"], "").await;
    assert!(done && text.trim() == "configmap/b", "{text}");
    let (done, text) = served.kubectl(&["delete", "configmap", "a", "b"], "").await;
    assert!(done && text.contains("configmap \"b\" deleted"), "{text}");
    let (done, text) = served.kubectl(&["get", "configmap", "a"], "").await;
    assert!(!done && text.contains("Error from server (NotFound): configmaps \"a\" not found"), "{text}");
    served.stop().await;
}
