//! Registries and networks that fail: what can be mended is mended, the rest is told in clear words, nothing is kept.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use image::{Digest, Image, Images, PullError, PullOptions, PullReason, Reference, Silent};
use support::faults::{Fault, Faults, Request, answer};
use support::registry::{MANIFEST, Registry};
use support::{Layer, Packing, TestImage, chain, contents, noise, store};

const LAYER_BYTES: usize = 4 << 20;

fn test_image() -> TestImage {
    TestImage::new("unused:1", vec![Layer::new().file("noise", &noise(LAYER_BYTES)).finish()])
}

/// The layer as it is pushed.
fn layer() -> (Digest, usize) {
    let mut blobs = Vec::new();
    test_image().manifest(Packing::Gzip, &mut blobs);
    let largest = blobs.iter().map(|(_, blob)| blob).max_by_key(|blob| blob.len()).unwrap();
    (Digest::of(largest), largest.len())
}

/// What comes instead of a body.
type Change = fn(Vec<u8>) -> Vec<u8>;

fn is_layer(request: &Request, layer: &Digest) -> bool {
    request.path.contains(layer.as_str())
}

async fn pull(store: &Images, reference: &Reference) -> Result<Image, PullError> {
    let options = PullOptions {
        retry_delay: Duration::from_millis(1),
        read_timeout: Duration::from_millis(400),
        ..PullOptions::default()
    };
    store.pull(reference, &options, Arc::new(Silent)).await
}

