//! Whose images may be pulled as whom: Pull Secrets, Docker's and Podman's files, and the helpers that these name.
//!
//! All of them are one format, Docker's `config.json` (documented in containers-auth.json(5)).
//! Which entry fits an image is Kubernetes' rule: the host may have globs, a path must be the beginning of the
//! repository's, and the longest entry comes first. Nothing here prints a secret, and nothing here speaks to a registry.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::credential_helper;
use crate::digest::Digest;

/// A way to prove who one is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Credential {
    Password {
        user: String,
        password: String,
    },
    /// Exchanged for a token at the token server (OAuth 2 refresh token).
    Identity(String),
    /// Shown to the registry as it is.
    Token(String),
}

impl Credential {
    /// A digest of it.
    pub(crate) fn fingerprint(&self) -> String {
        let parts = match self {
            Self::Password { user, password } => ["password", user, password],
            Self::Identity(token) => ["identity", token, ""],
            Self::Token(token) => ["token", token, ""],
        };
        // With their lengths, so that no two lists of parts are one text.
        let text: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
        Digest::of(text.as_bytes()).hex().to_owned()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credential(hidden)")
    }
}

/// Why credentials could not be read or fetched. Never says what they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the credentials of {place}: {problem}")]
pub struct CredentialsError {
    pub(crate) place: String,
    pub(crate) problem: String,
}

/// A file with credentials, as Docker writes it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    place: String,
    holder: Option<String>,
    entries: Vec<(Pattern, Credential)>,
    helpers: Vec<(Pattern, String)>,
    default_helper: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Credentials({}, hidden)", self.place)
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Credentials {
    /// Reads `~/.docker/config.json`, or what a Secret of type `kubernetes.io/dockerconfigjson` holds in
    /// `.dockerconfigjson`. `place` is how messages call it.
    pub fn parse(place: &str, bytes: &[u8]) -> Result<Self, CredentialsError> {
        let config: Config = serde_json::from_slice(bytes).map_err(|error| unreadable(place, &error))?;
        let mut credentials = Self::of_entries(place, config.auths)?;
        credentials.helpers =
            sorted(config.cred_helpers.into_iter().map(|(key, helper)| (Pattern::new(&key), helper)));
        credentials.default_helper = config.creds_store.filter(|name| !name.is_empty());
        Ok(credentials)
    }

    /// Reads what a Secret of type `kubernetes.io/dockercfg` holds in `.dockercfg`: the entries alone.
    pub fn parse_legacy(place: &str, bytes: &[u8]) -> Result<Self, CredentialsError> {
        Self::of_entries(place, serde_json::from_slice(bytes).map_err(|error| unreadable(place, &error))?)
    }

    /// Names the object that holds them, so that newer ones in it are known for its own.
    #[must_use]
    pub fn held_by(self, holder: &str) -> Self {
        Self { holder: Some(holder.to_owned()), ..self }
    }

    pub(crate) fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    /// What tells each of them from others without showing it.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = String> {
        self.entries.iter().map(|(_, credential)| credential.fingerprint())
    }

    pub(crate) fn has(&self, credential: &Credential) -> bool {
        self.entries.iter().any(|(_, other)| other == credential)
    }

    /// Without what could run a program: a manifest must not choose the programs of this machine.
    #[must_use]
    pub fn without_helpers(self) -> Self {
        Self { helpers: Vec::new(), default_helper: None, ..self }
    }

    /// The files of this machine and user that are there, Docker's before Podman's.
    pub(crate) fn of_files(paths: &[PathBuf]) -> Result<Vec<Self>, CredentialsError> {
        let mut found = Vec::new();
        for path in paths {
            let place = path.display().to_string();
            match fs::read(path) {
                Ok(bytes) => found.push(Self::parse(&place, &bytes)?),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(CredentialsError { place, problem: error.to_string() }),
            }
        }
        Ok(found)
    }

    fn of_entries(place: &str, entries: BTreeMap<String, Entry>) -> Result<Self, CredentialsError> {
        let mut read = Vec::new();
        for (key, entry) in entries {
            let problem = |problem| CredentialsError { place: format!("{place} for {key}"), problem };
            if let Some(credential) = entry.credential().map_err(problem)? {
                read.push((Pattern::new(&key), credential));
            }
        }
        Ok(Self { place: place.to_owned(), entries: sorted(read), ..Self::default() })
    }

    /// What fits `repository` at `host`, best first. Asks a helper where the file names one.
    async fn lookup(
        &self,
        host: &str,
        repository: &str,
        helper_path: Option<&OsStr>,
    ) -> Result<Vec<Credential>, CredentialsError> {
        let named = self.helpers.iter().find(|(pattern, _)| pattern.fits(host, repository));
        let helper = named.map(|(_, helper)| helper).or(self.default_helper.as_ref());
        if let Some(helper) = helper {
            // Docker Hub's key is the address of its first registry, for ever.
            let server = if host == DOCKER_HUB { "https://index.docker.io/v1/" } else { host };
            if let Some(credential) = credential_helper::ask(helper, server, helper_path).await? {
                return Ok(vec![credential]);
            }
        }
        let fitting = self.entries.iter().filter(|(pattern, _)| pattern.fits(host, repository));
        Ok(fitting.map(|(_, credential)| credential.clone()).collect())
    }
}

