//! Names to addresses, without the C library's resolver, which a static program must not use: a literal
//! address, then hosts(5), then DNS as resolv.conf(5) says (A and AAAA over UDP, search list, ndots).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::failure::Failure;
use crate::text;

const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// `nslookup NAME`
pub fn nslookup(arguments: &[String]) -> Result<(), Failure> {
    let [name] = arguments else { return Err(Failure::usage("needs one name")) };
    let addresses = resolve(name).map_err(|error| Failure::io(name, error))?;
    text::print_lines(addresses.iter().map(ToString::to_string))
}

/// The addresses of `host`, at least one.
pub fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let found = in_hosts(&hosts, host);
    if !found.is_empty() {
        return Ok(found);
    }
    if host == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let resolver = Resolver::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    resolver.lookup(host)
}

/// `HOST:PORT` to socket addresses.
pub fn resolve_target(target: &str) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = split_target(target).map_err(|failure| io::Error::other(failure.to_string()))?;
    Ok(resolve(host)?.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// `HOST:PORT`, the host a name, an IPv4 address or an IPv6 address in brackets.
pub fn split_target(target: &str) -> Result<(&str, u16), Failure> {
    let wrong = || Failure::usage(format!("{target:?} is not HOST:PORT"));
    let (host, port) = target.rsplit_once(':').ok_or_else(wrong)?;
    let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_ipv6 {
        return Err(wrong());
    }
    Ok((host, port.parse().map_err(|_| wrong())?))
}

fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

#[derive(Debug, PartialEq)]
struct Resolver {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Resolver {
    fn parse(text: &str) -> Self {
        let mut resolver = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    resolver.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => resolver.search = words.map(String::from).collect(),
                Some("options") => {
                    let ndots =
                        words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    resolver.ndots = ndots.unwrap_or(resolver.ndots);
                }
                _ => {}
            }
        }
        resolver
    }

    /// The absolute names to try, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_string()];
        }
        let mut names: Vec<_> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        let dots = name.matches('.').count();
        let position = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(position, name.to_string());
        names
    }

    fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if self.servers.is_empty() {
            return Err(io::Error::other(
                "the name is not in /etc/hosts and /etc/resolv.conf names no server",
            ));
        }
        let mut failure = io::Error::other("no such name");
        for candidate in self.candidates(name) {
            for server in &self.servers {
                match ask(*server, &candidate) {
                    Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
                    // This server knows that there is nothing: the next candidate.
                    Ok(_) => break,
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }
}

fn ask(server: IpAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    let local: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(QUERY_TIMEOUT))?;
    let mut addresses = Vec::new();
    for (id, kind) in [(0x706f, TYPE_A), (0x646c, TYPE_AAAA)] {
        let query = query(id, name, kind).ok_or_else(|| io::Error::other("not a DNS name"))?;
        socket.send(&query)?;
        let mut answer = [0u8; 1500];
        loop {
            let length = socket.recv(&mut answer).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::Error::other(format!("DNS server {server} does not answer")),
                _ => error,
            })?;
            // Any other datagram is a late answer to an earlier question.
            if answer[..length].starts_with(&id.to_be_bytes()) {
                addresses.extend(parse_answer(&answer[..length], kind).unwrap_or_default());
                break;
            }
        }
    }
    Ok(addresses)
}

/// A question, RFC 1035 section 4.
fn query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(name.len() + 18);
    packet.extend(id.to_be_bytes());
    // Recursion desired; one question, nothing else.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        packet.push(length);
        packet.extend(label.bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    Some(packet)
}

/// The addresses in an answer; `None` when it is cut off.
fn parse_answer(packet: &[u8], kind: u16) -> Option<Vec<IpAddr>> {
    let word = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let (questions, answers) = (word(4)?, word(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(packet, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..answers {
        at = skip_name(packet, at)?;
        let (found, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = packet.get(at + 10..at + 10 + length)?;
        if found == kind {
            addresses.extend(<[u8; 4]>::try_from(data).map(IpAddr::from).ok());
            addresses.extend(<[u8; 16]>::try_from(data).map(IpAddr::from).ok());
        }
        at += 10 + length;
    }
    Some(addresses)
}

/// Where the name that begins at `at` ends; a pointer (RFC 1035 section 4.1.4) ends it.
fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(split_target("localhost:80").unwrap(), ("localhost", 80));
        assert_eq!(split_target("[::1]:80").unwrap(), ("[::1]", 80));
        for wrong in ["localhost", ":80", "::1:80", "a:99999", "a:http"] {
            assert!(split_target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_lines() {
        let hosts = "# own\n127.0.0.1 localhost web # comment db\n::1\tlocalhost\n10.0.0.7 DB\n";
        assert_eq!(in_hosts(hosts, "localhost").len(), 2);
        assert_eq!(in_hosts(hosts, "db"), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert!(in_hosts(hosts, "nobody").is_empty());
    }

    #[test]
    fn a_short_name_goes_through_the_search_list_first() {
        let text = "nameserver 10.0.0.10\nsearch default.svc.cluster.local svc.cluster.local\noptions ndots:5 edns0\n";
        let resolver = Resolver::parse(text);
        let expected = ["db.default.svc.cluster.local", "db.svc.cluster.local", "db"];
        assert_eq!(resolver.candidates("db"), expected);
        assert_eq!(resolver.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(resolver.candidates("db."), ["db"]);
    }

    #[test]
    fn an_answer_with_a_compressed_name() {
        let mut packet = query(7, "db.local", TYPE_A).unwrap();
        packet[7] = 1;
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 7]);
        assert_eq!(parse_answer(&packet, TYPE_A).unwrap(), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(parse_answer(&packet[..packet.len() - 1], TYPE_A), None);
        assert_eq!(query(7, "a..b", TYPE_A), None);
    }
}
