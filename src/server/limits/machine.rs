//! What the kernel says of memory: the process's, its control groups', and that of TCP. Read from files, so that tests can
//! put theirs in place of them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::admin::MemoryUse;
use crate::config::memory::KERNEL_BYTES;

/// Limits from here on are none: what the first version of groups has where nobody set one.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// Where the files are.
#[derive(Debug)]
pub(crate) struct Machine {
    root: PathBuf,
    page_bytes: u64,
}

impl Machine {
    /// The machine this runs on.
    pub(crate) fn this(page_bytes: u64) -> Machine {
        Machine::at("/", page_bytes)
    }

    /// One whose files lie below a folder.
    pub(crate) fn at(root: impl Into<PathBuf>, page_bytes: u64) -> Machine {
        Machine { root: root.into(), page_bytes }
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let path = path.as_ref();
        fs::read_to_string(self.root.join(path.strip_prefix("/").unwrap_or(path))).ok()
    }

    fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.read(path)?.trim().parse().ok()
    }

    /// The memory of the process, and of the kernel for so many connections.
    pub(crate) fn process_bytes(&self, connections: u64) -> Option<u64> {
        let status = self.read("/proc/self/status")?;
        let resident = field(&status, "VmRSS:")?.strip_suffix("kB")?.trim().parse::<u64>().ok()?;
        Some(resident * 1024 + connections * KERNEL_BYTES)
    }

    /// The control group that is nearest its limit, of those the process is in: what it uses apart from cached files, which
    /// it gives up when it needs to, and its limit. The kernel ends processes of a group that has reached it.
    pub(crate) fn group(&self) -> Option<MemoryUse> {
        let groups = self.read("/proc/self/cgroup")?;
        let uses = groups.lines().flat_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let version = match controllers {
                "" => Some(&SECOND),
                _ if controllers.split(',').any(|name| name == "memory") => Some(&FIRST),
                _ => None,
            };
            // In a container the path may be the host's, which isn't there: the walk up ends at the container's own.
            let ancestors = version.into_iter().flat_map(move |version| {
                Path::new(path.trim_start_matches('/')).ancestors().map(move |group| (version, group.to_owned()))
            });
            ancestors.filter_map(|(version, group)| self.group_use(version, &group))
        });
        uses.max_by_key(|memory| share_millionths(*memory))
    }

    fn group_use(&self, version: &GroupFiles, group: &Path) -> Option<MemoryUse> {
        let folder = Path::new(version.mount).join(group);
        let ceiling_bytes = version.limits.iter().filter_map(|name| self.number(folder.join(name))).min()?;
        if ceiling_bytes >= UNLIMITED_BYTES {
            return None;
        }
        let used_bytes = self.number(folder.join(version.used))?;
        let stat = self.read(folder.join("memory.stat")).unwrap_or_default();
        let cached = version.cached.iter().filter_map(|name| field(&stat, name)?.parse::<u64>().ok()).sum();
        Some(MemoryUse { used_bytes: used_bytes.saturating_sub(cached), ceiling_bytes })
    }

    /// What all TCP sockets of the machine hold in their queues, and where the kernel begins to refuse more. Nothing where
    /// the limit can't be seen, as in containers with a network of their own.
    pub(crate) fn tcp(&self) -> Option<MemoryUse> {
        let limits = self.read("/proc/sys/net/ipv4/tcp_mem")?;
        let high = limits.split_whitespace().nth(2)?.parse::<u64>().ok()?;
        let sockets = self.read("/proc/net/sockstat")?;
        let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:"))?;
        let mut words = tcp.split_whitespace();
        let pages = words.find(|word| *word == "mem").and_then(|_| words.next())?.parse::<u64>().ok()?;
        Some(MemoryUse { used_bytes: pages * self.page_bytes, ceiling_bytes: high.saturating_mul(self.page_bytes) })
    }
}

/// What the files of a memory group are called.
struct GroupFiles {
    mount: &'static str,
    /// Of several the smallest counts: at `memory.high` the group is slowed down, shards included.
    limits: &'static [&'static str],
    used: &'static str,
    cached: &'static [&'static str],
}

const SECOND: GroupFiles = GroupFiles {
    mount: "/sys/fs/cgroup",
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    cached: &["inactive_file ", "active_file "],
};

