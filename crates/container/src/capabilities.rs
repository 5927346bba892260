//! Capabilities: names, numbers and sets (capabilities(7)). Pure.
//!
//! Kubernetes writes `NET_ADMIN`, OCI writes `CAP_NET_ADMIN`, the kernel takes bit 12.

use oci_spec::runtime::{Capabilities, Capability};

/// Every capability in the order of its number (include/uapi/linux/capability.h).
const BY_NUMBER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// What a container gets that asks for nothing: the set of containerd, Docker and CRI implementations.
pub const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// The default set as OCI's type.
pub fn default_set() -> Capabilities {
    DEFAULT.into_iter().collect()
}

/// All capabilities this version knows. A privileged container gets those among them that the kernel has.
pub fn all() -> Capabilities {
    BY_NUMBER.into_iter().collect()
}

/// The number of a capability.
pub fn number(capability: Capability) -> u8 {
    // Every variant stands in the table (see the test), so the fallback is never taken; 63 is no capability.
    BY_NUMBER.iter().position(|known| *known == capability).map_or(63, |position| position as u8)
}

/// The name with its prefix, `CAP_NET_ADMIN`.
pub fn name(capability: Capability) -> String {
    format!("CAP_{capability}")
}

/// The capability that a text names, with or without `CAP_`, in any case, as CRI implementations read it.
pub fn parse(text: &str) -> Option<Capability> {
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    bare.parse().ok()
}

/// The set as the kernel's bit mask.
pub fn mask<'set>(capabilities: impl IntoIterator<Item = &'set Capability>) -> u64 {
    capabilities.into_iter().fold(0, |mask, capability| mask | 1 << number(*capability))
}

/// The set that a bit mask stands for; bits that this version does not know are left out.
pub fn from_mask(mask: u64) -> Capabilities {
    BY_NUMBER.into_iter().filter(|capability| mask & (1 << number(*capability)) != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (capability, bit) in [
            (Capability::Chown, 0),
            (Capability::NetAdmin, 12),
            (Capability::SysAdmin, 21),
            (Capability::Mknod, 27),
            (Capability::Setfcap, 31),
            (Capability::Syslog, 34),
            (Capability::CheckpointRestore, 40),
        ] {
            assert_eq!(number(capability), bit, "{capability}");
        }
    }

    #[test]
    fn every_capability_is_in_the_table_once() {
        assert_eq!(all().len(), BY_NUMBER.len());
        assert_eq!(mask(&all()), (1 << 41) - 1);
        assert_eq!(from_mask(mask(&all())), all());
    }

    #[test]
    fn names_are_read_as_kubernetes_and_oci_write_them() {
        for text in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin", "cap_Net_Admin"] {
            assert_eq!(parse(text), Some(Capability::NetAdmin), "{text}");
        }
        assert_eq!(parse("ALL"), None);
        assert_eq!(parse("CAP_CAP_KILL"), None);
        for capability in BY_NUMBER {
            assert_eq!(parse(&name(capability)), Some(capability));
        }
    }

    #[test]
    fn the_default_set_is_dockers() {
        // The value of CapEff in every default container: a known constant.
        assert_eq!(mask(&DEFAULT), 0xa804_25fb);
    }
}
