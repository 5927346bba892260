//! Tables as `kubectl get` would print them.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-29T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// The table as kubectl lays it out, all columns.
fn printed(table: &Value) -> String {
    let mut rows: Vec<Vec<String>> = vec![
        table["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| column["name"].as_str().unwrap().to_uppercase().replace(' ', "-"))
            .collect(),
    ];
    for row in table["rows"].as_array().unwrap() {
        let cells = row["cells"].as_array().unwrap();
        assert_eq!(cells.len(), rows[0].len(), "as many cells as columns");
        rows.push(
            cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect(),
        );
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap())
        .collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.join("   ").trim_end())
        })
        .collect()
}

fn check(group: &str, kind: &str, objects: &[Value], expected: Expect) {
    let table = Table::of_kind(group, kind, IncludeObject::None, now());
    expected.assert_eq(&printed(&table.render(objects, json!({}), true)));
}

fn meta(name: &str) -> Value {
    json!({"name": name, "creationTimestamp": "2026-11-29T11:55:00Z"})
}

fn pod(name: &str, init: usize, status: Value) -> Value {
    let init: Vec<Value> = (0..init).map(|index| json!({"name": format!("i{index}")})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta(name),
        "spec": {"nodeName": "n", "initContainers": init, "containers": [{"name": "a"}, {"name": "b"}]}, "status": status})
}

fn running() -> Value {
    json!({"name": "a", "ready": true, "state": {"running": {}}})
}

