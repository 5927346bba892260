//! `Memory::note`: the only function that changes a [`Memory`], and the source of nearly all events.

use model::pod::Pod;

use crate::event::Event;
use crate::memory::{Fact, Memory};
use crate::time::Now;

impl Memory {
    /// Takes a fact in, and tells the events that it amounts to.
    pub fn note(&mut self, _pod: &Pod, _fact: &Fact, _now: &Now) -> Vec<Event> {
        unreachable!("follows in the next commit")
    }
}
