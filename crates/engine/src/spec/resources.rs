//! Requests and limits as cgroup values, computed as the kubelet does.

use linux::cgroup::Limits;
use model::pod::{PodSpec, Resources};
use model::resources::effective;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemoryBuilder,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};

/// The CFS period in which a CPU limit is counted.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// The kernel's least quota.
const LEAST_QUOTA_MICROS: i64 = 1_000;
/// The kernel's least and greatest number of shares.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
/// Processes and threads of one Pod. The kubelet sets no bound unless told; a fork bomb in one Pod must not
/// take the machine with it, so podling does.
const POD_PIDS_LIMIT: i64 = 16_384;

/// The cgroup values of one container.
pub(crate) fn container(resources: &Resources, privileged: bool) -> Result<LinuxResources, OciSpecError> {
    let mut built = cpu_and_memory(resources)?;
    built.set_devices(Some(vec![device_rule(privileged)?]));
    Ok(built)
}

/// Every device, or none but those that every container has.
fn device_rule(allow: bool) -> Result<LinuxDeviceCgroup, OciSpecError> {
    LinuxDeviceCgroupBuilder::default().allow(allow).typ(LinuxDeviceType::A).access("rwm").build()
}

/// The cgroup values of the Pod as a whole: requests add up; a limit holds for the Pod only when every
/// container has one.
pub(crate) fn pod(spec: &PodSpec) -> Result<LinuxResources, OciSpecError> {
    let mut built = cpu_and_memory(&effective(spec))?;
    built.set_pids(Some(LinuxPidsBuilder::default().limit(POD_PIDS_LIMIT).build()?));
    Ok(built)
}

fn cpu_and_memory(resources: &Resources) -> Result<LinuxResources, OciSpecError> {
    let request = resources.requests.get("cpu").map_or(0, |cpu| cpu.milli_value().max(0));
    let mut cpu = LinuxCpuBuilder::default().shares(shares(request));
    if let Some(limit) = resources.limits.get("cpu").map(|cpu| cpu.milli_value()).filter(|&limit| limit > 0) {
        cpu = cpu.quota(quota_micros(limit)).period(CPU_PERIOD_MICROS);
    }
    let mut memory = LinuxMemoryBuilder::default();
    if let Some(limit) =
        resources.limits.get("memory").map(|memory| memory.value()).filter(|&limit| limit > 0)
    {
        // Kubernetes counts no swap: what is over the memory limit is over the limit.
        memory = memory.limit(limit).swap(limit);
    }
    LinuxResourcesBuilder::default().cpu(cpu.build()?).memory(memory.build()?).build()
}

/// The same for a cgroup that has limits already: one that is not asked for any more is taken away.
pub(crate) fn resized(resources: &Resources) -> Result<Limits, OciSpecError> {
    let mut limits = container::limits::from_resources(&cpu_and_memory(resources)?);
    for limit in [&mut limits.cpu_quota_us, &mut limits.memory_limit_bytes, &mut limits.memory_swap_bytes] {
        limit.get_or_insert(-1);
    }
    Ok(limits)
}

/// kubelet's `MilliCPUToShares`.
fn shares(milli_cpu: i64) -> u64 {
    let shares = u64::try_from(milli_cpu).unwrap_or(0).saturating_mul(1024) / 1000;
    shares.clamp(*SHARES.start(), *SHARES.end())
}

/// kubelet's `MilliCPUToQuota`.
fn quota_micros(milli_cpu: i64) -> i64 {
    let quota = i128::from(milli_cpu) * i128::from(CPU_PERIOD_MICROS) / 1000;
    i64::try_from(quota).unwrap_or(i64::MAX).max(LEAST_QUOTA_MICROS)
}
