// What a user's program does with the `@kubernetes/client-node` package: create a Pod, watch it, read its logs, run commands
// in it, reach its port, change it, delete it. Each step prints a line; the test knows what they must be.

import { readFileSync } from "node:fs";
import { PassThrough, Readable } from "node:stream";

import {
  CoreV1Api,
  Exec,
  KubeConfig,
  Log,
  PatchStrategy,
  PortForward,
  Watch,
  setHeaderOptions,
} from "@kubernetes/client-node";

const namespace = "default";
// In milliseconds; far more than anything here takes.
const DEADLINE = 60_000;

const config = new KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(CoreV1Api);

async function main(manifest) {
  const pod = JSON.parse(readFileSync(manifest, "utf8"));
  const name = pod.metadata.name;

  const created = await core.createNamespacedPod({ namespace, body: pod });
  say("created", created.metadata.name);
  say("again:", await refusal(core.createNamespacedPod({ namespace, body: pod })));

  const ready = await event(name, created, "the Pod to become ready", (_, { status }) =>
    status.conditions?.some(({ type, status }) => type === "Ready" && status === "True"),
  );
  say("ready:", ...ready.status.containerStatuses.map((status) => status.name));
  const listed = await core.listNamespacedPod({ namespace, labelSelector: "app=clients" });
  say("listed:", ...listed.items.map(({ metadata, status }) => `${metadata.name} ${status.phase}`));

  const log = await core.readNamespacedPodLog({ namespace, name, container: "main" });
  say("log:", ...log.trim().split("\n"));
  await follow(name);

  await run(name, ["sh", "-c", "echo out; echo err >&2; exit 3"]);
  await run(name, ["sh", "-c", "read line; echo got $line"], "input\n");
  await fetch(name);

  const patched = await core.patchNamespacedPod(
    { namespace, name, body: { metadata: { labels: { colour: "blue" } } } },
    setHeaderOptions("Content-Type", PatchStrategy.StrategicMergePatch),
  );
  say("patched:", patched.metadata.labels.colour);

  const last = await core.readNamespacedPod({ namespace, name });
  await core.deleteNamespacedPod({ namespace, name });
  const deleted = await event(name, last, "the Pod to be deleted", (type) => type === "DELETED");
  say("deleted", deleted.metadata.name);
  say("gone:", await refusal(core.readNamespacedPod({ namespace, name })));
}

function say(...words) {
  console.log(words.join(" "));
}

async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return `${error.code} ${JSON.parse(error.body).reason}`;
  }
  return "nothing was refused";
}

/// The object of the first event since `since` that is as asked.
async function event(name, since, what, is) {
  const found = settled(what);
  const query = {
    fieldSelector: `metadata.name=${name}`,
    resourceVersion: since.metadata.resourceVersion,
  };
  const watching = await new Watch(config).watch(
    `/api/v1/namespaces/${namespace}/pods`,
    query,
    (type, object) => is(type, object) && found.resolve(object),
    (error) => found.reject(error ?? new Error("the watch ended")),
  );
  const object = await found.promise;
  watching.abort();
  return object;
}

async function follow(name) {
  const output = new PassThrough();
  const found = settled("the second line of the log");
  let text = "";
  output.on("data", (bytes) => {
    text += bytes;
    if (text.endsWith("second\n")) found.resolve();
  });
  const following = await new Log(config).log(namespace, name, "main", output, { follow: true });
  await found.promise;
  say("followed to:", text.trim().split("\n").at(-1));
  following.abort();
}

async function run(name, command, input) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const stdin = input === undefined ? null : Readable.from([input]);
  const ended = settled("the command to end");
  await new Exec(config).exec(namespace, name, "main", command, stdout, stderr, stdin, false, ended.resolve);
  const status = await ended.promise;
  const cause = status.details?.causes?.find(({ reason }) => reason === "ExitCode");
  const code = status.status === "Success" ? 0 : cause.message;
  say(`exec: stdout=${printed(stdout)} stderr=${printed(stderr)} code=${code}`);
}

function printed(stream) {
  return (stream.read() ?? "").toString().trim();
}

async function fetch(name) {
  const [input, output, errors] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const answered = settled("an answer of the port");
  let text = "";
  output.on("data", (bytes) => {
    text += bytes;
    if (text.includes("\r\n")) answered.resolve();
  });
  errors.on("data", (bytes) => answered.reject(new Error(bytes)));
  const socket = await new PortForward(config).portForward(namespace, name, [8080], output, errors, input);
  input.write("GET / HTTP/1.0\r\n\r\n");
  await answered.promise;
  say("port-forward:", text.split(" ")[1]);
  socket.close();
}

/// A promise that is kept or broken from outside, at the latest when the time is over.
function settled(what) {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), DEADLINE);
    const last = (act) => (value) => {
      clearTimeout(timer);
      act(value);
    };
    Object.assign(parts, { resolve: last(resolve), reject: last(reject) });
  });
  return parts;
}

await main(process.argv[2]);
