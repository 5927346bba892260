//! One cgroup: created, limited, joined.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::limits::Setting;
use super::{CgroupError, Hierarchy, Limits};

/// v1 controllers in which every container gets a directory; the others only when a limit asks for them,
/// because every further hierarchy costs a mkdir, a join and an rmdir.
const V1_ALWAYS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "devices"];

/// What a v2 parent must hand to its children for containers to be limited at all.
const V2_REQUIRED: [&str; 3] = ["cpu", "memory", "pids"];

/// What a v2 parent hands to its children where the kernel has it.
const V2_WANTED: [&str; 6] = ["cpu", "memory", "pids", "cpuset", "hugetlb", "io"];

/// How often a parent is created anew when another node removes it, empty, at the same moment.
const PARENT_ATTEMPTS: usize = 16;

/// A cgroup, named by its path below the roots of the hierarchies. Dropping it leaves the cgroup alone.
#[derive(Debug, Clone)]
pub struct Cgroup {
    pub(super) path: String,
    pub(super) tree: Tree,
    /// Where external runtimes may have created directories of this name.
    unused: Vec<PathBuf>,
}

/// Where the cgroup's files are.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    V1 { directories: Vec<V1Directory>, unified: Option<PathBuf> },
    V2 { directory: PathBuf },
}

/// The cgroup's directory in one v1 hierarchy.
#[derive(Debug, Clone)]
pub(super) struct V1Directory {
    pub(super) controllers: Vec<&'static str>,
    pub(super) mount_point: PathBuf,
    pub(super) directory: PathBuf,
}

impl Cgroup {
    /// Names a cgroup without creating anything; what does not exist counts as empty.
    pub fn open(hierarchy: &Hierarchy, path: &str) -> Result<Self, CgroupError> {
        let relative = path.strip_prefix('/').filter(|relative| {
            !relative.is_empty() && relative.split('/').all(|part| !matches!(part, "" | "." | ".."))
        });
        let Some(relative) = relative else { return Err(CgroupError::BadPath { path: path.to_owned() }) };
        let tree = match hierarchy {
            Hierarchy::V2 { mount_point } => Tree::V2 { directory: mount_point.join(relative) },
            Hierarchy::V1 { mounts, unified, .. } => Tree::V1 {
                directories: mounts
                    .iter()
                    .map(|mount| V1Directory {
                        controllers: mount.controllers.clone(),
                        mount_point: mount.mount_point.clone(),
                        directory: mount.mount_point.join(relative),
                    })
                    .collect(),
                unified: unified.as_ref().map(|root| root.join(relative)),
            },
        };
        let unused = match hierarchy {
            Hierarchy::V1 { unused, .. } => unused.iter().map(|root| root.join(relative)).collect(),
            Hierarchy::V2 { .. } => Vec::new(),
        };
        Ok(Self { path: path.to_owned(), tree, unused })
    }

    /// Creates the cgroup and its parents where they do not exist yet, ready for [`apply`](Self::apply)
    /// and for joining.
    pub fn ensure(hierarchy: &Hierarchy, path: &str) -> Result<Self, CgroupError> {
        let mut cgroup = Self::open(hierarchy, path)?;
        match (&mut cgroup.tree, hierarchy) {
            (Tree::V2 { directory }, Hierarchy::V2 { mount_point }) => {
                create_directory(mount_point, directory)?;
                delegate(mount_point, directory)?;
            }
            (Tree::V1 { directories, unified }, Hierarchy::V1 { unified: root, .. }) => {
                // The twin is a comfort: where it cannot be had, the freezer does its work.
                if let (Some(root), Some(twin)) = (root, unified.as_deref())
                    && create_directory(root, twin).is_err()
                {
                    *unified = None;
                }
                for entry in directories.iter() {
                    let freezer = unified.is_none() && entry.controllers.contains(&"freezer");
                    if freezer || entry.controllers.iter().any(|name| V1_ALWAYS.contains(name)) {
                        entry.create()?;
                    }
                }
            }
            // `open` makes the tree from the hierarchy, so they are of one kind.
            (Tree::V1 { .. }, Hierarchy::V2 { .. }) | (Tree::V2 { .. }, Hierarchy::V1 { .. }) => {}
        }
        Ok(cgroup)
    }

