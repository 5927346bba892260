//! The certificates as rustls wants them.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore, ServerConfig};

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
