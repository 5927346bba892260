//! What containers of one Pod share: volumes, processes, shared memory.

use e2e::Podling;

use crate::stop;
use crate::text::{Complete, local, script, seed, toolbox};

/// "Shared volumes enable file-based communication", in both directions.
#[test]
fn seed_000_04_both_containers_write_into_one_folder() {
    let podling = Podling::with_images(&["busybox", "nginx"]);
    let manifest = seed("000-04-shared-data.yaml").image("nginx", &local("nginx")).image(
        "busybox",
        &script(
            "busybox",
            "echo from container2 > /data/two; until cat /data/one; do sleep 0.1; done 2>/dev/null; exec sleep infinity",
        ),
    );
    let mut run = podling.spawn(&manifest, &[]);
    run.wait_until_ready();
    run.wait_for_log("container1", "start worker process ");
    let written = run.look("container1", &["sh", "-c", "echo from container1 > /data/one"], "");
    assert!(written.success, "{written:?}");
    run.wait_for_log("container2", "from container1");
    assert_eq!(run.look("container1", &["cat", "/data/two"], "").text, "from container2\n");
    stop(run);
}

/// "This container can see processes from main-app. Useful for debugging without modifying main image."
#[test]
fn seed_001_11_the_debugger_sees_the_processes_of_the_app() {
    let podling = Podling::with_images(&["busybox", "nginx"]);
    let manifest = seed("001-11-shared-process-namespace.yaml")
        .image("my-app:latest", &local("nginx"))
        .image("nicolaka/netshoot", &local("busybox"));
    let mut run = podling.spawn(&manifest, &[]);
    run.wait_until_ready();
    run.wait_for_log("main-app", "start worker process ");
    let processes = run.look("debug-utils", &["ps"], "").text;
    assert!(processes.contains("nginx: master process"), "{processes}");
    assert!(processes.contains("sleep infinity"), "{processes}");
    assert_eq!(run.look("debug-utils", &["cat", "/proc/1/comm"], "").text, "pause\n");
    // It may also stop them, which is what the shared namespace is for. killall fails when the workers, told by their
    // master, are faster than it: what counts is that they end.
    run.look("debug-utils", &["killall", "-QUIT", "nginx"], "");
    run.wait_for_exit("main-app");
    stop(run);
}

/// "Both containers can use shared memory, semaphores, etc."
#[test]
fn seed_001_12_shared_memory_goes_from_producer_to_consumer() {
    let podling = Podling::with_images(&["busybox"]);
    let consumer = "until cat /dev/shm/greeting; do sleep 0.1; done 2>/dev/null; exec sleep infinity";
    let manifest = seed("001-12-shared-ipc.yaml")
        .image(
            "my-producer:latest",
            &toolbox(&["chain", "shm-write", "greeting", "hello", ",", "sleep", "infinity"]),
        )
        .image("my-consumer:latest", &script("busybox", consumer));
    let mut run = podling.spawn(&manifest, &[]);
    run.wait_until_ready();
    // POSIX shared memory, by the containers themselves.
    run.wait_for_log("consumer", "hello");
    // System V shared memory: made in the one, seen in the other.
    let made = run.look_at_ipc("producer", &["ipcmk", "--shmem", "4096"]);
    assert!(made.success, "{made:?}");
    let segments = run.look("consumer", &["cat", "/proc/sysvipc/shm"], "").text;
    assert_eq!(segments.lines().filter(|line| line.contains(" 4096 ")).count(), 1, "{segments}");
    // IPC_LOCK is added to the one that asks for it, and to no other.
    assert!(has_ipc_lock(&run.look("producer", &["cat", "/proc/1/status"], "").text));
    assert!(!has_ipc_lock(&run.look("consumer", &["cat", "/proc/1/status"], "").text));
    stop(run);
}

fn has_ipc_lock(status: &str) -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("CapEff");
    u64::from_str_radix(line.trim(), 16).expect("a mask") & 1 << CAP_IPC_LOCK != 0
}

/// "One container processes files and another uploads them": the uploader sees the folder `processed` only.
#[test]
fn seed_001_13_the_uploader_sees_what_was_processed_and_no_more() {
    let podling = Podling::with_images(&["busybox"]);
    let processor = "\
echo raw > /data/input/raw.txt
tr a-z A-Z < /data/input/raw.txt > /data/input/half-done.txt
mv /data/input/half-done.txt /data/output/done.txt
ls /data/input
exec sleep infinity";
    let uploader = "\
until cat /upload/done.txt; do sleep 0.1; done 2>/dev/null
echo \"to $S3_BUCKET: $(ls /upload)\"
exec sleep infinity";
    let manifest = seed("001-13-shared-storage-example.yaml")
        .image("my-company/processor:latest", &script("busybox", processor))
        .image("my-company/uploader:latest", &script("busybox", uploader));
    let mut run = podling.spawn(&manifest, &[]);
    run.wait_for_log("file-uploader", "RAW");
    run.wait_for_log("file-uploader", "to my-processed-files: done.txt");
    run.wait_for_log("file-processor", "processed");
    stop(run);
}
