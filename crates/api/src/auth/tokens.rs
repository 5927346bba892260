//! Tokens of ServiceAccounts: JSON Web Tokens (RFC 7519), signed with ES256, bound to an object, and expiring.
//!
//! The claims are Kubernetes' (`pkg/serviceaccount/claims.go`). A token is valid only as long as the ServiceAccount and what
//! it is bound to exist with the same UIDs. Tokens that never expire (Secrets of type `kubernetes.io/service-account-token`)
//! are not issued. The algorithm is fixed: what a token says about it decides nothing but whether it is refused.

mod claims;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use crate::user::User;

use claims::{Claims, Private, Reference};
pub use keys::{KeyError, Keys};

/// The shortest life of a token that can be asked for (`MinTokenAgeSec`).
pub const MIN_LIFE: Duration = Duration::from_secs(600);
/// The life of a token when nothing is asked for.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(3600);
/// The longest life when nothing else is configured: a year. More is shortened, as by `--service-account-max-token-expiration`.
pub const MAX_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The issuer and audience of a node that is not told otherwise.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How far in the future a token's beginning may be: a clock that was set back must not lock everybody out at once.
const LEEWAY_SECONDS: i64 = 60;

/// Longer than any token of ours; what is longer is not looked at.
const LIMIT_BYTES: usize = 16 * 1024;

/// Issues and verifies tokens.
#[derive(Debug)]
pub struct Tokens {
    keys: Keys,
    issuer: String,
    max_life: Duration,
}

/// An object that has to exist for a token to be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound<'a> {
    /// The ServiceAccount itself.
    ServiceAccount {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A Pod that mounts the token.
    Pod {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A Secret.
    Secret {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A Node.
    Node {
        /// Its name.
        name: &'a str,
    },
}

/// An object by name and UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What a token is bound to beside its ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// Nothing.
    None,
    /// A Pod, and the Node it is on when that is known.
    Pod {
        /// The Pod.
        pod: Named,
        /// Its Node; told in the token, not verified.
        node: Option<Named>,
    },
    /// A Secret.
    Secret(Named),
    /// A Node.
    Node(Named),
}

/// A token to be issued: a TokenRequest that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The namespace of the ServiceAccount.
    pub namespace: String,
    /// The ServiceAccount.
    pub account: Named,
    /// For whom the token is; empty: for this API.
    pub audiences: Vec<String>,
    /// `spec.expirationSeconds`; none: an hour.
    pub expiration_seconds: Option<i64>,
    /// What it is bound to.
    pub binding: Binding,
}

/// A token that was issued.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The token, a secret.
    pub token: String,
    /// For whom it is.
    pub audiences: Vec<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A token that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    claims: Claims,
    /// Those of its audiences that were asked for.
    pub audiences: Vec<String>,
}

/// `spec.expirationSeconds` is out of bounds; the message is Kubernetes' for that field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LifeError {
    /// Too short.
    #[error("may not specify a duration less than 10 minutes")]
    Short,
    /// Too long to be a duration.
    #[error("may not specify a duration larger than 2^32 seconds")]
    Long,
}

/// A token could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// What was asked for.
    #[error("spec.expirationSeconds {0}")]
    Life(#[source] LifeError),
    /// Signing failed; the machine has no random bytes.
    #[error("signing a token failed")]
    Sign,
}

/// A token is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url with JSON in them.
    #[error("it is no JSON Web Token")]
    Malformed,
    /// Not ES256: `none` and all others are refused without a look at the signature.
    #[error("its algorithm is {0:?} and not ES256")]
    Algorithm(String),
    /// Signed with a key that is not ours, or not any more.
    #[error("its key is not known here")]
    Key,
    /// The signature does not fit.
    #[error("its signature is wrong")]
    Signature,
    /// Of another issuer.
    #[error("its issuer is {0:?}")]
    Issuer(String),
    /// For somebody else.
    #[error("it is for {0:?}")]
    Audience(Vec<String>),
    /// Its time is over.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// Its time has not begun.
    #[error("it is valid from {0}")]
    Early(Timestamp),
    /// The claims contradict each other.
    #[error("its subject is not its ServiceAccount")]
    Subject,
    /// What it is bound to is gone, or is another one of that name.
    #[error("the {kind} {name:?} it is bound to is gone")]
    Gone {
        /// The kind.
        kind: &'static str,
        /// The name.
        name: String,
    },
}

impl Tokens {
    /// Issues and verifies with these keys.
    pub fn new(keys: Keys, issuer: impl Into<String>, max_life: Duration) -> Self {
        Self { keys, issuer: issuer.into(), max_life }
    }

