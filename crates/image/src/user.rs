//! Who a container runs as: an image's USER, or a Pod's runAsUser, looked up in the image's own /etc/passwd and /etc/group.
//!
//! The rules are those of OCI image-spec, config.md, "User", as containerd and CRI-O apply them: `user`, `uid`, either with
//! `:group` or `:gid`. A number needs no entry; a name does. Without a group in the text the user's primary group is taken
//! (0 when the number has no entry), and the groups that list the user's name come as additional ones.

use std::io;
use std::path::PathBuf;

use crate::digest::read_limited;
use crate::merged;

/// More than any image's; an endless file shall not fill memory.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user ID.
    pub uid: u32,
    /// The primary group ID.
    pub gid: u32,
    /// Further groups that /etc/group puts the user in, without the primary one, in the file's order.
    pub additional_gids: Vec<u32>,
    /// The home directory; `/` when there is no entry.
    pub home: String,
    /// The name, when there is an entry.
    pub name: Option<String>,
}

/// Why a user could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name that the image does not know.
    #[error(
        "the image has no user {name:?} in /etc/passwd; give a numeric runAsUser, or an image that has it"
    )]
    UnknownUser {
        /// The name.
        name: String,
    },
    /// A group name that the image does not know.
    #[error("the image has no group {name:?} in /etc/group; give a numeric group, or an image that has it")]
    UnknownGroup {
        /// The name.
        name: String,
    },
    /// Not `user`, `uid`, `user:group` or a mixture.
    #[error("{text:?} is not a user: expected USER, UID, USER:GROUP or UID:GID")]
    Malformed {
        /// The text.
        text: String,
    },
    /// The image's file could not be read.
    #[error("cannot read {file} of the image")]
    Read {
        /// The file.
        file: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The number when `text` names its user by number: what `runAsNonRoot` can be checked against without any file.
pub fn numeric_uid(text: &str) -> Option<u32> {
    let user = text.split(':').next().unwrap_or_default();
    if user.is_empty() { Some(0) } else { number(user) }
}

/// Resolves `text` (empty: root) in the image whose layers, top first, are given.
pub fn resolve(layers: &[PathBuf], text: &str) -> Result<User, UserError> {
    let passwd = read(layers, "/etc/passwd")?;
    let group = read(layers, "/etc/group")?;
    resolve_in(&passwd, &group, text)
}

fn read(layers: &[PathBuf], file: &'static str) -> Result<String, UserError> {
    let read = || match merged::open(layers, file)? {
        Some(file) => read_limited(file, FILE_MAX_BYTES),
        None => Ok(Vec::new()),
    };
    let bytes = read().map_err(|source| UserError::Read { file, source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn resolve_in(passwd: &str, group: &str, text: &str) -> Result<User, UserError> {
    let malformed = || UserError::Malformed { text: text.to_owned() };
    let (user_text, group_text) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if group_text.is_some_and(|group| group.is_empty() || group.contains(':')) {
        return Err(malformed());
    }
    let user_text = if user_text.is_empty() { "0" } else { user_text };
    let by_name = accounts(passwd).find(|account| account.name == user_text);
    let uid = match (&by_name, number(user_text)) {
        (Some(account), _) => account.uid,
        (None, Some(uid)) => uid,
        // A number that is too large for a user ID is no name either.
        (None, None) if user_text.bytes().all(|byte| byte.is_ascii_digit()) => return Err(malformed()),
        (None, None) => return Err(UserError::UnknownUser { name: user_text.to_owned() }),
    };
    let account = by_name.or_else(|| accounts(passwd).find(|account| account.uid == uid));
    let gid = match group_text {
        None => account.as_ref().map_or(0, |account| account.gid),
        Some(name) => match groups(group).find(|group| group.name == name) {
            Some(group) => group.gid,
            None => number(name).ok_or_else(|| UserError::UnknownGroup { name: name.to_owned() })?,
        },
    };
    let mut additional_gids = Vec::new();
    if let Some(account) = &account {
        for group in
            groups(group).filter(|group| group.members.split(',').any(|member| member == account.name))
        {
            if group.gid != gid && !additional_gids.contains(&group.gid) {
                additional_gids.push(group.gid);
            }
        }
    }
    let home = account.as_ref().map(|account| account.home).filter(|home| !home.is_empty()).unwrap_or("/");
    Ok(User {
        uid,
        gid,
        additional_gids,
        home: home.to_owned(),
        name: account.as_ref().map(|a| a.name.to_owned()),
    })
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// The entries of passwd(5); lines that are none are passed over.
fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        match fields.as_slice() {
            [name, _, uid, gid, rest @ ..] if !name.is_empty() && !name.starts_with('#') => Some(Account {
                name,
                uid: number(uid)?,
                gid: number(gid)?,
                home: rest.get(1).copied().unwrap_or_default(),
            }),
            _ => None,
        }
    })
}

/// The entries of group(5); lines that are none are passed over.
fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        match fields.as_slice() {
            [name, _, gid, rest @ ..] if !name.is_empty() && !name.starts_with('#') => {
                Some(Group { name, gid: number(gid)?, members: rest.first().copied().unwrap_or_default() })
            }
            _ => None,
        }
    })
}

/// A user or group ID. The highest number means "no change" to chown(2) and setuid(2) and is nobody's.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment:x:1:1::/:/\napp:x:1000:1001::/srv/app:/bin/sh\nbroken\n7:x:70:70::/seven:\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nwww:x:33:app,other\nlogs:x:4:other,app\n";

    fn user(text: &str) -> Result<(u32, u32, Vec<u32>, String), UserError> {
        resolve_in(PASSWD, GROUP, text).map(|user| (user.uid, user.gid, user.additional_gids, user.home))
    }

    #[test]
    fn users_and_groups_by_name_and_number() {
        let app = |gid, more: &[u32]| (1000, gid, more.to_vec(), "/srv/app".to_owned());
        assert_eq!(user("").unwrap(), (0, 0, vec![], "/root".to_owned()));
        assert_eq!(user("app").unwrap(), app(1001, &[33, 4]));
        assert_eq!(user("1000").unwrap(), app(1001, &[33, 4]));
        assert_eq!(user("app:www").unwrap(), app(33, &[4]));
        assert_eq!(user("app:555").unwrap(), app(555, &[33, 4]));
        assert_eq!(user("4242").unwrap(), (4242, 0, vec![], "/".to_owned()));
        assert_eq!(user("4242:www").unwrap(), (4242, 33, vec![], "/".to_owned()));
        assert_eq!(user("7").unwrap().0, 70, "a name of digits is a name first");
        assert_eq!(user(":33").unwrap(), (0, 33, vec![], "/root".to_owned()));
    }

    #[test]
    fn what_is_no_user_says_so() {
        assert!(matches!(user("nginx"), Err(UserError::UnknownUser { .. })));
        assert!(matches!(user("app:nginx"), Err(UserError::UnknownGroup { .. })));
        for text in ["app:", "a:b:c", "4294967295", "99999999999"] {
            assert!(matches!(user(text), Err(UserError::Malformed { .. })), "{text}");
        }
        assert_eq!(numeric_uid("1000:app"), Some(1000));
        assert_eq!(numeric_uid(""), Some(0));
        assert_eq!(numeric_uid("app"), None);
    }
}
