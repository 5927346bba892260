//! What `podling serve` is to do: the command line over the configuration file over the defaults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::CollectionPolicy;
use lifecycle::Policy;
use serde::Deserialize;

use crate::failure::Failure;
use crate::typed;

/// A network in CIDR form.
pub(super) type Network = engine::PodRange;

/// Everything, decided.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    pub(super) listen: SocketAddr,
    /// Whether it is a node itself.
    pub(super) is_node: bool,
    pub(super) data_dir: PathBuf,
    pub(super) run_dir: PathBuf,
    pub(super) image_dir: PathBuf,
    /// The node's range; one that is free without it.
    pub(super) pod_cidr: Option<Network>,
    pub(super) service_cidr: Network,
    /// The machine's host name without it.
    pub(super) node_name: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    /// Further names and addresses in the server's certificate.
    pub(super) tls_names: Vec<String>,
    pub(super) event_ttl: Duration,
    /// What slow clients are given, when it is not the server's own measure.
    pub(super) client_timeout: Option<Duration>,
    pub(super) runtime: Option<PathBuf>,
    pub(super) layer_form: Option<image::LayerForm>,
    pub(super) image_collection: CollectionPolicy,
    /// Delays of restarts and the like.
    pub(super) policy: Policy,
}

/// The configuration file: the same names as the flags, in TOML.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Written {
    listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    image_dir: Option<PathBuf>,
    pod_cidr: Option<String>,
    service_cidr: Option<String>,
    node_name: Option<String>,
    labels: BTreeMap<String, String>,
    tls_names: Vec<String>,
    event_ttl: Option<String>,
    runtime: Option<PathBuf>,
    max_restart_delay: Option<String>,
    image_gc: Option<String>,
    image_max_age: Option<String>,
    layers: Option<String>,
    no_node: bool,
}

/// Where a node serves that joined, the kubelet's port.
const NODE_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 10250);
/// Where the server listens.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);
/// Kubernetes' usual range of Services.
const SERVICE_CIDR: &str = "10.96.0.0/16";
/// What the longest delay between restarts may be, as for a kubelet (KEP-5593).
const RESTART_DELAYS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// How long an event is kept.
const EVENT_TTL: Duration = Duration::from_secs(24 * 3600);

/// Reads the file, if there is one, and decides.
pub(super) fn decide(asked: typed::Serve) -> Result<Settings, Failure> {
    let written = match &asked.config {
        Some(path) => read(path)?,
        None => Written::default(),
    };
    let node = asked.node;
    let network = |name: &'static str, text: String| {
        text.parse::<Network>().map_err(|error| Failure::Setting { name, text, why: error.to_string() })
    };
    let pod_cidr = node.pod_cidr.or(written.pod_cidr).map(|text| network("pod-cidr", text)).transpose()?;
    let service_cidr = asked.service_cidr.or(written.service_cidr).unwrap_or_else(|| SERVICE_CIDR.to_owned());
    let service_cidr = network("service-cidr", service_cidr)?;
    if let Some(overlapping) = pod_cidr.filter(|pods| pods.overlaps(service_cidr)) {
        let why = format!("it overlaps with service-cidr {service_cidr}");
        return Err(Failure::Setting { name: "pod-cidr", text: overlapping.to_string(), why });
    }
    let event_ttl = chosen("event-ttl", asked.event_ttl, written.event_ttl, typed::parse_duration)?;
    let (name, asked_delay) = ("max-restart-delay", node.max_restart_delay);
    let policy = policy(chosen(name, asked_delay, written.max_restart_delay, typed::parse_duration)?)?;
    let shares = chosen("image-gc", node.collection.image_gc, written.image_gc, typed::parse_shares)?;
    let (name, asked_age) = ("image-max-age", node.collection.image_max_age);
    let max_age = chosen(name, asked_age, written.image_max_age, typed::parse_duration)?;
    let layers = chosen("layers", None, written.layers, typed::parse_layers)?;
    let layer_form = node.layers.form().or_else(|| layers.and_then(typed::image::Layers::form));
    let node_name = asked.node_name.or(written.node_name);
    if let Some(name) = &node_name {
        model::names::dns_subdomain(name).map_err(|why| Failure::Setting {
            name: "node-name",
            text: name.clone(),
            why: why.to_string(),
        })?;
    }
    let mut labels = written.labels;
    labels.extend(node.labels);
    let mut tls_names = written.tls_names;
    tls_names.extend(asked.tls_names);
    let absolute = |path: PathBuf| std::path::absolute(&path).map_err(Failure::io("find", path));
    Ok(Settings {
        is_node: !(asked.no_node || written.no_node),
        listen: asked.listen.or(written.listen).unwrap_or(LISTEN),
        data_dir: absolute(asked.data_dir.or(written.data_dir).unwrap_or_else(|| "/var/lib/podling".into()))?,
        run_dir: absolute(asked.run_dir.or(written.run_dir).unwrap_or_else(|| "/run/podling".into()))?,
        image_dir: absolute(
            asked.image_dir.or(written.image_dir).unwrap_or_else(|| "/var/lib/podling/images".into()),
        )?,
        pod_cidr,
        service_cidr,
        node_name,
        labels,
        tls_names,
        event_ttl: event_ttl.unwrap_or(EVENT_TTL),
        client_timeout: asked.client_timeout,
        runtime: node.runtime.or(written.runtime),
        layer_form,
        image_collection: collection(shares, max_age),
        policy,
    })
}

