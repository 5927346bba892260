//! What is written is read back and replays; what is cut off, hostile or in the way is told in words.

use std::os::unix::fs::PermissionsExt;

use lifecycle::journal::Start;
use lifecycle::replay::replay;
use lifecycle::{Action, Done};
use tempfile::TempDir;

use super::*;

/// A Pod and its node, so far as its journal needs them.
struct Life {
    base: TempDir,
    pod: Pod,
    memory: Memory,
    journal: Journal,
    now: Now,
}

impl Life {
    fn new() -> Life {
        let text = b"
            {apiVersion: v1, kind: Pod, metadata: {name: web},
             spec: {containers: [{name: web, image: toolbox, env: [{name: A, value: hush}]}]}}";
        let mut pod = model::manifest::parse("pod.yaml", text).expect("a manifest").pods.remove(0);
        pod.meta.uid = "uid-1".to_owned();
        let base = tempfile::tempdir().expect("a directory");
        let now = Now { boot_nanos: 1_000_000_000, boot_id: 7, wall_nanos: 1_700_000_000_000_000_000 };
        let memory = Memory::new(&pod, Policy::default(), now);
        let journal = Journal::new(base.path(), Arc::new(pod.clone()), Policy::default(), now);
        Life { base, pod, memory, journal, now }
    }

    /// A round in which nothing is seen, and a failed preparation of the volumes.
    fn round(&mut self) {
        self.now.boot_nanos += 1_000_000;
        let seen = Observation::default();
        self.memory.note(&self.pod, &Fact::Observed(seen.clone()), &self.now);
        let decision = lifecycle::decide(&self.pod, &self.memory, &seen, &self.now);
        self.journal.round(seen, decision, self.now);
        let message = "no space left on device".to_owned();
        let reason = lifecycle::Reason::FailedMount;
        let failure = lifecycle::Failure { reason, message, retry: lifecycle::Retry::Backoff };
        let fact = Fact::Completed { action: Action::PrepareVolumes { retry: 0 }, result: Err(failure) };
        self.memory.note(&self.pod, &fact, &self.now);
        self.journal.noted(fact, self.now, Some(12));
    }

    fn flush(&mut self) {
        self.journal.flush(&self.pod, &self.memory, self.now);
    }

    fn directory(&self) -> PathBuf {
        self.journal.directory().to_owned()
    }

    fn current(&self) -> PathBuf {
        self.directory().join(CURRENT)
    }

    fn read(&self) -> Recorded {
        let mut found = find(self.base.path()).expect("a directory");
        assert_eq!(found.len(), 1);
        found.remove(0).expect("a journal")
    }
}

#[test]
fn what_is_written_is_read_back_and_replays() {
    let mut life = Life::new();
    (0..3).for_each(|_| life.round());
    assert!(!life.directory().exists(), "nothing is written before it is due");
    life.flush();
    let read = life.read();
    assert_eq!((read.pod().as_str(), read.uid(), read.is_cut_short), ("default/web", "uid-1", false));
    assert_eq!(read.entries.len(), 1 + 3 * 2);
    assert_eq!(replay(&read.entries).expect("the same").rounds, 3);
    assert_eq!(life.journal.due_at(), None, "nothing is left to write, so nothing wakes the Pod's task");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&life.directory()), mode(&life.current())), (0o700, 0o600));
    let text = std::fs::read_to_string(life.current()).expect("text");
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn a_journal_has_bounds_and_replays_from_what_is_left() {
    let mut life = Life::new();
    for _ in 0..20_000 {
        life.round();
        if life.journal.is_full() {
            life.flush();
        }
    }
    let size = |name| std::fs::metadata(life.directory().join(name)).expect("a segment").len();
    let bound = SEGMENT_BYTES + SEGMENT_BYTES / 4;
    assert!(size(CURRENT) <= bound && size(EARLIER) <= bound && size(EARLIER) >= SEGMENT_BYTES);
    let read = life.read();
    let head = read.head().expect("a beginning");
    assert!(head.segment > 0 && head.start == Start::Continued, "the oldest were dropped");
    let replayed = replay(&read.entries).expect("the same");
    assert!(replayed.rounds > 1_000 && replayed.gaps == 0, "{replayed:?}");
}

#[test]
fn a_journal_that_is_dropped_writes_what_it_has() {
    let mut life = Life::new();
    life.round();
    let Life { base, journal, .. } = life;
    drop(journal);
    let mut found = find(base.path()).expect("a directory");
    assert_eq!(found.remove(0).expect("a journal").entries.len(), 3);
}

