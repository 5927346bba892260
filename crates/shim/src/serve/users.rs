//! The user namespace of a Pod that has users of its own (`hostUsers: false`, KEP-127), and being born in it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use linux::clone::{self, CloneFlags, Cloned};
use linux::user_namespace::IdRange;

use super::Shim;
use super::container::open_pidfd;
use crate::execute::{Attempt, become_root};
use crate::protocol::{StartError, Step};

/// A user namespace, and who its users are on the machine.
#[derive(Debug)]
pub(super) struct Users {
    pub(super) namespace: OwnedFd,
    pub(super) range: IdRange,
}

impl Shim {
    /// The users of the Pod, as far as they are not the machine's.
    pub(super) fn id_range(&self) -> Option<IdRange> {
        Some(self.sandbox.as_ref()?.users.as_ref()?.range)
    }

    /// What there is to know of the user namespace that the process `pid` is in.
    pub(super) fn users_of(&self, pid: i32, namespace: OwnedFd) -> Result<Users, StartError> {
        let range = self.proc.read(&format!("{pid}/uid_map")).and_then(|map| {
            IdRange::parse(&map).ok_or_else(|| io::Error::other(format!("its map is {:?}", map.trim())))
        });
        let range = range.attempt(Step::Namespaces, || "read who the Pod's users are".to_owned())?;
        Ok(Users { namespace, range })
    }

    /// Clones a child of the shim that is root in a user namespace; its new namespaces belong to that one. The shim itself
    /// cannot enter it, because there is no way back, so a process in between does, and ends.
    pub(super) fn clone_among(&self, users: &OwnedFd, flags: CloneFlags) -> io::Result<Cloned> {
        let (mut answers, mut answer) = io::pipe()?;
        match clone::clone3(self.single, 0, None)? {
            Cloned::Child => {
                let cloned = clone::join_namespaces(users.as_fd(), clone::NEW_USER)
                    .and_then(|()| Ok(become_root()?))
                    .and_then(|()| clone::clone_sibling(self.single, flags));
                let number = match cloned {
                    Ok(Cloned::Child) => return Ok(Cloned::Child),
                    Ok(Cloned::Parent { pid, .. }) => pid,
                    Err(error) => -error.raw_os_error().unwrap_or(1),
                };
                let _ = answer.write_all(&number.to_ne_bytes());
                clone::exit(0)
            }
            Cloned::Parent { .. } => {
                drop(answer);
                let mut number = [0; 4];
                answers.read_exact(&mut number)?;
                match i32::from_ne_bytes(number) {
                    // Its own child that nobody has waited for: the number is still that one's.
                    pid @ 1.. => {
                        let pidfd =
                            open_pidfd(pid).ok_or_else(|| io::Error::other("it has ended already"))?;
                        Ok(Cloned::Parent { pid, pidfd })
                    }
                    refusal => Err(io::Error::from_raw_os_error(-refusal)),
                }
            }
        }
    }
}
