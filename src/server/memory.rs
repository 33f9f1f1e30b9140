//! How much memory the hub may take: the machine's, or less where a control group (a container, a systemd unit) says so.

use std::path::Path;

/// The smaller of the machine's memory and the limits of the process's control groups; `None`: nothing says.
pub(crate) fn memory_bytes() -> Option<u64> {
    bytes_by(&|path| std::fs::read_to_string(path).ok())
}

fn bytes_by(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total_bytes(&text));
    let groups = read(Path::new("/proc/self/cgroup")).and_then(|text| group_bytes(&text, read));
    machine.into_iter().chain(groups).min()
}

fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The smallest limit of the groups in `/proc/self/cgroup`, each a line `number:controllers:path`, and of those they are
/// in. In a container the path may be the host's, which isn't there: the walk up ends at the container's own.
fn group_bytes(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let limit = |group: &Path| read(&Path::new(mount).join(group).join(file))?.trim().parse().ok();
        Path::new(path.trim_start_matches('/')).ancestors().filter_map(limit).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:       1000 kB\nMemFree:  1 kB\n");

    fn bytes(files: &[(&str, &str)]) -> Option<u64> {
        bytes_by(&|path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn without_groups_it_is_the_machine_s() {
        assert_eq!(bytes(&[]), None);
        assert_eq!(bytes(&[MEMINFO]), Some(1_024_000));
        assert_eq!(bytes(&[MEMINFO, ("/proc/self/cgroup", "0::/\nnonsense\n")]), Some(1_024_000));
    }

    #[test]
    fn a_group_of_the_second_version_and_those_around_it_limit() {
        let own = ("/proc/self/cgroup", "0::/system.slice/hub.service\n");
        let unlimited = ("/sys/fs/cgroup/system.slice/hub.service/memory.max", "max\n");
        assert_eq!(bytes(&[MEMINFO, own, unlimited]), Some(1_024_000));
        let around = ("/sys/fs/cgroup/system.slice/memory.max", "4096\n");
        assert_eq!(bytes(&[MEMINFO, own, unlimited, around]), Some(4096));
        assert_eq!(bytes(&[MEMINFO, own, ("/sys/fs/cgroup/memory.max", "8192\n")]), Some(8192), "a container's");
    }

    #[test]
    fn a_group_of_the_first_version_limits() {
        let own = ("/proc/self/cgroup", "5:cpu,cpuacct:/\n4:hugetlb,memory:/docker/1f\n0::/\n");
        assert_eq!(bytes(&[MEMINFO, own, ("/sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes", "5\n")]), Some(5));
        let most = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(bytes(&[MEMINFO, own, most]), Some(1_024_000));
    }
}