    /// The path below the roots of the hierarchies.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the limits are in v2's files.
    pub fn is_v2(&self) -> bool {
        matches!(self.tree, Tree::V2 { .. })
    }

    /// Whether the cgroup exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.all_directories().any(Path::exists)
    }

    /// Writes the limits. Returns the limits that this kernel has no file for (swap accounting off, say):
    /// they do not hold, and the caller has to say so.
    pub fn apply(&self, limits: &Limits) -> Result<Vec<String>, CgroupError> {
        let plan = if self.is_v2() { limits.plan_v2()? } else { limits.plan_v1()? };
        let mut unhonoured = Vec::new();
        let mut refused = Vec::new();
        for setting in &plan {
            match self.write_setting(setting, &mut unhonoured) {
                // The kernel checks pairs (quota against period, memory against memory plus swap), so that
                // the order that suits a raise refuses a cut: what was refused is written again at the end.
                Err(CgroupError::Write { source, .. }) if is_invalid(&source) => refused.push(setting),
                outcome => outcome?,
            }
        }
        for setting in refused {
            self.write_setting(setting, &mut unhonoured)?;
        }
        Ok(unhonoured)
    }

    fn write_setting(&self, setting: &Setting, unhonoured: &mut Vec<String>) -> Result<(), CgroupError> {
        if let Tree::V1 { directories, .. } = &self.tree
            && let Some(entry) = directories.iter().find(|d| d.controllers.contains(&setting.controller))
            && !V1_ALWAYS.contains(&setting.controller)
        {
            entry.create()?;
        }
        match self.write_control(setting.controller, &setting.file, &setting.value) {
            Err(CgroupError::Write { source, .. } | CgroupError::NotWritable { source, .. })
                if setting.optional
                    && matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                unhonoured.push(setting.file.clone());
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Writes one control file. `controller` says in which v1 hierarchy it is; v2 has one directory.
    pub fn write_control(
        &self,
        controller: &'static str,
        file: &str,
        value: &str,
    ) -> Result<(), CgroupError> {
        let path = self.controller_directory(controller)?.join(file);
        write_file(&path, value).map_err(|error| CgroupError::write(&path, value, error))
    }

    /// Writes lines to one control file that takes one at a time, opening it once: opening costs more than writing.
    pub fn write_lines<'line>(
        &self,
        controller: &'static str,
        file: &str,
        lines: impl IntoIterator<Item = &'line str>,
    ) -> Result<(), CgroupError> {
        let path = self.controller_directory(controller)?.join(file);
        let opened = fs::OpenOptions::new().write(true).open(&path);
        let mut opened = opened.map_err(|error| CgroupError::at("open", &path, error))?;
        for line in lines {
            opened.write_all(line.as_bytes()).map_err(|error| CgroupError::write(&path, line, error))?;
        }
        Ok(())
    }

    /// The directory that holds the files of `controller`.
    pub(super) fn controller_directory(&self, controller: &'static str) -> Result<&Path, CgroupError> {
        match &self.tree {
            Tree::V2 { directory } => Ok(directory),
            Tree::V1 { directories, .. } => directories
                .iter()
                .find(|entry| entry.controllers.contains(&controller))
                .map(|entry| entry.directory.as_path())
                .ok_or(CgroupError::NoController { controller }),
        }
    }

    /// The directory in the v2 tree, if it exists: for `CLONE_INTO_CGROUP`, which joins without a
    /// migration, and for attaching programs. On a v1 machine without a v2 tree there is none.
    pub fn dir_fd(&self) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(directory) = self.v2_directory() else { return Ok(None) };
        match rustix::fs::open(directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(rustix::io::Errno::NOENT) if !self.is_v2() => Ok(None),
            Err(error) => Err(CgroupError::at("open cgroup", directory, error.into())),
        }
    }

    /// The files through which a single-threaded child joins by itself, see [`join_self`]: one per v1
    /// hierarchy the cgroup is in. Empty on v2, where `CLONE_INTO_CGROUP` has already done it.
    pub fn join_files(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let Tree::V1 { directories, .. } = &self.tree else { return Ok(Vec::new()) };
        let mut files = Vec::with_capacity(directories.len());
        for entry in directories {
            let path = entry.directory.join("tasks");
            match rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) => files.push(fd),
                // Not every hierarchy is used for every cgroup.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(CgroupError::at("open", &path, error.into())),
            }
        }
        Ok(files)
    }

    /// Moves a whole process into the cgroup, in every hierarchy. Slow in the tail (see the module's text);
    /// children that podling clones join by themselves instead.
    pub fn join(&self, pid: u32) -> Result<(), CgroupError> {
        let text = pid.to_string();
        for directory in self.directories() {
            let path = directory.join("cgroup.procs");
            match write_file(&path, &text) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_v2() => {}
                outcome => outcome.map_err(|error| CgroupError::write(&path, &text, error))?,
            }
        }
        Ok(())
    }

    /// The names of the cgroups directly below, in whichever hierarchies they (still) exist.
    pub fn list_children(&self) -> Result<Vec<String>, CgroupError> {
        let mut names = Vec::new();
        for directory in self.all_directories() {
            let entries = match fs::read_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(|error| CgroupError::at("list cgroup", directory, error))?,
            };
            for entry in entries.flatten() {
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if let (true, Ok(name)) = (is_dir, entry.file_name().into_string()) {
                    names.push(name);
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The directory with v2's core files (`cgroup.kill`, `cgroup.events`), also on hybrid machines.
    pub(super) fn v2_directory(&self) -> Option<&Path> {
        match &self.tree {
            Tree::V2 { directory } => Some(directory),
            Tree::V1 { unified, .. } => unified.as_deref(),
        }
    }

    /// Like [`directories`](Self::directories), with those that podling itself never creates.
    pub(super) fn all_directories(&self) -> impl Iterator<Item = &Path> {
        self.directories().chain(self.unused.iter().map(PathBuf::as_path))
    }

    /// The cgroup's directory in every hierarchy podling uses, whether it exists there or not.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        let (v1, v2) = match &self.tree {
            Tree::V2 { directory } => ([].as_slice(), Some(directory.as_path())),
            Tree::V1 { directories, unified } => (directories.as_slice(), unified.as_deref()),
        };
        v1.iter().map(|entry| entry.directory.as_path()).chain(v2)
    }
}

