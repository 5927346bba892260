//! One call of podling, before it is made: its words, and the surroundings it is made in.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::binary;
use crate::podling::Podling;
use crate::running::{Finished, Running};
use crate::terminal::Terminal;

/// A call that is being put together.
#[must_use]
pub struct Call<'a> {
    podling: &'a Podling,
    /// What runs podling: `unshare`, `setpriv` ...; must exec it, so that signals reach podling.
    wrapper: Vec<OsString>,
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    user: Option<u32>,
    terminal: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn bare<S: AsRef<OsStr>>(
        podling: &'a Podling,
        words: impl IntoIterator<Item = S>,
    ) -> Call<'a> {
        let words = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let (wrapper, environment) = (Vec::new(), Vec::new());
        Call { podling, wrapper, words, environment, stdin: None, user: None, terminal: false }
    }

    /// One more argument.
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.words.push(word.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(OsString::from));
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// What podling reads on standard input; else there is nothing.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// As another user, without any of root's rights.
    pub fn as_user(mut self, uid: u32) -> Self {
        self.user = Some(uid);
        self
    }

    /// Standard input, output and error are a terminal, from which Ctrl-C can be typed ([`Running::type_keys`]).
    pub fn on_terminal(mut self) -> Self {
        self.terminal = true;
        // Makes the terminal on standard input the controlling one of a new session; std cannot.
        self.wrapper.extend(["setsid".into(), "--ctty".into()]);
        self
    }

    /// In a network namespace of its own, where only loopback is: every port is free.
    pub fn in_fresh_network(self) -> Self {
        self.after("--net", "ip link set lo up")
    }

    /// In a mount namespace of its own, after a shell script there.
    pub fn after_mounting(self, script: &str) -> Self {
        self.after("--mount", script)
    }

    fn after(mut self, namespace: &str, script: &str) -> Self {
        let script = format!("set -e; {script}; exec \"$@\"");
        self.wrapper.extend(["unshare", namespace, "sh", "-c"].map(OsString::from));
        self.wrapper.extend([script.into(), "sh".into()]);
        self
    }

    /// The command, not yet started.
    pub fn command(&self) -> Command {
        let program = binary::podling().as_os_str();
        let mut all = self.wrapper.iter().map(OsString::as_os_str).chain([program]);
        let mut command = Command::new(all.next().unwrap_or(program));
        command.args(all).args(&self.words).stdin(Stdio::null()).current_dir(self.podling.base());
        // Whatever stands in the environment of the tests must not decide what podling prints.
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "RUST_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(uid) = self.user {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Makes the call and waits for its end.
    pub fn finish(self) -> Finished {
        self.start().wait()
    }

    /// Makes the call.
    pub fn start(self) -> Running<'a> {
        let command = self.command();
        let terminal = self.terminal.then(Terminal::open);
        Running::start(command, self.stdin, terminal)
    }
}
