//! Kubeconfigs: that of the administrator, `DATA_DIR/kubeconfig`, and that of a node which joins, each with everything in it,
//! for its owner alone; and reading one.

use std::io;
use std::path::{Path, PathBuf};

use apimachinery::decode::{self, DecodeError, Format};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::certificates::{Certificates, Client};
use super::pem_file;

/// The text of a kubeconfig for one client of one server.
pub fn text(server: &str, authority_pem: &str, user: &str, client: &Client) -> String {
    let data = |pem: &str| BASE64_STANDARD.encode(pem);
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: podling\n  \
           cluster:\n    \
             server: {server}\n    \
             certificate-authority-data: {authority}\n\
         users:\n\
         - name: {user}\n  \
           user:\n    \
             client-certificate-data: {certificate}\n    \
             client-key-data: {key}\n\
         contexts:\n\
         - name: podling\n  \
           context:\n    \
             cluster: podling\n    \
             user: {user}\n\
         current-context: podling\n",
        authority = data(authority_pem),
        certificate = data(&client.certificate_pem),
        key = data(&client.key_pem),
    )
}

/// Writes the administrator's, unless it is there as it is to be.
///
/// # Errors
/// What the file system said.
pub fn ensure_admin(path: &Path, server: &str, certificates: &Certificates) -> io::Result<()> {
    ensure(path, &text(server, certificates.authority_pem(), "kubernetes-admin", &certificates.admin()))
}

/// Writes that of the node, to be taken to where it runs.
///
/// # Errors
/// What the file system said.
pub fn ensure_node(path: &Path, server: &str, certificates: &Certificates) -> io::Result<()> {
    ensure(path, &text(server, certificates.authority_pem(), "node", &certificates.node()))
}

fn ensure(path: &Path, text: &str) -> io::Result<()> {
    if pem_file::read(path)?.as_deref() == Some(text) {
        return Ok(());
    }
    pem_file::replace(path, text)
}

/// What a kubeconfig's current context says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// `https://HOST:PORT`.
    pub server: String,
    /// Who has signed the server's certificate.
    pub authority_pem: String,
    /// As whom.
    pub client: Client,
}

/// A kubeconfig that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// It, or a file that it names.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No YAML.
    #[error("{} is no kubeconfig", path.display())]
    Decode {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// Something is not there.
    #[error("{} has no {what} for its current context", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
}

/// Reads a kubeconfig. Its user has a client certificate, as a node has.
///
/// # Errors
/// When it cannot be read, or does not say all that is needed.
pub fn read(path: &Path) -> Result<Context, KubeconfigError> {
    let reading = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| KubeconfigError::Read { path, source }
    };
    let bytes = std::fs::read(path).map_err(reading(path))?;
    let config = decode::decode(&bytes, Format::Yaml)
        .map_err(|source| KubeconfigError::Decode { path: path.to_owned(), source })?
        .value;
    let missing = |what| KubeconfigError::Missing { path: path.to_owned(), what };
    let named = |list: &str, field: &str, name: &str| {
        let entries = config[list].as_array().into_iter().flatten();
        entries.filter(|entry| entry["name"] == name).map(|entry| entry[field].clone()).next()
    };
    let current = config["current-context"].as_str().ok_or_else(|| missing("current-context"))?;
    let context = named("contexts", "context", current).ok_or_else(|| missing("context"))?;
    let entry = |list: &str, field: &'static str| {
        let name = context[field].as_str().ok_or_else(|| missing(field))?;
        named(list, field, name).ok_or_else(|| missing(field))
    };
    let (cluster, user) = (entry("clusters", "cluster")?, entry("users", "user")?);
    // Each is there itself or in a file, whose path counts from the kubeconfig's folder.
    let pem = |object: &Value, field: &'static str| {
        if let Some(data) = object[format!("{field}-data")].as_str() {
            let bytes = BASE64_STANDARD.decode(data).map_err(|_| missing(field))?;
            return String::from_utf8(bytes).map_err(|_| missing(field));
        }
        let file = object[field].as_str().ok_or_else(|| missing(field))?;
        let file = path.parent().unwrap_or(path).join(file);
        std::fs::read_to_string(&file).map_err(reading(&file))
    };
    Ok(Context {
        server: cluster["server"].as_str().ok_or_else(|| missing("server"))?.to_owned(),
        authority_pem: pem(&cluster, "certificate-authority")?,
        client: Client {
            certificate_pem: pem(&user, "client-certificate")?,
            key_pem: pem(&user, "client-key")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let client = Client { certificate_pem: "certificate".to_owned(), key_pem: "key".to_owned() };
        Context { server: "https://h:1".to_owned(), authority_pem: "authority".to_owned(), client }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let context = context();
        std::fs::write(&path, text(&context.server, &context.authority_pem, "node", &context.client))
            .unwrap();
        assert_eq!(read(&path).unwrap(), context);
    }

    #[test]
    fn certificates_may_be_in_files_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let config = "clusters: [{name: a, cluster: {server: 'https://h:1', certificate-authority: ca}}]\n\
             users: [{name: b, user: {client-certificate: cert, client-key: key}}]\n\
             contexts: [{name: c, context: {cluster: a, user: b}}]\ncurrent-context: c\n";
        std::fs::write(&path, config).unwrap();
        assert!(matches!(read(&path), Err(KubeconfigError::Read { path, .. }) if path.ends_with("ca")));
        for (file, content) in [("ca", "authority"), ("cert", "certificate"), ("key", "key")] {
            std::fs::write(folder.path().join(file), content).unwrap();
        }
        assert_eq!(read(&path).unwrap(), context());
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, "contexts: [{name: c, context: {cluster: a, user: b}}]\ncurrent-context: c\n")
            .unwrap();
        assert!(matches!(read(&path), Err(KubeconfigError::Missing { what: "cluster", .. })));
        std::fs::write(&path, "a: [").unwrap();
        assert!(matches!(read(&path), Err(KubeconfigError::Decode { .. })));
    }
}