/// All credentials that one pull may use, best first.
pub(crate) struct Keyring {
    pub(crate) credentials: Vec<Credentials>,
    pub(crate) helper_path: Option<OsString>,
}

impl Keyring {
    pub(crate) async fn lookup(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Vec<Credential>, CredentialsError> {
        let mut found = Vec::new();
        for credentials in &self.credentials {
            for credential in credentials.lookup(host, repository, self.helper_path.as_deref()).await? {
                if !found.contains(&credential) {
                    found.push(credential);
                }
            }
        }
        Ok(found)
    }
}

fn unreadable(place: &str, error: &serde_json::Error) -> CredentialsError {
    // serde's message may repeat a value, which here may be a password: the position is enough.
    let problem =
        format!("it is not the JSON that it should be, at line {} column {}", error.line(), error.column());
    CredentialsError { place: place.to_owned(), problem }
}

fn sorted<T>(entries: impl IntoIterator<Item = (Pattern, T)>) -> Vec<(Pattern, T)> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.length()));
    entries
}

impl Entry {
    fn credential(self) -> Result<Option<Credential>, String> {
        let of_text = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = of_text(self.registrytoken) {
            return Ok(Some(Credential::Token(token)));
        }
        if let Some(token) = of_text(self.identitytoken) {
            return Ok(Some(Credential::Identity(token)));
        }
        if let (Some(user), Some(password)) = (of_text(self.username), of_text(self.password)) {
            return Ok(Some(Credential::Password { user, password }));
        }
        let Some(auth) = of_text(self.auth) else { return Ok(None) };
        let auth = auth.trim();
        let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth));
        let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match text.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) => {
                // Docker once padded the password with zero bytes, and still trims them.
                let password = password.trim_end_matches('\0');
                Ok(Some(Credential::Password { user: user.to_owned(), password: password.to_owned() }))
            }
            None => Err("\"auth\" is not base64 of user:password".to_owned()),
        }
    }
}

const DOCKER_HUB: &str = "docker.io";

/// A key of the file: host, perhaps with globs, and perhaps the beginning of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pattern {
    host: String,
    path: String,
}

impl Pattern {
    fn new(key: &str) -> Self {
        let key =
            key.trim().trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
            other => other,
        };
        // What docker login writes for a whole registry.
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        Self { host: host.to_owned(), path: path.to_owned() }
    }

    fn length(&self) -> (usize, usize) {
        (self.path.len(), self.host.len())
    }

    fn fits(&self, host: &str, repository: &str) -> bool {
        let rest = repository.strip_prefix(self.path.as_str());
        let is_beginning =
            rest.is_some_and(|rest| self.path.is_empty() || rest.is_empty() || rest.starts_with('/'));
        is_beginning && fits_host(&self.host, host)
    }
}

