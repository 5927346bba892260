//! A root file system in memory: filled from packages and recipes, written as a layer. Pure; owners and modes
//! are data, so nothing here needs root.
//!
//! The layout is the merged one of Debian 12: /bin, /sbin, /lib and /lib64 are links into /usr, whatever a
//! package says.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use tar::{Archive, Builder, EntryType, Header};

use crate::failure::{Attempt, Failure, Result};

/// Documentation and the like, which no image needs.
const LEFT_OUT: &[&str] = &[
    "/usr/lib/postgresql/15/lib/bitcode/",
    "/usr/share/bash-completion/",
    "/usr/share/bug/",
    "/usr/share/doc/",
    "/usr/share/doc-base/",
    "/usr/share/info/",
    "/usr/share/initramfs-tools/",
    "/usr/share/lintian/",
    "/usr/share/locale/",
    "/usr/share/man/",
    "/usr/share/postgresql/15/man/",
];

/// What is at a path.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    Directory,
    File(Arc<Vec<u8>>),
    Link(String),
}

/// A path's content, permissions and owner.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    content: Content,
    mode: u32,
    uid: u64,
    gid: u64,
}

/// Absolute paths to nodes; the order of the map is the order in the layer, parents before children.
#[derive(Default, Debug)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Adds what a package's data archive contains.
    pub(crate) fn add_package(&mut self, archive: &[u8]) -> Result {
        for entry in Archive::new(archive).entries().attempt("reading the archive")? {
            let mut entry = entry.attempt("reading an entry")?;
            let path = normal_path(&String::from_utf8_lossy(&entry.path_bytes()));
            if path == "/" || LEFT_OUT.iter().any(|prefix| format!("{path}/").starts_with(prefix)) {
                continue;
            }
            let content = match entry.header().entry_type() {
                EntryType::Directory => Content::Directory,
                EntryType::Symlink => Content::Link(link_target(&entry)?),
                EntryType::Link => Content::File(self.shared_file(&normal_path(&link_target(&entry)?))?),
                EntryType::Regular => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes).attempt(format!("reading {path}"))?;
                    Content::File(Arc::new(bytes))
                }
                other => return Err(Failure::new(format!("{path} is of a kind no package has: {other:?}"))),
            };
            let header = entry.header();
            let mode = header.mode().attempt(format!("mode of {path}"))? & 0o7777;
            let uid = header.uid().attempt(format!("owner of {path}"))?;
            let gid = header.gid().attempt(format!("group of {path}"))?;
            self.insert(&path, Node { content, mode, uid, gid });
        }
        Ok(())
    }

    /// Adds a directory, or gives the one that is there another mode and owner.
    pub(crate) fn add_directory(&mut self, path: &str, mode: u32, owner: u64) {
        self.insert(path, Node { content: Content::Directory, mode, uid: owner, gid: owner });
    }

    /// Adds a file of root.
    pub(crate) fn add_file(&mut self, path: &str, mode: u32, text: &str) {
        let content = Content::File(Arc::new(text.as_bytes().to_vec()));
        self.insert(path, Node { content, mode, uid: 0, gid: 0 });
    }

    /// Adds a symbolic link, unless something is there already.
    pub(crate) fn add_link(&mut self, path: &str, target: &str) {
        if !self.nodes.contains_key(path) {
            let content = Content::Link(target.to_string());
            self.insert(path, Node { content, mode: 0o777, uid: 0, gid: 0 });
        }
    }

    /// The content of a file.
    pub(crate) fn file(&self, path: &str) -> Result<Arc<Vec<u8>>> {
        self.shared_file(path)
    }

    fn shared_file(&self, path: &str) -> Result<Arc<Vec<u8>>> {
        match self.nodes.get(path).map(|node| &node.content) {
            Some(Content::File(bytes)) => Ok(Arc::clone(bytes)),
            _ => Err(Failure::new(format!("{path} is not a file of the tree"))),
        }
    }

    /// Sets a node, and makes the directories above that are missing.
    fn insert(&mut self, path: &str, node: Node) {
        let mut end = 0;
        while let Some(next) = path[end + 1..].find('/') {
            end += next + 1;
            let parent = Node { content: Content::Directory, mode: 0o755, uid: 0, gid: 0 };
            self.nodes.entry(path[..end].to_string()).or_insert(parent);
        }
        self.nodes.insert(path.to_string(), node);
    }

    /// The tree as an uncompressed layer, the same bytes each time.
    pub(crate) fn to_layer(&self) -> Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        for (path, node) in &self.nodes {
            let mut header = Header::new_gnu();
            header.set_mode(node.mode);
            header.set_uid(node.uid);
            header.set_gid(node.gid);
            header.set_mtime(0);
            let relative = &path[1..];
            match &node.content {
                Content::Directory => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_size(0);
                    builder.append_data(&mut header, format!("{relative}/"), Cursor::new([]))
                }
                Content::File(bytes) => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_size(bytes.len() as u64);
                    builder.append_data(&mut header, relative, bytes.as_slice())
                }
                Content::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_size(0);
                    builder.append_link(&mut header, relative, target)
                }
            }
            .attempt(format!("writing {path} into the layer"))?;
        }
        builder.into_inner().attempt("finishing the layer")
    }
}

