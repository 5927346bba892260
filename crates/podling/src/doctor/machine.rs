//! Looking at the machine: one function for each thing that Pods need.

use std::fs;
use std::path::Path;
use std::process::Command;

use linux::cgroup::Hierarchy;
use linux::erofs::Backing;

use super::{Finding, probe};
use crate::console::human;
use crate::run::find_program;
use crate::typed::Directories;

/// The oldest kernel that podling is made for: Debian 12's.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// The first kernel on which the owners of a tmpfs can be mapped, and so those of Secrets and /dev/shm (KEP-127).
const MAPPED_MOUNTS_KERNEL: (u32, u32) = (6, 3);
/// tmpfs' magic number (statfs(2)).
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// overlayfs' magic number: a writable layer cannot lie on another overlay's writable layer.
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;
/// cgroup v1's and v2's magic numbers.
const CGROUP_MAGIC: [u64; 2] = [0x0027_e0eb, 0x6367_7270];

/// Everything, in the order in which a Pod meets it.
pub(super) fn look(directories: &Directories) -> Vec<Finding> {
    let mut findings = vec![root(), kernel(), cgroups(), overlayfs(), user_namespaces(), seccomp()];
    findings.extend(probe::network());
    findings.extend(capabilities());
    findings.extend([open_files(), data_dir(directories), layers(directories), run_dir(directories)]);
    findings.extend(oci_runtimes());
    findings
}

fn root() -> Finding {
    if rustix::process::geteuid().is_root() {
        Finding::good("root", "yes")
    } else {
        let advice = "run podling with sudo: it makes namespaces, mounts and cgroups";
        Finding::missing("root", "no", advice)
    }
}

fn kernel() -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    match parse_release(&release) {
        Some(version) if version < OLDEST_KERNEL => {
            let (major, minor) = OLDEST_KERNEL;
            Finding::weak("kernel", release, format!("podling is made for Linux {major}.{minor} and later"))
        }
        _ => Finding::good("kernel", release),
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn cgroups() -> Finding {
    let wanted = ["cpu", "memory", "pids"];
    match Hierarchy::detect() {
        Err(error) => {
            Finding::missing("cgroups", crate::failure::chain(&error), "mount cgroup2 on /sys/fs/cgroup")
        }
        Ok(hierarchy) => {
            let version = if hierarchy.is_v2() { "v2" } else { "v1" };
            if let Some(found) = unusable(&hierarchy) {
                let advice = "podling makes cgroups there: as root; inside a container, a privileged one with a \
                              cgroup namespace of its own";
                return Finding::missing("cgroups", found, advice);
            }
            let there = probe::controllers(&hierarchy);
            let found = format!("{version} with {}", there.join(", "));
            let lacking: Vec<_> =
                wanted.into_iter().filter(|name| !there.iter().any(|there| there == name)).collect();
            match lacking.is_empty() {
                true => Finding::good("cgroups", found),
                false => {
                    let advice = format!(
                        "limits of {} are not enforced: the kernel or whoever started this machine \
                                          does not give that controller",
                        lacking.join(", ")
                    );
                    Finding::weak("cgroups", found, advice)
                }
            }
        }
    }
}

/// Which mount point of the hierarchy is read-only, or covered by another mount.
fn unusable(hierarchy: &Hierarchy) -> Option<String> {
    let mount_points: Vec<&Path> = match hierarchy {
        Hierarchy::V1 { mounts, .. } => mounts.iter().map(|mount| mount.mount_point.as_path()).collect(),
        Hierarchy::V2 { mount_point } => vec![mount_point],
    };
    mount_points.into_iter().find_map(|path| {
        let is_cgroup =
            rustix::fs::statfs(path).is_ok_and(|status| CGROUP_MAGIC.contains(&(status.f_type as u64)));
        let is_read_only = rustix::fs::statvfs(path)
            .is_ok_and(|status| status.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
        match (is_cgroup, is_read_only) {
            (false, _) => Some(format!("{} is covered by another mount", path.display())),
            (true, true) => Some(format!("{} is read-only", path.display())),
            (true, false) => None,
        }
    })
}

fn overlayfs() -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        return Finding::good("overlayfs", "yes");
    }
    if Path::new("/lib/modules").join(release()).join("kernel/fs/overlayfs").exists() {
        return Finding::good("overlayfs", "as a module, loaded at first use");
    }
    Finding::missing("overlayfs", "not known to the kernel", "load it: modprobe overlay")
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn user_namespaces() -> Finding {
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    match most.trim().parse::<u64>() {
        Ok(0) | Err(_) => {
            let advice = "only Pods with hostUsers: false need them: sysctl user.max_user_namespaces=15000";
            Finding::weak("user namespaces", "none allowed", advice)
        }
        Ok(most) if parse_release(&release()).is_some_and(|version| version < MAPPED_MOUNTS_KERNEL) => {
            let (major, minor) = MAPPED_MOUNTS_KERNEL;
            let advice =
                format!("only Pods with hostUsers: false miss it: they need Linux {major}.{minor} or later");
            Finding::weak("user namespaces", format!("up to {most}, but no mapped mounts of tmpfs"), advice)
        }
        Ok(most) => Finding::good("user namespaces", format!("up to {most}")),
    }
}

/// Whether Pods can have users of their own.
pub(crate) fn has_user_namespaces() -> bool {
    matches!(user_namespaces().verdict, super::Verdict::Good)
}

fn seccomp() -> Finding {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) => Finding::good("seccomp", actions.trim().to_owned()),
        Err(_) => {
            let advice =
                "containers run without a system call filter; use a kernel with CONFIG_SECCOMP_FILTER";
            Finding::weak("seccomp", "not in this kernel", advice)
        }
    }
}

