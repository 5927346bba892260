//! A Pod's journal: all that `decide` needs to be played again exactly, and what it decided then.
//!
//! ```text
//!   Began ─► Round ─► Noted ─► Noted ─► Round ─► ... ─► Began (continued) ─► Noted ─► Round ─► ...
//!            └ what is seen otherwise than in the round before, and what was decided from it
//! ```
//!
//! A [`Recorder`] makes the entries, [`crate::replay`] plays them again; both are pure. Who writes them where is the
//! engine's business (`engine::journal`), how they look on disk is told in `docs/journal.md`.
//!
//! No entry has what the Pod's programs are given to keep: the Pod stands in it as [`bare()`] leaves it.

mod bare;
mod seen;

use std::borrow::Cow;

use model::pod::Pod;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::decide::{Blocked, Deadline, Decision, End};
use crate::memory::{Fact, Memory};
use crate::observation::Observation;
use crate::policy::Policy;
use crate::status::Status;
use crate::time::Now;

pub use bare::bare;
pub use seen::Seen;

/// What the entries look like. A reader refuses every other number.
pub const FORMAT: u32 = 1;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry<'a> {
    /// Everything that what follows depends on; the first entry of each segment.
    Began(Box<Head<'a>>),
    /// What is asked for from here on; the fact that says so follows.
    Asked(Box<Pod>),
    /// A fact was noted.
    Noted {
        /// When.
        now: Now,
        /// What. The observation of a round stands in its [`Round`] instead.
        fact: Cow<'a, Fact>,
        /// For a completion: how long the action took, in nanoseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        took_nanos: Option<u64>,
    },
    /// The world was observed and noted, and it was decided what is next. The actions were begun at once.
    Round(Box<Round<'a>>),
    /// A numbered promise of a Pod's life was broken ([`crate::invariants`]).
    Breach {
        /// When.
        now: Now,
        /// Which one.
        number: u8,
        /// How.
        what: Cow<'a, str>,
    },
}

/// The beginning of a journal, or of one of its segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head<'a> {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of podling that wrote it.
    pub podling: Cow<'a, str>,
    /// Number of the segment, from 0.
    pub segment: u64,
    /// Why a segment begins here.
    pub start: Start,
    /// When; of an admission, that instant.
    pub now: Now,
    /// The node's delays at the admission.
    pub policy: Policy,
    /// What is asked for, as [`bare()`] leaves it.
    pub pod: Pod,
    /// What is remembered. Nothing, at the admission.
    pub memory: Option<Cow<'a, Memory>>,
    /// What was seen in the round before.
    pub seen: Cow<'a, Observation>,
}

/// Why a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The Pod was admitted.
    Admitted,
    /// The segment before was full; nothing is missing between the two.
    Continued,
    /// Something is missing before this.
    AfterGap,
}

/// One round: what was seen and what was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round<'a> {
    /// When it was observed and decided.
    pub now: Now,
    /// What is seen otherwise than in the round before.
    #[serde(default, skip_serializing_if = "Seen::is_nothing")]
    pub seen: Seen,
    /// [`Decision::actions`].
    #[serde(default, skip_serializing_if = "<[Action]>::is_empty")]
    pub actions: Cow<'a, [Action]>,
    /// [`Decision::cancel`].
    #[serde(default, skip_serializing_if = "<[Action]>::is_empty")]
    pub cancel: Cow<'a, [Action]>,
    /// [`Decision::wake_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Cow<'a, Deadline>>,
    /// [`Decision::end`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// [`Decision::blocked`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Cow<'a, Blocked>>,
    /// [`Decision::status`], when it is not that of the round before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Cow<'a, Status>>,
}

/// Makes the entries of one Pod's journal; knows what the last ones said.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    segment: u64,
    seen: Observation,
    status: Option<Status>,
}

impl Recorder {
    /// The first entry of a journal, for a Pod that was admitted at `now`.
    pub fn admitted(pod: &Pod, policy: Policy, now: Now) -> (Recorder, Entry<'static>) {
        let recorder = Recorder::default();
        let head = Head {
            format: FORMAT,
            podling: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            segment: 0,
            start: Start::Admitted,
            now,
            policy,
            pod: bare(pod),
            memory: None,
            seen: Cow::Owned(Observation::default()),
        };
        (recorder, Entry::Began(Box::new(head)))
    }

    /// The first entry of the next segment. `has_gap` says that entries since the last segment were lost.
    pub fn continued<'a>(&'a mut self, pod: &Pod, memory: &'a Memory, now: Now, has_gap: bool) -> Entry<'a> {
        self.segment = self.segment.saturating_add(1);
        self.status = None;
        Entry::Began(Box::new(Head {
            format: FORMAT,
            podling: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            segment: self.segment,
            start: if has_gap { Start::AfterGap } else { Start::Continued },
            now,
            policy: memory.policy,
            pod: bare(pod),
            memory: Some(Cow::Borrowed(memory)),
            seen: Cow::Borrowed(&self.seen),
        }))
    }

    /// The entry of a round.
    pub fn round<'a>(&mut self, seen: Observation, decision: &'a Decision, now: Now) -> Entry<'a> {
        let difference = Seen::since(&self.seen, &seen);
        self.seen = seen;
        let is_new = self.status.as_ref() != Some(&decision.status);
        if is_new {
            self.status = Some(decision.status.clone());
        }
        Entry::Round(Box::new(Round {
            now,
            seen: difference,
            actions: Cow::Borrowed(&decision.actions),
            cancel: Cow::Borrowed(&decision.cancel),
            wake_at: decision.wake_at.as_ref().map(Cow::Borrowed),
            end: decision.end,
            blocked: decision.blocked.as_ref().map(Cow::Borrowed),
            status: is_new.then_some(Cow::Borrowed(&decision.status)),
        }))
    }
}

impl Entry<'_> {
    /// When it was written; what is asked for has no instant of its own.
    pub fn now(&self) -> Option<&Now> {
        match self {
            Entry::Began(head) => Some(&head.now),
            Entry::Asked(_) => None,
            Entry::Noted { now, .. } | Entry::Breach { now, .. } => Some(now),
            Entry::Round(round) => Some(&round.now),
        }
    }
}
