//! The Pod itself: what holds for all of its containers.

use super::container::{self, Surroundings};
use super::{bounded, check, choice, ephemeral, meta, resources, ruled, security, users, volume};
use crate::manifest::problem::ProblemKind;
use crate::manifest::report::{Report, Target};
use crate::manifest::tree::Node;
use crate::names;
use crate::pod::{Container, DnsConfig, DnsPolicy, HostAlias, Pod, PodSpec, Protocol, RestartPolicy};

/// What glibc and musl read of resolv.conf, as Kubernetes limits it.
const MOST_NAMESERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;

/// Reads a Pod of a manifest.
pub(crate) fn pod(report: &mut Report<'_, '_>, node: &Node) -> Pod {
    // A running Pod gets them, by a request of their own (KEP-277).
    let ephemeral = node.get("spec").and_then(|spec| spec.get("ephemeralContainers"));
    if let Some(ephemeral) = ephemeral.filter(|list| !list.items().is_empty()) {
        report.forbidden(ephemeral, "cannot be set on create");
    }
    any_pod(report, node)
}

/// Reads a Pod as an API server holds it: with what the system wrote into it, and its ephemeral containers.
pub(crate) fn stored(report: &mut Report<'_, '_>, node: &Node) -> Pod {
    let mut pod = any_pod(report, node);
    if let Some(metadata) = node.get("metadata") {
        pod.meta.uid = metadata.text("uid").unwrap_or_default().to_owned();
        pod.meta.generation = metadata.int("generation").unwrap_or(1);
    }
    if let Some(spec) = node.get("spec") {
        pod.spec.ephemeral_containers = ephemeral::containers(report, spec);
    }
    pod
}

fn any_pod(report: &mut Report<'_, '_>, node: &Node) -> Pod {
    let meta = meta::meta(report, node);
    let empty = Node::empty(node);
    if node.get("spec").is_none() {
        report.required_because(node, "spec.containers", "a Pod needs at least one container", None);
        return Pod { meta, spec: spec_of(report, &empty) };
    }
    Pod { meta, spec: spec(report, node.get("spec").unwrap_or(&empty)) }
}

/// Reads a Pod's spec.
pub(crate) fn spec(report: &mut Report<'_, '_>, node: &Node) -> PodSpec {
    if node.get("containers").is_some_and(|list| list.scalar().is_none() && list.items().is_empty()) {
        report.required(node, "containers");
    }
    spec_of(report, node)
}

