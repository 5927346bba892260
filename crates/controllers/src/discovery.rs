//! Which kinds of objects there are, as the API server says itself.

use std::borrow::Cow;

use client::{Client, Error, Kind};
use http::Method;
use serde_json::Value;

/// A kind that can be listed, watched and deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    /// Such as `Pod`.
    pub(crate) name: String,
    pub(crate) is_namespaced: bool,
}

impl Resource {
    /// `apiVersion` of its objects.
    #[cfg(test)]
    pub(crate) fn api_version(&self) -> String {
        match &*self.kind.group {
            "" => self.kind.version.to_string(),
            group => format!("{group}/{}", self.kind.version),
        }
    }
}

/// All of them, each at the version that its group prefers.
pub(crate) async fn resources(client: &Client) -> Result<Vec<Resource>, Error> {
    let mut found = of_group("", &client.raw(Method::GET, "/api/v1", None).await?);
    let groups = client.raw(Method::GET, "/apis", None).await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let (Some(name), Some(version)) =
            (group["name"].as_str(), group["preferredVersion"]["groupVersion"].as_str())
        else {
            continue;
        };
        match client.raw(Method::GET, &format!("/apis/{version}"), None).await {
            Ok(list) => found.extend(of_group(name, &list)),
            // The group went away between the two questions.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn of_group(group: &str, list: &Value) -> Vec<Resource> {
    let version = list["groupVersion"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let is_kept = |resource: &&Value| {
        let verbs = resource["verbs"].as_array();
        let can = |verb: &str| verbs.into_iter().flatten().any(|known| known == verb);
        ["list", "watch", "delete"].into_iter().all(can)
            && !resource["name"].as_str().unwrap_or_default().contains('/')
    };
    let resources = list["resources"].as_array().into_iter().flatten().filter(is_kept);
    resources
        .map(|resource| Resource {
            kind: Kind {
                group: Cow::Owned(group.to_owned()),
                version: Cow::Owned(version.to_owned()),
                plural: Cow::Owned(resource["name"].as_str().unwrap_or_default().to_owned()),
            },
            name: resource["kind"].as_str().unwrap_or_default().to_owned(),
            is_namespaced: resource["namespaced"].as_bool().unwrap_or(false),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_can_be_followed_and_deleted_counts() {
        let all = json!(["create", "delete", "get", "list", "watch"]);
        let list = json!({"groupVersion": "apps/v1", "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": true, "verbs": all},
            {"name": "deployments/scale", "kind": "Scale", "namespaced": true, "verbs": all},
            {"name": "reviews", "kind": "Review", "namespaced": false, "verbs": ["create"]},
        ]});
        let found = of_group("apps", &list);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].api_version().as_str()), ("Deployment", "apps/v1"));
        assert!(found[0].is_namespaced);
    }
}
