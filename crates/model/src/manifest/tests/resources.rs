//! Resources of the Pod itself (KEP-2837) and resize policies (KEP-1287): defaults and rules.

use std::collections::BTreeMap;

use expect_test::expect;

use super::*;
use crate::pod::ResizePolicy;
use crate::quantity::Quantity;

/// KEP-2837: the Pod's request follows from its containers' requests, then from its limit; its limit from theirs.
#[test]
fn resources_of_the_pod_get_their_defaults() {
    let of = |own: &str, containers: [&str; 2]| {
        let [a, b] = containers;
        let text = pod(&format!(
            "resources: {own}\ncontainers:\n- {{name: a, image: x, resources: {a}}}\n- {{name: b, image: x, resources: {b}}}\n"
        ));
        let resources = accepted(&text).pods.remove(0).spec.resources.expect("resources");
        let words = |list: BTreeMap<String, Quantity>| {
            list.into_iter().map(|(name, amount)| format!("{name} {amount}")).collect::<Vec<_>>().join(", ")
        };
        format!("{}; {}", words(resources.requests), words(resources.limits))
    };
    let bare = ["{}", "{}"];
    assert_eq!(of("{limits: {cpu: 2, memory: 1Gi}}", bare), "cpu 2, memory 1Gi; cpu 2, memory 1Gi");
    let asking = ["{requests: {cpu: 500m}}", "{requests: {cpu: 1}}"];
    assert_eq!(of("{limits: {cpu: 2, memory: 1Gi}}", asking), "cpu 1500m, memory 1Gi; cpu 2, memory 1Gi");
    assert_eq!(of("{requests: {cpu: 2}}", asking), "cpu 2; ");
    let limited = ["{limits: {cpu: 1}}", "{limits: {cpu: 2}}"];
    assert_eq!(of("{requests: {cpu: 3}}", limited), "cpu 3; cpu 3");
    assert_eq!(of("{}", limited), "; ");
}

#[test]
fn resize_policies_are_read() {
    let policy = "resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]\n";
    let main = accepted(&container(policy)).pods.remove(0).spec.containers.remove(0);
    assert_eq!(main.resize_policy.memory, ResizePolicy::RestartContainer);
    assert_eq!(main.resize_policy.cpu, ResizePolicy::NotRequired);
}

#[test]
fn resize_policies_and_resources_of_the_pod_keep_their_rules() {
    let problems = refused(&pod(
        "restartPolicy: Never\nephemeralContainers:\n- {name: e, image: x, targetContainerName: a}\nresources:\n  requests: {cpu: 1, ephemeral-storage: 1Gi}\n  limits: {memory: 1Gi}\ninitContainers:\n- {name: i, image: x, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]}\ncontainers:\n- name: a\n  image: x\n  resizePolicy:\n  - {resourceName: memory, restartPolicy: RestartContainer}\n  - {resourceName: memory, restartPolicy: Sometimes}\n  - {resourceName: disk, restartPolicy: NotRequired}\n  resources: {requests: {cpu: 2, memory: 1Gi}, limits: {memory: 2Gi}}\n- {name: b, image: x, resources: {requests: {memory: 512Mi}}}\n",
    ));
    expect![[r#"
        7:3 spec.ephemeralContainers: Forbidden: cannot be set on create
        10:21 spec.resources.requests.cpu: Invalid value: 1: must be greater than or equal to aggregate container requests of 2
        10:24 spec.resources.requests.ephemeral-storage: Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory"
        11:22 spec.resources.limits.memory: Invalid value: "1Gi": must be greater than or equal to aggregate container requests of 1536Mi
        13:25 spec.initContainers[0].resizePolicy: Forbidden: may not be set for init containers without restartPolicy=Always
        18:45 spec.containers[0].resizePolicy[0].restartPolicy: Invalid value: "RestartContainer": must be 'NotRequired' when `restartPolicy` is 'Never'
        19:22 spec.containers[0].resizePolicy[1].resourceName: Duplicate value: "memory"
        19:45 spec.containers[0].resizePolicy[1].restartPolicy: Unsupported value: "Sometimes": supported values: "NotRequired", "RestartContainer"
        20:22 spec.containers[0].resizePolicy[2].resourceName: Unsupported value: "disk": supported values: "cpu", "memory"
        21:67 spec.containers[0].resources.limits.memory: Invalid value: "2Gi": must be less than or equal to pod limits of 1Gi
    "#]].assert_eq(&summaries(&problems));
}
