//! Containers made by crun and runc (Debian's packages) under podling's shim: the same requests, the same life.

mod pod;

use container::{Error, ExecRequest, ExecStdio, ExecStreams, RuntimeHandler, Step};
use pod::{Pod, process, read_all};

const RUNTIMES: [&str; 2] = ["/usr/bin/crun", "/usr/sbin/runc"];

fn by(runtime: &str) -> RuntimeHandler {
    assert!(std::path::Path::new(runtime).exists(), "{runtime} is missing: apt-get install crun runc");
    RuntimeHandler::External(runtime.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_runtime_makes_containers_of_the_same_pod() {
    for runtime in RUNTIMES {
        let mut pod = Pod::new().await;
        pod.start(pod.script("own/0", "readlink /proc/self/ns/net; sleep 1000")).await.unwrap();
        pod.wait_for_output("own/0", "net:").await;
        let mut request =
            pod.script("web/0", "readlink /proc/self/ns/net; hostname; tail -1 /proc/self/cgroup; exit 7");
        request.runtime = by(runtime);
        let (exit, output) = pod.run_request(request).await;
        assert_eq!(exit.code, 7, "{runtime}: {output}");
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[0], pod.output("own/0").lines().next().unwrap(), "{runtime}");
        assert_eq!(lines[1], "testpod", "{runtime}");
        pod.shim.remove("web/0").await.unwrap();
        let bundle = pod.pod_dir().join("runtime");
        let left = std::fs::read_dir(&bundle).map_or(0, |entries| entries.count());
        assert_eq!(left, 0, "{runtime} has forgotten it");
        pod.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_containers_are_signalled_entered_and_killed_alike() {
    for runtime in RUNTIMES {
        let mut pod = Pod::new().await;
        let mut request =
            pod.script("web/0", "trap 'exit 3' TERM; echo ready; while :; do sleep 1000 & wait; done");
        request.runtime = by(runtime);
        pod.start(request).await.unwrap();
        pod.wait_for_output("web/0", "ready").await;
        let exec = ExecRequest {
            container: "web/0".into(),
            key: "exec/1".into(),
            process: process("hostname; grep Seccomp: /proc/self/status"),
            stdio: ExecStdio::Pipes { stdin: false },
        };
        let ExecStreams::Pipes { stdout, .. } = pod.shim.exec(exec).await.unwrap().streams else {
            panic!("pipes")
        };
        assert_eq!(read_all(stdout).await, "testpod\nSeccomp:\t2\n", "{runtime}");
        pod.exit("exec/1").await;
        pod.shim.signal("web/0", 15).await.unwrap();
        assert_eq!(pod.exit("web/0").await.code, 3, "{runtime}");

        let mut request = pod.script("long/0", "trap '' TERM; sleep 1000 & echo ready; wait");
        request.runtime = by(runtime);
        pod.start(request).await.unwrap();
        pod.wait_for_output("long/0", "ready").await;
        pod.shim.kill("long/0").await.unwrap();
        assert_eq!(pod.exit("long/0").await.signal, Some(9), "{runtime}");
        let mut request = pod.script("last/0", "sleep 1000");
        request.runtime = by(runtime);
        pod.start(request).await.unwrap();
        pod.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refuses_is_told_in_its_words() {
    for runtime in RUNTIMES {
        let pod = Pod::new().await;
        let mut request = pod.request("web/0", &["/nonsense"]);
        request.runtime = by(runtime);
        let Err(Error::Start(error)) = pod.start(request).await else { panic!("it started") };
        assert_eq!(error.step, Step::Runtime, "{runtime}: {error}");
        assert!(error.message.contains("nonsense"), "{runtime}: {error}");
        pod.shim.remove("web/0").await.unwrap();
        pod.finish().await;
    }
}
