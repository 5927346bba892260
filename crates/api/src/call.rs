//! A request about a resource, as handlers see it: read once, with what it may not be refused already.

use std::sync::{Arc, Mutex, PoisonError};

use apimachinery::group::{GroupKind, GroupResource};
use apimachinery::resource::Verb;
use apimachinery::status::Status;
use http::header::{ACCEPT, HeaderMap, HeaderName, USER_AGENT};
use http::{Method, Request};

use crate::kinds::{Kind, Kinds};
use crate::negotiate::{self, Accepted};
use crate::respond::{Body, Failure};
use crate::route::{self, Query, ResourceRoute};
use crate::user::User;

/// A request about a resource.
pub(crate) struct Call {
    /// Who asks.
    pub(crate) user: User,
    /// All kinds, as they were when the request came.
    pub(crate) kinds: Arc<Kinds>,
    /// The kind that the path names.
    pub(crate) kind: Arc<Kind>,
    /// The path.
    pub(crate) route: ResourceRoute,
    /// What is asked.
    pub(crate) verb: Verb,
    /// The query parameters.
    pub(crate) query: Query,
    /// The form of the answer.
    pub(crate) accepted: Accepted,
    /// The method, for subresources that pass it on.
    pub(crate) method: Method,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// What the client is told beside the answer.
    pub(crate) warnings: Warnings,
}

impl Call {
    /// Reads a request; the body is left to the handler.
    pub(crate) fn new(
        kinds: Arc<Kinds>,
        request: Request<Body>,
        route: ResourceRoute,
        query: Query,
        user: User,
    ) -> Result<(Call, Request<Body>), Failure> {
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let kind = kinds.find(&route.group, &route.version, &route.resource).cloned();
        let kind = kind.ok_or_else(Status::no_such_path)?;
        let resource = GroupResource::new(&route.group, &route.resource);
        let watches = query.flag("watch");
        let verb = route::verb(&method, &route, watches)
            .ok_or_else(|| Status::method_not_allowed(&resource, method.as_str()))?;
        let is_namespaced = kind.resource.is_namespaced();
        let is_namespace = kind.resource.plural == "namespaces";
        // A namespaced object is reached through its namespace, and a cluster's object never is.
        if (is_namespaced && route.namespace.is_none() && (route.name.is_some() || verb == Verb::Create))
            || (!is_namespaced && route.namespace.is_some() && !is_namespace)
        {
            return Err(Status::no_such_path().into());
        }
        if let Some(subresource) = &route.subresource
            && !kind.has(subresource)
        {
            return Err(Status::no_such_path().into());
        }
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let accepted = match negotiate::negotiate(accept) {
            Some(accepted) => accepted,
            // A connection's answer is a stream; what is accepted besides does not matter.
            None if route.subresource.as_deref().is_some_and(is_connection) => Accepted::default(),
            None => return Err(Status::not_acceptable(&negotiate::SERVED).into()),
        };
        let warnings = Warnings::default();
        let call = Call { user, kinds, kind, route, verb, query, accepted, method, headers, warnings };
        Ok((call, request))
    }

    /// The namespace of the path; empty for objects in none, and for all namespaces.
    pub(crate) fn namespace(&self) -> &str {
        let is_namespaced = self.kind.resource.is_namespaced();
        self.route.namespace.as_deref().filter(|_| is_namespaced).unwrap_or_default()
    }

    /// The object's name; empty for a collection.
    pub(crate) fn name(&self) -> &str {
        self.route.name.as_deref().unwrap_or_default()
    }

    /// `pods`, as errors name it.
    pub(crate) fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.kind.resource.group, &self.kind.resource.plural)
    }

    /// `Pod`, as errors of invalid objects name it.
    pub(crate) fn group_kind(&self) -> GroupKind {
        GroupKind::new(&self.kind.resource.group, &self.kind.resource.kind)
    }

    /// `apiVersion` and `kind` of what is sent to the path: the kind's own, or that of the subresource.
    pub(crate) fn sent_kind(&self) -> (String, String) {
        let subresource = self.route.subresource.as_deref().and_then(|name| self.kind.resource.find(name));
        match subresource {
            Some(found) => (found.kind.api_version(), found.kind.kind.clone()),
            None => (self.kind.resource.api_version(), self.kind.resource.kind.clone()),
        }
    }

    /// 404 of the object that the path names.
    pub(crate) fn not_found(&self) -> Failure {
        Status::not_found(&self.group_resource(), self.name()).into()
    }

    /// Whether the answer goes on for as long as the client likes.
    pub(crate) fn goes_on(&self) -> bool {
        self.verb == Verb::Watch || self.route.subresource.as_deref().is_some_and(is_connection)
    }

    /// `dryRun=All`: everything but the writing.
    pub(crate) fn is_dry_run(&self) -> Result<bool, Failure> {
        match self.query.all("dryRun").find(|value| !value.is_empty()) {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                Err(Status::bad_request(format!("invalid dryRun value {other:?}: supported values: \"All\""))
                    .into())
            }
        }
    }

    /// Who manages the fields that are written: what the client says, else the program's name.
    pub(crate) fn field_manager(&self) -> String {
        if let Some(manager) = self.query.get("fieldManager") {
            return manager.to_owned();
        }
        let agent = self.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let program: String = agent.split('/').next().unwrap_or_default().chars().take(128).collect();
        if program.is_empty() { "unknown".to_owned() } else { program }
    }
}

/// Subresources that are a connection and no object.
fn is_connection(subresource: &str) -> bool {
    matches!(subresource, "attach" | "exec" | "log" | "portforward" | "proxy")
}

/// What a client is told beside the answer, as `Warning` headers (RFC 9111), which kubectl prints.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Kubernetes cuts them all at 4 KiB.
    const MOST_BYTES: usize = 4096;

    /// Adds one; the same is not said twice.
    pub(crate) fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }

    /// Puts them into the headers.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = Self::MOST_BYTES;
        for text in texts.iter() {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let value = format!("299 - \"{quoted}\"");
            let Some(rest) = left.checked_sub(value.len()) else { break };
            left = rest;
            headers.append(HeaderName::from_static("warning"), crate::api::header_value(&value));
        }
    }
}
