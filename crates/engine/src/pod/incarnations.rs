//! The newest incarnation of each container as the engine was told of it, for whoever waits for its end: attached
//! sessions, followed logs, measurements. What is decided is decided from the observation instead.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// One incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incarnation {
    pub(crate) attempt: u32,
    pub(crate) state: IncarnationState,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IncarnationState {
    /// Its start was begun.
    Starting,
    /// Its program was executed.
    Running {
        /// Its first process on the host.
        pid: i32,
        /// Since when, in nanoseconds since 1970.
        started_wall_nanos: i64,
    },
    /// It ended; without a code when nobody knows how.
    Ended { code: Option<i32> },
}

/// The newest incarnation of each container of a Pod.
#[derive(Debug)]
pub(crate) struct Incarnations {
    newest: watch::Sender<BTreeMap<String, Incarnation>>,
}

impl Default for Incarnations {
    fn default() -> Incarnations {
        Incarnations { newest: watch::Sender::new(BTreeMap::new()) }
    }
}

impl Incarnations {
    /// A start is begun, perhaps not for the first time.
    pub(crate) fn begin(&self, container: &str, attempt: u32) {
        self.put(container, attempt, IncarnationState::Starting);
    }

    /// Its program runs. A program may end within microseconds: an end that was told already stays.
    pub(crate) fn started(&self, container: &str, attempt: u32, pid: i32, started_wall_nanos: i64) {
        let is_ended =
            |it: Incarnation| it.attempt == attempt && matches!(it.state, IncarnationState::Ended { .. });
        if !self.get(container).is_some_and(is_ended) {
            self.put(container, attempt, IncarnationState::Running { pid, started_wall_nanos });
        }
    }

    /// It ended, or never came to run.
    pub(crate) fn ended(&self, container: &str, attempt: u32, code: Option<i32>) {
        if self.get(container).is_none_or(|it| it.attempt <= attempt) {
            self.put(container, attempt, IncarnationState::Ended { code });
        }
    }

    /// All that ran is gone.
    pub(crate) fn all_ended(&self) {
        self.newest.send_modify(|newest| {
            for it in newest.values_mut() {
                if !matches!(it.state, IncarnationState::Ended { .. }) {
                    it.state = IncarnationState::Ended { code: None };
                }
            }
        });
    }

    pub(crate) fn get(&self, container: &str) -> Option<Incarnation> {
        self.newest.borrow().get(container).copied()
    }

    /// Whether that one was started and has not ended.
    pub(crate) fn is_running(&self, container: &str, attempt: u32) -> bool {
        let runs =
            |it: Incarnation| it.attempt == attempt && matches!(it.state, IncarnationState::Running { .. });
        self.get(container).is_some_and(runs)
    }

    /// Each container that runs.
    pub(crate) fn running(&self) -> Vec<(String, Running)> {
        let running = |(name, it): (&String, &Incarnation)| match it.state {
            IncarnationState::Running { pid, started_wall_nanos } => {
                Some((name.clone(), Running { pid, started_wall_nanos }))
            }
            _ => None,
        };
        self.newest.borrow().iter().filter_map(running).collect()
    }

    /// Waits for the end of an incarnation, and tells its code. The Pod's end is one.
    pub(crate) fn end_of(
        &self,
        container: &str,
        attempt: u32,
    ) -> impl Future<Output = Option<i32>> + Send + use<> {
        let (container, mut newest) = (container.to_owned(), self.newest.subscribe());
        async move {
            let end = |newest: &BTreeMap<String, Incarnation>| match newest.get(&container) {
                Some(it) if it.attempt == attempt => match it.state {
                    IncarnationState::Ended { code } => Some(code),
                    _ => None,
                },
                _ => Some(None),
            };
            loop {
                if let Some(code) = end(&newest.borrow_and_update()) {
                    return code;
                }
                if newest.changed().await.is_err() {
                    return None;
                }
            }
        }
    }

    fn put(&self, container: &str, attempt: u32, state: IncarnationState) {
        self.newest.send_modify(|newest| {
            newest.insert(container.to_owned(), Incarnation { attempt, state });
        });
    }
}

/// A container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) started_wall_nanos: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_told_before_its_start_is_an_end() {
        let incarnations = Incarnations::default();
        incarnations.begin("web", 0);
        let end = incarnations.end_of("web", 0);
        incarnations.ended("web", 0, Some(3));
        incarnations.started("web", 0, 17, 1);
        assert!(!incarnations.is_running("web", 0));
        assert_eq!(end.await, Some(3));
    }

    #[tokio::test]
    async fn a_successor_and_the_end_of_the_pod_are_ends() {
        let incarnations = Incarnations::default();
        incarnations.begin("web", 0);
        incarnations.started("web", 0, 17, 1);
        assert_eq!(incarnations.running(), [("web".to_owned(), Running { pid: 17, started_wall_nanos: 1 })]);
        let (first, of_pod) = (incarnations.end_of("web", 0), incarnations.end_of("web", 1));
        incarnations.begin("web", 1);
        assert_eq!(first.await, None);
        incarnations.started("web", 1, 18, 2);
        incarnations.ended("web", 0, Some(1));
        assert!(incarnations.is_running("web", 1), "what is told late of an earlier one changes nothing");
        drop(incarnations);
        assert_eq!(of_pod.await, None);
    }
}
