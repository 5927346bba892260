//! `-p [IP:]HOST:CONTAINER`.

use std::net::IpAddr;

use engine::node::Publish;

/// A published port. IPv6 addresses stand in brackets.
pub(super) fn parse(text: &str) -> Result<Publish, String> {
    let wrong = |why: &str| format!("{text:?} {why}; write it like 8080:80 or 127.0.0.1:8080:80");
    let ports = match text.rsplit_once('/') {
        None => text,
        Some((ports, "tcp")) => ports,
        Some((_, _)) => return Err(wrong("is not TCP, the only protocol of -p")),
    };
    let (rest, container) = ports.rsplit_once(':').ok_or_else(|| wrong("names one port of two"))?;
    let (host_ip, host) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((ip, host)) => {
            let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
            let ip: IpAddr = bare.parse().map_err(|_| wrong("does not begin with an IP address"))?;
            if ip.is_ipv6() && bare.len() == rest.len() {
                return Err(wrong("needs brackets around its IPv6 address"));
            }
            (Some(ip), host)
        }
    };
    let port = |port: &str| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(wrong("has a port that is not a number from 1 to 65535")),
    };
    Ok(Publish { host_ip, host_port: port(host)?, container_port: port(container)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(host_ip: Option<&str>, host_port: u16, container_port: u16) -> Publish {
        Publish { host_ip: host_ip.map(|ip| ip.parse().unwrap()), host_port, container_port }
    }

    #[test]
    fn usual_forms() {
        assert_eq!(parse("8080:80"), Ok(publish(None, 8080, 80)));
        assert_eq!(parse("8080:80/tcp"), Ok(publish(None, 8080, 80)));
        assert_eq!(parse("127.0.0.1:8080:80"), Ok(publish(Some("127.0.0.1"), 8080, 80)));
        assert_eq!(parse("[::1]:8080:80"), Ok(publish(Some("::1"), 8080, 80)));
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "80", "a:b", "0:80", "80:0", "80:65536", "host:80:80", "80:80/udp", ":80", "80:"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("write it like 8080:80"), "{text}: {error}");
        }
    }
}
