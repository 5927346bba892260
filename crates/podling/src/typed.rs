//! What was typed. What it means is each command's own business; here it is only parsed.

mod duration;
pub(crate) mod image;
mod publish;
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use engine::node::Publish;

pub(crate) use self::serve::{Join, Serve};
use crate::exit;

/// `90s`, `5m`, `1h30m`, also in a configuration file.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text)
}

/// As for `--layers`.
pub(crate) fn parse_layers(text: &str) -> Result<image::Layers, String> {
    image::layers(text)
}

/// As for `--image-gc`.
pub(crate) fn parse_shares(text: &str) -> Result<(u8, u8), String> {
    image::shares(text)
}

/// Kubernetes Pods on one Linux machine, from one binary.
#[derive(Debug, Parser)]
#[command(name = "podling", version, max_term_width = 100)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the Pods of a manifest in the foreground: logs, exit code, clean-up
    Run(Run),
    /// Be a node that kubectl talks to: Pods, their logs and streams, and the objects around them
    Serve(Serve),
    /// Be a node of a control plane elsewhere, which has given this machine a kubeconfig
    Join(Join),
    /// Write the objects of a node into a file, while it serves or not
    Backup(Backup),
    /// Bring the objects of a backup back, into a node that serves or one that does not run
    Restore(Restore),
    /// Say what of a manifest can never work or rarely ends well, before anything starts
    Check(Check),
    /// Load, pull, list, remove and save images
    #[command(subcommand)]
    Image(Image),
    /// Start containers of a Pod again now, without waiting out any delay
    Restart(Restart),
    /// Show what happened to a Pod, and why, line by line
    Journal(Journal),
    /// Say what this machine offers, what is missing, and what dead runs left behind
    Doctor(Doctor),
    /// Print the version
    Version(Version),
}

/// Where podling keeps things. Any number of runs and nodes work side by side in the same places.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Directories")]
pub(crate) struct Directories {
    /// What outlives a reboot: volumes, writable layers, logs
    #[arg(long, value_name = "DIR", default_value = "/var/lib/podling")]
    pub(crate) data_dir: PathBuf,
    /// What a reboot clears: sockets, secrets; should be a tmpfs
    #[arg(long, value_name = "DIR", default_value = "/run/podling")]
    pub(crate) run_dir: PathBuf,
    /// Images, shared by all runs and nodes of the machine
    #[arg(long, value_name = "DIR", default_value = "/var/lib/podling/images")]
    pub(crate) image_dir: PathBuf,
}

