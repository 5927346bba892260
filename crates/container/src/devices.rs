//! Which devices a container may use: from OCI's rules to what the kernel takes. Pure.
//!
//! ```text
//! LinuxResources.devices + what every container has ─► Allowlist ─┬─► v1: lines for devices.deny/.allow
//!                                                                 └─► v2: a BPF program for the cgroup
//! ```
//!
//! The kernel's v1 interface is the common ground (Documentation/admin-guide/cgroup-v1/devices.rst): a
//! default and exceptions from it. OCI's rules apply in order, the last word wins; rules that cut a piece
//! out of an earlier exception have no such form and are refused, as runc does.

use linux::bpf::Instruction;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

/// The device nodes of every container (OCI runtime spec, config-linux.md, "Default Devices"): name, major,
/// minor. /dev/console, /dev/ptmx and /dev/pts are not nodes but binds and links.
const DEFAULT_NODES: [(&str, i64, i64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const READ: u8 = 1;
const WRITE: u8 = 2;
const MKNOD: u8 = 4;
const EVERYTHING: u8 = READ | WRITE | MKNOD;

/// Rules that cannot be carried out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceRuleError {
    /// A number beyond what a device can have.
    #[error("device rule \"{rule}\": {number} is no device number")]
    Number {
        /// The rule.
        rule: String,
        /// The number.
        number: i64,
    },
    /// Access letters other than r, w and m.
    #[error("device rule \"{rule}\": access is made of the letters r, w and m")]
    Access {
        /// The rule.
        rule: String,
    },
    /// A rule for pipes or the like.
    #[error("device rule \"{rule}\": the type is a (all), b (block) or c (character)")]
    Type {
        /// The rule.
        rule: String,
    },
    /// A rule that would have to split an earlier one.
    #[error(
        "device rule \"{rule}\" takes back a part of the earlier \"{earlier}\", which the kernel cannot \
         express: list the devices that remain instead"
    )]
    Split {
        /// The rule.
        rule: String,
        /// The one before.
        earlier: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Char,
}

/// Devices that are treated unlike the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exception {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

/// What a container may do with devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowlist {
    /// Whether everything is allowed but the exceptions (privileged), or nothing but them.
    allows_by_default: bool,
    exceptions: Vec<Exception>,
}

/// The device nodes every container has, besides those its spec asks for.
pub fn default_nodes() -> Vec<LinuxDevice> {
    DEFAULT_NODES
        .into_iter()
        .map(|(path, major, minor)| {
            let mut node = LinuxDevice::default();
            node.set_path(path.into())
                .set_typ(LinuxDeviceType::C)
                .set_major(major)
                .set_minor(minor)
                .set_file_mode(Some(0o666))
                .set_uid(Some(0))
                .set_gid(Some(0));
            node
        })
        .collect()
}

/// What every container may use, whatever its spec says: its default nodes, its terminals, and mknod of
/// anything (a node that may not be opened does no harm; tar and package managers make them).
fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let rule = |typ, major, minor, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_typ(Some(typ)).set_major(major).set_minor(minor);
        rule.set_access(Some(access.to_owned()));
        rule
    };
    let mut rules =
        vec![rule(LinuxDeviceType::C, None, None, "m"), rule(LinuxDeviceType::B, None, None, "m")];
    let nodes = DEFAULT_NODES.into_iter();
    rules.extend(nodes.map(|(_, major, minor)| rule(LinuxDeviceType::C, Some(major), Some(minor), "rwm")));
    // /dev/pts/* and /dev/ptmx.
    rules.push(rule(LinuxDeviceType::C, Some(136), None, "rwm"));
    rules.push(rule(LinuxDeviceType::C, Some(5), Some(2), "rwm"));
    rules
}

impl Allowlist {
    /// The allow-list of OCI rules (`linux.resources.devices`), in order, starting from nothing allowed, with
    /// what every container has added at the end.
    pub fn plan(rules: &[LinuxDeviceCgroup]) -> Result<Self, DeviceRuleError> {
        let mut list = Self { allows_by_default: false, exceptions: Vec::new() };
        for rule in rules {
            list.add(rule)?;
        }
        // Where everything is allowed, what the spec denies was meant.
        if !list.allows_by_default {
            for rule in default_rules() {
                list.add(&rule)?;
            }
        }
        Ok(list)
    }

