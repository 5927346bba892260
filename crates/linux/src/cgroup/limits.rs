//! Resource limits with the meaning of OCI's `LinuxResources`, and the control files that carry them.
//!
//! Pure: what to write where is decided here, writing is `Cgroup::apply`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CgroupError;

/// What a cgroup may use. `None` leaves the kernel's value; `-1` means unlimited, as in OCI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Relative weight in v1's scale (2..=262144, default 1024); converted for v2.
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU time per period.
    pub cpu_quota_us: Option<i64>,
    /// Length of the period in microseconds (kernel default 100000).
    pub cpu_period_us: Option<u64>,
    /// CPUs allowed, as in "0-3,7".
    pub cpuset_cpus: Option<String>,
    /// Memory nodes allowed, as in "0".
    pub cpuset_mems: Option<String>,
    /// Hard memory limit.
    pub memory_limit_bytes: Option<i64>,
    /// Soft limit (v1) or protection (v2 `memory.low`): OCI's `reservation`, Kubernetes' request.
    pub memory_reservation_bytes: Option<i64>,
    /// Memory *plus* swap, as in OCI and v1; v2's file takes the difference.
    pub memory_swap_bytes: Option<i64>,
    /// Processes and threads; zero leaves it, negative is unlimited, as in runc.
    pub pids_limit: Option<i64>,
    /// Huge pages, per page size.
    pub hugepages: Vec<HugepageLimit>,
    /// Further v2 control files, verbatim.
    pub unified: BTreeMap<String, String>,
    /// On out of memory kill the whole cgroup (v2 `memory.oom.group`). v1 kills one process only; the
    /// shim then kills the rest when the first process is gone.
    pub oom_group: bool,
}

/// A limit on pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugepageLimit {
    /// The size as the kernel spells it: "2MB", "1GB".
    pub page_size: String,
    /// How many bytes of such pages.
    pub limit_bytes: u64,
}

/// One value for one control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The controller whose directory holds the file.
    pub(super) controller: &'static str,
    /// The file's name.
    pub(super) file: String,
    /// What to write.
    pub(super) value: String,
    /// Kernels built or booted without the feature (swap accounting) lack the file; then it is reported.
    pub(super) optional: bool,
}

/// The v2 weight for v1 shares, by the curve that runc 1.3.2, crun 1.23 and Kubernetes took on: it goes
/// through (2, 1), (1024, 100) and (262144, 10000), so that the defaults of both versions correspond.
pub fn weight_from_shares(shares: u64) -> u64 {
    if shares == 0 {
        return 0;
    }
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // The value lies in 1..=10000 here, so the cast cannot wrap. A hair is taken off before rounding up,
    // or 1024 shares become 101.
    (10f64.powf(exponent) - 1e-9).ceil() as u64
}

