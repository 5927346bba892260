//! What a user's program does with the `kube` crate: create a Pod, watch it, read its logs, run commands in it, reach its port,
//! change it, delete it. Each step prints a line; the test knows what they must be.

use std::error::Error;

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{
    AttachParams, AttachedProcess, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams,
};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Api, Client, ResourceExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let manifest = std::env::args().nth(1).ok_or("a manifest is needed")?;
    let pod: Pod = serde_json::from_slice(&std::fs::read(manifest)?)?;
    let name = &pod.name_any();
    let pods: Api<Pod> = Api::default_namespaced(Client::try_default().await?);

    let created = pods.create(&PostParams::default(), &pod).await?;
    println!("created {}", created.name_any());
    println!("again: {}", refusal(pods.create(&PostParams::default(), &pod).await));

    await_ready(&pods, name).await?;
    let listed = pods.list(&ListParams::default().labels("app=clients")).await?;
    let items = listed.iter().map(|pod| format!("{} {}", pod.name_any(), phase(pod)));
    println!("listed: {}", items.collect::<Vec<_>>().join(" "));

    let main = LogParams { container: Some("main".to_owned()), ..LogParams::default() };
    let log = pods.logs(name, &main).await?;
    println!("log: {}", log.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut lines = pods.log_stream(name, &LogParams { follow: true, ..main }).await?.lines();
    while let Some(line) = lines.try_next().await? {
        if line == "second" {
            println!("followed to: {line}");
            break;
        }
    }

    run(&pods, name, &["sh", "-c", "echo out; echo err >&2; exit 3"], None).await?;
    run(&pods, name, &["sh", "-c", "read line; echo got $line"], Some("input\n")).await?;
    fetch(&pods, name).await?;

    let patch = Patch::Merge(serde_json::json!({"metadata": {"labels": {"colour": "blue"}}}));
    let patched = pods.patch(name, &PatchParams::default(), &patch).await?;
    println!("patched: {}", patched.labels()["colour"]);

    let uid = patched.uid().ok_or("the Pod has no UID")?;
    pods.delete(name, &DeleteParams::default()).await?;
    await_condition(pods.clone(), name, conditions::is_deleted(&uid)).await?;
    println!("deleted {name}");
    println!("gone: {}", refusal(pods.get(name).await));
    Ok(())
}

fn refusal<T>(result: kube::Result<T>) -> String {
    match result {
        Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.reason),
        Err(other) => other.to_string(),
        Ok(_) => "nothing was refused".to_owned(),
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

async fn await_ready(pods: &Api<Pod>, name: &str) -> Result {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher::watcher(pods.clone(), config));
    while let Some(event) = events.try_next().await? {
        let (Event::Apply(pod) | Event::InitApply(pod)) = event else { continue };
        let Some(status) = pod.status else { continue };
        let conditions = status.conditions.unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            let containers = status.container_statuses.unwrap_or_default();
            let names = containers.into_iter().map(|container| container.name);
            println!("ready: {}", names.collect::<Vec<_>>().join(" "));
            return Ok(());
        }
    }
    Err("the Pod did not become ready".into())
}

async fn run(pods: &Api<Pod>, name: &str, command: &[&str], input: Option<&str>) -> Result {
    let params = AttachParams::default().container("main").stdin(input.is_some()).stderr(true);
    let mut process = pods.exec(name, command.to_vec(), &params).await?;
    if let Some(input) = input {
        let mut stdin = process.stdin().ok_or("there is no standard input")?;
        stdin.write_all(input.as_bytes()).await?;
    }
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut streams = (
        process.stdout().ok_or("there is no standard output")?,
        process.stderr().ok_or("there is no standard error")?,
    );
    streams.0.read_to_string(&mut stdout).await?;
    streams.1.read_to_string(&mut stderr).await?;
    let code = code(&mut process).await?;
    println!("exec: stdout={} stderr={} code={code}", stdout.trim(), stderr.trim());
    // All of it was told; what the library still has to say of its input may come after the node's goodbye.
    process.abort();
    Ok(())
}

/// The exit code, which a `Status` tells in its own way.
async fn code(process: &mut AttachedProcess) -> Result<String> {
    let status = process.take_status().ok_or("the status was taken")?.await.ok_or("there is no status")?;
    if status.status.as_deref() == Some("Success") {
        return Ok("0".to_owned());
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes.into_iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    Ok(code.and_then(|cause| cause.message).ok_or("the status tells no code")?)
}

async fn fetch(pods: &Api<Pod>, name: &str) -> Result {
    let mut forwarded = pods.portforward(name, &[8080]).await?;
    let mut port = forwarded.take_stream(8080).ok_or("the port is not forwarded")?;
    port.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    port.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    println!("port-forward: {}", answer.split_whitespace().nth(1).unwrap_or_default());
    drop(port);
    // The node closes the connection when the port has; joining is an error when it was first.
    forwarded.abort();
    Ok(())
}
