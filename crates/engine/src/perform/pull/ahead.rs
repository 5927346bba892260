//! Images of containers that are not due yet, pulled while those before them run.
//!
//! What comes of it is not told: when a container is due, its own Pull finds the image, or joins the download, or fails
//! for the reason that matters then.

use std::sync::Arc;

use image::{Images, Reference};
use model::pod::{ImagePullPolicy, PodSpec};
use tokio::task::JoinHandle;

use super::{Reporting, secrets};
use crate::pod::PodContext;

/// Pulls that are ahead of their containers; ends with this value.
pub(crate) struct Ahead(JoinHandle<()>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins once for each Pod, when the image of `container` is here: it must not wait for those after it.
pub(super) fn begin(context: &Arc<PodContext>, container: &str) {
    if context.prepared().ahead.is_some() {
        return;
    }
    let pod = context.pod();
    let images = context.node.images.clone();
    let mut wanted = later_images(&pod.spec, container);
    wanted.retain(|(_, reference)| matches!(images.find(reference), Ok(None)));
    if wanted.is_empty() {
        return;
    }
    let (options, _) = secrets::options(context, container);
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|(image, reference)| (Arc::new(Reporting::of(context, &image)), reference))
        .collect();
    let pulling = tokio::spawn(async move {
        for (progress, reference) in wanted {
            if let Err(error) = images.pull(&reference, &options, progress).await {
                tracing::debug!(%error, "an image could not be pulled ahead");
            }
        }
    });
    context.prepared().ahead = Some(Ahead(pulling));
}

/// The images that containers after `container` may have to pull, each once, in the order in which they are needed.
fn later_images(spec: &PodSpec, container: &str) -> Vec<(String, Reference)> {
    let mut found: Vec<(String, Reference)> = Vec::new();
    let later = spec.all_containers().skip_while(|other| other.name != container).skip(1);
    for other in later.filter(|other| other.image_pull_policy != ImagePullPolicy::Never) {
        let Ok(reference) = Reference::parse(&other.image) else { continue };
        if !Images::is_builtin(&reference) && !found.iter().any(|(_, known)| *known == reference) {
            found.push((other.image.clone(), reference));
        }
    }
    found
}
