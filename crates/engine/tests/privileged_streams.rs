//! exec, attach, port-forward, logs and usage of Pods that run, by the trait that a server of these would use.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;

use bytes::Bytes;
use engine::streams::{
    ExecRequest, LogRequest, LogStream, Reader, Session, StreamError, Streams, TerminalSize, Writer,
};
use lifecycle::status::ContainerState;
use model::pod::Pod;
use scene::{Scene, container, play, pod, soon, target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };
const TTY: Streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };

fn waiting() -> Pod {
    let web =
        container("web", "echo started; trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done", "");
    pod("streams", &format!("  containers:\n{web}"))
}

async fn exec(scene: &Scene, pod: &Pod, script: &str, streams: Streams) -> Session {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    soon(scene.streams.exec(target(pod, "web"), ExecRequest { command, streams })).await.unwrap()
}

async fn text(reader: &mut Option<Reader>) -> String {
    let mut text = Vec::new();
    soon(reader.as_mut().unwrap().read_to_end(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// Everything that a log gives.
async fn log(scene: &Scene, pod: &Pod, container: &str, request: LogRequest) -> String {
    let mut pieces = scene.streams.logs(target(pod, container), request).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = soon(pieces.recv()).await {
        all.extend_from_slice(&piece.unwrap());
    }
    String::from_utf8(all).unwrap()
}

/// Reads until a text is there.
async fn until(pieces: &mut mpsc::Receiver<Result<Bytes, StreamError>>, wanted: &str) -> String {
    let mut all = String::new();
    while !all.contains(wanted) {
        all.push_str(std::str::from_utf8(&soon(pieces.recv()).await.unwrap().unwrap()).unwrap());
    }
    all
}

#[test]
fn a_command_has_its_streams_and_its_exit_code() {
    play("exec", |mut scene| async move {
        let pod = waiting();
        scene.run(&pod).await;
        let mut session =
            exec(&scene, &pod, "read line; echo out $line; echo err >&2; cat; exit 7", ALL).await;
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"hello\nrest").await.unwrap();
        stdin.shutdown().await.unwrap();
        assert_eq!(text(&mut session.stdout).await, "out hello\nrest");
        assert_eq!(text(&mut session.stderr).await, "err\n");
        assert_eq!(soon(session.ended).await.unwrap().code, 7);

        let mut session = exec(&scene, &pod, "sleep 1000 & echo done; kill -9 $$", ALL).await;
        assert_eq!(
            text(&mut session.stdout).await,
            "done\n",
            "what runs on in the background is not waited for"
        );
        drop(session.stderr);
        assert_eq!(soon(session.ended).await.unwrap().code, 137);

        let request = ExecRequest { command: vec!["nonsense".to_owned()], streams: ALL };
        let refused = scene.streams.exec(target(&pod, "web"), request.clone()).await.err().unwrap();
        assert!(matches!(&refused, StreamError::CannotExecute { message } if message.contains("nonsense")));
        let refused = scene.streams.exec(target(&pod, "other"), request.clone()).await.err().unwrap();
        assert_eq!(refused.to_string(), "container other is not valid for pod streams");
        let other = engine::streams::Target { uid: Some("another".into()), ..target(&pod, "web") };
        let refused = scene.streams.exec(other, request).await.err().unwrap();
        assert_eq!(refused.to_string(), "pod \"default/streams\" not found on this node");
        scene.finish(&[&pod]).await;
    });
}

#[test]
fn a_megabyte_goes_through_a_command_and_comes_back_whole() {
    play("cat", |mut scene| async move {
        let pod = waiting();
        scene.run(&pod).await;
        let mut session = exec(&scene, &pod, "cat", ALL).await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let mut stdin = session.stdin.take().unwrap();
        let to_send = sent.clone();
        tokio::spawn(async move {
            stdin.write_all(&to_send).await.unwrap();
            stdin.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        soon(session.stdout.as_mut().unwrap().read_to_end(&mut got)).await.unwrap();
        assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
        drop(session.stderr);
        assert_eq!(soon(session.ended).await.unwrap().code, 0);
        scene.finish(&[&pod]).await;
    });
}

#[test]
fn a_command_with_a_terminal_is_typed_to_and_resized() {
    play("tty", |mut scene| async move {
        let pod = waiting();
        scene.run(&pod).await;
        let script = "echo $TERM; while read line && [ $line != go ]; do stty size; done; cat; echo end";
        let mut session = exec(&scene, &pod, script, TTY).await;
        let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
        let mut shown = String::new();
        let mut see = async |wanted: &str, mut typed: Option<&mut Writer>| {
            while !shown.contains(wanted) {
                if let Some(stdin) = &mut typed {
                    stdin.write_all(b"what\n").await.unwrap();
                }
                let mut buffer = [0; 1000];
                let length = soon(stdout.read(&mut buffer)).await.unwrap();
                assert!(length > 0, "{shown:?} has no {wanted:?}");
                shown.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            }
        };
        see("xterm\r\n", None).await;
        let size = TerminalSize { width: 91, height: 31 };
        session.resize.as_ref().unwrap().send(size).await.unwrap();
        // The size is set by a task of its own: it is asked for until it is there.
        see("31 91\r\n", Some(&mut stdin)).await;
        stdin.write_all(b"go\nline\n").await.unwrap();
        stdin.shutdown().await.unwrap();
        see("end\r\n", None).await;
        assert_eq!(stdout.read(&mut [0; 10]).await.unwrap(), 0);
        assert_eq!(soon(session.ended).await.unwrap().code, 0);
        scene.finish(&[&pod]).await;
    });
}

#[test]
fn a_session_that_is_dropped_takes_its_processes_along() {
    play("drop", |mut scene| async move {
        let pod = waiting();
        scene.run(&pod).await;
        for streams in [ALL, TTY] {
            let mut session =
                exec(&scene, &pod, "sleep 2001 & (sleep 2002 & wait) & echo $$; wait", streams).await;
            let mut line = [0; 1];
            session.stdout.as_mut().unwrap().read_exact(&mut line).await.unwrap();
            let cgroup = scene.remains.cgroup(&pod.meta.uid, "/web");
            let of_session = || {
                let pids = cgroup.procs().unwrap();
                let is_it = |pid: &u32| {
                    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    line.contains("200")
                };
                pids.into_iter().filter(is_it).count()
            };
            assert!(of_session() >= 3);
            drop(session);
            // Their end is an event of nobody here; a process that is killed is gone within a few looks.
            let started = std::time::Instant::now();
            while of_session() > 0 {
                assert!(started.elapsed() < scene::TIMEOUT, "{} processes are left", of_session());
                tokio::task::yield_now().await;
            }
        }
        scene.finish(&[&pod]).await;
    });
}

#[test]
fn an_attachment_sees_types_and_ends_with_the_container() {
    play("attach", |mut scene| async move {
        let script = "echo before; while read line; do echo out $line; echo err $line >&2; done; exit 3";
        let web = container("web", script, "    stdin: true\n    stdinOnce: true\n");
        let pod = pod("attach", &format!("  restartPolicy: Never\n  containers:\n{web}"));
        scene.run(&pod).await;
        // An attachment sees what is written from then on: what comes before it must have been written.
        let follow = LogRequest { follow: true, ..LogRequest::default() };
        let mut written = scene.streams.logs(target(&pod, "web"), follow).await.unwrap();
        assert_eq!(until(&mut written, "\n").await, "before\n");
        drop(written);
        let mut session = soon(scene.streams.attach(target(&pod, "web"), ALL)).await.unwrap();
        let mut other = soon(scene.streams.attach(target(&pod, "web"), ALL)).await.unwrap();
        assert!(other.stdin.is_none(), "of an input that is given once there is one");
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"one\ntwo\n").await.unwrap();
        stdin.shutdown().await.unwrap();
        assert_eq!(text(&mut session.stdout).await, "out one\nout two\n");
        assert_eq!(text(&mut session.stderr).await, "err one\nerr two\n");
        assert_eq!(soon(session.ended).await.unwrap().code, 3);
        assert_eq!(text(&mut other.stdout).await, "out one\nout two\n");
        drop(other.stderr);
        assert_eq!(soon(other.ended).await.unwrap().code, 3);
        scene.status(&pod.meta.uid, |status| status.phase.is_terminal()).await;
        let refused = scene.streams.attach(target(&pod, "web"), ALL).await.err().unwrap();
        let expected = "container web of pod attach is not running: it ended with exit code 3";
        assert_eq!(refused.to_string(), expected);
        assert!(log(&scene, &pod, "web", LogRequest::default()).await.starts_with("before\n"));
        scene.finish(&[&pod]).await;
    });
}

#[test]
fn an_attachment_to_a_terminal_comes_and_goes() {
    play("attach-tty", |mut scene| async move {
        let script = "while read line; do echo got $line; stty size; done";
        let web = container("web", script, "    stdin: true\n    tty: true\n");
        let pod = pod("terminal", &format!("  containers:\n{web}"));
        scene.run(&pod).await;
        for width in [70, 80] {
            let mut session = soon(scene.streams.attach(target(&pod, "web"), TTY)).await.unwrap();
            session.resize.as_ref().unwrap().send(TerminalSize { width, height: 20 }).await.unwrap();
            tokio::task::yield_now().await;
            let mut stdin = session.stdin.take().unwrap();
            let mut shown = String::new();
            let mut stdout = session.stdout.take().unwrap();
            // The size is set by a task of its own; a line that came before it is followed by another.
            while !shown.contains(&format!("20 {width}\r\n")) {
                stdin.write_all(b"hi\n").await.unwrap();
                let mut buffer = [0; 1000];
                let length = soon(stdout.read(&mut buffer)).await.unwrap();
                shown.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            }
            stdin.shutdown().await.unwrap();
        }
        scene.finish(&[&pod]).await;
    });
}

#[test]
fn a_port_is_reached_before_and_after_a_restart() {
    play("connect", |mut scene| async move {
        let web = container("web", "exec /bin/http --port 8080 --addr 127.0.0.1", "");
        let of_pod = pod("port", &format!("  containers:\n{web}"));
        scene.run(&of_pod).await;
        let get = async |scene: &Scene, pod: &Pod| -> Result<String, StreamError> {
            let (mut reader, mut writer) = soon(scene.streams.connect(target(pod, "web"), 8080)).await?;
            writer.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            soon(reader.read_to_string(&mut answer)).await.unwrap();
            Ok(answer)
        };
        let answer = async |scene: &Scene, pod: &Pod| loop {
            // The server opens its port a moment after it was started.
            match get(scene, pod).await {
                Ok(answer) => break answer,
                Err(StreamError::Port { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        };
        assert!(answer(&scene, &of_pod).await.starts_with("HTTP/1.1 200"));
        let refused = scene.streams.connect(target(&of_pod, "web"), 1).await.err().unwrap();
        assert_eq!(
            refused.to_string(),
            "cannot reach port 1 of pod port; check that a container of it listens there"
        );
        let request = ExecRequest {
            command: vec!["/bin/kill".to_owned(), "1".to_owned()],
            streams: Streams::default(),
        };
        soon(scene.streams.exec(target(&of_pod, "web"), request)).await.unwrap().ended.await.unwrap();
        scene.status(&of_pod.meta.uid, |status| status.container_statuses[0].restart_count == 1).await;
        assert!(answer(&scene, &of_pod).await.starts_with("HTTP/1.1 200"));
        scene.finish(&[&of_pod]).await;
    });
}

#[test]
fn logs_are_followed_filtered_cut_and_kept() {
    play("logs", |mut scene| async move {
        let script = "echo one; echo two; echo three; read go; echo four; echo oh >&2; exit 1";
        let web = container("web", script, "    stdin: true\n    stdinOnce: true\n");
        let pod = pod("logs", &format!("  restartPolicy: Never\n  containers:\n{web}"));
        scene.run(&pod).await;
        let get = |request: LogRequest| log(&scene, &pod, "web", request);
        let follow = LogRequest { follow: true, ..LogRequest::default() };
        let mut followed = scene.streams.logs(target(&pod, "web"), follow.clone()).await.unwrap();
        assert_eq!(until(&mut followed, "three\n").await, "one\ntwo\nthree\n");
        assert_eq!(get(LogRequest::default()).await, "one\ntwo\nthree\n");
        assert_eq!(get(LogRequest { tail_lines: Some(2), ..LogRequest::default() }).await, "two\nthree\n");
        assert_eq!(get(LogRequest { tail_lines: Some(0), ..LogRequest::default() }).await, "");
        assert_eq!(get(LogRequest { limit_bytes: Some(5), ..LogRequest::default() }).await, "one\nt");
        let later = LogRequest { since_wall_nanos: Some(i64::MAX), ..LogRequest::default() };
        assert_eq!(get(later).await, "");
        let first = get(LogRequest { timestamps: true, ..LogRequest::default() }).await;
        let (time, rest) = first.split_once(' ').unwrap();
        assert!(time.len() == 30 && time.ends_with('Z') && rest.starts_with("one\n"), "{first}");
        let before = LogRequest { previous: true, ..LogRequest::default() };
        let refused = scene.streams.logs(target(&pod, "web"), before).await.unwrap_err();
        let expected = "previous terminated container \"web\" in pod \"logs\" not found";
        assert_eq!(refused.to_string(), expected);

        let session = scene.streams.attach(target(&pod, "web"), ALL).await.unwrap();
        session.stdin.unwrap().write_all(b"go\n").await.unwrap();
        let mut rest = String::new();
        while let Some(piece) = soon(followed.recv()).await {
            rest.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
        assert!(rest.contains("four\n") && rest.contains("oh\n"), "it ends with the container: {rest}");
        scene.status(&pod.meta.uid, |status| status.phase.is_terminal()).await;
        let of = |stream| LogRequest { stream: Some(stream), ..follow.clone() };
        assert_eq!(log(&scene, &pod, "web", of(LogStream::Stdout)).await, "one\ntwo\nthree\nfour\n");
        assert_eq!(log(&scene, &pod, "web", of(LogStream::Stderr)).await, "oh\n");
        scene.finish(&[&pod]).await;
    });
}

#[test]
fn the_log_before_a_restart_is_previous() {
    play("previous", |mut scene| async move {
        let script = "echo life >> /scratch/lives; wc -l < /scratch/lives; [ $(wc -l < /scratch/lives) -ge 2 ] && sleep 1000";
        let web = container("web", script, "")
            .replace("volumeMounts: [", "volumeMounts: [{name: scratch, mountPath: /scratch}, ");
        let pod = pod("previous", &format!("  containers:\n{web}"));
        scene.apply(&pod).await;
        let is_second = |status: &lifecycle::Status| {
            let web = &status.container_statuses[0];
            web.restart_count == 1 && matches!(web.state, ContainerState::Running { .. })
        };
        scene.status(&pod.meta.uid, is_second).await;
        let follow = LogRequest { follow: true, ..LogRequest::default() };
        let mut followed = scene.streams.logs(target(&pod, "web"), follow).await.unwrap();
        assert_eq!(until(&mut followed, "\n").await, "2\n");
        let before = LogRequest { previous: true, ..LogRequest::default() };
        assert_eq!(log(&scene, &pod, "web", before).await, "1\n");
        scene.finish(&[&pod]).await;
    });
}

#[test]
fn usage_is_measured_for_the_pod_and_each_container() {
    play("usage", |mut scene| async move {
        let busy = container("busy", "while :; do :; done", "");
        let idle = container("idle", "sleep 1000", "");
        let pod = pod("usage", &format!("  containers:\n{busy}{idle}"));
        scene.run(&pod).await;
        let usage = loop {
            let usage = soon(scene.streams.usage()).await;
            assert_eq!(usage.len(), 1);
            if usage[0].containers["busy"].cpu_nanos > 20_000_000 {
                break usage;
            }
        };
        let (busy, idle) = (usage[0].containers["busy"], usage[0].containers["idle"]);
        assert!(usage[0].whole.cpu_nanos >= busy.cpu_nanos && busy.cpu_nanos > idle.cpu_nanos);
        assert!(busy.working_set_bytes > 0 && usage[0].whole.memory_bytes >= idle.memory_bytes);
        assert!(busy.started_wall_nanos > 0 && busy.started_wall_nanos < usage[0].wall_nanos);
        assert_eq!((usage[0].namespace.as_str(), usage[0].uid.as_str()), ("default", "usage-uid"));
        scene.finish(&[&pod]).await;
    });
}
