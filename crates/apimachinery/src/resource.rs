//! What the API serves, kind by kind: the one list from which routes, discovery and OpenAPI are made.
//!
//! A [`Resource`] says nothing of how a kind behaves; admission, strategies and controllers are elsewhere. Built-in
//! kinds stand in a table of the API server, written with the builder below; a CustomResourceDefinition adds its own.

use serde_json::{Value, json};

/// A group, a version and a kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// The API group, empty for the core group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// The kind, such as `Pod`.
    pub kind: String,
}

impl GroupVersionKind {
    /// One from its parts.
    pub fn new(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        GroupVersionKind { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// One from `apiVersion` and `kind` of an object.
    pub fn from_api_version(api_version: &str, kind: impl Into<String>) -> Self {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        GroupVersionKind::new(group, version, kind)
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// As `x-kubernetes-group-version-kind` has it.
    pub fn extension(&self) -> Value {
        json!({"group": self.group, "kind": self.kind, "version": self.version})
    }
}

/// `v1` or `apps/v1`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// What may be done to a resource, in the words of discovery and RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// POST.
    Create,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
    /// GET of one object.
    Get,
    /// GET of a collection.
    List,
    /// PATCH.
    Patch,
    /// PUT.
    Update,
    /// GET of a collection with `watch=true`.
    Watch,
}

impl Verb {
    /// All of them, in the order of discovery.
    pub const ALL: [Verb; 8] = [
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// Where objects of a resource live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In none.
    Cluster,
}

impl Scope {
    /// As `scope` of aggregated discovery and of a CustomResourceDefinition has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Namespaced => "Namespaced",
            Scope::Cluster => "Cluster",
        }
    }
}

/// One resource at one version of its group.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// The API group, empty for the core group.
    pub group: String,
    /// The version, such as `v1`.
    pub version: String,
    /// The name in paths, such as `pods`.
    pub plural: String,
    /// The name of one, such as `pod`.
    pub singular: String,
    /// The kind of an object, such as `Pod`.
    pub kind: String,
    /// The kind of a list of them, such as `PodList`.
    pub list_kind: String,
    /// What may be typed instead of the plural, such as `po`.
    pub short_names: Vec<String>,
    /// Names for several resources at once, such as `all`.
    pub categories: Vec<String>,
    /// Where its objects live.
    pub scope: Scope,
    /// What may be done to its objects.
    pub verbs: Vec<Verb>,
    /// What stands below an object's path.
    pub subresources: Vec<Subresource>,
    /// The definition of its objects, such as `io.k8s.api.core.v1.Pod`.
    pub definition: String,
}

/// What stands below an object's path, such as `status`, `log` or `scale`.
#[derive(Debug, Clone, PartialEq)]
pub struct Subresource {
    /// The last part of the path.
    pub name: String,
    /// What is sent to it and comes back; that of the resource itself unless said otherwise.
    pub kind: GroupVersionKind,
    /// The definition of that kind.
    pub definition: String,
    /// What may be done to it.
    pub verbs: Vec<Verb>,
    /// Whether it is an object or a connection.
    pub access: Access,
}

/// What a subresource is to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An object, or a part of one.
    Object,
    /// A stream or another server, such as `exec`, `log` and `proxy`; its options are query parameters.
    Connect,
}

impl Resource {
    /// A namespaced resource with all verbs and without subresources, named as Kubernetes names most: the
    /// singular is the kind in small letters, and the list's kind ends in `List`.
    pub fn new(group: &str, version: &str, plural: &str, kind: &str) -> Resource {
        Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_ascii_lowercase(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: Scope::Namespaced,
            verbs: Verb::ALL.to_vec(),
            subresources: Vec::new(),
            definition: definition(group, version, kind),
        }
    }

    /// Its objects live in no namespace.
    pub fn cluster(mut self) -> Resource {
        self.scope = Scope::Cluster;
        self
    }

