//! The kubeconfig of the administrator: `DATA_DIR/kubeconfig`, with everything in it, for its owner alone.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

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
    let text = text(server, certificates.authority_pem(), "kubernetes-admin", &certificates.admin());
    if pem_file::read(path)?.as_deref() == Some(text.as_str()) {
        return Ok(());
    }
    pem_file::replace(path, &text)
}
