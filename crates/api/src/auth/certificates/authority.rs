//! The authority: makes certificates, and knows its own.

use std::path::Path;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::Pair;
use super::{AUTHORITY_LIFE, BACKDATED, CertificateError, LIFE};

/// What the authority is called. Kubernetes' tools call theirs `kubernetes`.
const NAME: &str = "podling";

/// A certificate and key that sign others.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) pair: Pair,
}

/// What a certificate is to say.
struct Wanted<'a> {
    common_name: &'a str,
    organization: &'a str,
    names: &'a [String],
    usages: &'a [ExtendedKeyUsagePurpose],
}

impl Authority {
    /// Reads `ca.pem`, and makes it when nothing is there at all.
    pub(super) fn ensure(directory: &Path, now: Timestamp) -> Result<Self, CertificateError> {
        let path = directory.join("ca.pem");
        if let Some(pair) = Pair::read(&path)? {
            if now >= pair.ends_at {
                return Err(CertificateError::Expired { path, at: pair.ends_at });
            }
            if now >= pair.due_at() {
                tracing::warn!(path = %path.display(), ends_at = %pair.ends_at, "the authority is old; plan for a new one");
            }
            return Ok(Self { pair });
        }
        if ["apiserver.pem", "admin.pem", "node.pem", "node-client.pem"]
            .iter()
            .any(|name| directory.join(name).exists())
        {
            return Err(CertificateError::NoAuthority { path });
        }
        let make = |source| CertificateError::Make { path: path.clone(), source };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = params(NAME, "", now, AUTHORITY_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Self { pair: Pair::write(&path, &certificate, &key)? })
    }

    /// The server's certificate; made anew when it is due or does not have all names.
    pub(super) fn ensure_server(
        &self,
        path: &Path,
        names: &[String],
        now: Timestamp,
    ) -> Result<Pair, CertificateError> {
        let usages = &[ExtendedKeyUsagePurpose::ServerAuth];
        self.ensure_pair(
            path,
            &Wanted { common_name: "kube-apiserver", organization: "", names, usages },
            now,
        )
    }

    /// A client's certificate; made anew when it is due or for another name.
    pub(super) fn ensure_client(
        &self,
        path: &Path,
        common_name: &str,
        organization: &str,
        now: Timestamp,
    ) -> Result<Pair, CertificateError> {
        let usages = &[ExtendedKeyUsagePurpose::ClientAuth];
        self.ensure_pair(path, &Wanted { common_name, organization, names: &[], usages }, now)
    }

    /// A node's certificate, both as a client and where it serves logs and exec itself, under its name; made anew as that of
    /// a client.
    pub(super) fn ensure_node(
        &self,
        path: &Path,
        node: &str,
        organization: &str,
        now: Timestamp,
    ) -> Result<Pair, CertificateError> {
        let (common_name, names) = (format!("system:node:{node}"), [node.to_owned()]);
        let usages = &[ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let wanted = Wanted { common_name: &common_name, organization, names: &names, usages };
        self.ensure_pair(path, &wanted, now)
    }

    fn ensure_pair(
        &self,
        path: &Path,
        wanted: &Wanted<'_>,
        now: Timestamp,
    ) -> Result<Pair, CertificateError> {
        if let Some(pair) = Pair::read(path)? {
            if !self.has_signed(&pair) {
                return Err(CertificateError::Stranger { path: path.to_owned() });
            }
            let subject = (pair.subject.0.as_str(), pair.subject.1.as_str());
            let fits = subject == (wanted.common_name, wanted.organization)
                && wanted.names.iter().all(|name| pair.names.contains(name));
            if fits && now < pair.due_at() {
                return Ok(pair);
            }
            tracing::info!(path = %path.display(), ends_at = %pair.ends_at, "making a certificate anew");
        }
        self.make(path, wanted, now)
    }

    fn make(&self, path: &Path, wanted: &Wanted<'_>, now: Timestamp) -> Result<Pair, CertificateError> {
        let make = |source| CertificateError::Make { path: path.to_owned(), source };
        let mut params = CertificateParams::new(wanted.names).map_err(make)?;
        let named = params_of(wanted, now);
        params.distinguished_name = named.distinguished_name;
        (params.not_before, params.not_after) = (named.not_before, named.not_after);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = wanted.usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.pair.certificate, &self.pair.key).map_err(make)?;
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.signed_by(&key, &issuer).map_err(make)?;
        Pair::write(path, &certificate, &key)
    }

    fn has_signed(&self, pair: &Pair) -> bool {
        let Ok((_, authority)) = X509Certificate::from_der(&self.pair.certificate) else { return false };
        let Ok((_, certificate)) = X509Certificate::from_der(&pair.certificate) else { return false };
        certificate.issuer() == authority.subject()
            && certificate.verify_signature(Some(authority.public_key())).is_ok()
    }
}

fn params_of(wanted: &Wanted<'_>, now: Timestamp) -> CertificateParams {
    params(wanted.common_name, wanted.organization, now, LIFE)
}

fn params(
    common_name: &str,
    organization: &str,
    now: Timestamp,
    life: jiff::SignedDuration,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    if !organization.is_empty() {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |timestamp: Timestamp| {
        let seconds = u64::try_from(timestamp.as_second()).unwrap_or_default();
        epoch + std::time::Duration::from_secs(seconds)
    };
    params.not_before = at(now.checked_sub(BACKDATED).unwrap_or(now));
    params.not_after = at(now.checked_add(life).unwrap_or(Timestamp::MAX));
    params
}
