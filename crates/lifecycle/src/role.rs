//! The four roles of a container, and the walk over all of them in start order.

use model::pod::{Container, Pod};

/// What a container is in its Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always` (KEP-753).
    Sidecar,
    /// One of `spec.containers`.
    Main,
    /// One of `spec.ephemeralContainers` (KEP-277): starts as soon as there is a sandbox, once, and decides nothing.
    Ephemeral,
}

/// A container with its role and its place in its own list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) role: Role,
    pub(crate) index: usize,
    pub(crate) container: &'a Container,
}

impl<'a> Member<'a> {
    pub(crate) fn name(&self) -> &'a str {
        &self.container.name
    }
}

/// Init containers and sidecars, then main containers, then ephemeral ones.
pub(crate) fn members(pod: &Pod) -> impl DoubleEndedIterator<Item = Member<'_>> {
    let init = pod.spec.init_containers.iter().enumerate().map(|(index, container)| Member {
        role: if container.is_sidecar() { Role::Sidecar } else { Role::Init },
        index,
        container,
    });
    let ephemeral = pod.spec.ephemeral_containers.iter().enumerate().map(|(index, ephemeral)| Member {
        role: Role::Ephemeral,
        index,
        container: &ephemeral.container,
    });
    init.chain(mains(pod)).chain(ephemeral)
}

/// Main containers.
pub(crate) fn mains(pod: &Pod) -> impl DoubleEndedIterator<Item = Member<'_>> {
    pod.spec.containers.iter().enumerate().map(|(index, container)| Member {
        role: Role::Main,
        index,
        container,
    })
}

/// The container of that name.
pub(crate) fn member<'a>(pod: &'a Pod, name: &str) -> Option<Member<'a>> {
    members(pod).find(|member| member.name() == name)
}
