//! Images: pulled, loaded and removed by podling and by podman, from one registry on loopback, beside the floor: the same
//! layers downloaded and inflated to one file each, on all cores (`crates/image/examples/floor.rs`), by gunzip and by the
//! library that podling has.
//!
//! Each measurement begins with a store that is not there and with nothing left to be written to the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::big_image::{Image, Registry};
use super::podman;
use super::read::{self, Reading};
use super::statistics::Samples;
use crate::failure::{Attempt, Failure, Result};
use crate::{command, test, workspace};

/// podling's pull over the floor, and over podman's.
const FLOOR_RATIO_LIMIT: f64 = 1.5;
const PODMAN_RATIO_LIMIT: f64 = 0.25;
const SMALL_LIMIT_MS: f64 = 40.0;
const WARM_LIMIT_MS: f64 = 15.0;
const REMOVE_LIMIT_MS: f64 = 20.0;
const MEMORY_LIMIT_KIB: f64 = 100.0 * 1024.0;
/// The stores in which Pods read.
const MOUNTED: &str = "mounted";
const UNPACKED: &str = "unpacked";
/// How often the peak of a process is read; the kernel keeps it, so only its last moments can be missed.
const PEAK_INTERVAL: Duration = Duration::from_millis(5);

/// Everything that is needed to measure.
pub(crate) struct Pulls<'a> {
    podling: &'a Path,
    floor: PathBuf,
    directory: PathBuf,
    registry: Registry,
    big: Image,
    small: Image,
    /// The big image as `docker save` writes it, made by podman.
    archive: Option<PathBuf>,
    reading: Reading,
}

/// How long a command took, and the most memory that it had.
struct Taken {
    ms: f64,
    peak_kib: f64,
}

impl<'a> Pulls<'a> {
    pub(crate) fn new(podling: &'a Path, directory: &Path, with_podman: bool) -> Result<Self> {
        command::run(&mut test::cargo(["build", "--release", "--package", "image", "--example", "floor"]))?;
        let directory = directory.join("pulls");
        fs::create_dir_all(&directory).attempt(format!("creating {}", directory.display()))?;
        let registry = Registry::start(&directory)?;
        eprintln!("making an image of 500 MB");
        let (big, small) = (registry.add_big(&directory)?, registry.add_small(&directory)?);
        let floor = workspace::target().join("release/examples/floor");
        let reading = Reading::new(&directory)?;
        let mut pulls = Self { podling, floor, directory, registry, big, small, archive: None, reading };
        println!(
            "{} layers, {} files, {} MB, {} MB packed",
            pulls.big.layers.len(),
            pulls.big.files,
            pulls.big.unpacked_bytes / 1_000_000,
            pulls.big.layers.iter().map(|layer| layer.bytes).sum::<u64>() / 1_000_000
        );
        if with_podman && command::is_installed("podman") {
            pulls.archive = Some(pulls.save_with_podman()?);
        }
        for (store, layers) in [(MOUNTED, "erofs"), (UNPACKED, "directories")] {
            let store = pulls.directory.join(store);
            pulls.podling(&store, &["pull", "--layers", layers, &pulls.reference(&pulls.big)])?;
        }
        Ok(pulls)
    }

    /// One round.
    pub(crate) fn measure(&self, samples: &mut Samples) -> Result {
        let floor_ms = self.measure_floor("gunzip")?;
        samples.add_ms("floor: layers downloaded and gunzipped, nothing else", None, floor_ms);
        let zlib_ms = self.measure_floor("zlib")?;
        samples.add_ms("floor:   inflated by podling's own zlib instead", None, zlib_ms);
        let store = self.fresh("podling")?;
        let big = self.podling(&store, &["pull", &self.reference(&self.big)])?;
        samples.add_ms("podling: pull of 500 MB", None, big.ms);
        samples.add_kib("podling:   peak memory", Some(MEMORY_LIMIT_KIB), big.peak_kib);
        samples.add_ratio("podling:   pull over floor", Some(FLOOR_RATIO_LIMIT), big.ms / floor_ms);
        samples.add_ratio("podling:   pull over floor of its own zlib", None, big.ms / zlib_ms);
        let warm = self.podling(&store, &["pull", &self.reference(&self.big)])?;
        samples.add_ms("podling: pull again, nothing has changed", Some(WARM_LIMIT_MS), warm.ms);
        self.settle()?;
        let removed = self.podling(&store, &["remove", &self.reference(&self.big)])?;
        samples.add_ms("podling: remove 500 MB", Some(REMOVE_LIMIT_MS), removed.ms);
        let given_back = Instant::now();
        self.wait_for_empty_trash(&store)?;
        let given_back_ms = removed.ms + given_back.elapsed().as_secs_f64() * 1e3;
        samples.add_ms("podling:   until its space is given back", None, given_back_ms);
        let small = self.podling(&store, &["pull", &self.reference(&self.small)])?;
        samples.add_ms("podling: pull of 1 MB", Some(SMALL_LIMIT_MS), small.ms);
        self.measure_reading(samples)?;
        let Some(archive) = &self.archive else { return Ok(()) };
        let root = self.fresh("podman")?;
        let pulled = self.podman(&root, &["pull", "--tls-verify=false", &self.reference(&self.big)])?;
        samples.add_ms("podman: pull of 500 MB", None, pulled.ms);
        samples.add_ratio("podling: pull over podman's", Some(PODMAN_RATIO_LIMIT), big.ms / pulled.ms);
        let removed = self.podman(&root, &["rmi", &self.reference(&self.big)])?;
        samples.add_ms("podman: remove 500 MB", None, removed.ms);
        let pulled = self.podman(&root, &["pull", "--tls-verify=false", &self.reference(&self.small)])?;
        samples.add_ms("podman: pull of 1 MB", None, pulled.ms);
        self.measure_load(archive, samples)
    }

