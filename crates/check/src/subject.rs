//! One Pod as the rules look at it, with everything that they may know.

use model::pod::{Container, KeyedObject, ObjectKind, Pod};

use crate::facts::{Facts, ImageFacts, Looked};

/// A Pod, and what there is beside it.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) pod: &'a Pod,
    /// Pods that stand before it.
    pub(crate) earlier: &'a [&'a Pod],
    /// ConfigMaps and Secrets of all files.
    pub(crate) objects: &'a [&'a KeyedObject],
    pub(crate) facts: &'a Facts,
}

/// What a container is in its Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Init,
    Sidecar,
    Main,
}

/// A container with the path of its field.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    pub(crate) role: Role,
    pub(crate) path: String,
    pub(crate) container: &'a Container,
}

impl<'a> Member<'a> {
    pub(crate) fn name(&self) -> &'a str {
        &self.container.name
    }

    /// The path of a field of it.
    pub(crate) fn field(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    /// Where its words stand: its command, else its arguments, else the container itself.
    pub(crate) fn words_path(&self) -> String {
        match (self.container.command.is_empty(), self.container.args.is_empty()) {
            (false, _) => self.field("command"),
            (true, false) => self.field("args"),
            (true, true) => self.field("name"),
        }
    }
}

impl<'a> Subject<'a> {
    /// All containers in the order in which they start.
    pub(crate) fn members(&self) -> Vec<Member<'a>> {
        let init = self.pod.spec.init_containers.iter().enumerate().map(|(index, container)| Member {
            role: if container.is_sidecar() { Role::Sidecar } else { Role::Init },
            path: format!("spec.initContainers[{index}]"),
            container,
        });
        let main = self.pod.spec.containers.iter().enumerate().map(|(index, container)| Member {
            role: Role::Main,
            path: format!("spec.containers[{index}]"),
            container,
        });
        init.chain(main).collect()
    }

    /// The image of a container, if it could be looked at.
    pub(crate) fn image(&self, container: &Container) -> Option<&'a ImageFacts> {
        match self.facts.images.get(&container.image)? {
            Looked::Here(image) => Some(image),
            _ => None,
        }
    }

    /// A ConfigMap or Secret of the Pod's namespace.
    pub(crate) fn object(&self, kind: ObjectKind, name: &str) -> Option<&'a KeyedObject> {
        let is_it = |object: &&&KeyedObject| {
            object.kind == kind
                && object.meta.name == name
                && object.meta.namespace == self.pod.meta.namespace
        };
        self.objects.iter().find(is_it).copied()
    }
}
