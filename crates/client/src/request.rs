//! Requests: which object, what to do with it, and what the answer means.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::transport::{Body, Transport};
use crate::{Error, informer};

/// A kind of object, as paths name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// API group, empty for the core one.
    pub group: Cow<'static, str>,
    /// Version.
    pub version: Cow<'static, str>,
    /// Plural name.
    pub plural: Cow<'static, str>,
}

impl Kind {
    /// A kind that is known in advance.
    pub const fn new(group: &'static str, version: &'static str, plural: &'static str) -> Kind {
        Kind { group: Cow::Borrowed(group), version: Cow::Borrowed(version), plural: Cow::Borrowed(plural) }
    }
}

/// The kinds that a node and its controllers speak of.
pub mod kinds {
    use super::Kind;

    const fn core(plural: &'static str) -> Kind {
        Kind::new("", "v1", plural)
    }

    /// Pods.
    pub const PODS: Kind = core("pods");
    /// Nodes.
    pub const NODES: Kind = core("nodes");
    /// Namespaces.
    pub const NAMESPACES: Kind = core("namespaces");
    /// ConfigMaps.
    pub const CONFIG_MAPS: Kind = core("configmaps");
    /// Secrets.
    pub const SECRETS: Kind = core("secrets");
    /// ServiceAccounts.
    pub const SERVICE_ACCOUNTS: Kind = core("serviceaccounts");
    /// Services.
    pub const SERVICES: Kind = core("services");
    /// Endpoints.
    pub const ENDPOINTS: Kind = core("endpoints");
    /// Events.
    pub const EVENTS: Kind = core("events");
    /// EndpointSlices.
    pub const ENDPOINT_SLICES: Kind = Kind::new("discovery.k8s.io", "v1", "endpointslices");
    /// Leases.
    pub const LEASES: Kind = Kind::new("coordination.k8s.io", "v1", "leases");
    /// ClusterRoles.
    pub const CLUSTER_ROLES: Kind = Kind::new("rbac.authorization.k8s.io", "v1", "clusterroles");
    /// Questions whether somebody may do something.
    pub const SUBJECT_ACCESS_REVIEWS: Kind = Kind::new("authorization.k8s.io", "v1", "subjectaccessreviews");
    /// CustomResourceDefinitions.
    pub const CUSTOM_RESOURCE_DEFINITIONS: Kind =
        Kind::new("apiextensions.k8s.io", "v1", "customresourcedefinitions");
}

/// What a request asks for beside the object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Name and value, not yet escaped.
    pub parameters: Vec<(&'static str, String)>,
    /// Only `metadata` of each object, for those who need no more (PartialObjectMetadata).
    pub metadata_only: bool,
}

impl Query {
    /// Nothing.
    pub fn none() -> Query {
        Query::default()
    }

    /// Only the metadata of objects.
    pub fn metadata() -> Query {
        Query { metadata_only: true, ..Query::default() }
    }

    /// One more parameter.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Query {
        self.parameters.push((name, value.into()));
        self
    }
}

/// How an object is changed in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, which knows how lists merge.
    Strategic,
    /// RFC 6902.
    Json,
}

/// How an object is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Seconds of grace; the object's own without one.
    pub grace_period_seconds: Option<u64>,
    /// Only the object with this UID.
    pub uid: Option<String>,
    /// Only the object at this resourceVersion.
    pub resource_version: Option<String>,
    /// `Background`, `Foreground` or `Orphan`.
    pub propagation_policy: Option<&'static str>,
}

impl Deletion {
    fn to_json(&self) -> Value {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(seconds) = self.grace_period_seconds {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(uid) = &self.uid {
            options["preconditions"]["uid"] = json!(uid);
        }
        if let Some(version) = &self.resource_version {
            options["preconditions"]["resourceVersion"] = json!(version);
        }
        if let Some(policy) = self.propagation_policy {
            options["propagationPolicy"] = json!(policy);
        }
        options
    }
}

/// A list, and the revision at which it was true.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// The objects.
    pub items: Vec<Value>,
    /// Watching from here misses nothing.
    pub resource_version: String,
}

/// Asks one API server as one user. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    user_agent: Arc<str>,
}

const JSON: &str = "application/json";

/// One object without what it is about.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// A list of such.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// How much of a list is asked for at once.
const PAGE_SIZE: usize = 500;

