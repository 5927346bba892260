//! Services and what stands behind and before them.

use serde_json::{Value, json};

use super::view::{View, first_of};
use super::{AGE, Cells, Column, NAME, Printer};

pub(super) fn printer(group: &str, kind: &str) -> Option<Printer> {
    let (columns, cells): (&'static [Column], Cells) = match (group, kind) {
        ("", "Service") => (SERVICES, service),
        ("", "Endpoints") => (ENDPOINTS, endpoints),
        ("discovery.k8s.io", "EndpointSlice") => (SLICES, slice),
        ("networking.k8s.io", "Ingress") => (INGRESSES, ingress),
        ("networking.k8s.io", "IngressClass") => (INGRESS_CLASSES, ingress_class),
        ("networking.k8s.io", "NetworkPolicy") => (POLICIES, policy),
        ("networking.k8s.io", "IPAddress") => (ADDRESSES, ip_address),
        ("networking.k8s.io", "ServiceCIDR") => (SERVICE_CIDRS, service_cidr),
        _ => return None,
    };
    Some(Printer { columns, cells })
}

const SERVICES: &[Column] = &[
    NAME,
    Column::new("Type", "string", 0, "type determines how the Service is exposed. Defaults to ClusterIP."),
    Column::new("Cluster-IP", "string", 0, "clusterIP is the IP address of the service."),
    Column::new(
        "External-IP",
        "string",
        0,
        "IP addresses for which nodes will also accept traffic for this service.",
    ),
    Column::new("Port(s)", "string", 0, "The list of ports that are exposed by this service."),
    AGE,
    Column::new(
        "Selector",
        "string",
        1,
        "Route service traffic to pods with label keys and values matching this selector.",
    ),
];

const ENDPOINTS: &[Column] = &[
    NAME,
    Column::new("Endpoints", "string", 0, "The set of all endpoints is the union of all subsets."),
    AGE,
];

const SLICES: &[Column] = &[
    NAME,
    Column::new(
        "AddressType",
        "string",
        0,
        "addressType specifies the type of address carried by this EndpointSlice.",
    ),
    Column::new(
        "Ports",
        "string",
        0,
        "ports specifies the list of network ports exposed by each endpoint in this slice.",
    ),
    Column::new("Endpoints", "string", 0, "endpoints is a list of unique endpoints in this slice."),
    AGE,
];

const INGRESSES: &[Column] = &[
    NAME,
    Column::new(
        "Class",
        "string",
        0,
        "The name of the IngressClass resource that should be used for this Ingress.",
    ),
    Column::new(
        "Hosts",
        "string",
        0,
        "Hosts that incoming requests are matched against before the ingress rule",
    ),
    Column::new("Address", "string", 0, "Address is a list containing ingress points for the load-balancer"),
    Column::new("Ports", "string", 0, "Ports of TLS configurations that open"),
    AGE,
];

const INGRESS_CLASSES: &[Column] = &[
    NAME,
    Column::new("Controller", "string", 0, "Controller that is responsible for handling this class"),
    Column::new("Parameters", "string", 0, "A reference to a resource with additional parameters"),
    AGE,
];

const POLICIES: &[Column] =
    &[NAME, Column::new("Pod-Selector", "string", 0, "The pods to which this NetworkPolicy applies."), AGE];

const ADDRESSES: &[Column] = &[
    NAME,
    Column::new(
        "ParentRef",
        "string",
        0,
        "ParentRef references the resource that an IPAddress is attached to.",
    ),
];

const SERVICE_CIDRS: &[Column] = &[
    NAME,
    Column::new(
        "CIDRs",
        "string",
        0,
        "CIDRs defines the IP blocks from which to assign service cluster IPs.",
    ),
    AGE,
];

fn service(service: &View<'_>) -> Vec<Value> {
    let cluster_ip = service.text_or("/spec/clusterIPs/0", service.text("/spec/clusterIP"));
    let ports: Vec<String> = service
        .list("/spec/ports")
        .iter()
        .map(|port| {
            let node_port = match port.integer("/nodePort") {
                0 => String::new(),
                number => format!(":{number}"),
            };
            format!("{}{node_port}/{}", port.integer("/port"), port.text_or("/protocol", "TCP"))
        })
        .collect();
    vec![
        service.name(),
        json!(service.text("/spec/type")),
        json!(if cluster_ip.is_empty() { "<none>" } else { cluster_ip }),
        json!(external_ip(service)),
        json!(if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }),
        service.age(),
        service.labels("/spec/selector"),
    ]
}

