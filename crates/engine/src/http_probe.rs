//! httpGet of probes and hooks, with the kubelet's rules: 200 to 399 is success, certificates are not checked,
//! redirects are followed on the same host only and count as success when they lead elsewhere.

use std::sync::OnceLock;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;

/// Body that a message repeats.
const BODY_LIMIT_BYTES: usize = 10 * 1024;
/// Redirects followed on one host, as in Go's client.
const REDIRECT_LIMIT: usize = 10;

/// Asks once. `Ok(None)` is success, `Ok(Some(why))` an answer that counts as failure, `Err` a request that
/// could not be made at all. The caller bounds the time.
pub(crate) async fn get(
    tls: bool,
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<Option<String>, String> {
    let scheme = if tls { "https" } else { "http" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let url = format!("{scheme}://{host}:{port}{slash}{path}");
    let request = client()?.get(&url).headers(header_map(headers)?);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_builder() => return Err(format!("cannot ask {url}: {error}")),
        Err(error) => return Ok(Some(format!("Get \"{url}\": {}", innermost(&error)))),
    };
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        return Ok(None);
    }
    let mut message = format!("HTTP probe failed with statuscode: {}", status.as_u16());
    if let Ok(body) = response.bytes().await
        && !body.is_empty()
    {
        let shown = String::from_utf8_lossy(&body[..body.len().min(BODY_LIMIT_BYTES)]).into_owned();
        message = format!("{message}: {}", shown.trim());
    }
    Ok(Some(message))
}

/// One client for all probes; connections are not kept, as the kubelet keeps none.
fn client() -> Result<&'static reqwest::Client, String> {
    static CLIENT: OnceLock<Result<reqwest::Client, String>> = OnceLock::new();
    CLIENT
        .get_or_init(|| {
            // A provider that another part of podling installed first serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
            reqwest::Client::builder()
                .tls_danger_accept_invalid_certs(true)
                .pool_max_idle_per_host(0)
                .no_proxy()
                .redirect(Policy::custom(|attempt| {
                    let first = attempt.previous().first().and_then(|url| url.host_str().map(str::to_owned));
                    let same_host = first.as_deref() == attempt.url().host_str();
                    if !same_host || attempt.previous().len() > REDIRECT_LIMIT {
                        attempt.stop()
                    } else {
                        attempt.follow()
                    }
                }))
                .build()
                .map_err(|error| format!("cannot make an HTTP client: {error}"))
        })
        .as_ref()
        .map_err(Clone::clone)
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    map.insert(reqwest::header::USER_AGENT, HeaderValue::from_static("kube-probe/1.37"));
    map.insert(reqwest::header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in headers {
        let parsed = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) = parsed.ok_or_else(|| format!("{name:?} is not a header that HTTP allows"))?;
        map.insert(name, value);
    }
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
