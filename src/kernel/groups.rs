//! Control groups: a container's, or a systemd unit's.

use super::Root;
use serde::Serialize;
use std::path::Path;

/// Limits from here on are none: what the first version of groups has where nobody set one.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// What the groups of a process allow, the smallest of each kind; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Groups {
    /// Memory of all in the group, kernel memory of its sockets included, beyond which the process is killed.
    pub memory_max: Option<u64>,
    /// Memory beyond which the group is slowed down.
    pub memory_high: Option<u64>,
    /// Threads and processes.
    pub pids_max: Option<u64>,
    /// Cores' worth of time.
    pub cpu_max: Option<f64>,
}

impl Groups {
    /// Of the process `who`: `self`, or its id.
    pub(crate) fn read(root: &Root, who: &str) -> Groups {
        let mut groups = Groups::default();
        for group in of_process(root, who) {
            least(&mut groups.memory_max, group.memory_max());
            least(&mut groups.memory_high, group.memory_high());
            least(&mut groups.pids_max, group.pids_max());
            least(&mut groups.cpu_max, group.cpu_max());
        }
        groups
    }
}

/// What the memory of a group is, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupMemory {
    /// Without cached files, which the group gives up when it needs to.
    pub(crate) used_bytes: u64,
    /// The smallest limit: at `memory.high` the group is slowed down, shards included.
    pub(crate) limit_bytes: u64,
}

/// The memory of each group that has a limit, of those the process is in.
pub(crate) fn memory_of_each(root: &Root) -> Vec<GroupMemory> {
    of_process(root, "self").iter().filter_map(Group::memory).collect()
}

/// A group, as one of the kernel's trees has it.
struct Group<'r> {
    root: &'r Root,
    folder: String,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// A tree per controller.
    First(Controller),
    /// One tree.
    Second,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
}

/// Every group that `proc/WHO/cgroup` names, each line `number:controllers:path`, and those around them. In a container the path
/// may be the host's, which isn't there: the walk up ends at the container's own.
fn of_process<'r>(root: &'r Root, who: &str) -> Vec<Group<'r>> {
    let mut groups = Vec::new();
    let text = root.read(&format!("proc/{who}/cgroup")).unwrap_or_default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        for (tree, version) in trees(controllers) {
            let around = Path::new(path.trim_start_matches('/')).ancestors().filter_map(Path::to_str);
            groups.extend(around.map(|path| Group { root, folder: format!("sys/fs/cgroup{tree}/{path}"), version }));
        }
    }
    groups
}

fn trees(controllers: &str) -> Vec<(&'static str, Version)> {
    if controllers.is_empty() {
        // The other one is where both versions are in use.
        return vec![("", Version::Second), ("/unified", Version::Second)];
    }
    let tree = |controller| match controller {
        "memory" => Some(("/memory", Version::First(Controller::Memory))),
        "pids" => Some(("/pids", Version::First(Controller::Pids))),
        "cpu" => Some(("/cpu", Version::First(Controller::Cpu))),
        _ => None,
    };
    controllers.split(',').filter_map(tree).collect()
}

