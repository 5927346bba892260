//! Everything that is known of an image, for people and for machines.

use std::fmt::Write;
use std::time::UNIX_EPOCH;

use ::image::Inspected;
use serde_json::{Value, json};

use super::table::{ago, columns, short};
use crate::console::human;

/// A few lines, then the layers from the bottom.
pub(super) fn text(images: &[Inspected]) -> String {
    let mut text = String::new();
    for (index, image) in images.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let summary = &image.summary;
        let config = image.config.config().as_ref();
        let joined = |words: Option<&Vec<String>>| words.map_or_else(String::new, |words| words.join(" "));
        let mut rows: Vec<[String; 2]> = Vec::new();
        let mut row = |name: &str, value: String| {
            if !value.is_empty() {
                rows.push([name.to_owned(), value]);
            }
        };
        row("names", summary.tags.join(", "));
        row("digests", summary.repo_digests.join(", "));
        row("id", summary.id.to_string());
        row("platform", summary.platform.clone());
        row("created", summary.created.clone().unwrap_or_default());
        row("loaded", ago(summary.loaded_at));
        row("last used", ago(seconds(image)));
        row("in use", if summary.in_use { "yes" } else { "no" }.to_owned());
        row("entrypoint", joined(config.and_then(|config| config.entrypoint().as_ref())));
        row("command", joined(config.and_then(|config| config.cmd().as_ref())));
        row("user", config.and_then(|config| config.user().clone()).unwrap_or_default());
        row("size", human::size(summary.size_bytes));
        text.push_str(&columns(&rows));
        for layer in &image.layers {
            let (packed, unpacked) = (human::size(layer.blob_bytes), human::size(layer.unpacked_bytes));
            // Writing to a String does not fail.
            let _ = writeln!(text, "layer {}  {packed}, {unpacked} unpacked", short(layer.diff_id.as_str()));
        }
    }
    text
}

pub(super) fn json(images: &[Inspected]) -> Value {
    images
        .iter()
        .map(|image| {
            let summary = &image.summary;
            let layers: Vec<Value> = image
                .layers
                .iter()
                .map(|layer| {
                    json!({
                        "diff_id": layer.diff_id.to_string(),
                        "blob": layer.blob.to_string(),
                        "blob_bytes": layer.blob_bytes,
                        "unpacked_bytes": layer.unpacked_bytes,
                    })
                })
                .collect();
            json!({
                "id": summary.id.to_string(),
                "tags": summary.tags,
                "repo_digests": summary.repo_digests,
                "platform": summary.platform,
                "size_bytes": summary.size_bytes,
                "created": summary.created,
                "loaded_at": summary.loaded_at,
                "last_used_at": seconds(image),
                "in_use": summary.in_use,
                "manifest": image.manifest.as_ref().map(ToString::to_string),
                "layers": layers,
                "config": image.config,
            })
        })
        .collect()
}

/// Since the epoch.
fn seconds(image: &Inspected) -> u64 {
    image.last_used_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
