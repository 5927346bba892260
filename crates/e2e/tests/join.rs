//! A machine that joins: one process has the API, another one the Pods, and all between them goes over the network. What
//! people type shows the same as on a node that is its own control plane, with both kubectls.

use std::path::Path;
use std::process::Command;

use e2e::{Kubectl, Node, Podling, Worker};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: shell
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, 'echo first; echo second; exec sleep 1000']
  - name: server
    image: podling/toolbox
    imagePullPolicy: IfNotPresent
    args: [http, --port, '8080', --dir, /]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
";

const NO_NODE: [&str; 3] = ["--no-node", "--node-name", "worker-1"];

fn assert_prints(node: &Node<'_>, kubectl: &Path, script: &str, code: i32, expected: &str) {
    let output = node.shell(kubectl, &format!("exec 2>&1\n{script}")).output().expect("a shell");
    let printed = String::from_utf8_lossy(&output.stdout);
    let is_as_expected = output.status.code() == Some(code) && printed.trim_end() == expected;
    assert!(is_as_expected, "$ {script}\n{}\n{printed}\nexpected (code {code}):\n{expected}", output.status);
}

#[test]
fn logs_and_exec_go_over_the_network_to_a_node_of_another_process() {
    let kubectls: Vec<_> = Kubectl::ALL.into_iter().filter_map(Kubectl::folder).collect();
    // The control plane goes first, since its Pods go with the worker's help.
    let worker_podling = Podling::with_images(&["busybox"]);
    let control_podling = Podling::new();
    let mut worker;
    let mut control = Node::start(&control_podling, &NO_NODE);
    worker = Worker::join(&worker_podling, &control_podling);
    std::fs::write(control_podling.base().join("pod.yaml"), POD).expect("the manifest");
    let first = kubectls.first().expect("a kubectl");
    let create = "kubectl apply -f pod.yaml && kubectl wait --for=condition=Ready pod/web --timeout=60s";
    assert_prints(&control, first, create, 0, "pod/web created\npod/web condition met");
    let on = "kubectl get pod web -o jsonpath='{.spec.nodeName} {.status.phase}'";
    assert_prints(&control, first, on, 0, "worker-1 Running");

    for kubectl in &kubectls {
        let prints =
            |script: &str, code, expected: &str| assert_prints(&control, kubectl, script, code, expected);
        prints("kubectl logs web -c shell", 0, "first\nsecond");
        prints(
            "kubectl exec web -c shell -- sh -c 'echo out; exit 3'",
            3,
            "out\ncommand terminated with exit code 3",
        );
        prints("echo hello | kubectl exec -i web -c shell -- tr a-z A-Z", 0, "HELLO");
        prints("head -c 3000000 /dev/zero | kubectl exec -i web -c shell -- wc -c", 0, "3000000");
        prints("kubectl exec web -c shell -- head -c 3000000 /dev/zero | wc -c", 0, "3000000");
        prints("kubectl top pod web --no-headers --containers | wc -l", 0, "2");
        prints("kubectl get --raw /api/v1/nodes/worker-1/proxy/healthz", 0, "ok");
    }

    // Another process takes its Pod over, and is found at its new port.
    worker.restart(&control_podling);
    for kubectl in &kubectls {
        assert_prints(&control, kubectl, "kubectl exec web -c shell -- echo still here", 0, "still here");
    }
    let gone = "kubectl delete pod web --wait=true && kubectl get pods";
    assert_prints(&control, first, gone, 0, "pod \"web\" deleted\nNo resources found in default namespace.");
    worker.running().assert_quiet();
    control.running().assert_quiet();
}

#[test]
fn only_whom_the_control_plane_lets_reaches_a_node() {
    let worker_podling = Podling::new();
    let control_podling = Podling::new();
    let mut worker;
    let mut control = Node::start(&control_podling, &NO_NODE);
    worker = Worker::join(&worker_podling, &control_podling);
    let address = worker.address();
    let pki = control_podling.data_dir().join("pki");
    let code = |certificate: Option<&str>| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]);
        // Whatever its address, a node shows that it is the node of its name.
        curl.args(["--connect-to", &format!("::{address}"), "--cacert"]).arg(pki.join("ca.pem"));
        if let Some(certificate) = certificate {
            curl.arg("--cert").arg(pki.join(certificate));
        }
        let output = curl.arg("https://worker-1/pods").output().expect("curl");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(code(Some("node-client.pem")), (true, "200".to_owned()));
    assert_eq!(code(Some("node.pem")), (true, "403".to_owned()));
    assert_eq!(code(None), (false, "000".to_owned()));
    worker.running().assert_quiet();
    control.running().assert_quiet();
}

