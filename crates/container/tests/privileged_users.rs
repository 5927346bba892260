//! Containers of a Pod with users of its own (KEP-127): root in them, nobody on the machine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod pod;

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use container::{ContainerRequest, ExecRequest, ExecStdio, ExecStreams, RuntimeHandler, SandboxSpec};
use linux::user_namespace::{IdRange, create_with_network};
use pod::{Pod, change};
use serde_json::{Value, json};

const USERS: IdRange = IdRange { first: 0x7ffd_0000, count: 65_536 };

/// A Pod with users of its own.
async fn with_users(more: impl FnOnce(&mut SandboxSpec)) -> Pod {
    let created = create_with_network(USERS).unwrap();
    let change = |spec: &mut SandboxSpec| {
        spec.netns = Some(Arc::new(created.network));
        spec.users = Some(Arc::new(created.users));
        more(spec);
    };
    Pod::with(change).await.0
}

/// A script that runs among the Pod's users.
fn script(pod: &Pod, key: &str, script: &str) -> ContainerRequest {
    let mut request = pod.script(key, script);
    change(&mut request, |spec| {
        let mappings = json!([{ "containerID": 0, "hostID": USERS.first, "size": USERS.count }]);
        spec["linux"]["uidMappings"] = mappings.clone();
        spec["linux"]["gidMappings"] = mappings;
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({ "type": "user" }));
    });
    request
}

/// Binds `source` to `target` with mapped owners.
fn bind(request: &mut ContainerRequest, source: &Path, target: &str) {
    change(request, |spec| {
        let mappings = spec["linux"]["uidMappings"].clone();
        let mount = json!({
            "destination": target, "source": source, "options": ["rbind", "rw"],
            "uidMappings": mappings.clone(), "gidMappings": mappings,
        });
        spec["mounts"].as_array_mut().unwrap().push(mount);
    });
}

/// Whether mounts of what lies in this directory can have mapped owners: tmpfs only since Linux 6.3.
fn maps_owners(directory: &Path) -> bool {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let users = create_with_network(USERS).unwrap().users;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, directory, flags).unwrap();
    linux::mount::map_owners(tree.as_fd(), users.as_fd()).is_ok()
}

