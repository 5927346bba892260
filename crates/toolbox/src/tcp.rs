//! Applets about TCP: `wait-for`, `nc -z`, `bind`, `tcp-proxy`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, reason};
use crate::names::{resolve_target, split_target};
use crate::{signals, text, time};

/// One attempt waits no longer than this, so that a dropped packet is not mistaken for a slow server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// Connects to the first address of `HOST:PORT` that accepts.
pub fn connect(target: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("the name has no address");
    for address in resolve_target(target)? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Listens on `port` of `addr`; without one on all addresses, of both families where the kernel has IPv6.
pub fn listen(addr: Option<IpAddr>, port: u16) -> Result<TcpListener, Failure> {
    let bound = match addr {
        Some(addr) => TcpListener::bind((addr, port)),
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            }
            bound => bound,
        },
    };
    let address = addr.map_or_else(|| "*".to_string(), |addr| addr.to_string());
    bound.map_err(|error| Failure::io(format!("listening on {address}:{port}"), error))
}

/// `wait-for [--timeout T] HOST:PORT`. There is no event for a port that opens elsewhere, so this asks again,
/// ever more slowly.
pub fn wait_for(arguments: &[String]) -> Result<(), Failure> {
    let (timeout, target) = match arguments {
        [target] => (None, target),
        [flag, timeout, target] if flag == "--timeout" => (time::parse_duration(timeout)?, target),
        _ => return Err(Failure::usage("needs one HOST:PORT")),
    };
    split_target(target)?;
    signals::exit_at_stop(signals::Stop::AsKilled)?;
    let start = Instant::now();
    let mut backoff = FIRST_BACKOFF;
    let mut told = String::new();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        let attempt = left.map_or(CONNECT_TIMEOUT, |left| left.clamp(FIRST_BACKOFF, CONNECT_TIMEOUT));
        let why = match connect(target, attempt) {
            Ok(_) => {
                let waited = start.elapsed().as_secs_f64();
                return text::print_lines([format!("{target} accepts connections after {waited:.1} s")]);
            }
            Err(error) => reason(&error),
        };
        if why != told {
            text::print_lines([format!("waiting for {target}: {why}")])?;
            told = why;
        }
        let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Failure::Failed(format!("{target} did not accept a connection in time: {told}")));
        }
        thread::sleep(left.map_or(backoff, |left| left.min(backoff)));
        backoff = (backoff * 2).min(LAST_BACKOFF);
    }
}

/// `nc -z [-w SECONDS] HOST PORT`
pub fn nc(arguments: &[String]) -> Result<(), Failure> {
    let (timeout, host, port) = parse_nc(arguments)?;
    let target = format!("{host}:{port}");
    connect(&target, timeout).map(drop).map_err(|error| Failure::io(target, error))
}

fn parse_nc(arguments: &[String]) -> Result<(Duration, &str, &str), Failure> {
    let mut timeout = CONNECT_TIMEOUT;
    let mut scan = false;
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-z" => scan = true,
            "-w" => {
                let value = rest.next().ok_or_else(|| Failure::usage("-w needs a number of seconds"))?;
                timeout = time::parse_duration(value)?.unwrap_or(Duration::MAX);
            }
            flag if flag.starts_with('-') => return Err(Failure::usage(format!("does not know {flag}"))),
            word => words.push(word),
        }
    }
    match words.as_slice() {
        [host, port] if scan => Ok((timeout, host, port)),
        _ => Err(Failure::usage("only tests a port: nc -z HOST PORT")),
    }
}

/// `bind [--addr ADDR] PORT`
pub fn bind(arguments: &[String]) -> Result<(), Failure> {
    let (addr, port) = match arguments {
        [port] => (None, port),
        [flag, addr, port] if flag == "--addr" => (Some(parse_addr(addr)?), port),
        _ => return Err(Failure::usage("needs one port")),
    };
    let stop = signals::blocked_stop_signals()?;
    let _listener = listen(addr, text::number("PORT", port)?)?;
    text::print_lines([format!("listening on port {port}")])?;
    signals::wait_for_stop(&stop)
}

