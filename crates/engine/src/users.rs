//! Which users of the machine the Pods with users of their own get (`hostUsers: false`, KEP-127).
//!
//! Each such Pod has 65,536 users that nobody else has, on the whole machine: whoever broke out of it would own nothing. The
//! ranges lie where systemd and the tools of /etc/subuid give none out (systemd's UIDS-GIDS.md). Whose a range is, is a lock on
//! one byte of a file, which the Pod's shim holds for as long as it lives; so nothing has to be given back.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use linux::user_namespace::IdRange;
use model::pod::USERS_PER_POD;

/// The file whose bytes stand for ranges, for all nodes of the machine.
const RANGES_FILE: &str = "/run/podling/users";
/// 0x7000_0000. Below it, up to 1,878,982,656, systemd-nspawn chooses.
const FIRST_USER: u32 = 1_879_048_192;
/// Up to 0x7ffd_ffff: systemd's foreign users begin at 0x7ffe_0000.
const RANGES: u32 = 4094;

/// A range, and the lock that makes it the holder's.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) range: IdRange,
    pub(crate) lock: OwnedFd,
}

/// Takes a range that nobody has: `before`, if the Pod had that one and it is free. `seed` says where the looking begins.
pub(crate) fn allocate(before: Option<IdRange>, seed: u64) -> io::Result<Allocation> {
    allocate_in(Path::new(RANGES_FILE), before, seed)
}

fn allocate_in(path: &Path, before: Option<IdRange>, seed: u64) -> io::Result<Allocation> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    let before = before.and_then(number_of);
    for number in before.into_iter().chain(numbers_from(seed)) {
        if linux::range_lock::try_lock_exclusive(&file, number)? {
            return Ok(Allocation { range: range(number), lock: file.into() });
        }
    }
    Err(io::Error::other(format!(
        "all {RANGES} ranges of users are taken by other Pods with hostUsers: false"
    )))
}

fn numbers_from(seed: u64) -> impl Iterator<Item = u32> {
    let start = (seed % u64::from(RANGES)) as u32;
    (start..RANGES).chain(0..start)
}

fn range(number: u32) -> IdRange {
    IdRange { first: FIRST_USER + number * USERS_PER_POD, count: USERS_PER_POD }
}

fn number_of(wanted: IdRange) -> Option<u32> {
    let number = wanted.first.checked_sub(FIRST_USER)? / USERS_PER_POD;
    (number < RANGES && range(number) == wanted).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_lie_where_nobody_else_gives_users_out_and_apart() {
        assert_eq!(range(0).first, 0x7000_0000);
        assert_eq!(range(1).first, range(0).first + 65_536);
        assert!(range(RANGES - 1).first + (USERS_PER_POD - 1) < 0x7ffe_0000);
        assert_eq!(number_of(range(77)), Some(77));
        assert_eq!(number_of(IdRange { first: FIRST_USER + 1, count: USERS_PER_POD }), None);
        assert_eq!(number_of(IdRange { first: 100_000, count: USERS_PER_POD }), None);
        assert_eq!(numbers_from(4095).take(2).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(numbers_from(4093).take(2).collect::<Vec<_>>(), [4093, 0]);
        assert_eq!(numbers_from(7).count(), RANGES as usize);
    }

    #[test]
    fn a_range_is_one_holders_until_that_one_ends_and_asked_for_again_by_who_had_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/users");
        let first = allocate_in(&path, None, 5).unwrap();
        let second = allocate_in(&path, None, 5).unwrap();
        assert_eq!((first.range, second.range), (range(5), range(6)));
        let third = allocate_in(&path, Some(first.range), 5).unwrap();
        assert_eq!(third.range, range(7), "the first still has it");
        drop(first);
        assert_eq!(allocate_in(&path, Some(range(5)), 900).unwrap().range, range(5));
    }
}
