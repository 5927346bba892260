//! The node's delays: restarts, pulls, set-up steps.

use serde::{Deserialize, Serialize};

use crate::time::{SECOND, seconds};

/// Delays and limits of a node. The defaults are the kubelet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Between restarts of a container; the first restart is immediate (KEP-5593 makes the maximum tunable).
    pub restart: Backoff,
    /// Running as long as this ends a row of restarts, in seconds.
    pub restart_reset_seconds: u64,
    /// Between pulls of an image.
    pub pull: Backoff,
    /// Between tries of everything else: sandbox, volumes, creation, removal.
    pub setup: Backoff,
    /// What a container gets between its stop signal and KILL even when the grace is over, in seconds.
    pub minimum_grace_seconds: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            restart: Backoff { initial_seconds: 10, max_seconds: 300 },
            restart_reset_seconds: 600,
            pull: Backoff { initial_seconds: 10, max_seconds: 300 },
            setup: Backoff { initial_seconds: 1, max_seconds: 60 },
            minimum_grace_seconds: 2,
        }
    }
}

/// A delay that doubles up to a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The first delay.
    pub initial_seconds: u64,
    /// The longest delay.
    pub max_seconds: u64,
}

impl Backoff {
    /// The delay after `count` failures in a row; none after none.
    pub fn nanos(&self, count: u32) -> u64 {
        match count {
            0 => 0,
            _ => {
                let doubled = seconds(self.initial_seconds).saturating_mul(1 << (count - 1).min(32));
                doubled.min(self.max_seconds.saturating_mul(SECOND))
            }
        }
    }
}
