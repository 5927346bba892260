//! From a document's tree to objects: which kind it is, what a fragment lacks, and whose name is taken.

use std::collections::HashMap;

use super::problem::{Problem, ProblemKind};
use super::read;
use super::report::{Report, Target};
use super::schema::Type;
use super::source::Source;
use super::strict;
use super::tree::Node;
use crate::fields;
use crate::pod::{KeyedObject, Meta, ObjectKind, Pod};

/// Kinds that podling takes, with their fields.
const TAKEN: [(&str, &Type); 3] =
    [("Pod", &fields::POD), ("ConfigMap", &fields::CONFIG_MAP), ("Secret", &fields::SECRET)];

const TEMPLATE: &str =
    "its Pod is what stands under spec.template: give it `apiVersion: v1`, `kind: Pod` and a name";
const OUTSIDE: &str = "to reach a Pod from outside, declare ports[].hostPort";
const OTHER_VOLUME: &str = "for a try, use an emptyDir or hostPath volume";

/// Kinds that are valid Kubernetes and not taken, with what to do instead where there is something.
const NOT_TAKEN: &[(&str, &str)] = &[
    ("Deployment", TEMPLATE),
    ("StatefulSet", TEMPLATE),
    ("DaemonSet", TEMPLATE),
    ("ReplicaSet", TEMPLATE),
    ("ReplicationController", TEMPLATE),
    ("Job", TEMPLATE),
    ("CronJob", "its Pod is what stands under spec.jobTemplate.spec.template"),
    ("PodTemplate", "its Pod is what stands under template"),
    ("Service", OUTSIDE),
    ("Ingress", OUTSIDE),
    ("PersistentVolumeClaim", OTHER_VOLUME),
    ("PersistentVolume", OTHER_VOLUME),
    ("Namespace", "a namespace needs no object: write metadata.namespace into the Pod"),
    ("ServiceAccount", ""),
    ("Role", ""),
    ("RoleBinding", ""),
    ("ClusterRole", ""),
    ("ClusterRoleBinding", ""),
    ("NetworkPolicy", ""),
    ("HorizontalPodAutoscaler", ""),
    ("PodDisruptionBudget", ""),
    ("StorageClass", ""),
    ("ResourceQuota", ""),
    ("LimitRange", ""),
    ("Endpoints", ""),
    ("EndpointSlice", ""),
    ("Event", ""),
    ("Node", ""),
    ("RuntimeClass", ""),
    ("PriorityClass", ""),
    ("IngressClass", ""),
    ("Lease", ""),
    ("CustomResourceDefinition", ""),
    ("ValidatingWebhookConfiguration", ""),
    ("MutatingWebhookConfiguration", ""),
    ("Gateway", ""),
    ("HTTPRoute", ""),
];

/// What has been read so far of all documents.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) pods: Vec<Pod>,
    pub(crate) objects: Vec<KeyedObject>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    /// Kind, namespace and name of each object, and the line where it begins.
    taken: HashMap<(String, String, String), usize>,
}

/// What a document without its head looks like.
enum Fragment {
    /// Fields of a Pod: `spec`, perhaps `metadata`.
    Pod,
    /// Fields of a Pod's spec: `containers`.
    Spec,
    /// Fields of a container: `image`.
    Container,
    /// `data` or `stringData` at the top.
    Data,
}

impl Reading {
    /// Reads one document. Gives back where its objects stand: the path of each, with kind and name.
    pub(crate) fn document(
        &mut self,
        source: &mut Source<'_>,
        root: &Node,
    ) -> Vec<(String, &'static str, String)> {
        let is_list = root.text("kind").is_some_and(|kind| kind.ends_with("List"));
        if !is_list {
            return self.object(source, root, root, "").into_iter().collect();
        }
        let mut places = Vec::new();
        let mut report = self.report(source, root, "");
        check_head(&mut report, root, "List");
        for (index, entry) in root.entries().iter().enumerate() {
            if !matches!(entry.key.as_str(), "apiVersion" | "kind" | "metadata" | "items") {
                let hint = Some("a List has items".to_owned());
                let target = Target::Key(root, index);
                report.add(target, ProblemKind::UnknownField, "unknown field".to_owned(), hint);
            }
        }
        if root.get("items").is_none_or(|items| !matches!(items.value, super::tree::Value::List(_))) {
            report.required(root, "items");
        }
        for (index, item) in root.list("items").iter().enumerate() {
            places.extend(self.object(source, root, item, &format!("items[{index}]")));
        }
        places
    }

    /// Reads a Pod as an API server holds it.
    pub(crate) fn stored(&mut self, source: &mut Source<'_>, root: &Node) {
        let mut report = self.report(source, root, "");
        strict::check(&mut report, root, &fields::POD, "");
        let pod = read::pod::stored(&mut report, root);
        self.pods.push(pod);
    }

