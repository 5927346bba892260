//! What the tests of this crate share: a fake of the engine that runs real processes of this machine, and a small API
//! server in front of the service, as `podling serve` is one. No TLS, no store, one Pod.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod clients;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use engine::streams::{
    Ended, ExecRequest, LogRequest, Pending, PodStreams, PodUsage, Reader, Session, StreamError, Streams,
    Target, TerminalSize, Usage, Writer,
};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use node_api::{Body, Limits, NodeApi};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

/// Every process that a fake started counts here until it has ended or was killed.
pub(crate) type Alive = Arc<AtomicUsize>;

/// An engine whose one container is this machine.
pub(crate) struct Machine {
    /// Processes that run.
    pub(crate) alive: Alive,
    /// Told whenever one has gone.
    pub(crate) gone: watch::Sender<()>,
    /// What the container's own process wrote, for attach and logs.
    pub(crate) log: Vec<Bytes>,
    /// Where its ports are, in place of a network namespace.
    pub(crate) ports: BTreeMap<u16, std::net::SocketAddr>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            alive: Alive::default(),
            gone: watch::Sender::new(()),
            log: Vec::new(),
            ports: BTreeMap::new(),
        }
    }
}

fn checked(target: &Target) -> Result<(), StreamError> {
    let Target { namespace, pod, uid, container } = target;
    if pod != "web" || namespace != "default" || uid.as_deref().is_some_and(|uid| uid != "1-2") {
        return Err(StreamError::NoSuchPod { pod: format!("{namespace}/{pod}") });
    }
    match container.as_deref() {
        None | Some("app") => Ok(()),
        Some("waiting") => Err(StreamError::NotRunning {
            container: "waiting".into(),
            pod: pod.clone(),
            state: "ContainerCreating".into(),
        }),
        Some(other) => Err(StreamError::NoSuchContainer { container: other.into(), pod: pod.clone() }),
    }
}

/// Counts a process while it lives; dropping kills it with its descendants' output, as the engine's session does.
struct Counted {
    alive: Alive,
    gone: watch::Sender<()>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
        self.gone.send_replace(());
    }
}

impl Machine {
    fn start(&self, request: ExecRequest) -> Result<Session, StreamError> {
        if request.streams.tty { self.start_terminal(request) } else { self.start_piped(request) }
    }

    fn spawn(&self, command: &mut Command) -> Result<(Child, Counted), StreamError> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let child = command.kill_on_drop(true).spawn().map_err(|_| StreamError::CannotExecute {
            message: format!("exec: {program:?}: executable file not found in $PATH"),
        })?;
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok((child, Counted { alive: self.alive.clone(), gone: self.gone.clone() }))
    }

    fn start_piped(&self, request: ExecRequest) -> Result<Session, StreamError> {
        let wanted = |stream: bool| if stream { Stdio::piped() } else { Stdio::null() };
        let Streams { stdin, stdout, stderr, .. } = request.streams;
        let mut command = Command::new(&request.command[0]);
        command.args(&request.command[1..]);
        command.stdin(wanted(stdin)).stdout(wanted(stdout)).stderr(wanted(stderr));
        let (mut child, counted) = self.spawn(&mut command)?;
        Ok(Session {
            stdin: child.stdin.take().map(|pipe| Box::pin(pipe) as Writer),
            stdout: child.stdout.take().map(|pipe| Box::pin(pipe) as Reader),
            stderr: child.stderr.take().map(|pipe| Box::pin(pipe) as Reader),
            resize: None,
            ended: ended(child, counted),
        })
    }

    fn start_terminal(&self, request: ExecRequest) -> Result<Session, StreamError> {
        let failed = |source: std::io::Error| StreamError::Io { attempted: "open a terminal".into(), source };
        let open = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let ours = openpt(flags)?;
            grantpt(&ours)?;
            unlockpt(&ours)?;
            let name = ptsname(&ours, Vec::new())?;
            let oflags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
            let theirs = rustix::fs::open(name, oflags, rustix::fs::Mode::empty())?;
            Ok((ours, theirs))
        };
        let (ours, theirs) = open().map_err(|errno| failed(errno.into()))?;
        // setsid(1) makes the terminal the controlling one, so that sizes and signals arrive.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).args(&request.command);
        let stdio = || theirs.try_clone().map(Stdio::from).map_err(failed);
        command.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?);
        let (child, counted) = self.spawn(&mut command)?;
        let (sizes, mut new_sizes) = mpsc::channel::<TerminalSize>(4);
        let sized = ours.try_clone().map_err(failed)?;
        tokio::spawn(async move {
            while let Some(TerminalSize { width, height }) = new_sizes.recv().await {
                let size =
                    rustix::termios::Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
                rustix::termios::tcsetwinsize(&sized, size).unwrap();
            }
        });
        let file = |fd: &OwnedFd| {
            Ok(tokio::fs::File::from_std(std::fs::File::from(fd.try_clone().map_err(failed)?)))
        };
        Ok(Session {
            stdin: Some(Box::pin(file(&ours)?)),
            stdout: Some(Box::pin(file(&ours)?)),
            stderr: None,
            resize: Some(sizes),
            ended: ended(child, counted),
        })
    }
}

