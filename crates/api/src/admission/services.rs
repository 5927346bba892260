//! Addresses and ports of Services. Each that is taken is a row of its own in the store, written and removed in the
//! transaction of its Service: so that no two Services ever get the same one, whoever is faster, and none is lost.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use apimachinery::field_error::FieldError;
use apimachinery::status::Status;
use serde_json::{Value, json};
use store::Operation;

use crate::api::{Api, ServiceCidr};
use crate::call::Call;
use crate::fresh;
use crate::kinds::fill::{child, drop_field, text};
use crate::objects::metadata;
use crate::respond::Failure;

/// Ports of nodes that Services may have, as kube-apiserver's `--service-node-port-range`.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;
/// Rows of addresses; no kind has this name.
const ADDRESSES: &str = "allocated/addresses";
/// Rows of ports.
const PORTS: &str = "allocated/nodeports";

/// Gives a new Service its address and ports.
pub(super) fn create(api: &Arc<Api>, call: &Call, service: &mut Value) -> Result<Vec<Operation>, Failure> {
    let free = Free::read(api);
    let before = BTreeSet::new();
    let needs_none = matches!(text(service, "/spec/type"), Some("ExternalName"));
    if needs_none {
        drop_field(child(service, "spec"), "clusterIP");
        drop_field(child(service, "spec"), "clusterIPs");
    } else {
        address(api.options.service_cidr, call, service, &free, &before)?;
    }
    ports(call, service, &free, &before)?;
    Ok(claims(service).into_iter().map(|key| taken(&key, service)).collect())
}

/// Gives a changed Service what it needs more than before.
pub(super) fn update(api: &Arc<Api>, call: &Call, old: &Value, new: &mut Value) -> Result<(), Failure> {
    let free = Free::read(api);
    let before: BTreeSet<String> = claims(old).into_iter().collect();
    let was_external = text(old, "/spec/type") == Some("ExternalName");
    let is_external = text(new, "/spec/type") == Some("ExternalName");
    if is_external {
        drop_field(child(new, "spec"), "clusterIP");
        drop_field(child(new, "spec"), "clusterIPs");
    } else {
        let spec = child(new, "spec");
        if !was_external && text(spec, "/clusterIP").is_none() {
            for field in ["clusterIP", "clusterIPs"] {
                crate::kinds::fill::keep(spec, &old["spec"], field);
            }
        }
        let (was, is) = (text(old, "/spec/clusterIP"), text(new, "/spec/clusterIP"));
        if !was_external && was != is {
            let fault =
                FieldError::invalid("spec.clusterIPs[0]", is.map(str::to_owned), "may not change once set");
            return Err(Status::invalid(&call.group_kind(), call.name(), &[fault]).into());
        }
        address(api.options.service_cidr, call, new, &free, &before)?;
    }
    keep_ports(old, new);
    ports(call, new, &free, &before)
}

/// The claims that a change adds and gives back.
pub(super) fn beside_update(
    api: &Arc<Api>,
    old: &Value,
    new: Option<&Value>,
) -> Result<Vec<Operation>, Failure> {
    let before: BTreeSet<String> = claims(old).into_iter().collect();
    let after: BTreeSet<String> = new.map(claims).unwrap_or_default().into_iter().collect();
    let mut operations: Vec<Operation> =
        new.into_iter().flat_map(|new| after.difference(&before).map(|key| taken(key, new))).collect();
    for key in before.difference(&after) {
        if let Some(row) = api.store.get(key) {
            operations.push(Operation::Delete { key: key.as_str().into(), expected: row.revision });
        }
    }
    Ok(operations)
}

/// What is taken now. Somebody may be faster afterwards: then the transaction fails, and is made anew.
struct Free {
    taken: BTreeSet<String>,
}

impl Free {
    fn read(api: &Api) -> Free {
        let mut taken = BTreeSet::new();
        for prefix in [ADDRESSES, PORTS] {
            taken.extend(api.rows(&format!("{prefix}/")).into_iter().map(|row| row.key.to_string()));
        }
        Free { taken }
    }

    fn has(&self, key: &str, before: &BTreeSet<String>) -> bool {
        before.contains(key) || !self.taken.contains(key)
    }
}

fn taken(key: &str, service: &Value) -> Operation {
    let owner = format!("{}/{}", metadata::namespace(service), metadata::name(service));
    Operation::Create { key: key.into(), value: owner.into_bytes().into() }
}

/// The rows that stand for what a Service has.
fn claims(service: &Value) -> Vec<String> {
    let address = text(service, "/spec/clusterIP").filter(|address| address.parse::<Ipv4Addr>().is_ok());
    let mut claims: Vec<String> =
        address.map(|address| format!("{ADDRESSES}/{address}")).into_iter().collect();
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let mut seen = BTreeSet::new();
    for port in ports {
        let number = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
        let protocol = text(port, "/protocol").unwrap_or("TCP");
        if number != 0 && seen.insert((protocol.to_owned(), number)) {
            claims.push(format!("{PORTS}/{protocol}/{number}"));
        }
    }
    claims
}

fn invalid(call: &Call, service: &Value, fault: FieldError) -> Failure {
    Status::invalid(&call.group_kind(), metadata::name(service), &[fault]).into()
}