    /// Whether a device may be used; what the kernel would say. `access` is made of r, w and m.
    pub fn allows(&self, is_block: bool, major: u32, minor: u32, access: &str) -> bool {
        let kind = if is_block { Kind::Block } else { Kind::Char };
        let Some(access) = parse_access(access) else { return false };
        let concerned = |exception: &&Exception| {
            exception.kind == kind
                && exception.major.is_none_or(|wanted| wanted == major)
                && exception.minor.is_none_or(|wanted| wanted == minor)
        };
        let mut exceptions = self.exceptions.iter().filter(concerned);
        if self.allows_by_default {
            !exceptions.any(|exception| exception.access & access != 0)
        } else {
            exceptions.any(|exception| exception.access & access == access)
        }
    }

    fn add(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), DeviceRuleError> {
        let text = || rule.to_string();
        let access = match rule.access().as_deref() {
            None | Some("") => EVERYTHING,
            Some(letters) => parse_access(letters).ok_or_else(|| DeviceRuleError::Access { rule: text() })?,
        };
        let (major, minor) = (number(rule, rule.major())?, number(rule, rule.minor())?);
        let kinds: &[Kind] = match rule.typ().unwrap_or_default() {
            // As in the kernel's interface, "a" is everything and the rest of the line does not count.
            LinuxDeviceType::A => {
                *self = Self { allows_by_default: rule.allow(), exceptions: Vec::new() };
                return Ok(());
            }
            LinuxDeviceType::B => &[Kind::Block],
            LinuxDeviceType::C | LinuxDeviceType::U => &[Kind::Char],
            LinuxDeviceType::P => return Err(DeviceRuleError::Type { rule: text() }),
        };
        for kind in kinds {
            let exception = Exception { kind: *kind, major, minor, access };
            if rule.allow() == self.allows_by_default {
                self.take_back(exception, &text)?;
            } else {
                self.insert(exception);
            }
        }
        Ok(())
    }

    /// One entry per device: the kernel asks for all letters of an access in one entry.
    fn insert(&mut self, new: Exception) {
        match self.exceptions.iter_mut().find(|old| old.names_the_same(&new)) {
            Some(old) => old.access |= new.access,
            None => self.exceptions.push(new),
        }
    }

    fn take_back(&mut self, taken: Exception, rule: &dyn Fn() -> String) -> Result<(), DeviceRuleError> {
        for old in &mut self.exceptions {
            if !old.overlaps(&taken) {
                continue;
            }
            if !taken.covers(old) {
                return Err(DeviceRuleError::Split { rule: rule(), earlier: old.to_string() });
            }
            old.access &= !taken.access;
        }
        self.exceptions.retain(|exception| exception.access != 0);
        Ok(())
    }

    /// What to write on cgroup v1, in order: the file and the line.
    pub fn v1_lines(&self) -> Vec<(&'static str, String)> {
        let (default, other) = if self.allows_by_default {
            ("devices.allow", "devices.deny")
        } else {
            ("devices.deny", "devices.allow")
        };
        let exceptions = self.exceptions.iter().map(|exception| (other, exception.to_string()));
        std::iter::once((default, "a".to_owned())).chain(exceptions).collect()
    }

    /// The program for cgroup v2 (BPF_PROG_TYPE_CGROUP_DEVICE); `None` when everything is allowed.
    pub fn v2_program(&self) -> Option<Vec<Instruction>> {
        if self.allows_by_default && self.exceptions.is_empty() {
            return None;
        }
        Some(program::assemble(self))
    }
}

impl Exception {
    fn names_the_same(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether there is an access that both speak about.
    fn overlaps(&self, other: &Self) -> bool {
        let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind
            && self.access & other.access != 0
            && meets(self.major, other.major)
            && meets(self.minor, other.minor)
    }

    /// Whether every device of `other` is one of this.
    fn covers(&self, other: &Self) -> bool {
        let within = |whole: Option<u32>, part: Option<u32>| whole.is_none() || whole == part;
        self.kind == other.kind && within(self.major, other.major) && within(self.minor, other.minor)
    }
}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .into_iter()
            .filter(|(bit, _)| self.access & bit != 0)
            .try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

fn parse_access(letters: &str) -> Option<u8> {
    letters.bytes().try_fold(0, |access, letter| match letter {
        b'r' => Some(access | READ),
        b'w' => Some(access | WRITE),
        b'm' => Some(access | MKNOD),
        _ => None,
    })
}

/// A device number; negative is Go's way to say "any".
fn number(rule: &LinuxDeviceCgroup, number: Option<i64>) -> Result<Option<u32>, DeviceRuleError> {
    match number {
        None | Some(..0) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| DeviceRuleError::Number { rule: rule.to_string(), number }),
    }
}

mod program;

#[cfg(test)]
mod tests;