fn ended(mut child: Child, counted: Counted) -> Pending<'static, Result<Ended, StreamError>> {
    Box::pin(async move {
        let _counted = counted;
        let status = child.wait().await.unwrap();
        Ok(Ended { code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)) })
    })
}

impl PodStreams for Machine {
    fn exec(&self, target: Target, request: ExecRequest) -> Pending<'_, Result<Session, StreamError>> {
        Box::pin(async move {
            checked(&target)?;
            self.start(request)
        })
    }

    fn attach(&self, target: Target, streams: Streams) -> Pending<'_, Result<Session, StreamError>> {
        Box::pin(async move {
            checked(&target)?;
            // The container's process repeats its input until it is told to end.
            let script = "while read line; do [ \"$line\" = end ] && exit 0; echo \"got $line\"; done";
            self.start(ExecRequest { command: ["sh", "-c", script].map(Into::into).into(), streams })
        })
    }

    fn connect(&self, target: Target, port: u16) -> Pending<'_, Result<(Reader, Writer), StreamError>> {
        Box::pin(async move {
            checked(&target)?;
            let failed = |source| StreamError::Port { port, pod: target.pod.clone(), source };
            let refused = std::io::Error::from_raw_os_error(111);
            let address = self.ports.get(&port).ok_or(refused).map_err(failed)?;
            let (read, write) = TcpStream::connect(address).await.map_err(failed)?.into_split();
            Ok((Box::pin(read) as Reader, Box::pin(write) as Writer))
        })
    }

    fn logs(
        &self,
        target: Target,
        request: LogRequest,
    ) -> Pending<'_, Result<mpsc::Receiver<Result<Bytes, StreamError>>, StreamError>> {
        Box::pin(async move {
            checked(&target)?;
            if request.previous {
                return Err(StreamError::NoPrevious { container: "app".into(), pod: target.pod });
            }
            let (pieces, log) = mpsc::channel(1);
            let tail = request.tail_lines.map_or(self.log.len(), |lines| lines as usize);
            let lines: Vec<_> = self.log[self.log.len().saturating_sub(tail)..].to_vec();
            tokio::spawn(async move {
                for line in lines {
                    if pieces.send(Ok(line)).await.is_err() {
                        return;
                    }
                }
            });
            Ok(log)
        })
    }

    fn restart(&self, target: Target) -> Pending<'_, Result<(), StreamError>> {
        Box::pin(async move { checked(&target) })
    }

    fn usage(&self) -> Pending<'_, Vec<PodUsage>> {
        Box::pin(async {
            let usage = Usage { cpu_nanos: 1_000_000_000, working_set_bytes: 4096, ..Usage::default() };
            vec![PodUsage {
                namespace: "default".into(),
                pod: "web".into(),
                uid: "1-2".into(),
                containers: BTreeMap::from([("app".into(), usage)]),
                whole: usage,
                wall_nanos: 1_000_000_000,
            }]
        })
    }
}

