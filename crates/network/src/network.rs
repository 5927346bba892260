//! A node's network: takes Pods in and lets them go. Keeps what it must remember (addresses, host ports) and
//! calls the acting modules in order; what must be in the kernel is decided in [`crate::plan`].
//!
//! All calls block for the kernel's answers (about a millisecond); an async caller puts them on a blocking
//! thread. They must come from threads in the host's network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use linux::netlink::{Family, Socket};
use serde::{Deserialize, Serialize};

use crate::address::{Range, choose_address};
use crate::claim::Claims;
use crate::plan::{self, Chain, Forward, Owner, PodLink};
use crate::ports::{self, Held, HostPort};
use crate::{Error, flows, link, ruleset};

/// Where the claims of all nodes of the machine are noted.
pub const CLAIMS_DIR: &str = "/run/podling/network";
/// What the links carry when there is no way out that limits them.
const DEFAULT_MTU: u32 = 1500;

/// What a node's network is made from.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The node's run directory: written to everything of the node, so that leftovers are matched to it.
    pub run_dir: PathBuf,
    /// [`CLAIMS_DIR`], unless in a test.
    pub claims_dir: PathBuf,
    /// The range for Pods; none lets the node choose a free /24.
    pub pod_range: Option<Range>,
}

/// A Pod that is to be reachable.
#[derive(Debug)]
pub struct AttachRequest<'a> {
    /// The Pod.
    pub pod_uid: &'a str,
    /// Its network namespace. The descriptor is not kept: the namespace can die without asking us.
    pub netns: BorrowedFd<'a>,
    /// What is reachable at the host.
    pub host_ports: Vec<HostPort>,
}

/// A Pod that is reachable. Serialisable: a daemon that starts again hands it to [`Network::restore`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The Pod.
    pub pod_uid: String,
    /// `status.podIPs`: the first is `status.podIP`.
    pub addresses: Vec<IpAddr>,
    /// The host's address as the Pod sees it.
    pub gateway: IpAddr,
    /// The Pod's veth pair.
    pub link: PodLink,
    /// What is reachable at the host.
    pub host_ports: Vec<HostPort>,
    /// What does not work though the Pod runs; for the user.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
    /// How many pairs this Pod has had.
    salt: u32,
}

/// Something that a Pod goes without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Connections to beyond this machine find no way back.
    NoMasquerade {
        /// Why nftables refused.
        reason: String,
    },
    /// Another program's firewall drops forwarded packets by default.
    ForwardDropped {
        /// "table chain".
        chain: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NoMasquerade { reason } => {
                write!(f, "Pods cannot reach beyond this machine: nftables refused to masquerade ({reason})")
            }
            Warning::ForwardDropped { chain } => write!(
                f,
                "the firewall chain \"{chain}\" drops forwarded packets by default: Pods may reach neither each other \
                 nor the world until it accepts those from and to links named podling* (with Docker: \
                 iptables -I DOCKER-USER -i podling+ -j ACCEPT; iptables -I DOCKER-USER -o podling+ -j ACCEPT)"
            ),
        }
    }
}

/// A node's network. Dropping it changes nothing: containers outlive the daemon. [`Network::close`] removes it.
#[derive(Debug)]
pub struct Network {
    run_dir: String,
    wanted_range: Option<Range>,
    claims: Claims,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    route: Socket,
    /// Opened when the first rule is needed.
    netfilter: Option<Socket>,
    /// Claimed with the first Pod.
    range: Option<Range>,
    last_address: Option<Ipv4Addr>,
    pods: BTreeMap<String, Pod>,
    /// There is a way out, and Pods may use it.
    masquerade: bool,
    /// Why they cannot; not tried again.
    no_masquerade: Option<String>,
    /// What is in the node's table in the kernel; none when the last daemon wrote it.
    chains: Option<Vec<Chain>>,
    /// Chains of others that drop forwarded packets, as of the last change of ours.
    forward_dropped_by: Vec<String>,
}

