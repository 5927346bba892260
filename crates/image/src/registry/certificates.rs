//! TLS towards a registry whose certificates stand in a file.
//!
//! A self-signed registry's own certificate may be named as its authority, as Go's programs allow: rustls alone refuses
//! it for being both. It is then trusted for what it is, byte by byte, and for its names.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::RegistryError;

/// Trusts what this machine trusts and the certificates of `authorities`; shows the certificate of `identity`.
pub(super) fn client_config(
    provider: &Arc<CryptoProvider>,
    authorities: &[PathBuf],
    identity: &[PathBuf],
) -> Result<ClientConfig, RegistryError> {
    let mut named = Vec::new();
    for file in authorities {
        named.extend(certificates(file)?);
    }
    let unusable = |error: Error| configuration(authorities.first(), error.to_string());
    let inner =
        Verifier::new_with_extra_roots(named.iter().cloned(), Arc::clone(provider)).map_err(unusable)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AlsoThese { named, inner }));
    if identity.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let unusable = |problem: String| configuration(identity.first(), problem);
    let mut chain = Vec::new();
    let mut key = None;
    for file in identity {
        chain.extend(certificates(file)?);
        key = key.or(PrivateKeyDer::from_pem_file(file).ok());
    }
    let key =
        key.ok_or_else(|| unusable("a private key in PEM form is expected in it or beside it".to_owned()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable(error.to_string()))
}

/// The certificates of a PEM file, of which there may be none.
fn certificates(file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let bytes = fs::read(file).map_err(|error| configuration(Some(file), error.to_string()))?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    parsed.map_err(|_| configuration(Some(file), "it is no certificate in PEM form".to_owned()))
}

fn configuration(file: Option<&PathBuf>, problem: String) -> RegistryError {
    RegistryError::Configuration { file: file.cloned().unwrap_or_default(), problem }
}

/// The machine's verifier, and certificates that are trusted as they are.
#[derive(Debug)]
struct AlsoThese {
    named: Vec<CertificateDer<'static>>,
    inner: Verifier,
}

impl ServerCertVerifier for AlsoThese {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.named.iter().any(|named| named == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
