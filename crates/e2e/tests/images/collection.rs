//! Images that a node removes by itself: what nobody uses for too long, and nothing that somebody uses.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use e2e::{Image, Node, Podling, pod};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

use crate::{image, listed};

/// Removals from a store.
struct Removals<'a> {
    podling: &'a Podling,
    inotify: OwnedFd,
}

impl<'a> Removals<'a> {
    fn watch(podling: &'a Podling) -> Self {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        add_watch(&inotify, podling.image_dir().join("images"), WatchFlags::DELETE).unwrap();
        Self { podling, inotify }
    }

    fn wait_for(&self, tag: &str) {
        while listed(self.podling, tag).is_some() {
            let deadline = Timespec { tv_sec: 60, tv_nsec: 0 };
            let told = poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&deadline)).unwrap();
            assert_eq!(told, 1, "{tag} stays");
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let mut told = Reader::new(&self.inotify, &mut buffer);
            while told.next().is_ok() {}
        }
    }
}

/// The node looks when an image comes, when one becomes too old, and when a Pod is gone; each time nothing else happens.
#[test]
fn what_nobody_uses_for_too_long_is_removed_and_what_somebody_uses_stays() {
    let podling = Podling::with_images(&["busybox"]);
    Image::toolbox(&podling, "here:v1").layer(&[("one", 0o644, b"1")]).load();
    let late = Image::toolbox(&podling, "late:v1").layer(&[("two", 0o644, b"2")]).save();
    let user = pod(
        "user",
        "containers: [{name: app, image: busybox, imagePullPolicy: Never, command: [sleep, infinity]}]",
    );
    Image::toolbox(&podling, "done:v1").layer(&[("three", 0o644, b"3")]).load();
    let done = pod(
        "done",
        "restartPolicy: Never\ncontainers: [{name: app, image: 'done:v1', imagePullPolicy: Never, command: ['true']}]",
    );
    let file = podling.base().join("pods.yaml");
    std::fs::write(&file, format!("{user}\n---\n{done}")).unwrap();
    let removals = Removals::watch(&podling);

    let mut node = Node::start(&podling, &[]);
    let kubectl = |node: &Node<'_>, words: &str| {
        let output = node.kubectl(words.split(' '));
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    };
    kubectl(&node, &format!("apply -f {}", file.display()));
    kubectl(&node, "wait --for=condition=Ready pod/user --timeout=60s");
    kubectl(&node, "wait --for=jsonpath={.status.phase}=Succeeded pod/done --timeout=60s");
    assert!(listed(&podling, "here:v1").is_some(), "without an age they stay");
    node.kill();

    node.restart(&["--image-max-age", "100ms"]);
    removals.wait_for("here:v1");
    podling.load(&late);
    removals.wait_for("late:v1");
    let used = listed(&podling, "busybox:latest").expect("a Pod uses it");
    assert_eq!(used["in_use"], true);
    assert!(listed(&podling, "podling/toolbox:latest").is_some(), "what is built in is no burden");

    let named = listed(&podling, "done:v1").expect("a Pod that has ended names it");
    assert_eq!(named["in_use"], false);

    kubectl(&node, "delete pod user --now");
    removals.wait_for("busybox:latest");
    kubectl(&node, "delete pod done --now");
    removals.wait_for("done:v1");
    image(&podling, &["inspect", "busybox"]).assert_failed(125, &["busybox"]);
}
