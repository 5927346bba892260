//! One endpoint, spoken to: requests, redirects, and proving who we are.
//!
//! Credentials go to the endpoint and to the token server that it names, and nowhere else: redirects are followed here
//! and not by the HTTP client, and what they lead to is a stranger.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::answer::{RegistryError, refused};
use super::certificates::{self, Trust};
use super::challenge::{self, Challenge};
use super::credentials::{Credential, Keyring};
use super::hosts::{self, Endpoint};
use super::words;

const REDIRECTS_MAX: usize = 5;
/// Tokens and error messages; manifests have their own limit.
const WORDS_MAX_BYTES: usize = 1 << 20;

/// A small document may take so many times what may pass before the next of its bytes.
const SMALL_BODY_READS: u32 = 3;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) read: Duration,
}

pub(crate) struct Connection {
    pub(crate) endpoint: Endpoint,
    client: Client,
    repository: String,
    /// The registry's name in references, which a mirror of several is told.
    namespace: String,
    keyring: Arc<Keyring>,
    timeouts: Timeouts,
    access: Mutex<Access>,
}

/// What has been shown to the endpoint, and what else could be.
#[derive(Default)]
struct Access {
    /// Looked up when the endpoint first asks; those that failed are taken out.
    candidates: Option<Vec<Credential>>,
    /// There never was a candidate.
    knows_none: bool,
    challenges: Vec<Challenge>,
    shown: Option<Shown>,
    /// Counts what was shown: who was refused with an older one only has to ask again.
    generation: u64,
    /// The endpoint accepted what is shown at least once: a later 401 means that it has expired.
    has_worked: bool,
}

#[derive(Clone)]
enum Shown {
    Basic { user: String, password: String },
    Bearer(String),
}

impl Connection {
    pub(crate) fn new(
        endpoint: Endpoint,
        namespace: &str,
        repository: &str,
        keyring: Arc<Keyring>,
        timeouts: Timeouts,
    ) -> Result<Self, RegistryError> {
        let client = client(&endpoint, timeouts)?;
        let (namespace, repository) = (namespace.to_owned(), repository.to_owned());
        Ok(Self { endpoint, client, repository, namespace, keyring, timeouts, access: Mutex::default() })
    }

    fn host(&self) -> String {
        self.endpoint.host()
    }

    /// Asks for `path` below the repository, from byte `offset` on. An answer that is no success is an error.
    pub(crate) async fn get(&self, path: &str, accept: &str, offset: u64) -> Result<Response, RegistryError> {
        let mut url = self.endpoint.base.clone();
        url.set_path(&format!("{}{}/{path}", url.path(), self.repository));
        if !self.endpoint.is_origin {
            url.query_pairs_mut().append_pair("ns", &self.namespace);
        }
        loop {
            let (shown, generation) = {
                let access = self.access.lock().await;
                (access.shown.clone(), access.generation)
            };
            let response = self.follow(&url, accept, offset, shown.as_ref()).await?;
            let is_ours = is_same_origin(response.url(), &url);
            let status = response.status();
            if status.is_success() {
                if shown.is_some() {
                    self.access.lock().await.has_worked = true;
                }
                return Ok(response);
            }
            let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            let challenges = challenges(&response);
            let answer = self.refusal(response).await;
            if !is_ours || !is_refusal {
                return Err(answer);
            }
            let refusal = match self.improve(challenges, generation, &answer).await {
                Ok(true) => continue,
                Ok(false) => answer,
                Err(error) => error,
            };
            let knows_none = self.access.lock().await.knows_none;
            return Err(if knows_none { refusal.told_to_a_stranger() } else { refusal });
        }
    }

    /// The credential by which the endpoint has let us in. None: it asked for nothing, or gave strangers a token.
    pub(crate) async fn accepted(&self) -> Option<Credential> {
        let access = self.access.lock().await;
        // What is shown was made of the first candidate that is left.
        let has_opened = access.shown.is_some() && access.has_worked;
        access.candidates.as_ref().filter(|_| has_opened)?.first().cloned()
    }