/// The Pod as the API shows it.
fn pod() -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": { "name": "web", "namespace": "default", "uid": "1-2", "resourceVersion": "1" },
        "spec": { "containers": [
            { "name": "app", "image": "app", "stdin": true },
            { "name": "waiting", "image": "app" },
        ] },
        "status": { "phase": "Running", "containerStatuses": [
            { "name": "app", "image": "app", "imageID": "", "ready": true, "restartCount": 0,
              "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } },
        ] },
    })
}

/// A server in front of the service.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: std::net::SocketAddr,
    /// The service.
    pub(crate) api: NodeApi,
    /// The engine behind it.
    pub(crate) machine: Arc<Machine>,
    /// What connections were asked to become.
    pub(crate) upgrades: Upgrades,
    /// A directory for clients, which vanishes with it.
    pub(crate) home: tempfile::TempDir,
}

/// The `Upgrade` header of each request that had one.
type Upgrades = Arc<Mutex<Vec<String>>>;

impl Server {
    /// Serves this machine with these limits.
    pub(crate) async fn start(machine: Machine, limits: Limits) -> Self {
        let machine = Arc::new(machine);
        let api = NodeApi::new(machine.clone(), "here".into(), Arc::new(|| vec![pod()]), limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (served, upgrades) = (api.clone(), Upgrades::default());
        let noted = upgrades.clone();
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let (api, noted) = (served.clone(), noted.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        if let Some(upgrade) = request.headers().get("upgrade") {
                            noted.lock().unwrap().push(upgrade.to_str().unwrap().to_ascii_lowercase());
                        }
                        answer(api.clone(), request)
                    });
                    // A client may go away at any time.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(connection), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        Self { address, api, machine, upgrades, home: tempfile::tempdir().unwrap() }
    }

    /// Waits until no process that was started is alive.
    pub(crate) async fn all_gone(&self) {
        let mut gone = self.machine.gone.subscribe();
        while self.machine.alive.load(Ordering::SeqCst) > 0 {
            gone.changed().await.unwrap();
        }
    }
}

/// What kubectl asks an API server before it streams; the streams' paths are rewritten to those of the node.
async fn answer(api: NodeApi, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    const PODS: &str = "/api/v1/namespaces/default/pods/";
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let found = match path.as_str() {
        "/api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        "/apis" => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
        "/version" => json!({ "major": "1", "minor": "37", "gitVersion": "v1.37.0" }),
        "/api/v1" => json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [
            { "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "shortNames": ["po"],
              "verbs": ["get", "list", "watch", "create", "delete"] },
        ] }),
        _ => match path.strip_prefix(PODS) {
            Some("web") => pod(),
            Some(rest) => {
                let Some((name, verb)) = rest.split_once('/') else { return Ok(not_found()) };
                let container = query.split('&').find_map(|pair| pair.strip_prefix("container="));
                let container = format!("/{}", container.unwrap_or("app"));
                let to = match verb {
                    "log" => format!("/containerLogs/default/{name}{container}?{query}"),
                    "exec" | "attach" => format!("/{verb}/default/{name}{container}?{query}"),
                    "portforward" => format!("/portForward/default/{name}?{query}"),
                    _ => return Ok(not_found()),
                };
                *request.uri_mut() = to.parse::<Uri>().unwrap();
                return Ok(api.handle(request).await);
            }
            None if path.starts_with("/api") => return Ok(not_found()),
            None => return Ok(api.handle(request).await),
        },
    };
    Ok(json_answer(200, &found))
}

fn not_found() -> Response<Body> {
    json_answer(404, &json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404 }))
}

fn json_answer(code: u16, value: &Value) -> Response<Body> {
    let body =
        http_body_util::Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

/// Plain HTTP: the code and the body of an answer.
pub(crate) async fn ask(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, String) {
    let connection = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, driver) =
        hyper::client::conn::http1::handshake::<_, http_body_util::Empty<Bytes>>(TokioIo::new(connection))
            .await
            .unwrap();
    tokio::spawn(driver);
    let mut request = Request::builder().method(method).uri(path).header("host", "here");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(http_body_util::Empty::new()).unwrap()).await.unwrap();
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8(body.to_vec()).unwrap())
}
