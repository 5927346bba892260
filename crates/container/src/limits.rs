//! OCI's `LinuxResources` as limits of a cgroup. Pure; the devices among them are in [`crate::devices`].

use linux::cgroup::{HugepageLimit, Limits};
use oci_spec::runtime::LinuxResources;

/// The limits that the resources ask for. `memory.oom.group` is always set: when one process of a container
/// is killed for lack of memory, the container is (as the kubelet does on cgroup v2).
pub fn from_resources(resources: &LinuxResources) -> Limits {
    let cpu = resources.cpu().as_ref();
    let memory = resources.memory().as_ref();
    let hugepages = resources.hugepage_limits().iter().flatten().map(|limit| HugepageLimit {
        page_size: limit.page_size().clone(),
        // Negative is no limit; the kernel rounds down to whole pages.
        limit_bytes: u64::try_from(limit.limit()).unwrap_or(i64::MAX as u64),
    });
    let unified = resources.unified().iter().flatten();
    Limits {
        cpu_shares: cpu.and_then(|cpu| cpu.shares()),
        cpu_quota_us: cpu.and_then(|cpu| cpu.quota()),
        cpu_period_us: cpu.and_then(|cpu| cpu.period()),
        cpuset_cpus: cpu.and_then(|cpu| cpu.cpus().clone()),
        cpuset_mems: cpu.and_then(|cpu| cpu.mems().clone()),
        memory_limit_bytes: memory.and_then(|memory| memory.limit()),
        memory_reservation_bytes: memory.and_then(|memory| memory.reservation()),
        memory_swap_bytes: memory.and_then(|memory| memory.swap()),
        pids_limit: resources.pids().map(|pids| pids.limit()),
        hugepages: hugepages.collect(),
        unified: unified.map(|(file, value)| (file.clone(), value.clone())).collect(),
        oom_group: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_finds_its_field() {
        let resources: LinuxResources = serde_json::from_value(serde_json::json!({
            "cpu": { "shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0" },
            "memory": { "limit": 1048576, "reservation": 524288, "swap": 2097152 },
            "pids": { "limit": 10 },
            "hugepageLimits": [{ "pageSize": "2MB", "limit": 4194304 }],
            "unified": { "memory.high": "900000" }
        }))
        .unwrap();
        let expected = Limits {
            cpu_shares: Some(512),
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            cpuset_cpus: Some("0-1".into()),
            cpuset_mems: Some("0".into()),
            memory_limit_bytes: Some(1 << 20),
            memory_reservation_bytes: Some(1 << 19),
            memory_swap_bytes: Some(1 << 21),
            pids_limit: Some(10),
            hugepages: vec![HugepageLimit { page_size: "2MB".into(), limit_bytes: 4 << 20 }],
            unified: [("memory.high".to_owned(), "900000".to_owned())].into(),
            oom_group: true,
        };
        assert_eq!(from_resources(&resources), expected);
        let none = Limits { oom_group: true, ..Limits::default() };
        assert_eq!(from_resources(&LinuxResources::default()), none);
    }
}
