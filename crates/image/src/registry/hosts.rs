//! Where a registry's contents are asked for: mirrors first, then the registry itself, each with its own TLS.
//!
//! The files are containerd's (`docs/hosts.md` there), so that an existing `certs.d` serves as it is:
//! `DIRECTORY/HOST[:PORT]/hosts.toml`, else `DIRECTORY/_default/hosts.toml`, else the `*.crt` beside where it would be.
//! What such a file says and podling does not understand is an error, not a surprise.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use super::RegistryError;

/// One host that speaks the distribution protocol, and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Ends in `/v2/`, unless the file says that the path is complete without.
    pub(crate) base: Url,
    /// May say what a tag stands for; what has a digest can be had from anybody.
    pub(crate) can_resolve: bool,
    /// May serve contents.
    pub(crate) can_pull: bool,
    /// PEM files of further certificate authorities.
    pub(crate) authorities: Vec<PathBuf>,
    /// PEM files of certificate and key by which podling shows who it is.
    pub(crate) identity: Vec<PathBuf>,
    pub(crate) skip_verify: bool,
    pub(crate) headers: Vec<(String, String)>,
    /// The registry itself rather than a mirror of it.
    pub(crate) is_origin: bool,
}

impl Endpoint {
    /// `host:port` as credentials are kept under.
    pub(crate) fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        match self.base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Loopback is reached without a proxy, and without TLS unless the file says otherwise.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(self.base.host_str().unwrap_or_default())
    }
}

/// The endpoints of `registry`, in the order in which they are asked.
pub(crate) fn endpoints(directory: &Path, registry: &str) -> Result<Vec<Endpoint>, RegistryError> {
    for name in [registry, "_default"] {
        let folder = directory.join(name);
        let file = folder.join("hosts.toml");
        match fs::read_to_string(&file) {
            Ok(text) => {
                return parse(&text, registry, &folder)
                    .map_err(|problem| RegistryError::Configuration { file, problem });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(RegistryError::Configuration { file, problem: error.to_string() }),
        }
        let authorities = certificates(&folder);
        if !authorities.is_empty() {
            return Ok(vec![Endpoint { authorities, ..origin(registry, None)? }]);
        }
    }
    Ok(vec![origin(registry, None)?])
}

fn certificates(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "crt")).collect();
    found.sort();
    found
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: toml::Table,
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    ca: OneOrMany,
    #[serde(default)]
    client: Pairs,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    ca: OneOrMany,
    #[serde(default)]
    client: Pairs,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// `"both.pem"`, `["both.pem"]` or `[["certificate", "key"]]`.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Pairs {
    #[default]
    None,
    One(String),
    Many(Vec<OneOrMany>),
}

impl Pairs {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::One(one) => vec![one],
            Self::Many(many) => many.into_iter().flat_map(OneOrMany::into_list).collect(),
        }
    }
}

fn parse(text: &str, registry: &str, folder: &Path) -> Result<Vec<Endpoint>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut endpoints = Vec::new();
    for (url, host) in file.host {
        let host: Host = host.try_into().map_err(|error| format!("host {url:?}: {error}"))?;
        endpoints
            .push(host.endpoint(&url, folder, false).map_err(|problem| format!("host {url:?}: {problem}"))?);
    }
    let server = match &file.server {
        Some(server) => server.clone(),
        None => default_server(registry),
    };
    let own = Host {
        capabilities: file.capabilities,
        ca: file.ca,
        client: file.client,
        skip_verify: file.skip_verify,
        override_path: file.override_path,
        header: file.header,
    };
    endpoints.push(own.endpoint(&server, folder, true).map_err(|problem| format!("server: {problem}"))?);
    Ok(endpoints)
}

impl Host {
    fn endpoint(self, url: &str, folder: &Path, is_origin: bool) -> Result<Endpoint, String> {
        let capabilities = self.capabilities.unwrap_or_else(|| vec!["pull".to_owned(), "resolve".to_owned()]);
        let known = ["pull", "resolve", "push", "referrers"];
        if let Some(other) = capabilities.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("{other:?} is no capability; there are {}", known.join(", ")));
        }
        let has = |name: &str| capabilities.iter().any(|capability| capability == name);
        let paths = |list: Vec<String>| list.into_iter().map(|path| folder.join(path)).collect();
        let headers = self.header.into_iter().flat_map(|(name, values)| {
            values.into_list().into_iter().map(move |value| (name.clone(), value))
        });
        Ok(Endpoint {
            base: base(url, self.override_path)?,
            can_resolve: has("resolve"),
            can_pull: has("pull"),
            authorities: paths(self.ca.into_list()),
            identity: paths(self.client.into_list()),
            skip_verify: self.skip_verify,
            headers: headers.collect(),
            is_origin,
        })
    }
}