fn external_ip(service: &View<'_>) -> String {
    let external = service.texts("/spec/externalIPs");
    match service.text("/spec/type") {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external.join(","),
        "LoadBalancer" => {
            let mut all = load_balancer(service);
            all.extend(external.into_iter().map(str::to_owned));
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => service.text("/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// Addresses or names of the load balancer, each once.
fn load_balancer(object: &View<'_>) -> Vec<String> {
    let mut all: Vec<String> = object
        .list("/status/loadBalancer/ingress")
        .iter()
        .map(|ingress| ingress.text_or("/ip", ingress.text("/hostname")).to_owned())
        .filter(|text| !text.is_empty())
        .collect();
    all.sort();
    all.dedup();
    all
}

/// `[::1]:80`, as Go's net.JoinHostPort.
fn host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn endpoints(object: &View<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in object.list("/subsets") {
        let (ports, addresses) = (subset.list("/ports"), subset.list("/addresses"));
        if ports.is_empty() {
            all.extend(addresses.iter().map(|address| address.text("/ip").to_owned()));
        }
        for port in ports {
            let number = port.integer("/port");
            all.extend(addresses.iter().map(|address| host_port(address.text("/ip"), number)));
        }
    }
    vec![object.name(), json!(first_of(&all, 3, "<none>")), object.age()]
}

fn slice(object: &View<'_>) -> Vec<Value> {
    let ports: Vec<String> = object
        .list("/ports")
        .iter()
        .map(|port| match (port.has("/port"), port.text("/name")) {
            (true, _) => port.integer("/port").to_string(),
            (false, "") => "*".to_owned(),
            (false, name) => name.to_owned(),
        })
        .collect();
    let addresses: Vec<String> = object
        .list("/endpoints")
        .iter()
        .flat_map(|endpoint| endpoint.texts("/addresses"))
        .map(str::to_owned)
        .collect();
    vec![
        object.name(),
        json!(object.text("/addressType")),
        json!(first_of(&ports, 3, "<unset>")),
        json!(first_of(&addresses, 3, "<unset>")),
        object.age(),
    ]
}

fn ingress(object: &View<'_>) -> Vec<Value> {
    let rules = object.list("/spec/rules");
    let hosts: Vec<String> =
        rules.iter().map(|rule| rule.text("/host").to_owned()).filter(|host| !host.is_empty()).collect();
    let ports = if object.count("/spec/tls") > 0 { "80, 443" } else { "80" };
    vec![
        object.name(),
        object.cell_or("/spec/ingressClassName", "<none>"),
        json!(first_of(&hosts, 3, "*")),
        json!(load_balancer(object).join(",")),
        json!(ports),
        object.age(),
    ]
}

fn ingress_class(object: &View<'_>) -> Vec<Value> {
    let parameters = object.at("/spec/parameters");
    let parameters = match (parameters.text("/kind"), parameters.text("/apiGroup")) {
        ("", _) => "<none>".to_owned(),
        (kind, "") => format!("{kind}/{}", parameters.text("/name")),
        (kind, group) => format!("{kind}.{group}/{}", parameters.text("/name")),
    };
    vec![object.name(), json!(object.text("/spec/controller")), json!(parameters), object.age()]
}

fn policy(object: &View<'_>) -> Vec<Value> {
    vec![object.name(), object.selector("/spec/podSelector"), object.age()]
}

fn ip_address(object: &View<'_>) -> Vec<Value> {
    let parent = object.at("/spec/parentRef");
    let parts: Vec<&str> = ["/group", "/resource", "/namespace", "/name"]
        .iter()
        .map(|part| parent.text(part))
        .filter(|part| !part.is_empty())
        .collect();
    vec![object.name(), json!(parts.join("/"))]
}

fn service_cidr(object: &View<'_>) -> Vec<Value> {
    vec![object.name(), json!(object.texts("/spec/cidrs").join(",")), object.age()]
}
