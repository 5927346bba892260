//! A Pod's /etc/resolv.conf, from dnsPolicy, dnsConfig and the host's own file, by the kubelet's rules. Pure.
//! <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-dns-policy>

use std::fmt;
use std::net::IpAddr;

/// The limits of the resolver library that the kubelet keeps to (resolv.conf(5), KEP-2595).
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCHES_MAX_LEN: usize = 2048;

/// `dnsPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsPolicy {
    /// Names go to the cluster's server first; as `Default` for a Pod with hostNetwork.
    ClusterFirst,
    /// Names go to the cluster's server first, also with hostNetwork.
    ClusterFirstWithHostNet,
    /// What the host uses.
    Default,
    /// Only what dnsConfig says.
    None,
}

/// `dnsConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsConfig {
    /// More servers.
    pub nameservers: Vec<String>,
    /// More domains to look for a short name in.
    pub searches: Vec<String>,
    /// Options and their values; they win over those of the policy.
    pub options: Vec<(String, Option<String>)>,
}

/// The cluster's own DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDns {
    /// Its servers.
    pub servers: Vec<IpAddr>,
    /// The cluster's domain, usually cluster.local.
    pub domain: String,
}

/// What the file is made from.
#[derive(Debug, Clone, Copy)]
pub struct ResolvConfRequest<'a> {
    /// `dnsPolicy`.
    pub policy: DnsPolicy,
    /// `dnsConfig`.
    pub config: Option<&'a DnsConfig>,
    /// `hostNetwork`.
    pub host_network: bool,
    /// The Pod's namespace.
    pub namespace: &'a str,
    /// The cluster's DNS, where there is one.
    pub cluster: Option<&'a ClusterDns>,
    /// The text of the host's /etc/resolv.conf; empty when it has none.
    pub host: &'a str,
    /// The text of [`SYSTEMD_RESOLVED`], where there is one.
    pub systemd_resolved: Option<&'a str>,
}

/// Where systemd-resolved writes the servers behind its own 127.0.0.53.
pub const SYSTEMD_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// The file and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// The file's text.
    pub text: String,
    /// What is not as it was asked for.
    pub warnings: Vec<Warning>,
}

/// Something about names that is not as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// ClusterFirst without a cluster DNS works as Default. (ClusterFirst is also what a Pod gets that says
    /// nothing: whether that is worth a word is the caller's choice.)
    NoClusterDns,
    /// The host's servers listen on its loopback address only, where no Pod can reach them.
    LoopbackOnly {
        /// The servers that were left out.
        servers: Vec<String>,
    },
    /// There were more servers than the resolver reads.
    NameserversOmitted,
    /// There were more search domains than the resolver reads.
    SearchesOmitted,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NoClusterDns => {
                f.write_str("there is no cluster DNS here: dnsPolicy ClusterFirst works as Default")
            }
            Warning::LoopbackOnly { servers } => write!(
                f,
                "the host's name servers ({}) are on its loopback address, which Pods cannot reach: names will not \
                 resolve, unless dnsConfig.nameservers names a server",
                servers.join(", ")
            ),
            Warning::NameserversOmitted => {
                write!(
                    f,
                    "more than {NAMESERVERS_MAX} name servers: those after the first {NAMESERVERS_MAX} are left out"
                )
            }
            Warning::SearchesOmitted => write!(
                f,
                "more than {SEARCHES_MAX} search domains or {SEARCHES_MAX_LEN} characters of them: the last are left out"
            ),
        }
    }
}

/// The lines of a resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Resolvers {
    nameservers: Vec<String>,
    searches: Vec<String>,
    /// As in the file: name, or name:value.
    options: Vec<String>,
}

/// Works out the file.
pub fn resolv_conf(request: &ResolvConfRequest<'_>) -> ResolvConf {
    let mut warnings = Vec::new();
    let wants_cluster = match request.policy {
        DnsPolicy::ClusterFirst => !request.host_network,
        DnsPolicy::ClusterFirstWithHostNet => true,
        DnsPolicy::Default | DnsPolicy::None => false,
    };
    let cluster = request.cluster.filter(|cluster| !cluster.servers.is_empty());
    let mut resolvers = match (request.policy, cluster) {
        (DnsPolicy::None, _) => Resolvers::default(),
        (_, Some(cluster)) if wants_cluster => of_cluster(request, cluster),
        _ => {
            warnings.extend(wants_cluster.then_some(Warning::NoClusterDns));
            of_host(request, &mut warnings)
        }
    };
    if let Some(config) = request.config {
        add_config(&mut resolvers, config);
    }
    fit_limits(&mut resolvers, &mut warnings);
    // Servers that the manifest names make good what the host lacks.
    if !resolvers.nameservers.is_empty() {
        warnings.retain(|warning| !matches!(warning, Warning::LoopbackOnly { .. }));
    }
    ResolvConf { text: resolvers.write(), warnings }
}

