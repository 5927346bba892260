//! `http`: an HTTP/1.1 server of one directory, with what a Pod's examples need: `/healthz`, `/env`,
//! keep-alive, and an access log in the combined format. One thread a connection.
//!
//! The log file is opened for each line, so rotating it by rename needs no signal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::failure::{Failure, reason};
use crate::{signals, tcp, text, time};

const HEADER_LIMIT_BYTES: u64 = 64 << 10;
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

#[derive(Debug, PartialEq)]
struct Settings {
    addr: Option<IpAddr>,
    port: u16,
    root: PathBuf,
    log: Option<PathBuf>,
    healthz_file: Option<PathBuf>,
}

/// `http [--port N] [--addr ADDR] [--dir DIR] [--log FILE] [--healthz-file FILE]`
pub fn http(arguments: &[String]) -> Result<(), Failure> {
    let settings = Arc::new(parse(arguments)?);
    signals::exit_at_stop(signals::Stop::Success)?;
    let listener = tcp::listen(settings.addr, settings.port)?;
    let port = listener.local_addr().map_or(settings.port, |address| address.port());
    // On standard error: standard output is the access log.
    eprintln!("http: serving {} on port {port}", settings.root.display());
    for client in listener.incoming() {
        let client = client.map_err(|error| Failure::io("accepting a connection", error))?;
        let settings = Arc::clone(&settings);
        thread::spawn(move || {
            if let Err(error) = converse(&client, &settings)
                && !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionReset)
            {
                eprintln!("http: {}", reason(&error));
            }
        });
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Settings, Failure> {
    let mut settings =
        Settings { addr: None, port: 80, root: PathBuf::from("."), log: None, healthz_file: None };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| Failure::usage(format!("{flag} needs a value")));
        match flag.as_str() {
            "--port" => settings.port = text::number(flag, value()?)?,
            "--addr" => settings.addr = Some(tcp::parse_addr(value()?)?),
            "--dir" => settings.root = PathBuf::from(value()?),
            "--log" => settings.log = Some(PathBuf::from(value()?)),
            "--healthz-file" => settings.healthz_file = Some(PathBuf::from(value()?)),
            _ => return Err(Failure::usage(format!("does not know {flag}"))),
        }
    }
    Ok(settings)
}

#[derive(Debug, Default, PartialEq)]
struct Request {
    line: String,
    method: String,
    target: String,
    close: bool,
    referer: String,
    agent: String,
    body_bytes: u64,
}

struct Response {
    status: u16,
    kind: &'static str,
    body: Body,
}

enum Body {
    Text(String),
    File(File, u64),
}

impl Response {
    fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: Body::Text(body.into()) }
    }
}

/// Answers requests until the client or an error ends the connection.
fn converse(client: &TcpStream, settings: &Settings) -> io::Result<()> {
    client.set_read_timeout(Some(IDLE_TIMEOUT))?;
    let peer = client.peer_addr()?.ip().to_canonical();
    let mut reader = BufReader::new(client);
    while let Some(request) = read_request(&mut reader)? {
        // A body is read over, so that the next request begins where it should.
        io::copy(&mut reader.by_ref().take(request.body_bytes), &mut io::sink())?;
        let response = answer(&request, settings);
        let status = response.status;
        let length = send(client, &request, response)?;
        log(settings, &access_line(peer, &request, status, length))?;
        if request.close {
            break;
        }
    }
    Ok(())
}

/// The next request, `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut header = reader.by_ref().take(HEADER_LIMIT_BYTES);
    let mut line = String::new();
    if header.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut request = Request { line: line.trim_end().to_string(), ..Request::default() };
    let mut words = request.line.split(' ');
    request.method = words.next().unwrap_or_default().to_string();
    request.target = words.next().unwrap_or_default().to_string();
    request.close = words.next() != Some("HTTP/1.1");
    loop {
        line.clear();
        if header.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the request ends within its header"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "connection" => request.close = value.eq_ignore_ascii_case("close"),
            "referer" => request.referer = value.to_string(),
            "user-agent" => request.agent = value.to_string(),
            "content-length" => request.body_bytes = value.parse().unwrap_or(0),
            // Not understood here; answering and closing is always correct.
            "transfer-encoding" => request.close = true,
            _ => {}
        }
    }
    Ok(Some(request))
}

fn answer(request: &Request, settings: &Settings) -> Response {
    if request.method != "GET" && request.method != "HEAD" {
        return Response::text(405, "only GET and HEAD are answered\n");
    }
    let path = request.target.split('?').next().unwrap_or_default();
    match path {
        "/healthz" => match &settings.healthz_file {
            Some(file) if !file.exists() => Response::text(503, format!("{} is not there\n", file.display())),
            _ => Response::text(200, "ok\n"),
        },
        "/env" => {
            let lines =
                std::env::vars_os().map(|(name, value)| format!("{}={}\n", name.display(), value.display()));
            Response::text(200, lines.collect::<String>())
        }
        "/hostname" => {
            Response::text(200, format!("{}\n", rustix::system::uname().nodename().to_string_lossy()))
        }
        path => match local_path(path) {
            Some(relative) => from_directory(&settings.root.join(relative)),
            None => Response::text(400, "the path is not acceptable\n"),
        },
    }
}

