"""What a user's program does with the `kubernetes` package: create a Pod, watch it, read its logs, run commands in it,
reach its port, change it, delete it. Each step prints a line; the test knows what they must be."""

import json
import sys

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

NAMESPACE = "default"
# In seconds; far more than anything here takes.
DEADLINE = 60


def main(manifest):
    config.load_kube_config()
    core = client.CoreV1Api()
    with open(manifest, encoding="utf-8") as file:
        pod = json.load(file)
    name = pod["metadata"]["name"]

    created = core.create_namespaced_pod(NAMESPACE, pod)
    print("created", created.metadata.name)
    print("again:", refusal(lambda: core.create_namespaced_pod(NAMESPACE, pod)))

    await_ready(core, name, created.metadata.resource_version)
    listed = core.list_namespaced_pod(NAMESPACE, label_selector="app=clients")
    print("listed:", *(f"{item.metadata.name} {item.status.phase}" for item in listed.items))

    log = core.read_namespaced_pod_log(name, NAMESPACE, container="main")
    print("log:", *log.split())
    follow = watch.Watch()
    for line in follow.stream(core.read_namespaced_pod_log, name, NAMESPACE, container="main"):
        if line == "second":
            print("followed to:", line)
            follow.stop()

    run(core, name, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    run(core, name, ["sh", "-c", "read line; echo got $line"], "input\n")
    fetch(core, name)

    patched = core.patch_namespaced_pod(name, NAMESPACE, {"metadata": {"labels": {"colour": "blue"}}})
    print("patched:", patched.metadata.labels["colour"])

    version = core.read_namespaced_pod(name, NAMESPACE).metadata.resource_version
    core.delete_namespaced_pod(name, NAMESPACE)
    await_deleted(core, name, version)
    print("gone:", refusal(lambda: core.read_namespaced_pod(name, NAMESPACE)))


def refusal(call):
    try:
        call()
    except ApiException as error:
        return f"{error.status} {json.loads(error.body)['reason']}"
    return "nothing was refused"


def events(core, name, version):
    return watch.Watch().stream(
        core.list_namespaced_pod,
        NAMESPACE,
        field_selector=f"metadata.name={name}",
        resource_version=version,
        timeout_seconds=DEADLINE,
    )


def await_ready(core, name, version):
    for event in events(core, name, version):
        conditions = event["object"].status.conditions or []
        if any(condition.type == "Ready" and condition.status == "True" for condition in conditions):
            print("ready:", *(status.name for status in event["object"].status.container_statuses))
            return
    sys.exit("the Pod did not become ready")


def await_deleted(core, name, version):
    for event in events(core, name, version):
        if event["type"] == "DELETED":
            print("deleted", event["object"].metadata.name)
            return
    sys.exit("the Pod was not deleted")


def run(core, name, command, stdin=None):
    session = stream(
        core.connect_get_namespaced_pod_exec,
        name,
        NAMESPACE,
        container="main",
        command=command,
        stdin=stdin is not None,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    if stdin is not None:
        session.write_stdin(stdin)
    session.run_forever(timeout=DEADLINE)
    stdout, stderr = session.read_stdout(0).strip(), session.read_stderr(0).strip()
    print(f"exec: stdout={stdout} stderr={stderr} code={session.returncode}")


def fetch(core, name):
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, name, NAMESPACE, ports="8080")
    socket = forwarded.socket(8080)
    socket.settimeout(DEADLINE)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    status = socket.makefile("rb").readline().split()
    print("port-forward:", status[1].decode())
    socket.close()


main(sys.argv[1])
