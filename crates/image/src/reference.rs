//! Image references, normalised as Kubernetes and Docker do: `nginx` is `docker.io/library/nginx:latest`.
//!
//! Own code rather than `oci_spec::distribution::Reference`: that one compiles a large regular expression on first use,
//! which alone costs more than the whole look-up of an image may. The grammar is that of github.com/distribution/reference.
//! Nothing here looks at the store or the network.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const LEGACY_DEFAULT_REGISTRY: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const NAME_MAX_BYTES: usize = 255;
const TAG_MAX_BYTES: usize = 128;

/// A normalised image reference: registry, repository, and a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no image reference (Kubernetes' reason is `InvalidImageName`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference {text:?}: {problem}")]
pub struct ReferenceError {
    text: String,
    /// What is wrong, for a person.
    pub problem: ReferenceProblem,
}

/// What is wrong with a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum ReferenceProblem {
    #[error("it is empty")]
    Empty,
    #[error("it contains white space or a control character")]
    WhiteSpace,
    #[error("it looks like a URL; write registry/repository:tag without the scheme")]
    Url,
    #[error("the repository name must be lower case")]
    UpperCase,
    #[error("the registry must be a host name with an optional port")]
    Registry,
    #[error(
        "a name between slashes may have lower-case letters and digits, separated by one '.', one or two '_', or any '-'"
    )]
    Component,
    #[error("the name is longer than 255 characters")]
    NameTooLong,
    #[error("64 hexadecimal digits are an image ID, not a name")]
    LooksLikeId,
    #[error(
        "the tag after ':' must be 1 to 128 of letters, digits, '_', '.', '-', and not begin with '.' or '-'"
    )]
    Tag,
    #[error("the digest after '@' must be sha256: and 64 lower-case hexadecimal digits")]
    Digest,
}

impl Reference {
    /// Parses and normalises.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|problem| ReferenceError { text: text.chars().take(300).collect(), problem })
    }

    /// The registry's host name and optional port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` when the text named neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which names a manifest or an index.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository's manifest `digest`.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// What the store looks up: where there is a digest, the tag says nothing (as in Kubernetes).
    pub(crate) fn key(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}/{}@{digest}", self.registry, self.repository),
            None => format!(
                "{}/{}:{}",
                self.registry,
                self.repository,
                self.tag.as_deref().unwrap_or(DEFAULT_TAG)
            ),
        }
    }

    /// The short form in which people write it: without `docker.io/library/`, tag always shown.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = match full.strip_prefix("docker.io/") {
            Some(rest) => rest.strip_prefix(OFFICIAL).unwrap_or(rest),
            None => &full,
        };
        short.to_owned()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(formatter, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

fn parse(text: &str) -> Result<Reference, ReferenceProblem> {
    if text.is_empty() {
        return Err(ReferenceProblem::Empty);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(ReferenceProblem::WhiteSpace);
    }
    if text.contains("://") {
        return Err(ReferenceProblem::Url);
    }
    let (text, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(Digest::parse(digest).map_err(|_| ReferenceProblem::Digest)?)),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; one before it belongs to the registry's port.
    let after_slash = text.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match text[after_slash..].split_once(':') {
        Some((_, tag)) => (&text[..text.len() - tag.len() - 1], Some(tag)),
        None => (text, None),
    };
    let (registry, repository) = split_registry(name);
    if !is_registry(registry) {
        return Err(ReferenceProblem::Registry);
    }
    check_repository(repository)?;
    if registry.len() + 1 + repository.len() > NAME_MAX_BYTES {
        return Err(ReferenceProblem::NameTooLong);
    }
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(ReferenceProblem::Tag);
    }
    let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
    if official && repository.len() == 64 && crate::digest::is_hex(repository) {
        return Err(ReferenceProblem::LooksLikeId);
    }
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG),
        (tag, _) => tag,
    };
    Ok(Reference {
        registry: registry.to_owned(),
        repository: if official { format!("{OFFICIAL}{repository}") } else { repository.to_owned() },
        tag: tag.map(str::to_owned),
        digest,
    })
}

/// The first component is a registry when it cannot be a repository's: it has a dot, a port or capitals, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((LEGACY_DEFAULT_REGISTRY, rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn check_repository(text: &str) -> Result<(), ReferenceProblem> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceProblem::UpperCase);
    }
    if text.split('/').all(is_component) { Ok(()) } else { Err(ReferenceProblem::Component) }
}

fn is_component(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    is_alphanumeric(*first)
        && is_alphanumeric(*last)
        && bytes.split(|byte| is_alphanumeric(*byte)).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= TAG_MAX_BYTES
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_normalised() {
        let digest = format!("@sha256:{HEX}");
        for (text, expected) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("bitnami/nginx", "docker.io/bitnami/nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("Upper/app", "Upper/app:latest"),
            ("a__b/c-d.e--f", "docker.io/a__b/c-d.e--f:latest"),
            ("app:V1.0_x-Y", "docker.io/library/app:V1.0_x-Y"),
        ] {
            assert_eq!(Reference::parse(text).map(|r| r.to_string()), Ok(expected.to_owned()), "{text}");
        }
        let both = Reference::parse(&format!("nginx:1{digest}")).unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/nginx:1{digest}"));
        assert_eq!(both.key(), format!("docker.io/library/nginx{digest}"), "a digest outweighs the tag");
        assert_eq!(Reference::parse(&format!("nginx{digest}")).unwrap().tag(), None);
        assert_eq!(Reference::parse("nginx").unwrap().familiar(), "nginx:latest");
    }

    #[test]
    fn bad_references_say_what_is_wrong() {
        use ReferenceProblem::*;
        let long = "a".repeat(260);
        let long_tag = format!("a:{}", "t".repeat(129));
        for (text, problem) in [
            ("", Empty),
            ("ngi nx", WhiteSpace),
            ("nginx\n", WhiteSpace),
            ("https://ghcr.io/app", Url),
            ("Nginx", UpperCase),
            ("docker.io/Library/nginx", UpperCase),
            ("-bad.io/app", Registry),
            ("host:port/app", Registry),
            ("host:99999/app", Registry),
            ("a//b", Component),
            ("/nginx", Component),
            ("nginx/", Component),
            ("../etc", Registry),
            ("a/../b", Component),
            ("a___b", Component),
            ("a..b", Component),
            ("ngïnx", Component),
            (&long, NameTooLong),
            ("nginx:", Tag),
            ("nginx:-a", Tag),
            ("nginx:a b", WhiteSpace),
            (&long_tag, Tag),
            ("nginx@sha256:12", Digest),
            ("nginx@", Digest),
            ("nginx@md5:d41d8cd98f00b204e9800998ecf8427e", Digest),
            (HEX, LooksLikeId),
        ] {
            assert_eq!(Reference::parse(text).map_err(|e| e.problem), Err(problem), "{text}");
        }
    }
}