    async fn follow(
        &self,
        first: &Url,
        accept: &str,
        offset: u64,
        shown: Option<&Shown>,
    ) -> Result<Response, RegistryError> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.client.request(Method::GET, url.clone()).header(ACCEPT, accept);
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            if is_same_origin(&url, first) {
                request = self.own_headers(request, shown);
            }
            let response = request.send().await.map_err(|error| self.failed(&error, String::new()))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = location.and_then(|location| url.join(location).ok());
            url = target.filter(|target| matches!(target.scheme(), "http" | "https")).ok_or_else(|| {
                RegistryError::Nonsense {
                    host: self.host(),
                    what: "a redirect that leads nowhere".to_owned(),
                }
            })?;
        }
        Err(RegistryError::Nonsense {
            host: self.host(),
            what: format!("more than {REDIRECTS_MAX} redirects"),
        })
    }

    fn own_headers(&self, mut request: RequestBuilder, shown: Option<&Shown>) -> RequestBuilder {
        for (name, value) in &self.endpoint.headers {
            request = request.header(name, value);
        }
        match shown {
            Some(Shown::Basic { user, password }) => request.basic_auth(user, Some(password)),
            Some(Shown::Bearer(token)) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn refusal(&self, mut response: Response) -> RegistryError {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let host = response.url().host_str().unwrap_or_default().to_owned();
        let host = if is_same_origin(response.url(), &self.endpoint.base) { self.host() } else { host };
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(&chunk);
                if body.len() > WORDS_MAX_BYTES {
                    break;
                }
            }
        };
        // What is there of a message that breaks off, or never ends, is better than nothing.
        let _ = tokio::time::timeout(self.timeouts.read, read).await;
        let is_plain = response.url().scheme() == "http";
        refused(&host, status, retry_after.as_deref(), &body, is_plain)
    }

    /// After a refusal: gets the next better thing to show. `false`: there is nothing else.
    async fn improve(
        &self,
        challenges: Vec<Challenge>,
        generation: u64,
        answer: &RegistryError,
    ) -> Result<bool, RegistryError> {
        let mut access = self.access.lock().await;
        if access.generation != generation {
            return Ok(true);
        }
        if !challenges.is_empty() {
            access.challenges = challenges;
        }
        let mut candidates = match access.candidates.take() {
            Some(candidates) => candidates,
            None => {
                let candidates = self.lookup().await?;
                access.knows_none = candidates.is_empty();
                candidates
            }
        };
        let was_shown = access.shown.is_some();
        if was_shown && !access.has_worked {
            // It was refused at once, so it is the wrong one.
            if candidates.is_empty() {
                access.candidates = Some(candidates);
                return Ok(false);
            }
            candidates.remove(0);
            if candidates.is_empty() {
                access.candidates = Some(candidates);
                return Ok(false);
            }
        }
        let result = self.next_shown(&access.challenges, &mut candidates, answer).await;
        access.candidates = Some(candidates);
        access.has_worked = false;
        access.generation += 1;
        let shown = result?;
        access.shown.clone_from(&shown);
        Ok(shown.is_some())
    }

    async fn lookup(&self) -> Result<Vec<Credential>, RegistryError> {
        // What is kept for a registry is for that registry, not for whoever hosts.toml puts in its place.
        let is_registry = hosts::is_default_server(&self.endpoint, &self.namespace);
        let host = if is_registry { self.namespace.clone() } else { self.host() };
        Ok(self.keyring.lookup(&host, &self.repository).await?)
    }

    /// What to show for the first of the candidates that leads anywhere; those that do not are taken out.
    async fn next_shown(
        &self,
        challenges: &[Challenge],
        candidates: &mut Vec<Credential>,
        answer: &RegistryError,
    ) -> Result<Option<Shown>, RegistryError> {
        if candidates.is_empty() {
            return match challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. })) {
                Some(bearer) => self.token(bearer, None).await.map(Some),
                None if challenges.contains(&Challenge::Basic) => Err(self.no_credentials()),
                None => Ok(None),
            };
        }
        let mut refusal = answer.clone();
        while let Some(credential) = candidates.first() {
            match self.show(challenges, credential).await {
                Ok(Some(shown)) => return Ok(Some(shown)),
                Ok(None) => {}
                Err(error) if matches!(error.status(), Some(400 | 401 | 403)) => refusal = error,
                Err(error) => return Err(error),
            }
            candidates.remove(0);
        }
        Err(refusal)
    }

    async fn show(
        &self,
        challenges: &[Challenge],
        credential: &Credential,
    ) -> Result<Option<Shown>, RegistryError> {
        if let Credential::Token(token) = credential {
            return Ok(Some(Shown::Bearer(token.clone())));
        }
        for challenge in challenges {
            match (challenge, credential) {
                (Challenge::Bearer { .. }, _) => {
                    return self.token(challenge, Some(credential)).await.map(Some);
                }
                (Challenge::Basic, Credential::Password { user, password }) => {
                    return Ok(Some(Shown::Basic { user: user.clone(), password: password.clone() }));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn no_credentials(&self) -> RegistryError {
        RegistryError::NoCredentials { host: self.host() }
    }

    /// Fetches a token (distribution's spec/auth/token.md and oauth.md).
    async fn token(
        &self,
        challenge: &Challenge,
        credential: Option<&Credential>,
    ) -> Result<Shown, RegistryError> {
        let Challenge::Bearer { realm, service, scope } = challenge else {
            return Err(self.no_credentials());
        };
        let nonsense = |what: &str| RegistryError::Nonsense { host: self.host(), what: what.to_owned() };
        let mut url = Url::parse(realm).map_err(|_| nonsense("a token server's address that is no URL"))?;
        let is_downgrade = self.endpoint.base.scheme() == "https" && url.scheme() != "https";
        if is_downgrade && credential.is_some() {
            return Err(nonsense("a token server's address without TLS: credentials are not sent there"));
        }
        let scope = scope.clone().unwrap_or_else(|| format!("repository:{}:pull", self.repository));
        let mut asked = vec![("scope", scope.as_str())];
        asked.extend(service.as_deref().map(|service| ("service", service)));
        let request = match credential {
            Some(Credential::Identity(token)) => {
                asked.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "podling"),
                    ("refresh_token", token),
                ]);
                let mut form = Url::parse("form:").map_err(|_| nonsense("no form"))?;
                form.query_pairs_mut().extend_pairs(asked);
                let body = form.query().unwrap_or_default().to_owned();
                self.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
            }
            other => {
                url.query_pairs_mut().extend_pairs(asked);
                let request = self.client.get(url);
                match other {
                    Some(Credential::Password { user, password }) => request.basic_auth(user, Some(password)),
                    _ => request,
                }
            }
        };
        let mut response = request.send().await.map_err(|error| self.failed(&error, String::new()))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let body = self.body(&mut response, WORDS_MAX_BYTES as u64).await?;
        let token = serde_json::from_slice::<Token>(&body)
            .ok()
            .and_then(|answer| answer.token.or(answer.access_token));
        token.map(Shown::Bearer).ok_or_else(|| nonsense("no token where one was promised"))
    }

    /// All of a body that is small. One that comes byte by byte is not waited for.
    pub(crate) async fn body(
        &self,
        response: &mut Response,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let limit = self.timeouts.read.saturating_mul(SMALL_BODY_READS);
        let reading = tokio::time::timeout(limit, self.whole_body(response, limit_bytes)).await;
        reading.unwrap_or_else(|_| {
            let what = format!("a document so slowly that it was not there after {} s", limit.as_secs());
            Err(RegistryError::Nonsense { host: self.host(), what })
        })
    }

    async fn whole_body(&self, response: &mut Response, limit_bytes: u64) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error, String::new()))? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > limit_bytes {
                let what = format!("a document of more than {} MiB", limit_bytes >> 20);
                return Err(RegistryError::Nonsense { host: self.host(), what });
            }
        }
        Ok(body)
    }

    /// What became of a request; `progress` says how far it had come. URLs are left out: their queries may be signed.
    pub(crate) fn failed(&self, error: &reqwest::Error, progress: String) -> RegistryError {
        let host = self.host();
        let cause = words::cause(error);
        if error.is_timeout() && !error.is_connect() {
            RegistryError::Silent { host, progress, seconds: self.timeouts.read.as_secs() }
        } else if error.is_connect() || error.is_builder() {
            let is_set = |name: &str| std::env::var_os(name).is_some_and(|proxy| !proxy.is_empty());
            let proxy = match self.endpoint.is_loopback() {
                true => String::new(),
                false => words::proxy_hint(self.endpoint.base.scheme(), is_set),
            };
            RegistryError::Connect { host, cause: cause + words::tls_hint(error) + &proxy }
        } else {
            RegistryError::Broken { host, progress, cause }
        }
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn challenges(response: &Response) -> Vec<Challenge> {
    let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
    headers.filter_map(|value| value.to_str().ok()).flat_map(challenge::parse).collect()
}

fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

fn client(endpoint: &Endpoint, timeouts: Timeouts) -> Result<Client, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = if endpoint.skip_verify { Trust::Anybody } else { Trust::Machine(&endpoint.authorities) };
    let mut builder = Client::builder()
        .user_agent(concat!("podling/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.read)
        .tls_backend_preconfigured(certificates::client_config(&provider, trust, &endpoint.identity)?);
    if endpoint.is_loopback() {
        // A proxy from the environment is never asked for loopback, as in Go's programs.
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|error| RegistryError::Connect { host: endpoint.host(), cause: words::cause(&error) })
}
