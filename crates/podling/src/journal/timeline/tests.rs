//! What people see of a Pod's life.

use std::borrow::Cow;
use std::path::PathBuf;

use lifecycle::journal::{Entry, Recorder};
use lifecycle::{
    Action, Done, Exit, Fact, Failure, Image, Instance, InstanceState, Memory, Now, Observation, Policy,
    ProbeKind, Reason, Retry, Sandbox, Volumes, decide,
};
use model::pod::Pod;

use super::*;

const MILLISECOND: u64 = 1_000_000;

/// A Pod whose journal is written as a node writes it.
struct Life {
    pod: Pod,
    memory: Memory,
    seen: Observation,
    recorder: Recorder,
    now: Now,
    entries: Vec<Entry<'static>>,
}

impl Life {
    fn new() -> Life {
        let text = b"
            {apiVersion: v1, kind: Pod, metadata: {name: web},
             spec: {restartPolicy: Never, containers: [{name: server, image: toolbox,
               readinessProbe: {tcpSocket: {port: 80}}}]}}";
        let mut pod = model::manifest::parse("pod.yaml", text).unwrap().pods.remove(0);
        pod.meta.uid = "uid".to_owned();
        let now = Now { boot_nanos: 5_000 * MILLISECOND, boot_id: 1, wall_nanos: 1_800_000_000_000_000_000 };
        let (recorder, began) = Recorder::admitted(&pod, Policy::default(), now);
        let memory = Memory::new(&pod, Policy::default(), now);
        Life { pod, memory, seen: Observation::default(), recorder, now, entries: vec![began] }
    }

    fn after(&mut self, millis: u64) -> &mut Life {
        self.now.boot_nanos += millis * MILLISECOND;
        self.now.wall_nanos += (millis * MILLISECOND) as i64;
        self
    }

    fn note(&mut self, fact: Fact, took_millis: u64) {
        self.memory.note(&self.pod, &fact, &self.now);
        let took_nanos = Some(took_millis * MILLISECOND);
        self.entries.push(Entry::Noted { now: self.now, fact: Cow::Owned(fact), took_nanos });
    }

    /// A round with the actions that are decided; those stay under way.
    fn round(&mut self) {
        self.memory.note(&self.pod, &Fact::Observed(self.seen.clone()), &self.now);
        let decision = decide(&self.pod, &self.memory, &self.seen, &self.now);
        let entry =
            serde_json::to_string(&self.recorder.round(self.seen.clone(), &decision, self.now)).unwrap();
        self.entries.push(serde_json::from_str(&entry).unwrap());
        self.seen.in_flight.extend(decision.actions);
    }

    fn complete(&mut self, action: Action, result: Result<Done, Failure>, took_millis: u64) {
        self.seen.in_flight.remove(&action);
        self.note(Fact::Completed { action, result }, took_millis);
    }

    fn text(self) -> String {
        let recorded = Recorded { path: PathBuf::new(), entries: self.entries, is_cut_short: false };
        text(&recorded, Palette::plain())
    }
}

fn server() -> String {
    "server".to_owned()
}

/// A Pod that comes up, has a probe that wavers, and ends with code 3.
fn a_life() -> Life {
    let mut life = Life::new();
    life.round();
    life.after(1).complete(Action::PrepareVolumes { retry: 0 }, Ok(Done::Performed), 1);
    life.seen.volumes = Volumes::Ready;
    life.complete(
        Action::Pull { container: server(), image: "toolbox".to_owned(), attempt: 0, retry: 0 },
        Ok(Done::Performed),
        1,
    );
    life.seen.images.insert(server(), Image { image_id: "sha256:1".to_owned() });
    life.after(2).complete(Action::CreateSandbox { attempt: 0 }, Ok(Done::Performed), 3);
    life.seen.sandbox = Sandbox::Ready { attempt: 0 };
    life.seen.pod_ips = vec!["10.0.0.9".to_owned()];
    life.round();
    let started_at = life.now;
    life.after(4).complete(
        Action::Start { container: server(), attempt: 0, retry: 0, sandbox: 0 },
        Ok(Done::Performed),
        4,
    );
    let mut instance = Instance {
        attempt: 0,
        container_id: "podling://1".to_owned(),
        user: None,
        stop_signal: None,
        state: InstanceState::Running { started_at },
    };
    life.seen.containers.insert(server(), instance.clone());
    life.round();
    let probe = |life: &mut Life, round, result| {
        let kind = ProbeKind::Readiness;
        life.complete(Action::Probe { container: server(), attempt: 0, kind, round }, result, 1);
        life.round();
    };
    let refused = || Ok(Done::Unhealthy { message: "connection refused\nby \x1b[1mnobody".to_owned() });
    probe(&mut life, 0, refused());
    life.after(10_000);
    probe(&mut life, 1, refused());
    life.after(10_000);
    probe(&mut life, 2, Ok(Done::Healthy));
    life.after(100);
    let exit = Exit { code: 3, signal: None, oom_killed: false, message: Some("out of ideas\n".to_owned()) };
    instance.state = InstanceState::Exited { started_at, finished_at: life.now, exit };
    life.seen.containers.insert(server(), instance);
    life.after(1).round();
    life
}