    fn report<'a, 's>(
        &'a mut self,
        source: &'a mut Source<'s>,
        root: &'a Node,
        prefix: &'a str,
    ) -> Report<'a, 's> {
        Report::new(source, root, prefix, &mut self.problems, &mut self.warnings)
    }

    /// Reads one object at a path of its document.
    fn object(
        &mut self,
        source: &mut Source<'_>,
        root: &Node,
        node: &Node,
        path: &str,
    ) -> Option<(String, &'static str, String)> {
        if node.entries().is_empty() {
            self.no_mapping(source, root, node);
            return None;
        }
        let has_head = node.get("kind").is_some() || node.get("apiVersion").is_some();
        if let (false, Some(fragment)) = (has_head, Fragment::of(node)) {
            let name = self.fragment(source, root, node, &fragment)?;
            return Some((path.to_owned(), "Pod", name));
        }
        let mut report = self.report(source, root, "");
        let Some(kind) = node.text("kind") else {
            report.required_because(node, "kind", "which kind of object this is", Some("kind: Pod"));
            return None;
        };
        let Some((kind, of)) = TAKEN.into_iter().find(|(taken, _)| *taken == kind) else {
            unknown_kind(&mut report, node, kind);
            return None;
        };
        check_head(&mut report, node, kind);
        strict::check(&mut report, node, of, path);
        let meta = match kind {
            "Pod" => {
                let pod = read::pod::pod(&mut report, node);
                let meta = pod.meta.clone();
                self.pods.push(pod);
                meta
            }
            _ => {
                let object_kind = if kind == "Secret" { ObjectKind::Secret } else { ObjectKind::ConfigMap };
                let object = read::keyed::object(&mut report, node, object_kind);
                let meta = object.meta.clone();
                self.objects.push(object);
                meta
            }
        };
        self.claim_name(source, root, node, kind, &meta);
        Some((path.to_owned(), kind, meta.name))
    }

    /// Two objects of one kind, namespace and name: the second is refused.
    fn claim_name(&mut self, source: &mut Source<'_>, root: &Node, node: &Node, kind: &str, meta: &Meta) {
        let key = (kind.to_owned(), meta.namespace.clone(), meta.name.clone());
        let Some(name) = node.get("metadata").and_then(|metadata| metadata.get("name")) else { return };
        if let Some(line) = self.taken.get(&key) {
            let hint = format!("the {kind} of that name begins in line {line}");
            let mut report = self.report(source, root, "");
            let message = format!("Duplicate value: {}", report.shown(name));
            report.add(Target::Value(name), ProblemKind::Duplicate, message, Some(hint));
            return;
        }
        self.taken.insert(key, node.at.line);
    }

    /// A document that is text, a number, or an empty mapping.
    fn no_mapping(&mut self, source: &mut Source<'_>, root: &Node, node: &Node) {
        let mut report = self.report(source, root, "");
        let looks_like_containers = node.items().iter().any(|item| item.get("image").is_some());
        let message = "a manifest begins with apiVersion, kind, metadata and spec; this does not".to_owned();
        const HEAD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: my-pod\nspec:\n  containers:\n  - ";
        let hint = if looks_like_containers {
            format!("this looks like a list of containers; put around it:\n{HEAD}...")
        } else {
            format!("{HEAD}name: main\n    image: busybox")
        };
        report.add(Target::Value(node), ProblemKind::Incomplete, message, Some(hint));
    }

    /// A part of a manifest: says what is missing, and what is wrong inside. A Pod that lacks only its head is kept;
    /// its name is given back.
    fn fragment(
        &mut self,
        source: &mut Source<'_>,
        root: &Node,
        node: &Node,
        fragment: &Fragment,
    ) -> Option<String> {
        let (prefix, of, message, hint) = fragment.completion(node);
        let mut report = self.report(source, root, prefix);
        let place = Target::Value(node);
        let Some(of) = of else {
            report.add(place, ProblemKind::Incomplete, message, Some(hint));
            return None;
        };
        strict::check(&mut report, node, of, prefix.trim_end_matches('.'));
        let spec = match fragment {
            Fragment::Pod => node.get("spec").map(|spec| read::pod::spec(&mut report, spec)),
            // Its paths begin one level above what is written, so nothing more can be said of it with its place.
            Fragment::Spec => {
                read::pod::spec(&mut report, node);
                None
            }
            Fragment::Container | Fragment::Data => None,
        };
        let mut report = self.report(source, root, "");
        report.add(Target::Value(node), ProblemKind::Incomplete, message, Some(hint));
        let spec = spec?;
        let mut meta = Meta { namespace: "default".to_owned(), generation: 1, ..Meta::default() };
        meta.name = fragment.name(node).to_owned();
        let name = meta.name.clone();
        self.pods.push(Pod { meta, spec });
        Some(name)
    }
}

