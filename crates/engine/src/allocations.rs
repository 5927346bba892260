//! What the node has set aside for its Pods: cpu and memory that they request (KEP-1287).
//!
//! The books of the node are asked before a running Pod grows. A Pod that has to wait is told when another gives
//! something back; nobody asks again on a clock.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use lifecycle::{Fact, Reason};
use model::pod::Resources;
use tokio::sync::mpsc;

use crate::pod::Input;

/// Amounts of what can be resized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    cpu_millis: i64,
    memory_bytes: i64,
}

impl Amounts {
    pub(crate) fn requested(resources: &Resources) -> Amounts {
        Amounts {
            cpu_millis: resources.requests.get("cpu").map_or(0, |cpu| cpu.milli_value()),
            memory_bytes: resources.requests.get("memory").map_or(0, |memory| memory.value()),
        }
    }

    /// By the names that messages give them.
    fn named(self) -> [(&'static str, i64); 2] {
        [("memory", self.memory_bytes), ("cpu", self.cpu_millis)]
    }

    fn plus(self, other: Amounts) -> Amounts {
        Amounts {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    fn is_less_in_any(self, other: Amounts) -> bool {
        self.cpu_millis < other.cpu_millis || self.memory_bytes < other.memory_bytes
    }
}

/// All cores and all memory of the machine.
pub(crate) fn machine() -> Amounts {
    let info = rustix::system::sysinfo();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Amounts {
        cpu_millis: i64::try_from(cores).unwrap_or(i64::MAX).saturating_mul(1000),
        memory_bytes: i64::try_from(info.totalram as u64 * u64::from(info.mem_unit)).unwrap_or(i64::MAX),
    }
}

/// Why a Pod does not get what it asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `Deferred` or `Infeasible`.
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// The books of one node.
#[derive(Debug)]
pub(crate) struct Allocations {
    capacity: Amounts,
    pods: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    has: Amounts,
    /// Whom to tell when something becomes free.
    waiting: Option<mpsc::Sender<Input>>,
}

impl Allocations {
    pub(crate) fn new(capacity: Amounts) -> Allocations {
        Allocations { capacity, pods: Mutex::default() }
    }

    /// Books what an admitted Pod requests.
    pub(crate) fn admit(&self, uid: &str, has: Amounts) {
        self.lock().insert(uid.to_owned(), Entry { has, waiting: None });
    }

    /// Books other amounts for a Pod. One that others are in the way of is told as soon as they give way.
    pub(crate) fn resize(
        &self,
        uid: &str,
        wanted: Amounts,
        inputs: &mpsc::Sender<Input>,
    ) -> Result<(), Refusal> {
        let mut pods = self.lock();
        let others = pods.iter().filter(|(other, _)| *other != uid).map(|(_, entry)| entry.has);
        let used = others.fold(Amounts::default(), Amounts::plus);
        let outcome = fits(wanted, used, self.capacity);
        let Some(entry) = pods.get_mut(uid) else { return outcome };
        match &outcome {
            Ok(()) => {
                let gives_back = wanted.is_less_in_any(entry.has);
                *entry = Entry { has: wanted, waiting: None };
                if gives_back {
                    wake(&mut pods);
                }
            }
            Err(refusal) if refusal.reason == Reason::Deferred => entry.waiting = Some(inputs.clone()),
            Err(_) => entry.waiting = None,
        }
        outcome
    }

    /// Strikes a Pod that is gone.
    pub(crate) fn release(&self, uid: &str) {
        let mut pods = self.lock();
        if pods.remove(uid).is_some() {
            wake(&mut pods);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        // Entries are replaced whole: a panic elsewhere cannot leave one half-changed.
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells those that wait. A full queue is waited for by a task of its own.
fn wake(pods: &mut BTreeMap<String, Entry>) {
    for inputs in pods.values_mut().filter_map(|entry| entry.waiting.take()) {
        tokio::spawn(async move {
            // A Pod that has just gone needs nothing any more.
            let _ = inputs.send(Input::Fact(Fact::DependencyChanged)).await;
        });
    }
}

/// Whether what is wanted fits beside what others use; the words are the kubelet's.
fn fits(wanted: Amounts, used: Amounts, capacity: Amounts) -> Result<(), Refusal> {
    let [capacity, used] = [capacity.named(), used.named()];
    for ((name, wanted), (_, capacity)) in wanted.named().into_iter().zip(capacity) {
        if wanted > capacity {
            let message = format!(
                "Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {capacity}"
            );
            return Err(Refusal { reason: Reason::Infeasible, message });
        }
    }
    for (((name, wanted), (_, used)), (_, capacity)) in wanted.named().into_iter().zip(used).zip(capacity) {
        if wanted > 0 && wanted.saturating_add(used) > capacity {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
            );
            return Err(Refusal { reason: Reason::Deferred, message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(cpu_millis: i64, memory_bytes: i64) -> Amounts {
        Amounts { cpu_millis, memory_bytes }
    }

    fn refused(reason: Reason, message: &str) -> Result<(), Refusal> {
        Err(Refusal { reason, message: message.to_owned() })
    }

    #[tokio::test]
    async fn a_pod_that_waits_is_told_when_another_gives_way() {
        let books = Allocations::new(amounts(2000, 100));
        books.admit("a", amounts(500, 60));
        books.admit("b", amounts(500, 30));
        let (inputs, mut told) = mpsc::channel(1);
        let grow = || books.resize("b", amounts(500, 50), &inputs);
        let full = "Node didn't have enough resource: memory, requested: 50, used: 60, capacity: 100";
        assert_eq!(grow(), refused(Reason::Deferred, full));
        // Growing elsewhere is of no use to it.
        assert_eq!(books.resize("a", amounts(600, 60), &inputs), Ok(()));
        assert!(told.try_recv().is_err());
        assert_eq!(books.resize("a", amounts(700, 20), &inputs), Ok(()));
        assert!(matches!(told.recv().await, Some(Input::Fact(Fact::DependencyChanged))));
        assert_eq!(grow(), Ok(()));
        // And it is told once.
        books.release("a");
        tokio::task::yield_now().await;
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn what_no_node_of_this_size_has_is_infeasible() {
        let books = Allocations::new(amounts(2000, 100));
        books.admit("a", amounts(100, 10));
        let (inputs, _told) = mpsc::channel(1);
        let memory = "Node didn't have enough capacity: memory, requested: 101, capacity: 100";
        assert_eq!(books.resize("a", amounts(100, 101), &inputs), refused(Reason::Infeasible, memory));
        let cpu = "Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000";
        assert_eq!(books.resize("a", amounts(2001, 1), &inputs), refused(Reason::Infeasible, cpu));
    }
}