impl Group<'_> {
    fn read(&self, file: &str) -> Option<String> {
        self.root.read(&format!("{}/{file}", self.folder))
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.root.number(&format!("{}/{file}", self.folder))
    }

    fn memory_max(&self) -> Option<u64> {
        let bytes = match self.version {
            Version::Second => self.number("memory.max"),
            Version::First(Controller::Memory) => self.number("memory.limit_in_bytes"),
            Version::First(_) => None,
        };
        bytes.filter(|bytes| *bytes < UNLIMITED_BYTES)
    }

    fn memory_high(&self) -> Option<u64> {
        let bytes = if self.version == Version::Second { self.number("memory.high") } else { None };
        bytes.filter(|bytes| *bytes < UNLIMITED_BYTES)
    }

    fn memory(&self) -> Option<GroupMemory> {
        let limit_bytes = self.memory_max().into_iter().chain(self.memory_high()).min()?;
        let (used, cached) = match self.version {
            Version::Second => ("memory.current", ["inactive_file ", "active_file "]),
            Version::First(_) => ("memory.usage_in_bytes", ["total_inactive_file ", "total_active_file "]),
        };
        let stat = self.read("memory.stat").unwrap_or_default();
        let value = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let cached_bytes: u64 = cached.into_iter().filter_map(value).sum();
        Some(GroupMemory { used_bytes: self.number(used)?.saturating_sub(cached_bytes), limit_bytes })
    }

    fn pids_max(&self) -> Option<u64> {
        match self.version {
            Version::Second | Version::First(Controller::Pids) => self.number("pids.max"),
            Version::First(_) => None,
        }
    }

    fn cpu_max(&self) -> Option<f64> {
        let (quota, period) = match self.version {
            Version::Second => {
                let text = self.read("cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            }
            Version::First(Controller::Cpu) => {
                let number = |file| self.read(file)?.trim().parse::<i64>().ok();
                (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
            }
            Version::First(_) => return None,
        };
        (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
    }
}

fn least<T: PartialOrd>(limit: &mut Option<T>, found: Option<T>) {
    if let Some(found) = found
        && limit.as_ref().is_none_or(|limit| found < *limit)
    {
        *limit = Some(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Files;

    fn memory(files: &Files) -> Vec<(u64, u64)> {
        memory_of_each(&files.root).iter().map(|memory| (memory.used_bytes, memory.limit_bytes)).collect()
    }

    #[test]
    fn of_the_second_version_the_own_group_comes_first_and_cached_files_are_given_up() {
        let files = Files::new();
        files.put("proc/self/cgroup", "0::/a.slice/hub.service\n");
        for (group, max, high, current) in [
            ("a.slice/hub.service", "max", "max", "50"),
            ("a.slice", "1000", "max", "700"),
            ("", "max", "10000", "900"),
        ] {
            files.put(&format!("sys/fs/cgroup/{group}/memory.max"), max);
            files.put(&format!("sys/fs/cgroup/{group}/memory.high"), high);
            files.put(&format!("sys/fs/cgroup/{group}/memory.current"), current);
        }
        assert_eq!(memory(&files), [(700, 1000), (900, 10_000)]);
        files.put("sys/fs/cgroup/a.slice/memory.stat", "anon 100\nfile 600\ninactive_file 400\nactive_file 200\n");
        files.put("sys/fs/cgroup/a.slice/hub.service/memory.high", "60");
        assert_eq!(memory(&files), [(50, 60), (100, 1000), (900, 10_000)]);
        let groups = Groups::read(&files.root, "self");
        assert_eq!((groups.memory_max, groups.memory_high), (Some(1000), Some(60)));
    }

    #[test]
    fn of_the_first_version_what_nobody_limited_has_no_limit() {
        let files = Files::new();
        files.put("proc/self/cgroup", "5:cpu,cpuacct:/\n4:hugetlb,memory:/docker/1f\n0::/\n");
        files.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        files.put("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n");
        assert_eq!(memory(&files), []);
        files.put("sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes", "1000\n");
        files.put("sys/fs/cgroup/memory/docker/1f/memory.usage_in_bytes", "900\n");
        files.put("sys/fs/cgroup/memory/docker/1f/memory.stat", "active_file 1\ntotal_active_file 200\n");
        assert_eq!(memory(&files), [(700, 1000)]);
    }

    #[test]
    fn processes_and_time_are_limited_in_either_version() {
        let files = Files::new();
        files.put("proc/7/cgroup", "5:cpu,cpuacct:/a\n3:pids:/\n");
        files.put("sys/fs/cgroup/pids/pids.max", "100\n");
        files.put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000\n");
        files.put("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
        files.put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
        files.put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        let first = Groups::read(&files.root, "7");
        assert_eq!(first, Groups { pids_max: Some(100), cpu_max: Some(0.5), ..Groups::default() });
        files.put("proc/8/cgroup", "0::/b\n");
        files.put("sys/fs/cgroup/unified/b/cpu.max", "max 100000\n");
        files.put("sys/fs/cgroup/unified/cpu.max", "150000 100000\n");
        files.put("sys/fs/cgroup/unified/b/pids.max", "max\n");
        assert_eq!(Groups::read(&files.root, "8"), Groups { cpu_max: Some(1.5), ..Groups::default() });
        assert_eq!(Groups::read(&files.root, "9"), Groups::default(), "nobody");
    }
}
