//! What an API server says that it serves: `/api`, `/apis` and what stands below them, and the same in one document.
//!
//! All of it is made of the list of [`Resource`]s. Versions of a group stand in the order of preference that Kubernetes
//! gives them: stable before beta before alpha, higher before lower.

use std::cmp::Reverse;

use serde_json::{Map, Value, json};

use crate::resource::{Resource, Subresource, api_version};

/// The groups that are served, each with its versions, most preferred first; the core group is not among them.
pub fn groups(resources: &[Resource]) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for resource in resources.iter().filter(|resource| !resource.group.is_empty()) {
        let index = match groups.iter().position(|(group, _)| *group == resource.group) {
            Some(index) => index,
            None => {
                groups.push((resource.group.clone(), Vec::new()));
                groups.len() - 1
            }
        };
        let versions = &mut groups[index].1;
        if !versions.contains(&resource.version) {
            versions.push(resource.version.clone());
        }
    }
    for (_, versions) in &mut groups {
        versions.sort_by_key(|version| Reverse(precedence(version)));
    }
    groups
}

/// How much a version is preferred (`apimachinery/pkg/version/helpers.go`): `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1`,
/// and then all that is no such name, by the alphabet backwards.
fn precedence(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let parsed = || {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..end].parse().ok()?;
        let stage = match &rest[end..] {
            "" => (3, 0),
            stage => match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
                (Some(minor), _) => (2, minor.parse().ok()?),
                (_, Some(minor)) => (1, minor.parse().ok()?),
                _ => return None,
            },
        };
        Some((stage.0, major, stage.1, Reverse(String::new())))
    };
    parsed().unwrap_or((0, 0, 0, Reverse(version.to_owned())))
}

/// `/api`: the versions of the core group. `address` is the server's own, such as `127.0.0.1:6443`.
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`: all groups.
pub fn api_group_list(resources: &[Resource]) -> Value {
    let groups: Vec<Value> =
        groups(resources).iter().map(|(group, versions)| described(group, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`, or `None` when nothing of that group is served.
pub fn api_group(resources: &[Resource], group: &str) -> Option<Value> {
    let (_, versions) = groups(resources).into_iter().find(|(name, _)| name == group)?;
    let mut document = described(group, &versions);
    let members = document.as_object_mut()?;
    members.shift_insert(0, "apiVersion".to_owned(), json!("v1"));
    members.shift_insert(0, "kind".to_owned(), json!("APIGroup"));
    Some(document)
}

fn described(group: &str, versions: &[String]) -> Value {
    let version = |version: &String| json!({"groupVersion": api_version(group, version), "version": version});
    json!({
        "name": group,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

/// `/api/v1` or `/apis/GROUP/VERSION`, or `None` when nothing of that version is served.
pub fn api_resource_list(resources: &[Resource], group: &str, version: &str) -> Option<Value> {
    let served: Vec<&Resource> = of_version(resources, group, version).collect();
    if served.is_empty() {
        return None;
    }
    let mut list = Vec::new();
    for resource in served {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.is_namespaced(),
            "kind": resource.kind,
            "verbs": resource.verbs.iter().map(|verb| verb.as_str()).collect::<Vec<_>>(),
        });
        put_names(&mut entry, resource);
        list.push(entry);
        for subresource in &resource.subresources {
            list.push(subresource_entry(resource, subresource));
        }
    }
    list.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": list,
    }))
}

fn subresource_entry(resource: &Resource, subresource: &Subresource) -> Value {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), json!(format!("{}/{}", resource.plural, subresource.name)));
    entry.insert("singularName".to_owned(), json!(""));
    entry.insert("namespaced".to_owned(), json!(resource.is_namespaced()));
    // Group and version stand there only when they are not the list's own, as for `eviction` and `scale`.
    if (&subresource.kind.group, &subresource.kind.version) != (&resource.group, &resource.version) {
        entry.insert("group".to_owned(), json!(subresource.kind.group));
        entry.insert("version".to_owned(), json!(subresource.kind.version));
    }
    entry.insert("kind".to_owned(), json!(subresource.kind.kind));
    let verbs: Vec<&str> = subresource.verbs.iter().map(|verb| verb.as_str()).collect();
    entry.insert("verbs".to_owned(), json!(verbs));
    Value::Object(entry)
}

fn put_names(entry: &mut Value, resource: &Resource) {
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
}

fn of_version<'a>(
    resources: &'a [Resource],
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Resource> {
    resources.iter().filter(move |resource| resource.group == group && resource.version == version)
}

/// Which half of the API an aggregated document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// `/api`.
    Core,
    /// `/apis`.
    Groups,
}

