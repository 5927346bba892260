//! What people and scripts see of a run: output, exit codes, signals, logs on disk.

use std::time::Duration;

use e2e::{Podling, Signal, pod};

const TWO: &str = "
    restartPolicy: Never
    containers:
    - {name: web, image: podling/toolbox, args: [echo, from the web]}
    - {name: database, image: podling/toolbox, args: [echo, from the database]}
";

#[test]
fn the_example_of_the_readme_runs() {
    let podling = Podling::new();
    let finished = podling.run(&e2e::binary::root().join("examples/hello.yaml"), &[]);
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!(finished.lines_of("visitor").first(), Some(&"Hello from one Pod, four containers."));
    assert!(finished.lines_of("access-log").iter().any(|line| line.contains("GET / HTTP")), "{finished}");
    for words in
        ["init 1/3 page done in ", "web started (sidecar)", "hello is ready at 10.", "hello succeeded"]
    {
        assert!(finished.stderr.contains(words), "{words}: {finished}");
    }
}

#[test]
fn lines_stand_behind_names_of_one_width_and_without_colour_in_a_pipe() {
    let podling = Podling::new();
    let finished = podling.run(&pod("two", TWO), &[]);
    assert_eq!(finished.code, 0, "{finished}");
    let mut lines: Vec<_> = finished.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["     web | from the web", "database | from the database"]);
    assert!(finished.stderr.contains(" podling | two succeeded"), "{finished}");
    assert!(!finished.stdout.contains('\u{1b}') && !finished.stderr.contains('\u{1b}'), "{finished}");
}

#[test]
fn a_terminal_gets_a_colour_for_each_container() {
    let podling = Podling::new();
    let finished = podling.prepare_run(&pod("two", TWO), &[]).on_terminal().finish();
    assert_eq!(finished.code, 0, "{finished}");
    let colour = |text: &str| {
        let line = finished.stdout.lines().find(|line| line.contains(text)).expect("its line").to_owned();
        let start = line.rfind("\u{1b}[0m").and_then(|end| line[..end].rfind('\u{1b}')).expect("a colour");
        line[start..].split_once('m').expect("a colour").0.to_owned()
    };
    assert_ne!(colour("from the web"), colour("from the database"), "{finished}");
}

#[test]
fn no_color_is_obeyed_on_a_terminal() {
    let podling = Podling::new();
    let finished = podling.prepare_run(&pod("two", TWO), &[]).on_terminal().env("NO_COLOR", "1").finish();
    assert_eq!(finished.code, 0, "{finished}");
    assert!(!finished.stdout.contains("\u{1b}[3"), "{finished}");
}

#[test]
fn json_tells_everything_line_by_line() {
    let podling = Podling::new();
    let finished = podling.run(&pod("two", TWO), &["--output", "json"]);
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!(finished.events.len(), finished.stdout.lines().count(), "every line is one event: {finished}");
    assert_eq!(finished.events[0]["event"], "manifest");
    assert!(finished.events.iter().all(|event| event["at_ms"].is_f64()), "{finished}");
    let log = finished.events_of("log").into_iter().find(|log| log["container"] == "web").unwrap();
    assert_eq!((&log["line"], &log["stream"]), (&"from the web".into(), &"stdout".into()));
    let last = finished.events.last().unwrap();
    assert_eq!((&last["event"], &last["exit_code"]), (&"result".into(), &0.into()));
    assert_eq!(finished.stderr, "", "{finished}");
}

#[test]
fn a_manifest_may_come_on_standard_input() {
    let podling = Podling::new();
    let finished = podling.prepare(["run", "-"]).stdin(pod("two", TWO)).finish();
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!(finished.lines_of("web"), ["from the web"]);
}

#[test]
fn several_pods_have_their_names_before_their_lines() {
    let podling = Podling::new();
    let one = pod(
        "one",
        "containers: [{name: a, image: podling/toolbox, args: [echo, first]}]\nrestartPolicy: Never",
    );
    let two = pod(
        "two",
        "containers: [{name: a, image: podling/toolbox, args: [exit, '9']}]\nrestartPolicy: Never",
    );
    let finished = podling.run(&format!("{one}---\n{two}"), &[]);
    assert_eq!(finished.code, 9, "{finished}");
    assert_eq!(finished.lines_of("one/a"), ["first"]);
}

