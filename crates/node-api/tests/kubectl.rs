//! The real kubectl against the service: the one on PATH over WebSocket and over SPDY, and Debian's 1.20, which knows SPDY
//! only, where `cargo xtask kubectl` has fetched it.
//!
//! Each case runs with every client. Where there is none, it is said on standard error.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::PathBuf;
use std::process::{Output, Stdio};

use bytes::Bytes;
use node_api::Limits;
use support::{Machine, Server};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// One kubectl and one way in which it speaks.
#[derive(Clone)]
struct Client {
    name: &'static str,
    program: PathBuf,
    websocket: bool,
}

fn clients() -> Vec<Client> {
    let mut clients = Vec::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.exists()) {
        Some(program) => {
            clients.push(Client { name: "kubectl, WebSocket", program: program.clone(), websocket: true });
            clients.push(Client { name: "kubectl, SPDY", program, websocket: false });
        }
        None => eprintln!("NOT TESTED: there is no kubectl on PATH"),
    }
    let debian = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/kubectl/debian/kubectl");
    if debian.exists() {
        clients.push(Client { name: "kubectl 1.20", program: debian, websocket: false });
    } else {
        eprintln!("NOT TESTED: there is no kubectl 1.20; cargo xtask kubectl fetches it");
    }
    clients
}

impl Client {
    fn command(&self, server: &Server, arguments: &[&str]) -> Command {
        let home = server.home.path();
        let mut command = Command::new(&self.program);
        let flag = self.websocket.to_string();
        command
            .env_clear()
            .env("HOME", home)
            .env("PATH", "/usr/bin:/bin")
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", &flag)
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", &flag)
            .arg(format!("--server=http://{}", server.address))
            .arg(format!("--cache-dir={}", home.display()))
            .args(arguments)
            .kill_on_drop(true);
        command
    }

    /// Fails if kubectl went on with SPDY because its WebSocket was refused, or the other way round.
    fn spoke_its_protocol(&self, server: &Server) {
        let expected = if self.websocket { "websocket" } else { "spdy/3.1" };
        let asked = std::mem::take(&mut *server.upgrades.lock().unwrap());
        assert!(!asked.is_empty() && asked.iter().all(|asked| asked == expected), "{}: {asked:?}", self.name);
    }

    async fn run(&self, server: &Server, arguments: &[&str]) -> Output {
        self.command(server, arguments).stdin(Stdio::null()).output().await.unwrap()
    }