#[derive(Debug)]
struct Pod {
    attachment: Attachment,
    held: Vec<Held>,
    /// It needs no rules any more; only its link and address are still there.
    is_leaving: bool,
}

impl Pod {
    fn new(attachment: Attachment, held: Vec<Held>) -> Self {
        Self { attachment, held, is_leaving: false }
    }

    /// Gives up its host ports; returns the link that is to be removed.
    fn leave(&mut self) -> String {
        self.is_leaving = true;
        self.held.clear();
        self.attachment.host_ports.clear();
        self.attachment.link.host_name.clone()
    }
}

/// The machine's own address, where packets to the world come from; none without a way out.
pub fn host_address() -> Option<IpAddr> {
    let mut route = Socket::open(Family::Route).ok()?;
    link::way_out(&mut route).ok().flatten()?.source.map(IpAddr::from)
}

impl Network {
    /// Opens the node's network. The kernel is not changed before the first Pod comes; a range that this node
    /// claimed before a restart of the daemon is taken over.
    pub fn open(config: NetworkConfig) -> Result<Self, Error> {
        let too_long = || Error::RunDirTooLong { run_dir: config.run_dir.clone() };
        let run_dir =
            config.run_dir.to_str().filter(|path| path.len() <= 150).ok_or_else(too_long)?.to_owned();
        if let Some(range) = config.pod_range.filter(|range| range.prefix_len() > 29) {
            return Err(Error::RangeTooSmall { range });
        }
        let claims = Claims::new(&config.claims_dir)?;
        let opening = |source| Error::kernel("opening a netlink socket", source);
        let mut route = Socket::open(Family::Route).map_err(opening)?;
        // Without a directory there is no claim of anybody: the usual case costs one look.
        let range = match config.claims_dir.exists() && !claims.files().is_empty() {
            true => claims.of_node(&mut route, &run_dir)?,
            false => None,
        };
        if let (Some(current), Some(wanted)) = (range, config.pod_range)
            && current != wanted
        {
            return Err(Error::RangeChanged { current, wanted });
        }
        let has_table = |range| {
            let tables = Socket::open(Family::Netfilter).and_then(|mut socket| ruleset::tables(&mut socket));
            tables.unwrap_or_default().contains(&range)
        };
        let chains = if range.is_some_and(has_table) { None } else { Some(Vec::new()) };
        let state = State {
            route,
            netfilter: None,
            range,
            last_address: None,
            pods: BTreeMap::new(),
            masquerade: false,
            no_masquerade: None,
            chains,
            forward_dropped_by: Vec::new(),
        };
        Ok(Self { run_dir, wanted_range: config.pod_range, claims, state: Mutex::new(state) })
    }

    /// The host's own address: `status.hostIP`. Where packets to the world come from, or else the gateway, or
    /// 127.0.0.1 before there is one.
    pub fn host_address(&self) -> IpAddr {
        let mut state = self.state();
        let source = link::way_out(&mut state.route).ok().flatten().and_then(|way_out| way_out.source);
        let gateway = state.range.map(Range::gateway);
        source.or(gateway).unwrap_or(Ipv4Addr::LOCALHOST).into()
    }

    /// Takes a Pod in. A Pod that is known already gets a new pair into the (new) namespace and keeps its
    /// address. On failure nothing of the Pod is left, in the kernel or here.
    pub fn attach(&self, request: &AttachRequest<'_>) -> Result<Attachment, Error> {
        let mut state = self.state();
        let former = state.pods.remove(request.pod_uid).map(|pod| pod.attachment);
        let attached = self.attach_in(&mut state, request, former.as_ref());
        if attached.is_err() {
            state.pods.remove(request.pod_uid);
            if let Some(former) = former {
                // The Pod keeps its address for the next try.
                let mut pod = Pod::new(former, Vec::new());
                pod.leave();
                state.pods.insert(request.pod_uid.to_owned(), pod);
            }
            // The error that is returned is the one that matters; what stays is found as a leftover.
            let _ = self.apply_rules(&mut state);
        }
        attached
    }