const FIRST: GroupFiles = GroupFiles {
    mount: "/sys/fs/cgroup/memory",
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    cached: &["total_inactive_file ", "total_active_file "],
};

/// The value of the line that begins so.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// How much of what there may be is used.
fn share_millionths(memory: MemoryUse) -> u64 {
    let share = u128::from(memory.used_bytes) * 1_000_000 / u128::from(memory.ceiling_bytes.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    /// A folder with files of the kernel's, gone in the end.
    pub(in super::super) struct Files(PathBuf);

    impl Files {
        pub(in super::super) fn new(name: &str) -> Files {
            let folder = std::env::temp_dir().join(format!("cinnabar-machine-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            Files(folder)
        }

        pub(in super::super) fn put(&self, path: &str, text: &str) {
            let path = self.0.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub(in super::super) fn machine(&self) -> Machine {
            Machine::at(&self.0, PAGE)
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn used(used_bytes: u64, ceiling_bytes: u64) -> Option<MemoryUse> {
        Some(MemoryUse { used_bytes, ceiling_bytes })
    }

    #[test]
    fn where_nothing_is_to_be_read_nothing_is_known() {
        let machine = Files::new("empty").machine();
        assert_eq!((machine.process_bytes(1), machine.group(), machine.tcp()), (None, None, None));
    }

    #[test]
    fn the_kernel_s_share_of_connections_is_the_hub_s() {
        let files = Files::new("process");
        files.put("/proc/self/status", "Name:\tcinnabar\nVmRSS:\t    2048 kB\nThreads:\t9\n");
        assert_eq!(files.machine().process_bytes(0), Some(2 << 20));
        assert_eq!(files.machine().process_bytes(1000), Some((2 << 20) + 4_200_000));
    }

    #[test]
    fn of_the_groups_of_the_second_version_the_one_nearest_its_limit_counts() {
        let files = Files::new("second");
        files.put("/proc/self/cgroup", "0::/a.slice/hub.service\n");
        for (group, max, high, current) in [
            ("a.slice/hub.service", "max", "max", "50"),
            ("a.slice", "1000", "max", "700"),
            ("", "max", "10000", "900"),
        ] {
            files.put(&format!("/sys/fs/cgroup/{group}/memory.max"), max);
            files.put(&format!("/sys/fs/cgroup/{group}/memory.high"), high);
            files.put(&format!("/sys/fs/cgroup/{group}/memory.current"), current);
        }
        assert_eq!(files.machine().group(), used(700, 1000));
        files.put("/sys/fs/cgroup/a.slice/memory.stat", "anon 100\nfile 600\ninactive_file 400\nactive_file 200\n");
        assert_eq!(files.machine().group(), used(100, 1000), "cached files are given up when need be");
        files.put("/sys/fs/cgroup/a.slice/hub.service/memory.high", "60");
        assert_eq!(files.machine().group(), used(50, 60), "where the group is slowed down");
    }

    #[test]
    fn groups_of_the_first_version_are_read_too() {
        let files = Files::new("first");
        files.put("/proc/self/cgroup", "5:cpu,cpuacct:/\n4:hugetlb,memory:/docker/1f\n0::/\n");
        files.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        files.put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n");
        assert_eq!(files.machine().group(), None, "that is no limit");
        files.put("/sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes", "1000\n");
        files.put("/sys/fs/cgroup/memory/docker/1f/memory.usage_in_bytes", "900\n");
        files.put("/sys/fs/cgroup/memory/docker/1f/memory.stat", "active_file 1\ntotal_active_file 200\n");
        assert_eq!(files.machine().group(), used(700, 1000));
    }

    #[test]
    fn tcp_s_share_is_in_pages() {
        let files = Files::new("tcp");
        files.put(
            "/proc/net/sockstat",
            "sockets: used 5\nTCP: inuse 3 orphan 0 tw 0 alloc 5 mem 12\nUDP: inuse 0 mem 9\n",
        );
        assert_eq!(files.machine().tcp(), None, "no limit to be seen");
        files.put("/proc/sys/net/ipv4/tcp_mem", "75\t100\t150\n");
        assert_eq!(files.machine().tcp(), used(12 * PAGE, 150 * PAGE));
    }
}
