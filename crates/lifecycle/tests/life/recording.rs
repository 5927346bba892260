//! Journals of random worlds, written as text, read back and played again: what was recorded is all that `decide`
//! needs, also with the Pod as a journal keeps it, over segments, restarts of the daemon and lost entries.

use lifecycle::journal::{Entry, Recorder, bare};
use lifecycle::replay::{Difference, Replayed, replay};
use lifecycle::{Action, Decision, Fact, Memory, Now, Observation, Policy};
use model::pod::Pod;

use crate::simulation::recorded;

/// Rounds in a segment: few, so that nearly every world has several.
const ROUNDS_IN_SEGMENT: u32 = 12;

/// The journal of one world.
pub struct Recording {
    recorder: Recorder,
    lines: Vec<String>,
    pod: Pod,
    rounds: u32,
}

impl Recording {
    pub fn new(pod: &Pod, now: Now) -> Recording {
        let (recorder, entry) = Recorder::admitted(pod, Policy::default(), now);
        let lines = vec![line(&entry)];
        Recording { recorder, lines, pod: bare(pod), rounds: 0 }
    }

    pub fn noted(&mut self, pod: &Pod, fact: &Fact, now: Now) {
        let pod = bare(pod);
        if pod != self.pod {
            self.pod = pod.clone();
            self.lines.push(line(&Entry::Asked(Box::new(pod))));
        }
        if !matches!(fact, Fact::Observed(_)) {
            let fact = std::borrow::Cow::Borrowed(fact);
            self.lines.push(line(&Entry::Noted { now, fact, took_nanos: Some(1) }));
        }
    }

    pub fn round(&mut self, pod: &Pod, memory: &Memory, seen: Observation, decision: &Decision, now: Now) {
        self.lines.push(line(&self.recorder.round(seen, decision, now)));
        self.rounds += 1;
        if self.rounds.is_multiple_of(ROUNDS_IN_SEGMENT) {
            self.lines.push(line(&self.recorder.continued(pod, memory, now, false)));
        }
    }

    /// The Memory goes on from another state than the one recorded.
    pub fn lost(&mut self, pod: &Pod, memory: &Memory, now: Now) {
        self.pod = bare(pod);
        self.lines.push(line(&self.recorder.continued(pod, memory, now, true)));
    }

    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

fn line(entry: &Entry<'_>) -> String {
    serde_json::to_string(entry).unwrap()
}

fn read(lines: &[String]) -> Vec<Entry<'static>> {
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn played(entries: &[Entry<'_>]) -> Result<Replayed, Difference> {
    replay(entries)
}

#[test]
fn every_recorded_world_replays() {
    let (mut rounds, mut gaps) = (0, 0);
    for seed in 0..2_000 {
        let lines = recorded(seed);
        match played(&read(&lines)) {
            Ok(replayed) => (rounds, gaps) = (rounds + replayed.rounds, gaps + replayed.gaps),
            Err(difference) => panic!("LIFECYCLE_SEED={seed} replays otherwise: {difference}"),
        }
    }
    assert!(rounds > 30_000 && gaps > 100, "the worlds are worth it: {rounds} rounds, {gaps} gaps");
}

#[test]
fn a_journal_whose_first_segments_were_dropped_replays() {
    let mut dropped = 0;
    for seed in 0..300 {
        let entries = read(&recorded(seed));
        let heads = entries.iter().enumerate().filter(|(_, entry)| matches!(entry, Entry::Began(_)));
        for (first, _) in heads.skip(1) {
            played(&entries[first..])
                .unwrap_or_else(|difference| panic!("seed {seed} from {first}: {difference}"));
            dropped += 1;
        }
    }
    assert!(dropped > 300, "{dropped}");
}

/// Journals in which one thing is not as it was: what is said of the first difference.
fn differences(change: impl Fn(&mut Vec<Entry<'static>>) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for seed in 0..200 {
        let mut entries = read(&recorded(seed));
        if change(&mut entries) {
            let difference = played(&entries).expect_err("the change is seen");
            assert!(difference.now.is_some());
            found.push(difference.to_string());
        }
    }
    assert!(found.len() > 20, "the change was made {} times", found.len());
    found
}

#[test]
fn an_action_that_would_not_be_begun_is_named() {
    let found = differences(|entries| {
        let round = entries.iter_mut().find_map(|entry| match entry {
            Entry::Round(round) if !round.actions.is_empty() => Some(round),
            _ => None,
        });
        let stray = Action::Kill { container: "stray".to_owned(), attempt: 7 };
        round.map(|round| round.actions.to_mut().push(stray)).is_some()
    });
    for text in found {
        assert!(
            text.contains("decided to begin Kill { container: \"stray\", attempt: 7 }, and now it is not"),
            "{text}"
        );
    }
}

#[test]
fn an_action_that_is_begun_now_and_was_not_is_named() {
    let found = differences(|entries| {
        let round = entries.iter_mut().find_map(|entry| match entry {
            Entry::Round(round) if !round.actions.is_empty() => Some(round),
            _ => None,
        });
        round.and_then(|round| round.actions.to_mut().pop()).is_some()
    });
    assert!(found.iter().all(|text| text.contains("and then it was not")), "{found:#?}");
}

#[test]
fn another_cause_is_told_with_both_sentences() {
    let found = differences(|entries| {
        let status = entries.iter_mut().find_map(|entry| match entry {
            Entry::Round(round) => round.status.as_mut(),
            _ => None,
        });
        status.map(|status| status.to_mut().cause = Some("because".to_owned())).is_some()
    });
    assert!(found.iter().all(|text| text.contains("the cause was Some(\"because\"), and is ")), "{found:#?}");
}

#[test]
fn a_segment_that_does_not_fit_the_one_before_is_found() {
    let found = differences(|entries| {
        let second = entries.iter().position(|entry| match entry {
            Entry::Began(head) => head.start == lifecycle::journal::Start::Continued,
            _ => false,
        });
        let Some(second) = second else { return false };
        let Entry::Began(head) = &mut entries[second] else { return false };
        head.seen.to_mut().pod_ips = vec!["192.0.2.1".to_owned()];
        true
    });
    assert!(found.iter().all(|text| text.contains("what was seen before this segment")), "{found:#?}");
}

#[test]
fn a_journal_without_a_beginning_is_refused() {
    let entries = read(&recorded(1));
    let difference = played(&entries[1..]).unwrap_err();
    assert!(difference.what.contains("begins with `began`"), "{difference}");
}

#[test]
fn a_journal_of_another_format_is_refused() {
    let mut entries = read(&recorded(1));
    let Some(Entry::Began(head)) = entries.first_mut() else { panic!() };
    head.format = 99;
    let difference = played(&entries).unwrap_err();
    assert!(difference.what.contains("format 99"), "{difference}");
}
