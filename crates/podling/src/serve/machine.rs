//! What the Node object says of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use node_agent::NodeFacts;

use super::settings::Settings;

/// Pods that a node takes, the kubelet's default.
const MOST_PODS: &str = "110";

/// What kubectl shows as the node's version: the level of the API, and podling's own.
const VERSION: &str = concat!("v1.37.0+podling-", env!("CARGO_PKG_VERSION"));

/// Looks at the machine.
pub(super) fn facts(settings: &Settings, name: String, host_address: Option<IpAddr>) -> NodeFacts {
    NodeFacts {
        hostname: hostname(),
        labels: settings.labels.clone(),
        internal_ips: host_address.map(|ip| ip.to_string()).into_iter().collect(),
        pod_cidr: settings.pod_cidr.map(|cidr| cidr.to_string()),
        capacity: capacity(settings),
        info: info(),
        user_namespaces: crate::doctor::has_user_namespaces(),
        node_api_port: None,
        started_wall_nanos: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
        name,
    }
}

/// The machine's host name, as a node's name: lower case, and nothing that a name may not have.
pub(super) fn node_name() -> String {
    let clean: String = hostname()
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '-' })
        .collect();
    let trimmed = clean.trim_matches(['-', '.']);
    if trimmed.is_empty() { "podling".to_owned() } else { trimmed.to_owned() }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn capacity(settings: &Settings) -> BTreeMap<String, String> {
    let memory = rustix::system::sysinfo();
    let memory_kib = (memory.totalram as u64).saturating_mul(u64::from(memory.mem_unit)) >> 10;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut capacity = BTreeMap::from([
        ("cpu".to_owned(), cores.to_string()),
        ("memory".to_owned(), format!("{memory_kib}Ki")),
        ("pods".to_owned(), MOST_PODS.to_owned()),
    ]);
    if let Ok(disk) = rustix::fs::statvfs(&settings.data_dir) {
        let total_kib = disk.f_blocks.saturating_mul(disk.f_frsize) >> 10;
        capacity.insert("ephemeral-storage".to_owned(), format!("{total_kib}Ki"));
    }
    for (size, bytes) in huge_pages() {
        capacity.insert(format!("hugepages-{size}"), bytes.to_string());
    }
    capacity
}

/// Huge pages of each size that the kernel has set aside.
fn huge_pages() -> Vec<(String, u64)> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count: u64 =
                fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
            let size = if kib >= 1 << 20 { format!("{}Gi", kib >> 20) } else { format!("{}Mi", kib >> 10) };
            Some((size, count * (kib << 10)))
        })
        .collect()
}

fn info() -> BTreeMap<String, String> {
    let uname = rustix::system::uname();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let version = env!("CARGO_PKG_VERSION");
    let facts = [
        ("machineID", line("/etc/machine-id")),
        ("systemUUID", line("/sys/class/dmi/id/product_uuid").to_lowercase()),
        ("bootID", line("/proc/sys/kernel/random/boot_id")),
        ("kernelVersion", uname.release().to_string_lossy().into_owned()),
        ("osImage", os_image()),
        ("containerRuntimeVersion", format!("podling://{version}")),
        ("kubeletVersion", VERSION.to_owned()),
        // Served until Kubernetes 1.33 and still a required field.
        ("kubeProxyVersion", String::new()),
        ("operatingSystem", "linux".to_owned()),
        ("architecture", architecture.to_owned()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The first line of a file; nothing, when it cannot be read.
fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
}

/// os-release(5).
fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches(['"', '\'']).to_owned())
}
