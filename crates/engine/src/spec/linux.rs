//! Namespaces, devices, masks, the system call filter: the Linux part of the spec.

use model::pod::ProcMount;
use oci_spec::runtime::{Linux, LinuxBuilder, LinuxNamespaceBuilder, LinuxSeccomp};

use super::{Input, SpecError, namespaces, resources};

/// Which system call filter a container gets.
#[derive(Debug, Clone)]
pub(crate) enum SeccompChoice {
    /// None: Unconfined or privileged.
    Unconfined,
    /// The profile of container engines, with what the container's capabilities allow.
    RuntimeDefault,
    /// A profile of the node.
    Localhost(Box<LinuxSeccomp>),
}

/// What container engines hide of /proc and /sys: it tells about or acts on the whole machine.
const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What may be read and never written.
const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn build(input: &Input<'_>) -> Result<Linux, SpecError> {
    let oci = |source| SpecError::Oci { container: input.container.name.clone(), source };
    let context = &input.container.security_context;
    let unmasked = context.privileged || context.proc_mount == ProcMount::Unmasked;
    let paths = |paths: &[&str]| -> Vec<String> {
        if unmasked { Vec::new() } else { paths.iter().map(|path| (*path).to_owned()).collect() }
    };
    let namespaces = namespaces(input.pod)
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()
        .map_err(oci)?;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(format!("{}/{}", input.pod_cgroup, input.container.name))
        .resources(resources::container(&input.container.resources, context.privileged).map_err(oci)?)
        .masked_paths(paths(MASKED_PATHS))
        .readonly_paths(paths(READONLY_PATHS))
        .rootfs_propagation("rprivate")
        .devices(input.host_devices.to_vec())
        .build()
        .map_err(oci)?;
    let mappings = super::mappings(input)?;
    linux.set_uid_mappings(mappings.clone()).set_gid_mappings(mappings);
    linux.set_seccomp(match &input.seccomp {
        SeccompChoice::Unconfined => None,
        SeccompChoice::Localhost(profile) => Some((**profile).clone()),
        SeccompChoice::RuntimeDefault => {
            Some(container::seccomp::runtime_default(&super::process::bounding(input)?))
        }
    });
    Ok(linux)
}
