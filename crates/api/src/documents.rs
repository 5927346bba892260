//! Discovery and OpenAPI.

use std::collections::BTreeMap;

use apimachinery::resource::api_version;
use apimachinery::status::Status;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::api::Api;
use crate::negotiate::Encoding;
use crate::respond::{self, Body, Failure, Response};

/// Answers with a document.
pub(crate) fn answer(api: &Api, _request: &Request<Body>, path: &str) -> Result<Response, Failure> {
    let kinds = api.kinds();
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in kinds.iter() {
        let versions = groups.entry(kind.resource.group.clone()).or_default();
        if !versions.contains(&kind.resource.version) {
            versions.push(kind.resource.version.clone());
        }
    }
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let document = match parts.as_slice() {
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["apis"] => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups.iter().filter(|(name, _)| !name.is_empty()).map(|(name, versions)| group(name, versions)).collect::<Vec<_>>(),
        }),
        ["apis", name] => match groups.get(*name) {
            Some(versions) => group(name, versions),
            None => return Err(Status::no_such_path().into()),
        },
        ["api", version] => resources(api, "", version)?,
        ["apis", group, version] => resources(api, group, version)?,
        _ => return Err(Status::no_such_path().into()),
    };
    Ok(respond::object(StatusCode::OK, &document, Encoding::Json))
}

fn group(name: &str, versions: &[String]) -> Value {
    let named = |version: &String| json!({"groupVersion": api_version(name, version), "version": version});
    json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name,
        "versions": versions.iter().map(named).collect::<Vec<_>>(), "preferredVersion": named(&versions[0]),
    })
}

fn resources(api: &Api, group: &str, version: &str) -> Result<Value, Failure> {
    let kinds = api.kinds();
    let mut list = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.resource.group == group && kind.resource.version == version) {
        let resource = &kind.resource;
        let verbs: Vec<&str> = resource.verbs.iter().map(|verb| verb.as_str()).collect();
        list.push(json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.is_namespaced(),
            "kind": resource.kind, "verbs": verbs, "shortNames": resource.short_names, "categories": resource.categories,
        }));
    }
    if list.is_empty() {
        return Err(Status::no_such_path().into());
    }
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version(group, version), "resources": list,
    }))
}
