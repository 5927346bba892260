//! A server for tests: an API over a store in a directory that vanishes, asked within the process or over TLS.

#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use api::server::{self, Limits};
use api::{Api, Body, Options, User};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use store::{DataLock, Store};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// An API and its directory.
pub struct Harness {
    pub api: Arc<Api>,
    pub directory: TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub warnings: Vec<String>,
    pub body: Value,
    pub text: String,
}

impl Harness {
    pub async fn new() -> Harness {
        let directory = tempfile::tempdir().expect("a directory");
        let lock = DataLock::acquire(directory.path()).expect("a lock");
        let store = Store::open(lock, &store::Options::default()).expect("a store");
        let api = Api::new(store, Options::default());
        api.bootstrap().await.expect("namespaces");
        Harness { api, directory }
    }

    /// Sends a request as the administrator.
    pub async fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
        self.send_with(method, path, &[("content-type", content_type)], body).await
    }

    pub async fn send_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed();
        let request = request.body(body).expect("a request");
        let admin = User::new("kubernetes-admin", &[User::MASTERS]);
        Answer::read(self.api.handle_as(request, admin).await).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", &body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, "application/json", &body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "", "").await
    }

    /// Begins a watch; its documents come from [`Watch::next`].
    pub async fn watch(&self, path: &str) -> Watch {
        let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed();
        let request = Request::get(path).body(body).expect("a request");
        let admin = User::new("kubernetes-admin", &[User::MASTERS]);
        let response = self.api.handle_as(request, admin).await;
        assert_eq!(response.status(), 200, "{path}");
        Watch { body: response.into_body(), rest: Vec::new() }
    }

    /// Serves over TLS, and writes a kubeconfig for it.
    pub async fn serve(&self) -> Served {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])
            .expect("a certificate");
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a config");
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let api = Arc::clone(&self.api);
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server::serve(api, listener, Arc::new(tls), Limits::default(), stopped).await;
        });
        let kubeconfig = self.directory.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\ncontexts: [{{name: t, context: {{cluster: t, user: t}}}}]\nclusters: [{{name: t, cluster: {{server: 'https://{address}', insecure-skip-tls-verify: true}}}}]\nusers: [{{name: t, user: {{token: t}}}}]\n"
        );
        std::fs::write(&kubeconfig, text).expect("written");
        Served { address, kubeconfig, stop: Some(stop), task }
    }
}

/// A server on a port.
pub struct Served {
    pub address: SocketAddr,
    pub kubeconfig: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    /// Runs kubectl; standard output and error together, and whether it succeeded.
    pub async fn kubectl(&self, arguments: &[&str], stdin: &str) -> (bool, String) {
        use tokio::io::AsyncWriteExt;
        let cache = self.kubeconfig.with_file_name("cache");
        let mut child = tokio::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(cache)
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl");
        let mut input = child.stdin.take().expect("stdin");
        input.write_all(stdin.as_bytes()).await.expect("written");
        drop(input);
        let output = child.wait_with_output().await.expect("ended");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.task.await.expect("ended");
    }
}

impl Answer {
    async fn read(response: api::Response) -> Answer {
        let code = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|value| value.to_str().expect("text").to_owned()).collect();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { code, warnings, body, text }
    }

    /// The body, of an answer that must have that code.
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        self.body
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// A watch.
pub struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    /// The next document; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("JSON"));
            }
            let frame = self.body.frame().await?.expect("a frame");
            self.rest.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
        }
    }

    /// `TYPE name` of the next document.
    pub async fn event(&mut self) -> String {
        let document = self.next().await.expect("a document");
        let kind = document["type"].as_str().unwrap_or_default();
        let name = document["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{kind} {name}").trim().to_owned()
    }
}
