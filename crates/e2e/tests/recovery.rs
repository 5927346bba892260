//! `podling serve` is killed, and the next one finds what there is: Pods that are ending end as they would have, Pods that
//! have ended stay, and no object goes before its containers.

use std::collections::BTreeSet;

use e2e::{Node, Podling};
use serde_json::Value;

fn create(podling: &Podling, node: &Node<'_>, manifest: &str) {
    let path = podling.base().join("pod.yaml");
    std::fs::write(&path, manifest).expect("the manifest");
    let created = node.kubectl(["create".as_ref(), "-f".as_ref(), path.as_os_str()]);
    assert!(created.status.success(), "{created:?}");
}

/// What a kubectl command prints; it must succeed.
fn printed(node: &Node<'_>, words: &[&str]) -> String {
    let output = node.kubectl(words);
    assert!(output.status.success(), "kubectl {}: {output:?}", words.join(" "));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The boot times at which a container of this Pod was, or will be, killed: in the journal, which says them exactly.
fn ends_of_grace(podling: &Podling, pod: &str) -> BTreeSet<u64> {
    let shown = podling.call(["journal", pod, "-o", "json"]);
    let entries = shown.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("an entry"));
    let due = entries.map(|entry| entry["round"]["wake_at"].clone());
    due.filter(|due| due["what"]["Grace"].is_object()).filter_map(|due| due["boot_nanos"].as_u64()).collect()
}

const STUBBORN: &str = "
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 300
  containers:
  - {name: main, image: podling/toolbox, imagePullPolicy: IfNotPresent, args: [trap, -n, '0', TERM]}
";

/// The Pod was gone for kubectl at once, and its container ran on unseen; its grace would have been counted anew.
#[test]
fn a_pod_that_is_ending_keeps_its_object_and_what_is_left_of_its_grace() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &[]);
    create(&podling, &node, STUBBORN);
    printed(&node, &["wait", "--for=condition=Ready", "pod/stubborn", "--timeout=60s"]);
    printed(&node, &["delete", "pod", "stubborn", "--wait=false", "--grace-period=200"]);
    let deletion = ["get", "pod", "stubborn", "-o", "jsonpath={.metadata.deletionTimestamp} {.metadata.uid}"];
    let before = printed(&node, &deletion);
    // The container has its signal, and the journal says until when it may live.
    let signals = |node: &Node<'_>| printed(node, &["logs", "stubborn"]).matches("received SIGTERM").count();
    while signals(&node) == 0 || ends_of_grace(&podling, "stubborn").is_empty() {}

    node.kill();
    node.restart(&[]);
    assert_eq!(printed(&node, &deletion), before);
    assert_eq!(signals(&node), 1, "one signal, also after a restart");
    // The new podling was told of the deletion too, and what it waits for is in the journal.
    let words = |journal: String| journal.matches("stop requested").count();
    while words(podling.call(["journal", "stubborn"]).stdout) < 2 {}
    let ends = ends_of_grace(&podling, "stubborn");
    assert_eq!(ends.len(), 1, "the end of the grace has not moved by a nanosecond: {ends:?}");

    // Shortened, it ends; what was left of the grace does not.
    printed(&node, &["delete", "pod", "stubborn", "--grace-period=1", "--timeout=60s"]);
    assert_eq!(printed(&node, &["get", "pods"]), "");
    node.running().assert_quiet();
}

const JOB: &str = "
apiVersion: v1
kind: Pod
metadata: {name: job}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: podling/toolbox, imagePullPolicy: IfNotPresent, args: [echo, the result]}
";

/// The next podling thought that nobody wanted it, and deleted it.
#[test]
fn a_pod_that_has_ended_stays_until_somebody_deletes_it() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &[]);
    create(&podling, &node, JOB);
    printed(&node, &["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/job", "--timeout=60s"]);
    let what =
        "jsonpath={.metadata.uid} {.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}";
    let look = ["get", "pod", "job", "-o", what];
    let before = printed(&node, &look);
    for _ in 0..2 {
        node.kill();
        node.restart(&[]);
        // Events of another Pod that has run since prove that the node knows by now what is wanted.
        create(&podling, &node, &JOB.replace("name: job", "name: later"));
        printed(&node, &["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/later", "--timeout=60s"]);
        printed(&node, &["delete", "pod", "later", "--timeout=60s"]);
        assert_eq!(printed(&node, &look), before);
        assert_eq!(printed(&node, &["logs", "job"]), "the result");
    }
    printed(&node, &["delete", "pod", "job", "--timeout=60s"]);
    assert_eq!(printed(&node, &["get", "pods"]), "");
    node.running().assert_quiet();
}

