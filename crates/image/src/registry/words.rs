//! Why a request came to nothing, in words: HTTP clients wrap the system's word three times, and rustls speaks to developers.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use super::answer::printable;

/// The cause that says most.
pub(super) fn cause(error: &reqwest::Error) -> String {
    if let Some(rustls::Error::InvalidCertificate(problem)) = tls_error(error) {
        return certificate(problem);
    }
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    printable(&cause.to_string())
}

/// What to do about a handshake that failed: registries of one's own mostly have no TLS, or sign for themselves.
pub(super) fn tls_hint(error: &reqwest::Error) -> &'static str {
    use CertificateError as E;
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(
            E::Expired
            | E::ExpiredContext { .. }
            | E::NotValidYet
            | E::NotValidYetContext { .. }
            | E::NotValidForName
            | E::NotValidForNameContext { .. },
        )) => "",
        Some(rustls::Error::InvalidCertificate(_)) => {
            "; to trust it, name its certificate as `ca` in HOST/hosts.toml (docs/registries.md)"
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            "; if it has no TLS, say server = \"http://...\" in HOST/hosts.toml (docs/registries.md)"
        }
        _ => "",
    }
}

/// That it may have been a proxy that could not be reached; `is_set` looks into the environment.
pub(super) fn proxy_hint(scheme: &str, is_set: impl Fn(&str) -> bool) -> String {
    let own = if scheme == "https" { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let set = own.into_iter().chain(["ALL_PROXY", "all_proxy"]).find(|name| is_set(name));
    set.map_or_else(String::new, |name| {
        format!("; {name} is set, so it is the proxy that was asked, unless NO_PROXY names this host")
    })
}

fn certificate(problem: &CertificateError) -> String {
    use CertificateError as E;
    match problem {
        E::Expired | E::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => "its certificate is not valid yet".to_owned(),
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "its certificate is for another name".to_owned()
        }
        E::UnknownIssuer => "its certificate is signed by nobody whom this machine trusts".to_owned(),
        // A certificate that signs for itself is one of these.
        E::Other(_) => "its certificate is not one that this machine trusts".to_owned(),
        other => printable(&format!("its certificate cannot be used: {other}")),
    }
}

/// What TLS found wrong, if it was TLS.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An io::Error tells the source of what it wraps, not what it wraps.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_by_the_variable_that_it_comes_from() {
        let hint = |scheme, set: &'static [&str]| proxy_hint(scheme, |name| set.contains(&name));
        assert_eq!(hint("https", &["HTTP_PROXY", "NO_PROXY"]), "");
        assert!(hint("https", &["https_proxy", "ALL_PROXY"]).starts_with("; https_proxy is set"));
        assert!(hint("http", &["HTTPS_PROXY", "all_proxy"]).starts_with("; all_proxy is set"));
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_to_people() {
        assert_eq!(certificate(&CertificateError::Expired), "its certificate has expired");
        assert!(certificate(&CertificateError::UnknownIssuer).contains("nobody whom this machine trusts"));
        assert!(certificate(&CertificateError::BadEncoding).starts_with("its certificate cannot be used: "));
    }
}