fn link_target(entry: &tar::Entry<'_, &[u8]>) -> Result<String> {
    let target = entry.link_name_bytes().ok_or_else(|| Failure::new("a link without a target"))?;
    Ok(String::from_utf8_lossy(&target).into_owned())
}

/// `./bin/sh` to `/usr/bin/sh`: absolute, without a last slash, merged into /usr.
fn normal_path(path: &str) -> String {
    let path = path.trim_start_matches('.').trim_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    let merged = matches!(first, "bin" | "sbin" | "lib" | "lib64");
    format!("/{}{path}", if merged { "usr/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(layer: &[u8]) -> Vec<String> {
        let mut archive = Archive::new(layer);
        let entries = archive.entries().unwrap();
        entries.map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned()).collect()
    }

    #[test]
    fn paths_are_merged_into_usr() {
        assert_eq!(normal_path("./bin/busybox"), "/usr/bin/busybox");
        assert_eq!(normal_path("./lib64/ld.so"), "/usr/lib64/ld.so");
        assert_eq!(normal_path("./library/x/"), "/library/x");
        assert_eq!(normal_path("./"), "/");
    }

    #[test]
    fn a_layer_is_sorted_complete_and_the_same_each_time() {
        let mut tree = Tree::default();
        tree.add_file("/etc/b/c", 0o644, "text");
        tree.add_link("/a", "etc");
        tree.add_directory("/tmp", 0o1777, 0);
        let layer = tree.to_layer().unwrap();
        assert_eq!(paths(&layer), ["a", "etc/", "etc/b/", "etc/b/c", "tmp/"]);
        assert_eq!(layer, tree.to_layer().unwrap());
    }

    #[test]
    fn a_package_comes_without_documentation_and_with_its_hard_links() {
        let mut package = Tree::default();
        package.add_file("/usr/share/doc/x/copyright", 0o644, "long");
        package.add_file("/usr/bin/x", 0o755, "program");
        let mut layer = package.to_layer().unwrap();
        // Without the two empty blocks that end an archive, more can be written behind it.
        layer.truncate(layer.len() - 1024);
        let mut builder = Builder::new(layer);
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Link);
        header.set_size(0);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_link(&mut header, "./bin/y", "./usr/bin/x").unwrap();
        let mut tree = Tree::default();
        tree.add_package(&builder.into_inner().unwrap()).unwrap();
        assert!(tree.file("/usr/share/doc/x/copyright").is_err());
        assert_eq!(**tree.file("/usr/bin/y").unwrap(), *b"program");
    }
}
