//! Execs, terminals, standard input, and logs with their rotation.

#![allow(clippy::unwrap_used)]

mod pod;

use std::io::{Read, Write};

use container::{AttachRequest, Error, ExecRequest, ExecStdio, ExecStreams, ShimEvent, StartErrorKind};
use pod::{Pod, process, read_all};

fn exec(key: &str, script: &str, stdio: ExecStdio) -> ExecRequest {
    ExecRequest { container: "web/0".into(), key: key.into(), process: process(script), stdio }
}

async fn running() -> Pod {
    let pod = Pod::new().await;
    pod.start(pod.script("web/0", "sleep 1000")).await.unwrap();
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_is_confined_like_its_container() {
    let mut pod = running().await;
    let script = "hostname; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; for kind in pid mnt net cgroup; do \
        [ $(readlink /proc/self/ns/$kind) = $(readlink /proc/1/ns/$kind) ] && echo same; done; ls /proc/self/fd | wc -l; \
        echo error >&2; exit 6";
    let exec = pod.shim.exec(exec("exec/1", script, ExecStdio::Pipes { stdin: false })).await.unwrap();
    let ExecStreams::Pipes { stdin: None, stdout, stderr } = exec.streams else { panic!("pipes") };
    let (output, errors) = (read_all(stdout).await, read_all(stderr).await);
    assert_eq!(output, "testpod\nNoNewPrivs:\t1\nSeccomp:\t2\nsame\nsame\nsame\nsame\n4\n");
    assert_eq!(errors, "error\n");
    assert_eq!(pod.exit("exec/1").await.code, 6);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_reads_its_standard_input() {
    let mut pod = running().await;
    let exec = pod.shim.exec(exec("exec/1", "tr a-z A-Z", ExecStdio::Pipes { stdin: true })).await.unwrap();
    let ExecStreams::Pipes { stdin: Some(stdin), stdout, .. } = exec.streams else { panic!("pipes") };
    std::fs::File::from(stdin).write_all(b"shout\n").unwrap();
    assert_eq!(read_all(stdout).await, "SHOUT\n");
    assert_eq!(pod.exit("exec/1").await.code, 0);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_with_a_terminal_has_one() {
    let mut pod = running().await;
    let request = exec(
        "exec/1",
        "tty; stty size; echo out; echo err >&2",
        ExecStdio::Terminal { rows: 30, columns: 90 },
    );
    let exec = pod.shim.exec(request).await.unwrap();
    let ExecStreams::Terminal(master) = exec.streams else { panic!("a terminal") };
    assert_eq!(pod.exit("exec/1").await.code, 0);
    let mut output = String::new();
    // EIO is how a terminal ends.
    let _ = std::fs::File::from(master).read_to_string(&mut output);
    assert_eq!(output, "/dev/pts/0\r\n30 90\r\nout\r\nerr\r\n");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_that_cannot_start_says_why() {
    let mut pod = running().await;
    let mut request = exec("exec/1", "", ExecStdio::Pipes { stdin: false });
    request.process.set_args(Some(vec!["nonsense".into()]));
    let Err(Error::Start(error)) = pod.shim.exec(request).await else { panic!("it started") };
    assert_eq!(error.kind, StartErrorKind::NotFound);
    pod.shim.kill("web/0").await.unwrap();
    pod.exit("web/0").await;
    let request = exec("exec/2", "true", ExecStdio::Pipes { stdin: false });
    let Err(Error::Start(error)) = pod.shim.exec(request).await else { panic!("it started") };
    assert_eq!(error.kind, StartErrorKind::NoSuchContainer);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_ends_with_its_container_and_by_kill() {
    let mut pod = running().await;
    let devnull = || ExecStdio::Descriptors { stdin: None, stdout: None, stderr: None };
    pod.shim.exec(exec("exec/1", "sleep 1000", devnull())).await.unwrap();
    pod.shim.exec(exec("exec/2", "sleep 1000", devnull())).await.unwrap();
    assert_eq!(pod.shim.state().await.unwrap().execs.len(), 2);
    pod.shim.kill("exec/1").await.unwrap();
    assert_eq!(pod.exit("exec/1").await.signal, Some(9));
    pod.shim.kill("web/0").await.unwrap();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        if let container::ShimEvent::Exited { key, .. } = pod.event().await {
            ended.push(key);
        }
    }
    ended.sort();
    assert_eq!(ended, ["exec/2", "web/0"]);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_terminal_is_logged() {
    let mut pod = Pod::new().await;
    let mut request =
        pod.script("web/0", "tty; [ -t 1 ] && echo terminal; echo err >&2; stat -c '%t' /dev/console");
    request.tty = true;
    let (exit, output) = pod.run_request(request).await;
    assert_eq!(exit.code, 0, "{output}");
    assert_eq!(output, "/dev/pts/0\nterminal\nerr\n88\n");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_empty_or_stays_open() {
    let mut pod = Pod::new().await;
    let (exit, _) = pod.run("empty/0", "read line").await;
    assert_eq!(exit.code, 1, "/dev/null ends at once");
    let mut request = pod.script("open/0", "echo waiting; read line");
    request.stdin = true;
    pod.start(request).await.unwrap();
    pod.wait_for_output("open/0", "waiting").await;
    assert!(matches!(
        pod.shim.state().await.unwrap().containers["open/0"],
        container::ContainerState::Running { .. }
    ));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_lines_is_logged_whole_and_rotated() {
    let mut pod = Pod::new().await;
    let mut request = pod.script("web/0", "seq 1 200000");
    request.log.max_bytes = 1 << 20;
    request.log.max_files = 100;
    pod.start(request).await.unwrap();
    assert_eq!(pod.exit("web/0").await.code, 0);
    let mut files: Vec<_> = std::fs::read_dir(pod.log_path("web/0").parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    // The current file has the shortest name and the newest lines.
    files.rotate_left(1);
    assert!(files.len() > 5, "{files:?}");
    let mut expected = 1;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.len() <= 1 << 20, "{} has {} bytes", file.display(), text.len());
        for line in text.lines() {
            let number: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert_eq!(number, expected);
            expected += 1;
        }
    }
    assert_eq!(expected, 200_001);
    pod.finish().await;
}

fn attach(key: &str) -> AttachRequest {
    AttachRequest {
        container: "web/0".into(),
        key: key.into(),
        stdin: true,
        stdout: true,
        stderr: true,
        hand_over_stdin: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_is_given_what_is_written_and_the_log_too() {
    let mut pod = Pod::new().await;
    let mut request = pod
        .script("web/0", "echo before; while read line; do echo \"out $line\"; echo \"err $line\" >&2; done");
    request.stdin = true;
    pod.start(request).await.unwrap();
    pod.wait_for_output("web/0", "before").await;
    let first = pod.shim.attach(attach("attach/1")).await.unwrap();
    std::fs::File::from(first.stdin.unwrap()).write_all(b"one\n").unwrap();
    pod.wait_for_output("web/0", "err one").await;
    let last = AttachRequest { hand_over_stdin: true, ..attach("attach/2") };
    let last = pod.shim.attach(last).await.unwrap();
    assert!(last.terminal.is_none());
    std::fs::File::from(last.stdin.unwrap()).write_all(b"two\n").unwrap();
    assert_eq!(pod.exit("web/0").await.code, 0, "its input has ended with the last attachment");
    assert_eq!(read_all(first.stdout.unwrap()).await, "out one\nout two\n");
    assert_eq!(read_all(first.stderr.unwrap()).await, "err one\nerr two\n");
    assert_eq!(read_all(last.stdout.unwrap()).await, "out two\n");
    assert!(pod.output("web/0").ends_with("err two\n"));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_to_a_terminal_types_and_sees() {
    let mut pod = Pod::new().await;
    let mut request = pod.script("web/0", "read line; echo \"got $line\"; stty size");
    request.tty = true;
    request.stdin = true;
    pod.start(request).await.unwrap();
    let attached = pod.shim.attach(attach("attach/1")).await.unwrap();
    assert!(attached.stdin.is_none() && attached.stderr.is_none());
    let terminal = std::fs::File::from(attached.terminal.unwrap());
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    (&terminal).write_all(b"hello\n").unwrap();
    assert_eq!(read_all(attached.stdout.unwrap()).await, "hello\r\ngot hello\r\n33 77\r\n");
    assert_eq!(pod.exit("web/0").await.code, 0);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_that_does_not_read_is_cut_off_and_the_log_is_whole() {
    let mut pod = Pod::new().await;
    let mut request = pod.script("web/0", "read line; seq 1 300000; read line");
    request.stdin = true;
    request.log.max_bytes = 1 << 30;
    pod.start(request).await.unwrap();
    let mut attached = pod.shim.attach(attach("attach/1")).await.unwrap();
    let mut stdin = std::fs::File::from(attached.stdin.take().unwrap());
    stdin.write_all(b"go\n").unwrap();
    assert_eq!(pod.event().await, ShimEvent::CutOff { key: "attach/1".into() });
    let seen = read_all(attached.stdout.unwrap()).await;
    assert!(seen.starts_with("1\n2\n3\n") && seen.len() < 2_000_000, "{}", seen.len());
    pod.wait_for_output("web/0", " 300000\n").await;
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_exec_takes_its_session_along() {
    let mut pod = running().await;
    let script = "sleep 1001 & (sleep 1002 & sleep 1003) & setsid sh -c 'echo ready; exec sleep 1004' & wait";
    let exec = pod.shim.exec(exec("exec/1", script, ExecStdio::Pipes { stdin: false })).await.unwrap();
    let ExecStreams::Pipes { stdout, .. } = exec.streams else { panic!("pipes") };
    let mut ready = [0; 6];
    std::fs::File::from(stdout).read_exact(&mut ready).unwrap();
    pod.shim.kill("exec/1").await.unwrap();
    assert_eq!(pod.exit("exec/1").await.signal, Some(9));
    let listing = ExecRequest {
        key: "exec/2".into(),
        ..self::exec("exec/2", "ps -o args | grep \"^sleep\" | sort", ExecStdio::Pipes { stdin: false })
    };
    let exec = pod.shim.exec(listing).await.unwrap();
    let ExecStreams::Pipes { stdout, .. } = exec.streams else { panic!("pipes") };
    assert_eq!(read_all(stdout).await, "sleep 1000\nsleep 1004\n", "only what left the session stays");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_again_by_its_key_is_done_once() {
    let mut pod = Pod::new().await;
    let first = pod
        .start(
            pod.script("web/0", "trap 'echo caught' TERM; echo ready; while :; do sleep 1000 & wait; done"),
        )
        .await
        .unwrap();
    assert_eq!(pod.shim.started("web/0").await.unwrap().pid, first.pid);
    assert!(pod.shim.started("web/1").await.is_err());
    pod.wait_for_output("web/0", "ready").await;
    pod.shim.signal_once("web/0", 15).await.unwrap();
    pod.shim.signal_once("web/0", 15).await.unwrap();
    pod.wait_for_output("web/0", "caught").await;
    let request = |key: &str, script: &str| {
        exec(key, script, ExecStdio::Descriptors { stdin: None, stdout: None, stderr: None })
    };
    let hook = || request("hook", "echo ran > /proc/1/fd/1; sleep 1000");
    let first = pod.shim.exec(hook()).await.unwrap();
    pod.wait_for_output("web/0", "ran").await;
    assert_eq!(pod.shim.exec(hook()).await.unwrap().pid, first.pid);
    pod.shim.kill("hook").await.unwrap();
    assert_eq!(pod.exit("hook").await.signal, Some(9));
    pod.shim.exec(hook()).await.unwrap();
    assert_eq!(pod.exit("hook").await.signal, Some(9), "its end is told again");
    assert_eq!(pod.output("web/0"), "ready\ncaught\nran\n");
    pod.finish().await;
}