#[test]
fn the_timeout_stops_and_gives_124() {
    let podling = Podling::new();
    let manifest = pod("slow", "containers: [{name: slow, image: podling/toolbox, args: [trap, TERM]}]");
    let finished = podling.run(&manifest, &["--timeout", "1s"]);
    assert_eq!(finished.code, 124, "{finished}");
    assert!(finished.stderr.contains("--timeout is over"), "{finished}");
    assert!(finished.duration > Duration::from_secs(1) && finished.duration < Duration::from_secs(20));
}

#[test]
fn until_ready_stops_with_0_once_ready() {
    let podling = Podling::new();
    let manifest = pod("ready", "containers: [{name: web, image: podling/toolbox, args: [http]}]");
    let finished = podling.run(&manifest, &["--until", "ready"]);
    assert_eq!(finished.code, 0, "{finished}");
    assert!(finished.stderr.contains("ready is ready at "), "{finished}");
}

#[test]
fn a_pod_that_fails_before_it_is_ready_is_no_success() {
    let podling = Podling::new();
    let manifest = pod("never", "
        restartPolicy: Never
        containers:
        - {name: bad, image: podling/toolbox, args: [exit, '6'], startupProbe: {exec: {command: [toolbox, 'false']}}}
    ");
    let finished = podling.run(&manifest, &["--until", "ready"]);
    assert_eq!(finished.code, 6, "{finished}");
}

const ORDERED: &str = "
    initContainers:
    - {name: outer, image: podling/toolbox, restartPolicy: Always, args: [trap, TERM]}
    - {name: inner, image: podling/toolbox, restartPolicy: Always, args: [trap, TERM]}
    containers:
    - name: one
      image: podling/toolbox
      args: [trap, TERM]
      lifecycle: {preStop: {exec: {command: [toolbox, sleep, 300ms]}}}
    - {name: two, image: podling/toolbox, args: [trap, TERM]}
";

#[test]
fn ctrl_c_once_stops_in_kubernetes_order() {
    let podling = Podling::new();
    let mut running = podling.spawn(&pod("ordered", ORDERED), &[]);
    for name in ["one", "two", "inner", "outer"] {
        running.wait_for_log(name, "waiting for SIGTERM");
    }
    running.wait_until_ready();
    running.signal(Signal::INT);
    let finished = running.wait();
    assert_eq!(finished.code, 130, "{finished}");
    let end = |name: &str| {
        finished.position(name, |event| event["event"] == "exited" && event["container"] == name)
    };
    assert!(
        end("two") < end("one") && end("one") < end("inner") && end("inner") < end("outer"),
        "{finished}"
    );
    for name in ["one", "two", "inner", "outer"] {
        assert_eq!(finished.lines_of(name)[1..], ["received SIGTERM (1)"], "{finished}");
    }
}

#[test]
fn ctrl_c_twice_stops_at_once() {
    let podling = Podling::new();
    let deaf = "containers: [{name: deaf, image: podling/toolbox, args: [trap, -n, '0', TERM]}]";
    let mut running = podling.spawn(&pod("deaf", deaf), &[]);
    running.wait_for_log("deaf", "waiting for SIGTERM");
    running.signal(Signal::INT);
    running.wait_for_log("deaf", "received SIGTERM");
    running.signal(Signal::INT);
    let finished = running.wait();
    assert_eq!(finished.code, 130, "{finished}");
    assert!(finished.duration < Duration::from_secs(20), "its grace is 30 s: {finished}");
    assert!(finished.events_of("stopping").iter().any(|event| event["at_once"] == true), "{finished}");
}

#[test]
fn ctrl_c_typed_on_a_terminal_stops_the_pod_and_not_its_containers() {
    let podling = Podling::new();
    let manifest =
        pod("typed", "containers: [{name: a, image: podling/toolbox, args: [trap, -n, '1', INT, TERM]}]");
    let mut running = podling.prepare_run(&manifest, &[]).on_terminal().start();
    running.wait_for_line("waiting for SIG");
    running.type_keys("\u{3}");
    let finished = running.wait();
    assert_eq!(finished.code, 130, "{finished}");
    assert!(finished.stdout.contains("received SIGTERM (1)"), "{finished}");
    assert!(!finished.stdout.contains("received SIGINT"), "{finished}");
}

#[test]
fn a_reader_that_goes_away_stops_the_run() {
    let podling = Podling::new();
    let manifest = pod(
        "loud",
        "containers: [{name: loud, image: podling/toolbox, args: [echo-loop, --every, '1', text]}]",
    );
    let command = podling.prepare_run(&manifest, &[]).command();
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let script = "\"$0\" \"$@\" | head -n 3; exit ${PIPESTATUS[0]}";
    let output = std::process::Command::new("bash")
        .args(["-c", script])
        .arg(e2e::binary::podling())
        .args(words)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3, "{output:?}");
}

