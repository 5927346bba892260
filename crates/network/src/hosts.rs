//! A Pod's /etc/hosts, in the kubelet's words, which programs and people look for. Pure.
//! <https://kubernetes.io/docs/tasks/network/customize-hosts-file-for-pods/>

use std::fmt::Write;
use std::net::IpAddr;

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsRequest<'a> {
    /// The Pod's addresses, the first is the main one.
    pub addresses: &'a [IpAddr],
    /// The Pod's hostname (see [`crate::hostname`]).
    pub hostname: &'a str,
    /// The domain behind it; empty without a subdomain.
    pub domain: &'a str,
    /// `hostAliases`: an address and its names.
    pub aliases: &'a [HostAlias<'a>],
    /// The text of the host's own file, for a Pod with `hostNetwork`; none for all others.
    pub host_file: Option<&'a str>,
}

/// One entry of `hostAliases`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAlias<'a> {
    /// The address.
    pub ip: &'a str,
    /// Its names.
    pub hostnames: Vec<&'a str>,
}

/// What every Pod's file starts with.
const HEAD: &str = "# Kubernetes-managed hosts file.\n\
    127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    fe00::0\tip6-mcastprefix\n\
    fe00::1\tip6-allnodes\n\
    fe00::2\tip6-allrouters\n";

/// Writes the file.
pub fn hosts(request: &HostsRequest<'_>) -> String {
    let mut text = match request.host_file {
        Some(host_file) => format!("# Kubernetes-managed hosts file (host network).\n{host_file}"),
        None => own_hosts(request),
    };
    if !request.aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in request.aliases {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\t{}", alias.ip, alias.hostnames.join("\t"));
    }
    text
}

fn own_hosts(request: &HostsRequest<'_>) -> String {
    let mut text = HEAD.to_owned();
    let (hostname, domain) = (request.hostname, request.domain);
    for address in request.addresses {
        let _ = match domain {
            "" => writeln!(text, "{address}\t{hostname}"),
            _ => writeln!(text, "{address}\t{hostname}.{domain}\t{hostname}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: HostsRequest<'_> =
        HostsRequest { addresses: &[], hostname: "web", domain: "", aliases: &[], host_file: None };

    #[test]
    fn a_pod_finds_itself_by_name() {
        let addresses = ["10.201.7.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let text = hosts(&HostsRequest { addresses: &addresses, ..REQUEST });
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost"));
        assert!(text.ends_with("fe00::2\tip6-allrouters\n10.201.7.2\tweb\nfd00::2\tweb\n"), "{text}");
    }

    #[test]
    fn a_subdomain_makes_the_full_name_the_first() {
        let addresses = ["10.201.7.2".parse().unwrap()];
        let domain = "db.default.svc.cluster.local";
        let text = hosts(&HostsRequest { addresses: &addresses, domain, ..REQUEST });
        assert!(text.ends_with("10.201.7.2\tweb.db.default.svc.cluster.local\tweb\n"), "{text}");
    }

    #[test]
    fn aliases_stand_at_the_end() {
        let aliases = [
            HostAlias { ip: "127.0.0.1", hostnames: vec!["foo.local", "bar.local"] },
            HostAlias { ip: "10.1.2.3", hostnames: vec!["foo.remote"] },
        ];
        let expected =
            "\n# Entries added by HostAliases.\n127.0.0.1\tfoo.local\tbar.local\n10.1.2.3\tfoo.remote\n";
        assert!(hosts(&HostsRequest { aliases: &aliases, ..REQUEST }).ends_with(expected));
        let on_host =
            hosts(&HostsRequest { aliases: &aliases, host_file: Some("127.0.0.1 localhost\n"), ..REQUEST });
        let head = "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n";
        assert_eq!(on_host, format!("{head}{expected}"));
    }
}
