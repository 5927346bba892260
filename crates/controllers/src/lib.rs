//! What acts on objects: each controller is a client of the API like any other, and knows nothing of the store.
//!
//! | what | file |
//! |---|---|
//! | a Pod without a node is given one, or told why not | `scheduler`, decided in `scheduler/fit.rs` |
//! | a namespace that ends takes what is in it along | `namespaces` |
//! | what nobody owns any more goes | `garbage`, decided in `garbage/graph.rs` |
//! | every namespace has a ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` | `basics` |
//! | EndpointSlices and Endpoints follow the readiness of Pods | `endpoints`, decided in `endpoints/slices.rs` |
//! | events expire | `events` |
//! | a node that is not heard of is not ready | `nodes` |
//! | aggregated ClusterRoles show their rules | `roles` |
//!
//! Each is one task that follows what it needs and decides in pure code. Nothing polls: the only timers are deadlines,
//! and waits for a server that is away.

mod basics;
mod discovery;
mod endpoints;
mod events;
mod garbage;
mod namespaces;
mod nodes;
mod roles;
mod scheduler;
mod time;

use std::time::Duration;

use client::Client;
use tokio::task::JoinSet;

/// What controllers need to know.
#[derive(Clone)]
pub struct ControllersConfig {
    /// Speaks as `system:kube-controller-manager`.
    pub client: Client,
    /// Speaks as `system:kube-scheduler`.
    pub scheduler: Client,
    /// Certificates of the API server's authority, in PEM, for `kube-root-ca.crt`.
    pub authority_pem: String,
    /// How long an event is kept.
    pub event_ttl: Duration,
    /// How many events are kept at most.
    pub most_events: usize,
}

/// Running controllers. Dropping them ends them at once; each goes on where it was when it is started again.
pub struct Controllers {
    tasks: JoinSet<()>,
}

impl Controllers {
    /// Starts all of them.
    pub fn start(config: ControllersConfig) -> Controllers {
        let ControllersConfig { client, scheduler, authority_pem, event_ttl, most_events } = config;
        let mut tasks = JoinSet::new();
        tasks.spawn(scheduler::run(scheduler));
        tasks.spawn(basics::run(client.clone(), authority_pem));
        tasks.spawn(namespaces::run(client.clone()));
        tasks.spawn(garbage::run(client.clone()));
        tasks.spawn(endpoints::run(client.clone()));
        tasks.spawn(nodes::run(client.clone()));
        tasks.spawn(roles::run(client.clone()));
        tasks.spawn(events::run(client, event_ttl, most_events));
        Controllers { tasks }
    }

    /// Ends them, and waits until they have ended.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}
