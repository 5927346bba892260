//! The certificates as rustls wants them.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

use super::Client;
use super::authority::Authority;
use super::files::Pair;

/// What the server shows now; a renewed certificate takes its place without a restart.
#[derive(Debug)]
pub(super) struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    pub(super) fn new(pair: &Pair) -> Result<Self, Error> {
        Ok(Self(RwLock::new(Arc::new(certified(pair)?))))
    }

    pub(super) fn replace(&self, pair: &Pair) -> Result<(), Error> {
        let fresh = Arc::new(certified(pair)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(pair: &Pair) -> Result<CertifiedKey, Error> {
    let key =
        PrivateKeyDer::try_from(pair.key.serialize_der()).map_err(|text| Error::General(text.to_owned()))?;
    let key = default_provider().key_provider.load_private_key(key)?;
    Ok(CertifiedKey::new(vec![pair.certificate.clone()], key))
}

pub(super) fn server_config(authority: &Authority, shown: Arc<Shown>) -> Result<ServerConfig, Error> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.pair.certificate.clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// For an upgrade of the connection only HTTP/1.1 will do.
pub(super) fn client_config(authority: &Authority, client: &Pair) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.pair.certificate.clone())?;
    let key = PrivateKeyDer::try_from(client.key.serialize_der()).map_err(general)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![client.certificate.clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Who has no certificate of the authority is not even answered.
pub(super) fn node_server_config(authority_pem: &str, node: &Client) -> Result<ServerConfig, Error> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        roots.add(certificate.map_err(general)?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(general)?;
    let chain = CertificateDer::pem_slice_iter(node.certificate_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(general)?;
    let key = PrivateKeyDer::from_pem_slice(node.key_pem.as_bytes()).map_err(general)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn general(error: impl std::fmt::Display) -> Error {
    Error::General(error.to_string())
}