/// `podling run`.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct Run {
    /// Manifests, YAML or JSON: Pods and the ConfigMaps and Secrets they need; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Stop the Pods after this time (90s, 5m, 1h30m) and exit with 124
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Stop the Pods once this is reached, and exit with 0
    #[arg(long, value_name = "STATE")]
    pub(crate) until: Option<Until>,
    /// Publish a port of the Pod on this machine; may be repeated
    #[arg(short, long = "publish", value_name = "[IP:]HOST:CONTAINER", value_parser = publish::parse)]
    pub(crate) publish: Vec<Publish>,
    /// Have this OCI runtime (crun, runc, or a path) create the containers instead of podling itself
    #[arg(long, value_name = "NAME")]
    pub(crate) runtime: Option<PathBuf>,
    /// Keep the journals of the Pods in this file, for `podling journal --file`
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// How to print what happens
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: RunOutput,
    #[command(flatten)]
    pub(crate) layers: image::Layers,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling backup`.
#[derive(Debug, Args)]
#[command(after_help = BACKUP_HELP)]
pub(crate) struct Backup {
    /// Where to write it
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The data directory of the node
    #[arg(long, value_name = "DIR", default_value = "/var/lib/podling")]
    pub(crate) data_dir: PathBuf,
    /// Replace FILE, in one step, when it is there
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// What is in a backup, for `--help`.
const BACKUP_HELP: &str = "\
A backup holds every object of the API at one moment, Secrets in clear text too, so only its owner may read it. It appears
under its name when it is whole and checked. It does not hold what Pods have written into volumes, nor the keys and
certificates in DIR/pki.";

/// `podling restore`.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_HELP)]
pub(crate) struct Restore {
    /// What `podling backup` has written
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The data directory of the node; made when it is not there
    #[arg(long, value_name = "DIR", default_value = "/var/lib/podling")]
    pub(crate) data_dir: PathBuf,
}

/// What a restore does, for `--help`.
const RESTORE_HELP: &str = "\
Every object becomes what it was. A node that serves goes on serving: its clients' watches end and they list anew, Pods that
the backup has go on or begin, others are stopped. What was there before is kept beside it, in DIR/store.replaced-N. A
file that is not a whole backup is refused, and nothing is changed.";

/// `KEY=VALUE`.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    model::names::qualified_name(key).map_err(|why| why.to_string())?;
    model::names::label_value(value).map_err(|why| why.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What `podling run --until` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// Every Pod is Ready
    Ready,
}

/// How `podling run` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunOutput {
    /// Log lines on standard output, what happens on standard error
    Text,
    /// One JSON object per line on standard output (docs/output-json.md)
    Json,
}

/// `podling check`.
#[derive(Debug, Args)]
#[command(after_help = exit::CHECK_HELP)]
pub(crate) struct Check {
    /// Manifests, as for `podling run`; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Exit with 1 for advice too
    #[arg(long)]
    pub(crate) strict: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: CheckOutput,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// How `podling check` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckOutput {
    /// For people, as compilers do
    Text,
    /// One JSON object (docs/output-json.md)
    Json,
}

/// `podling image`.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Load images from docker-save archives, OCI archives or OCI layout folders
    Load(ImageLoad),
    /// Pull images from their registries
    Pull(ImagePull),
    /// List the images of this machine
    List(ImageList),
    /// Remove images
    Remove(ImageRemove),
    /// Save an image as an OCI archive
    Save(ImageSave),
    /// Show everything that is known of images
    Inspect(image::ImageInspect),
    /// Remove images that nobody uses
    Prune(image::ImagePrune),
    /// Take over the images that Docker, containerd or Podman has on this machine, without a download
    ImportFrom(image::ImageImport),
    /// Give back the space of a removed image, whose trash is standard input; a removal leaves it to this
    #[command(hide = true)]
    Sweep,
}

/// `podling image load`.
#[derive(Debug, Args)]
pub(crate) struct ImageLoad {
    /// Archives (plain, gzip or zstd) or OCI layout folders
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: image::Layers,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling image pull`.
#[derive(Debug, Args)]
pub(crate) struct ImagePull {
    /// Images by tag or digest, such as nginx:1.27
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) references: Vec<String>,
    #[command(flatten)]
    pub(crate) layers: image::Layers,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling image list`.
#[derive(Debug, Args)]
pub(crate) struct ImageList {
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: ListOutput,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// How lists are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListOutput {
    /// For people
    Table,
    /// For machines
    Json,
}

/// `podling image remove`.
#[derive(Debug, Args)]
pub(crate) struct ImageRemove {
    /// Images to remove
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) references: Vec<String>,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling image save`.
#[derive(Debug, Args)]
pub(crate) struct ImageSave {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) reference: String,
    /// The archive to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// The Pod, as NAME or NAMESPACE/NAME
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// Only this container; without it every main container and sidecar
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// The control plane, and as whom to ask it [default: DATA_DIR/kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling journal`.
#[derive(Debug, Args)]
pub(crate) struct Journal {
    /// The Pod, as NAME, NAMESPACE/NAME or UID
    #[arg(value_name = "POD", required_unless_present = "file")]
    pub(crate) pod: Option<String>,
    /// Read a file that `podling run --journal` kept, instead of the journal of a Pod that runs
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Play it again, and say whether this podling decides the same
    #[arg(long)]
    pub(crate) replay: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: ListOutput,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Remove what dead runs left behind
    #[arg(long)]
    pub(crate) clean: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: ListOutput,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `podling version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: ListOutput,
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// Parses the command line. Help and version are printed here, and a wrong command line too: it is a failure
/// of the call, so its code is 125 and not clap's 2, which a container may have as well.
pub(crate) fn parse() -> Result<Command, ExitCode> {
    parse_from(std::env::args_os()).map_err(|error| {
        // Nothing can be done when even this cannot be printed.
        let _ = error.print();
        if error.use_stderr() { exit::Code::PODLING_FAILED.into() } else { ExitCode::SUCCESS }
    })
}

fn parse_from(words: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    Typed::try_parse_from(words).map(|typed| typed.command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        parse_from(["podling"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn the_definition_is_consistent() {
        Typed::command().debug_assert();
    }

    #[test]
    fn every_command_takes_the_directories_after_its_name() {
        let commands: &[&[&str]] = &[
            &["run", "pod.yaml"],
            &["check", "pod.yaml", "--strict", "-o", "json"],
            &["join", "--kubeconfig", "k"],
            &["image", "load", "a.tar"],
            &["image", "pull", "nginx"],
            &["image", "list"],
            &["image", "remove", "nginx"],
            &["image", "save", "nginx", "-o", "nginx.tar"],
            &["restart", "shop/web", "-c", "app"],
            &["journal", "web"],
            &["doctor"],
            &["version"],
        ];
        for words in commands {
            let words = [words, &["--data-dir", "/d", "--run-dir", "/r", "--image-dir", "/i"][..]].concat();
            parse(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }

    #[test]
    fn run_reads_all_its_flags() {
        let words = "run - --timeout 90s --until ready -p 8080:80 -p 127.0.0.1:53:5353 --runtime crun --journal j -o json";
        let Command::Run(run) = parse(&words.split(' ').collect::<Vec<_>>()).unwrap() else { panic!() };
        assert_eq!(run.files, [PathBuf::from("-")]);
        assert_eq!(run.timeout, Some(Duration::from_secs(90)));
        assert_eq!(run.until, Some(Until::Ready));
        assert_eq!(run.publish.len(), 2);
        assert_eq!(run.output, RunOutput::Json);
        assert_eq!(run.journal, Some(PathBuf::from("j")));
        assert_eq!(run.directories.run_dir, PathBuf::from("/run/podling"));
    }

    #[test]
    fn a_journal_is_that_of_a_pod_or_of_a_file() {
        assert!(parse(&["journal"]).is_err());
        let Command::Journal(journal) = parse(&["journal", "--file", "j"]).unwrap() else { panic!() };
        assert_eq!((journal.pod, journal.file), (None, Some(PathBuf::from("j"))));
    }

    #[test]
    fn run_without_a_file_is_refused() {
        assert!(parse(&["run"]).is_err());
    }
}
