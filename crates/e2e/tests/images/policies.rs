//! `imagePullPolicy`, seen by an image whose tag moves in the registry after it was pulled.

use e2e::{Podling, pod};

use crate::once;
use crate::registry::{Registry, saying};

#[test]
fn the_policy_decides_whether_a_moved_tag_is_followed() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    let reference = format!("{}/app:v1", registry.address);
    let says = |policy: &str| {
        let finished = podling.run(&once(&format!("image: '{reference}', imagePullPolicy: {policy}")), &[]);
        assert_eq!(finished.code, 0, "{policy}: {finished}");
        finished.lines_of("app").concat()
    };
    registry.push("app", "v1", saying(&podling, "one"));
    assert_eq!(says("IfNotPresent"), "I am one", "it is pulled when it is absent");
    registry.push("app", "v1", saying(&podling, "two"));
    assert_eq!(says("IfNotPresent"), "I am one");
    assert_eq!(says("Never"), "I am one");
    assert_eq!(says("Always"), "I am two");
    // What is there already needs no registry.
    drop(registry);
    assert_eq!(says("IfNotPresent"), "I am two");
    assert_eq!(says("Never"), "I am two");
    // Always means that the registry has to answer, as with a kubelet; that the image is here is said.
    let finished = podling.run(&once(&format!("image: '{reference}', imagePullPolicy: Always")), &[]);
    finished.assert_failed(125, &["cannot be reached", "set imagePullPolicy: IfNotPresent to use it"]);
}

/// Kubernetes' default: a tag that is `latest`, or absent, is asked for each time.
#[test]
fn without_a_policy_latest_is_asked_for_each_time() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    for who in ["one", "two"] {
        registry.push("app", "latest", saying(&podling, who));
        let finished = podling.run(&once(&format!("image: {}/app", registry.address)), &[]);
        assert_eq!(finished.lines_of("app"), [format!("I am {who}")], "{finished}");
    }
}

#[test]
fn never_means_never() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    registry.push("app", "v1", saying(&podling, "one"));
    let reference = format!("{}/app:v1", registry.address);
    let finished = podling.run(&once(&format!("image: '{reference}', imagePullPolicy: Never")), &[]);
    finished.assert_failed(125, &["pull policy of Never", "podling image load"]);
}

/// Containers of one image: it is pulled for the first and there for the others.
#[test]
fn two_containers_of_one_image() {
    let podling = Podling::new();
    let registry = Registry::start(&podling);
    registry.push("app", "v1", saying(&podling, "one"));
    let container = |name: &str| format!("{{name: {name}, image: '{}/app:v1'}}", registry.address);
    let spec = format!("restartPolicy: Never\ncontainers: [{}, {}]", container("a"), container("b"));
    let finished = podling.run(&pod("two", &spec), &[]);
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!((finished.lines_of("a"), finished.lines_of("b")), (vec!["I am one"], vec!["I am one"]));
}
