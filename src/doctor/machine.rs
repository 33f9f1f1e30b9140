//! The facts of a machine, read once.

use super::counters::{self, Counters};
use super::sysctl;
use super::unit::{self, Unit};
use crate::kernel::Root;
use crate::kernel::groups::Groups;
use crate::kernel::memory;
use serde::Serialize;
use std::collections::BTreeMap;

/// Whether the hub could use io_uring here; tried, not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IoUring {
    /// All that it needs works.
    Works,
    /// What the system said.
    Denied(String),
}

/// The kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// As `uname -r` has it.
    pub release: String,
    /// Its first two numbers.
    pub version: (u32, u32),
}

/// Everything the doctor knows about a machine and the place a hub has on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// The kernel.
    pub kernel: Kernel,
    /// Memory in all.
    pub memory_bytes: u64,
    /// The soft and hard limit on descriptors.
    pub descriptors: Option<(u64, u64)>,
    /// Cores the process may run on.
    pub cores: u64,
    /// Limits of its control groups.
    pub groups: Groups,
    /// Whether a seccomp filter is on.
    pub seccomp: bool,
    /// Whether the hub could use io_uring.
    pub io_uring: IoUring,
    /// The hub's unit.
    pub unit: Option<Unit>,
    /// The sysctls that can be read.
    pub sysctls: BTreeMap<&'static str, String>,
    /// Files open on the machine.
    pub files_open: u64,
    /// What was counted.
    pub counters: Counters,
    /// `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// Whether there is swap.
    pub swap: bool,
    /// Where the kernel takes the time from.
    pub clock_source: Option<String>,
    /// Whether a service that keeps the time is seen at work.
    pub time_kept: bool,
}

impl Machine {
    /// Reads the facts of the process `who`: `self`, or the id of a hub that runs. `unit` is the name of its systemd unit, whose
    /// limits count instead of those of this process.
    pub fn read(root: &Root, who: &str, unit: Option<&str>, io_uring: IoUring) -> Machine {
        let text = |path: &str| root.read(path).map(|text| text.trim().to_owned());
        let memory_bytes = memory::machine_bytes(root).unwrap_or_default();
        let status = text(&format!("proc/{who}/status")).unwrap_or_default();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        Machine {
            kernel: Kernel::new(text("proc/sys/kernel/osrelease").unwrap_or_default()),
            memory_bytes,
            descriptors: text(&format!("proc/{who}/limits")).and_then(|limits| descriptors(&limits)),
            cores: field("Cpus_allowed_list").map_or(1, cores),
            groups: Groups::read(root, who),
            seccomp: field("Seccomp").is_some_and(|mode| mode != "0"),
            io_uring,
            unit: unit.and_then(|unit| unit::read(root, unit, memory_bytes)),
            sysctls: sysctl::read(root),
            files_open: text("proc/sys/fs/file-nr")
                .and_then(|text| text.split_whitespace().next()?.parse().ok())
                .unwrap_or(0),
            counters: counters::read(root),
            huge_pages: text("sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| chosen(&text)),
            swap: text("proc/swaps").is_some_and(|text| text.lines().count() > 1),
            clock_source: text("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            time_kept: [
                "run/systemd/timesync/synchronized",
                "run/chrony/chronyd.pid",
                "run/ntpd.pid",
                "run/openntpd.pid",
            ]
            .iter()
            .any(|path| root.has(path)),
        }
    }

    /// The first number of a sysctl.
    pub(super) fn number(&self, name: &'static str) -> Option<u64> {
        self.numbers(name).first().copied()
    }

    /// All numbers of a sysctl.
    pub(super) fn numbers(&self, name: &'static str) -> Vec<u64> {
        debug_assert!(sysctl::SYSCTLS.contains(&name), "{name} is in the list");
        let words = self.sysctls.get(name).map(String::as_str).unwrap_or_default().split(' ');
        words.filter_map(|word| word.parse().ok()).collect()
    }

    /// The descriptor limit the hub will have: its unit's, else the one of the process that was looked at.
    pub(super) fn descriptors_max(&self) -> u64 {
        let own = self.descriptors.map_or(1024, |(_, hard)| hard);
        self.unit.as_ref().map_or(own, |unit| unit.descriptors)
    }

    /// The limit of memory beyond which the hub is killed, where there is one below the machine's memory.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        let unit = self.unit.as_ref().and_then(|unit| unit.memory_max);
        self.groups.memory_max.into_iter().chain(unit).min().filter(|limit| *limit < self.memory_bytes)
    }