#[test]
fn pods_say_what_their_containers_do() {
    let again = json!({"name": "b", "ready": true, "restartCount": 2, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2026-11-29T11:58:00Z"}}});
    let crash = json!({"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
    let done = json!({"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let mut deleted =
        pod("deleted", 0, json!({"phase": "Running", "containerStatuses": [running(), running()]}));
    deleted["metadata"]["deletionTimestamp"] = json!(NOW);
    check(
        "",
        "Pod",
        &[
            pod("pending", 0, json!({"phase": "Pending"})),
            pod(
                "running",
                0,
                json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.2"}], "containerStatuses": [running(), again]}),
            ),
            pod("crash", 0, json!({"phase": "Running", "containerStatuses": [crash]})),
            pod("done", 0, json!({"phase": "Succeeded", "containerStatuses": [done.clone()]})),
            pod("half", 0, json!({"phase": "Running", "containerStatuses": [running(), done]})),
            pod("evicted", 0, json!({"phase": "Failed", "reason": "Evicted"})),
            deleted,
        ],
        expect![[r#"
            NAME      READY   STATUS             RESTARTS     AGE   IP         NODE   NOMINATED-NODE   READINESS-GATES
            pending   0/2     Pending            0            5m    <none>     n      <none>           <none>
            running   2/2     Running            2 (2m ago)   5m    10.0.0.2   n      <none>           <none>
            crash     0/2     CrashLoopBackOff   3            5m    <none>     n      <none>           <none>
            done      0/2     Completed          0            5m    <none>     n      <none>           <none>
            half      1/2     NotReady           0            5m    <none>     n      <none>           <none>
            evicted   0/2     Evicted            0            5m    <none>     n      <none>           <none>
            deleted   2/2     Terminating        0            5m    <none>     n      <none>           <none>
        "#]],
    );
}

#[test]
fn pods_say_how_far_their_init_containers_are() {
    let ended = |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
    let init = |name: &str, states: Vec<Value>| {
        let count = states.len();
        pod(name, count, json!({"phase": "Pending", "initContainerStatuses": states}))
    };
    let busy = json!({"name": "i1", "state": {"running": {}}});
    let mut sidecar = init(
        "sidecar",
        vec![json!({"name": "i0", "ready": true, "started": true, "state": {"running": {}}}), busy.clone()],
    );
    sidecar["spec"]["initContainers"][0]["restartPolicy"] = json!("Always");
    sidecar["status"]["podIP"] = json!("10.0.0.1");
    check(
        "",
        "Pod",
        &[
            init("second", vec![json!({"name": "i0", "state": ended(0, "Completed")}), busy]),
            init("failed", vec![json!({"name": "i0", "state": ended(1, "Error")})]),
            init(
                "signal",
                vec![json!({"name": "i0", "state": {"terminated": {"exitCode": 137, "signal": 9}}})],
            ),
            init("pull", vec![json!({"name": "i0", "state": {"waiting": {"reason": "ErrImagePull"}}})]),
            sidecar,
        ],
        expect![[r#"
            NAME      READY   STATUS              RESTARTS   AGE   IP         NODE   NOMINATED-NODE   READINESS-GATES
            second    0/2     Init:1/2            0          5m    <none>     n      <none>           <none>
            failed    0/2     Init:Error          0          5m    <none>     n      <none>           <none>
            signal    0/2     Init:Signal:9       0          5m    <none>     n      <none>           <none>
            pull      0/2     Init:ErrImagePull   0          5m    <none>     n      <none>           <none>
            sidecar   1/3     Init:1/2            0          5m    10.0.0.1   n      <none>           <none>
        "#]],
    );
}

#[test]
fn services_name_their_ports() {
    check(
        "",
        "Service",
        &[
            json!({"metadata": meta("web"), "spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "selector": {"b": "2", "a": "1"},
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            json!({"metadata": meta("headless"), "spec": {"type": "ClusterIP", "clusterIP": "None"}}),
            json!({"metadata": meta("lb"), "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.8", "ports": [{"port": 1}]}}),
        ],
        expect![[r#"
            NAME       TYPE           CLUSTER-IP   EXTERNAL-IP   PORT(S)               AGE   SELECTOR
            web        NodePort       10.96.0.7    <none>        80:30080/TCP,53/UDP   5m    a=1,b=2
            headless   ClusterIP      None         <none>        <none>                5m    <none>
            lb         LoadBalancer   10.96.0.8    <pending>     1/TCP                 5m    <none>
        "#]],
    );
}

#[test]
fn workloads_count_their_pods() {
    let template =
        json!({"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}]}});
    let selector = json!({"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["b", "a"]}]});
    check(
        "apps",
        "Deployment",
        &[
            json!({"metadata": meta("web"), "spec": {"replicas": 3, "template": template, "selector": selector},
            "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}}),
        ],
        expect![[r#"
            NAME   READY   UP-TO-DATE   AVAILABLE   AGE   CONTAINERS   IMAGES   SELECTOR
            web    2/3     3            2           5m    a,b          x:1,y    app=x,tier in (a,b)
        "#]],
    );
    check(
        "batch",
        "Job",
        &[
            json!({"metadata": meta("done"), "spec": {"completions": 1, "template": template, "selector": selector}, "status": {"succeeded": 1,
                "startTime": "2026-11-29T11:55:00Z", "completionTime": "2026-11-29T11:55:12Z", "conditions": [{"type": "Complete", "status": "True"}]}}),
            json!({"metadata": meta("runs"), "spec": {"parallelism": 3, "template": template}, "status": {"startTime": "2026-11-29T11:59:00Z"}}),
        ],
        expect![[r#"
            NAME   STATUS     COMPLETIONS   DURATION   AGE   CONTAINERS   IMAGES   SELECTOR
            done   Complete   1/1           12s        5m    a,b          x:1,y    app=x,tier in (a,b)
            runs   Running    0/1 of 3      60s        5m    a,b          x:1,y    <none>
        "#]],
    );
}

#[test]
fn both_groups_have_the_same_events() {
    let expected = expect![[r#"
        LAST-SEEN   TYPE     REASON   OBJECT   SUBOBJECT                SOURCE       MESSAGE   FIRST-SEEN   COUNT   NAME
        2m          Normal   Pulled   pod/a    spec.containers{web}     kubelet, n   done      5m           3       a.1
    "#]];
    let core = json!({"metadata": meta("a.1"), "type": "Normal", "reason": "Pulled", "message": "done ", "count": 3,
        "involvedObject": {"kind": "Pod", "name": "a", "fieldPath": "spec.containers{web}"}, "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": "2026-11-29T11:55:00Z", "lastTimestamp": "2026-11-29T11:58:00Z"});
    let new = json!({"metadata": meta("a.1"), "type": "Normal", "reason": "Pulled", "note": "done", "deprecatedCount": 3,
        "regarding": {"kind": "Pod", "name": "a", "fieldPath": "spec.containers{web}"}, "reportingController": "kubelet", "reportingInstance": "n",
        "deprecatedFirstTimestamp": "2026-11-29T11:55:00Z", "deprecatedLastTimestamp": "2026-11-29T11:58:00Z"});
    for (group, event) in [("", core), ("events.k8s.io", new)] {
        let table = Table::of_kind(group, "Event", IncludeObject::None, now());
        let text = printed(&table.render([&event], json!({}), true));
        assert_eq!(normal(&text), normal(expected.data()));
    }
}

/// Without the widths of columns.
fn normal(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn nodes_volumes_and_the_rest() {
    check(
        "",
        "Node",
        &[
            json!({"metadata": {"name": "n", "creationTimestamp": "2026-11-27T12:00:00Z", "labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}], "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian"}}}),
        ],
        expect![[r#"
            NAME   STATUS                     ROLES           AGE   VERSION   INTERNAL-IP   EXTERNAL-IP   OS-IMAGE   KERNEL-VERSION   CONTAINER-RUNTIME
            n      Ready,SchedulingDisabled   control-plane   2d    v1.37.0   10.1.1.1      <none>        Debian     <unknown>        <unknown>
        "#]],
    );
    check(
        "",
        "PersistentVolumeClaim",
        &[
            json!({"metadata": meta("data"), "spec": {"volumeName": "pv1", "storageClassName": "local", "volumeMode": "Filesystem"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}}),
        ],
        expect![[r#"
            NAME   STATUS   VOLUME   CAPACITY   ACCESS-MODES   STORAGECLASS   VOLUMEATTRIBUTESCLASS   AGE   VOLUMEMODE
            data   Bound    pv1      1Gi        RWO,RWX        local          <unset>                 5m    Filesystem
        "#]],
    );
    check(
        "discovery.k8s.io",
        "EndpointSlice",
        &[json!({"metadata": meta("web-1"), "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"]}, {"addresses": ["10.0.0.4"]}]})],
        expect![[r#"
            NAME    ADDRESSTYPE   PORTS   ENDPOINTS                                AGE
            web-1   IPv4          80      10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...   5m
        "#]],
    );
    check(
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        &[json!({"metadata": meta("b"), "roleRef": {"kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "ns", "name": "sa"}]})],
        expect![[r#"
            NAME   ROLE                AGE   USERS   GROUPS   SERVICEACCOUNTS
            b      ClusterRole/admin   5m    u                ns/sa
        "#]],
    );
    check(
        "",
        "ResourceQuota",
        &[
            json!({"metadata": meta("q"), "status": {"hard": {"requests.cpu": "1", "limits.cpu": "2", "count/pods": "4"}, "used": {"requests.cpu": "500m"}}}),
        ],
        expect![[r#"
            NAME   REQUEST                                 LIMIT             AGE
            q      count/pods: 0/4, requests.cpu: 500m/1   limits.cpu: 0/2   5m
        "#]],
    );
    check(
        "",
        "LimitRange",
        &[json!({"metadata": meta("l")})],
        expect![[r#"
            NAME   CREATED-AT
            l      2026-11-29T11:55:00Z
        "#]],
    );
}

#[test]
fn custom_objects_have_the_columns_of_their_definition() {
    let columns = CustomColumns::parse(Some(&json!([
        {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec", "priority": 1},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Seen", "type": "date", "jsonPath": ".status.seen"},
        {"name": "Labels", "type": "string", "jsonPath": ".metadata.labels"},
    ])))
    .unwrap();
    let object = json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"cronSpec": "* *", "replicas": 2},
        "status": {"seen": "2026-11-29T11:00:00Z"}});
    let table = Table::of_custom(&columns, IncludeObject::Metadata, now()).render(
        [&object],
        json!({"resourceVersion": "7"}),
        true,
    );
    expect![[r#"
        NAME   SPEC   REPLICAS   SEEN   LABELS
        x      * *    2          60m    {"a":"b"}
    "#]]
    .assert_eq(&printed(&table));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["metadata"]["resourceVersion"], "7");
    let bare = CustomColumns::parse(None).unwrap();
    assert_eq!(bare.definitions()[1]["name"], "Age");
    assert!(
        CustomColumns::parse(Some(&json!([{"name": "x", "type": "string", "jsonPath": "spec"}]))).is_err()
    );
    assert!(
        CustomColumns::parse(Some(&json!([{"name": "x", "type": "text", "jsonPath": ".spec"}]))).is_err()
    );
}

#[test]
fn finished_pods_are_marked_and_a_watch_repeats_no_columns() {
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta("a"), "status": {"phase": "Succeeded"}});
    let table = Table::of_kind("", "Pod", IncludeObject::Object, now()).render([&pod], json!({}), false);
    assert_eq!(table["columnDefinitions"], json!([]));
    assert_eq!(table["rows"][0]["conditions"][0]["type"], "Completed");
    assert_eq!(table["rows"][0]["object"], pod);
    assert_eq!(IncludeObject::parse("Nothing"), None);
}