/// Where the kernel has no mapped mounts of the test's filesystem, that is said, and there is nothing more to try.
async fn is_refused(pod: &Pod, request: &ContainerRequest) -> bool {
    if maps_owners(pod.directory.path()) {
        return false;
    }
    let error = pod.start(request.clone()).await.unwrap_err().to_string();
    assert!(error.contains("idmapped mounts") && error.contains("hostUsers: false"), "{error}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn root_of_the_pod_is_nobody_on_the_machine_and_root_on_its_disks() {
    let mut pod = with_users(|_| {}).await;
    let volume = pod.directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("given"), "").unwrap();
    let mut request = script(
        &pod,
        "one/0",
        "id -u; stat -c %u /bin/busybox /v /v/given /dev /dev/pts; touch /v/own /own; chown 1000 /v/given; \
         tr -s ' ' < /proc/self/uid_map; cat /etc/passwd > /dev/null && echo x >> /etc/passwd && stat -c %u /etc/passwd",
    );
    bind(&mut request, &volume, "/v");
    if is_refused(&pod, &request).await {
        return pod.finish().await;
    }
    let upper = request.rootfs.upper.clone();
    let (exit, output) = pod.run_request(request).await;
    let expected = format!("0\n0\n0\n0\n0\n0\n 0 {} 65536\n0\n", USERS.first);
    assert_eq!((exit.code, output), (0, expected));
    let owner = |path: &Path| std::fs::metadata(path).unwrap().uid();
    assert_eq!(owner(&volume.join("own")), 0, "a volume has the owners that the container sees");
    assert_eq!(owner(&volume.join("given")), 1000);
    assert_eq!(owner(&upper.join("own")), USERS.first, "the writable layer has those of the machine");
    assert_eq!(owner(&upper.join("etc/passwd")), USERS.first);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_namespaces_are_its_own_to_change() {
    let mut pod = with_users(|spec| {
        spec.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "80".into());
    })
    .await;
    let mut request = script(
        &pod,
        "one/0",
        "mkdir /m && mount -t tmpfs own /m && mount -t proc own /m && echo mounted; umount /m && umount /dev/mqueue && echo gone; \
         ip link add name a type veth peer name b && echo linked; hostname other && hostname; \
         cat /proc/sys/net/ipv4/ip_unprivileged_port_start; mknod /n b 8 0 2> /dev/null || echo no node; \
         echo 1 2> /dev/null > /proc/sys/kernel/printk || echo no printk",
    );
    change(&mut request, |spec| {
        for set in ["bounding", "effective", "permitted"] {
            let names = spec["process"]["capabilities"][set].as_array_mut().unwrap();
            names.extend([json!("CAP_SYS_ADMIN"), json!("CAP_NET_ADMIN")]);
        }
        // Nothing in it is hidden, as with procMount: Unmasked: else the kernel lets nobody mount it again.
        for field in ["seccomp", "maskedPaths", "readonlyPaths"] {
            spec["linux"].as_object_mut().unwrap().remove(field);
        }
    });
    if is_refused(&pod, &request).await {
        return pod.finish().await;
    }
    let (exit, output) = pod.run_request(request).await;
    let expected = "mounted\ngone\nlinked\nother\n80\nno node\nno printk\n";
    // What the shell says of printk is not asked.
    let output: String = output
        .lines()
        .filter(|line| !line.starts_with("/bin/sh:"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    assert_eq!((exit.code, output.as_str()), (0, expected));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_is_among_the_same_users_and_a_later_container_too() {
    let mut pod = with_users(|spec| spec.share_process_namespace = true).await;
    let request = script(&pod, "one/0", "echo up; exec sleep 1000");
    if is_refused(&pod, &request).await {
        return pod.finish().await;
    }
    pod.start(request).await.unwrap();
    pod.wait_for_output("one/0", "up").await;
    let mut process =
        pod::process("cat /proc/self/uid_map /proc/1/uid_map | tr -s ' '; id -u; cat /proc/1/comm");
    process.set_user(oci_spec::runtime::UserBuilder::default().uid(1000u32).gid(1000u32).build().unwrap());
    let exec = ExecRequest {
        container: "one/0".into(),
        key: "exec/1".into(),
        process,
        stdio: ExecStdio::Pipes { stdin: false },
    };
    let ExecStreams::Pipes { stdout, .. } = pod.shim.exec(exec).await.unwrap().streams else {
        panic!("pipes were asked for")
    };
    let map = format!(" 0 {} 65536\n", USERS.first);
    assert_eq!(pod::read_all(stdout).await, format!("{map}{map}1000\npause\n"));
    assert_eq!(pod.exit("exec/1").await.code, 0);
    pod.start(script(&pod, "two/0", "kill -9 $(pidof sleep) && echo killed")).await.unwrap();
    assert_eq!(pod.exit("one/0").await.signal, Some(9), "one's root is the other's");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_told_and_leaves_nothing() {
    let pod = with_users(|_| {}).await;
    let mut nobody = script(&pod, "nobody/0", "true");
    change(&mut nobody, |spec| spec["process"]["user"]["uid"] = json!(70_000));
    if is_refused(&pod, &script(&pod, "probe/0", "true")).await {
        return pod.finish().await;
    }
    let error = pod.start(nobody).await.unwrap_err().to_string();
    assert!(
        error.contains("become user 70000: with hostUsers: false a Pod has those from 0 to 65535"),
        "{error}"
    );

    let mut proc = script(&pod, "proc/0", "true");
    bind(&mut proc, Path::new("/proc"), "/p");
    let error = pod.start(proc).await.unwrap_err().to_string();
    assert!(error.contains("bind /proc to /p") && error.contains("idmapped mounts"), "{error}");

    let mut missing = script(&pod, "missing/0", "true");
    change(&mut missing, |spec| spec["process"]["args"] = json!(["/nothing"]));
    let error = pod.start(missing).await.unwrap_err().to_string();
    assert!(error.contains("/nothing does not exist"), "{error}");

    let mut foreign = script(&pod, "foreign/0", "true");
    foreign.runtime = RuntimeHandler::External("/usr/bin/crun".into());
    let error = pod.start(foreign).await.unwrap_err().to_string();
    assert!(error.contains("hostUsers: false"), "{error}");

    let mut others = script(&pod, "others/0", "true");
    change(&mut others, |spec: &mut Value| {
        let mount = json!({
            "destination": "/v", "source": "/tmp", "options": ["rbind"],
            "uidMappings": [{ "containerID": 0, "hostID": 5, "size": 1 }],
        });
        spec["mounts"].as_array_mut().unwrap().push(mount);
    });
    let error = pod.start(others).await.unwrap_err().to_string();
    assert!(error.contains("the mappings of the mount at /v"), "{error}");
    pod.finish().await;
}

/// Two that were made at the same time waited for each other for ever.
#[test]
fn many_user_namespaces_are_made_at_once() {
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| (0..20).for_each(|_| drop(create_with_network(USERS).unwrap()))))
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    assert!(made.iter().all(Result::is_ok));
}
