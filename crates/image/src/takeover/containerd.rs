//! containerd's store (`/var/lib/containerd`), which newer Dockers use as well:
//!
//! ```text
//! io.containerd.metadata.v1.bolt/meta.db                   v1/<namespace>/images/<name>/target/digest
//! io.containerd.content.v1.content/blobs/sha256/<hex>      manifests, configurations and layers as they came
//! ```

use std::path::Path;

use super::bolt::{Bolt, Value};
use crate::archive::Archive;
use crate::digest::Digest;
use crate::error::Error;
use crate::load::{Found, read_oci_image};
use crate::reference::Reference;

/// The images of all namespaces whose contents are there, and the archive-like folder that these are in.
pub(super) fn read(root: &Path) -> Result<(Vec<Found>, Archive), Error> {
    let database = root.join("io.containerd.metadata.v1.bolt/meta.db");
    let Some(bytes) = super::bytes(&database)? else {
        let problem = "containerd has no images there (io.containerd.metadata.v1.bolt/meta.db is missing)";
        return Err(Error::invalid(root.display().to_string(), problem));
    };
    let damaged =
        || Error::invalid(database.display().to_string(), "it is no bbolt database, or a damaged one");
    let targets = targets(&bytes).ok_or_else(damaged)?;
    let archive = Archive::open_folder(&root.join("io.containerd.content.v1.content"))?;
    let mut images = Vec::new();
    for (reference, target) in targets {
        // Contents are removed once unpacked where containerd is told to, and other machines' were never fetched.
        match whole_image(&archive, &reference, target) {
            Ok(Some(image)) => images.push(image),
            Ok(None) => {
                tracing::info!(%reference, "passed over: containerd does not have all of its contents")
            }
            Err(error) => tracing::info!(%reference, %error, "passed over"),
        }
    }
    Ok((images, archive))
}

fn whole_image(archive: &Archive, reference: &Reference, target: Digest) -> Result<Option<Found>, Error> {
    let image = read_oci_image(archive, target, vec![reference.clone()])?;
    for layer in &image.layers {
        if archive.file(&layer.name)?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(image))
}

/// Names and what they lead to. Names that are none, such as Kubernetes' own by ID, are passed over.
fn targets(bytes: &[u8]) -> Option<Vec<(Reference, Digest)>> {
    let bolt = Bolt::open(bytes)?;
    let mut found = Vec::new();
    // Only a database that can be read may be without images.
    bolt.entries(bolt.bucket(&[])?)?;
    let Some(version) = bolt.bucket(&["v1"]) else { return Some(found) };
    for (namespace, _) in bolt.entries(version)? {
        let Some(images) =
            std::str::from_utf8(namespace).ok().and_then(|name| bolt.bucket(&["v1", name, "images"]))
        else {
            continue;
        };
        for (name, value) in bolt.entries(images)? {
            let (Ok(name), Value::Bucket(image)) = (std::str::from_utf8(name), value) else { continue };
            let target = bolt.entries(image)?.into_iter().find(|(key, _)| *key == b"target");
            let Some((_, Value::Bucket(target))) = target else { continue };
            let digest = bolt.entries(target)?.into_iter().find(|(key, _)| *key == b"digest");
            let Some((_, Value::Bytes(digest))) = digest else { continue };
            let digest = std::str::from_utf8(digest).ok().and_then(|digest| Digest::parse(digest).ok());
            found.extend(Reference::parse(name).ok().zip(digest));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_BYTES: usize = 4096;

    /// What a bucket is made from.
    enum Made<'a> {
        Bytes(Vec<u8>),
        Bucket(Vec<(&'a str, Made<'a>)>),
    }

    /// A leaf page with these keys, which must be in order; buckets are written into their parents.
    fn leaf(entries: Vec<(&str, Made<'_>)>) -> Vec<u8> {
        let mut page = vec![0; 16 + 16 * entries.len()];
        page[8] = 2;
        page[10] = entries.len() as u8;
        for (index, (key, made)) in entries.into_iter().enumerate() {
            let (flags, value) = match made {
                Made::Bytes(bytes) => (0u32, bytes),
                Made::Bucket(entries) => (1, [vec![0; 16], leaf(entries)].concat()),
            };
            let element = 16 + index * 16;
            let position = (page.len() - element) as u32;
            for (at, number) in
                [flags, position, key.len() as u32, value.len() as u32].into_iter().enumerate()
            {
                page[element + at * 4..element + at * 4 + 4].copy_from_slice(&number.to_le_bytes());
            }
            page.extend_from_slice(key.as_bytes());
            page.extend_from_slice(&value);
        }
        page
    }

    /// A database as containerd's: two heads, a list of free pages, the root.
    fn database(names: &[(&str, &Digest)]) -> Vec<u8> {
        let image = |digest: &Digest| {
            let target = Made::Bucket(vec![("digest", Made::Bytes(digest.to_string().into_bytes()))]);
            Made::Bucket(vec![("createdat", Made::Bytes(vec![1])), ("target", target)])
        };
        let images = names.iter().map(|(name, digest)| (*name, image(digest))).collect();
        let namespace = Made::Bucket(vec![("images", Made::Bucket(images))]);
        let version = vec![("k8s.io", namespace), ("version", Made::Bytes(vec![3]))];
        let root = leaf(vec![("v1", Made::Bucket(version))]);
        assert!(root.len() <= PAGE_BYTES);
        let mut bytes = vec![0; PAGE_BYTES * 4];
        for (number, transaction) in [(0, 7u64), (1, 6)] {
            let at = number * PAGE_BYTES + 16;
            bytes[at..at + 4].copy_from_slice(&0xED0C_DAEDu32.to_le_bytes());
            bytes[at + 4] = 2;
            bytes[at + 8..at + 12].copy_from_slice(&(PAGE_BYTES as u32).to_le_bytes());
            // The older head leads nowhere.
            bytes[at + 16] = if transaction == 7 { 3 } else { 2 };
            bytes[at + 48..at + 56].copy_from_slice(&transaction.to_le_bytes());
            let hash = bytes[at..at + 56].iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
            bytes[at + 56..at + 64].copy_from_slice(&hash.to_le_bytes());
        }
        bytes[3 * PAGE_BYTES..3 * PAGE_BYTES + root.len()].copy_from_slice(&root);
        bytes
    }

    #[test]
    fn names_are_read_from_the_newer_head() {
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let names = [("docker.io/library/app:1", &one), ("example.com/app:2", &two), ("sha256:0123", &one)];
        let found = targets(&database(&names)).unwrap();
        let expected =
            names[..2].iter().map(|(name, digest)| (Reference::parse(name).unwrap(), (*digest).clone()));
        // What is called by its ID has no name; `sha256:0123` reads as a repository with a tag.
        assert_eq!(found[..2], expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_damaged_database_is_refused_and_never_a_panic() {
        let digest = Digest::of(b"one");
        let whole = database(&[("docker.io/library/app:1", &digest)]);
        assert!(targets(b"").is_none() && targets(&whole[..PAGE_BYTES * 3]).is_none());
        for at in (0..whole.len()).filter(|at| whole[*at] != 0) {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                // Whatever it says, it ends.
                let _ = targets(&damaged);
            }
        }
        let mut circle = whole;
        // The root becomes a branch that leads to itself.
        let root = 3 * PAGE_BYTES;
        circle[root + 8] = 1;
        circle[root + 24] = 3;
        circle[root + 25..root + 32].fill(0);
        assert!(targets(&circle).is_none());
    }
}