impl Limits {
    /// What to write on a v1 machine, in order.
    pub(super) fn plan_v1(&self) -> Result<Vec<Setting>, CgroupError> {
        if let Some((file, value)) = self.unified.iter().next() {
            let reason = "this machine has cgroup v1, which has no unified files";
            return Err(CgroupError::BadLimit { limit: file.clone(), value: value.clone(), reason });
        }
        let mut plan = Plan::default();
        plan.number("cpu", "cpu.shares", self.cpu_shares.filter(|shares| *shares != 0));
        plan.number("cpu", "cpu.cfs_period_us", self.cpu_period_us.filter(|period| *period != 0));
        plan.number("cpu", "cpu.cfs_quota_us", self.cpu_quota_us.filter(|quota| *quota != 0));
        plan.text("cpuset", "cpuset.cpus", self.cpuset_cpus.as_deref());
        plan.text("cpuset", "cpuset.mems", self.cpuset_mems.as_deref());
        let (memory_limit, swap) = (set(self.memory_limit_bytes), set(self.memory_swap_bytes));
        plan.number("memory", "memory.limit_in_bytes", memory_limit);
        plan.number("memory", "memory.memsw.limit_in_bytes", swap).optional();
        plan.number("memory", "memory.soft_limit_in_bytes", set(self.memory_reservation_bytes));
        plan.text("pids", "pids.max", set(self.pids_limit).map(or_max).as_deref());
        for huge in &self.hugepages {
            let size = page_size(huge)?;
            plan.number("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), Some(huge.limit_bytes));
            plan.number("hugetlb", &format!("hugetlb.{size}.rsvd.limit_in_bytes"), Some(huge.limit_bytes))
                .optional();
        }
        Ok(plan.settings)
    }

    /// What to write on a v2 machine, in order.
    pub(super) fn plan_v2(&self) -> Result<Vec<Setting>, CgroupError> {
        let mut plan = Plan::default();
        let weight = self.cpu_shares.filter(|shares| *shares != 0).map(weight_from_shares);
        plan.number("cpu", "cpu.weight", weight);
        plan.text("cpu", "cpu.max", self.cpu_max().as_deref());
        plan.text("cpuset", "cpuset.cpus", self.cpuset_cpus.as_deref());
        plan.text("cpuset", "cpuset.mems", self.cpuset_mems.as_deref());
        let swap = self.swap_alone()?;
        plan.text("memory", "memory.max", set(self.memory_limit_bytes).map(or_max).as_deref());
        plan.text("memory", "memory.swap.max", swap.map(or_max).as_deref()).optional();
        plan.text("memory", "memory.low", set(self.memory_reservation_bytes).map(or_max).as_deref());
        if self.oom_group {
            plan.text("memory", "memory.oom.group", Some("1"));
        }
        plan.text("pids", "pids.max", set(self.pids_limit).map(or_max).as_deref());
        for huge in &self.hugepages {
            let size = page_size(huge)?;
            plan.number("hugetlb", &format!("hugetlb.{size}.max"), Some(huge.limit_bytes));
            plan.number("hugetlb", &format!("hugetlb.{size}.rsvd.max"), Some(huge.limit_bytes)).optional();
        }
        for (file, value) in &self.unified {
            if !file.contains('.') || file.contains('/') || file.starts_with('.') {
                let reason = "not the name of a cgroup control file";
                return Err(CgroupError::BadLimit { limit: file.clone(), value: value.clone(), reason });
            }
            plan.text("unified", file, Some(value));
        }
        Ok(plan.settings)
    }

    /// `cpu.max`, "quota period"; the kernel keeps its period when it is left out.
    fn cpu_max(&self) -> Option<String> {
        let quota = self.cpu_quota_us.filter(|quota| *quota != 0);
        let period = self.cpu_period_us.filter(|period| *period != 0);
        if quota.is_none() && period.is_none() {
            return None;
        }
        let quota = quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        Some(period.map_or(quota.clone(), |period| format!("{quota} {period}")))
    }

    /// v2's swap is swap alone, OCI's is memory plus swap.
    fn swap_alone(&self) -> Result<Option<i64>, CgroupError> {
        let Some(both) = set(self.memory_swap_bytes) else { return Ok(None) };
        if both < 0 {
            return Ok(Some(-1));
        }
        let bad = |reason| {
            Err(CgroupError::BadLimit { limit: "memory.swap".into(), value: both.to_string(), reason })
        };
        match set(self.memory_limit_bytes) {
            Some(memory) if memory > both => bad("memory plus swap cannot be less than memory"),
            Some(memory) if memory >= 0 => Ok(Some(both - memory)),
            _ => bad("a swap limit needs a memory limit"),
        }
    }
}

/// Zero means "not set" in the OCI fields that come from Go.
fn set(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

/// Negative means unlimited.
fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// A page size becomes part of a file name, so it must be nothing but a size.
fn page_size(huge: &HugepageLimit) -> Result<&str, CgroupError> {
    let size = huge.page_size.as_str();
    let digits = size.trim_end_matches(|unit: char| unit.is_ascii_uppercase());
    if !digits.is_empty() && digits.len() < size.len() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(size);
    }
    let reason = "a huge page size is written like 2MB or 1GB";
    Err(CgroupError::BadLimit { limit: "hugepageLimits".into(), value: size.to_owned(), reason })
}

/// Settings in the order of writing.
#[derive(Default)]
struct Plan {
    settings: Vec<Setting>,
}

/// The setting that was just planned, if there was a value.
struct Planned<'plan>(Option<&'plan mut Setting>);

