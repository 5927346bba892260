//! A client of a node's API without any manners: it sends the bytes that a test wants, as whom the test wants, and reads what
//! comes. What no kubectl would send is sent with it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// Nothing in these tests takes so long, whatever else the machine does.
const DEADLINE: Duration = Duration::from_secs(120);

/// Where a node is, and who may come in.
pub struct Wire {
    address: SocketAddr,
    authority: CertificateDer<'static>,
    admin: Identity,
}

/// A client certificate and its key.
pub struct Identity {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// One connection, HTTP/1.1 over TLS.
pub struct Connection(StreamOwned<ClientConnection, TcpStream>);

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub code: u16,
    /// The status line and the headers, as they came.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Wire {
    /// The node and the identity of a kubeconfig.
    pub fn of(kubeconfig: &Path) -> Wire {
        let text = std::fs::read_to_string(kubeconfig).expect("the kubeconfig");
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("the kubeconfig has no {name}")).trim_matches('"').to_owned()
        };
        let pem = |name: &str| BASE64_STANDARD.decode(field(name)).expect("base64");
        let server = field("server");
        let address = server.strip_prefix("https://").expect("https").parse().expect("an address");
        Wire {
            address,
            authority: CertificateDer::from_pem_slice(&pem("certificate-authority-data"))
                .expect("a certificate"),
            admin: Identity::of_pem(&pem("client-certificate-data"), &pem("client-key-data")),
        }
    }

    /// A bare socket, on which nothing has been said.
    pub fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("connecting");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        socket
    }

    /// A connection of the admin.
    pub fn connect(&self) -> Connection {
        self.connect_as(Some(&self.admin)).expect("a connection")
    }

    /// The same; nothing when nobody is there.
    pub fn connect_or_none(&self) -> Option<Connection> {
        let socket = TcpStream::connect(self.address).ok()?;
        self.speak_tls(socket, Some(&self.admin)).ok()
    }

    /// A connection with that certificate, or with none; the error is TLS's.
    pub fn connect_as(&self, identity: Option<&Identity>) -> std::io::Result<Connection> {
        self.speak_tls(self.socket(), identity)
    }

    fn speak_tls(&self, socket: TcpStream, identity: Option<&Identity>) -> std::io::Result<Connection> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots);
        let config = match identity {
            Some(Identity { certificate, key }) => builder
                .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
                .map_err(std::io::Error::other)?,
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::from(self.address.ip());
        let tls = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(tls, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection(stream))
    }

    /// One request of the admin on a connection of its own.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.connect().request(method, path, headers, body)
    }

    /// The object at a path.
    pub fn get(&self, path: &str) -> Value {
        let reply = self.request("GET", path, &[], b"");
        assert_eq!(reply.code, 200, "GET {path}: {reply:?}");
        reply.json()
    }
}

impl Identity {
    /// Of a certificate and a key in PEM.
    pub fn of_pem(certificate: &[u8], key: &[u8]) -> Identity {
        Identity {
            certificate: CertificateDer::from_pem_slice(certificate).expect("a certificate"),
            key: PrivateKeyDer::from_pem_slice(key).expect("a key"),
        }
    }
}

impl Connection {
    /// Sends a request whole, and reads its answer.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_request(method, path, headers, body).expect("an answer")
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// Sends a request whole, and reads its answer; nothing when the connection ended before.
    pub fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Reply> {
        let mut bytes = head(method, path, headers, Some(body.len())).into_bytes();
        bytes.extend_from_slice(body);
        // Whoever refuses a request need not read it to its end; the answer says why.
        let _ = self.send(&bytes);
        self.try_reply()
    }

    /// Asks for another protocol, which must be agreed to; what came behind the answer already.
    pub fn upgrade(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let reply = self.request(method, path, headers, b"");
        assert_eq!(reply.code, 101, "{}{}", reply.head, String::from_utf8_lossy(&reply.body));
        reply.body
    }

    /// Reads an answer.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("an answer")
    }

    /// Reads an answer; nothing when the connection ends before it is whole.
    pub fn try_reply(&mut self) -> Option<Reply> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more(&mut bytes) {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok())?;
        let mut body = bytes.split_off(end);
        let lower = head.to_lowercase();
        let length =
            lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if lower.contains("transfer-encoding: chunked") {
            body = self.chunks(body)?;
        } else if let Some(length) = length {
            while body.len() < length {
                if !self.more(&mut body) {
                    return None;
                }
            }
        }
        Some(Reply { code, head, body })
    }

    /// Waits for the node to end the connection; an answer before that is left out.
    pub fn assert_ended(&mut self) {
        let mut rest = Vec::new();
        while self.more(&mut rest) {}
    }

    /// Waits until this has come.
    pub fn wait_for(&mut self, text: &str) {
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).contains(text) {
            assert!(self.more(&mut bytes), "the connection ended before {text:?} came");
        }
    }

    /// Sends byte by byte, with that time between two, until an answer comes.
    pub fn trickle_until_reply(&mut self, bytes: &[u8], between: Duration) -> Reply {
        self.0.sock.set_read_timeout(Some(between)).expect("a timeout");
        let mut first = [0; 1];
        let came =
            bytes.iter().any(|byte| self.send(&[*byte]).is_err() || matches!(self.0.read(&mut first), Ok(1)));
        self.0.sock.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        assert!(came, "the node took all of it");
        let mut bytes = first.to_vec();
        while self.more(&mut bytes) {}
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
        Reply { code, head: head.to_owned(), body: body.as_bytes().to_vec() }
    }

    /// Waits so long for the end of the connection; whether it came.
    pub fn is_ended_within(&mut self, timeout: Duration) -> bool {
        self.0.sock.set_read_timeout(Some(timeout)).expect("a timeout");
        let ended = match self.0.read(&mut [0; 4096]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.0.sock.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        ended
    }

    /// Reads on; false at the end, also at one by force.
    fn more(&mut self, bytes: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.0.read(&mut buffer) {
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("waited in vain for the node; so far came {:?}", String::from_utf8_lossy(bytes))
            }
            Err(_) => false,
        }
    }

    /// The body of a chunked answer (RFC 9112, section 7.1).
    fn chunks(&mut self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") else {
                if !self.more(&mut bytes) {
                    return None;
                }
                continue;
            };
            let size = String::from_utf8_lossy(&bytes[..line]);
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            while bytes.len() < line + 2 + size + 2 {
                if !self.more(&mut bytes) {
                    return None;
                }
            }
            if size == 0 {
                return Some(body);
            }
            body.extend_from_slice(&bytes[line + 2..line + 2 + size]);
            bytes.drain(..line + 2 + size + 2);
        }
    }
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless it is a `metav1.Status` of that code and reason, as every refusal has to be.
    pub fn assert_refused(&self, what: &str, code: u16, reason: &str) {
        let told = String::from_utf8_lossy(&self.body);
        assert_eq!(self.code, code, "{what}: {told}");
        let status = self.json();
        let is_status = status["kind"] == "Status" && status["status"] == "Failure" && status["code"] == code;
        assert!(is_status && status["reason"] == reason, "{what}: {told}");
    }
}

/// The head of a request, ready to be sent.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: Option<usize>) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: node\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = length.filter(|length| *length > 0 || method != "GET") {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    head
}
