//! Pull: the image of a container, by `imagePullPolicy`; and those of the containers after it while it runs.

mod ahead;
mod secrets;

pub(crate) use self::ahead::Ahead;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use image::{Image, Images, Presence, Reference};
use lifecycle::{Action, Done, Failure, Reason};
use model::pod::ImagePullPolicy;

use super::{Performed, chain, failed, stuck};
use crate::clock;
use crate::control_plane::ReportKind;
use crate::pod::{Change, PodContext};

pub(super) async fn pull(context: &Arc<PodContext>, action: &Action, name: &str) -> Performed {
    let begun = clock::now().boot_nanos;
    match obtain(context, action, name).await {
        Ok((image, pulled)) => {
            if let Some(kept_layers) = &context.node.kept_layers {
                kept_layers.keep(&image.layers).await;
            }
            let image_id = image.image_id().to_owned();
            let size_bytes = image.size_bytes;
            context.prepared().images.insert(name.to_owned(), Arc::new(image));
            ahead::begin(context, name);
            let took_nanos = clock::now().boot_nanos.saturating_sub(begun);
            let done = if pulled { Done::Pulled { took_nanos, size_bytes } } else { Done::Performed };
            (Ok(done), Change::ImagePresent { container: name.to_owned(), image_id })
        }
        Err(failure) => (Err(failure), Change::Nothing),
    }
}

/// The image, and whether it was pulled for this.
async fn obtain(context: &Arc<PodContext>, action: &Action, name: &str) -> Result<(Image, bool), Failure> {
    let pod = context.pod();
    let (Some(container), Action::Pull { image: wanted, .. }) = (pod.spec.container(name), action) else {
        return Err(stuck(Reason::ErrImagePull, format!("the Pod has no container {name}")));
    };
    let reference = Reference::parse(wanted)
        .map_err(|error| stuck(Reason::InvalidImageName, format!("image {wanted:?}: {}", chain(&error))))?;
    let images = &context.node.images;
    if Images::is_builtin(&reference) {
        return Ok((builtin(images.clone()).await?, false));
    }
    let policy = container.image_pull_policy;
    if policy != ImagePullPolicy::Always {
        let shown = || secrets::options(context, name).0.pull_secrets;
        match images.find_for(&reference, shown) {
            Ok(Presence::Present(image)) => return Ok((*image, false)),
            Ok(absent) if policy == ImagePullPolicy::Never => {
                return Err(stuck(Reason::ErrImageNeverPull, never_pulled(wanted, &absent)));
            }
            Ok(Presence::Absent | Presence::Guarded) => {}
            Err(error) => return Err(stuck(Reason::ErrImagePull, chain(&error))),
        }
    }
    if let Some(event) = action.event() {
        context.report_event(event);
    }
    let progress = Arc::new(Reporting::of(context, wanted));
    let (options, warning) = secrets::options(context, name);
    if let Some(warning) = warning {
        context.report_event(warning);
    }
    match images.pull(&reference, &options, progress).await {
        Ok(image) => Ok((image, true)),
        Err(error) => {
            let advice = match (is_here(images, &reference), policy) {
                (false, _) => "",
                // With another policy it would have been found before.
                (true, ImagePullPolicy::Always) => USE_WHAT_IS_HERE,
                (true, _) => PULLED_WITH_OTHERS,
            };
            Err(failed(Reason::ErrImagePull, format!("{}{advice}", chain(&error))))
        }
    }
}

/// What a kubelet does not say: an image that is on the machine is of no use to `imagePullPolicy: Always`, which is the
/// default of `latest`, when its registry does not answer for it (`EnsureImageExists` in the kubelet's image_manager.go).
/// Images that were loaded from an archive often have no registry at all.
const USE_WHAT_IS_HERE: &str = "; an image of this name is on this machine, but imagePullPolicy is Always: set \
     imagePullPolicy: IfNotPresent to use it";

/// Also for an image that was pulled with another Pod's `imagePullSecrets`, as in the kubelet since KEP-2535.
const PULLED_WITH_OTHERS: &str = "; an image of this name is on this machine, but it was pulled with other credentials \
     than this Pod has: give it the same imagePullSecrets";

fn never_pulled(image: &str, presence: &Presence) -> String {
    let how = match presence {
        Presence::Guarded => {
            "it was pulled with other credentials than this Pod has: give it the same imagePullSecrets, or \
             imagePullPolicy: IfNotPresent to have the registry asked"
        }
        _ => "load it with `podling image load`, or pull it",
    };
    format!("Container image \"{image}\" is not present with pull policy of Never: {how}")
}

fn is_here(images: &Images, reference: &Reference) -> bool {
    matches!(images.find(reference), Ok(Some(_)))
}

/// The built-in image, made at its first use.
async fn builtin(images: Images) -> Result<Image, Failure> {
    let refused = |error: &dyn std::error::Error| failed(Reason::ErrImagePull, chain(error));
    let found = images.find_builtin(&crate::TOOLBOX).map_err(|error| refused(&error))?;
    if let Some(image) = found {
        return Ok(image);
    }
    tokio::task::spawn_blocking(move || images.ensure_builtin(&crate::TOOLBOX))
        .await
        .map_err(|error| refused(&error))?
        .map_err(|error| refused(&error))
}

/// Passes the progress of a pull on as one sum over all of its layers.
struct Reporting {
    /// The download may go on for another Pod that waits for the same image.
    context: Weak<PodContext>,
    what: String,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl Reporting {
    fn of(context: &Arc<PodContext>, image: &str) -> Self {
        Self {
            context: Arc::downgrade(context),
            what: format!("pull {image}"),
            done_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
        }
    }
}

impl image::Progress for Reporting {
    fn begin(&self, _what: &str, total_bytes: Option<u64>) -> u64 {
        self.total_bytes.fetch_add(total_bytes.unwrap_or(0), Ordering::Relaxed);
        0
    }

    fn advance(&self, _step: u64, bytes: u64) {
        let done_bytes = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = self.total_bytes.load(Ordering::Relaxed);
        let total_bytes = (total > 0).then_some(total);
        if let Some(context) = self.context.upgrade() {
            context.report(ReportKind::Progress { what: self.what.clone(), done_bytes, total_bytes });
        }
    }

    fn done(&self, _step: u64) {}
}
