//! One flight for many passengers: who asks for what is being pulled already gets that pull's result.
//!
//! A flight goes on for as long as anybody waits for it, whoever began it, and is abandoned with the last one. It shows
//! its progress to the one who began it: one download, one bar.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::Semaphore;

use super::failure::locked;
use super::{PullError, PullOptions};
use crate::progress::Progress;
use crate::record::Image;
use crate::reference::Reference;
use crate::store::Images;

/// Layers that one process downloads and unpacks at a time, whatever images they belong to.
const LAYERS_AT_ONCE: usize = 6;

type Flight = BoxFuture<'static, Result<Image, PullError>>;

/// Layers of all pulls of this process that are downloaded and unpacked now.
pub(super) static DOWNLOADS: Semaphore = Semaphore::const_new(LAYERS_AT_ONCE);

/// The pulls of this process that are under way.
static UNDER_WAY: Mutex<Vec<(Route, WeakShared<Flight>)>> = Mutex::new(Vec::new());

/// What makes two pulls one.
#[derive(PartialEq, Eq)]
struct Route {
    store: PathBuf,
    reference: Reference,
    options: PullOptions,
}

/// The flight that pulls `reference`, taken by whoever polls it.
pub(super) fn join(
    images: &Images,
    reference: &Reference,
    options: &PullOptions,
    progress: Arc<dyn Progress>,
) -> Shared<Flight> {
    let route =
        Route { store: images.root().to_owned(), reference: reference.clone(), options: options.clone() };
    let mut under_way = locked(&UNDER_WAY);
    under_way.retain(|(_, flight)| flight.upgrade().is_some_and(|flight| flight.peek().is_none()));
    let same = under_way.iter().find(|(other, _)| *other == route);
    if let Some(flight) = same.and_then(|(_, flight)| flight.upgrade()) {
        return flight;
    }
    let (images, of, with) = (images.clone(), reference.clone(), options.clone());
    let pulling = async move {
        let result = images.pull_image(&of, &with, progress).await;
        result.map_err(|cause| cause.of(&of))
    };
    let flight = pulling.boxed().shared();
    under_way.extend(flight.downgrade().map(|weak| (route, weak)));
    flight
}
