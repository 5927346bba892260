//! The paths of the resources and what may be done there, without saying yet how OpenAPI writes it.

use crate::resource::{Access, GroupVersionKind, Resource, Subresource, Verb};

use super::version_path;

/// A path and its operations.
pub(super) struct Path {
    pub(super) path: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) operations: Vec<Operation>,
}

/// What one method does.
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// `x-kubernetes-action`.
    pub(super) action: &'static str,
    pub(super) id: String,
    pub(super) description: String,
    pub(super) tag: String,
    pub(super) kind: GroupVersionKind,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Body,
    /// The definition of what is answered, if it is an object.
    pub(super) answer: Option<String>,
    /// The codes of success.
    pub(super) codes: &'static [&'static str],
}

/// What is sent.
pub(super) enum Body {
    Nothing,
    /// An object of that definition.
    Object(String),
    /// Options that may be left out.
    Options,
    /// One of the patches.
    Patch,
}

/// A parameter in the query or the path.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: &'static str,
    pub(super) kind: &'static str,
    pub(super) description: &'static str,
}

/// The content types of a patch.
pub(super) const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: "query", kind, description }
}

const NAMESPACE: Parameter = Parameter {
    name: "namespace",
    place: "path",
    kind: "string",
    description: "object name and auth scope, such as for teams and projects",
};
const NAME: Parameter =
    Parameter { name: "name", place: "path", kind: "string", description: "name of the object" };
const REST: Parameter =
    Parameter { name: "path", place: "path", kind: "string", description: "path to the resource" };
const PRETTY: Parameter = query("pretty", "string", "If 'true', then the output is pretty printed.");
const DRY_RUN: Parameter = query(
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. Valid values are: - All: all dry run stages will be processed",
);
const FIELD_MANAGER: Parameter = query(
    "fieldManager",
    "string",
    "fieldManager is a name associated with the actor or entity that is making these changes.",
);
const FIELD_VALIDATION: Parameter = query(
    "fieldValidation",
    "string",
    "fieldValidation instructs the server on how to handle objects in the request containing unknown or duplicate fields. Valid values are: - Ignore - Warn - Strict",
);
const FORCE: Parameter = query(
    "force",
    "boolean",
    "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people.",
);
const LIST: [Parameter; 10] = [
    query(
        "allowWatchBookmarks",
        "boolean",
        "allowWatchBookmarks requests watch events with type \"BOOKMARK\".",
    ),
    query(
        "continue",
        "string",
        "The continue option should be set when retrieving more results from the server.",
    ),
    query("fieldSelector", "string", "A selector to restrict the list of returned objects by their fields."),
    query("labelSelector", "string", "A selector to restrict the list of returned objects by their labels."),
    query("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    query(
        "resourceVersion",
        "string",
        "resourceVersion sets a constraint on what resource versions a request may be served from.",
    ),
    query(
        "resourceVersionMatch",
        "string",
        "resourceVersionMatch determines how resourceVersion is applied to list calls.",
    ),
    query("sendInitialEvents", "boolean", "`sendInitialEvents=true` may be set together with `watch=true`."),
    query("timeoutSeconds", "integer", "Timeout for the list/watch call."),
    query("watch", "boolean", "Watch for changes to the described resources and return them as a stream."),
];
const DELETE: [Parameter; 4] = [
    DRY_RUN,
    query("gracePeriodSeconds", "integer", "The duration in seconds before the object should be deleted."),
    query("orphanDependents", "boolean", "Deprecated: please use the PropagationPolicy."),
    query("propagationPolicy", "string", "Whether and how garbage collection will be performed."),
];
const WRITE: [Parameter; 3] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];

/// All paths of a resource.
pub(super) fn paths(resource: &Resource) -> Vec<Path> {
    let base = format!("/{}", version_path(&resource.group, &resource.version));
    let plural = &resource.plural;
    let mut paths = Vec::new();
    let (collection, above) = if resource.is_namespaced() {
        if resource.verbs.contains(&Verb::List) {
            let list = operation(resource, Verb::List, "ForAllNamespaces");
            let path = format!("{base}/{plural}");
            paths.push(Path { path, parameters: vec![PRETTY], operations: vec![list] });
        }
        (format!("{base}/namespaces/{{namespace}}/{plural}"), vec![NAMESPACE])
    } else {
        (format!("{base}/{plural}"), Vec::new())
    };
    let of = |verbs: &[Verb]| -> Vec<Operation> {
        let allowed = verbs.iter().filter(|verb| resource.verbs.contains(verb));
        allowed.map(|verb| operation(resource, *verb, "")).collect()
    };
    let with = |more: &[Parameter]| above.iter().chain(more).copied().collect::<Vec<_>>();
    let on_collection = of(&[Verb::List, Verb::Create, Verb::DeleteCollection]);
    paths.push(Path { path: collection.clone(), parameters: with(&[PRETTY]), operations: on_collection });
    let on_object = of(&[Verb::Get, Verb::Update, Verb::Delete, Verb::Patch]);
    let object = format!("{collection}/{{name}}");
    paths.push(Path { path: object.clone(), parameters: with(&[NAME, PRETTY]), operations: on_object });
    for subresource in &resource.subresources {
        let path = format!("{object}/{}", subresource.name);
        let operations = below(resource, subresource);
        let parameters = with(&[NAME, PRETTY]);
        if subresource.access == Access::Connect && subresource.name == "proxy" {
            let path = format!("{path}/{{path}}");
            let parameters = with(&[NAME, REST]);
            paths.push(Path { path, parameters, operations: below(resource, subresource) });
        }
        paths.push(Path { path, parameters, operations });
    }
    paths.retain(|path| !path.operations.is_empty());
    paths
}

