//! The API server that a kubeconfig names, as the user that it names.

use api::auth::kubeconfig::Context;
use client::{Credentials, Remote, RemoteConfig, RemoteError};

/// Prepares for it; nothing is connected yet.
pub(crate) fn server_of(context: &Context) -> Result<Remote, RemoteError> {
    Remote::new(RemoteConfig {
        server: context.server.clone(),
        authority_pem: context.authority_pem.clone().into_bytes(),
        credentials: Credentials::Certificate {
            certificate_pem: context.client.certificate_pem.clone().into_bytes(),
            key_pem: context.client.key_pem.clone().into_bytes(),
        },
    })
}