/// An address to listen on.
pub fn parse_addr(text: &str) -> Result<IpAddr, Failure> {
    text.parse().map_err(|_| Failure::usage(format!("{text:?} is not an IP address")))
}

/// `tcp-proxy LISTEN TARGET`
pub fn tcp_proxy(arguments: &[String]) -> Result<(), Failure> {
    let [listen_at, target] = arguments else { return Err(Failure::usage("needs LISTEN and TARGET")) };
    let (addr, port) = parse_listen(listen_at)?;
    split_target(target)?;
    signals::exit_at_stop(signals::Stop::Success)?;
    let listener = listen(addr, port)?;
    text::print_lines([format!("passing port {port} on to {target}")])?;
    for client in listener.incoming() {
        let client = client.map_err(|error| Failure::io("accepting a connection", error))?;
        let target = target.clone();
        thread::spawn(move || {
            if let Err(error) = pass_on(client, &target) {
                eprintln!("tcp-proxy: {target}: {}", reason(&error));
            }
        });
    }
    Ok(())
}

/// `PORT` or `ADDR:PORT`.
fn parse_listen(text: &str) -> Result<(Option<IpAddr>, u16), Failure> {
    if let Ok(port) = text.parse() {
        return Ok((None, port));
    }
    let address: SocketAddr =
        text.parse().map_err(|_| Failure::usage(format!("{text:?} is not PORT or ADDR:PORT")))?;
    Ok((Some(address.ip()), address.port()))
}

/// Copies in both directions; the end of one direction is passed on as such (half-close).
fn pass_on(client: TcpStream, target: &str) -> io::Result<()> {
    let server = connect(target, CONNECT_TIMEOUT)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upstream = thread::spawn(move || {
        let copied = io::copy(&mut from_client, &mut to_server);
        // The peer may have closed already.
        let _ = to_server.shutdown(Shutdown::Write);
        copied
    });
    let copied = io::copy(&mut &server, &mut &client);
    let _ = client.shutdown(Shutdown::Write);
    let _ = upstream.join();
    copied.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn where_to_listen() {
        assert_eq!(parse_listen("80").unwrap(), (None, 80));
        assert_eq!(parse_listen("127.0.0.1:80").unwrap(), (Some(Ipv4Addr::LOCALHOST.into()), 80));
        assert_eq!(parse_listen("[::1]:80").unwrap(), (Some(Ipv6Addr::LOCALHOST.into()), 80));
        assert!(parse_listen("localhost:80").is_err());
    }

    #[test]
    fn nc_arguments() {
        let arguments = words("-z -w 3 db 5432");
        assert_eq!(parse_nc(&arguments).unwrap(), (Duration::from_secs(3), "db", "5432"));
        assert!(parse_nc(&words("db 5432")).is_err());
        assert!(parse_nc(&words("-l 80")).is_err());
    }

    #[test]
    fn the_proxy_passes_bytes_and_the_end_on() {
        let upstream = listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let target = upstream.local_addr().unwrap().to_string();
        let echo = thread::spawn(move || {
            let (mut peer, _) = upstream.accept().unwrap();
            let mut text = String::new();
            peer.read_to_string(&mut text).unwrap();
            peer.write_all(text.to_uppercase().as_bytes()).unwrap();
        });
        let proxy = listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let mut client = TcpStream::connect(proxy.local_addr().unwrap()).unwrap();
        let (accepted, _) = proxy.accept().unwrap();
        let passing = thread::spawn(move || pass_on(accepted, &target));
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO");
        echo.join().unwrap();
        passing.join().unwrap().unwrap();
    }

    #[test]
    fn a_taken_port_is_told() {
        let holder = listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let port = holder.local_addr().unwrap().port();
        let failure = listen(Some(Ipv4Addr::LOCALHOST.into()), port).unwrap_err();
        assert_eq!(failure.to_string(), format!("listening on 127.0.0.1:{port}: Address already in use"));
    }
}
