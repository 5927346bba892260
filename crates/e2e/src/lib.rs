//! What the end-to-end tests stand on: a podling of one's own, runs of it, and the proof that nothing is left.
//!
//! A test makes a [`Podling`] (the built binary with directories of its own), runs manifests with it, and looks at
//! what came out ([`Finished`]) or at what happens while it runs ([`Running`]). When the [`Podling`] goes, also
//! because the test fails, [`leaks`] looks for anything that is still there. [`image`] makes small images, [`debian`]
//! has the well-known servers, and [`inside`] looks into running containers.
//!
//! ```no_run
//! let podling = e2e::Podling::new();
//! let finished = podling.run(&e2e::pod("a", "containers: [{name: a, image: podling/toolbox, args: [echo, hi]}]"), &[]);
//! assert_eq!(finished.code, 0, "{finished}");
//! assert_eq!(finished.lines_of("a"), ["hi"]);
//! ```
//!
//! **Nothing of podling's crates is used here**: what these tests know is what a user knows.

pub mod binary;
pub mod call;
pub mod debian;
pub mod image;
pub mod inside;
pub mod leaks;
pub mod manifest;
pub mod node;
pub mod podling;
pub mod running;
pub mod scenario;
pub mod terminal;
pub mod wire;

pub use call::Call;
pub use image::Image;
pub use manifest::{Manifest, pod};
pub use node::{Kubectl, Node, Worker};
pub use podling::Podling;
pub use running::{Finished, Running};
pub use rustix::process::Signal;
pub use serde_json::Value;
pub use wire::Wire;
