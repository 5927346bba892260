//! Pulling from a real registry: Debian's `docker-registry`, on loopback, one for each test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::sync::Arc;

use image::{Digest, Images, PullError, PullOptions, PullReason, Reference, Silent};
use support::faults::{Fault, Faults};
use support::registry::{MANIFEST, Registry};
use support::{Layer, OpenLayer, Packing, TestImage, chain, contents, noise, store};

async fn pull(store: &Images, reference: &Reference) -> Result<image::Image, PullError> {
    store.pull(reference, &PullOptions::default(), Arc::new(Silent)).await
}

fn test_image(seed: &str) -> TestImage {
    let layers = (0..4).map(|number| {
        Layer::new()
            .file("seed", format!("{seed}{number}").as_bytes())
            .file("noise", &noise(1 << 20))
            .finish()
    });
    TestImage::new("unused:1", layers.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_by_tag_and_by_digest() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    let image = test_image("one");
    let digest = registry.push("team/app:v1", &image).await;
    let reference = registry.reference("team/app:v1");
    let pulled = pull(&store, &reference).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(pulled.id, image.id());
    assert_eq!(pulled.image_id(), format!("{}/team/app@{digest}", registry.address));
    assert_eq!(fs::read_to_string(OpenLayer::open(&pulled.layers[0]).join("seed")).unwrap(), "one3");
    assert_eq!(store.find(&reference).unwrap().unwrap().layers, pulled.layers);
    let by_digest = reference.with_digest(digest.clone());
    assert_eq!(store.find(&by_digest).unwrap().unwrap().id, image.id());
    assert_eq!(store.list().unwrap()[0].tags.len(), 1);
    assert_eq!(store.list().unwrap()[0].repo_digests.len(), 1);

    // The tag goes, and with it what was noted beside it.
    store.remove(&reference.to_string()).unwrap();
    assert_eq!(contents(&store), Vec::<String>::new());
    let pulled = pull(&store, &by_digest).await.unwrap();
    assert_eq!(pulled.id, image.id());
    assert!(store.find(&reference).unwrap().is_none(), "a digest gives no tag");

    // A tag that moves is followed, and the image that it left stays.
    registry.push("team/app:v1", &test_image("two")).await;
    let moved = pull(&store, &reference).await.unwrap();
    assert_eq!(moved.id, test_image("two").id());
    assert!(store.find(&by_digest).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_of_this_machine_is_taken_from_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    let (here, there) = (test_image("here"), test_image("there").architecture("s390x"));
    let mut entries = Vec::new();
    for (tag, image) in [("app:here", &here), ("app:there", &there)] {
        let mut blobs = Vec::new();
        let manifest = image.manifest(Packing::Gzip, &mut blobs);
        let mut entry = support::descriptor(MANIFEST, &manifest);
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": image.config["architecture"]});
        entries.insert(0, entry);
        registry.push_raw(tag, blobs, manifest, MANIFEST).await;
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = |entries: &[serde_json::Value]| {
        serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries})
            .to_string()
            .into_bytes()
    };
    let digest = registry.push_raw("app:many", Vec::new(), index(&entries), media_type).await;
    registry.push_raw("app:foreign", Vec::new(), index(&entries[..1]), media_type).await;
    let pulled = pull(&store, &registry.reference("app:many")).await.unwrap();
    assert_eq!(pulled.id, here.id());
    assert!(
        pulled.image_id().ends_with(digest.as_str()),
        "the index' digest is the image's, as in Kubernetes"
    );
    for name in ["app:there", "app:foreign"] {
        let error = pull(&store, &registry.reference(name)).await.unwrap_err();
        assert_eq!(error.reason(), PullReason::WrongPlatform, "{}", chain(&error));
        assert!(chain(&error).contains("linux/s390x"), "{}", chain(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dockers_own_manifests_are_as_good() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    let image = test_image("schema 2");
    let mut blobs = Vec::new();
    let manifest = String::from_utf8(image.manifest(Packing::Gzip, &mut blobs)).unwrap();
    let manifest = manifest
        .replace(MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
        .replace("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
        .replace(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        );
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let digest = registry.push_raw("app:v1", blobs, manifest.into_bytes(), media_type).await;
    let media_type = "application/vnd.docker.distribution.manifest.list.v2+json";
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [{
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "digest": digest.as_str(),
        "size": fs::metadata(registry.blob(&digest)).unwrap().len(),
        "platform": {"os": "linux", "architecture": image.config["architecture"]},
    }]});
    registry.push_raw("app:list", Vec::new(), list.to_string().into_bytes(), media_type).await;
    for tag in ["app:list", "app:v1"] {
        assert_eq!(pull(&store, &registry.reference(tag)).await.unwrap().id, image.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_cannot_be_reached_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    registry.push("app:v1", &test_image("one")).await;
    let absent = Digest::of(b"absent");
    let absent = registry.reference("app").with_digest(absent);
    for reference in [registry.reference("nothing"), registry.reference("app:v2"), absent] {
        let error = pull(&store, &reference).await.unwrap_err();
        assert_eq!(error.reason(), PullReason::NotFound, "{}", chain(&error));
        assert_eq!(error.kubernetes_reason(), "ErrImagePull");
        assert!(!error.is_transient());
    }
    let reference = registry.reference("app:v1");
    drop(registry);
    let error = pull(&store, &reference).await.unwrap_err();
    assert_eq!(error.reason(), PullReason::Unreachable, "{}", chain(&error));
    assert!(error.is_transient() && chain(&error).contains("refused"), "{}", chain(&error));
    assert_eq!(contents(&store), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_contents_are_refused_and_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    let image = test_image("one");
    registry.push("app:v1", &image).await;
    let mut blobs = Vec::new();
    image.manifest(Packing::Gzip, &mut blobs);
    let layer = blobs.iter().map(|(_, blob)| Digest::of(blob)).find(|digest| *digest != image.id()).unwrap();
    for victim in [layer, image.id()] {
        let path = registry.blob(&victim);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        fs::write(&path, flipped).unwrap();
        let error = pull(&store, &registry.reference("app:v1")).await.unwrap_err();
        assert_eq!(error.reason(), PullReason::DigestMismatch, "{}", chain(&error));
        assert_eq!(contents(&store), Vec::<String>::new());
        fs::write(&path, whole).unwrap();
    }
    pull(&store, &registry.reference("app:v1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_pulls_at_once_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    registry.push("app:v1", &test_image("one")).await;
    let faults = Faults::before(&registry.address, |_| Fault::Pass);
    let mut pulls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (store, reference) = (store.clone(), faults.reference("app:v1"));
        pulls.spawn(async move { pull(&store, &reference).await.unwrap().id });
    }
    let ids = pulls.join_all().await;
    assert_eq!(ids, vec![test_image("one").id(); 10]);
    // A manifest, a configuration, four layers. Whoever came when all was over asked for manifest and configuration again.
    let layers = faults.seen().iter().filter(|request| request.is_blob()).count();
    assert!(layers < 10, "{:?}", faults.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_goes_on_when_the_one_who_began_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    registry.push("app:v1", &test_image("one")).await;
    let (reference, options) = (registry.reference("app:v1"), PullOptions::default());
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let mut first = Box::pin(store.pull(&reference, &options, Arc::new(Under(sender))));
    let second = store.pull(&reference, &options, Arc::new(Silent));
    let mut second = Box::pin(second);
    tokio::select! {
        biased;
        _ = events.recv() => {}
        _ = &mut first => {}
        // Joined, but the first was there before.
        _ = &mut second => {}
    }
    drop(first);
    assert_eq!(pull(&store, &reference).await.unwrap().id, test_image("one").id());
}

/// Says when a layer is under way, and by its end that the pull is over.
struct Under(tokio::sync::mpsc::UnboundedSender<()>);

impl image::Progress for Under {
    fn begin(&self, _what: &str, _total_bytes: Option<u64>) -> u64 {
        0
    }

    fn advance(&self, _step: u64, _bytes: u64) {
        let _ = self.0.send(());
    }

    fn done(&self, _step: u64) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_pull_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    registry.push("app:v1", &test_image("one")).await;
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let (reference, options) = (registry.reference("app:v1"), PullOptions::default());
    let pulling = store.pull(&reference, &options, Arc::new(Under(sender)));
    tokio::select! {
        // Dropped in the middle, or through in the same instant: both are fair.
        _ = pulling => {}
        _ = events.recv() => {}
    }
    // The progress is the last thing that the pull's tasks let go of, after everything was removed.
    while events.recv().await.is_some() {}
    let left = contents(&store);
    assert!(left.is_empty() || store.find(&reference).unwrap().is_some(), "{left:?}");
}