    fn measure_reading(&self, samples: &mut Samples) -> Result {
        let read = |store: &str| {
            self.reading.run(self.podling, &self.directory.join(store), &self.reference(&self.big))
        };
        read::note(samples, &read(MOUNTED)?, &read(UNPACKED)?);
        Ok(())
    }

    fn measure_load(&self, archive: &Path, samples: &mut Samples) -> Result {
        let archive = archive.to_string_lossy();
        let store = self.fresh("podling")?;
        let loaded = self.podling(&store, &["load", &archive])?;
        samples.add_ms("podling: load of a docker archive", None, loaded.ms);
        let root = self.fresh("podman")?;
        let by_podman = self.podman(&root, &["load", "--input", &archive])?;
        samples.add_ms("podman: load of a docker archive", None, by_podman.ms);
        samples.add_ratio("podling: load over podman's", Some(PODMAN_RATIO_LIMIT), loaded.ms / by_podman.ms);
        self.fresh("podling")?;
        self.fresh("podman").map(drop)
    }

    fn measure_floor(&self, kind: &str) -> Result<f64> {
        let directory = self.fresh("floor")?;
        fs::create_dir_all(&directory).attempt(format!("creating {}", directory.display()))?;
        let mut floor = Command::new(&self.floor);
        floor.arg(kind).arg(format!("{}/{}", self.registry.address, self.big.name)).arg(&directory);
        floor.args(self.big.layers.iter().map(|layer| &layer.digest));
        let text = command::text(&mut floor)?;
        self.fresh("floor")?;
        text.parse().attempt("reading the floor's milliseconds")
    }

    fn save_with_podman(&self) -> Result<PathBuf> {
        let root = self.fresh("podman")?;
        let archive = self.directory.join("docker.tar");
        let path = archive.to_string_lossy().into_owned();
        self.podman(&root, &["pull", "--tls-verify=false", &self.reference(&self.big)])?;
        self.podman(
            &root,
            &["save", "--format", "docker-archive", "--output", &path, &self.reference(&self.big)],
        )?;
        self.fresh("podman")?;
        Ok(archive)
    }

    fn reference(&self, image: &Image) -> String {
        format!("{}/{}:latest", self.registry.address, image.name)
    }

    /// The path of a directory that is not there, with nothing left to be written to the disk.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).attempt(format!("removing {}", path.display()))?;
        }
        self.settle()?;
        Ok(path)
    }

    fn settle(&self) -> Result {
        command::output(&mut Command::new("sync")).map(drop)
    }

    fn podling(&self, store: &Path, arguments: &[&str]) -> Result<Taken> {
        let mut podling = Command::new(self.podling);
        podling.arg("image").args(arguments).arg("--image-dir").arg(store);
        take(&mut podling)
    }

    fn podman(&self, root: &Path, arguments: &[&str]) -> Result<Taken> {
        take(podman::in_root(&self.directory, root)?.args(arguments))
    }

    /// What a removal leaves to another process lies in `staging` until it is done.
    fn wait_for_empty_trash(&self, store: &Path) -> Result {
        let staging = store.join("staging");
        loop {
            let mut entries = fs::read_dir(&staging).attempt(format!("listing {}", staging.display()))?;
            if entries.next().is_none() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs it to its end.
fn take(command: &mut Command) -> Result<Taken> {
    let line = command::line(command);
    let begun = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.attempt(format!("starting `{line}`"))?;
    let (pid, has_ended, peak_kib) = (child.id(), AtomicBool::new(false), AtomicU64::new(0));
    let (output, ms) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                peak_kib.fetch_max(peak_of(pid), Ordering::Relaxed);
                std::thread::sleep(PEAK_INTERVAL);
            }
        });
        let output = child.wait_with_output();
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        has_ended.store(true, Ordering::Relaxed);
        (output, ms)
    });
    let output = output.attempt(format!("waiting for `{line}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("`{line}` failed: {}\n{}", output.status, stderr.trim_end())));
    }
    Ok(Taken { ms, peak_kib: peak_kib.into_inner() as f64 })
}

fn peak_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