/// What the command line says, or else the file.
fn chosen<T>(
    name: &'static str,
    asked: Option<T>,
    written: Option<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Failure> {
    match (asked, written) {
        (Some(asked), _) => Ok(Some(asked)),
        (None, Some(text)) => parse(&text).map(Some).map_err(|why| Failure::Setting { name, text, why }),
        (None, None) => Ok(None),
    }
}

/// The kubelet's delays, but for the longest one between restarts of a container.
fn policy(longest: Option<Duration>) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    let Some(longest) = longest else { return Ok(policy) };
    if !RESTART_DELAYS.contains(&longest) {
        let (text, why) = (format!("{}s", longest.as_secs_f64()), "it must be from 1s to 5m".to_owned());
        return Err(Failure::Setting { name: "max-restart-delay", text, why });
    }
    policy.restart.max_seconds = longest.as_secs();
    Ok(policy)
}

/// The kubelet's, but for what is said.
fn collection(shares: Option<(u8, u8)>, maximum_age: Option<Duration>) -> CollectionPolicy {
    let usual = CollectionPolicy::default();
    let (high_percent, low_percent) = shares.unwrap_or((usual.high_percent, usual.low_percent));
    CollectionPolicy { high_percent, low_percent, maximum_age, ..usual }
}

/// The same for a node that joins: it has no objects, so the control plane's settings do not matter.
pub(super) fn of_join(asked: typed::Join) -> Result<Settings, Failure> {
    decide(typed::Serve {
        listen: Some(asked.listen.unwrap_or(NODE_LISTEN)),
        data_dir: Some(asked.directories.data_dir),
        run_dir: Some(asked.directories.run_dir),
        image_dir: Some(asked.directories.image_dir),
        node: asked.node,
        ..typed::Serve::default()
    })
}

fn read(path: &Path) -> Result<Written, Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::io("read", path))?;
    toml::from_str(&text)
        .map_err(|source| Failure::Configuration { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> typed::Serve {
        typed::Serve::default()
    }

    fn with_file(text: &str) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.toml");
        std::fs::write(&path, text).unwrap();
        decide(typed::Serve { config: Some(path), ..asked() })
    }

    #[test]
    fn without_anything_the_defaults_hold() {
        let settings = decide(asked()).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:6443");
        assert_eq!(settings.data_dir, Path::new("/var/lib/podling"));
        assert_eq!(settings.service_cidr.to_string(), "10.96.0.0/16");
        assert_eq!(settings.event_ttl, Duration::from_secs(86_400));
    }

    #[test]
    fn the_command_line_is_above_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.toml");
        std::fs::write(
            &path,
            "listen = \"127.0.0.1:1\"\nnode-name = \"a\"\nevent-ttl = \"1h\"\n[labels]\nx = \"y\"\n",
        )
        .unwrap();
        let asked = typed::Serve { config: Some(path), node_name: Some("b".into()), ..asked() };
        let settings = decide(asked).unwrap();
        assert_eq!(settings.node_name.as_deref(), Some("b"));
        assert_eq!(settings.listen.port(), 1);
        assert_eq!(settings.event_ttl, Duration::from_secs(3600));
        assert_eq!(settings.labels["x"], "y");
    }

    #[test]
    fn the_longest_restart_delay_is_a_kubelets() {
        let longest =
            |text: &str| with_file(&format!("max-restart-delay = {text:?}")).map(|s| s.policy.restart);
        assert_eq!(longest("90s").unwrap().max_seconds, 90);
        assert_eq!(decide(asked()).unwrap().policy, Policy::default());
        for wrong in ["0s", "6m", "soon"] {
            assert!(longest(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn images_are_kept_as_a_kubelet_keeps_them_unless_something_else_is_said() {
        assert_eq!(decide(asked()).unwrap().image_collection, CollectionPolicy::default());
        let settings = with_file("image-gc = \"70:60\"\nimage-max-age = \"48h\"").unwrap();
        let policy = settings.image_collection;
        assert_eq!((policy.high_percent, policy.low_percent), (70, 60));
        assert_eq!(policy.maximum_age, Some(Duration::from_secs(48 * 3600)));
        let form = with_file("layers = \"directories\"").unwrap().layer_form;
        assert_eq!(form, Some(image::LayerForm::Directory));
        for wrong in ["image-gc = \"60:70\"", "image-max-age = \"old\"", "layers = \"tar\""] {
            assert!(with_file(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_file_says_where() {
        let error = with_file("listen = \"127.0.0.1:1\"\nlisen = 3\n").unwrap_err();
        let text = crate::failure::chain(&error);
        assert!(text.contains("line 2") && text.contains("lisen"), "{text}");
        assert!(with_file("pod-cidr = \"10.1.2.3/24\"").is_err());
        assert!(with_file("node-name = \"A b\"").is_err());
        let error = with_file("pod-cidr = \"10.96.3.0/24\"").unwrap_err();
        assert!(error.to_string().contains("overlaps"), "{error}");
    }
}
