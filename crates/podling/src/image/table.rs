//! The list of images, for people and for machines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::image::ImageSummary;
use serde_json::{Value, json};

use crate::console::human;

/// A row for each name.
pub(super) fn text(images: &[ImageSummary]) -> String {
    let mut rows = vec![["IMAGE", "ID", "PLATFORM", "SIZE", "LOADED", ""].map(str::to_owned)];
    for image in images {
        let mut names = image.tags.clone();
        if names.is_empty() {
            names = image.repo_digests.clone();
        }
        if names.is_empty() {
            names.push("<none>".to_owned());
        }
        for name in names {
            let remark = match (super::is_builtin(&name), image.in_use) {
                (true, _) => "built-in",
                (false, true) => "in use",
                (false, false) => "",
            };
            rows.push([
                name,
                short(&image.id.to_string()),
                image.platform.clone(),
                human::size(image.size_bytes),
                ago(image.loaded_at),
                remark.to_owned(),
            ]);
        }
    }
    columns(&rows)
}

pub(super) fn json(images: &[ImageSummary]) -> Value {
    images
        .iter()
        .map(|image| {
            json!({
                "id": image.id.to_string(),
                "tags": image.tags,
                "repo_digests": image.repo_digests,
                "platform": image.platform,
                "size_bytes": image.size_bytes,
                "layers": image.layer_count,
                "created": image.created,
                "loaded_at": image.loaded_at,
                "in_use": image.in_use,
            })
        })
        .collect()
}

/// The first 12 digits of a digest, as other tools show it.
pub(super) fn short(id: &str) -> String {
    id.split(':').next_back().unwrap_or(id).chars().take(12).collect()
}

pub(super) fn ago(unix_seconds: u64) -> String {
    let loaded_at = UNIX_EPOCH + Duration::from_secs(unix_seconds);
    match SystemTime::now().duration_since(loaded_at) {
        Ok(age) if age < Duration::from_secs(60) => "just now".to_owned(),
        Ok(age) if age < Duration::from_secs(2 * 86_400) => format!("{} ago", coarse(age)),
        Ok(age) => format!("{} days ago", age.as_secs() / 86_400),
        Err(_) => "in the future".to_owned(),
    }
}

fn coarse(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    if minutes < 120 { format!("{minutes} min") } else { format!("{} h", minutes / 60) }
}

/// Columns of equal width, two spaces between.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: String = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}  ")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let rows = [["A", "B"], ["long", ""], ["c", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "A     B\nlong\nc     d\n");
    }

    #[test]
    fn a_digest_is_shortened() {
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }
}
