//! One HTTP/1.1 connection to the API, over TLS, as the administrator whom the kubeconfig names.
//!
//! It blocks and has no runtime: what is measured is the server, and on a machine with two processors a client with
//! threads of its own would be measured too. It reads no more of HTTP than this server says to it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::failure::{Attempt, Failure, Result};

/// Where the server is, and as whom to speak to it.
#[derive(Clone)]
pub(crate) struct Access {
    address: String,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl Access {
    /// Reads the kubeconfig that podling writes, one value on a line.
    pub(crate) fn read(path: &Path) -> Result<Access> {
        let text = fs::read_to_string(path).attempt(format!("reading {}", path.display()))?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
            line.ok_or_else(|| Failure::new(format!("{} has no {key}", path.display())))
        };
        let pem = |key: &str| BASE64_STANDARD.decode(value(key)?).attempt(format!("decoding {key}"));
        let certificate =
            |key: &str| CertificateDer::from_pem_slice(&pem(key)?).attempt(format!("reading {key}"));
        let mut roots = RootCertStore::empty();
        roots.add(certificate("certificate-authority-data")?).attempt("taking the certificate authority")?;
        let key =
            PrivateKeyDer::from_pem_slice(&pem("client-key-data")?).attempt("reading the client's key")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .attempt("preparing TLS")?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate("client-certificate-data")?], key)
            .attempt("taking the client's certificate")?;
        let server = value("server")?;
        let no_address = || Failure::new(format!("{server} is no https://ADDRESS:PORT"));
        let address = server.strip_prefix("https://").ok_or_else(no_address)?.to_owned();
        let host = address.rsplit_once(':').ok_or_else(no_address)?.0.to_owned();
        let name = ServerName::try_from(host).attempt("reading the server's name")?;
        Ok(Access { address, name, tls: Arc::new(tls) })
    }

    /// Connects; the handshake is done when the first answer is there.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let socket = TcpStream::connect(&self.address).attempt(format!("connecting to {}", self.address))?;
        socket.set_nodelay(true).attempt("setting TCP_NODELAY")?;
        let session =
            ClientConnection::new(Arc::clone(&self.tls), self.name.clone()).attempt("beginning TLS")?;
        Ok(Connection { stream: StreamOwned::new(session, socket), buffer: Vec::new(), taken: 0 })
    }
}

/// A connection, which answers one request after another.
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
    /// How much of the buffer has been taken.
    taken: usize,
}

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

impl Connection {
    /// Asks, and gives the body of a good answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Vec<u8>> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let content_type = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let head = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        self.send(method, path, &head, &body)?;
        self.body().attempt(format!("{method} {path}"))
    }

    /// The body of the good answer to what was sent.
    pub(crate) fn body(&mut self) -> Result<Vec<u8>> {
        let answer = self.answer()?;
        let whole = match answer.length {
            Some(length) => self.take(length)?,
            None => self.chunks()?,
        };
        if (200..300).contains(&answer.code) {
            return Ok(whole);
        }
        Err(Failure::new(format!(
            "it was answered with {}: {}",
            answer.code,
            String::from_utf8_lossy(&whole)
        )))
    }

    /// The same, as JSON.
    pub(crate) fn json(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let bytes = self.ask(method, path, body)?;
        serde_json::from_slice(&bytes).attempt(format!("reading the answer to {method} {path}"))
    }

    /// Begins a watch: from now on only [`Connection::next_event`] is meaningful.
    pub(crate) fn watch(&mut self, path: &str) -> Result {
        self.send("GET", path, "", "")?;
        match self.answer()? {
            Head { code: 200, length: None } => Ok(()),
            Head { code, .. } => Err(Failure::new(format!("the watch {path} was answered with {code}"))),
        }
    }

    /// What a watch tells next; podling sends each event as one chunk.
    pub(crate) fn next_event(&mut self) -> Result<Value> {
        let chunk = self.chunk()?;
        serde_json::from_slice(&chunk).attempt("reading an event of a watch")
    }

    /// Sends a request that has further headers; the answer is read by whoever asked.
    pub(crate) fn send(&mut self, method: &str, path: &str, head: &str, body: &str) -> Result {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: podling\r\n{head}\r\n{body}");
        self.write(request.as_bytes()).attempt(format!("sending {method} {path}"))
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).attempt("writing to the node")
    }

    /// The head of an answer.
    pub(crate) fn answer(&mut self) -> Result<Head> {
        let end = self.find(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.take(end)?).into_owned();
        self.take(4)?;
        Head::read(&head).ok_or_else(|| Failure::new(format!("this is no head of an answer: {head}")))
    }

    /// The next so many bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() - self.taken < length {
            self.read()?;
        }
        let taken = self.buffer[self.taken..self.taken + length].to_vec();
        self.taken += length;
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        }
        Ok(taken)
    }

    /// The socket, to be waited for.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(whole);
            }
            whole.extend(chunk);
        }
    }

    /// RFC 9112, 7.1.
    fn chunk(&mut self) -> Result<Vec<u8>> {
        let end = self.find(b"\r\n")?;
        let line = self.take(end)?;
        self.take(2)?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let length = usize::from_str_radix(text.trim(), 16)
            .attempt(format!("reading {text:?} as a chunk's length"))?;
        let chunk = self.take(length)?;
        self.take(2)?;
        Ok(chunk)
    }

    /// How far away the next such bytes are.
    fn find(&mut self, bytes: &[u8]) -> Result<usize> {
        loop {
            let rest = &self.buffer[self.taken..];
            if let Some(found) = rest.windows(bytes.len()).position(|window| window == bytes) {
                return Ok(found);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Result {
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let read = self.stream.read(&mut self.buffer[filled..]).attempt("reading an answer")?;
        self.buffer.truncate(filled + read);
        if read == 0 {
            return Err(Failure::new("the server closed the connection"));
        }
        Ok(())
    }
}

/// What matters of the head of an answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) code: u16,
    /// None when the body comes in chunks.
    length: Option<usize>,
}

impl Head {
    fn read(head: &str) -> Option<Head> {
        let mut lines = head.split("\r\n");
        let code = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        let length = fields
            .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .find_map(|(_, value)| value.trim().parse().ok());
        Some(Head { code, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_is_read() {
        let head = Head::read("HTTP/1.1 200 OK\r\nContent-type: a\r\ncontent-Length: 12");
        assert_eq!(head, Some(Head { code: 200, length: Some(12) }));
        assert_eq!(Head::read("HTTP/1.1 201 Created"), Some(Head { code: 201, length: None }));
        assert_eq!(Head::read("nothing"), None);
    }
}