    /// Adds names that may be typed instead of the plural.
    pub fn short(mut self, names: &[&str]) -> Resource {
        self.short_names.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Adds categories.
    pub fn categories(mut self, names: &[&str]) -> Resource {
        self.categories.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Allows only these verbs.
    pub fn verbs(mut self, verbs: &[Verb]) -> Resource {
        self.verbs = verbs.to_vec();
        self
    }

    /// Adds a part of the object itself, such as `status`.
    pub fn part(self, name: &str, verbs: &[Verb]) -> Resource {
        let (group, version, kind) = (self.group.clone(), self.version.clone(), self.kind.clone());
        self.subresource(name, &group, &version, &kind, verbs)
    }

    /// Adds `status`.
    pub fn status(self) -> Resource {
        self.part("status", &[Verb::Get, Verb::Patch, Verb::Update])
    }

    /// Adds `scale`, an `autoscaling/v1` Scale.
    pub fn scale(self) -> Resource {
        self.subresource("scale", "autoscaling", "v1", "Scale", &[Verb::Get, Verb::Patch, Verb::Update])
    }

    /// Adds a subresource with a kind of its own, such as `eviction`.
    pub fn subresource(
        mut self,
        name: &str,
        group: &str,
        version: &str,
        kind: &str,
        verbs: &[Verb],
    ) -> Resource {
        self.subresources.push(Subresource {
            name: name.to_owned(),
            kind: GroupVersionKind::new(group, version, kind),
            definition: definition(group, version, kind),
            verbs: verbs.to_vec(),
            access: Access::Object,
        });
        self
    }

    /// Adds a connection, such as `exec` with its `PodExecOptions`.
    pub fn connect(self, name: &str, kind: &str, verbs: &[Verb]) -> Resource {
        let (group, version) = (self.group.clone(), self.version.clone());
        let mut resource = self.subresource(name, &group, &version, kind, verbs);
        if let Some(added) = resource.subresources.last_mut() {
            added.access = Access::Connect;
        }
        resource
    }

    /// Group, version and kind of its objects.
    pub fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind::new(&self.group, &self.version, &self.kind)
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `pods` or `deployments.apps`, as messages name it.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether its objects live in a namespace.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The subresource of that name.
    pub fn find(&self, subresource: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|known| known.name == subresource)
    }
}

/// The name of a kind's definition: built-in kinds as Kubernetes' Go packages give them, others by their group's
/// parts backwards, as for CustomResourceDefinitions.
pub fn definition(group: &str, version: &str, kind: &str) -> String {
    let short = match group {
        "" => "core",
        "apiextensions.k8s.io" => {
            return format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}");
        }
        "apiregistration.k8s.io" => {
            return format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}.{kind}");
        }
        "metrics.k8s.io" => return format!("io.k8s.metrics.pkg.apis.metrics.{version}.{kind}"),
        "apps" | "autoscaling" | "batch" | "policy" => group,
        "rbac.authorization.k8s.io" => "rbac",
        "flowcontrol.apiserver.k8s.io" => "flowcontrol",
        _ => match group.strip_suffix(".k8s.io") {
            Some(name) if BUILT_IN.contains(&name) => name,
            _ => {
                let backwards: Vec<&str> = group.rsplit('.').collect();
                return format!("{}.{version}.{kind}", backwards.join("."));
            }
        },
    };
    format!("io.k8s.api.{short}.{version}.{kind}")
}

/// Groups of Kubernetes itself below `k8s.io`; others there, such as `snapshot.storage.k8s.io`, are custom.
const BUILT_IN: [&str; 12] = [
    "admissionregistration",
    "authentication",
    "authorization",
    "certificates",
    "coordination",
    "discovery",
    "events",
    "networking",
    "node",
    "resource",
    "scheduling",
    "storage",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_named_as_kubernetes_names_them() {
        for (group, version, kind, expected) in [
            ("", "v1", "Pod", "io.k8s.api.core.v1.Pod"),
            ("apps", "v1", "Deployment", "io.k8s.api.apps.v1.Deployment"),
            ("rbac.authorization.k8s.io", "v1", "Role", "io.k8s.api.rbac.v1.Role"),
            ("events.k8s.io", "v1", "Event", "io.k8s.api.events.v1.Event"),
            ("stable.example.com", "v1", "CronTab", "com.example.stable.v1.CronTab"),
            ("snapshot.storage.k8s.io", "v1", "VolumeSnapshot", "io.k8s.storage.snapshot.v1.VolumeSnapshot"),
            (
                "apiextensions.k8s.io",
                "v1",
                "CustomResourceDefinition",
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
            ),
        ] {
            assert_eq!(definition(group, version, kind), expected);
        }
    }

    #[test]
    fn a_subresource_has_the_kind_that_is_sent_to_it() {
        let pods = Resource::new("", "v1", "pods", "Pod").status().connect(
            "exec",
            "PodExecOptions",
            &[Verb::Create, Verb::Get],
        );
        assert_eq!(pods.find("status").map(|found| found.kind.kind.as_str()), Some("Pod"));
        assert_eq!(pods.find("exec").map(|found| found.access), Some(Access::Connect));
        assert_eq!(
            Resource::new("apps", "v1", "deployments", "Deployment")
                .scale()
                .find("scale")
                .map(|found| { (found.kind.api_version(), found.definition.clone()) }),
            Some(("autoscaling/v1".to_owned(), "io.k8s.api.autoscaling.v1.Scale".to_owned()))
        );
    }
}
