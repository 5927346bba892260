//! From method and path to what is asked of which resource. Pure.
//!
//! The scheme is that of Kubernetes' `RequestInfoFactory`: `/api/v1/...` and `/apis/GROUP/VERSION/...`, with
//! `namespaces/NAME/` in front of what lives in one. Each segment is decoded by itself, so that an encoded slash never
//! becomes a separator: whoever reads a name sees it, and refuses it.

use apimachinery::resource::Verb;
use http::Method;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// A resource of an API group.
    Resource(ResourceRoute),
    /// Everything else: discovery, health, documents. The path without a slash at its end.
    Other(String),
}

/// A resource, as the path names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResourceRoute {
    /// API group; empty for the core group.
    pub(crate) group: String,
    /// `v1`.
    pub(crate) version: String,
    /// The namespace, where the path has one.
    pub(crate) namespace: Option<String>,
    /// Plural name, as `pods`.
    pub(crate) resource: String,
    /// The object, when one is named.
    pub(crate) name: Option<String>,
    /// `status`, `log`, ...
    pub(crate) subresource: Option<String>,
    /// What follows a `proxy` subresource, still encoded, with its leading slash.
    pub(crate) rest: Option<String>,
    /// The path began with `watch/`, the way before the query parameter.
    pub(crate) is_watch_path: bool,
}

/// Why a path is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    /// `%` without two digits behind it, or bytes that are not UTF-8.
    #[error("the path has an invalid escape in {segment:?}")]
    Escape {
        /// The segment.
        segment: String,
    },
    /// A segment that could be mistaken for something else.
    #[error("the path segment {segment:?} is not allowed: {why}")]
    Segment {
        /// The segment, decoded.
        segment: String,
        /// Kubernetes' rule.
        why: &'static str,
    },
    /// `/api` or `/apis` with something behind it that is no resource.
    #[error("the server could not find the requested resource")]
    Unknown,
}

/// What a method means for a resource; `None` for methods that Kubernetes does not have.
pub(crate) fn verb(method: &Method, route: &ResourceRoute, watches: bool) -> Option<Verb> {
    let is_named = route.name.is_some();
    Some(match *method {
        Method::GET | Method::HEAD if watches || route.is_watch_path => Verb::Watch,
        Method::GET | Method::HEAD if is_named => Verb::Get,
        Method::GET | Method::HEAD => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if is_named => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return None,
    })
}

/// Subresources of a namespace; everything else behind its name is a resource in it.
const OF_NAMESPACES: [&str; 2] = ["status", "finalize"];

/// Reads a path.
pub(crate) fn parse(path: &str) -> Result<Route, RouteError> {
    let raw: Vec<&str> = path.split('/').skip(1).collect();
    let is_resource = match raw.first() {
        Some(&"api") => raw.len() > 2 && !raw[2].is_empty(),
        Some(&"apis") => raw.len() > 3 && !raw[3].is_empty(),
        _ => false,
    };
    if !is_resource {
        let trimmed = path.trim_end_matches('/');
        return Ok(Route::Other(if trimmed.is_empty() { "/".to_owned() } else { decode(trimmed)? }));
    }
    let (group, version, rest) = match raw[0] {
        "api" => (String::new(), raw[1], &raw[2..]),
        _ => (segment(raw[1])?, raw[2], &raw[3..]),
    };
    let mut route = ResourceRoute { group, version: segment(version)?, ..ResourceRoute::default() };
    let mut rest = rest;
    if rest[0] == "watch" && rest.len() > 1 {
        route.is_watch_path = true;
        rest = &rest[1..];
    }
    if rest[0] == "namespaces" && rest.len() > 2 && !rest[2].is_empty() && !OF_NAMESPACES.contains(&rest[2]) {
        route.namespace = Some(segment(rest[1])?);
        rest = &rest[2..];
    }
    route.resource = segment(rest[0])?;
    if route.resource == "namespaces" && rest.len() > 1 && !rest[1].is_empty() {
        route.namespace = Some(segment(rest[1])?);
    }
    // A slash at the end is not one more segment.
    let rest = if rest.last() == Some(&"") && rest.get(2) != Some(&"proxy") {
        &rest[..rest.len() - 1]
    } else {
        rest
    };
    if let Some(name) = rest.get(1) {
        route.name = Some(segment(name)?);
    }
    if let Some(subresource) = rest.get(2) {
        route.subresource = Some(segment(subresource)?);
    }
    if rest.len() > 3 {
        if route.subresource.as_deref() != Some("proxy") {
            return Err(RouteError::Unknown);
        }
        route.rest = Some(format!("/{}", rest[3..].join("/")));
    }
    Ok(Route::Resource(route))
}

fn segment(raw: &str) -> Result<String, RouteError> {
    let text = decode(raw)?;
    let why = match text.as_str() {
        "" => "it may not be empty",
        "." => "may not be '.'",
        ".." => "may not be '..'",
        _ if text.contains('/') => "may not contain '/'",
        _ if text.contains('%') => "may not contain '%'",
        _ if text.chars().any(char::is_control) => "may not contain control characters",
        _ => return Ok(text),
    };
    Err(RouteError::Segment { segment: text, why })
}

/// Resolves `%xx`.
fn decode(raw: &str) -> Result<String, RouteError> {
    if !raw.contains('%') {
        return Ok(raw.to_owned());
    }
    let wrong = || RouteError::Escape { segment: raw.to_owned() };
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(wrong)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// The query of a request: names and values decoded, in order, repeated names kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands behind `?`. What cannot be decoded is kept as it is written, as Go's lenient reader does.
    pub(crate) fn parse(text: &str) -> Query {
        let value = |raw: &str| {
            let spaced = raw.replace('+', " ");
            decode(&spaced).unwrap_or(spaced)
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, of)| (value(name), value(of)))
                .collect(),
        )
    }

    /// The first value of that name that is not empty.
    pub(crate) fn get<'a>(&'a self, name: &str) -> Option<&'a str> {
        let values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        values.into_iter().find(|value| !value.is_empty())
    }

    /// Every value of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A boolean as Kubernetes reads it: present and neither `false` nor `0`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.all(name).next().is_some_and(|value| value != "false" && value != "0")
    }
}

#[cfg(test)]
mod tests;
