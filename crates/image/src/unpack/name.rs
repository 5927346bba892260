//! What a layer entry's name means: a place in the tree, a whiteout, or something to refuse. Pure.
//!
//! OCI image-spec, layer.md, "Whiteouts": `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` hides everything
//! below its directory. Other `.wh..wh.` names are bookkeeping of the aufs driver and mean nothing any more.

use rustix::io::Errno;

use super::{Failure, Refusal};

/// An entry's name, split and checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// The layer's root directory itself (`./`).
    Root,
    /// `name` in the directory `parent`.
    Plain { parent: Vec<&'a [u8]>, name: &'a [u8] },
    /// Hides `name` of the layers below.
    Whiteout { parent: Vec<&'a [u8]>, name: &'a [u8] },
    /// Hides everything of the layers below in this directory.
    Opaque { directory: Vec<&'a [u8]> },
    /// Nothing to do.
    Ignored,
}

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT_META: &[u8] = b".wh..wh.";

/// The components of a path below the layer's root. A leading slash counts for nothing, as everywhere tar is read.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    if path.contains(&0) {
        return Err(Refusal::NulByte);
    }
    let mut components = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(Refusal::DotDot),
            _ => components.push(component),
        }
    }
    Ok(components)
}

/// What a hard link is a further name of, split and checked.
pub(crate) struct LinkTarget<'a> {
    link: &'a [u8],
    /// The path of its directory, which may lead through symbolic links of the layer.
    pub(crate) directory: Vec<u8>,
    pub(crate) name: &'a [u8],
}

impl<'a> LinkTarget<'a> {
    pub(super) fn of(link: &'a [u8]) -> Result<Self, Refusal> {
        let mut components =
            components(link).map_err(|_| Refusal::HardLinkOutside { target: shown(link) })?;
        let Some(name) = components.pop() else {
            return Err(Refusal::HardLinkKind { target: shown(link) });
        };
        Ok(Self { link, directory: components.join(&b'/'), name })
    }

    pub(crate) fn missing(&self) -> Refusal {
        Refusal::HardLinkTarget { target: shown(self.link) }
    }

    /// It is nothing that can have two names.
    pub(crate) fn wrong_kind(&self) -> Refusal {
        Refusal::HardLinkKind { target: shown(self.link) }
    }

    /// Its directory, if looking it up found one.
    pub(crate) fn directory_found<T>(&self, found: rustix::io::Result<T>) -> Result<T, Failure> {
        found.map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => self.missing().into(),
            error => error.into(),
        })
    }
}

fn shown(link: &[u8]) -> String {
    String::from_utf8_lossy(link).chars().take(300).collect()
}

/// Decides what an entry's path means.
pub(super) fn decide(path: &[u8]) -> Result<Name<'_>, Refusal> {
    let mut parent = components(path)?;
    if path.is_empty() {
        return Err(Refusal::NoName);
    }
    // A directory whose own name begins with `.wh.` cannot be told from a whiteout; nor could the layers below.
    if parent.iter().rev().skip(1).any(|component| component.starts_with(WHITEOUT)) {
        return Err(Refusal::BelowWhiteout);
    }
    let Some(name) = parent.pop() else { return Ok(Name::Root) };
    if name == WHITEOUT_OPAQUE {
        return Ok(Name::Opaque { directory: parent });
    }
    if name.starts_with(WHITEOUT_META) {
        return Ok(Name::Ignored);
    }
    match name.strip_prefix(WHITEOUT) {
        Some(b"" | b"." | b"..") => Err(Refusal::BadWhiteout),
        Some(hidden) => Ok(Name::Whiteout { parent, name: hidden }),
        None => Ok(Name::Plain { parent, name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain<'a>(parent: &[&'a [u8]], name: &'a [u8]) -> Name<'a> {
        Name::Plain { parent: parent.to_vec(), name }
    }

    #[test]
    fn names_become_places_whiteouts_or_refusals() {
        assert_eq!(decide(b"./"), Ok(Name::Root));
        assert_eq!(decide(b"/"), Ok(Name::Root));
        assert_eq!(decide(b"etc/passwd"), Ok(plain(&[b"etc"], b"passwd")));
        assert_eq!(decide(b"/./etc//passwd/"), Ok(plain(&[b"etc"], b"passwd")));
        assert_eq!(decide(b"a/.wh.b"), Ok(Name::Whiteout { parent: vec![b"a"], name: b"b" }));
        assert_eq!(decide(b".wh..wh..opq"), Ok(Name::Opaque { directory: vec![] }));
        assert_eq!(decide(b"a/.wh..wh..opq"), Ok(Name::Opaque { directory: vec![b"a"] }));
        assert_eq!(decide(b".wh..wh.plnk"), Ok(Name::Ignored));
        assert_eq!(decide(b"a/...b"), Ok(plain(&[b"a"], b"...b")));
    }

    #[test]
    fn names_that_climb_or_hide_nothing_are_refused() {
        assert_eq!(decide(b""), Err(Refusal::NoName));
        assert_eq!(decide(b"../etc/passwd"), Err(Refusal::DotDot));
        assert_eq!(decide(b"a/../../b"), Err(Refusal::DotDot));
        assert_eq!(decide(b"a/.wh."), Err(Refusal::BadWhiteout));
        assert_eq!(decide(b"a/.wh..."), Err(Refusal::BadWhiteout));
        assert_eq!(decide(b"a\0b"), Err(Refusal::NulByte));
        assert_eq!(decide(b".wh.a/b"), Err(Refusal::BelowWhiteout));
    }
}