    /// The limit of memory beyond which the hub is slowed down, where there is one below the machine's memory.
    pub(super) fn memory_high(&self) -> Option<u64> {
        let unit = self.unit.as_ref().and_then(|unit| unit.memory_high);
        self.groups.memory_high.into_iter().chain(unit).min().filter(|limit| *limit < self.memory_bytes)
    }

    /// What the hub takes a share of unless it is told otherwise.
    pub(super) fn memory_to_share(&self) -> u64 {
        self.memory_limit().unwrap_or(self.memory_bytes)
    }

    /// Whether connections are tracked: a table that is there and empty tracks nothing.
    pub(super) fn tracks_connections(&self) -> bool {
        self.number("net.netfilter.nf_conntrack_count").is_some_and(|count| count > 0)
    }
}

impl Kernel {
    fn new(release: String) -> Kernel {
        let mut numbers = release.split(|byte: char| !byte.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Kernel { release, version }
    }
}

fn descriptors(limits: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line.split_whitespace();
    let mut number = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        word => word.parse().ok(),
    };
    Some((number()?, number()?))
}

/// `0-3,8` has five.
fn cores(list: &str) -> u64 {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(last.saturating_sub(first) + 1)
    });
    ranges.sum::<u64>().max(1)
}

/// `always [madvise] never` → `madvise`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::made_up::MadeUp;
    use super::*;

    #[test]
    fn facts_are_read_from_the_files_of_a_machine() {
        let machine = MadeUp::small_vm().machine();
        assert_eq!(machine.kernel, Kernel { release: "6.12.0-debian".into(), version: (6, 12) });
        assert_eq!(machine.memory_bytes, 4_099_993_600);
        assert_eq!(machine.descriptors, Some((1024, 524_288)));
        assert_eq!(machine.cores, 2);
        assert_eq!(machine.numbers("net.ipv4.tcp_mem"), [46_921, 62_561, 93_842]);
        assert_eq!(machine.huge_pages.as_deref(), Some("madvise"));
        assert_eq!(
            (machine.groups.clone(), machine.memory_limit(), machine.tracks_connections()),
            (Groups::default(), None, false)
        );
        assert!(!machine.seccomp && !machine.swap);
    }

    #[test]
    fn limits_of_a_container_are_found_in_either_version_of_control_groups() {
        let second = MadeUp::container().machine();
        assert_eq!(second.memory_limit(), Some(1 << 30));
        assert_eq!((second.groups.pids_max, second.groups.cpu_max), (Some(100), Some(1.5)));
        let first = MadeUp::small_vm()
            .with("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a/b\n3:pids:/\n")
            .with("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n")
            .with("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n")
            .with("sys/fs/cgroup/pids/pids.max", "max\n")
            .with("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000\n")
            .with("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
            .machine();
        assert_eq!(first.groups, Groups { memory_max: Some(1 << 30), cpu_max: Some(0.5), ..Groups::default() });
    }

    #[test]
    fn a_machine_without_any_file_is_a_machine_all_the_same() {
        let machine = MadeUp::new().machine();
        assert_eq!((machine.memory_bytes, machine.cores, machine.descriptors), (0, 1, None));
    }

    #[test]
    fn odd_texts_are_no_reason_to_fail() {
        assert_eq!(cores("0-3,8"), 5);
        assert_eq!(cores("nonsense"), 1);
        assert_eq!(Kernel::new("6.18.44-fc".into()).version, (6, 18));
        assert_eq!(Kernel::new(String::new()).version, (0, 0));
        assert_eq!(descriptors("Max open files  unlimited  unlimited files"), Some((u64::MAX, u64::MAX)));
    }

    #[test]
    fn what_was_counted_is_read_by_name() {
        let machine = MadeUp::small_vm()
            .with(
                "proc/net/netstat",
                "TcpExt: SyncookiesSent ListenOverflows TCPAbortOnMemory\nTcpExt: 1 22823 4\nIpExt: A\nIpExt: 9\n",
            )
            .with("proc/net/softnet_stat", "0cdfebad 00000003 00000026\n0ce3d141 0000000a 00000027\n")
            .machine();
        let counters = machine.counters;
        assert_eq!((counters.listen_overflows, counters.aborts_on_memory, counters.softnet_drops), (22_823, 4, 13));
    }
}