/// The path below the served directory; `None` when it would leave it or is not a path.
fn local_path(target: &str) -> Option<PathBuf> {
    let decoded = percent_decoded(target.strip_prefix('/')?)?;
    let mut path = PathBuf::new();
    for component in Path::new(&decoded).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| (byte as char).to_digit(16);
            bytes.push((digit(rest.next()?)? * 16 + digit(rest.next()?)?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn from_directory(path: &Path) -> Response {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Response::text(404, "not found\n"),
        _ => Response::text(403, format!("{}\n", reason(&error))),
    };
    if path.is_dir() {
        let index = path.join("index.html");
        return if index.is_file() { from_directory(&index) } else { listing(path).unwrap_or_else(failed) };
    }
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((metadata, file)) if metadata.is_file() => {
            Response { status: 200, kind: kind_of(path), body: Body::File(file, metadata.len()) }
        }
        Ok(_) => Response::text(403, "not a regular file\n"),
        Err(error) => failed(error),
    }
}

fn listing(path: &Path) -> io::Result<Response> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(format!("{}\n", entry?.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(Response::text(200, names.concat()))
}

fn kind_of(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("txt" | "log" | "md" | "yaml") | None => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Sends the response and gives the length of its body. A file that grows meanwhile is cut at the length
/// that was promised.
fn send(mut client: &TcpStream, request: &Request, response: Response) -> io::Result<u64> {
    let length = match &response.body {
        Body::Text(text) => text.len() as u64,
        Body::File(_, length) => *length,
    };
    let header = format!(
        "HTTP/1.1 {} {}\r\nServer: podling-toolbox\r\nContent-Type: {}\r\nContent-Length: {length}\r\nConnection: {}\r\n\r\n",
        response.status,
        phrase(response.status),
        response.kind,
        if request.close { "close" } else { "keep-alive" },
    );
    client.write_all(header.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(0);
    }
    match response.body {
        Body::Text(text) => client.write_all(text.as_bytes())?,
        Body::File(file, length) => {
            io::copy(&mut file.take(length), &mut client)?;
        }
    }
    Ok(length)
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

/// A line of the combined log format.
fn access_line(peer: IpAddr, request: &Request, status: u16, length: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let quoted = |text: &str| match text {
        "" => "-".to_string(),
        text => text.chars().map(|c| if c == '"' || c.is_control() { '?' } else { c }).collect(),
    };
    format!(
        "{peer} - - [{}] \"{}\" {status} {length} \"{}\" \"{}\"\n",
        time::log_date(now),
        quoted(&request.line),
        quoted(&request.referer),
        quoted(&request.agent)
    )
}

fn log(settings: &Settings, line: &str) -> io::Result<()> {
    match &settings.log {
        Some(path) => OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes()),
        None => {
            let mut out = io::stdout().lock();
            out.write_all(line.as_bytes())?;
            out.flush()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        read_request(&mut text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn requests() {
        let parsed =
            request("GET /a HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!((parsed.method.as_str(), parsed.target.as_str(), parsed.close), ("GET", "/a", false));
        assert_eq!((parsed.agent.as_str(), parsed.body_bytes), ("curl/8", 3));
        assert!(request("GET / HTTP/1.0\r\n\r\n").close);
        assert!(request("GET / HTTP/1.1\r\nconnection: Close\r\n\r\n").close);
        assert!(read_request(&mut &b""[..]).unwrap().is_none());
        assert!(read_request(&mut &b"GET / HTTP/1.1\r\nHost: x\r\n"[..]).is_err());
    }

    #[test]
    fn paths_stay_below_the_directory() {
        assert_eq!(local_path("/a/b%20c").unwrap(), Path::new("a/b c"));
        assert_eq!(local_path("/").unwrap(), Path::new(""));
        for wrong in ["/../etc/passwd", "/a/%2e%2e/%2e%2e/x", "//../x", "/%2Fetc/passwd", "/%00", "/%f", "x"]
        {
            assert_eq!(local_path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_log_line_cannot_be_broken_by_a_header() {
        let request =
            Request { line: "GET / HTTP/1.1".into(), agent: "a\"\n b".into(), ..Request::default() };
        let line = access_line("10.0.0.1".parse().unwrap(), &request, 200, 5);
        assert!(line.starts_with("10.0.0.1 - - ["), "{line}");
        assert!(line.ends_with("\"GET / HTTP/1.1\" 200 5 \"-\" \"a?? b\"\n"), "{line}");
    }

    #[test]
    fn settings() {
        let words: Vec<_> = "--port 8080 --addr ::1 --dir /srv".split(' ').map(String::from).collect();
        let parsed = parse(&words).unwrap();
        assert_eq!(
            (parsed.port, parsed.addr, parsed.root),
            (8080, "::1".parse().ok(), PathBuf::from("/srv"))
        );
        assert!(parse(&["--port".to_string()]).is_err());
        assert!(parse(&["--tls".to_string()]).is_err());
    }
}