async fn fails(store: &Images, faults: &Faults, reason: PullReason, words: &[&str]) {
    let error = pull(store, &faults.reference("app:v1")).await.unwrap_err();
    let text = chain(&error);
    assert_eq!(error.reason(), reason, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert_eq!(contents(store), Vec::<String>::new(), "{text}");
}

struct World {
    _folder: tempfile::TempDir,
    store: Images,
    registry: Registry,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = (store(folder.path()), Registry::start(folder.path()));
    registry.push("app:v1", &test_image()).await;
    World { store, registry, _folder: folder }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_cut_at_each_quarter_goes_on_where_it_was() {
    let World { store, registry, .. } = &world().await;
    let (digest, bytes) = layer();
    let (cuts, victim) = (AtomicUsize::new(0), digest.clone());
    let faults = Faults::before(&registry.address, move |request: &Request| {
        if is_layer(request, &victim) && cuts.fetch_add(1, Ordering::Relaxed) < 4 {
            return Fault::Cut(bytes / 4);
        }
        Fault::Pass
    });
    let pulled =
        pull(store, &faults.reference("app:v1")).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(pulled.id, test_image().id());
    let seen = faults.seen();
    let offsets: Vec<u64> =
        seen.iter().filter(|request| is_layer(request, &digest)).map(Request::offset).collect();
    let quarter = bytes as u64 / 4;
    assert_eq!(offsets[..4], [0, quarter, 2 * quarter, 3 * quarter], "of {bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_ranges_is_read_from_the_beginning() {
    let World { store, registry, .. } = &world().await;
    let (digest, bytes) = layer();
    let cuts = AtomicUsize::new(0);
    let whole = std::fs::read(registry.blob(&digest)).unwrap();
    let faults = Faults::before(&registry.address, move |request: &Request| {
        match is_layer(request, &digest).then(|| cuts.fetch_add(1, Ordering::Relaxed)) {
            None => Fault::Pass,
            Some(0) => Fault::Cut(bytes / 2),
            Some(_) => Fault::Answer("HTTP/1.1 200 OK".to_owned(), whole.clone()),
        }
    });
    assert_eq!(pull(store, &faults.reference("app:v1")).await.unwrap().id, test_image().id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_always_breaks_is_given_up() {
    let World { store, registry, .. } = &world().await;
    let (digest, _) = layer();
    let victim = digest.clone();
    let faults = Faults::before(&registry.address, move |request: &Request| {
        if is_layer(request, &victim) { Fault::Cut(1000) } else { Fault::Pass }
    });
    fails(store, &faults, PullReason::Unreachable, &["broke after 5000 of", "bytes"]).await;
    assert_eq!(faults.seen().iter().filter(|request| is_layer(request, &digest)).count(), 5);
    // Before anything came, and in the middle of the manifest.
    for bytes in [0, 10] {
        let faults = Faults::before(&registry.address, move |_| Fault::Cut(bytes));
        fails(store, &faults, PullReason::Unreachable, &["broke"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_hangs_is_not_waited_for_for_ever() {
    let World { store, registry, .. } = &world().await;
    let (digest, _) = layer();
    let victim = digest.clone();
    let faults = Faults::before(&registry.address, move |request: &Request| {
        if is_layer(request, &victim) { Fault::Hang(1000) } else { Fault::Pass }
    });
    fails(store, &faults, PullReason::Unreachable, &["sent nothing for", "after"]).await;
    let faults = Faults::before(&registry.address, |_| Fault::Hang(0));
    fails(store, &faults, PullReason::Unreachable, &["sent nothing for"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_busy_is_asked_again() {
    let World { store, registry, .. } = &world().await;
    let busy = AtomicUsize::new(0);
    let faults = Faults::before(&registry.address, move |_| match busy.fetch_add(1, Ordering::Relaxed) {
        0 => answer("503 Service Unavailable", "", "upstream restarts"),
        1 => answer("429 Too Many Requests", "Retry-After: 0\r\n", ""),
        2 => answer("502 Bad Gateway", "", "<html>"),
        _ => Fault::Pass,
    });
    assert_eq!(pull(store, &faults.reference("app:v1")).await.unwrap().id, test_image().id());
    store.remove(&faults.reference("app:v1").to_string()).unwrap();
    let words = "You have reached your unauthenticated pull rate limit.";
    let body = format!(r#"{{"errors":[{{"code":"TOOMANYREQUESTS","message":"{words}"}}]}}"#);
    let limited = Faults::before(&registry.address, move |_| answer("429 Too Many Requests", "", &body));
    fails(store, &limited, PullReason::RateLimited, &["allows no more pulls", words]).await;
    assert_eq!(limited.seen().len(), 1, "a limit is not tried against");
    let broken =
        Faults::before(&registry.address, |_| answer("503 Service Unavailable", "", "down until noon"));
    fails(store, &broken, PullReason::Registry, &["503", "down until noon"]).await;
    assert_eq!(broken.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_other_than_promised_are_refused() {
    let World { store, registry, .. } = &world().await;
    let (digest, bytes) = layer();
    let changes: [(&str, Change); 3] = [
        ("its digest is", |mut body| {
            let middle = body.len() / 2;
            body[middle] ^= 1;
            body
        }),
        ("bytes, expected", |body| body[..body.len() - 7].to_vec()),
        ("more bytes came", |body| [body, vec![0; 9]].concat()),
    ];
    for (words, change) in changes {
        let victim = digest.clone();
        let faults = Faults::before(&registry.address, move |request: &Request| {
            if is_layer(request, &victim) { Fault::Body(Box::new(change)) } else { Fault::Pass }
        });
        let error = pull(store, &faults.reference("app:v1")).await.unwrap_err();
        assert!(chain(&error).contains(words), "{words}: {} of {bytes}", chain(&error));
        assert_eq!(contents(store), Vec::<String>::new());
    }
    let config = test_image().id();
    let faults = Faults::before(&registry.address, move |request: &Request| {
        if is_layer(request, &config) {
            Fault::Body(Box::new(|body| [body, vec![b' ']].concat()))
        } else {
            Fault::Pass
        }
    });
    fails(store, &faults, PullReason::DigestMismatch, &["something else than"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_lies_about_a_size_is_refused() {
    let World { store, registry, .. } = &world().await;
    for (wrong, words) in [(-7, "more bytes came"), (7, "bytes, expected")] {
        let mut blobs = Vec::new();
        let manifest = test_image().manifest(Packing::Gzip, &mut blobs);
        let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let bytes = manifest["layers"][0]["size"].as_i64().unwrap();
        manifest["layers"][0]["size"] = (bytes + wrong).into();
        let lie = manifest.to_string();
        let faults = Faults::before(&registry.address, move |request: &Request| {
            if request.is_blob() {
                return Fault::Pass;
            }
            Fault::Answer(format!("HTTP/1.1 200 OK\r\nContent-Type: {MANIFEST}"), lie.clone().into_bytes())
        });
        let error = pull(store, &faults.reference("app:v1")).await.unwrap_err();
        assert!(chain(&error).contains(words), "{}", chain(&error));
        assert_eq!(contents(store), Vec::<String>::new());
    }
}

/// A small disk for a store; it goes with the value.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &std::path::Path, megabytes: u64) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let size = std::ffi::CString::new(format!("size={megabytes}m")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, size.as_c_str()).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_nothing_and_is_not_the_registrys_fault() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path());
    registry.push("app:v1", &test_image()).await;
    let small = Layer::new().file("small", b"small").finish();
    registry.push("small:v1", &TestImage::new("unused:1", vec![small])).await;
    let _disk = SmallDisk::mount(&folder.path().join("store"), 6);
    let store = store(folder.path());
    let error = pull(&store, &registry.reference("app:v1")).await.unwrap_err();
    assert_eq!(error.reason(), PullReason::Store, "{}", chain(&error));
    assert!(chain(&error).contains("No space left"), "{}", chain(&error));
    assert_eq!(contents(&store), Vec::<String>::new());
    pull(&store, &registry.reference("small:v1")).await.unwrap();
}