#[test]
fn a_disk_that_refuses_leaves_a_gap_and_stops_nothing() {
    let mut life = Life::new();
    let in_the_way = life.base.path().join(DIRECTORY);
    std::fs::write(&in_the_way, "no directory").expect("writing");
    for _ in 0..3 {
        life.round();
        life.flush();
    }
    std::fs::remove_file(&in_the_way).expect("removing");
    life.round();
    life.flush();
    let read = life.read();
    assert_eq!(read.head().expect("a beginning").start, Start::AfterGap);
    assert_eq!(replay(&read.entries).expect("the same").rounds, 1);
}

#[test]
fn a_journal_that_ends_anywhere_is_read_to_its_last_whole_line() {
    let mut life = Life::new();
    life.round();
    life.flush();
    let whole = std::fs::read(life.current()).expect("bytes");
    let first_line = whole.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    let ends = whole.len() - 20..whole.len();
    for length in (first_line..whole.len()).step_by(37).chain(ends) {
        std::fs::write(life.current(), &whole[..length]).expect("writing");
        let read = life.read();
        assert_eq!(read.is_cut_short, whole[length - 1] != b'\n', "at {length}");
        replay(&read.entries).expect("the same, as far as it goes");
    }
}

#[test]
fn what_is_no_journal_is_refused_in_words() {
    let mut life = Life::new();
    life.round();
    life.flush();
    let good = std::fs::read_to_string(life.current()).expect("text");
    let lines: Vec<&str> = good.lines().collect();
    let file = life.base.path().join("file");
    let said = |text: &str| {
        std::fs::write(&file, text).expect("writing");
        let error = read_file(&file).expect_err("it is refused");
        crate::perform::chain(&error).replace(&*file.to_string_lossy(), "FILE")
    };
    assert_eq!(said(""), "FILE is empty: no entry was written to it");
    assert_eq!(said("{\"began\":"), "FILE is empty: no entry was written to it");
    assert!(
        said("apiVersion: v1\n").starts_with("FILE, line 1: this is no entry of a journal: expected value")
    );
    assert!(
        said(&format!("{}\n\0\n", lines[0])).starts_with("FILE, line 2: this is no entry of a journal: ")
    );
    assert!(said(&format!("{}\n{{\"later\":{{}}}}\n", lines[0])).contains("unknown variant `later`"));
    let deep = format!("{{\"began\":{}\n", "[".repeat(100_000));
    assert!(said(&deep).starts_with("FILE, line 1: this is no entry of a journal: "));
    assert!(said(&format!("{}\n", lines[1])).contains("a journal begins with an entry `began`"));
    let other = lines[0].replace("\"format\":1,", "\"format\":2,\"new\":true,");
    assert!(said(&format!("{other}\n")).contains("format 2, written by podling 0"), "{}", said(&other));
    let missing = read_file(&life.base.path().join("nothing")).expect_err("it is not there");
    assert!(missing.to_string().starts_with("cannot read the journal"));
}

#[test]
fn segments_that_do_not_follow_each_other_are_not_put_together() {
    let mut life = Life::new();
    life.round();
    life.flush();
    life.round();
    life.journal.written_bytes = SEGMENT_BYTES;
    life.flush();
    life.round();
    life.flush();
    assert_eq!(replay(&life.read().entries).expect("the same").rounds, 3);
    let text = std::fs::read_to_string(life.current()).expect("text");
    std::fs::write(life.current(), text.replacen("\"segment\":1,", "\"segment\":3,", 1)).expect("writing");
    let error = find(life.base.path()).expect("a directory").remove(0).expect_err("they do not follow");
    assert!(matches!(error, JournalError::Moving { .. }), "{error}");
}

#[test]
fn journals_of_several_pods_are_kept_in_one_file() {
    let mut life = Life::new();
    life.round();
    life.flush();
    let mut other = Journal::new(
        life.base.path(),
        Arc::new(Pod {
            meta: model::pod::Meta { uid: "uid-2".into(), ..life.pod.meta.clone() },
            ..life.pod.clone()
        }),
        Policy::default(),
        life.now,
    );
    let done = Fact::Completed { action: Action::RemoveVolumes, result: Ok(Done::Performed) };
    other.noted(done, life.now, None);
    other.flush(&life.pod, &life.memory, life.now);
    let path = life.base.path().join("kept");
    let mut file = File::create(&path).expect("a file");
    keep(life.base.path(), ["uid-1", "without a journal", "uid-2"], &mut file).expect("keeping");
    let kept = read_file(&path).expect("journals");
    let counts: Vec<_> = kept.iter().map(|journal| (journal.uid(), journal.entries.len())).collect();
    assert_eq!(counts, [("uid-1", 3), ("uid-2", 2)]);
}

#[test]
fn nothing_is_left_of_a_removed_journal() {
    let mut life = Life::new();
    life.round();
    life.flush();
    let Life { base, journal, .. } = life;
    journal.remove();
    assert_eq!(std::fs::read_dir(base.path()).expect("a directory").count(), 0);
}