    fn attach_in(
        &self,
        state: &mut State,
        request: &AttachRequest<'_>,
        former: Option<&Attachment>,
    ) -> Result<Attachment, Error> {
        if let Some(former) = former {
            remove_link(&former.link.host_name)?;
        }
        let held = state.hold_ports(&request.host_ports)?;
        let range = self.ensure_range(state)?;
        let way_out = link::way_out(&mut state.route)
            .map_err(|source| Error::kernel("asking for the way out of this machine", source))?;
        let address = match former.and_then(|former| former.addresses.first()) {
            Some(IpAddr::V4(address)) => *address,
            _ => state.free_address(range)?,
        };
        let salt = former.map_or(0, |former| former.salt.wrapping_add(1));
        let mtu = way_out.as_ref().map_or(DEFAULT_MTU, |way_out| way_out.mtu);
        let owner = Owner { pod_uid: request.pod_uid, range, run_dir: &self.run_dir };
        let link = plan::pod_link(&owner, address, mtu, salt, !request.host_ports.is_empty());
        create_link(state, &link, request.netns)?;

        let mut attachment = Attachment {
            pod_uid: request.pod_uid.to_owned(),
            addresses: vec![address.into()],
            gateway: link.gateway.into(),
            link,
            host_ports: request.host_ports.clone(),
            warnings: Vec::new(),
            salt,
        };
        state.pods.insert(request.pod_uid.to_owned(), Pod::new(attachment.clone(), held));
        if let Err(error) = self.ensure_rules(state, way_out.is_some()) {
            // Best effort: the pair also goes with the Pod's namespace.
            let _ = link::remove(&attachment.link.host_name);
            return Err(error);
        }
        attachment.warnings = state.warnings();
        Ok(attachment)
    }

    /// Remembers a Pod that was attached before the daemon was restarted, and holds its host ports again. All
    /// Pods are restored before the first new one is attached: the rules in the kernel stay as they are until
    /// then. A failure says that somebody has one of the ports by now; the Pod is remembered all the same.
    pub fn restore(&self, attachment: Attachment) -> Result<(), Error> {
        let mut state = self.state();
        let (held, result) = match state.hold_ports(&attachment.host_ports) {
            Ok(held) => (held, Ok(())),
            // The port leads to the Pod all the same: the kernel's rules come before any listener.
            Err(error) => (Vec::new(), Err(error)),
        };
        state.pods.insert(attachment.pod_uid.clone(), Pod::new(attachment, held));
        result
    }

