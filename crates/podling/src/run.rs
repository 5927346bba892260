//! `podling run`: a private node for the Pods of a manifest, in the foreground, and nothing left of it after.

mod cast;
mod hopeless;
pub(crate) mod input;
pub(crate) mod leftovers;
mod logs;
mod manifest_plane;
pub(crate) mod place;
mod requests;
mod story;
mod watch;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::node::{Node, NodeConfig};
use lifecycle::Policy;
use model::pod::Pod;

use self::cast::Cast;
use self::input::Input;
use self::manifest_plane::ManifestPlane;
use self::place::Place;
use self::watch::{Outcome, Watch};
use crate::clock::Clock;
use crate::console::{Console, Told};
use crate::exit::{self, Code};
use crate::failure::{Failure, chain};
use crate::typed::{self, RunOutput};

/// Runs the Pods and gives the exit code that follows from how they ended.
pub(crate) fn perform(asked: typed::Run, clock: Clock) -> Result<Code, Failure> {
    let output = asked.output;
    let result = run(asked, clock);
    if let (Err(failure), RunOutput::Json) = (&result, output) {
        // People are told by `main`; machines read standard output. If they do not, the exit code remains.
        let _ = tell_failure(failure, clock);
    }
    result
}

/// A failure as the last lines of machine-readable output.
fn tell_failure(failure: &Failure, clock: Clock) -> std::io::Result<()> {
    let mut console = Console::new(RunOutput::Json);
    for problem in failure.problems() {
        console.tell(clock.elapsed(), &Told::Problem(problem))?;
    }
    console.tell(clock.elapsed(), &Told::Trouble { message: chain(failure) })?;
    console.tell(clock.elapsed(), &Told::Result { exit_code: Code::PODLING_FAILED.0, reason: "Failed" })?;
    console.flush()
}

fn run(asked: typed::Run, clock: Clock) -> Result<Code, Failure> {
    // While the manifest is read. Without the thread, the first Pod waits for it.
    let _ = std::thread::Builder::new().name("warm-up".to_owned()).spawn(engine::warm_up);
    let input = input::read(&asked.files)?;
    if !asked.publish.is_empty() && input.pods.len() != 1 {
        return Err(Failure::PublishNeedsOnePod { count: input.pods.len() });
    }
    let oci_runtime = asked.runtime.as_deref().map(find_runtime).transpose()?;
    require_root("run")?;
    let mut kept = asked.journal.as_deref().map(create_journal).transpose()?;

    let runtime = runtime()?;
    runtime.block_on(async {
        leftovers::clean(Place::claim_dead(&asked.directories)?).await;
        let place = Place::create(&asked.directories, names(&input.pods))?;
        let config = NodeConfig {
            name: place.record.id.clone(),
            data_dir: place.record.data_dir.clone(),
            run_dir: place.record.run_dir.clone(),
            image_dir: place.record.image_dir.clone(),
            layer_form: asked.layers.form(),
            // The images of this machine are not one run's to remove.
            image_collection: None,
            keep_layers: false,
            seccomp_dir: asked.directories.data_dir.join("seccomp"),
            oci_runtime,
            policy: Policy::default(),
            keep_journals: kept.is_some(),
            publish: asked.publish.clone(),
            pod_range: None,
        };
        let result = foreground(&asked, clock, input, config).await;
        let mut failures = kept.as_mut().map_or_else(Vec::new, |file| keep_journals(&place, file));
        failures.extend(place.remove());
        conclude(clock, result, failures)
    })
}

/// Makes the file of `--journal` before anything is started: that it cannot be written should not be found out at the
/// end. For its owner alone, because a journal holds what containers said when they ended.
fn create_journal(path: &Path) -> Result<File, Failure> {
    let mut options = File::options();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    opened.map_err(Failure::io("write the journal to", path))
}