#[test]
fn a_life_from_admission_to_failure() {
    let expected = "\
web  from 2027-01-15T08:00:00.000Z on, podling 0.1.0, UID uid

 +0.0 ms  Pod      admitted         with server
 +0.0 ms  podling  prepare volumes  done in 1 ms
 +0.0 ms  podling  create sandbox   done in 3 ms
 +0.0 ms  server   pull             here already in 1 ms
 +3.0 ms  server   start            runs in 4 ms
 +7.0 ms  server   readiness probe  failed: connection refused by  [1mnobody (2 times)
 +7.0 ms  Pod      because          container `server` has not passed its readiness probe: connection refused by  [1mnobody
+20.01 s  server   readiness probe  passed in 1 ms
+20.01 s  Pod      ready            at 10.0.0.9
+20.11 s  server   ended            code 3 after 20 s: out of ideas
+20.11 s  Pod      failed           container `server` exited with code 3 and may not restart
+20.11 s  podling  remove sandbox
";
    assert_eq!(a_life().text(), expected);
}

#[test]
fn what_failed_what_was_asked_and_what_was_broken_is_told() {
    let mut life = Life::new();
    life.round();
    let message = "no space left on device".to_owned();
    let failure = Failure { reason: Reason::FailedMount, message, retry: Retry::Backoff };
    life.after(2).complete(Action::PrepareVolumes { retry: 0 }, Err(failure), 2);
    life.note(Fact::StopRequested { grace_seconds: Some(0) }, 0);
    let what = Cow::Borrowed("server is signalled twice");
    life.entries.push(Entry::Breach { now: life.now, number: 6, what });
    let text = life.text();
    for line in [
        "+0.0 ms  podling  prepare volumes  FailedMount: no space left on device in 2 ms",
        "+2.0 ms  Pod      stop requested   at once",
        "+2.0 ms  podling  invariant 6      server is signalled twice",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_journal_without_its_first_segments_says_so() {
    let mut life = a_life();
    let continued = life.recorder.continued(&life.pod, &life.memory, life.now, false);
    let continued = serde_json::from_str(&serde_json::to_string(&continued).unwrap()).unwrap();
    life.entries = vec![continued];
    life.complete(Action::RemoveSandbox { attempt: 0 }, Ok(Done::Performed), 5);
    let text = life.text();
    assert!(text.contains("+0.0 ms  podling  journal         what was before was dropped"), "{text}");
    assert!(text.contains("+0.0 ms  podling  remove sandbox  done in 5 ms"), "{text}");
}

#[test]
fn colours_are_there_when_they_are_wanted() {
    let life = a_life();
    let recorded = Recorded { path: PathBuf::new(), entries: life.entries, is_cut_short: true };
    let text = text(&recorded, Palette::colourful());
    assert!(text.contains("\x1b[36mserver \x1b[0m"), "{text:?}");
    assert!(
        text.contains("\x1b[31m\x1b[1mcode 3 after") || text.contains("\x1b[1m\x1b[31mcode 3 after"),
        "{text:?}"
    );
    assert!(text.contains("cut off"), "{text:?}");
}
