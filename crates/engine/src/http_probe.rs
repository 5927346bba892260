//! httpGet of probes and hooks, with the kubelet's rules (`pkg/probe/http`, `pkg/kubelet/lifecycle/handlers.go`).
//!
//! A probe judges the code: 200 to 399 is success. A hook is content with any answer. Certificates are not checked.
//! A probe follows redirects on its own host only; one that leads elsewhere is a success with a warning, so that no
//! container sends the node to strangers. Of a body no more is read than an answer may be long, and a failure never
//! repeats it: whoever reads events is not allowed to read what a Pod serves (k8s#99425).

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONNECTION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response};

use crate::answer::{Answer, LIMIT_BYTES, authority, within};

/// Requests made for one question, as in Go's client: the last may not redirect any more.
const REQUEST_LIMIT: usize = 10;

/// For whom is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A probe: the answer is judged.
    Probe,
    /// postStart or preStop: being answered is enough.
    Hook,
}

/// One question.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) tls: bool,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Path and query.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(String, String)],
}

impl Request<'_> {
    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        format!("{scheme}://{}{slash}{}", authority(self.host, self.port), self.path)
    }
}

/// Asks once. An error is a request that could not be made at all, or a body that broke off.
pub(crate) async fn get(request: &Request<'_>, timeout: Option<Duration>) -> Result<Answer, String> {
    let url = request.url();
    match within(timeout, ask(request, &url)).await {
        Some(answer) => answer,
        None => {
            Ok(Answer::Failure(format!("Get {url:?}: no answer within {:?}", timeout.unwrap_or_default())))
        }
    }
}

async fn ask(request: &Request<'_>, url: &str) -> Result<Answer, String> {
    let sent = client(request.purpose)?.get(url).headers(header_map(request)?).send().await;
    let response = match sent {
        Ok(response) => response,
        Err(error) if error.is_builder() => return Err(format!("cannot ask {url}: {error}")),
        Err(error) => return Ok(Answer::Failure(format!("Get {url:?}: {}", innermost(&error)))),
    };
    let status = response.status();
    if request.purpose == Purpose::Hook {
        return Ok(Answer::Success);
    }
    let body = beginning(response).await.map_err(|error| format!("Get {url:?}: {}", innermost(&error)))?;
    Ok(if status.is_success() {
        Answer::Success
    } else if status.is_redirection() {
        Answer::Warning(format!("Probe terminated redirects, Response body: {body}"))
    } else {
        Answer::Failure(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
    })
}

/// As much of the body as an answer may be long.
async fn beginning(mut response: Response) -> reqwest::Result<String> {
    let mut body = Vec::new();
    while body.len() < LIMIT_BYTES
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk[..chunk.len().min(LIMIT_BYTES - body.len())]);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// One client for all probes and one for all hooks; connections are not kept, as the kubelet keeps none.
fn client(purpose: Purpose) -> Result<&'static Client, String> {
    static PROBES: OnceLock<Result<Client, String>> = OnceLock::new();
    static HOOKS: OnceLock<Result<Client, String>> = OnceLock::new();
    let (client, redirects): (_, fn(Attempt<'_>) -> _) = match purpose {
        Purpose::Probe => (&PROBES, follow_on_its_host),
        Purpose::Hook => (&HOOKS, follow),
    };
    let build = || {
        // A provider that another part of podling installed first serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .pool_max_idle_per_host(0)
            .no_proxy()
            .redirect(Policy::custom(redirects))
            .build()
            .map_err(|error| format!("cannot make an HTTP client: {error}"))
    };
    client.get_or_init(build).as_ref().map_err(Clone::clone)
}

fn follow_on_its_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let first = attempt.previous().first().and_then(|url| url.host_str());
    if first == attempt.url().host_str() { follow(attempt) } else { attempt.stop() }
}

fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() < REQUEST_LIMIT {
        attempt.follow()
    } else {
        attempt.error(format!("stopped after {REQUEST_LIMIT} redirects"))
    }
}

/// The manifest's headers, each as often as it stands there, before those that every request has. An empty
/// User-Agent means none.
fn header_map(request: &Request<'_>) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in request.headers {
        let parsed = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) = parsed.ok_or_else(|| format!("{name:?} is not a header that HTTP allows"))?;
        map.append(name, value);
    }
    let agent = match request.purpose {
        Purpose::Probe => "kube-probe/1.37",
        Purpose::Hook => "kube-lifecycle/1.37",
    };
    map.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    if map.entry(USER_AGENT).or_insert(HeaderValue::from_static(agent)).is_empty() {
        map.remove(USER_AGENT);
    }
    map.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(map)
}

/// The cause at the root: "connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