    async fn run_with(&self, server: &Server, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(server, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeding = tokio::spawn(async move {
            // A command may end before it has read everything.
            let _ = stdin.write_all(&input).await;
        });
        let output = child.wait_with_output().await.unwrap();
        feeding.await.unwrap();
        output
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_gives_output_errors_and_exit_code() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    for client in clients() {
        let script = "echo out; echo err >&2; exit 7";
        let output = client.run(&server, &["exec", "web", "-c", "app", "--", "sh", "-c", script]).await;
        assert_eq!(text(&output.stdout), "out\n", "{}", client.name);
        let errors = text(&output.stderr);
        assert!(errors.contains("err\n"), "{}: {errors}", client.name);
        assert!(errors.contains("command terminated with exit code 7"), "{}: {errors}", client.name);
        assert_eq!(output.status.code(), Some(7), "{}", client.name);
        let output = client.run(&server, &["exec", "web", "-c", "app", "--", "true"]).await;
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{}", client.name);
        client.spoke_its_protocol(&server);
    }
    server.all_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_carries_megabytes_both_ways() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for client in clients() {
        let output = client.run_with(&server, &["exec", "-i", "web", "-c", "app", "--", "cat"], &input).await;
        assert!(output.stdout == input, "{}: {} bytes came back", client.name, output.stdout.len());
        assert_eq!(output.status.code(), Some(0), "{}", client.name);
    }
    server.all_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_reads_nothing_ends_though_input_is_left() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let input = vec![b'x'; 1_000_000];
    for client in clients() {
        let output =
            client.run_with(&server, &["exec", "-i", "web", "-c", "app", "--", "echo", "done"], &input).await;
        assert_eq!(text(&output.stdout), "done\n", "{}: {}", client.name, text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{}", client.name);
    }
    server.all_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_executed_is_told() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let table = [
        (["exec", "web", "-c", "app", "--", "nope"], "executable file not found in $PATH"),
        (["exec", "web", "-c", "waiting", "--", "true"], "ContainerCreating"),
        (["exec", "web", "-c", "none", "--", "true"], "container none is not valid for pod web"),
    ];
    for client in clients() {
        for (arguments, expected) in &table {
            let output = client.run(&server, arguments).await;
            let errors = text(&output.stderr);
            assert!(errors.contains(expected), "{}: {errors}", client.name);
            assert_eq!(output.status.code(), Some(1), "{}", client.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attach_talks_to_the_process() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    for client in clients() {
        let output =
            client.run_with(&server, &["attach", "-i", "web", "-c", "app"], b"one\ntwo\nend\n").await;
        assert_eq!(text(&output.stdout), "got one\ngot two\n", "{}: {}", client.name, text(&output.stderr));
    }
    server.all_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copying_there_and_back_gives_the_same_file() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(folder.path().join("first"), &content).unwrap();
    for client in clients() {
        let path = |name: &str| folder.path().join(name).display().to_string();
        let there = format!("web:{}", path("second"));
        let output = client.run(&server, &["cp", &path("first"), &there, "-c", "app"]).await;
        assert!(output.status.success(), "{}: {}", client.name, text(&output.stderr));
        let output = client.run(&server, &["cp", &there, &path("third"), "-c", "app"]).await;
        assert!(output.status.success(), "{}: {}", client.name, text(&output.stderr));
        assert!(std::fs::read(path("third")).unwrap() == content, "{}", client.name);
        std::fs::remove_file(path("second")).unwrap();
        std::fs::remove_file(path("third")).unwrap();
    }
    server.all_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_whole_and_refusals_are_told() {
    let log = ["one\n", "two\n", "three\n"].map(Bytes::from).into();
    let server = Server::start(Machine { log, ..Machine::default() }, Limits::default()).await;
    for client in clients() {
        let output = client.run(&server, &["logs", "web", "-c", "app"]).await;
        assert_eq!(text(&output.stdout), "one\ntwo\nthree\n", "{}", client.name);
        let output = client.run(&server, &["logs", "web", "-c", "app", "--tail=1"]).await;
        assert_eq!(text(&output.stdout), "three\n", "{}", client.name);
        let output = client.run(&server, &["logs", "web", "-c", "app", "-p"]).await;
        let told = text(&output.stderr);
        assert!(told.contains("previous terminated container \"app\" in pod \"web\" not found"), "{told}");
        let output = client.run(&server, &["logs", "web", "-c", "waiting"]).await;
        let told = text(&output.stderr);
        assert!(
            told.contains("container \"waiting\" in pod \"web\" is waiting to start: ContainerCreating"),
            "{told}"
        );
    }
}

/// A server on this machine that answers each connection with a name and what it read.
async fn echo(name: &'static str) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut line = [0; 4];
                connection.read_exact(&mut line).await.unwrap();
                connection.write_all(format!("{name}:{}", text(&line)).as_bytes()).await.unwrap();
            });
        }
    });
    (address, serving)
}

/// Sends a word through a local port and reads everything that comes back.
async fn through(port: u16, word: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connection.write_all(word.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection to a dead port may be reset.
    let _ = connection.read_to_end(&mut answer).await;
    text(&answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_are_forwarded_and_the_session_survives_a_port_that_dies() {
    for client in clients() {
        let (first, serving) = echo("first").await;
        let (second, _) = echo("second").await;
        let ports = [(80, first), (81, second)].into();
        let server = Server::start(Machine { ports, ..Machine::default() }, Limits::default()).await;
        let mut command = client.command(&server, &["port-forward", "web", ":80", ":81"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut local = [0; 2];
        while local.contains(&0) {
            // "Forwarding from 127.0.0.1:40123 -> 80"
            let line = lines.next_line().await.unwrap().expect("kubectl says where it listens");
            let Some((port, to)) =
                line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split_once(" -> "))
            else {
                continue;
            };
            local[usize::from(to == "81")] = port.parse().unwrap();
        }
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (one, two) = tokio::join!(through(local[0], "ping"), through(local[1], "pong"));
        assert_eq!((one.as_str(), two.as_str()), ("first:ping", "second:pong"), "{}", client.name);
        serving.abort();
        // The listener is closed once its task has ended.
        let _ = serving.await;
        assert_eq!(through(local[0], "dead").await, "", "{}", client.name);
        assert_eq!(through(local[1], "live").await, "second:live", "{}: the session goes on", client.name);
        assert!(child.try_wait().unwrap().is_none(), "{} still runs", client.name);
        child.kill().await.unwrap();
        client.spoke_its_protocol(&server);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_nobody_listens_on_is_told() {
    let server = Server::start(Machine::default(), Limits::default()).await;
    for client in clients() {
        let mut command = client.command(&server, &["port-forward", "web", ":9"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let port = line.rsplit_once(" -> ").unwrap().0.rsplit_once(':').unwrap().1.parse().unwrap();
        assert_eq!(through(port, "ping").await, "", "{}", client.name);
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let told = errors.next_line().await.unwrap().unwrap();
        assert!(told.contains("error forwarding port 9 to pod web, uid"), "{}: {told}", client.name);
        child.kill().await.unwrap();
    }
}
