//! Why a command could not do what it was asked: one sentence and its causes, printed once by `main`.

use std::path::PathBuf;

use model::manifest::Problem;

/// A failure of podling itself, as opposed to one of a Pod.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command needs root.
    #[error("`podling {command}` needs root: it makes namespaces, mounts and cgroups; run it with sudo")]
    NotRoot { command: &'static str },
    /// A file or standard input cannot be read.
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// The filesystem refused.
    #[error("cannot {attempt} {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The manifest is wrong: every problem with its place.
    #[error("{}; nothing was started", count_of_problems(*.count))]
    Manifest { problems: Vec<Problem>, count: usize },
    /// The manifest is right and holds nothing to run.
    #[error("{files} has no Pod to run: a document with `kind: Pod` is needed")]
    NoPod { files: String },
    /// Two documents of one name.
    #[error("{what} stands twice in the manifest; give one of them another name")]
    Duplicate { what: String },
    /// `-p` with several Pods.
    #[error(
        "-p publishes a port of one Pod, and the manifest has {count}; write hostPort in the manifest instead"
    )]
    PublishNeedsOnePod { count: usize },
    /// `--runtime` names nothing that can be run.
    #[error("the OCI runtime {name:?} is not installed; `podling doctor` shows those that are")]
    NoSuchRuntime { name: String },
    /// The node could not start.
    #[error("cannot start a node")]
    Node(#[source] engine::node::NodeError),
    /// The configuration file of `podling serve` is wrong.
    #[error("{path} is no configuration of `podling serve`")]
    Configuration {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A setting that cannot be meant.
    #[error("{name} cannot be {text:?}: {why}")]
    Setting { name: &'static str, text: String, why: String },
    /// The API cannot listen.
    #[error("cannot listen on {address}; is another server there? choose another address with --listen")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// The objects of the node cannot be opened.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// Somebody has removed what the node lives in.
    #[error(
        "{} was removed or moved away while the node used it; its Pods go on: bring the directory back, or a backup with `podling restore`, \
         and start the node again",
        data_dir.display()
    )]
    DataGone { data_dir: PathBuf },
    /// Who has the data directory has no objects, or does not listen.
    #[error(
        "{} is in use by {}, which takes no restore: stop it first, or use the data directory of a `podling serve`",
        data_dir.display(),
        pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"))
    )]
    TakesNoRestore {
        data_dir: PathBuf,
        pid: Option<u32>,
        #[source]
        source: std::io::Error,
    },
    /// The node could not restore, and goes on with what it had.
    #[error("the node could not restore it and serves what it had: {why}")]
    RestoreRefused { why: String },
    /// The node ended meanwhile.
    #[error(
        "the node in {} ended while it restored; what it printed says why, and a restore can be repeated while it does not run",
        data_dir.display()
    )]
    RestoreUnanswered { data_dir: PathBuf },
    /// Certificates cannot be made or are damaged.
    #[error(transparent)]
    Certificates(#[from] api::auth::certificates::CertificateError),
    /// The keys of tokens cannot be made or are damaged.
    #[error(transparent)]
    Keys(#[from] api::auth::tokens::KeyError),
    /// What must be there before the first client cannot be made.
    #[error(transparent)]
    Bootstrap(#[from] api::BootstrapError),
    /// A kubeconfig cannot be used.
    #[error(transparent)]
    Kubeconfig(#[from] api::auth::kubeconfig::KubeconfigError),
    /// A kubeconfig's server cannot be spoken to at all.
    #[error(transparent)]
    Remote(#[from] client::RemoteError),
    /// A kubeconfig of somebody else.
    #[error(
        "{} is not a node's: its certificate must be that of the user system:node:NAME, not {user:?}",
        kubeconfig.display()
    )]
    NoNode { kubeconfig: PathBuf, user: String },
    /// What a node is to show as a server does not work.
    #[error("cannot serve with the certificates in {}", kubeconfig.display())]
    NodeTls {
        kubeconfig: PathBuf,
        #[source]
        source: rustls::Error,
    },
    /// The node cannot be registered.
    #[error("cannot register the node {node}")]
    Register {
        node: String,
        #[source]
        source: client::Error,
    },
    /// A node did not restart what it was asked to.
    #[error("cannot restart pod {pod}")]
    Restart {
        pod: String,
        #[source]
        source: client::Error,
    },
    /// Nothing of the Pod was started yet.
    #[error("cannot restart pod {pod}: it has no node yet; `kubectl describe pod` says why")]
    NoNodeYet { pod: String },
    /// The image store refused.
    #[error(transparent)]
    Image(#[from] crate::image::ImageFailure),
    /// A journal cannot be read.
    #[error(transparent)]
    Journal(#[from] engine::journal::JournalError),
    /// `podling journal` names no Pod that has one.
    #[error("there is no journal of a Pod {pod:?} in {place}: {hint}")]
    NoSuchJournal { pod: String, place: PathBuf, hint: String },
    /// `podling journal` names several Pods.
    #[error("{pod:?} is the name of several Pods here; say which: {}", names.join(", "))]
    SeveralJournals { pod: String, names: Vec<String> },
    /// A journal replays otherwise than it was recorded.
    #[error("{pod}: this podling decides otherwise than the one that wrote the journal")]
    Replay {
        pod: String,
        #[source]
        source: lifecycle::replay::Difference,
    },
    /// Nobody reads what podling prints.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
}

fn count_of_problems(count: usize) -> String {
    match count {
        1 => "the manifest has 1 problem".to_owned(),
        count => format!("the manifest has {count} problems"),
    }
}

impl Failure {
    /// What is wrong with the manifest, if it is that: told one by one before the failure itself.
    pub(crate) fn problems(&self) -> &[Problem] {
        match self {
            Failure::Manifest { problems, .. } => problems,
            _ => &[],
        }
    }

    /// Makes `map_err` arguments short.
    pub(crate) fn io(
        attempt: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Failure {
        let path = path.into();
        move |source| Failure::Io { attempt, path, source }
    }
}

/// A failure and its causes, from the outside in, in one line each. A cause that the outer sentence already
/// ends with is not said twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let sentence = cause.to_string();
        if !text.ends_with(&sentence) {
            text.push_str(": ");
            text.push_str(&sentence);
        }
        source = cause.source();
    }
    text
}
