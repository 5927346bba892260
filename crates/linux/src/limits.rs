//! Resource limits of the calling process by number (setrlimit(2)), with the plain numbers of an OCI spec.

use std::io;

/// A soft and a hard limit; `u64::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// What is enforced.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// Sets the limit of `resource` (`RLIMIT_*`).
pub fn set(resource: u32, limit: Rlimit) -> io::Result<()> {
    let new = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `new` is a whole rlimit64 and outlives the call; the old limit is not asked for.
    let failed = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const new, 0usize) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The limit of `resource` (`RLIMIT_*`).
pub fn get(resource: u32) -> io::Result<Rlimit> {
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `old` is a whole rlimit64 that the kernel writes; no new limit is given.
    let failed = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, 0usize, &raw mut old) };
    if failed == 0 {
        Ok(Rlimit { soft: old.rlim_cur, hard: old.rlim_max })
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_back_as_it_was_set() {
        let core = get(libc::RLIMIT_CORE).unwrap();
        let lowered = Rlimit { soft: 0, hard: core.hard };
        set(libc::RLIMIT_CORE, lowered).unwrap();
        assert_eq!(get(libc::RLIMIT_CORE).unwrap(), lowered);
    }

    #[test]
    fn an_unknown_resource_is_refused() {
        assert!(get(4096).is_err());
    }
}