fn of_cluster(request: &ResolvConfRequest<'_>, cluster: &ClusterDns) -> Resolvers {
    let (namespace, domain) = (request.namespace, &cluster.domain);
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    searches.extend(host_file(request).searches);
    Resolvers {
        nameservers: cluster.servers.iter().map(ToString::to_string).collect(),
        searches: without_repeats(searches),
        options: vec!["ndots:5".to_owned()],
    }
}

fn of_host(request: &ResolvConfRequest<'_>, warnings: &mut Vec<Warning>) -> Resolvers {
    let mut resolvers = host_file(request);
    if !request.host_network {
        let (loopback, reachable) =
            resolvers.nameservers.into_iter().partition::<Vec<_>, _>(|server| is_loopback(server));
        if reachable.is_empty() && !loopback.is_empty() {
            warnings.push(Warning::LoopbackOnly { servers: loopback });
        }
        resolvers.nameservers = reachable;
    }
    resolvers
}

/// The host's file, or the one behind it when it only points at a stub on the loopback address.
fn host_file(request: &ResolvConfRequest<'_>) -> Resolvers {
    let host = parse(request.host);
    let is_stub = !host.nameservers.is_empty() && host.nameservers.iter().all(|server| is_loopback(server));
    match request.systemd_resolved.map(parse).filter(|behind| !behind.nameservers.is_empty()) {
        Some(behind) if is_stub && !request.host_network => behind,
        _ => host,
    }
}

fn is_loopback(server: &str) -> bool {
    // A scope may follow an address, as in fe80::1%eth0.
    let address = server.split('%').next().unwrap_or_default();
    address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Reads a resolv.conf(5): the last search line counts, a domain is known again with and without its last dot.
fn parse(text: &str) -> Resolvers {
    let mut resolvers = Resolvers::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => resolvers.nameservers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                let plain = |domain: &str| {
                    domain.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(domain).to_owned()
                };
                resolvers.searches = words.map(plain).collect();
            }
            Some("options") => words.for_each(|option| set_option(&mut resolvers.options, option.to_owned())),
            _ => {}
        }
    }
    resolvers
}

fn add_config(resolvers: &mut Resolvers, config: &DnsConfig) {
    resolvers.nameservers.extend(config.nameservers.iter().cloned());
    resolvers.nameservers = without_repeats(std::mem::take(&mut resolvers.nameservers));
    resolvers.searches.extend(config.searches.iter().cloned());
    resolvers.searches = without_repeats(std::mem::take(&mut resolvers.searches));
    for (name, value) in &config.options {
        let option = match value.as_deref() {
            None | Some("") => name.clone(),
            Some(value) => format!("{name}:{value}"),
        };
        set_option(&mut resolvers.options, option);
    }
}

/// Sets an option: the last value of a name counts, in the place of the first.
fn set_option(options: &mut Vec<String>, option: String) {
    let name = |option: &str| option.split(':').next().unwrap_or_default().to_owned();
    match options.iter_mut().find(|other| name(other) == name(&option)) {
        Some(other) => *other = option,
        None => options.push(option),
    }
}

fn fit_limits(resolvers: &mut Resolvers, warnings: &mut Vec<Warning>) {
    if resolvers.nameservers.len() > NAMESERVERS_MAX {
        resolvers.nameservers.truncate(NAMESERVERS_MAX);
        warnings.push(Warning::NameserversOmitted);
    }
    let mut len = 0;
    let fitting = resolvers.searches.iter().take(SEARCHES_MAX).take_while(|domain| {
        len += domain.len() + usize::from(len > 0);
        len <= SEARCHES_MAX_LEN
    });
    let fitting = fitting.count();
    if fitting < resolvers.searches.len() {
        resolvers.searches.truncate(fitting);
        warnings.push(Warning::SearchesOmitted);
    }
}

fn without_repeats(items: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

impl Resolvers {
    fn write(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

#[cfg(test)]
mod tests;