impl V1Directory {
    /// Creates the directory; a new cpuset is useless until it has CPUs and memory nodes.
    fn create(&self) -> Result<(), CgroupError> {
        create_directory(&self.mount_point, &self.directory)?;
        if !self.controllers.contains(&"cpuset") {
            return Ok(());
        }
        for directory in ancestors_below(&self.mount_point, &self.directory) {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let path = directory.join(file);
                let own = fs::read_to_string(&path).map_err(|e| CgroupError::at("read", &path, e))?;
                let Some(parent) = directory.parent().filter(|_| own.trim().is_empty()) else { continue };
                let source = parent.join(file);
                let inherited =
                    fs::read_to_string(&source).map_err(|e| CgroupError::at("read", &source, e))?;
                let inherited = inherited.trim();
                write_file(&path, inherited).map_err(|e| CgroupError::write(&path, inherited, e))?;
            }
        }
        Ok(())
    }
}

/// Joins every v1 hierarchy whose `tasks` file is given. For the child between clone and exec: no
/// allocation, no lock; it must be single-threaded, because a thread moves only itself.
pub fn join_self<'fd>(files: impl IntoIterator<Item = BorrowedFd<'fd>>) -> rustix::io::Result<()> {
    for file in files {
        rustix::io::write(file, b"0")?;
    }
    Ok(())
}

