//! What a podling left behind, found by its owner and never by counting: other tests run beside this one.
//!
//! Everything that podling makes carries its directories or the id of a run: processes in command line, environment or
//! cgroup, mounts in their path, cgroups in their name, interfaces in their alias, nftables' tables in their comment,
//! address ranges in their claim. The ids of runs are learnt from the directories `data/runs/ID` as they are made.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::process::{Pid, Signal, kill_process};

/// Where nodes of this machine write down the address range that they took.
const CLAIMS_DIR: &str = "/run/podling/network";
/// Keeps podling from removing `data/runs`, which is watched.
const KEEP: &str = "kept-by-the-test";
/// How long the kernel may take for what it removes after the call that asked for it has returned: a veth pair goes
/// when a worker cleans up its network namespace.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(10);
const KERNEL_PERIOD: Duration = Duration::from_millis(5);

/// Looks on from the beginning of a test.
pub(crate) struct Watcher {
    base: PathBuf,
    inotify: OwnedFd,
    run_ids: RefCell<BTreeSet<String>>,
}

impl Watcher {
    /// Makes `data/runs` in a directory and watches it.
    pub(crate) fn start(base: &Path) -> Watcher {
        let runs = base.join("data/runs");
        fs::create_dir_all(&runs).expect("making the data directory");
        fs::write(runs.join(KEEP), "").expect("writing into the data directory");
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify");
        add_watch(&inotify, &runs, WatchFlags::CREATE | WatchFlags::ONLYDIR).expect("watching the runs");
        Watcher { base: base.to_owned(), inotify, run_ids: RefCell::default() }
    }

    /// The ids of all runs so far.
    pub(crate) fn run_ids(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut ids = self.run_ids.borrow_mut();
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            ids.extend(name.filter(|name| !name.starts_with('.')));
        }
        ids.iter().cloned().collect()
    }

    /// One more id to look for.
    pub(crate) fn add_run(&self, id: &str) {
        self.run_ids.borrow_mut().insert(id.to_owned());
    }

    /// Everything that is left, one line each. None of this podling's processes may be running.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let ids = self.run_ids();
        let processes = self.processes(&ids);
        let mut leaks = self.files();
        leaks.extend(processes.iter().map(|(pid, why)| format!("process {pid}: {why}")));
        leaks.extend(lines_with("/proc/self/mountinfo", &self.base).map(|line| format!("mount: {line}")));
        leaks.extend(cgroups(&ids).iter().map(|path| format!("cgroup {}", path.display())));
        // A process that is left keeps its namespace, and that its interface, for good.
        leaks.extend(if processes.is_empty() { self.interfaces_after_waiting() } else { self.interfaces() });
        leaks.extend(self.tables());
        leaks.extend(self.claims());
        leaks
    }

    /// Ends what is left and has a process, so that a failed test is the only failed test.
    pub(crate) fn clean(&self) {
        for (pid, _) in self.processes(&self.run_ids()) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }

    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.base.join("run"), &mut found);
        list(&self.base.join("data"), &mut found);
        let expected = [self.base.join("run"), self.base.join("data"), self.base.join("data/runs")];
        let kept = [KEEP, ".lock"].map(|name| self.base.join("data/runs").join(name));
        found.retain(|path| !expected.contains(path) && !kept.contains(path));
        found.iter().map(|path| format!("file {}", path.display())).collect()
    }

    fn processes(&self, ids: &[String]) -> Vec<(i32, String)> {
        let base = self.base.to_string_lossy().into_owned();
        let nodes: Vec<_> = ids.iter().map(|id| format!("/podling/{id}")).collect();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("reading /proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let read = |name: &str| {
                // A process that ended meanwhile is none.
                let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            // A zombie holds nothing: its parent may be an init process that reaps every now and then.
            let is_zombie = || read("stat").rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
            let command = read("cmdline");
            let is_ours = pid != std::process::id() as i32
                && (command.contains(&base)
                    || read("environ").contains(&base)
                    || nodes.iter().any(|node| read("cgroup").contains(node)));
            if is_ours && !is_zombie() {
                found.push((pid, command));
            }
        }
        found
    }

    fn interfaces_after_waiting(&self) -> Vec<String> {
        let deadline = Instant::now() + KERNEL_TIMEOUT;
        loop {
            let found = self.interfaces();
            if found.is_empty() || Instant::now() > deadline {
                return found;
            }
            // The kernel's worker tells nobody; see KERNEL_TIMEOUT.
            thread::sleep(KERNEL_PERIOD);
        }
    }

    fn interfaces(&self) -> Vec<String> {
        let links = fs::read_dir("/sys/class/net").expect("reading the interfaces").flatten();
        links
            .filter(|link| lines_with(link.path().join("ifalias"), &self.base).next().is_some())
            .map(|link| format!("interface {}", link.file_name().to_string_lossy()))
            .collect()
    }

    fn tables(&self) -> Vec<String> {
        let list =
            || Command::new("nft").args(["list", "ruleset"]).output().expect("nft(8), of Debian's nftables");
        let mut nft = list();
        if !nft.status.success() {
            // Others change the rules while they are read.
            nft = list();
        }
        if !nft.status.success() {
            return vec![format!("nobody knows which rules, for nft failed: {nft:?}")];
        }
        let base = self.base.to_string_lossy().into_owned();
        let rules = String::from_utf8_lossy(&nft.stdout).into_owned();
        rules.lines().filter(|line| line.contains(&base)).map(|line| format!("nftables: {line}")).collect()
    }

    fn claims(&self) -> Vec<String> {
        let Ok(claims) = fs::read_dir(CLAIMS_DIR) else { return Vec::new() };
        claims
            .flatten()
            .filter(|claim| lines_with(claim.path(), &self.base).next().is_some())
            .map(|claim| format!("claim of an address range {}", claim.path().display()))
            .collect()
    }
}

/// The lines of a file that name a directory; none of a file that is gone.
fn lines_with(file: impl AsRef<Path>, base: &Path) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let base = base.to_string_lossy().into_owned();
    let lines: Vec<_> = text.lines().filter(|line| line.contains(&base)).map(str::to_owned).collect();
    lines.into_iter()
}

/// The nodes' cgroups in every hierarchy, below its root and below where this test is.
fn cgroups(ids: &[String]) -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let parents: BTreeSet<&str> = own.map(|path| path.trim_start_matches('/')).chain([""]).collect();
    let root = PathBuf::from("/sys/fs/cgroup");
    let controllers = fs::read_dir(&root).expect("reading the cgroups").flatten().map(|entry| entry.path());
    let roots: Vec<_> = controllers.chain([root.clone()]).collect();
    let mut found = Vec::new();
    for root in roots {
        for parent in &parents {
            let nodes = ids.iter().map(|id| root.join(parent).join("podling").join(id));
            found.extend(nodes.filter(|path| path.exists()));
        }
    }
    found
}

fn list(path: &Path, found: &mut Vec<PathBuf>) {
    let Ok(metadata) = path.symlink_metadata() else { return };
    found.push(path.to_owned());
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            list(&entry.path(), found);
        }
    }
}
