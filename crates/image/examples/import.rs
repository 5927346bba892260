//! How long an archive takes to become an image and to go again, in both forms of layers, and with how much memory:
//! `cargo run --release -p image --example import ARCHIVE [DIRECTORY]`.
//!
//! Each form is measured in a process of its own, so that its peak of memory is its own. The directory is where the store
//! is made; what else the machine holds in memory is not touched, so run it twice for a warm archive.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use image::{Images, LayerForm, Silent};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [archive] => measure_both(archive, &std::env::temp_dir()),
        [archive, directory] => measure_both(archive, Path::new(directory)),
        [archive, directory, form] => measure(Path::new(archive), Path::new(directory), form),
        _ => {
            eprintln!("usage: import ARCHIVE [DIRECTORY]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn measure_both(archive: &str, directory: &Path) {
    let own = std::env::current_exe().expect("this program has a path");
    for form in ["directory", "erofs"] {
        let status = Command::new(&own).arg(archive).arg(directory).arg(form).status();
        assert!(status.is_ok_and(|status| status.success()), "measuring {form} failed");
    }
}

fn measure(archive: &Path, directory: &Path, form: &str) {
    let root: PathBuf = directory.join(format!("podling-import-{}", std::process::id()));
    let form = if form == "erofs" { LayerForm::Erofs } else { LayerForm::Directory };
    let images = Images::open(&root).expect("a store").with_layers(form);
    let begun = Instant::now();
    let loaded = images.load(archive, &Silent).expect("the archive loads");
    let loading = begun.elapsed();
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    let begun = Instant::now();
    for image in &loaded {
        images.remove(image.id.as_str()).expect("the image is removed");
    }
    let removing = begun.elapsed();
    std::fs::remove_dir_all(&root).expect("the store is removed");
    println!(
        "{form:?}: loaded in {} ms, removed in {} ms, {peak}",
        loading.as_millis(),
        removing.as_millis()
    );
}
