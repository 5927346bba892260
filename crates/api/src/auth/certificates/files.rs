//! A certificate and its key in one file, read and checked.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{CertificateError, Client};
use crate::auth::pem_file;

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) path: PathBuf,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) certificate_pem: String,
    pub(super) key: rcgen::KeyPair,
    pub(super) begins_at: Timestamp,
    pub(super) ends_at: Timestamp,
    /// CN and O of the subject.
    pub(super) subject: (String, String),
    /// Names and addresses.
    pub(super) names: Vec<String>,
}

impl Pair {
    /// Reads a file; none when it is not there.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, CertificateError> {
        let text = pem_file::read(path).map_err(|source| CertificateError::Io {
            attempt: "reading",
            path: path.to_owned(),
            source,
        })?;
        text.map(|text| Self::parse(path, &text)).transpose()
    }

    /// Writes a file, and reads what was written.
    pub(super) fn write(
        path: &Path,
        certificate: &rcgen::Certificate,
        key: &rcgen::KeyPair,
    ) -> Result<Self, CertificateError> {
        let text = format!("{}{}", certificate.pem(), key.serialize_pem());
        pem_file::replace(path, &text).map_err(|source| CertificateError::Io {
            attempt: "writing",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CertificateError> {
        let damaged = |damage| CertificateError::Damaged { path: path.to_owned(), damage };
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|_| damaged("it has no certificate"))?
            .into_owned();
        let (certificate_pem, key_pem) =
            split(text).ok_or_else(|| damaged("it has no certificate and key, one after the other"))?;
        let key = rcgen::KeyPair::from_pem(key_pem).map_err(|_| damaged("its key cannot be read"))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| damaged("its certificate cannot be read"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != rcgen::PublicKeyData::der_bytes(&key) {
            return Err(damaged("its key is not the certificate's"));
        }
        let at = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| damaged("its time cannot be read"))
        };
        let validity = parsed.validity();
        let (begins_at, ends_at) = (at(validity.not_before)?, at(validity.not_after)?);
        let subject = parsed.subject();
        let first = |value: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            value.and_then(|value| value.as_str().ok()).unwrap_or_default().to_owned()
        };
        let subject = (first(subject.iter_common_name().next()), first(subject.iter_organization().next()));
        let names = names(&parsed);
        Ok(Self {
            path: path.to_owned(),
            certificate_pem: certificate_pem.to_owned(),
            key,
            begins_at,
            ends_at,
            subject,
            names,
            certificate,
        })
    }

    /// When it shall be made anew: after two thirds of its life.
    pub(super) fn due_at(&self) -> Timestamp {
        let life = self.ends_at.duration_since(self.begins_at);
        let two_thirds = SignedDuration::from_secs(life.as_secs() / 3 * 2);
        self.begins_at.checked_add(two_thirds).unwrap_or(self.ends_at)
    }

    pub(super) fn client(&self) -> Client {
        Client { certificate_pem: self.certificate_pem.clone(), key_pem: self.key.serialize_pem() }
    }
}

/// Certificate and key, as they were put one after the other.
fn split(text: &str) -> Option<(&str, &str)> {
    const END: &str = "-----END CERTIFICATE-----";
    let end = text.find(END)? + END.len();
    let (certificate, key) = text.split_at(end);
    let key = key.trim_start();
    key.starts_with("-----BEGIN ").then(|| (text.get(..certificate.len() + 1).unwrap_or(certificate), key))
}

/// The names that a certificate is for, addresses as they are written.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

impl std::fmt::Debug for Pair {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("path", &self.path)
            .field("ends_at", &self.ends_at)
            .finish_non_exhaustive()
    }
}
