//! Who sends a request: what TLS or a token says. Who is neither gets 401; nobody is anonymous.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::tokens::{Bound, TokenError, Tokens};
use crate::user::User;

/// Why nobody is known. For the log; the client is told only "Unauthorized", as by Kubernetes.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// Neither a certificate nor a token.
    #[error("the request has neither a client certificate nor a bearer token")]
    Nothing,
    /// The certificate cannot be read.
    #[error("the client certificate cannot be read")]
    Unreadable,
    /// The certificate names nobody.
    #[error("the client certificate has no common name")]
    Nameless,
    /// The token is not valid.
    #[error("the token is not valid")]
    Token(#[source] TokenError),
}

/// Who sends a request. A certificate counts before a token, as with kube-apiserver. TLS has found the certificate genuine.
///
/// # Errors
/// When it is nobody who is known: 401.
pub fn of_request(
    certificate: Option<&[u8]>,
    headers: &HeaderMap,
    tokens: &Tokens,
    now: Timestamp,
    find: &dyn Fn(&Bound<'_>) -> Option<String>,
) -> Result<User, Unknown> {
    if let Some(certificate) = certificate {
        return of_certificate(certificate);
    }
    let token = bearer_token(headers).ok_or(Unknown::Nothing)?;
    tokens.verify(token, &[], now, find).map(|token| token.user()).map_err(Unknown::Token)
}

/// The user that a certificate names: CN is the user, each O a group.
///
/// # Errors
/// When it cannot be read or names nobody.
pub fn of_certificate(der: &[u8]) -> Result<User, Unknown> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Unknown::Unreadable)?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Err(Unknown::Nameless);
    }
    let groups: Vec<&str> = subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    Ok(User::new(name, &groups))
}

/// The token of `Authorization: Bearer ...`; the scheme in any case, as RFC 9110 says.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found_in_its_header_only() {
        let token = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            bearer_token(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("bearer  abc ").as_deref(), Some("abc"));
        for nothing in ["", "Bearer", "Bearer ", "Basic abc", "Bearerabc"] {
            assert_eq!(token(nothing), None, "{nothing:?}");
        }
        assert_eq!(bearer_token(&HeaderMap::new()), None);
    }

    #[test]
    fn a_certificate_that_is_none_names_nobody() {
        assert!(matches!(of_certificate(b"x"), Err(Unknown::Unreadable)));
        assert!(matches!(of_certificate(b""), Err(Unknown::Unreadable)));
    }
}