#[test]
fn a_kubeconfig_of_somebody_else_is_refused() {
    let podling = Podling::new();
    let mut control = Node::start(&podling, &["--no-node"]);
    let worker = Podling::new();
    let kubeconfig = control.kubeconfig();
    let finished =
        worker.prepare(["join".as_ref(), "--kubeconfig".as_ref(), kubeconfig.as_os_str()]).finish();
    assert_eq!(finished.code, 125, "{finished}");
    assert!(finished.stderr.contains("not \"kubernetes-admin\""), "{finished}");
    control.running().assert_quiet();
}

const SECRETIVE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: secretive}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: podling/toolbox, imagePullPolicy: IfNotPresent, args: [sleep, infinity]}
  volumes: [{name: a, secret: {secretName: mine}}]
";

#[test]
fn a_node_is_let_near_what_concerns_it_and_is_missed_when_it_is_gone() {
    let Some(kubectl) = Kubectl::ALL.into_iter().find_map(Kubectl::folder) else { return };
    let worker_podling = Podling::new();
    let control_podling = Podling::new();
    let mut worker;
    let mut control = Node::start(&control_podling, &NO_NODE);
    worker = Worker::join(&worker_podling, &control_podling);
    std::fs::write(control_podling.base().join("pod.yaml"), SECRETIVE).expect("the manifest");
    let node_kubeconfig = control_podling.data_dir().join("node-kubeconfig");
    let prints =
        |script: &str, code, expected: &str| assert_prints(&control, &kubectl, script, code, expected);
    // As the node, whatever the node itself would never ask.
    let as_node = |script: &str| format!("export KUBECONFIG={}; {script}", node_kubeconfig.display());
    let refused = |script: &str| prints(&as_node(&format!("{script} 2>&1 | grep -c Forbidden")), 0, "1");

    prints("for name in mine other; do kubectl create secret generic $name > /dev/null; done", 0, "");
    refused("kubectl get secret mine");
    let create =
        "kubectl create -f pod.yaml && kubectl wait --for=condition=Ready pod/secretive --timeout=60s";
    prints(create, 0, "pod/secretive created\npod/secretive condition met");
    prints(&as_node("kubectl get secret mine -o name"), 0, "secret/mine");
    prints(&as_node("kubectl get node worker-1 -o name"), 0, "node/worker-1");
    for script in [
        "kubectl get secret other",
        "kubectl get secrets",
        "kubectl get secrets --all-namespaces",
        "kubectl get pods --all-namespaces",
        "kubectl get nodes",
        "kubectl taint node worker-1 a=b:NoSchedule",
        "kubectl label node worker-1 node-restriction.kubernetes.io/a=b",
        "kubectl run mine --image=podling/toolbox",
        "kubectl delete lease -n kube-node-lease other",
        "kubectl create -f - < pod.yaml",
    ] {
        refused(script);
    }

    worker.kill();
    // Its lease would hold for 40 seconds.
    let shorten = "kubectl patch lease worker-1 -n kube-node-lease --type=merge -p '{\"spec\":{\"leaseDurationSeconds\":1}}'";
    prints(shorten, 0, "lease.coordination.k8s.io/worker-1 patched");
    let until =
        |state: &str| format!("until kubectl get node worker-1 --no-headers | grep -q '{state}'; do :; done");
    prints(&until(" NotReady "), 0, "");
    let taints = "kubectl get node worker-1 -o jsonpath='{.spec.taints[*].key}'";
    prints(&format!("until {taints} | grep -q unreachable; do :; done"), 0, "");
    let why = "kubectl get node worker-1 -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].reason}'";
    prints(why, 0, "NodeStatusUnknown");
    worker.restart(&control_podling);
    prints(&until(" Ready "), 0, "");
    prints(&format!("while {taints} | grep -q unreachable; do :; done"), 0, "");
    prints("kubectl delete pod secretive --now", 0, "pod \"secretive\" deleted");
    control.running().assert_quiet();
}
