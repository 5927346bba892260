//! A Pod's network as its user meets it: localhost, its own address, host ports, names, and who holds a port.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use e2e::{Podling, Signal, pod};

/// A port that nobody uses, now. Another process may take it; the port comes from the ephemeral range, where the
/// kernel goes round.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").expect("sending a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer");
    answer
}

#[test]
fn a_published_port_is_reached_on_the_host() {
    let podling = Podling::new();
    let port = free_port();
    let manifest =
        pod("web", "containers: [{name: web, image: podling/toolbox, args: [http, --port, '8080']}]");
    let mut running = podling.spawn(&manifest, &["-p", &format!("{port}:8080")]);
    running.wait_for_log("web", "serving");
    let address = running.wait_until_ready()["pod_ips"][0].as_str().unwrap().to_owned();
    assert!(get(&format!("127.0.0.1:{port}")).contains("200 OK"));
    assert!(get(&format!("{address}:8080")).contains("200 OK"), "from the node to the Pod");
    running.signal(Signal::INT);
    assert_eq!(running.wait().code, 130);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is free again");
}

#[test]
fn a_host_port_of_the_manifest_is_reached_on_the_host() {
    let podling = Podling::new();
    let port = free_port();
    let manifest = pod(
        "web",
        &format!(
            "
        containers:
        - name: web
          image: podling/toolbox
          args: [http, --port, '8080']
          ports: [{{containerPort: 8080, hostPort: {port}, hostIP: 127.0.0.1}}]
    "
        ),
    );
    let mut running = podling.spawn(&manifest, &[]);
    running.wait_for_log("web", "serving");
    assert!(get(&format!("127.0.0.1:{port}")).contains("200 OK"));
    running.signal(Signal::INT);
    assert_eq!(running.wait().code, 130);
}

#[test]
fn a_host_port_that_somebody_has_is_told_with_the_holder() {
    let podling = Podling::new();
    let holder = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let manifest = pod("web", "containers: [{name: web, image: podling/toolbox, args: [http]}]");
    let finished = podling.run(&manifest, &["-p", &format!("{port}:8080"), "--timeout", "20s"]);
    finished.assert_failed(125, &[&port.to_string()]);
}

