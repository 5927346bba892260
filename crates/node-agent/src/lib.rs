//! The node as a client of a control plane: it registers itself, takes the Pods bound to it, and tells what becomes of
//! them.
//!
//! ```text
//!   API server ─ watch Pods of this node ─► wanted ─► PodChange ─► engine
//!        ▲     ─ watch what they speak of ─►   │                     │
//!        │                                     └─ objects ───────────┤ asks
//!        └── status, events, final delete ◄─ writer ◄─── Report ─────┘
//! ```
//!
//! The API server may be of this process (`podling serve`) or a Kubernetes control plane elsewhere: it is spoken to
//! through [`client::Client`] either way, and nothing here knows which. Nothing polls; only a control plane that is
//! elsewhere needs a heartbeat, to tell a dead node from a quiet one.

mod access;
mod events;
mod objects;
mod plane;
mod references;
mod register;
mod status;
mod tokens;
mod wanted;
mod writer;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use client::Client;
use engine::ControlPlane;
use serde_json::Value;
use tokio::task::JoinHandle;

pub use access::{Access, Caller};
pub use register::NodeFacts;

use plane::Plane;

/// What an agent needs.
#[derive(Clone)]
pub struct AgentConfig {
    /// Speaks to the control plane as this node.
    pub client: Client,
    /// What the Node object says.
    pub facts: NodeFacts,
    /// How often to tell that the node is alive; never, when the control plane lives and dies with it.
    pub heartbeat_period: Option<Duration>,
}

/// A node's agent. It lives until [`NodeAgent::close`].
pub struct NodeAgent {
    plane: Arc<Plane>,
    tasks: Vec<JoinHandle<()>>,
    writer: JoinHandle<()>,
}

impl NodeAgent {
    /// Registers the node and begins to follow what is wanted of it.
    pub async fn start(config: AgentConfig) -> Result<NodeAgent, client::Error> {
        register::ensure_node(&config.client, &config.facts).await?;
        let name = config.facts.name.clone();
        let (plane, ends) = Plane::new(config.client.clone());
        let pods = Arc::clone(&plane.pods);
        let writer = tokio::spawn(writer::run(config.client.clone(), name.clone(), ends.reports, pods));
        let mut tasks = vec![tokio::spawn(wanted::run(
            config.client.clone(),
            name.clone(),
            ends.changes,
            Arc::clone(&plane),
        ))];
        if let Some(period) = config.heartbeat_period {
            tasks.push(tokio::spawn(register::heartbeat(config.client.clone(), name, period)));
            tasks.push(tokio::spawn(register::keep_ready(config.client, config.facts)));
        }
        Ok(NodeAgent { plane, tasks, writer })
    }

    /// What the engine is given.
    pub fn control_plane(&self) -> Arc<dyn ControlPlane> {
        Arc::clone(&self.plane) as Arc<dyn ControlPlane>
    }

    /// The Pods of this node as the control plane has them, whenever they are asked for.
    pub fn pods(&self) -> Arc<dyn Fn() -> Vec<Value> + Send + Sync> {
        let plane = Arc::clone(&self.plane);
        Arc::new(move || {
            let seen = plane.seen.read().unwrap_or_else(PoisonError::into_inner);
            seen.values().map(|pod| Value::clone(pod)).collect()
        })
    }

    /// Stops following, and writes what is still to be told.
    pub async fn close(self) {
        for task in self.tasks {
            task.abort();
            // Aborted on purpose; a panic was told where it happened.
            let _ = task.await;
        }
        self.plane.flush().await;
        self.writer.abort();
        let _ = self.writer.await;
    }
}