const RESIZED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: podling/toolbox
    imagePullPolicy: IfNotPresent
    args: [sleep, infinity]
    resources: {requests: {memory: AMOUNT}}
";

/// Deferred while another Pod has what is asked for; granted when that Pod ends, without anybody asking again.
#[test]
fn a_resize_waits_for_the_end_of_another_pod_also_over_a_restart() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &[]);
    let allocatable =
        printed(&node, &["get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.memory}"]);
    let kibibytes: u64 = allocatable.trim_end_matches("Ki").parse().expect("an amount in Ki");
    let most = format!("{}Ki", kibibytes / 10 * 6);
    for (name, amount) in [("small", "8Mi"), ("large", most.as_str())] {
        create(&podling, &node, &RESIZED.replace("NAME", name).replace("AMOUNT", amount));
        printed(&node, &["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]);
    }
    let patch = format!(
        r#"{{"spec":{{"containers":[{{"name":"main","resources":{{"requests":{{"memory":"{most}"}}}}}}]}}}}"#
    );
    printed(&node, &["patch", "pod", "small", "--subresource=resize", "-p", &patch]);
    let deferred = [
        "wait",
        "--for=jsonpath={.status.conditions[?(@.type==\"PodResizePending\")].reason}=Deferred",
        "pod/small",
        "--timeout=60s",
    ];
    printed(&node, &deferred);
    node.kill();
    node.restart(&[]);
    printed(&node, &deferred);
    let allocated = "jsonpath={.status.containerStatuses[0].allocatedResources.memory}";
    assert_eq!(printed(&node, &["get", "pod", "small", "-o", allocated]), "8Mi");

    printed(&node, &["delete", "pod", "large", "--timeout=60s"]);
    let granted = format!("--for={allocated}={most}");
    printed(&node, &["wait", &granted, "pod/small", "--timeout=60s"]);
    let pending = "jsonpath={.status.conditions[?(@.type==\"PodResizePending\")].reason}";
    assert_eq!(printed(&node, &["get", "pod", "small", "-o", pending]), "");
    assert_eq!(
        printed(
            &node,
            &["get", "pod", "small", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"]
        ),
        "0"
    );
    node.running().assert_quiet();
}

const PAIR: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: podling/toolbox, imagePullPolicy: IfNotPresent, args: [sleep, infinity]}
  - {name: side, image: podling/toolbox, imagePullPolicy: IfNotPresent, args: [sleep, infinity]}
";

/// `podling restart`, through the API and the node.
#[test]
fn a_container_is_restarted_on_request() {
    let podling = Podling::new();
    let mut node = Node::start(&podling, &[]);
    for manifest in [PAIR, JOB] {
        create(&podling, &node, manifest);
    }
    printed(&node, &["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    printed(&node, &["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/job", "--timeout=60s"]);

    let one = podling.call(["restart", "web", "-c", "app"]);
    assert_eq!((one.code, one.stdout.as_str()), (0, "container app of pod default/web restarts\n"), "{one}");
    let restarted = |at: usize, times: u32| {
        let count = format!("--for=jsonpath={{.status.containerStatuses[{at}].restartCount}}={times}");
        printed(&node, &["wait", &count, "pod/web", "--timeout=60s"])
    };
    restarted(0, 1);
    restarted(1, 0);
    let all = podling.call(["restart", "default/web"]);
    assert_eq!((all.code, all.stdout.as_str()), (0, "pod default/web restarts\n"), "{all}");
    restarted(0, 2);
    restarted(1, 1);

    for (words, why) in [
        (&["web", "-c", "nobody"][..], "container nobody is not valid for pod web"),
        (&["nobody"], "pods \"nobody\" not found"),
        (&["job"], "pod job has ended (Succeeded): nothing of it starts again"),
        (&["web", "-c", "a/b"], "container cannot be \"a/b\""),
    ] {
        podling.call([&["restart"], words].concat()).assert_failed(125, &[why]);
    }
    node.running().assert_quiet();
}
