//! TLS towards registries: whom to believe, and what to show.
//!
//! A self-signed registry's own certificate may be named as its authority, as Go's programs allow: rustls alone refuses
//! it for being both. It is then trusted for what it is, byte by byte, and for its names.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::RegistryError;

/// Whose certificates are taken for a server's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trust<'a> {
    /// Those of whom this machine trusts, and of these files.
    Machine(&'a [PathBuf]),
    /// Anybody's.
    Anybody,
}

/// Verifies servers as `trust` says; shows the certificate of `identity`, if there is one.
pub(super) fn client_config(
    provider: &Arc<CryptoProvider>,
    trust: Trust<'_>,
    identity: &[PathBuf],
) -> Result<ClientConfig, RegistryError> {
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Machine(authorities) => Arc::new(AlsoThese::new(provider, authorities)?),
        Trust::Anybody => Arc::new(Anybody(Arc::clone(provider))),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| configuration(identity.first(), error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
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
    provider: Arc<CryptoProvider>,
    /// Made for the first certificate: reading all that a machine trusts takes longer than asking a registry without TLS
    /// whether a tag has moved, and a machine that trusts nobody may ask such a one.
    machine: OnceLock<Result<Verifier, Error>>,
}

impl AlsoThese {
    fn new(provider: &Arc<CryptoProvider>, authorities: &[PathBuf]) -> Result<Self, RegistryError> {
        let mut named = Vec::new();
        for file in authorities {
            named.extend(certificates(file)?);
        }
        let these = Self { named, provider: Arc::clone(provider), machine: OnceLock::new() };
        // A file that cannot be used is told before anything is sent.
        if !authorities.is_empty() {
            these.machine().map_err(|error| configuration(authorities.first(), error.to_string()))?;
        }
        Ok(these)
    }

    fn machine(&self) -> Result<&Verifier, Error> {
        let make = || Verifier::new_with_extra_roots(self.named.iter().cloned(), Arc::clone(&self.provider));
        self.machine.get_or_init(make).as_ref().map_err(Error::clone)
    }
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
        self.machine()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `skip_verify`: any certificate will do, whoever's and for whatever name.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_trusts_is_not_read_before_a_server_shows_a_certificate() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let these = AlsoThese::new(&provider, &[]).unwrap();
        assert!(!these.supported_verify_schemes().is_empty());
        assert!(these.machine.get().is_none());
        let (stranger, name) = (CertificateDer::from(b"no certificate".to_vec()), "r.example");
        let name = ServerName::try_from(name).unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        assert!(these.verify_server_cert(&stranger, &[], &name, &[], now).is_err());
        assert!(these.machine.get().is_some());
    }
}