/// Copies the journals of the run's Pods before the run's directories go.
fn keep_journals(place: &Place, file: &mut File) -> Vec<Failure> {
    let uids = place.record.pods.iter().map(|(uid, _)| uid.as_str());
    let kept = engine::journal::keep(&place.record.data_dir, uids, file);
    kept.err().map(Failure::Journal).into_iter().collect()
}

/// Starts the node, watches it to its end and closes it.
async fn foreground(
    asked: &typed::Run,
    clock: Clock,
    input: Input,
    config: NodeConfig,
) -> Result<(Outcome, Vec<String>), Failure> {
    let mut console = Console::new(asked.output);
    let cast = Arc::new(Cast::of(&input.pods));
    console.expect_names(cast.labels());
    let pods = names(&input.pods);
    let manifest =
        Told::Manifest { pods: pods.iter().map(|(_, name)| name.clone()).collect(), run: &config.name };
    let warnings = input.warnings.into_iter().map(|message| Told::Warning { message });
    for told in std::iter::once(manifest).chain(warnings) {
        console.tell(clock.elapsed(), &told).map_err(Failure::Output)?;
    }

    let (plane, reports) = ManifestPlane::new(input.pods, input.objects);
    let plane = Arc::new(plane);
    let uids = pods.iter().map(|(uid, _)| uid.clone()).collect();
    let requests = requests::listen(plane.clone(), uids, asked.timeout)
        .map_err(Failure::io("listen for signals on", "the process"))?;
    let watch = Watch::new(clock, console, cast, plane.clone(), asked.until, &pods)
        .map_err(Failure::io("watch", &config.data_dir))?;
    let node = Node::start(config, plane).await.map_err(Failure::Node)?;
    let outcome = watch.perform(reports, requests).await;
    let failures = node.close().await.iter().map(|error| chain(error)).collect();
    Ok((outcome, failures))
}

/// The last words, when everything is gone: what could not be removed, and the exit code.
fn conclude(
    clock: Clock,
    result: Result<(Outcome, Vec<String>), Failure>,
    removal: Vec<Failure>,
) -> Result<Code, Failure> {
    let (outcome, mut failures) = result?;
    let Outcome { ending, statuses, mut console } = outcome;
    failures.extend(removal.iter().map(|failure| chain(failure)));
    let mut code = exit::code(&ending, &statuses);
    if !failures.is_empty() && code == Code::SUCCESS {
        code = Code::PODLING_FAILED;
    }
    let troubles = failures.into_iter().map(|message| Told::Trouble { message });
    let last = Told::Result { exit_code: code.0, reason: ending.reason() };
    for told in troubles.chain([last]) {
        if console.tell(clock.elapsed(), &told).is_err() {
            break;
        }
    }
    // The code says it all, also to somebody who does not read any more.
    let _ = console.flush();
    Ok(code)
}

/// The runtime: this thread prints, and may be held up by whoever reads; the engine has threads of its own.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("podling")
        .enable_all()
        .build()
        .map_err(Failure::io("start threads of", "the process"))
}

/// UID and `namespace/name` of each Pod.
fn names(pods: &[Pod]) -> Vec<(String, String)> {
    pods.iter()
        .map(|pod| (pod.meta.uid.clone(), format!("{}/{}", pod.meta.namespace, pod.meta.name)))
        .collect()
}

/// The manifest's problems are told to anybody; everything after needs root.
pub(crate) fn require_root(command: &'static str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Failure::NotRoot { command }) }
}

/// An OCI runtime by path, or by name in PATH.
pub(crate) fn find_runtime(name: &Path) -> Result<PathBuf, Failure> {
    let missing = || Failure::NoSuchRuntime { name: name.display().to_string() };
    find_program(name).ok_or_else(missing)
}

/// A program by path, or by name in PATH and the directories where root's programs are.
pub(crate) fn find_program(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return std::path::absolute(name).ok().filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    std::env::split_paths(&path)
        .chain(usual.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