/// The content type of aggregated discovery, which a client asks for and gets back.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api` or `/apis` as one `apidiscovery.k8s.io/v2` APIGroupDiscoveryList, with all resources of all versions.
pub fn aggregated(resources: &[Resource], half: Half) -> Value {
    let groups = match half {
        Half::Core => vec![(String::new(), vec!["v1".to_owned()])],
        Half::Groups => groups(resources),
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let mut served: Vec<&Resource> = of_version(resources, group, version).collect();
                    served.sort_by(|one, other| one.plural.cmp(&other.plural));
                    json!({
                        "version": version,
                        "resources": served.into_iter().map(aggregated_resource).collect::<Vec<_>>(),
                        "freshness": "Current",
                    })
                })
                .collect();
            let mut metadata = Map::new();
            if !group.is_empty() {
                metadata.insert("name".to_owned(), json!(group));
            }
            metadata.insert("creationTimestamp".to_owned(), Value::Null);
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": resource.scope.as_str(),
        "singularResource": resource.singular,
        "verbs": resource.verbs.iter().map(|verb| verb.as_str()).collect::<Vec<_>>(),
    });
    put_names(&mut entry, resource);
    if !resource.subresources.is_empty() {
        let mut subresources: Vec<&Subresource> = resource.subresources.iter().collect();
        subresources.sort_by(|one, other| one.name.cmp(&other.name));
        let subresources: Vec<Value> = subresources
            .into_iter()
            .map(|subresource| {
                let kind = &subresource.kind;
                json!({
                    "subresource": subresource.name,
                    "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
                    "verbs": subresource.verbs.iter().map(|verb| verb.as_str()).collect::<Vec<_>>(),
                })
            })
            .collect();
        entry["subresources"] = Value::Array(subresources);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Verb;
    use expect_test::expect;

    fn served() -> Vec<Resource> {
        vec![
            Resource::new("", "v1", "pods", "Pod").short(&["po"]).categories(&["all"]).status().subresource(
                "eviction",
                "policy",
                "v1",
                "Eviction",
                &[Verb::Create],
            ),
            Resource::new("", "v1", "nodes", "Node").cluster().verbs(&[Verb::Get]),
            Resource::new("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            Resource::new("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
        ]
    }

    #[test]
    fn versions_stand_in_the_order_of_preference() {
        let mut versions = ["v1alpha1", "v1", "foo", "v2beta1", "v10", "v1beta2", "v11alpha2", "v2", "bar"];
        versions.sort_by_key(|version| Reverse(precedence(version)));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v2beta1", "v1beta2", "v11alpha2", "v1alpha1", "bar", "foo"]
        );
    }

    #[test]
    fn groups_name_their_versions() {
        expect![[r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"autoscaling","versions":[{"groupVersion":"autoscaling/v2","version":"v2"},{"groupVersion":"autoscaling/v1","version":"v1"}],"preferredVersion":{"groupVersion":"autoscaling/v2","version":"v2"}}]}"#]]
            .assert_eq(&api_group_list(&served()).to_string());
        assert_eq!(api_group(&served(), "apps"), None);
        let group = api_group(&served(), "autoscaling").unwrap().to_string();
        assert!(group.starts_with(r#"{"kind":"APIGroup","apiVersion":"v1","name":"autoscaling""#), "{group}");
    }

    #[test]
    fn resources_and_what_stands_below_them() {
        let list = api_resource_list(&served(), "", "v1").unwrap();
        expect![[r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[{"name":"nodes","singularName":"node","namespaced":false,"kind":"Node","verbs":["get"]},{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["po"],"categories":["all"]},{"name":"pods/eviction","singularName":"","namespaced":true,"group":"policy","version":"v1","kind":"Eviction","verbs":["create"]},{"name":"pods/status","singularName":"","namespaced":true,"kind":"Pod","verbs":["get","patch","update"]}]}"#]]
            .assert_eq(&list.to_string());
        assert_eq!(api_resource_list(&served(), "apps", "v1"), None);
    }

    #[test]
    fn aggregated_discovery_holds_all_of_it() {
        let core = aggregated(&served(), Half::Core);
        assert_eq!(
            core["items"][0]["versions"][0]["resources"][1]["subresources"][0]["subresource"],
            "eviction"
        );
        assert_eq!(core["items"][0]["versions"][0]["resources"][0]["scope"], "Cluster");
        let groups = aggregated(&served(), Half::Groups);
        expect![[r#"{"version":"v2","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"group":"autoscaling","version":"v2","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","singularResource":"horizontalpodautoscaler","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]}],"freshness":"Current"}"#]]
            .assert_eq(&groups["items"][0]["versions"][0].to_string());
    }
}