    /// Lets a Pod go: returns when nobody can see its link any more and its host ports are free; with the last
    /// Pod the node's rules go too. Fastest when the Pod's namespace has lost its last process and descriptor by
    /// then. A Pod that is not known is looked for in the kernel. Goes on past failures and returns all.
    pub fn detach(&self, pod_uid: &str) -> Result<(), Vec<Error>> {
        let mut errors = Vec::new();
        let mut state = self.state();
        let found = match state.pods.get_mut(pod_uid).map(Pod::leave) {
            Some(name) => {
                errors.extend(self.apply_rules(&mut state).err());
                Ok(vec![name])
            }
            None => self.links_of(&mut state, Some(pod_uid)),
        };
        // Others come and go while we wait for the link; the Pod's address stays taken until then.
        drop(state);
        match found {
            Ok(names) => errors.extend(names.iter().filter_map(|name| remove_link(name).err())),
            Err(error) => errors.push(error),
        }
        let mut state = self.state();
        // Unless it came back meanwhile.
        if state.pods.get(pod_uid).is_some_and(|pod| pod.is_leaving) {
            state.pods.remove(pod_uid);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Removes everything of the node: links, rules, range. Goes on past failures and returns all.
    pub fn close(self) -> Result<(), Vec<Error>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(range) = state.range else { return Ok(()) };
        let mut errors = Vec::new();
        let was_used = !state.pods.is_empty() || state.chains.is_none();
        state.pods.clear();
        errors.extend(self.apply_rules(&mut state).err());
        if was_used {
            match self.links_of(&mut state, None) {
                Ok(names) => errors.extend(names.iter().filter_map(|name| remove_link(name).err())),
                Err(error) => errors.push(error),
            }
        }
        let released =
            self.claims.lock().and_then(|lock| self.claims.release(&mut state.route, range, &lock));
        errors.extend(released.err());
        // The kernel holds whoever closes such a socket until it has freed the rules that were deleted last (10
        // to 20 ms, though nobody sees them any more): not us.
        let socket = state.netfilter.take();
        let _ = std::thread::Builder::new().name("close-netfilter".to_owned()).spawn(move || drop(socket));
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's range: claimed now, or put back in case somebody flushed it.
    fn ensure_range(&self, state: &mut State) -> Result<Range, Error> {
        if let Some(range) = state.range {
            link::ensure_range(&mut state.route, range)
                .map_err(|source| Error::kernel(format!("keeping the range {range}"), source))?;
            return Ok(range);
        }
        let lock = self.claims.lock()?;
        let range = self.claims.take(&mut state.route, &self.run_dir, self.wanted_range, &lock)?;
        state.range = Some(range);
        Ok(range)
    }

    /// Brings the rules up to date. Without nftables host ports fail; the way out is missed with a warning.
    fn ensure_rules(&self, state: &mut State, way_out: bool) -> Result<(), Error> {
        state.masquerade |= way_out && state.no_masquerade.is_none();
        match self.apply_rules(state) {
            Err(error) if state.masquerade && state.forwards().is_empty() => {
                state.masquerade = false;
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                state.no_masquerade = Some(cause.unwrap_or_else(|| error.to_string()));
                Ok(())
            }
            other => other,
        }
    }

    /// Makes the table in the kernel what the plan says, if it is not.
    fn apply_rules(&self, state: &mut State) -> Result<(), Error> {
        let Some(range) = state.range else { return Ok(()) };
        let has_pods = state.pods.values().any(|pod| !pod.is_leaving);
        let chains = plan::ruleset(range, &state.forwards(), state.masquerade && has_pods);
        if state.chains.as_ref() == Some(&chains) {
            return Ok(());
        }
        if !chains.is_empty() {
            ensure_forwarding()?;
        }
        let refused = |source| match Error::kernel("writing nftables rules", source) {
            Error::Kernel { source, .. } => Error::NoNftables { source },
            other => other,
        };
        let socket = netfilter(&mut state.netfilter).map_err(refused)?;
        ruleset::replace(socket, range, &format!("podling {}", self.run_dir), &chains).map_err(refused)?;
        // Without connection tracking by netlink old flows go on until they pause for two minutes.
        let changed_ports = plan::changed_udp_ports(state.chains.as_deref().unwrap_or_default(), &chains);
        if !changed_ports.is_empty() {
            let _ = flows::forget_udp(socket, &changed_ports);
        }
        if !chains.is_empty() {
            state.forward_dropped_by = ruleset::dropping_forwarded(socket).unwrap_or_default();
        }
        state.chains = Some(chains);
        Ok(())
    }

    /// The node's links in the kernel: of one Pod, or all.
    fn links_of(&self, state: &mut State, pod_uid: Option<&str>) -> Result<Vec<String>, Error> {
        let links = link::links_with_alias(&mut state.route);
        let links = links.map_err(|source| Error::kernel("listing network links", source))?;
        let ours = |alias: &str| {
            Owner::parse(alias).is_some_and(|owner| {
                owner.run_dir == self.run_dir && pod_uid.is_none_or(|uid| uid == owner.pod_uid)
            })
        };
        Ok(links.into_iter().filter(|link| ours(&link.alias)).map(|link| link.name).collect())
    }
}

impl State {
    fn forwards(&self) -> Vec<Forward> {
        let forward = |attachment: &Attachment, port: &HostPort| Forward {
            port: port.clone(),
            pod: attachment.link.address,
        };
        let pods = self.pods.values().map(|pod| &pod.attachment);
        pods.flat_map(|pod| pod.host_ports.iter().map(move |port| forward(pod, port))).collect()
    }

    fn free_address(&mut self, range: Range) -> Result<Ipv4Addr, Error> {
        let used: BTreeSet<Ipv4Addr> = self.pods.values().map(|pod| pod.attachment.link.address).collect();
        let address =
            choose_address(range, &used, self.last_address).ok_or(Error::NoFreeAddress { range })?;
        self.last_address = Some(address);
        Ok(address)
    }

    /// Takes all ports or none. A Pod of this node is named as such; everybody else the kernel knows.
    fn hold_ports(&self, wanted: &[HostPort]) -> Result<Vec<Held>, Error> {
        let mut held: Vec<Held> = Vec::with_capacity(wanted.len());
        for port in wanted {
            if held.iter().any(|other| other.port.conflicts(port)) {
                return Err(Error::PortTwice { port: port.clone() });
            }
            let has = |pod: &&Pod| pod.attachment.host_ports.iter().any(|other| other.conflicts(port));
            if let Some(pod) = self.pods.values().find(has) {
                let holder = ports::Holder::Pod { pod_uid: pod.attachment.pod_uid.clone() };
                return Err(ports::Error::Taken { port: port.clone(), holder }.into());
            }
            held.push(ports::hold(port)?);
        }
        Ok(held)
    }

    fn warnings(&self) -> Vec<Warning> {
        let no_masquerade = self.no_masquerade.clone().map(|reason| Warning::NoMasquerade { reason });
        let dropped = self.forward_dropped_by.iter().cloned().map(|chain| Warning::ForwardDropped { chain });
        no_masquerade.into_iter().chain(dropped).collect()
    }
}

/// The socket to nftables, opened when it is first needed.
fn netfilter(socket: &mut Option<Socket>) -> std::io::Result<&mut Socket> {
    match socket {
        Some(socket) => Ok(socket),
        none => Ok(none.insert(Socket::open(Family::Netfilter)?)),
    }
}

fn remove_link(name: &str) -> Result<(), Error> {
    link::remove(name).map_err(|source| Error::kernel(format!("removing the link {name}"), source))
}

/// Makes the pair and both its ends' settings; on failure no link is left.
fn create_link(state: &mut State, link: &PodLink, netns: BorrowedFd<'_>) -> Result<(), Error> {
    let name = &link.host_name;
    link::create_pair(&mut state.route, link, netns).map_err(|source| {
        match linux::netlink::errno(&source) {
            Some(libc::EOPNOTSUPP) => Error::NoVeth { source },
            _ => Error::kernel(format!("making the veth pair {name}"), source),
        }
    })?;
    let inside = linux::netns::within(netns, || link::configure_pod(link)).and_then(|result| result);
    let configured = inside
        .map_err(|source| Error::kernel("configuring the network inside the Pod", source))
        .and_then(|()| {
            let routed = link::route_to_pod(&mut state.route, link);
            routed.map_err(|source| Error::kernel(format!("routing {} to {name}", link.address), source))
        });
    configured.inspect_err(|_| {
        // The first error is the one that matters; what stays is found as a leftover.
        let _ = link::remove(name);
    })
}

/// Packets that come back from the world are forwarded to Pods only if the host is a router. Kubernetes asks
/// the same of every node. It is left on: others may rely on it by then.
fn ensure_forwarding() -> Result<(), Error> {
    const PATH: &str = "/proc/sys/net/ipv4/ip_forward";
    let ensured = std::fs::read_to_string(PATH).and_then(|value| match value.trim() {
        "1" => Ok(()),
        _ => std::fs::write(PATH, "1"),
    });
    ensured.map_err(|source| Error::kernel(format!("switching on forwarding ({PATH})"), source))
}