#[test]
fn logs_are_on_disk_in_cri_format_while_it_runs() {
    let podling = Podling::new();
    let manifest = pod(
        "logged",
        "containers: [{name: a, image: podling/toolbox, args: [chain, echo, one line, ',', trap, TERM]}]",
    );
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_for_log("a", "waiting for SIGTERM");
    let id = running.run_id();
    let logs = podling.data_dir().join("runs").join(id).join("logs");
    let pod_dir = std::fs::read_dir(&logs).unwrap().next().unwrap().unwrap();
    assert!(pod_dir.file_name().to_string_lossy().starts_with("default_logged_"), "kubelet's layout");
    let text = std::fs::read_to_string(pod_dir.path().join("a/0.log")).unwrap();
    let words: Vec<_> = text.lines().next().unwrap().splitn(4, ' ').collect();
    assert!(words[0].ends_with('Z') && words[0].len() == "2026-11-20T21:42:02.123456789Z".len(), "{text}");
    assert_eq!(words[1..], ["stdout", "F", "one line"]);
    running.signal(Signal::INT);
    assert_eq!(running.wait().code, 130);
}

#[test]
fn a_hundred_thousand_lines_come_all_and_in_order() {
    let podling = Podling::new();
    let manifest = pod("many", "
        restartPolicy: Never
        containers:
        - {name: many, image: podling/toolbox, args: [echo-loop, --every, '0', --count, '100000', 'a line of usual length']}
    ");
    let finished = podling.run(&manifest, &[]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let lines = finished.lines_of("many");
    assert_eq!(lines.len(), 100_000);
    let number =
        |line: &str| line.split_whitespace().find_map(|word| word.trim_matches(':').parse::<u64>().ok());
    let numbers: Vec<_> = lines.iter().filter_map(|line| number(line)).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{:?}", &lines[..3]);
    assert_eq!(numbers.len(), lines.len());
}

#[test]
fn podling_itself_failing_is_125() {
    let podling = Podling::new();
    let missing = pod("missing", "containers: [{name: a, image: localhost:1/none}]\nrestartPolicy: Never");
    podling.run(&missing, &[]).assert_failed(125, &["localhost:1/none"]);
    podling.call(["run", "/nonexistent.yaml"]).assert_failed(125, &["/nonexistent.yaml"]);
    podling.call(["run"]).assert_failed(125, &["FILE"]);
    podling.call(["walk"]).assert_failed(125, &["walk"]);
    let kinds = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    podling.run(kinds, &[]).assert_failed(125, &["no Pod to run"]);
}

#[test]
fn a_config_map_that_no_document_supplies_fails_at_once() {
    let podling = Podling::new();
    for (what, name) in [
        ("env: [{name: A, valueFrom: {configMapKeyRef: {name: absent, key: k}}}]", "absent"),
        ("envFrom: [{secretRef: {name: hidden}}]", "hidden"),
    ] {
        let manifest = pod(
            "needs",
            &format!("containers:\n- name: a\n  image: podling/toolbox\n  args: ['true']\n  {what}"),
        );
        let finished = podling.run(&manifest, &[]);
        finished.assert_failed(125, &[name]);
        assert!(finished.duration < Duration::from_secs(10), "{finished}");
    }
    let volume = pod("needs", "
        containers: [{name: a, image: podling/toolbox, args: ['true'], volumeMounts: [{name: v, mountPath: /v}]}]
        volumes: [{name: v, configMap: {name: absent}}]
    ");
    podling.run(&volume, &[]).assert_failed(125, &["absent"]);
}

/// 10 MiB a file, as the kubelet's default; nothing is lost for whoever follows.
#[test]
fn logs_are_rotated_and_followed_across() {
    let podling = Podling::new();
    let text = "x".repeat(200);
    let manifest = pod(
        "rotated",
        &format!(
            "
        containers:
        - name: a
          image: podling/toolbox
          args: [chain, echo-loop, --every, '0', --count, '60000', '{text}', ',', trap, TERM]
    "
        ),
    );
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_for_log("a", "waiting for SIGTERM");
    let logs = podling.data_dir().join("runs").join(running.run_id()).join("logs");
    let pod_dir = std::fs::read_dir(&logs).unwrap().next().unwrap().unwrap();
    let files: Vec<_> = std::fs::read_dir(pod_dir.path().join("a")).unwrap().flatten().collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        assert!(file.metadata().unwrap().len() <= 11 << 20, "{file:?}");
    }
    running.signal(Signal::INT);
    let finished = running.wait();
    assert_eq!(finished.code, 130);
    assert_eq!(finished.lines_of("a").iter().filter(|line| line.contains(&text)).count(), 60_000);
}

#[test]
fn sigterm_and_sighup_stop_like_ctrl_c_with_their_own_codes() {
    let podling = Podling::new();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let manifest = pod("stop", "containers: [{name: a, image: podling/toolbox, args: [trap, TERM]}]");
        let mut running = podling.spawn(&manifest, &[]);
        running.wait_for_log("a", "waiting for SIGTERM");
        running.signal(signal);
        let finished = running.wait();
        assert_eq!((finished.code, finished.lines_of("a").len()), (code, 2), "{finished}");
    }
}

/// Also before anything runs: whatever had begun is taken back.
#[test]
fn a_signal_at_any_moment_of_the_beginning_stops_cleanly() {
    let podling = Podling::new();
    for event in ["manifest", "status", "step", "started"] {
        let mut running = podling.spawn(&pod("early", ORDERED), &[]);
        running.wait_for(event, |seen| seen["event"] == event);
        running.signal(Signal::INT);
        running.signal(Signal::INT);
        let finished = running.wait();
        assert_eq!(finished.code, 130, "at {event}: {finished}");
        podling.assert_nothing_left();
    }
}

#[test]
fn lines_without_an_end_long_lines_and_both_streams_come_whole() {
    let podling = Podling::new();
    let long = "y".repeat(50_000);
    let manifest = pod(
        "lines",
        &format!(
            "
        restartPolicy: Never
        containers:
        - {{name: long, image: podling/toolbox, args: [echo, {long}]}}
        - {{name: half, image: podling/toolbox, args: [echo, -n, no end]}}
        - {{name: error, image: podling/toolbox, args: [cat, /absent]}}
    "
        ),
    );
    let finished = podling.run(&manifest, &["-o", "json"]);
    assert_eq!(finished.code, 1, "{finished}");
    assert_eq!(finished.lines_of("long"), [long.as_str()]);
    assert_eq!(finished.lines_of("half"), ["no end"]);
    let error = finished.events_of("log").into_iter().find(|log| log["container"] == "error").unwrap();
    assert_eq!(error["stream"], "stderr", "{error}");
}

#[test]
fn twenty_pods_at_once() {
    let podling = Podling::new();
    let one = |index: usize| {
        pod(
            &format!("p{index}"),
            "
            restartPolicy: Never
            initContainers: [{name: init, image: podling/toolbox, args: ['true']}]
            containers: [{name: a, image: podling/toolbox, args: [hostname]}]
        ",
        )
    };
    let all: Vec<_> = (0..20).map(one).collect();
    let finished = podling.run(&all.join("---\n"), &["-o", "json"]);
    assert_eq!(finished.code, 0, "{finished}");
    let mut names = finished.lines_of("a");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 20, "{names:?}");
}