impl Planned<'_> {
    fn optional(self) {
        if let Some(setting) = self.0 {
            setting.optional = true;
        }
    }
}

impl Plan {
    fn text(&mut self, controller: &'static str, file: &str, value: Option<&str>) -> Planned<'_> {
        // An empty text is Go's way to leave a field out.
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Planned(None) };
        let (file, value) = (file.to_owned(), value.to_owned());
        self.settings.push(Setting { controller, file, value, optional: false });
        Planned(self.settings.last_mut())
    }

    fn number<N: ToString>(&mut self, controller: &'static str, file: &str, value: Option<N>) -> Planned<'_> {
        self.text(controller, file, value.map(|value| value.to_string()).as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(settings: &[Setting]) -> Vec<(&str, &str)> {
        settings.iter().map(|setting| (setting.file.as_str(), setting.value.as_str())).collect()
    }

    #[test]
    fn shares_become_the_weight_kubernetes_expects() {
        let pairs =
            [(0, 0), (2, 1), (102, 17), (256, 35), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)];
        for (shares, weight) in pairs {
            assert_eq!(weight_from_shares(shares), weight, "{shares} shares");
        }
        assert_eq!(weight_from_shares(u64::MAX), 10_000);
    }

    #[test]
    fn one_limit_has_two_spellings() {
        let limits = Limits {
            cpu_shares: Some(1024),
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            memory_limit_bytes: Some(64 << 20),
            memory_swap_bytes: Some(96 << 20),
            pids_limit: Some(-1),
            oom_group: true,
            ..Limits::default()
        };
        assert_eq!(
            written(&limits.plan_v2().unwrap()),
            [
                ("cpu.weight", "100"),
                ("cpu.max", "50000 100000"),
                ("memory.max", "67108864"),
                ("memory.swap.max", "33554432"),
                ("memory.oom.group", "1"),
                ("pids.max", "max"),
            ]
        );
        assert_eq!(
            written(&limits.plan_v1().unwrap()),
            [
                ("cpu.shares", "1024"),
                ("cpu.cfs_period_us", "100000"),
                ("cpu.cfs_quota_us", "50000"),
                ("memory.limit_in_bytes", "67108864"),
                ("memory.memsw.limit_in_bytes", "100663296"),
                ("pids.max", "max"),
            ]
        );
    }

    #[test]
    fn nothing_set_writes_nothing() {
        assert!(Limits::default().plan_v1().unwrap().is_empty());
        assert!(Limits::default().plan_v2().unwrap().is_empty());
        let zeros = Limits {
            pids_limit: Some(0),
            cpu_shares: Some(0),
            cpuset_cpus: Some(String::new()),
            ..Limits::default()
        };
        assert!(zeros.plan_v2().unwrap().is_empty());
    }

    #[test]
    fn a_file_name_cannot_leave_the_cgroup() {
        for name in ["../memory.max", "a/b.c", "..", "cgroup"] {
            let limits = Limits { unified: [(name.to_owned(), "1".to_owned())].into(), ..Limits::default() };
            assert!(limits.plan_v2().is_err(), "{name}");
        }
        let hugepages = vec![HugepageLimit { page_size: "../2MB".into(), limit_bytes: 1 }];
        assert!(Limits { hugepages, ..Limits::default() }.plan_v1().is_err());
    }

    #[test]
    fn swap_without_memory_is_refused_on_v2() {
        let limits = Limits { memory_swap_bytes: Some(1 << 20), ..Limits::default() };
        assert!(limits.plan_v2().is_err());
        let limits = Limits { memory_swap_bytes: Some(-1), ..Limits::default() };
        assert_eq!(written(&limits.plan_v2().unwrap()), [("memory.swap.max", "max")]);
    }
}
