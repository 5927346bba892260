//! What a Pod is called inside itself: the kernel's host name, /etc/hosts, /etc/hostname, /etc/resolv.conf.
//!
//! The texts are worked out in `network` (pure); here they are asked for and written.

use std::io;
use std::net::IpAddr;

use lifecycle::Event;
use model::pod::{DnsPolicy, Pod};
use network::hostname::{self, Hostname, HostnameRequest};
use network::hosts::{HostAlias, HostsRequest, hosts};
use network::resolv_conf::{self, ResolvConfRequest, resolv_conf};

use crate::pod::PodContext;

/// The domain of Services, until a node serves names of its own.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// The Pod's host name.
pub(crate) fn of(pod: &Pod) -> Result<Hostname, hostname::Error> {
    hostname::hostname(&HostnameRequest {
        pod_name: &pod.meta.name,
        namespace: &pod.meta.namespace,
        hostname: pod.spec.hostname.as_deref(),
        subdomain: pod.spec.subdomain.as_deref(),
        set_hostname_as_fqdn: pod.spec.set_hostname_as_fqdn,
        hostname_override: pod.spec.hostname_override.as_deref(),
        cluster_domain: CLUSTER_DOMAIN,
    })
}

/// Writes the three files. They are the same inodes for all containers, and are written anew in place for a
/// new sandbox, so that containers' binds see it.
pub(crate) fn write(context: &PodContext, pod: &Pod, name: &Hostname, pod_ips: &[String]) -> io::Result<()> {
    let directory = context.directories.etc();
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("hosts"), hosts_text(pod, name, pod_ips))?;
    std::fs::write(directory.join("hostname"), format!("{}\n", name.kernel))?;
    std::fs::write(directory.join("resolv.conf"), resolv_conf_text(context, pod))
}

fn hosts_text(pod: &Pod, name: &Hostname, pod_ips: &[String]) -> String {
    let addresses: Vec<IpAddr> = pod_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    let alias = |alias: &model::pod::HostAlias| (alias.ip.clone(), alias.hostnames.clone());
    let aliases: Vec<(String, Vec<String>)> = pod.spec.host_aliases.iter().map(alias).collect();
    let aliases: Vec<HostAlias<'_>> = aliases
        .iter()
        .map(|(ip, names)| HostAlias { ip, hostnames: names.iter().map(String::as_str).collect() })
        .collect();
    let host_file = pod.spec.host_network.then(|| std::fs::read_to_string("/etc/hosts").unwrap_or_default());
    hosts(&HostsRequest {
        addresses: &addresses,
        hostname: &name.hostname,
        domain: &name.domain,
        aliases: &aliases,
        host_file: host_file.as_deref(),
    })
}

fn resolv_conf_text(context: &PodContext, pod: &Pod) -> String {
    let config = resolv_conf::DnsConfig {
        nameservers: pod.spec.dns_config.nameservers.clone(),
        searches: pod.spec.dns_config.searches.clone(),
        options: pod.spec.dns_config.options.clone(),
    };
    let systemd_resolved = std::fs::read_to_string(resolv_conf::SYSTEMD_RESOLVED).ok();
    let made = resolv_conf(&ResolvConfRequest {
        policy: match pod.spec.dns_policy {
            DnsPolicy::ClusterFirst => resolv_conf::DnsPolicy::ClusterFirst,
            DnsPolicy::ClusterFirstWithHostNet => resolv_conf::DnsPolicy::ClusterFirstWithHostNet,
            DnsPolicy::Default => resolv_conf::DnsPolicy::Default,
            DnsPolicy::None => resolv_conf::DnsPolicy::None,
        },
        config: Some(&config),
        host_network: pod.spec.host_network,
        namespace: &pod.meta.namespace,
        cluster: None,
        host: &std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        systemd_resolved: systemd_resolved.as_deref(),
    });
    // Every Pod that says nothing has dnsPolicy ClusterFirst: no word about it.
    let said = pod.spec.dns_policy != DnsPolicy::ClusterFirst;
    for warning in made.warnings.into_iter().filter(|w| said || *w != resolv_conf::Warning::NoClusterDns) {
        let (reason, message) = ("DNSConfigForming", warning.to_string());
        context.report_event(Event { warning: true, reason, message, container: None });
    }
    made.text
}
