//! crun and runc as the oracle: `run` of a bundle, in a mount namespace of its own.
//!
//! crun 1.8 refuses hybrid machines, so the unused v2 tree is unmounted there; the root filesystem is an
//! overlay over the stage's, as podling makes it. Both vanish with the namespace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci_spec::runtime::Spec;

use crate::oci::Stage;

/// What came of running a container to its end.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Standard output, whole lines.
    pub(crate) output: String,
    /// The exit code as Kubernetes shows it, or why the container could not be started.
    pub(crate) exit: Result<i32, String>,
}

/// What the shell does in its new mount namespace; paths come as arguments, never as text to be parsed.
const SCRIPT: &str = r#"
    set -e
    if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/rootfs"
    exec "$3" --root "$2/state" run --bundle "$2" "$4"
"#;

/// The program of a Debian package, or a failure that says what to install.
pub(crate) fn program(name: &str) -> PathBuf {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not installed: apt-get install {name}"))
}

/// Runs the spec with an installed runtime.
pub(crate) fn run(stage: &Stage, runtime: &str, case: &str, spec: &Spec) -> Outcome {
    let program = program(runtime);
    let bundle = stage.make(&format!("{runtime}-{case}"));
    for name in ["upper", "work", "rootfs", "state"] {
        std::fs::create_dir_all(bundle.join(name)).unwrap();
    }
    let id = format!("{runtime}-{case}-{}", std::process::id());
    let cgroups = Cgroups { parent: format!("/podling-suite-{id}") };
    let mut spec = spec.clone();
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(format!("{}/container", cgroups.parent).into()));
    }
    spec.save(bundle.join("config.json")).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "slave", "sh", "-c", SCRIPT, "sh"])
        .args([&stage.rootfs(), &bundle, &program])
        .arg(&id)
        .stdin(Stdio::null())
        .output()
        .expect("unshare of util-linux");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    // What the runtime itself says goes to standard error, where the probe writes nothing.
    let code = output.status.code().unwrap_or(-1);
    let exit = if complaint.contains("level=error") || complaint.contains("rror") {
        Err(complaint)
    } else {
        Ok(code)
    };
    Outcome { output: String::from_utf8_lossy(&output.stdout).into_owned(), exit }
}

/// The runtimes remove the container's cgroup and leave its parent.
struct Cgroups {
    parent: String,
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let hierarchy = linux::cgroup::Hierarchy::detect().unwrap();
        let cgroup = linux::cgroup::Cgroup::open(&hierarchy, &self.parent).unwrap();
        let _ = cgroup.kill_all();
        if let Err(error) = cgroup.remove(std::time::Duration::from_secs(5)) {
            eprintln!("left behind: {error}");
        }
    }
}
