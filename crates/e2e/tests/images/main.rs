//! Images as their users meet them: loaded from archives, pulled from a registry, listed, saved, removed, and
//! followed in what they say about the process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod archives;
mod collection;
mod configuration;
mod policies;
mod pulling;
mod registry;
mod removal;
mod sharing;

use e2e::{Finished, Podling, Value, pod};

/// `podling image` with these words.
fn image(podling: &Podling, words: &[&str]) -> Finished {
    podling.call(["image"].iter().chain(words))
}

/// What `podling image list` knows of an image, if it is there.
fn listed(podling: &Podling, tag: &str) -> Option<Value> {
    let list = image(podling, &["list", "--output", "json"]);
    assert_eq!(list.code, 0, "{list}");
    let images: Vec<Value> = serde_json::from_str(&list.stdout).unwrap();
    images.into_iter().find(|image| image["tags"].as_array().unwrap().iter().any(|name| name == tag))
}

/// A Pod of one container that runs once; `container` are its fields beside the name.
fn once(container: &str) -> String {
    pod("once", &format!("restartPolicy: Never\ncontainers: [{{name: app, {container}}}]"))
}