/// The directories from just below `root` down to `directory`, both included where they differ.
fn ancestors_below<'path>(root: &Path, directory: &'path Path) -> Vec<&'path Path> {
    let mut chain: Vec<&Path> = directory.ancestors().take_while(|ancestor| *ancestor != root).collect();
    chain.reverse();
    chain
}

/// mkdir, with parents only when they are missing: the usual call is the only one. A parent may vanish in
/// between, when the last other cgroup of the node goes.
fn create_directory(root: &Path, directory: &Path) -> Result<(), CgroupError> {
    for _ in 0..PARENT_ATTEMPTS {
        match fs::create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => return created(outcome, directory),
        }
        for ancestor in ancestors_below(root, directory) {
            match fs::create_dir(ancestor) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                outcome => created(outcome, ancestor)?,
            }
        }
        if directory.exists() {
            return Ok(());
        }
    }
    Err(CgroupError::at("create cgroup", directory, io::ErrorKind::NotFound.into()))
}

fn created(outcome: io::Result<()>, directory: &Path) -> Result<(), CgroupError> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.map_err(|error| CgroupError::at("create cgroup", directory, error)),
    }
}

/// Makes the controllers available in `directory` by enabling them in every ancestor
/// (`cgroup.subtree_control`, cgroups(7)). One read when that has been done before.
fn delegate(root: &Path, directory: &Path) -> Result<(), CgroupError> {
    let here = read_words(&directory.join("cgroup.controllers"))?;
    let missing: Vec<&str> = missing_from(&V2_WANTED, &here);
    if missing.is_empty() {
        return Ok(());
    }
    let available = read_words(&root.join("cgroup.controllers"))?;
    for controller in V2_REQUIRED {
        if !available.iter().any(|name| name == controller) {
            return Err(CgroupError::NoController { controller });
        }
    }
    let wanted: Vec<&str> = missing.into_iter().filter(|name| available.iter().any(|a| a == name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let parents = ancestors_below(root, directory);
    for parent in std::iter::once(root).chain(parents.into_iter().filter(|parent| *parent != directory)) {
        enable_controllers(parent, &wanted)?;
    }
    Ok(())
}

/// Enables all at once; where the kernel refuses one of them (realtime tasks keep `cpu` away), one by one,
/// and only a required one is an error.
fn enable_controllers(parent: &Path, wanted: &[&str]) -> Result<(), CgroupError> {
    let path = parent.join("cgroup.subtree_control");
    let all: String = wanted.iter().map(|name| format!("+{name} ")).collect();
    if write_file(&path, all.trim_end()).is_ok() {
        return Ok(());
    }
    for name in wanted {
        let value = format!("+{name}");
        let Err(error) = write_file(&path, &value) else { continue };
        if !V2_REQUIRED.contains(name) {
            continue;
        }
        if error.raw_os_error() == Some(libc::EBUSY) {
            let (path, controllers) = (parent.to_owned(), value);
            return Err(CgroupError::InternalProcesses { path, controllers, source: error });
        }
        return Err(CgroupError::write(&path, &value, error));
    }
    Ok(())
}

fn missing_from<'name>(wanted: &[&'name str], present: &[String]) -> Vec<&'name str> {
    wanted.iter().copied().filter(|name| !present.iter().any(|p| p == name)).collect()
}

fn read_words(path: &Path) -> Result<Vec<String>, CgroupError> {
    let text = fs::read_to_string(path).map_err(|error| CgroupError::at("read", path, error))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// A control file takes its value in one write(2); it is never created.
pub(super) fn write_file(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

fn is_invalid(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBUSY))
}
