//! What is wrong is said: where, which field, in Kubernetes' words, and what to do.
//!
//! A table, as its length tells: every mistake that can be named, beside its exact words.

use expect_test::{Expect, expect};

use super::*;
use crate::manifest::ProblemKind;

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&summaries(&refused(text)));
}

#[test]
fn fields_in_the_wrong_place_are_sent_to_the_right_one() {
    check(
        &pod(
            "image: x\nrestartpolicy: Never\ncontainers:\n- name: web\n  image: x\n  volumes: []\n  mountPath: /x\n  readinesProbe: {}\n  colour: red\n  resources:\n    cpu: 1\n  ports:\n  - port: 80\n",
        ),
        expect![[r#"
            6:3 spec.image: unknown field  [image belongs to an entry of spec.containers: move it in there]
            7:3 spec.restartpolicy: unknown field  [did you mean restartPolicy?]
            11:5 spec.containers[0].volumes: unknown field  [volumes belongs to spec, not to spec.containers[0]: move it out to the column of the fields there]
            12:5 spec.containers[0].mountPath: unknown field  [mountPath belongs to an entry of spec.containers[0].volumeMounts: move it in there]
            13:5 spec.containers[0].readinesProbe: unknown field  [did you mean readinessProbe?]
            14:5 spec.containers[0].colour: unknown field
            16:7 spec.containers[0].resources.cpu: unknown field  [known here: claims, limits, requests]
            18:7 spec.containers[0].ports[0].port: unknown field  [did you mean containerPort?]
        "#]],
    );
}

#[test]
fn values_of_the_wrong_type_are_named_with_the_cure() {
    check(
        &container(
            "command: sleep 1000\nargs:\n- 1\n- ~\nenv:\n  A: b\nports:\n- containerPort: \"80\"\n- 8080\nstdin: \"true\"\nresources: 1\nworkingDir: [a]\nlivenessProbe: httpGet:x\ntty: 1\n",
        ),
        expect![[r#"
            9:14 spec.containers[0].command: expected a list, found the string "sleep 1000"  [write a list: ["sleep", "1000"]]
            11:7 spec.containers[0].args[0]: expected a string, found the number 1  [put it in quotes: "1"]
            12:7 spec.containers[0].args[1]: expected a string, found nothing
            13:5 spec.containers[0].env: expected a list, found a mapping  [each item of a list begins with `- `]
            16:22 spec.containers[0].ports[0].containerPort: expected a whole number, found the string "80"  [remove the quotes: 80]
            17:7 spec.containers[0].ports[1]: expected a mapping, found the number 8080  [write `key: value` lines below it, indented deeper]
            18:12 spec.containers[0].stdin: expected true or false, found the string "true"  [remove the quotes: true]
            19:16 spec.containers[0].resources: expected a mapping, found the number 1  [write `key: value` lines below it, indented deeper]
            20:5 spec.containers[0].workingDir: expected a string, found a list
            21:20 spec.containers[0].livenessProbe: expected a mapping, found the string "httpGet:x"  [a space must follow the colon: `httpGet: x`]
            22:10 spec.containers[0].tty: expected true or false, found the number 1
        "#]],
    );
    check(
        &container(
            "env:\n- name: A\n  value: 8080\n- name: B\n  value: yes\n- name: C\n  value: 0644\n- name: D\n  value: 1.5\n- name: E\n  value: {a: b}\n",
        ),
        expect![[r#"
            11:14 spec.containers[0].env[0].value: expected a string, found the number 8080  [put it in quotes: "8080"]
            13:14 spec.containers[0].env[1].value: expected a string, found the boolean yes  [put it in quotes: "yes"]
            15:14 spec.containers[0].env[2].value: expected a string, found the number 0644  [put it in quotes: "0644"]
            17:14 spec.containers[0].env[3].value: expected a string, found the number 1.5  [put it in quotes: "1.5"]
            19:7 spec.containers[0].env[4].value: expected a string, found a mapping
        "#]],
    );
}

#[test]
fn what_is_required_is_asked_for() {
    check(
        "apiVersion: v1\nkind: Pod\n",
        expect![[r#"
        1:1 metadata.name: Required value: name is required
        1:1 spec.containers: Required value: a Pod needs at least one container
    "#]],
    );
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\nspec: {containers: []}\n",
        expect![[r#"
        3:12 metadata.name: Required value: name is required  [podling does not generate names: give it one]
        4:8 spec.containers: Required value
    "#]],
    );
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: ''}\nspec: {containers: }\n",
        expect![[r#"
        3:12 metadata.name: Required value: name is required
        4:8 spec.containers: Required value
    "#]],
    );
    check(
        &pod(
            "containers:\n- name:\n  ports: [{name: a}]\n  volumeMounts: [{}]\n  env: [{value: a}, {name: A, valueFrom: {secretKeyRef: {}}}]\n  envFrom: [{configMapRef: {}}]\nvolumes:\n- name: a\n  emptyDir:\n- name: b\n- secret: {}\n- name: c\n  configMap: {items: [{}]}\n",
        ),
        expect![[r#"
            7:5 spec.containers[0].name: Required value
            7:5 spec.containers[0].image: Required value
            8:14 spec.containers[0].ports[0].containerPort: Required value
            9:20 spec.containers[0].volumeMounts[0].mountPath: Required value
            9:20 spec.containers[0].volumeMounts[0].name: Required value
            10:12 spec.containers[0].env[0].name: Required value
            10:59 spec.containers[0].env[1].valueFrom.secretKeyRef.key: Required value
            10:59 spec.containers[0].env[1].valueFrom.secretKeyRef.name: Required value
            11:30 spec.containers[0].envFrom[0].configMapRef.name: Required value
            14:5 spec.volumes[0].emptyDir: Required value: must specify a volume type  [with no settings, write `emptyDir: {}`]
            15:5 spec.volumes[1]: Required value: must specify a volume type  [for example `emptyDir: {}`]
            16:5 spec.volumes[2].name: Required value
            16:13 spec.volumes[2].secret.secretName: Required value
            18:17 spec.volumes[3].configMap.name: Required value
            18:25 spec.volumes[3].configMap.items[0].key: Required value
            18:25 spec.volumes[3].configMap.items[0].path: Required value
        "#]],
    );
}

#[test]
fn names_keep_kubernetes_rules() {
    check(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: My_App/1\n  namespace: a.b\n  labels: {a b: -x}\n  annotations: {/a: b}\nspec:\n  hostname: a.b\n  subdomain: A\n  nodeName: a/b\n  containers:\n  - name: Web\n    image: ' x'\n    ports: [{name: HTTP, containerPort: 80}]\n    env: [{name: 'a=b', value: c}]\n  volumes: [{name: a_b, emptyDir: {}}]\n",
        expect![[r#"
            4:9 metadata.name: Invalid value: "My_App/1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')  [for example my-app-1]
            5:14 metadata.namespace: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')  [for example a-b]
            6:12 metadata.labels[a b]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            6:17 metadata.labels[a b]: Invalid value: "-x": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            7:17 metadata.annotations[/a]: Invalid value: "/a": prefix part must be non-empty
            9:13 spec.hostname: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')  [for example a-b]
            10:14 spec.subdomain: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')  [for example a]
            11:13 spec.nodeName: Invalid value: "a/b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')  [for example a-b]
            13:11 spec.containers[0].name: Invalid value: "Web": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')  [for example web]
            14:12 spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace
            15:20 spec.containers[0].ports[0].name: Invalid value: "HTTP": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            16:18 spec.containers[0].env[0].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='
            17:20 spec.volumes[0].name: Invalid value: "a_b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')  [for example a-b]
        "#]],
    );
}

#[test]
fn names_are_given_once() {
    check(
        &pod(
            "initContainers:\n- {name: a, image: x}\ncontainers:\n- {name: a, image: x, ports: [{name: p, containerPort: 1}, {name: p, containerPort: 2}]}\n- {name: b, image: x, volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: a/}]}\nvolumes:\n- {name: v, emptyDir: {}}\n- {name: v, emptyDir: {}}\n",
        ),
        expect![[r#"
            9:12 spec.containers[0].name: Duplicate value: "a"
            9:69 spec.containers[0].ports[1].name: Duplicate value: "p"
            10:87 spec.containers[1].volumeMounts[1].mountPath: Invalid value: "a/": must be unique
            13:12 spec.volumes[1].name: Duplicate value: "v"
        "#]],
    );
    check(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n",
        expect![[r#"
            11:18 metadata.name: Duplicate value: "a"  [the ConfigMap of that name begins in line 1]
        "#]],
    );
}

#[test]
fn choices_are_listed() {
    check(
        &pod(
            "restartPolicy: always\ndnsPolicy: clusterFirst\nos: {name: windows}\ncontainers:\n- name: a\n  image: b\n  imagePullPolicy: Alway\n  restartPolicy: Sometimes\n  ports: [{containerPort: 80, protocol: tcp}]\n  terminationMessagePolicy: Log\n  livenessProbe: {httpGet: {port: 80, scheme: https}}\n  securityContext: {procMount: None, seccompProfile: {type: Default}}\n",
        ),
        expect![[r#"
            6:18 spec.restartPolicy: Unsupported value: "always": supported values: "Always", "Never", "OnFailure"  [did you mean "Always"?]
            7:14 spec.dnsPolicy: Unsupported value: "clusterFirst": supported values: "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"  [did you mean "ClusterFirst"?]
            8:14 spec.os.name: Unsupported value: "windows": supported values: "linux"
            12:22 spec.containers[0].imagePullPolicy: Unsupported value: "Alway": supported values: "Always", "IfNotPresent", "Never"  [did you mean "Always"?]
            13:20 spec.containers[0].restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"
            14:43 spec.containers[0].ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"  [did you mean "TCP"?]
            15:31 spec.containers[0].terminationMessagePolicy: Unsupported value: "Log": supported values: "FallbackToLogsOnError", "File"
            16:49 spec.containers[0].livenessProbe.httpGet.scheme: Unsupported value: "https": supported values: "HTTP", "HTTPS"  [did you mean "HTTPS"?]
            17:34 spec.containers[0].securityContext.procMount: Unsupported value: "None": supported values: "Default", "Unmasked"
            17:63 spec.containers[0].securityContext.seccompProfile.type: Unsupported value: "Default": supported values: "Localhost", "RuntimeDefault", "Unconfined"
        "#]],
    );
}

#[test]
fn numbers_keep_their_bounds() {
    check(
        &pod(
            "terminationGracePeriodSeconds: -1\nactiveDeadlineSeconds: 0\nsecurityContext: {runAsUser: -1, fsGroup: 4294967296, supplementalGroups: [-5]}\ncontainers:\n- name: a\n  image: b\n  ports: [{containerPort: 70000}, {containerPort: 0}, {containerPort: 80, hostPort: -1}, {containerPort: 99999999999}]\n  readinessProbe: {tcpSocket: {port: 0}, periodSeconds: -1, terminationGracePeriodSeconds: 1}\n  livenessProbe: {grpc: {port: 65536}, successThreshold: 2, terminationGracePeriodSeconds: 0}\n  lifecycle: {preStop: {sleep: {seconds: 100}}}\n",
        ),
        expect![[r#"
            6:34 spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0
            7:26 spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
            8:32 spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
            8:45 spec.securityContext.fsGroup: Invalid value: 4294967296: must be between 0 and 2147483647, inclusive
            8:78 spec.securityContext.supplementalGroups[0]: Invalid value: -5: must be between 0 and 2147483647, inclusive
            12:29 spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            12:38 spec.containers[0].ports[1].containerPort: Required value
            12:87 spec.containers[0].ports[2].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive
            12:108 spec.containers[0].ports[3].containerPort: Invalid value: 99999999999: must fit in 32 bits
            12:108 spec.containers[0].ports[3].containerPort: Invalid value: 99999999999: must be between 1 and 65535, inclusive
            13:40 spec.containers[0].readinessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive
            13:59 spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0
            13:94 spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes
            14:34 spec.containers[0].livenessProbe.grpc.port: Invalid value: 65536: must be between 1 and 65535, inclusive
            14:60 spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
            14:94 spec.containers[0].livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0
            15:44 spec.containers[0].lifecycle.preStop.sleep.seconds: Invalid value: 100: must be non-negative and less than terminationGracePeriodSeconds (30)
        "#]],
    );
}

#[test]
fn requests_stay_below_limits() {
    check(
        &container(
            "resources:\n  requests: {cpu: 2, memory: 1GB, hugepages-2Mi: 2Mi, memry: 1}\n  limits: {cpu: 1, memory: -1, hugepages-2Mi: 4Mi, ephemeral-storage: 1 Gi}\n",
        ),
        expect![[r#"
            10:23 spec.containers[0].resources.requests.cpu: Invalid value: 2: must be less than or equal to cpu limit of 1
            10:34 spec.containers[0].resources.requests.memory: Invalid value: "1GB": quantities are a number and one of the suffixes n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei, or an exponent (500m, 1Gi, 1e3)  [did you mean 1Gi?]
            10:54 spec.containers[0].resources.requests.hugepages-2Mi: Invalid value: "2Mi": must be equal to hugepages-2Mi limit of 4Mi
            10:59 spec.containers[0].resources.requests.memry: Invalid value: "memry": must be a standard resource for containers  [did you mean memory?]
            11:32 spec.containers[0].resources.limits.memory: Invalid value: -1: must be greater than or equal to 0
            11:75 spec.containers[0].resources.limits.ephemeral-storage: Invalid value: "1 Gi": quantities are a number and one of the suffixes n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei, or an exponent (500m, 1Gi, 1e3)  [did you mean 1Gi?]
        "#]],
    );
}

#[test]
fn probes_and_hooks_have_one_handler() {
    check(
        &container(
            "livenessProbe: {httpGet: {port: '8080'}, exec: {command: []}}\nreadinessProbe: {periodSeconds: 5}\nstartupProbe: {exec: {}}\nlifecycle:\n  postStart: {}\n  stopSignal: SIGTERM\n  preStop: {httpGet: {port: http, path: \"/a b\", httpHeaders: [{name: 'a:', value: \"b\\r\\nc\"}]}}\n",
        ),
        expect![[r#"
            9:21 spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type
            9:53 spec.containers[0].livenessProbe.exec.command: Required value
            10:5 spec.containers[0].readinessProbe: Required value: must specify a handler type  [one of exec, httpGet, tcpSocket, grpc]
            11:26 spec.containers[0].startupProbe.exec.command: Required value
            13:7 spec.containers[0].lifecycle.postStart: Required value: must specify a handler type  [one of exec, httpGet, tcpSocket, sleep]
            14:19 spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`
            15:45 spec.containers[0].lifecycle.preStop.httpGet.path: Invalid value: "/a b": must not contain blanks or control characters
            15:74 spec.containers[0].lifecycle.preStop.httpGet.httpHeaders[0].name: Invalid value: "a:": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')
            15:87 spec.containers[0].lifecycle.preStop.httpGet.httpHeaders[0].value: Invalid value: "b\r\nc": must not contain a line break
        "#]],
    );
}

#[test]
fn init_containers_are_not_probed_unless_they_are_sidecars() {
    check(
        &pod(
            "initContainers:\n- {name: a, image: b, readinessProbe: {tcpSocket: {port: 1}}, lifecycle: {preStop: {sleep: {seconds: 1}}}}\n- {name: s, image: b, restartPolicy: Always, readinessProbe: {tcpSocket: {port: 1}}}\ncontainers:\n- {name: m, image: b}\n",
        ),
        expect![[r#"
            7:25 spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
            7:65 spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always
        "#]],
    );
}

#[test]
fn mounts_need_their_volumes() {
    check(
        &container("volumeMounts:\n- {name: dtaa, mountPath: /a}\n- {name: data, mountPath: /b, subPath: ../x}\n- {name: data, mountPath: /c, subPath: /x}\n- {name: data, mountPath: /d, subPath: a, subPathExpr: b}\n- {name: data, mountPath: /e, mountPropagation: Bidirectional}\n- {name: data, mountPath: /f, recursiveReadOnly: Enabled}\n").replace("spec:\n", "spec:\n  volumes: [{name: data, emptyDir: {}}]\n"),
        expect![[r#"
            11:14 spec.containers[0].volumeMounts[0].name: Not found: "dtaa"  [did you mean data?]
            12:44 spec.containers[0].volumeMounts[1].subPath: Invalid value: "../x": must not contain '..'
            13:44 spec.containers[0].volumeMounts[2].subPath: Invalid value: "/x": must be a relative path
            14:60 spec.containers[0].volumeMounts[3].subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive
            15:53 spec.containers[0].volumeMounts[4].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers
            16:54 spec.containers[0].volumeMounts[5].recursiveReadOnly: Forbidden: may only be specified when readOnly is true
        "#]],
    );
    check(
        &container("volumeMounts: [{name: a, mountPath: /a}]\n"),
        expect![[r#"
        9:27 spec.containers[0].volumeMounts[0].name: Not found: "a"  [the Pod declares no volumes: add it under spec.volumes]
    "#]],
    );
}

#[test]
fn volumes_have_one_source_with_safe_paths() {
    check(
        &pod(
            "containers: [{name: a, image: b}]\nvolumes:\n- {name: a, emptyDir: {}, hostPath: {path: /x}}\n- {name: b, hostPath: {path: /a/../b, type: Dir}}\n- {name: c, hostPath: {path: a}}\n- {name: d, configMap: {name: c, defaultMode: 644, items: [{key: a, path: ../x, mode: -1}, {key: ../a, path: /x}, {key: a, path: ..a}]}}\n- {name: e, secret: {secretName: A}}\n- {name: f, emptyDir: {medium: Disk, sizeLimit: lots}}\n- {name: g, persistentVolumeClaim: {}}\n",
        ),
        expect![[r#"
            8:29 spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type
            9:32 spec.volumes[1].hostPath.path: Invalid value: "/a/../b": must not contain '..'
            9:47 spec.volumes[1].hostPath.type: Unsupported value: "Dir": supported values: "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
            10:32 spec.volumes[2].hostPath.path: Invalid value: "a": must be an absolute path of this machine
            11:49 spec.volumes[3].configMap.defaultMode: Invalid value: 644: must be a number between 0 and 0777 (octal), both inclusive  [an octal mode begins with 0: 0644]
            11:77 spec.volumes[3].configMap.items[0].path: Invalid value: "../x": must not contain '..'
            11:89 spec.volumes[3].configMap.items[0].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive
            11:100 spec.volumes[3].configMap.items[1].key: Invalid value: "../a": must not start with '..'
            11:112 spec.volumes[3].configMap.items[1].path: Invalid value: "/x": must be a relative path
            11:132 spec.volumes[3].configMap.items[2].path: Invalid value: "..a": must not start with '..'
            12:36 spec.volumes[4].secret.secretName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')  [for example a]
            13:34 spec.volumes[5].emptyDir.medium: Unsupported value: "Disk": supported values: "Memory"
            13:51 spec.volumes[5].emptyDir.sizeLimit: Invalid value: "lots": quantities are a number and one of the suffixes n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei, or an exponent (500m, 1Gi, 1e3)
            14:38 spec.volumes[6].persistentVolumeClaim.claimName: Required value
        "#]],
    );
}

#[test]
fn environment_has_one_source_each() {
    check(
        &container(
            "env:\n- {name: A, value: a, valueFrom: {fieldRef: {fieldPath: metadata.name}}}\n- {name: B, valueFrom: {}}\n- {name: C, valueFrom: {fieldRef: {fieldPath: spec.foo}, secretKeyRef: {name: a, key: b}}}\n- {name: D, valueFrom: {fieldRef: {fieldPath: status.podIp}}}\n- {name: E, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['a b']\"}}}\n- {name: F, valueFrom: {resourceFieldRef: {resource: cpu}}}\n- {name: G, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1Ki}}}\n- {name: H, valueFrom: {fileKeyRef: {key: a, path: b, volumeName: c}}}\nenvFrom:\n- {}\n- {configMapRef: {name: a}, secretRef: {name: b}}\n",
        ),
        expect![[r#"
            10:27 spec.containers[0].env[0].valueFrom: Invalid value: mapping: may not be specified when `value` is not empty
            11:17 spec.containers[0].env[1].valueFrom: Invalid value: mapping: must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`
            12:17 spec.containers[0].env[2].valueFrom: Invalid value: mapping: may not have more than one field specified at a time
            13:51 spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Unsupported value: "status.podIp": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs", "metadata.labels['KEY']", "metadata.annotations['KEY']"  [did you mean "status.podIP"?]
            14:51 spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Invalid value: "metadata.labels['a b']": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            15:58 spec.containers[0].env[5].valueFrom.resourceFieldRef.resource: Unsupported value: "cpu": supported values: "limits.cpu", "limits.memory", "limits.ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage"
            16:79 spec.containers[0].env[6].valueFrom.resourceFieldRef.divisor: Unsupported value: "1Ki": supported values: "1m", "1"
            17:29 spec.containers[0].env[7].valueFrom.fileKeyRef: podling does not honour this source yet: the variable would be missing
            19:7 spec.containers[0].envFrom[0]: Invalid value: mapping: must specify one of: `configMapRef` or `secretRef`
            20:7 spec.containers[0].envFrom[1]: Invalid value: mapping: may not have more than one field specified at a time
        "#]],
    );
}

#[test]
fn security_settings_do_not_contradict_each_other() {
    check(
        &pod(
            "hostNetwork: true\nhostPID: true\nshareProcessNamespace: true\nsecurityContext:\n  sysctls: [{name: net.core.somaxconn, value: '1'}, {name: vm.swappiness, value: '1'}, {name: kernel.shmmax, value: '1'}, {name: kernel/shmmax, value: '1'}, {name: A, value: ''}]\n  seccompProfile: {type: Localhost}\ncontainers:\n- name: a\n  image: b\n  ports: [{containerPort: 80, hostPort: 81}, {containerPort: 90}, {containerPort: 90}]\n  securityContext: {privileged: true, allowPrivilegeEscalation: false, capabilities: {add: [SYS_ADMIN, CAP_NET_ADMN], drop: [all]}, seccompProfile: {type: Unconfined, localhostProfile: a}}\n",
        ),
        expect![[r#"
            8:26 spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled
            10:22 spec.securityContext.sysctls[0].name: Invalid value: "net.core.somaxconn": may not be specified when 'hostNetwork' is true
            10:62 spec.securityContext.sysctls[1].name: Forbidden: this parameter is not the Pod's own: it would change the whole machine
            10:132 spec.securityContext.sysctls[3].name: Duplicate value: "kernel/shmmax"
            10:167 spec.securityContext.sysctls[4].name: Invalid value: "A": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$
            10:167 spec.securityContext.sysctls[4].name: Forbidden: this parameter is not the Pod's own: it would change the whole machine
            11:22 spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost
            15:43 spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true
            15:85 spec.containers[0].ports[2].containerPort: Duplicate value: "TCP//90"
            16:67 spec.containers[0].securityContext.allowPrivilegeEscalation: Invalid value: false: cannot set `allowPrivilegeEscalation` to false and `privileged` to true
            16:67 spec.containers[0].securityContext.allowPrivilegeEscalation: Invalid value: false: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN
            16:106 spec.containers[0].securityContext.capabilities.add[1]: Invalid value: "CAP_NET_ADMN": must be a capability of Linux (capabilities(7)) or ALL  [did you mean NET_ADMIN?]
            16:188 spec.containers[0].securityContext.seccompProfile.localhostProfile: Invalid value: "a": can only be set when seccomp type is Localhost
        "#]],
    );
}

#[test]
fn dns_settings_are_complete() {
    check(
        &pod("dnsPolicy: None\ncontainers: [{name: a, image: b}]\n"),
        expect![[r#"
        6:3 spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None
    "#]],
    );
    check(
        &pod(
            "dnsPolicy: None\ndnsConfig: {nameservers: [], searches: [-a], options: [{value: a}]}\nhostAliases: [{ip: a, hostnames: [A]}]\ncontainers: [{name: a, image: b}]\n",
        ),
        expect![[r#"
            7:15 spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None
            7:43 spec.dnsConfig.searches[0]: Invalid value: "-a": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')  [for example a]
            7:59 spec.dnsConfig.options[0].name: Required value
            8:22 spec.hostAliases[0].ip: Invalid value: "a": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            8:37 spec.hostAliases[0].hostnames[0]: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')  [for example a]
        "#]],
    );
    check(
        &pod("dnsConfig: {nameservers: [1.1.1.1, 1.1.1.2, 1.1.1.3, a]}\ncontainers: [{name: a, image: b}]\n"),
        expect![[r#"
            6:15 spec.dnsConfig.nameservers: Invalid value: must not have more than 3 entries
            6:56 spec.dnsConfig.nameservers[3]: Invalid value: "a": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        "#]],
    );
}

#[test]
fn restart_rules_are_complete() {
    check(
        &container(
            "restartPolicyRules:\n- {action: Restart}\n- {action: Stop, exitCodes: {operator: In}}\n- {action: Restart, exitCodes: {operator: Is, values: [1]}}\n",
        ),
        expect![[r#"
            7:5 spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used
            10:8 spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified
            11:16 spec.containers[0].restartPolicyRules[1].action: Unsupported value: "Stop": supported values: "Restart", "RestartAllContainers"
            11:34 spec.containers[0].restartPolicyRules[1].exitCodes.values: Required value: must specify at least one exit code
            12:47 spec.containers[0].restartPolicyRules[2].exitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn"
        "#]],
    );
}

#[test]
fn kinds_are_known_or_named() {
    check(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\nkind: pod\napiVersion: v1\n---\napiVersion: v1\nkind: Frobnicator\n---\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b}]}\n---\napiVersion: v1\nmetadata: {name: a}\n---\napiVersion: v2\nkind: ConfigMap\nmetadata: {name: c}\n",
        expect![[r#"
            2:7 kind: Unsupported value: "Deployment": Deployment is valid Kubernetes, but podling takes Pod, ConfigMap, Secret and List today  [its Pod is what stands under spec.template: give it `apiVersion: v1`, `kind: Pod` and a name]
            5:7 kind: Unsupported value: "pod": podling takes Pod, ConfigMap, Secret and List today  [did you mean Pod?]
            9:7 kind: Unsupported value: "Frobnicator": podling takes Pod, ConfigMap, Secret and List today
            11:1 apiVersion: Required value: the API that the kind belongs to  [a Pod has `apiVersion: v1`]
            15:1 kind: Required value: which kind of object this is  [kind: Pod]
            18:13 apiVersion: Unsupported value: "v2": supported values: "v1"
        "#]],
    );
}

#[test]
fn parts_of_manifests_are_completed() {
    check(
        "hello\n",
        expect![[r#"
        1:1 a manifest begins with apiVersion, kind, metadata and spec; this does not  [apiVersion: v1 / kind: Pod / metadata: /   name: my-pod / spec: /   containers: /   - name: main /     image: busybox]
    "#]],
    );
    check(
        "- name: a\n  image: b\n",
        expect![[r#"
        1:1 a manifest begins with apiVersion, kind, metadata and spec; this does not  [this looks like a list of containers; put around it: / apiVersion: v1 / kind: Pod / metadata: /   name: my-pod / spec: /   containers: /   - ...]
    "#]],
    );
    check(
        "name: a\nimage: b\ncomand: [c]\n",
        expect![[r#"
        1:1 apiVersion, kind, metadata.name and spec are missing: this is a part of a manifest  [this looks like one container; complete it like this: / apiVersion: v1 / kind: Pod / metadata: /   name: a / spec: /   containers: /   - name: a   # from here on what you have, indented by four more spaces]
        3:1 spec.containers[0].comand: unknown field  [did you mean command?]
    "#]],
    );
    check(
        "data: {a: b}\n",
        expect![[r#"
        1:1 apiVersion, kind and metadata.name are missing: this is a part of a manifest  [this looks like a ConfigMap or Secret without its head; put before it: / apiVersion: v1 / kind: ConfigMap  # or Secret / metadata: /   name: my-config]
    "#]],
    );
    check(
        "{}\n",
        expect![[r#"
        1:1 a manifest begins with apiVersion, kind, metadata and spec; this does not  [apiVersion: v1 / kind: Pod / metadata: /   name: my-pod / spec: /   containers: /   - name: main /     image: busybox]
    "#]],
    );
    check(
        "apiVersion: v1\nkind: List\nitem: []\n",
        expect![[r#"
        1:1 items: Required value
        3:1 item: unknown field  [a List has items]
    "#]],
    );
    check(
        "apiVersion: v1\nkind: List\nitems: [1, {kind: Pod}]\n",
        expect![[r#"
        3:9 items[0]: a manifest begins with apiVersion, kind, metadata and spec; this does not  [apiVersion: v1 / kind: Pod / metadata: /   name: my-pod / spec: /   containers: /   - name: main /     image: busybox]
        3:13 items[1].apiVersion: Required value: the API that the kind belongs to  [a Pod has `apiVersion: v1`]
        3:13 items[1].metadata.name: Required value: name is required
        3:13 items[1].spec.containers: Required value: a Pod needs at least one container
    "#]],
    );
}

/// A table: its length is that of the words.
#[test]
fn what_is_not_yaml_is_explained() {
    check(
        &pod("containers:\n- name: web\n image: x\n"),
        expect![[r#"
        8:4 this line begins in column 4, where nothing above it begins (columns in use: 1, 3, 5)  [indent it by 4 spaces (column 5, beside `name`)]
    "#]],
    );
    check(
        &pod("containers:\n- name: web\n  image: x\n    ports: []\n    env: []\n"),
        expect![[r#"
        9:7 `ports` is indented deeper than `image` in line 8, which already has the value `x`: nothing can stand below it  [put `ports` in the same column as `image` (column 5), and the lines below it likewise: /     image: x /     ports: []]
    "#]],
    );
    check(
        "apiVersion: v1\nspec:\n\tcontainers:\n\t- name: web\n",
        expect![[r#"
        3:1 a tab indents this line, as do 1 more lines; YAML is indented by spaces only  [replace each tab by spaces (in most editors: "convert indentation to spaces")]
    "#]],
    );
    check(
        &pod("containers:\n- name: \"web\n  image: x\n"),
        expect![[r#"
        7:11 a quote is opened here and not closed on the same line  [put the missing quote at the end of the value]
    "#]],
    );
    check(
        &pod("containers:\n- name: web: a\n"),
        expect![[r#"
        7:14 a second `: ` stands in one line  [a value that contains `: ` needs quotes]
    "#]],
    );
    check(
        &pod("containers:\n- name: {{ .Values.name }}\n"),
        expect![[r#"
        7:11 spec.containers[0].name: `{{` is not YAML as it stands here  [this looks like a template (Helm): render it first, for example by `helm template`]
    "#]],
    );
    check(
        &pod("containers:\n- name: *web\n"),
        expect![[r#"
        7:11 an alias (`*name`) without an anchor (`&name`) before it  [text that begins with `*` needs quotes: "*web"]
    "#]],
    );
    check(
        &pod("containers:\n- name: @web\n"),
        expect![[r#"
        7:11 a value cannot begin with `@`  [put the value in quotes]
    "#]],
    );
    check(
        &pod("containers\n- name: web\n"),
        expect![[r#"
        6:3 a field needs a `:` behind its name  [the lines below it, indented deeper, are its value]
    "#]],
    );
    check(
        &pod("containers:\n- name:web\n  image: x\n"),
        expect![[r#"
            7:5 a space must follow the `:` behind a field's name  [put a space between `name:` and what follows it]
        "#]],
    );
    check(
        &pod("containers: [{name: web}\n"),
        expect![[r#"
        6:15 `[` is opened and never closed  [close it with `]`]
    "#]],
    );
    check(
        &pod("containers: !!binary aGk=\n"),
        expect![[r#"
        6:24 spec.containers: the tag `!!binary` means nothing in a manifest  [text that begins with `!` needs quotes]
    "#]],
    );
    check(
        "{\"apiVersion\": \"v1\", \"kind\": \"Pod\",\n\"metadata\": {\"name\": \"a\"}\n\"spec\": {}}\n",
        expect![[r#"
            3:1 this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'  [most often a comma is missing at the end of the line before, or a bracket is not closed]
        "#]],
    );
}

#[test]
fn a_key_stands_once() {
    check(
        &container("image: y2\nenv: [{name: a, name: b}]\n"),
        expect![[r#"
        9:5 spec.containers[0].image: duplicate key  [the first one stands in line 8, column 5]
        10:21 spec.containers[0].env[0].name: duplicate key  [the first one stands in line 10, column 12]
    "#]],
    );
    check(
        "{\"apiVersion\": \"v1\", \"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"a\"}}",
        expect![[r#"
        1:22 apiVersion: duplicate key  [the first one stands in line 1, column 2]
    "#]],
    );
}

#[test]
fn one_broken_document_does_not_hide_the_others() {
    check(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A}\n---\na: [\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: B}\n",
        expect![[r#"
            3:18 metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')  [for example a]
            5:4 `[` is opened and never closed  [close it with `]`]
            9:18 metadata.name: Invalid value: "B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')  [for example b]
        "#]],
    );
}

#[test]
fn text_that_no_program_can_be_given_is_refused() {
    let long = "x".repeat(200_000);
    check(
        &container(&format!("env: [{{name: A, value: {long}}}]\nargs: [{long}]\ncommand: [\"a\\0b\"]\n")),
        expect![[r#"
            9:28 spec.containers[0].env[0].value: Too long: may not be more than 131069 bytes: Linux starts no program with a longer variable
            10:12 spec.containers[0].args[0]: Too long: may not be more than 131071 bytes: Linux starts no program with a longer argument
            11:15 spec.containers[0].command[0]: Invalid value: "a\0b": must not contain a NUL character
        "#]],
    );
}

#[test]
fn every_problem_carries_its_kind_for_machines() {
    let problems = refused(&pod("containers:\n- {name: A, img: x}\n"));
    let kinds: Vec<ProblemKind> = problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ProblemKind::Required, ProblemKind::Invalid, ProblemKind::UnknownField]);
    assert_eq!(problems.count(), 3);
}

#[test]
fn a_pod_with_users_of_its_own_shares_no_other_namespace_with_the_machine() {
    check(
        &pod(
            "hostUsers: false\nhostNetwork: true\nhostPID: true\nhostIPC: true\ncontainers: [{name: a, image: b}]\n",
        ),
        expect![[r#"
            7:16 spec.hostNetwork: Forbidden: when `hostUsers` is false
            8:12 spec.hostPID: Forbidden: when `hostUsers` is false
            9:12 spec.hostIPC: Forbidden: when `hostUsers` is false
        "#]],
    );
}

#[test]
fn an_unmasked_proc_is_only_for_users_of_the_pods_own() {
    check(
        &pod(
            "containers: [{name: a, image: b, securityContext: {procMount: Unmasked}}]\ninitContainers: [{name: c, image: b, securityContext: {procMount: Unmasked}}]\n",
        ),
        expect![[r#"
            6:65 spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`
            7:69 spec.initContainers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`
        "#]],
    );
}