fn address(
    cidr: ServiceCidr,
    call: &Call,
    service: &mut Value,
    free: &Free,
    before: &BTreeSet<String>,
) -> Result<(), Failure> {
    let asked = text(service, "/spec/clusterIP").or_else(|| text(service, "/spec/clusterIPs/0"));
    let address = match asked.map(str::to_owned) {
        Some(asked) if asked == "None" => asked,
        Some(asked) => {
            let fault = match asked.parse::<Ipv4Addr>() {
                Err(_) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()),
                Ok(address) if !cidr.contains(address) => Some(format!(
                    "failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. The range of valid IPs is {cidr}"
                )),
                Ok(_) if !free.has(&format!("{ADDRESSES}/{asked}"), before) => {
                    Some(format!("failed to allocate IP {asked}: provided IP is already allocated"))
                }
                Ok(_) => None,
            };
            if let Some(why) = fault {
                return Err(invalid(
                    call,
                    service,
                    FieldError::invalid("spec.clusterIPs", json!([asked]), why),
                ));
            }
            asked
        }
        None => {
            let start = u32::from_be_bytes(fresh::random()?);
            let found = cidr.from(start).find(|address| free.has(&format!("{ADDRESSES}/{address}"), before));
            let Some(found) = found else {
                return Err(Failure::internal(
                    "allocate an address for a Service",
                    &format!("{cidr} is full"),
                ));
            };
            found.to_string()
        }
    };
    let spec = child(service, "spec");
    spec["clusterIP"] = json!(address);
    spec["clusterIPs"] = json!([address]);
    Ok(())
}

/// Ports that were given stay with their port's name, number or place.
fn keep_ports(old: &Value, new: &mut Value) {
    if !has_node_ports(new) {
        return;
    }
    let old: Vec<Value> = old.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    for port in crate::kinds::fill::items(child(new, "spec"), "ports") {
        let same =
            old.iter().find(|old| old.get("port") == port.get("port") && old["protocol"] == port["protocol"]);
        if port.get("nodePort").is_none_or(|number| number.is_null() || number == 0)
            && let Some(number) = same.and_then(|old| old.get("nodePort"))
        {
            port["nodePort"] = number.clone();
        }
    }
}

fn has_node_ports(service: &Value) -> bool {
    match text(service, "/spec/type") {
        Some("NodePort") => true,
        Some("LoadBalancer") => {
            service.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool) != Some(false)
        }
        _ => false,
    }
}

fn ports(call: &Call, service: &mut Value, free: &Free, before: &BTreeSet<String>) -> Result<(), Failure> {
    let gives = has_node_ports(service);
    let mut given = BTreeSet::new();
    let mut fault = None;
    for (index, port) in crate::kinds::fill::items(child(service, "spec"), "ports").enumerate() {
        let protocol = text(port, "/protocol").unwrap_or("TCP").to_owned();
        let key = |number: u16| format!("{PORTS}/{protocol}/{number}");
        match port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) {
            0 if !gives => {
                drop_field(port, "nodePort");
            }
            0 => {
                let count = u32::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
                let start = u32::from_be_bytes(fresh::random()?) % count;
                let found = (0..count)
                    .map(|step| NODE_PORTS.start() + ((start + step) % count) as u16)
                    .find(|number| free.has(&key(*number), before) && !given.contains(&key(*number)));
                let Some(found) = found else {
                    return Err(Failure::internal("allocate a node port", &"all of them are taken"));
                };
                given.insert(key(found));
                port["nodePort"] = json!(found);
            }
            asked => {
                let number = u16::try_from(asked).ok().filter(|number| NODE_PORTS.contains(number));
                let why = match number {
                    None => format!(
                        "provided port is not in the valid range. The range of valid ports is {}-{}",
                        NODE_PORTS.start(),
                        NODE_PORTS.end()
                    ),
                    Some(number) if !free.has(&key(number), before) => {
                        "provided port is already allocated".to_owned()
                    }
                    Some(number) => {
                        given.insert(key(number));
                        continue;
                    }
                };
                fault = Some(FieldError::invalid(format!("spec.ports[{index}].nodePort"), asked, why));
            }
        }
    }
    fault.map_or(Ok(()), |fault| Err(invalid(call, service, fault)))
}

impl ServiceCidr {
    /// Whether Services may have that address. The first is the network's own, the last its broadcast.
    fn contains(self, address: Ipv4Addr) -> bool {
        let (first, count) = self.hosts();
        (first..first.saturating_add(count)).contains(&u32::from(address))
    }

    /// Its addresses, once around from somewhere.
    fn from(self, start: u32) -> impl Iterator<Item = Ipv4Addr> {
        let (first, count) = self.hosts();
        let start = start % count.max(1);
        (0..count).map(move |step| Ipv4Addr::from(first + (start + step) % count))
    }

    fn hosts(self) -> (u32, u32) {
        let bits = 32 - u32::from(self.prefix.min(32));
        let size = 1u64 << bits;
        let network = u64::from(u32::from(self.network)) / size * size;
        (network as u32 + 1, (size.saturating_sub(2)) as u32)
    }
}

impl std::fmt::Display for ServiceCidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_within_the_network() {
        let cidr = ServiceCidr { network: Ipv4Addr::new(10, 96, 0, 0), prefix: 29 };
        let all: BTreeSet<Ipv4Addr> = cidr.from(1_000_003).collect();
        assert_eq!(all.len(), 6);
        assert!(all.iter().all(|address| cidr.contains(*address)));
        assert!(!cidr.contains(Ipv4Addr::new(10, 96, 0, 0)) && !cidr.contains(Ipv4Addr::new(10, 96, 0, 7)));
    }

    #[test]
    fn a_service_claims_what_it_has() {
        let service = json!({"spec": {"clusterIP": "10.96.0.9", "ports": [
            {"protocol": "TCP", "nodePort": 30001}, {"protocol": "UDP", "nodePort": 30001}, {"protocol": "TCP"},
        ]}});
        assert_eq!(
            claims(&service),
            [
                "allocated/addresses/10.96.0.9",
                "allocated/nodeports/TCP/30001",
                "allocated/nodeports/UDP/30001"
            ]
        );
        assert_eq!(claims(&json!({"spec": {"clusterIP": "None"}})), [""; 0]);
    }
}