impl Client {
    /// A client that sends through `transport` and calls itself `user_agent`, which is also its field manager.
    pub fn new(transport: Arc<dyn Transport>, user_agent: &str) -> Client {
        Client { transport, user_agent: Arc::from(user_agent) }
    }

    /// Whether the connection to the server may break.
    pub(crate) fn may_break(&self) -> bool {
        self.transport.may_break()
    }

    /// Reads an object.
    pub async fn get(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Value, Error> {
        self.json(Method::GET, path(kind, namespace, &[name], &Query::none()), None).await
    }

    /// Reads all objects of a kind; of one namespace, if one is given.
    pub async fn list(&self, kind: &Kind, namespace: Option<&str>, query: &Query) -> Result<List, Error> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        let accepted = if query.metadata_only { METADATA_LIST } else { JSON };
        loop {
            let mut page = query.clone().with("limit", PAGE_SIZE.to_string());
            if let Some(next) = next.take() {
                page = page.with("continue", next);
            }
            let path = path(kind, namespace, &[], &page);
            let mut answer = self.read(Method::GET, path, None, accepted).await?;
            let metadata = |field: &str| {
                answer["metadata"].get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
            };
            next = metadata("continue").map(str::to_owned);
            let resource_version = metadata("resourceVersion").unwrap_or_default().to_owned();
            if let Value::Array(found) = answer["items"].take() {
                items.extend(found);
            }
            if next.is_none() {
                return Ok(List { items, resource_version });
            }
        }
    }

    /// Creates an object.
    pub async fn create(&self, kind: &Kind, namespace: Option<&str>, object: &Value) -> Result<Value, Error> {
        self.json(Method::POST, path(kind, namespace, &[], &Query::none()), Some(object)).await
    }

    /// Creates at a subresource, such as `binding` or `token`.
    pub async fn create_below(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        subresource: &str,
        object: &Value,
    ) -> Result<Value, Error> {
        self.json(Method::POST, path(kind, namespace, &[name, subresource], &Query::none()), Some(object))
            .await
    }

    /// Replaces an object, or its subresource, at the resourceVersion that it names.
    pub async fn replace(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        object: &Value,
    ) -> Result<Value, Error> {
        let parts: Vec<&str> = std::iter::once(name).chain(subresource).collect();
        self.json(Method::PUT, path(kind, namespace, &parts, &Query::none()), Some(object)).await
    }

    /// Changes an object, or its subresource, in part.
    pub async fn patch(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        (patch_kind, patch): (PatchKind, &Value),
    ) -> Result<Value, Error> {
        let parts: Vec<&str> = std::iter::once(name).chain(subresource).collect();
        let media_type = match patch_kind {
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            PatchKind::Json => "application/json-patch+json",
        };
        let path = path(kind, namespace, &parts, &Query::none());
        self.read(Method::PATCH, path, Some((media_type, patch)), JSON).await
    }

    /// Removes an object.
    pub async fn delete(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        deletion: &Deletion,
    ) -> Result<Value, Error> {
        let path = path(kind, namespace, &[name], &Query::none());
        self.json(Method::DELETE, path, Some(&deletion.to_json())).await
    }

    /// Removes all objects of a kind that `query` selects.
    pub async fn delete_all(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        query: &Query,
    ) -> Result<Value, Error> {
        self.json(Method::DELETE, path(kind, namespace, &[], query), None).await
    }

    /// Any other path with its query, such as `/api/v1`.
    pub async fn raw(&self, method: Method, path: &str, object: Option<&Value>) -> Result<Value, Error> {
        self.json(method, path.to_owned(), object).await
    }

    /// Opens a watch: lines of JSON without end.
    pub(crate) async fn watch(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        query: &Query,
    ) -> Result<Lines, Error> {
        let path = path(kind, namespace, &[], &query.clone().with("watch", "true"));
        let accepted = if query.metadata_only { METADATA } else { JSON };
        let body = self.send(Method::GET, path.clone(), None, accepted).await?;
        Ok(Lines { body, buffer: Vec::new(), searched: 0, path })
    }

    /// Follows all objects that `query` selects: those that are there, then every change.
    pub fn inform(&self, kind: &Kind, namespace: Option<String>, query: Query) -> informer::Informer {
        informer::Informer::start(self.clone(), kind.clone(), namespace, query)
    }

    async fn json(&self, method: Method, path: String, object: Option<&Value>) -> Result<Value, Error> {
        self.read(method, path, object.map(|object| (JSON, object)), JSON).await
    }