/// Capabilities that containers or podling need, with what is lost without them.
const CAPABILITIES: [(u32, &str, bool, &str); 6] = [
    (21, "CAP_SYS_ADMIN", true, "no namespaces and no mounts"),
    (12, "CAP_NET_ADMIN", true, "no Pod network"),
    (27, "CAP_MKNOD", false, "device nodes are bind-mounted instead of made"),
    (
        24,
        "CAP_SYS_RESOURCE",
        false,
        "rlimits cannot be raised and oom_score_adj cannot be lowered; containers run with what is left",
    ),
    (19, "CAP_SYS_PTRACE", false, "what holds a port cannot always be named"),
    (23, "CAP_SYS_NICE", false, "no real-time scheduling for containers"),
];

fn capabilities() -> Vec<Finding> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let lacking: Vec<_> = CAPABILITIES.iter().filter(|(bit, ..)| effective & (1 << bit) == 0).collect();
    if lacking.is_empty() {
        return vec![Finding::good("capabilities", "all that Pods need")];
    }
    let finding = |(_, name, is_needed, loss): &&(u32, &'static str, bool, &str)| {
        let found = format!("no {name}");
        let advice = format!("{loss}; whoever started this machine or shell took it away");
        match is_needed {
            true => Finding::missing("capabilities", found, advice),
            false => Finding::weak("capabilities", found, advice),
        }
    };
    lacking.iter().map(finding).collect()
}

fn open_files() -> Finding {
    const ENOUGH: u64 = 65_536;
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum {
        Some(most) if most < ENOUGH => {
            let advice =
                "many Pods at once may run out of descriptors: raise it with ulimit -Hn or LimitNOFILE=";
            Finding::weak("open files", format!("up to {most}"), advice)
        }
        Some(most) => Finding::good("open files", format!("up to {most}")),
        None => Finding::good("open files", "unlimited"),
    }
}

fn data_dir(directories: &Directories) -> Finding {
    let path = &directories.data_dir;
    let Some(status) = nearest(path) else {
        return Finding::missing("data directory", path.display().to_string(), "it cannot be looked at");
    };
    let free = status.f_bavail.saturating_mul(status.f_bsize as u64);
    let found = format!("{}, {} free", path.display(), human::size(free));
    if status.f_type as u64 == OVERLAYFS_MAGIC {
        let advice = "it lies on an overlay, where writable layers of containers may be refused: \
                      give --data-dir on a disk or tmpfs";
        return Finding::weak("data directory", found, advice);
    }
    if free < 1 << 30 {
        return Finding::weak(
            "data directory",
            found,
            "images and volumes need room: free some, or use --data-dir",
        );
    }
    Finding::good("data directory", found)
}

fn run_dir(directories: &Directories) -> Finding {
    let path = &directories.run_dir;
    match nearest(path) {
        Some(status) if status.f_type as u64 == TMPFS_MAGIC => {
            Finding::good("run directory", format!("{}, in memory", path.display()))
        }
        _ => {
            let found = format!("{}, not a tmpfs", path.display());
            let advice = "Secrets are written there and reach a disk: mount a tmpfs, or use --run-dir /dev/shm/podling";
            Finding::weak("run directory", found, advice)
        }
    }
}

/// In which form the layers of images come into the image directory.
fn layers(directories: &Directories) -> Finding {
    let path = std::path::absolute(&directories.image_dir).unwrap_or_default();
    let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    match image::probe_erofs(there) {
        Ok(Backing::File) => Finding::good("image layers", "EROFS images, mounted as files"),
        Ok(Backing::LoopDevice) => Finding::good("image layers", "EROFS images, mounted by loop devices"),
        Err(error) => {
            let advice = "images of many files take several times longer to come and to go; \
                          load what is missing: modprobe -a erofs loop";
            Finding::weak(
                "image layers",
                format!("directories, because EROFS cannot be mounted: {error}"),
                advice,
            )
        }
    }
}

/// statfs(2) of the path, or of its nearest parent that exists.
fn nearest(path: &Path) -> Option<rustix::fs::StatFs> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|path| rustix::fs::statfs(path).ok())
}

/// OCI runtimes that `podling run --runtime` can use.
fn oci_runtimes() -> Vec<Finding> {
    let there: Vec<Finding> = ["crun", "runc"]
        .into_iter()
        .filter_map(|name| {
            let path = find_program(Path::new(name))?;
            let output = Command::new(&path).arg("--version").output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let version = text.lines().next().unwrap_or("of unknown version").to_owned();
            Some(Finding::good("OCI runtime", format!("{version} ({})", path.display())))
        })
        .collect();
    if there.is_empty() {
        return vec![Finding::good("OCI runtime", "none installed; only --runtime needs one")];
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_parsed() {
        assert_eq!(parse_release("6.1.0-28-cloud-amd64"), Some((6, 1)));
        assert_eq!(parse_release("6.18"), Some((6, 18)));
        assert_eq!(parse_release("linux"), None);
    }

    #[test]
    fn looking_finds_something_and_changes_nothing() {
        let base = tempfile::tempdir().unwrap();
        let directories = Directories {
            data_dir: base.path().join("data"),
            run_dir: base.path().join("run"),
            image_dir: base.path().join("images"),
        };
        let findings = look(&directories);
        assert!(findings.iter().any(|finding| finding.name == "kernel"));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
