//! How much memory there is: the machine's, or less where a control group (a container, a systemd unit) says so.

use super::Root;
use super::groups::Groups;

/// The smaller of the machine's memory and the limits of the process's control groups; `None`: nothing says.
pub(crate) fn there_is_bytes(root: &Root) -> Option<u64> {
    machine_bytes(root).into_iter().chain(Groups::read(root, "self").memory_max).min()
}

/// The machine's memory.
pub(crate) fn machine_bytes(root: &Root) -> Option<u64> {
    let text = root.read("proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes = line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Files;

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       1000 kB\nMemFree:  1 kB\n");

    fn bytes(texts: &[(&str, &str)]) -> Option<u64> {
        let files = Files::new();
        for (path, text) in texts {
            files.put(path, text);
        }
        there_is_bytes(&files.root)
    }

    #[test]
    fn without_groups_it_is_the_machine_s() {
        assert_eq!(bytes(&[]), None);
        assert_eq!(bytes(&[MEMINFO]), Some(1_024_000));
        assert_eq!(bytes(&[MEMINFO, ("proc/self/cgroup", "0::/\nnonsense\n")]), Some(1_024_000));
    }

    #[test]
    fn a_group_of_the_second_version_and_those_around_it_limit() {
        let own = ("proc/self/cgroup", "0::/system.slice/hub.service\n");
        let unlimited = ("sys/fs/cgroup/system.slice/hub.service/memory.max", "max\n");
        assert_eq!(bytes(&[MEMINFO, own, unlimited]), Some(1_024_000));
        let around = ("sys/fs/cgroup/system.slice/memory.max", "4096\n");
        assert_eq!(bytes(&[MEMINFO, own, unlimited, around]), Some(4096));
        assert_eq!(bytes(&[MEMINFO, own, ("sys/fs/cgroup/memory.max", "8192\n")]), Some(8192), "a container's");
    }

    #[test]
    fn a_group_of_the_first_version_limits() {
        let own = ("proc/self/cgroup", "5:cpu,cpuacct:/\n4:hugetlb,memory:/docker/1f\n0::/\n");
        assert_eq!(bytes(&[MEMINFO, own, ("sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes", "5\n")]), Some(5));
        let most = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(bytes(&[MEMINFO, own, most]), Some(1_024_000));
    }
}
