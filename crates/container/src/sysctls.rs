//! Which sysctls a container may set: those that belong to a namespace of its Pod. Pure.
//!
//! Everything else in /proc/sys is the machine's (`kernel.core_pattern` runs a program of the container's
//! choice as root on the host), so it is refused whatever the spec says, as runc and crun do.

/// Names that are in an IPC namespace (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The namespaces that are not the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnNamespaces {
    /// Network.
    pub network: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Host and domain name.
    pub uts: bool,
}

/// A sysctl that may not be set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SysctlError {
    /// Not a name: it would climb, or name nothing.
    #[error("sysctl {name:?}: names are words of letters, digits, '_' and '-', joined by dots")]
    Name {
        /// The name.
        name: String,
    },
    /// It belongs to the machine.
    #[error("sysctl {name}: it belongs to no namespace, setting it would change the whole machine")]
    Machine {
        /// The name.
        name: String,
    },
    /// It would be the host's, because the namespace is.
    #[error("sysctl {name}: the {namespace} namespace is the host's, setting it would change the host")]
    HostNamespace {
        /// The name.
        name: String,
        /// Which namespace.
        namespace: &'static str,
    },
}

/// Whether a sysctl may be set. Dots separate; a slash stands for a dot inside a word (`net.ipv4.conf.eth0/1.x`).
pub fn check(name: &str, own: OwnNamespaces) -> Result<(), SysctlError> {
    // Exactly the words that become path components, so that none is empty, "." or "..".
    let is_word = |word: &str| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-/".contains(letter);
        !word.is_empty() && word.chars().all(plain) && word.chars().any(|letter| letter != '/')
    };
    if !name.split('.').all(is_word) || !name.contains('.') {
        return Err(SysctlError::Name { name: name.to_owned() });
    }
    let (is_own, namespace) = if name.starts_with("net.") {
        (own.network, "network")
    } else if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        (own.ipc, "IPC")
    } else if name == "kernel.domainname" || name == "kernel.hostname" {
        (own.uts, "UTS")
    } else {
        return Err(SysctlError::Machine { name: name.to_owned() });
    };
    if is_own { Ok(()) } else { Err(SysctlError::HostNamespace { name: name.to_owned(), namespace }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: OwnNamespaces = OwnNamespaces { network: true, ipc: true, uts: true };

    #[test]
    fn what_is_in_a_namespace_may_be_set() {
        for name in
            ["net.core.somaxconn", "net.ipv4.conf.eth0/1.rp_filter", "kernel.shmmax", "fs.mqueue.msg_max"]
        {
            assert_eq!(check(name, ALL), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_machine_is_left_alone() {
        for name in [
            "kernel.core_pattern",
            "vm.overcommit_memory",
            "fs.file-max",
            "kernel.shm_next_id",
            "user.max_user_namespaces",
        ] {
            assert!(matches!(check(name, ALL), Err(SysctlError::Machine { .. })), "{name}");
        }
        let host = OwnNamespaces { network: false, ..ALL };
        assert!(matches!(check("net.core.somaxconn", host), Err(SysctlError::HostNamespace { .. })));
    }

    #[test]
    fn names_do_not_climb() {
        for name in [
            "net.//.kernel.core_pattern",
            "net./.x",
            "net..x",
            "net.",
            ".net",
            "net",
            "",
            "net.a b",
            "net.\u{0}",
        ] {
            assert!(matches!(check(name, ALL), Err(SysctlError::Name { .. })), "{name:?}");
        }
    }
}
