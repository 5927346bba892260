//! A proxy in front of a real registry that breaks what it is told to break, and notes what it was asked.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use image::Reference;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    head: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    /// The first byte that a blob is asked for from.
    pub(crate) fn offset(&self) -> u64 {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0)
    }
}

/// What becomes of the registry's answer.
pub(crate) enum Fault {
    Pass,
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Nothing more comes after so many bytes of the body.
    Hang(usize),
    /// The body, changed.
    Body(Box<dyn FnOnce(Vec<u8>) -> Vec<u8>>),
    /// Another answer altogether: status line and headers, body.
    Answer(String, Vec<u8>),
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Fault {
    Fault::Answer(format!("HTTP/1.1 {status}\r\n{headers}"), body.as_bytes().to_vec())
}

type Rule = dyn Fn(&Request) -> Fault + Send + Sync;

pub(crate) struct Faults {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    ends: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Faults {
    /// Listens on a free port before the registry at `upstream`.
    pub(crate) fn before(upstream: &str, rule: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (seen, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (upstream, rule): (_, Arc<Rule>) = (upstream.to_owned(), Arc::new(rule));
        let accepting = std::thread::spawn({
            let (seen, ends) = (Arc::clone(&seen), Arc::clone(&ends));
            move || {
                for stream in listener.incoming() {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    let (seen, upstream, rule) = (Arc::clone(&seen), upstream.clone(), Arc::clone(&rule));
                    // Ends with its connection: the other side gives up, or is gone with the test.
                    std::thread::spawn(move || serve(stream.unwrap(), &upstream, &*rule, &seen));
                }
            }
        });
        Self { address, seen, ends, accepting: Some(accepting) }
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        Reference::parse(&format!("{}/{name}", self.address)).unwrap()
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
        let _ = self.accepting.take().unwrap().join();
    }
}

/// One request a connection: the answer says so.
fn serve(mut client: TcpStream, upstream: &str, rule: &Rule, seen: &Mutex<Vec<Request>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let request = Request { path, head };
    seen.lock().unwrap().push(request.clone());
    let (mut head, mut body, rest) = match rule(&request) {
        Fault::Answer(head, body) => (head, body, None),
        fault => {
            let (head, body) = forward(&request.head, upstream);
            match fault {
                Fault::Cut(bytes) => {
                    (head, body[..bytes.min(body.len())].to_vec(), Some((false, body.len())))
                }
                Fault::Hang(bytes) => {
                    (head, body[..bytes.min(body.len())].to_vec(), Some((true, body.len())))
                }
                Fault::Body(change) => (head, change(body), None),
                _ => (head, body, None),
            }
        }
    };
    let announced = rest.map_or(body.len(), |(_, whole)| whole);
    head = head
        .lines()
        .filter(|line| !line.to_lowercase().starts_with("content-length"))
        .fold(String::new(), |text, line| text + line + "\r\n");
    let head = format!("{}\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n", head.trim_end());
    body.splice(0..0, head.into_bytes());
    // The other side may have gone, which is its business.
    let _ = client.write_all(&body);
    if matches!(rest, Some((true, _))) {
        let _ = client.read(&mut [0]);
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// The registry's own answer: head without its empty line, and body.
fn forward(head: &str, upstream: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(upstream).unwrap();
    stream.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).unwrap();
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    (head.trim_end().to_owned(), body)
}
