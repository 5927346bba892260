//! `podling image prune`, `inspect` and `import-from` as they are typed.

use std::path::PathBuf;
use std::time::Duration;

use ::image::LayerForm;
use clap::{Args, ValueEnum};

use super::{Directories, ListOutput, duration};

/// `podling image inspect`.
#[derive(Debug, Args)]
pub(crate) struct ImageInspect {
    /// Images by name or ID
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) references: Vec<String>,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: ListOutput,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling image prune`.
#[derive(Debug, Args)]
pub(crate) struct ImagePrune {
    /// Every image that nobody uses, instead of those without a name
    #[arg(long, conflicts_with_all = ["unused_for", "until_free", "disk"])]
    pub(crate) all: bool,
    /// Images that no container has used for this time (90m, 48h)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with_all = ["until_free", "disk"])]
    pub(crate) unused_for: Option<Duration>,
    /// Images used longest ago, until this much is free on the disk (20Gi, 500M)
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "disk")]
    pub(crate) until_free: Option<u64>,
    /// As a kubelet does: when so much of the disk is used, until no more than that is (percent; 85:80 if not said). Images
    /// that came in the last two minutes stay
    #[arg(long, value_name = "HIGH:LOW", value_parser = shares, num_args = 0..=1, require_equals = true,
        default_missing_value = "85:80")]
    pub(crate) disk: Option<(u8, u8)>,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// When a node removes images that nobody uses.
#[derive(Debug, Default, Args)]
pub(crate) struct Collection {
    /// When so much of the images' disk is used, unused images go until no more than that is (percent); 100:100: never
    /// [default: 85:80]
    #[arg(long, value_name = "HIGH:LOW", value_parser = shares)]
    pub(crate) image_gc: Option<(u8, u8)>,
    /// Images that no container has used for this time go, however empty the disk is [default: they stay]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) image_max_age: Option<Duration>,
}

/// `podling image import-from`.
#[derive(Debug, Args)]
pub(crate) struct ImageImport {
    /// Whose images
    #[arg(value_name = "ENGINE")]
    pub(crate) engine: Engine,
    /// These images only, instead of all that run on this machine
    #[arg(value_name = "IMAGE")]
    pub(crate) references: Vec<String>,
    /// Where the engine keeps them, if not where it does by default
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// In which form new layers come into the image directory; what is there already stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct Layers {
    /// How new layers of images are kept
    #[arg(long, value_name = "FORM", default_value = "auto")]
    layers: Form,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// As EROFS images where the kernel mounts them, else as directories
    #[default]
    Auto,
    /// As EROFS images: one file for each layer, quickly there and quickly gone
    Erofs,
    /// As directories: Pods that come one after the other share what is cached of their files
    Directories,
}

/// As for `--layers`.
pub(crate) fn layers(text: &str) -> Result<Layers, String> {
    let form = Form::from_str(text, false);
    form.map(|layers| Layers { layers }).map_err(|_| format!("{text:?} is none of auto, erofs, directories"))
}

impl Layers {
    /// `None`: whatever the kernel can do.
    pub(crate) fn form(self) -> Option<LayerForm> {
        match self.layers {
            Form::Auto => None,
            Form::Erofs => Some(LayerForm::Erofs),
            Form::Directories => Some(LayerForm::Directory),
        }
    }
}

/// Engines whose images can be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Docker with its overlay2 driver
    Docker,
    /// containerd, and Docker where it keeps its images there
    Containerd,
    /// Podman, Buildah and CRI-O
    Podman,
}

/// A Kubernetes quantity of bytes.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write it like 20Gi or 500M");
    let quantity = model::quantity::Quantity::parse(text).map_err(|_| wrong())?;
    u64::try_from(quantity.value()).ok().filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// Two percentages, the higher one first.
pub(crate) fn shares(text: &str) -> Result<(u8, u8), String> {
    let wrong = || format!("{text:?} is no pair of percentages; write it like 85:80, the higher one first");
    let (high, low) = text.split_once(':').ok_or_else(wrong)?;
    let percent = |text: &str| text.parse::<u8>().ok().filter(|percent| *percent <= 100);
    match (percent(high), percent(low)) {
        (Some(high), Some(low)) if high >= low => Ok((high, low)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_disk_are_two_percentages() {
        assert_eq!(shares("85:80"), Ok((85, 80)));
        assert_eq!(shares("100:0"), Ok((100, 0)));
        for wrong in ["", "85", "80:85", "101:80", "85:-1", "a:b"] {
            assert!(shares(wrong).is_err(), "{wrong}");
        }
    }
}