    /// Who issues: also the audience of this API.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Issues a token. That the ServiceAccount and the bound object exist is the caller's to check.
    ///
    /// # Errors
    /// For a life out of bounds.
    pub fn issue(&self, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError> {
        let life = life(request.expiration_seconds).map_err(IssueError::Life)?.min(self.max_life);
        let random = SystemRandom::new();
        let issued_at = now.as_second();
        let expires = issued_at.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
        let expires_at = Timestamp::from_second(expires).map_err(|_| IssueError::Life(LifeError::Long))?;
        let audiences = match request.audiences.as_slice() {
            [] => vec![self.issuer.clone()],
            audiences => audiences.to_vec(),
        };
        let claims = Claims {
            aud: audiences.clone(),
            exp: expires,
            iat: issued_at,
            iss: self.issuer.clone(),
            jti: uuid(&random).map_err(|_| IssueError::Sign)?,
            private: Private::of(request),
            nbf: issued_at,
            sub: subject(&request.namespace, &request.account.name),
        };
        let signing = self.keys.signing();
        let header = json!({"alg": "ES256", "kid": signing.id()});
        let part = |json: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(json);
        let claims = serde_json::to_vec(&claims).map_err(|_| IssueError::Sign)?;
        let message = format!("{}.{}", part(header.to_string().as_bytes()), part(&claims));
        let signature = signing.sign(message.as_bytes(), &random).map_err(|_| IssueError::Sign)?;
        Ok(Issued { token: format!("{message}.{}", part(&signature)), audiences, expires_at })
    }

    /// Verifies a token: signature, issuer, time, audience (one of those given; none given: this API), and that everything it is
    /// bound to is there with the same UID: `find` tells the UID of an object that exists.
    ///
    /// # Errors
    /// The first reason why it is not valid.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
        find: &dyn Fn(&Bound<'_>) -> Option<String>,
    ) -> Result<Verified, TokenError> {
        let claims = self.signed(token)?;
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer(claims.iss));
        }
        let at = |second| Timestamp::from_second(second).map_err(|_| TokenError::Malformed);
        if now.as_second() >= claims.exp {
            return Err(TokenError::Expired(at(claims.exp)?));
        }
        if now.as_second() + LEEWAY_SECONDS < claims.nbf {
            return Err(TokenError::Early(at(claims.nbf)?));
        }
        let ours = [self.issuer.clone()];
        let wanted = if audiences.is_empty() { &ours } else { audiences };
        let accepted: Vec<String> = wanted.iter().filter(|one| claims.aud.contains(one)).cloned().collect();
        if accepted.is_empty() {
            return Err(TokenError::Audience(claims.aud));
        }
        let Private { namespace, serviceaccount, .. } = &claims.private;
        if claims.sub != subject(namespace, &serviceaccount.name) {
            return Err(TokenError::Subject);
        }
        for (bound, uid) in claims.private.bound() {
            if find(&bound).as_deref() != Some(uid) {
                let (kind, name) = bound.kind_and_name();
                return Err(TokenError::Gone { kind, name: name.to_owned() });
            }
        }
        Ok(Verified { claims, audiences: accepted })
    }

    /// The claims of a token that one of our keys has signed.
    fn signed(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > LIMIT_BYTES {
            return Err(TokenError::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        let text = |name: &str| header[name].as_str().unwrap_or_default();
        if text("alg") != "ES256" {
            return Err(TokenError::Algorithm(text("alg").to_owned()));
        }
        // RFC 7515, 4.1.11: what has to be understood and is not makes the token invalid. We understand nothing more.
        if header.get("crit").is_some() {
            return Err(TokenError::Malformed);
        }
        let key = self.keys.by_id(text("kid")).ok_or(TokenError::Key)?;
        if !key.verify(message.as_bytes(), &decode(signature)?) {
            return Err(TokenError::Signature);
        }
        serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)
    }

    /// `/.well-known/openid-configuration`: how others find the keys.
    pub fn discovery(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// `/openid/v1/jwks`: the public keys (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({"keys": self.keys.iter().map(keys::Key::jwk).collect::<Vec<_>>()})
    }
}

/// The life that was asked for, within what may be asked for.
///
/// # Errors
/// When it is out of bounds.
pub fn life(expiration_seconds: Option<i64>) -> Result<Duration, LifeError> {
    let Some(seconds) = expiration_seconds else { return Ok(DEFAULT_LIFE) };
    let life = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    if life < MIN_LIFE {
        Err(LifeError::Short)
    } else if seconds > 1 << 32 {
        Err(LifeError::Long)
    } else {
        Ok(life)
    }
}

impl Verified {
    /// The user that the token stands for.
    pub fn user(&self) -> User {
        let Private { namespace, serviceaccount, .. } = &self.claims.private;
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut add = |key: &str, value: String| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        };
        add("credential-id", format!("JTI={}", self.claims.jti));
        if let Some(pod) = &self.claims.private.pod {
            add("pod-name", pod.name.clone());
            add("pod-uid", pod.uid.clone());
        }
        if let Some(node) = &self.claims.private.node {
            add("node-name", node.name.clone());
            add("node-uid", node.uid.clone());
        }
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let mut user = User::new(subject(namespace, &serviceaccount.name), &groups);
        user.uid.clone_from(&serviceaccount.uid);
        user.extra = extra;
        user
    }
}

impl std::fmt::Debug for Issued {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("audiences", &self.audiences)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Bound<'_> {
    fn kind_and_name(&self) -> (&'static str, &str) {
        match self {
            Bound::ServiceAccount { name, .. } => ("ServiceAccount", name),
            Bound::Pod { name, .. } => ("Pod", name),
            Bound::Secret { name, .. } => ("Secret", name),
            Bound::Node { name } => ("Node", name),
        }
    }
}

impl From<&Named> for Reference {
    fn from(named: &Named) -> Self {
        Reference { name: named.name.clone(), uid: named.uid.clone() }
    }
}

fn subject(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// A random UUID (RFC 9562, version 4).
fn uuid(random: &SystemRandom) -> Result<String, ring::error::Unspecified> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}
