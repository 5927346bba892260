//! What a registry answered instead of what was asked for, in its own words, and whether asking again is of use. Pure.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::credentials::CredentialsError;
use crate::digest::Digest;

/// A registry's words are repeated up to here.
const WORDS_MAX_CHARS: usize = 400;
/// A registry that wants to be left alone for longer than this is left to whoever asks next.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRIES_MAX: u32 = 4;

/// Why something could not be had from a registry.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("{host} answered {status}{words}")]
    Answer {
        host: String,
        status: Status,
        /// The first code of the distribution protocol, such as `MANIFEST_UNKNOWN`.
        code: Option<String>,
        /// Begins with a colon, or is empty.
        words: String,
        retry_after: Option<Duration>,
    },
    #[error("cannot connect to {host}: {cause}")]
    Connect { host: String, cause: String },
    #[error("the connection to {host} broke{progress}: {cause}")]
    Broken { host: String, progress: String, cause: String },
    #[error("{host} sent nothing for {seconds} s{progress}")]
    Silent { host: String, progress: String, seconds: u64 },
    #[error("{host} sent {what}")]
    Nonsense { host: String, what: String },
    #[error("{host} sent something else than {digest}")]
    Damaged { host: String, digest: Digest },
    /// The registry itself wants a way in that podling does not have.
    #[error("{host} wants credentials: {CREDENTIALS_HINT}")]
    NoCredentials { host: String },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("cannot use {}: {problem}", file.display())]
    Configuration { file: PathBuf, problem: String },
    /// The last endpoint's failure, after those of the mirrors before it.
    #[error("{last} (before it, {})", mirrors.join("; "))]
    Everywhere { last: Box<RegistryError>, mirrors: Vec<String> },
    /// Nobody waits for the contents any more.
    #[error("stopped")]
    Stopped,
}

/// A status code with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u16);

impl std::fmt::Display for Status {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = reqwest::StatusCode::from_u16(self.0).ok().and_then(|code| code.canonical_reason());
        write!(formatter, "{} {}", self.0, known.unwrap_or("(unknown)"))
    }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    /// An object for some, a sentence for others.
    #[serde(default)]
    detail: serde_json::Value,
}

/// What servers that speak TLS answer to those who do not, each in words of its own.
const BAD_REQUEST: u16 = 400;
const TLS_HINT: &str =
    "; if it has TLS, say server = \"https://...\" in HOST/hosts.toml (docs/registries.md)";

/// Makes an error of an answer's status, `Retry-After` and body; `is_plain`: it came without TLS.
pub(crate) fn refused(
    host: &str,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
    is_plain: bool,
) -> RegistryError {
    let (code, words) = match serde_json::from_slice::<Errors>(body) {
        Ok(Errors { errors }) => {
            let words: Vec<String> = errors.iter().map(Problem::words).collect();
            let code = errors.into_iter().next().map(|problem| problem.code.to_ascii_uppercase());
            (code.filter(|code| !code.is_empty()), printable(&words.join("; ")))
        }
        Err(_) => (None, printable(&plain_words(body))),
    };
    let hint = if is_plain && status == BAD_REQUEST { TLS_HINT } else { "" };
    RegistryError::Answer {
        host: host.to_owned(),
        status: Status(status),
        code,
        words: if words.is_empty() { hint.to_owned() } else { format!(": {words}{hint}") },
        // A date instead of seconds is allowed and never seen: then nobody knows how long.
        retry_after: retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs),
    }
}

impl Problem {
    fn words(&self) -> String {
        let detail = self.detail.as_str().filter(|detail| !detail.is_empty() && *detail != self.message);
        let message = if self.message.is_empty() { &self.code } else { &self.message };
        detail.map_or_else(|| message.clone(), |detail| format!("{message} ({detail})"))
    }
}

/// The first line of a body that is text; pages for browsers say nothing that the status does not.
fn plain_words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    #[derive(Deserialize)]
    struct Token {
        details: Option<String>,
        error_description: Option<String>,
        error: Option<String>,
    }
    match serde_json::from_str::<Token>(text) {
        Ok(answer) => answer.details.or(answer.error_description).or(answer.error).unwrap_or_default(),
        Err(_) if text.starts_with(['<', '{']) => String::new(),
        Err(_) => text.lines().next().unwrap_or_default().to_owned(),
    }
}