/// `core_v1` and `CoreV1`, `rbacAuthorization_v1` and `RbacAuthorizationV1`.
fn tag(group: &str, version: &str) -> (String, String) {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    let words: Vec<String> = group.split('.').map(capital).collect();
    let first = group.split('.').next().unwrap_or_default();
    let lower = format!("{first}{}", words[1..].concat());
    (format!("{lower}_{version}"), format!("{}{}", words.concat(), capital(version)))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Method, action, first word of the id, first word of the description.
fn words(verb: Verb) -> (&'static str, &'static str, &'static str, &'static str) {
    match verb {
        Verb::Get => ("get", "get", "read", "read the specified"),
        Verb::List | Verb::Watch => ("get", "list", "list", "list or watch objects of kind"),
        Verb::Create => ("post", "post", "create", "create a"),
        Verb::Update => ("put", "put", "replace", "replace the specified"),
        Verb::Patch => ("patch", "patch", "patch", "partially update the specified"),
        Verb::Delete => ("delete", "delete", "delete", "delete a"),
        Verb::DeleteCollection => ("delete", "deletecollection", "delete", "delete collection of"),
    }
}

fn operation(resource: &Resource, verb: Verb, suffix: &str) -> Operation {
    let (method, action, first, description) = words(verb);
    let (tag, camel) = tag(&resource.group, &resource.version);
    let collection = if verb == Verb::DeleteCollection { "Collection" } else { "" };
    let scope = if resource.is_namespaced() && suffix.is_empty() { "Namespaced" } else { "" };
    let kind = &resource.kind;
    let (parameters, body) = request(verb, &resource.definition);
    let answer = match verb {
        Verb::List | Verb::Watch => list_definition(resource),
        Verb::Delete | Verb::DeleteCollection => STATUS.to_owned(),
        _ => resource.definition.clone(),
    };
    Operation {
        method,
        action,
        id: format!("{first}{camel}{collection}{scope}{kind}{suffix}"),
        description: format!("{description} {kind}"),
        tag,
        kind: resource.group_version_kind(),
        parameters,
        body,
        answer: Some(answer),
        codes: codes(verb),
    }
}

/// The definition of a list of the resource's objects.
pub(super) fn list_definition(resource: &Resource) -> String {
    let package = resource.definition.rsplit_once('.').map_or("", |(package, _)| package);
    format!("{package}.{}", resource.list_kind)
}

fn codes(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::Create => &["200", "201", "202"],
        Verb::Update | Verb::Patch => &["200", "201"],
        Verb::Delete => &["200", "202"],
        _ => &["200"],
    }
}

fn request(verb: Verb, definition: &str) -> (Vec<Parameter>, Body) {
    match verb {
        Verb::Get => (Vec::new(), Body::Nothing),
        Verb::List | Verb::Watch => (LIST.to_vec(), Body::Nothing),
        Verb::Create | Verb::Update => (WRITE.to_vec(), Body::Object(definition.to_owned())),
        Verb::Patch => (WRITE.iter().chain(&[FORCE]).copied().collect(), Body::Patch),
        Verb::Delete => (DELETE.to_vec(), Body::Options),
        Verb::DeleteCollection => {
            let selectors = LIST.iter().filter(|parameter| {
                matches!(parameter.name, "continue" | "fieldSelector" | "labelSelector" | "limit")
            });
            (DELETE.iter().chain(selectors).copied().collect(), Body::Options)
        }
    }
}

fn below(resource: &Resource, subresource: &Subresource) -> Vec<Operation> {
    let (tag, camel) = tag(&resource.group, &resource.version);
    let scope = if resource.is_namespaced() { "Namespaced" } else { "" };
    let place = format!("{}{}", resource.kind, capital(&subresource.name));
    let of = |verb: &Verb| {
        let (method, action, first, description) = words(*verb);
        let (parameters, body) = request(*verb, &subresource.definition);
        let what = format!("{} of {}", subresource.name, resource.kind);
        if subresource.access == Access::Connect {
            return Operation {
                method,
                action: "connect",
                id: format!("connect{camel}{}{scope}{place}", capital(method)),
                description: format!("connect {} requests to {what}", method.to_ascii_uppercase()),
                tag: tag.clone(),
                kind: subresource.kind.clone(),
                parameters: Vec::new(),
                body: Body::Nothing,
                answer: None,
                codes: &["200"],
            };
        }
        Operation {
            method,
            action,
            id: format!("{first}{camel}{scope}{place}"),
            description: format!("{description} {what}"),
            tag: tag.clone(),
            kind: subresource.kind.clone(),
            parameters,
            body,
            answer: Some(subresource.definition.clone()),
            codes: codes(*verb),
        }
    };
    let mut operations: Vec<Operation> = subresource.verbs.iter().map(of).collect();
    operations.dedup_by_key(|operation| operation.method);
    operations
}