#[test]
fn two_pods_reach_each_other() {
    let podling = Podling::new();
    let server =
        pod("server", "containers: [{name: web, image: podling/toolbox, args: [http, --port, '8080']}]");
    let mut serving = podling.spawn(&server, &[]);
    serving.wait_for_log("web", "serving");
    let address = serving.wait_until_ready()["pod_ips"][0].as_str().unwrap().to_owned();
    // Of another run, with an address range of its own, and of the same run.
    let client = |name: &str, address: &str| {
        pod(name, &format!("
            restartPolicy: Never
            containers: [{{name: client, image: podling/toolbox, args: [get, --timeout, 10s, 'http://{address}:8080/healthz']}}]
        "))
    };
    let finished = podling.run(&client("client", &address), &[]);
    assert_eq!((finished.code, finished.lines_of("client")), (0, vec!["ok"]), "{finished}");
    serving.signal(Signal::INT);
    assert_eq!(serving.wait().code, 130);
}

#[test]
fn pods_of_one_run_have_addresses_of_their_own() {
    let podling = Podling::new();
    let one = pod("one", "containers: [{name: web, image: podling/toolbox, args: [http, --port, '8080']}]");
    let two = pod("two", "containers: [{name: web, image: podling/toolbox, args: [http, --port, '8080']}]");
    let mut running = podling.spawn(&format!("{one}---\n{two}"), &[]);
    let mut address = |name: &str| {
        let ready = running
            .wait_for(name, |event| event["event"] == "ready" && event["pod"] == format!("default/{name}"));
        ready["pod_ips"][0].as_str().unwrap().to_owned()
    };
    let (one, two) = (address("one"), address("two"));
    assert_ne!(one, two);
    for pod in ["default/one", "default/two"] {
        running.wait_for("its server", |event| {
            event["event"] == "log"
                && event["pod"] == pod
                && event["line"].as_str().unwrap().contains("serving")
        });
    }
    assert!(get(&format!("{one}:8080")).contains("200 OK") && get(&format!("{two}:8080")).contains("200 OK"));
    running.signal(Signal::INT);
    assert_eq!(running.wait().code, 130);
}

#[test]
fn the_loser_of_a_port_is_told_who_holds_it() {
    let podling = Podling::new();
    let manifest = pod("ports", "
        restartPolicy: Never
        initContainers:
        - name: first
          image: podling/toolbox
          restartPolicy: Always
          args: [bind, '8080']
          startupProbe: {exec: {command: [toolbox, nc, -z, localhost, '8080']}, periodSeconds: 1, failureThreshold: 30}
        containers:
        - {name: second, image: podling/toolbox, args: [bind, '8080'], ports: [{containerPort: 8080}]}
    ");
    let finished = podling.run(&manifest, &[]);
    assert_ne!(finished.code, 0, "{finished}");
    let told = finished
        .stderr
        .lines()
        .any(|line| line.contains("second") && line.contains("8080") && line.contains("first"));
    assert!(told, "{finished}");
}

/// Seed 001-18: nothing opens the port, because what would open it comes later.
#[test]
fn a_wait_for_a_port_that_only_a_later_container_opens_is_told_while_it_waits() {
    let podling = Podling::new();
    let manifest = pod(
        "stuck",
        "
        initContainers:
        - {name: wait, image: podling/toolbox, args: [wait-for, 'localhost:5432']}
        containers:
        - {name: database, image: podling/toolbox, args: [bind, '5432'], ports: [{containerPort: 5432}]}
    ",
    );
    let mut running = podling.prepare_run(&manifest, &[]).start();
    let told = running.wait_for_line("nothing listens");
    for word in ["wait", "localhost:5432", "database"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    running.signal(Signal::INT);
    assert_eq!(running.wait().code, 130);
}

#[test]
fn the_pod_knows_its_name_and_its_address() {
    let podling = Podling::new();
    let manifest = pod(
        "named",
        "
        restartPolicy: Never
        hostname: chosen
        hostAliases: [{ip: 10.9.8.7, hostnames: [alias.example]}]
        dnsPolicy: None
        dnsConfig: {nameservers: [10.1.2.3], searches: [a.example], options: [{name: ndots, value: '2'}]}
        containers:
        - {name: kernel, image: podling/toolbox, args: [hostname]}
        - {name: files, image: podling/toolbox, args: [cat, /etc/hostname, /etc/hosts, /etc/resolv.conf]}
        - {name: alias, image: podling/toolbox, args: [nslookup, alias.example]}
        - {name: own, image: podling/toolbox, args: [nslookup, chosen]}
    ",
    );
    let finished = podling.run(&manifest, &["-o", "json"]);
    assert_eq!(finished.code, 0, "{finished}");
    assert_eq!(finished.lines_of("kernel"), ["chosen"]);
    let files = finished.lines_of("files").join("\n");
    for text in
        ["10.9.8.7", "alias.example", "nameserver 10.1.2.3", "search a.example", "ndots:2", "localhost"]
    {
        assert!(files.contains(text), "{text}: {files}");
    }
    assert!(finished.lines_of("alias").join(" ").contains("10.9.8.7"), "{finished}");
    let statuses = finished.events_of("status");
    let address = statuses.iter().find_map(|status| status["pod_ips"][0].as_str()).unwrap();
    assert!(finished.lines_of("own").join(" ").contains(address), "{finished}");
}

#[test]
fn a_pod_on_the_hosts_network_sees_the_hosts_interfaces() {
    let podling = Podling::new();
    let manifest = pod(
        "host",
        "
        restartPolicy: Never
        hostNetwork: true
        containers: [{name: look, image: podling/toolbox, args: [report]}]
    ",
    );
    let finished = podling.prepare_run(&manifest, &[]).in_fresh_network().finish();
    assert_eq!(finished.code, 0, "{finished}");
    let report: e2e::Value = serde_json::from_str(&finished.lines_of("look").join("")).unwrap();
    assert_eq!(report["interfaces"], serde_json::json!(["lo"]), "{report}");
}

/// In Kubernetes the second one stays Pending; here it is told, at once, who has the port.
#[test]
fn two_pods_that_want_one_host_port_are_told_apart() {
    let podling = Podling::new();
    let port = free_port();
    let web = |name: &str| {
        pod(name, &format!("
            containers:
            - {{name: web, image: podling/toolbox, args: [http], ports: [{{containerPort: 8080, hostPort: {port}}}]}}
        "))
    };
    let finished = podling.run(&format!("{}---\n{}", web("one"), web("two")), &["--timeout", "20s"]);
    finished.assert_failed(125, &[&port.to_string()]);
}