impl Fragment {
    fn of(node: &Node) -> Option<Fragment> {
        let has = |key: &str| node.entries().iter().any(|entry| entry.key == key);
        if has("spec") || has("metadata") {
            Some(Fragment::Pod)
        } else if has("containers") || has("initContainers") {
            Some(Fragment::Spec)
        } else if has("image") {
            Some(Fragment::Container)
        } else if has("data") || has("stringData") || has("binaryData") {
            Some(Fragment::Data)
        } else {
            None
        }
    }

    /// The name that it has.
    fn own_name<'n>(&self, node: &'n Node) -> Option<&'n str> {
        match self {
            Fragment::Container => node.text("name"),
            _ => node.get("metadata").and_then(|metadata| metadata.text("name")),
        }
    }

    /// A name for it: its own, else that of its first container.
    fn name<'n>(&self, node: &'n Node) -> &'n str {
        let spec = node.get("spec").unwrap_or(node);
        let first = || spec.list("containers").first().and_then(|container| container.text("name"));
        let name = self.own_name(node).or_else(first);
        name.filter(|name| crate::names::dns_label(name).is_ok()).unwrap_or("my-pod")
    }

    /// The prefix of its paths, the type of its fields, what is missing and how to complete it.
    fn completion(&self, node: &Node) -> (&'static str, Option<&'static Type>, String, String) {
        let own = self.own_name(node);
        let name = self.name(node);
        match self {
            Fragment::Pod => {
                let metadata = match own {
                    Some(_) => String::new(),
                    None => format!("\nmetadata:\n  name: {name}"),
                };
                let missing = if own.is_some() { "apiVersion and kind" } else { "apiVersion, kind and metadata.name" };
                (
                    "",
                    Some(&fields::POD),
                    format!("{missing} are missing: this is a part of a manifest"),
                    format!("this looks like a Pod without its head; put before it:\napiVersion: v1\nkind: Pod{metadata}"),
                )
            }
            Fragment::Spec => {
                let inside = node.entries().first().map_or("containers", |entry| entry.key.as_str());
                (
                    "spec.",
                    Some(&fields::POD_SPEC),
                    "apiVersion, kind, metadata.name and spec are missing: this is a part of a manifest".to_owned(),
                    format!(
                        "this looks like the inside of a Pod's spec; complete it like this:\napiVersion: v1\nkind: \
                         Pod\nmetadata:\n  name: {name}\nspec:\n  {inside}:   # from here on what you have, indented by two \
                         more spaces"
                    ),
                )
            }
            Fragment::Container => (
                "spec.containers[0].",
                Some(&fields::CONTAINER),
                "apiVersion, kind, metadata.name and spec are missing: this is a part of a manifest".to_owned(),
                format!(
                    "this looks like one container; complete it like this:\napiVersion: v1\nkind: Pod\nmetadata:\n  name: \
                     {name}\nspec:\n  containers:\n  - name: {name}   # from here on what you have, indented by four more spaces"
                ),
            ),
            Fragment::Data => (
                "",
                None,
                "apiVersion, kind and metadata.name are missing: this is a part of a manifest".to_owned(),
                "this looks like a ConfigMap or Secret without its head; put before it:\napiVersion: v1\nkind: ConfigMap  # or Secret\nmetadata:\n  name: my-config"
                    .to_owned(),
            ),
        }
    }
}

/// `apiVersion` must be there and be that of the core kinds.
fn check_head(report: &mut Report<'_, '_>, node: &Node, kind: &str) {
    match node.get("apiVersion") {
        None => {
            let hint = format!("a {kind} has `apiVersion: v1`");
            report.required_because(node, "apiVersion", "the API that the kind belongs to", Some(&hint));
        }
        Some(version) if version.as_text().is_some_and(|version| version != "v1") => {
            report.unsupported(version, &["v1"]);
        }
        Some(_) => {}
    }
}

fn unknown_kind(report: &mut Report<'_, '_>, node: &Node, kind: &str) {
    let Some(value) = node.get("kind") else { return };
    let shown = report.shown(value);
    let kinds = "podling takes Pod, ConfigMap, Secret and List today";
    let (message, hint) = match NOT_TAKEN.iter().find(|(known, _)| *known == kind) {
        Some((known, hint)) => (
            format!("Unsupported value: {shown}: {known} is valid Kubernetes, but {kinds}"),
            (!hint.is_empty()).then(|| (*hint).to_owned()),
        ),
        None => {
            let known =
                TAKEN.into_iter().map(|(kind, _)| kind).chain(NOT_TAKEN.iter().map(|(kind, _)| *kind));
            let hint = super::suggest::nearest(kind, known).map(|nearest| format!("did you mean {nearest}?"));
            (format!("Unsupported value: {shown}: {kinds}"), hint)
        }
    };
    report.add(Target::Value(value), ProblemKind::UnknownKind, message, hint);
}
