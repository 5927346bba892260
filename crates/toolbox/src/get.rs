//! `get URL`: an HTTP client as small as it can be. It speaks HTTP/1.0, so the answer ends where the
//! connection ends and never comes in chunks.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use crate::failure::Failure;
use crate::{tcp, time};

/// A header longer than this is refused.
const HEADER_LIMIT_BYTES: u64 = 64 << 10;

#[derive(Debug, PartialEq)]
struct Url<'a> {
    /// `HOST:PORT` to connect to.
    target: String,
    /// As it stands in the Host header.
    authority: &'a str,
    path: String,
}

fn parse_url(text: &str) -> Result<Url<'_>, Failure> {
    if text.starts_with("https://") {
        return Err(Failure::usage("speaks plain HTTP only"));
    }
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
    let has_port = authority.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
    let target = if has_port { authority.to_string() } else { format!("{authority}:80") };
    crate::names::split_target(&target).map_err(|_| Failure::usage(format!("{text:?} is not a URL")))?;
    if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Failure::usage(format!("{text:?} has white space in its path")));
    }
    Ok(Url { target, authority, path })
}

/// `get [--timeout T] [--output FILE] URL`
pub fn get(arguments: &[String]) -> Result<(), Failure> {
    let mut timeout = Some(Duration::from_secs(10));
    let mut output = None;
    let mut url = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| Failure::usage(format!("{argument} needs a value")));
        match argument.as_str() {
            "--timeout" => timeout = time::parse_duration(value()?)?,
            "--output" => output = Some(value()?),
            flag if flag.starts_with('-') => return Err(Failure::usage(format!("does not know {flag}"))),
            _ if url.is_some() => return Err(Failure::usage("takes one URL")),
            text => url = Some(text),
        }
    }
    let text = url.ok_or_else(|| Failure::usage("needs a URL"))?;
    let url = parse_url(text)?;
    let mut out: Box<dyn Write> = match output {
        Some(path) => Box::new(File::create(path).map_err(|error| Failure::io(path, error))?),
        None => Box::new(io::stdout().lock()),
    };
    let status = fetch(&url, timeout, &mut out).map_err(|error| Failure::io(text, error))?;
    match status {
        ..400 => Ok(()),
        400..500 => Err(Failure::Coded(4, format!("{text}: HTTP status {status}"))),
        _ => Err(Failure::Coded(5, format!("{text}: HTTP status {status}"))),
    }
}

/// Copies the body into `out` and gives the status.
fn fetch(url: &Url<'_>, timeout: Option<Duration>, out: &mut dyn Write) -> io::Result<u16> {
    let mut stream = tcp::connect(&url.target, timeout.unwrap_or(Duration::from_secs(3600)))?;
    stream.set_read_timeout(timeout)?;
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {}\r\nUser-Agent: podling-toolbox\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        url.path, url.authority
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = BufReader::new(stream);
    let status = read_header(&mut answer)?;
    io::copy(&mut answer, out)?;
    out.flush()?;
    Ok(status)
}

fn read_header(answer: &mut impl BufRead) -> io::Result<u16> {
    let mut header = answer.by_ref().take(HEADER_LIMIT_BYTES);
    let mut line = String::new();
    header.read_line(&mut line)?;
    let status = parse_status(&line).ok_or_else(|| io::Error::other("the answer is not HTTP"))?;
    loop {
        line.clear();
        if header.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the answer ends within its header"));
        }
        if line.trim_end().is_empty() {
            return Ok(status);
        }
    }
}

fn parse_status(line: &str) -> Option<u16> {
    let mut words = line.split_whitespace();
    words.next()?.starts_with("HTTP/1.").then_some(())?;
    words.next()?.parse().ok().filter(|status| (100..1000).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = parse_url("http://localhost:8080/a?b#c").unwrap();
        assert_eq!(
            url,
            Url { target: "localhost:8080".into(), authority: "localhost:8080", path: "/a?b".into() }
        );
        assert_eq!(parse_url("http://web").unwrap().target, "web:80");
        assert_eq!(parse_url("[::1]").unwrap().target, "[::1]:80");
        assert_eq!(parse_url("web?x").unwrap().path, "/?x");
        for wrong in ["https://web", "http://", "http://web:x/", "http://web/a b"] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers() {
        let mut answer = &b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nbody"[..];
        assert_eq!(read_header(&mut answer).unwrap(), 404);
        assert_eq!(answer, b"body");
        assert!(read_header(&mut &b"SSH-2.0\r\n"[..]).is_err());
        assert!(read_header(&mut &b"HTTP/1.1 200 OK\r\nA: b\r\n"[..]).is_err());
    }
}