fn spec_of(report: &mut Report<'_, '_>, node: &Node) -> PodSpec {
    let host_network = node.bool("hostNetwork").unwrap_or(false);
    let host_pid = node.bool("hostPID").unwrap_or(false);
    let host_ipc = node.bool("hostIPC").unwrap_or(false);
    let host_users = users::host_users(report, node);
    let share_process_namespace = node.bool("shareProcessNamespace").unwrap_or(false);
    if let (true, true, Some(written)) =
        (share_process_namespace, host_pid, node.get("shareProcessNamespace"))
    {
        report.invalid(written, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    let grace = bounded(report, node, "terminationGracePeriodSeconds", 0..=i64::MAX).unwrap_or(30);
    let grace_seconds = u64::try_from(grace).unwrap_or(30);
    let volumes = volume::volumes(report, node);
    let mut read_list = |field: &str, is_init: bool| -> Vec<Container> {
        let around = Surroundings { spec: node, is_init, host_network, grace_seconds };
        node.list(field).iter().map(|node| container::container(report, node, &around)).collect()
    };
    let init_containers = read_list("initContainers", true);
    let containers = read_list("containers", false);
    names_are_unique(report, node);
    host_ports_are_unique(report, node, host_network);
    warn_of_shared_ports(report, node, &containers);
    volume::warn_of_unmounted(report, node);
    system_is_linux(report, node);
    let policies = [
        ("Always", RestartPolicy::Always),
        ("Never", RestartPolicy::Never),
        ("OnFailure", RestartPolicy::OnFailure),
    ];
    let dns_policy = dns_policy(report, node);
    let mut spec = PodSpec {
        init_containers,
        containers,
        ephemeral_containers: Vec::new(),
        restart_policy: choice(report, node, "restartPolicy", &policies).unwrap_or_default(),
        termination_grace_period_seconds: grace_seconds,
        active_deadline_seconds: bounded(report, node, "activeDeadlineSeconds", 1..=i64::from(i32::MAX))
            .and_then(|seconds| u64::try_from(seconds).ok()),
        volumes,
        share_process_namespace,
        host_network,
        host_pid,
        host_ipc,
        host_users,
        hostname: ruled(report, node, "hostname", names::dns_label).map(str::to_owned),
        subdomain: ruled(report, node, "subdomain", names::dns_label).map(str::to_owned),
        set_hostname_as_fqdn: node.bool("setHostnameAsFQDN").unwrap_or(false),
        hostname_override: hostname_override(report, node, host_network),
        host_aliases: host_aliases(report, node),
        dns_config: dns_config(report, node, dns_policy),
        dns_policy,
        security_context: security::of_pod(report, node, host_network, host_ipc),
        readiness_gates: readiness_gates(report, node),
        enable_service_links: node.bool("enableServiceLinks").unwrap_or(true),
        service_account_name: service_account(report, node),
        image_pull_secrets: image_pull_secrets(node),
        node_name: ruled(report, node, "nodeName", names::dns_subdomain).map(str::to_owned),
        runtime_class_name: ruled(report, node, "runtimeClassName", names::dns_subdomain).map(str::to_owned),
        resources: None,
    };
    spec.resources = resources::of_pod(report, node, &spec);
    spec
}

/// A name of its own for the kernel, which takes 64 characters (KEP-4762).
fn hostname_override(report: &mut Report<'_, '_>, spec: &Node, host_network: bool) -> Option<String> {
    let name = ruled(report, spec, "hostnameOverride", names::dns_subdomain)?;
    let written = spec.get("hostnameOverride")?;
    if name.len() > 64 {
        report.invalid(written, "must be no more than 64 bytes");
    }
    if host_network {
        report.invalid(written, "may not be specified when 'hostNetwork' is true");
    }
    if spec.bool("setHostnameAsFQDN") == Some(true) {
        report.invalid(written, "may not be specified when 'setHostnameAsFQDN' is true");
    }
    Some(name.to_owned())
}

/// One name, one container, whatever its role.
fn names_are_unique(report: &mut Report<'_, '_>, spec: &Node) {
    let mut seen: Vec<&str> = Vec::new();
    for container in spec.list("initContainers").iter().chain(spec.list("containers")) {
        let Some(node) = container.get("name") else { continue };
        let Some(name) = node.as_text().filter(|name| !name.is_empty()) else { continue };
        if seen.contains(&name) {
            report.duplicate(node);
        }
        seen.push(name);
    }
}

/// A port of the node is given once: protocol, address and number together.
fn host_ports_are_unique(report: &mut Report<'_, '_>, spec: &Node, host_network: bool) {
    let mut seen: Vec<String> = Vec::new();
    for container in spec.list("initContainers").iter().chain(spec.list("containers")) {
        for port in container.list("ports") {
            let number = port.int("hostPort").filter(|number| *number != 0);
            let implied = if host_network { port.int("containerPort") } else { None };
            let Some(number) = number.or(implied) else { continue };
            let (protocol, ip) =
                (port.text("protocol").unwrap_or("TCP"), port.text("hostIP").unwrap_or_default());
            let key = format!("{protocol}/{ip}/{number}");
            if seen.contains(&key) {
                let field = if port.get("hostPort").is_some() { "hostPort" } else { "containerPort" };
                let written = port.get(field).unwrap_or(port);
                let message = format!("Duplicate value: {key:?}");
                report.add(Target::Value(written), ProblemKind::Duplicate, message, None);
            }
            seen.push(key);
        }
    }
}

/// Containers of a Pod share one network: two that declare one port will not both get it.
fn warn_of_shared_ports(report: &mut Report<'_, '_>, spec: &Node, containers: &[Container]) {
    let mut seen: Vec<(u16, Protocol, &str)> = Vec::new();
    for (container, node) in containers.iter().zip(spec.list("containers")) {
        // Ports that could not be read left no trace; then there are problems to mend first.
        if container.ports.len() != node.list("ports").len() {
            continue;
        }
        for (port, written) in container.ports.iter().zip(node.list("ports")) {
            let other = seen.iter().find(|(number, protocol, name)| {
                (*number, *protocol) == (port.container_port, port.protocol) && *name != container.name
            });
            if let (Some((_, _, other)), Some(value)) = (other, written.get("containerPort")) {
                let message = format!(
                    "containers {other:?} and {:?} both declare port {}: they share one network, and only one of them \
                     can listen there",
                    container.name, port.container_port
                );
                report.warn(Target::Value(value), ProblemKind::Suspicious, &message, None);
            }
            seen.push((port.container_port, port.protocol, &container.name));
        }
    }
}

fn system_is_linux(report: &mut Report<'_, '_>, spec: &Node) {
    if let Some(name) = spec.get("os").and_then(|os| os.get("name"))
        && name.as_text().is_some_and(|name| name != "linux" && !name.is_empty())
    {
        report.unsupported(name, &["linux"]);
    }
}

fn service_account(report: &mut Report<'_, '_>, spec: &Node) -> String {
    // serviceAccount is the deprecated name of the field.
    let name = ruled(report, spec, "serviceAccountName", names::dns_subdomain);
    let name = name.or_else(|| ruled(report, spec, "serviceAccount", names::dns_subdomain));
    name.unwrap_or("default").to_owned()
}

/// Kubernetes accepts a reference without a name and passes over it.
fn image_pull_secrets(spec: &Node) -> Vec<String> {
    let names = spec.list("imagePullSecrets").iter().filter_map(|secret| secret.filled_text("name"));
    names.map(str::to_owned).collect()
}

fn readiness_gates(report: &mut Report<'_, '_>, spec: &Node) -> Vec<String> {
    let gates = spec.list("readinessGates").iter();
    gates
        .filter_map(|gate| ruled(report, gate, "conditionType", names::qualified_name))
        .map(str::to_owned)
        .collect()
}

fn host_aliases(report: &mut Report<'_, '_>, spec: &Node) -> Vec<HostAlias> {
    let mut aliases = Vec::new();
    for node in spec.list("hostAliases") {
        let ip = ruled(report, node, "ip", names::ip).unwrap_or_default().to_owned();
        for name in node.list("hostnames") {
            if let Some(text) = name.as_text() {
                check(report, name, text, names::dns_subdomain);
            }
        }
        aliases.push(HostAlias { ip, hostnames: node.texts("hostnames") });
    }
    aliases
}

fn dns_policy(report: &mut Report<'_, '_>, spec: &Node) -> DnsPolicy {
    let policies = [
        ("ClusterFirst", DnsPolicy::ClusterFirst),
        ("ClusterFirstWithHostNet", DnsPolicy::ClusterFirstWithHostNet),
        ("Default", DnsPolicy::Default),
        ("None", DnsPolicy::None),
    ];
    choice(report, spec, "dnsPolicy", &policies).unwrap_or_default()
}

fn dns_config(report: &mut Report<'_, '_>, spec: &Node, policy: DnsPolicy) -> DnsConfig {
    let node = spec.get("dnsConfig");
    if policy == DnsPolicy::None {
        match node {
            None => {
                let why = "must provide `dnsConfig` when `dnsPolicy` is None";
                report.required_because(spec, "dnsConfig", why, None);
            }
            Some(node) if node.list("nameservers").is_empty() => {
                let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                report.required_because(node, "nameservers", why, None);
            }
            Some(_) => {}
        }
    }
    let Some(node) = node else { return DnsConfig::default() };
    limited(report, node, "nameservers", MOST_NAMESERVERS, names::ip);
    limited(report, node, "searches", MOST_SEARCHES, search_domain);
    let mut options = Vec::new();
    for option in node.list("options") {
        match option.filled_text("name") {
            Some(name) => options.push((name.to_owned(), option.text("value").map(str::to_owned))),
            None => report.required(option, "name"),
        }
    }
    DnsConfig { nameservers: node.texts("nameservers"), searches: node.texts("searches"), options }
}

/// A list with a limit, each of whose texts keeps a rule.
fn limited(
    report: &mut Report<'_, '_>,
    node: &Node,
    field: &str,
    most: usize,
    rule: fn(&str) -> Result<(), names::Broken>,
) {
    let list = node.list(field);
    if list.len() > most {
        let message = format!("Invalid value: must not have more than {most} entries");
        report.add(Target::Missing(node, field), ProblemKind::Invalid, message, None);
    }
    for item in list {
        if let Some(text) = item.as_text() {
            check(report, item, text, rule);
        }
    }
}

/// A search domain may end with a dot, and may be the root itself; `_` is in use (KEP-4427).
fn search_domain(text: &str) -> Result<(), names::Broken> {
    match text {
        "." => Ok(()),
        _ => names::dns_subdomain(&text.strip_suffix('.').unwrap_or(text).replace('_', "a")),
    }
}
