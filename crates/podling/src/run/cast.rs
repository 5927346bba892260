//! Who is who in a run: every container with its role, its label and its place, from the manifest.

use model::pod::Pod;

use crate::console::Role;

/// The containers of all Pods of a run, in the order of the manifest.
#[derive(Debug, Default)]
pub(super) struct Cast {
    members: Vec<Member>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// The UID of its Pod.
    pub(super) uid: String,
    /// Its name.
    pub(super) name: String,
    /// What stands before its lines.
    pub(super) label: String,
    /// What it is in its Pod.
    pub(super) role: Role,
    /// Its place in the run; its colour follows from it.
    pub(super) index: usize,
}

impl Cast {
    pub(super) fn of(pods: &[Pod]) -> Cast {
        let mut members = Vec::new();
        for pod in pods {
            let init = pod.spec.init_containers.iter().map(|container| {
                (container, if container.is_sidecar() { Role::Sidecar } else { Role::Init })
            });
            let main = pod.spec.containers.iter().map(|container| (container, Role::Main));
            for (container, role) in init.chain(main) {
                let label = match pods.len() {
                    1 => container.name.clone(),
                    _ => format!("{}/{}", pod.meta.name, container.name),
                };
                let index = members.len();
                let (uid, name) = (pod.meta.uid.clone(), container.name.clone());
                members.push(Member { uid, name, label, role, index });
            }
        }
        Cast { members }
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = String> {
        self.members.iter().map(|member| member.label.clone())
    }

    pub(super) fn find(&self, uid: &str, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.uid == uid && member.name == name)
    }

    /// Which of its Pod's init containers, sidecars included, a container is, from 1; and how many there are.
    pub(super) fn place_among_init(&self, member: &Member) -> Option<(usize, usize)> {
        let mut init =
            self.members.iter().filter(|other| other.uid == member.uid && other.role != Role::Main);
        let total = init.clone().count();
        init.position(|other| other.name == member.name).map(|position| (position + 1, total))
    }
}