/// Label by label, so that `*.example.com` is one label and nothing more, as in Kubernetes; the port is part of the last.
fn fits_host(pattern: &str, host: &str) -> bool {
    let (mut patterns, mut labels) = (pattern.split('.'), host.split('.'));
    loop {
        match (patterns.next(), labels.next()) {
            (None, None) => return true,
            (Some(pattern), Some(label)) if fits_label(pattern.as_bytes(), label.as_bytes()) => {}
            _ => return false,
        }
    }
}

fn fits_label(pattern: &[u8], label: &[u8]) -> bool {
    match (pattern.split_first(), label.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits_label(rest, label)
                || label.split_first().is_some_and(|(_, shorter)| fits_label(pattern, shorter))
        }
        (Some((b'?', rest)), Some((_, shorter))) => fits_label(rest, shorter),
        (Some((p, rest)), Some((l, shorter))) => p.eq_ignore_ascii_case(l) && fits_label(rest, shorter),
        _ => false,
    }
}

/// Where Docker and Podman keep the credentials of this user, as the environment says.
pub(crate) fn files_of_this_user(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let home = variable("HOME");
    let below_home = |path: &str| home.as_deref().map(|home: &Path| home.join(path));
    let docker = variable("DOCKER_CONFIG").map(|folder| folder.join("config.json"));
    let podman = variable("REGISTRY_AUTH_FILE")
        .or_else(|| variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")));
    [
        docker.or_else(|| below_home(".docker/config.json")),
        Some(podman.unwrap_or_else(|| PathBuf::from("/run/containers/0/auth.json"))),
        below_home(".config/containers/auth.json"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password { user: user.to_owned(), password: password.to_owned() }
    }

    async fn found(config: &str, host: &str, repository: &str) -> Vec<Credential> {
        Credentials::parse("x", config.as_bytes()).unwrap().lookup(host, repository, None).await.unwrap()
    }

    #[tokio::test]
    async fn the_longest_entry_that_fits_comes_first() {
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6cGFzczp3b3Jk"},
            "quay.example": {"username": "all", "password": "1"},
            "quay.example/team": {"username": "team", "password": "2"},
            "*.cloud.example:5000": {"identitytoken": "i"},
            "other.example": {}
        }}"#;
        assert_eq!(found(config, "docker.io", "library/nginx").await, [password("me", "pass:word")]);
        assert_eq!(
            found(config, "quay.example", "team/app").await,
            [password("team", "2"), password("all", "1")]
        );
        assert_eq!(found(config, "quay.example", "teams/app").await, [password("all", "1")]);
        assert_eq!(found(config, "eu.cloud.example:5000", "a").await, [Credential::Identity("i".to_owned())]);
        for host in ["cloud.example:5000", "a.b.cloud.example:5000", "eu.cloud.example", "other.example"] {
            assert_eq!(found(config, host, "a").await, [], "{host}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for text in [r#"{"auths": {"x": {"auth": "c2VjcmV0"}}}"#, r#"{"auths": "secret"}"#, "secret"] {
            let error = Credentials::parse("/root/x.json", text.as_bytes()).unwrap_err().to_string();
            assert!(
                error.contains("/root/x.json") && !error.contains("secret") && !error.contains("c2V"),
                "{error}"
            );
        }
        let credentials =
            Credentials::parse("x", br#"{"auths": {"h": {"username": "u", "password": "secret"}}}"#);
        assert!(!format!("{credentials:?}").contains("secret"));
    }

    #[test]
    fn the_environment_says_where_the_files_are() {
        let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/root"));
        let paths = [
            "/root/.docker/config.json",
            "/run/containers/0/auth.json",
            "/root/.config/containers/auth.json",
        ];
        assert_eq!(files_of_this_user(home), paths.map(PathBuf::from));
        let set = |name: &str| (name != "HOME").then(|| PathBuf::from("/set"));
        assert_eq!(files_of_this_user(set), ["/set/config.json", "/set"].map(PathBuf::from));
    }
}