    async fn read(
        &self,
        method: Method,
        path: String,
        object: Option<(&str, &Value)>,
        accepted: &str,
    ) -> Result<Value, Error> {
        let attempted = method.to_string();
        let body = self.send(method, path.clone(), object, accepted).await?;
        let bytes = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(source) => return Err(Error::Transport { attempted, path, source }),
        };
        serde_json::from_slice(&bytes).map_err(|error| Error::Answer {
            attempted,
            path,
            why: error.to_string(),
        })
    }

    /// The body of a good answer.
    async fn send(
        &self,
        method: Method,
        path: String,
        object: Option<(&str, &Value)>,
        accepted: &str,
    ) -> Result<Body, Error> {
        let attempted = method.to_string();
        let mut request = Request::builder()
            .method(method)
            .uri(&path)
            .header(header::ACCEPT, accepted)
            .header(header::USER_AGENT, &*self.user_agent);
        let mut body = Bytes::new();
        if let Some((media_type, object)) = object {
            request = request.header(header::CONTENT_TYPE, media_type);
            body = Bytes::from(object.to_string());
        }
        let request = request.body(body).map_err(|error| Error::Transport {
            attempted: attempted.clone(),
            path: path.clone(),
            source: error.into(),
        })?;
        let response = self.transport.call(request).await?;
        let code = response.status();
        let body = response.into_body();
        if code.is_success() {
            return Ok(body);
        }
        let text = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(source) => return Err(Error::Transport { attempted, path, source }),
        };
        let status = serde_json::from_slice(&text).unwrap_or(Value::Null);
        Err(Error::of_status(code.as_u16(), &status))
    }
}

/// The lines of a watch.
pub(crate) struct Lines {
    body: Body,
    buffer: Vec<u8>,
    /// How much of the buffer is known to hold no end of a line.
    searched: usize,
    path: String,
}

impl Lines {
    /// The next object; none when the server ended the watch.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.searched + end).collect();
                self.searched = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return match serde_json::from_slice(&line) {
                    Ok(value) => Ok(Some(value)),
                    Err(error) => Err(Error::Answer {
                        attempted: "watch".to_owned(),
                        path: self.path.clone(),
                        why: error.to_string(),
                    }),
                };
            }
            self.searched = self.buffer.len();
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(source)) => {
                    let (attempted, path) = ("watch".to_owned(), self.path.clone());
                    return Err(Error::Transport { attempted, path, source });
                }
                None => return Ok(None),
            }
        }
    }
}

/// `/api/v1/namespaces/NS/PLURAL/PART...?QUERY`.
fn path(kind: &Kind, namespace: Option<&str>, parts: &[&str], query: &Query) -> String {
    let mut path = match &*kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        escape(namespace, &mut path);
    }
    path.push('/');
    path.push_str(&kind.plural);
    for part in parts {
        path.push('/');
        escape(part, &mut path);
    }
    for (index, (name, value)) in query.parameters.iter().enumerate() {
        path.push(if index == 0 { '?' } else { '&' });
        path.push_str(name);
        path.push('=');
        escape(value, &mut path);
    }
    path
}

/// Percent-encoding (RFC 3986) of all but unreserved characters.
fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_kubernetes_own() {
        let none = Query::none();
        assert_eq!(path(&kinds::NODES, None, &["a"], &none), "/api/v1/nodes/a");
        assert_eq!(
            path(&kinds::PODS, Some("default"), &["web", "status"], &none),
            "/api/v1/namespaces/default/pods/web/status"
        );
        let query = Query::none().with("fieldSelector", "spec.nodeName=a b").with("watch", "true");
        assert_eq!(
            path(&kinds::ENDPOINT_SLICES, Some("x"), &[], &query),
            "/apis/discovery.k8s.io/v1/namespaces/x/endpointslices?fieldSelector=spec.nodeName%3Da%20b&watch=true"
        );
        // A name leads nowhere else.
        assert_eq!(path(&kinds::NODES, None, &["../x"], &none), "/api/v1/nodes/..%2Fx");
    }

    #[test]
    fn a_deletion_says_only_what_it_means() {
        let deletion =
            Deletion { grace_period_seconds: Some(0), uid: Some("u".into()), ..Deletion::default() };
        assert_eq!(
            deletion.to_json(),
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}})
        );
    }
}