fn origin(registry: &str, server: Option<&str>) -> Result<Endpoint, RegistryError> {
    let url = server.map_or_else(|| default_server(registry), str::to_owned);
    let problem = |problem| RegistryError::Configuration { file: PathBuf::from(&url), problem };
    Ok(Endpoint {
        base: base(&url, false).map_err(problem)?,
        can_resolve: true,
        can_pull: true,
        authorities: Vec::new(),
        identity: Vec::new(),
        skip_verify: false,
        headers: Vec::new(),
        is_origin: true,
    })
}

/// Docker Hub's registry answers under another name than its images have.
fn default_server(registry: &str) -> String {
    match registry {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        near if is_loopback(near) => format!("http://{near}"),
        other => format!("https://{other}"),
    }
}

/// Whether this is where `registry` is when no file says anything.
pub(crate) fn is_default_server(endpoint: &Endpoint, registry: &str) -> bool {
    let default = base(&default_server(registry), false);
    default.is_ok_and(|url| (url.host_str(), url.port()) == (endpoint.base.host_str(), endpoint.base.port()))
}

fn base(text: &str, is_whole_path: bool) -> Result<Url, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&with_scheme).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("{text:?} must begin with https:// or http:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL is no place for credentials; they belong to ~/.docker/config.json".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let is_complete = is_whole_path || path.ends_with("/v2");
    url.set_path(&if is_complete { format!("{path}/") } else { format!("{path}/v2/") });
    url.set_query(None);
    Ok(url)
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.split(':').next().unwrap_or_default();
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str, registry: &str) -> Vec<String> {
        let endpoints = parse(text, registry, Path::new("/etc/x")).unwrap();
        endpoints.iter().map(|endpoint| endpoint.base.to_string()).collect()
    }

    #[test]
    fn only_loopback_goes_without_tls_unasked() {
        assert!(is_loopback("localhost:5000") && is_loopback("127.0.0.1") && is_loopback("127.9.9.9:80"));
        assert!(
            !is_loopback("docker.io")
                && !is_loopback("10.0.0.1:5000")
                && !is_loopback("localhost.example.com")
        );
    }

    #[test]
    fn without_a_file_the_registry_itself_is_asked() {
        for (registry, url) in [
            ("docker.io", "https://registry-1.docker.io/v2/"),
            ("ghcr.io", "https://ghcr.io/v2/"),
            ("localhost:5000", "http://localhost:5000/v2/"),
        ] {
            let found = endpoints(Path::new("/nowhere"), registry).unwrap();
            assert_eq!(found.iter().map(|e| e.base.as_str()).collect::<Vec<_>>(), [url]);
        }
    }

    #[test]
    fn mirrors_come_in_the_order_of_the_file_and_the_registry_last() {
        let text = r#"
            server = "https://registry-1.docker.io"
            [host."https://z.example"]
              capabilities = ["pull"]
              ca = "ca.pem"
            [host."http://a.example:5000/mirror/v2/x"]
              override_path = true
              client = [["/c.pem", "/k.pem"]]
              header.x-team = ["one", "two"]
        "#;
        assert_eq!(
            urls(text, "docker.io"),
            [
                "https://z.example/v2/",
                "http://a.example:5000/mirror/v2/x/",
                "https://registry-1.docker.io/v2/"
            ]
        );
        let found = parse(text, "docker.io", Path::new("/etc/x")).unwrap();
        assert!(!found[0].can_resolve && found[1].can_resolve && found[2].is_origin);
        assert_eq!(found[0].authorities, [PathBuf::from("/etc/x/ca.pem")]);
        assert_eq!(found[1].identity, [PathBuf::from("/c.pem"), PathBuf::from("/k.pem")]);
        assert_eq!(found[1].headers.len(), 2);
        assert_eq!(urls("", "10.0.0.1:5000"), ["https://10.0.0.1:5000/v2/"]);
    }

    #[test]
    fn a_file_that_is_wrong_says_where() {
        for (text, words) in [
            ("servr = \"x\"", "servr"),
            ("server = \"ftp://x\"", "https://"),
            ("server = \"https://me:secret@x\"", "no place for credentials"),
            ("[host.\"https://m\"]\ncapabilities = [\"pul\"]", "\"pul\""),
            ("[host.\"https://m\"]\nskip_verfy = true", "skip_verfy"),
        ] {
            let problem = parse(text, "x", Path::new("/")).unwrap_err();
            assert!(problem.contains(words) && !problem.contains("secret"), "{problem}");
        }
    }
}