/// A stranger's words as one short line without what moves a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX_CHARS).collect();
    text.trim().to_owned()
}

const CREDENTIALS_HINT: &str =
    "give the Pod imagePullSecrets, or put them into ~/.docker/config.json (as docker login does)";

impl RegistryError {
    /// As it is told to somebody who had no credentials to show: most registries refuse strangers in words that do not tell
    /// whether the image is private or not there at all.
    pub(crate) fn told_to_a_stranger(mut self) -> Self {
        if let Self::Answer { status: Status(401 | 403), words, .. } = &mut self {
            words.push_str("; no credentials are known for it: ");
            words.push_str(CREDENTIALS_HINT);
        }
        self
    }

    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(status.0),
            _ => None,
        }
    }

    /// After how long the same request is worth another try, when `failures` in a row are behind us, this one
    /// included. `first_delay` doubles each time. What cannot be connected to is left to whoever asks next: a Pod
    /// comes again by itself, and with an image on the machine it can start at once.
    pub(crate) fn retry_after(&self, failures: u32, first_delay: Duration) -> Option<Duration> {
        let delay = first_delay.saturating_mul(1 << failures.saturating_sub(1).min(10));
        let wished = match self {
            Self::Broken { .. } if failures <= RETRIES_MAX => delay,
            Self::Silent { .. } if failures <= 1 => delay,
            Self::Answer { status: Status(429 | 503), retry_after: Some(wished), .. }
                if failures <= RETRIES_MAX =>
            {
                *wished
            }
            // Without a word about when, too many requests is mostly a matter of hours.
            Self::Answer { status: Status(408 | 500 | 502 | 503 | 504), .. } if failures < RETRIES_MAX => {
                delay
            }
            _ => return None,
        };
        (wished <= PATIENCE).then_some(wished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> String {
        refused("r.example", 429, None, body.as_bytes(), false).to_string()
    }

    #[test]
    fn the_registrys_own_words_are_repeated() {
        let hub =
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
        assert_eq!(
            said(hub),
            "r.example answered 429 Too Many Requests: You have reached your pull rate limit."
        );
        assert!(
            said(r#"{"details":"incorrect username or password"}"#)
                .ends_with(": incorrect username or password")
        );
        assert!(said("slow down\nplease").ends_with(": slow down"));
        assert!(said("<html><body>go away").ends_with("Requests"));
        assert!(said(r#"{"errors":[{"code":"DENIED","detail":"no"}]}"#).ends_with(": DENIED (no)"));
        assert!(!said("\u{1b}[2Jgone").contains('\u{1b}'));
        assert!(said(&"x".repeat(10_000)).len() < 600);
    }

    #[test]
    fn who_asks_a_registry_with_tls_without_is_told_what_to_say() {
        let words = b"Client sent an HTTP request to an HTTPS server.\n";
        assert!(refused("r", 400, None, words, true).to_string().contains("https://..."));
        assert!(!refused("r", 400, None, words, false).to_string().contains("hosts.toml"));
        assert!(!refused("r", 404, None, words, true).to_string().contains("hosts.toml"));
    }

    #[test]
    fn what_may_pass_is_tried_again_and_the_rest_is_not() {
        let first = Duration::from_millis(500);
        let after =
            |status, header, failures| refused("r", status, header, b"", false).retry_after(failures, first);
        assert_eq!(after(503, None, 1), Some(first));
        assert_eq!(after(503, None, 3), Some(first * 4));
        assert_eq!(after(503, None, 4), None);
        assert_eq!(after(429, Some("2"), 1), Some(Duration::from_secs(2)));
        assert_eq!(after(429, Some("3600"), 1), None);
        assert_eq!(after(429, None, 1), None);
        assert_eq!(after(404, Some("1"), 1), None);
        let broken =
            RegistryError::Broken { host: "r".into(), progress: String::new(), cause: "reset".into() };
        assert_eq!(broken.retry_after(4, first), Some(first * 8));
        assert_eq!(broken.retry_after(5, first), None);
    }
}
