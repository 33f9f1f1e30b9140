//! Memory as the hub watches it: the process's, its control groups', and that of TCP.

use crate::admin::MemoryUse;
use crate::config::memory::KERNEL_BYTES;
use crate::kernel::{Root, groups};

/// Where the files are.
#[derive(Debug)]
pub(crate) struct Machine {
    root: Root,
    page_bytes: u64,
}

impl Machine {
    /// The machine this runs on.
    pub(crate) fn this(page_bytes: u64) -> Machine {
        Machine::at(Root::machine(), page_bytes)
    }

    /// One whose files lie below a folder.
    pub(super) fn at(root: Root, page_bytes: u64) -> Machine {
        Machine { root, page_bytes }
    }

    /// The memory of the process, and of the kernel for so many connections.
    pub(crate) fn process_bytes(&self, connections: u64) -> Option<u64> {
        let status = self.root.read("proc/self/status")?;
        let resident = field(&status, "VmRSS:")?.strip_suffix("kB")?.trim().parse::<u64>().ok()?;
        Some(resident * 1024 + connections * KERNEL_BYTES)
    }

    /// The control group that is nearest its limit, of those the process is in. The kernel ends processes of a group that has
    /// reached it.
    pub(crate) fn group(&self) -> Option<MemoryUse> {
        let uses = groups::memory_of_each(&self.root)
            .into_iter()
            .map(|memory| MemoryUse { used_bytes: memory.used_bytes, ceiling_bytes: memory.limit_bytes });
        uses.max_by_key(|memory| share_millionths(*memory))
    }

    /// What all TCP sockets of the machine hold in their queues, and where the kernel begins to refuse more. Nothing where
    /// the limit can't be seen, as in containers with a network of their own.
    pub(crate) fn tcp(&self) -> Option<MemoryUse> {
        let limits = self.root.read("proc/sys/net/ipv4/tcp_mem")?;
        let high = limits.split_whitespace().nth(2)?.parse::<u64>().ok()?;
        let sockets = self.root.read("proc/net/sockstat")?;
        let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:"))?;
        let mut words = tcp.split_whitespace();
        let pages = words.find(|word| *word == "mem").and_then(|_| words.next())?.parse::<u64>().ok()?;
        Some(MemoryUse { used_bytes: pages * self.page_bytes, ceiling_bytes: high.saturating_mul(self.page_bytes) })
    }
}

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
    use crate::kernel::Files;

    const PAGE: u64 = 4096;

    /// The machine with these files.
    pub(in super::super) fn machine(files: &Files) -> Machine {
        Machine::at(files.root.clone(), PAGE)
    }

    fn used(used_bytes: u64, ceiling_bytes: u64) -> Option<MemoryUse> {
        Some(MemoryUse { used_bytes, ceiling_bytes })
    }

    #[test]
    fn where_nothing_is_to_be_read_nothing_is_known() {
        let files = Files::new();
        let machine = machine(&files);
        assert_eq!((machine.process_bytes(1), machine.group(), machine.tcp()), (None, None, None));
    }

    #[test]
    fn the_kernel_s_share_of_connections_is_the_hub_s() {
        let files = Files::new();
        files.put("proc/self/status", "Name:\tcinnabar\nVmRSS:\t    2048 kB\nThreads:\t9\n");
        assert_eq!(machine(&files).process_bytes(0), Some(2 << 20));
        assert_eq!(machine(&files).process_bytes(1000), Some((2 << 20) + 4_200_000));
    }

    #[test]
    fn of_several_groups_the_one_nearest_its_limit_counts() {
        let files = Files::new();
        files.put("proc/self/cgroup", "0::/a.slice/hub.service\n");
        for (group, max, current) in
            [("a.slice/hub.service", "max", "50"), ("a.slice", "1000", "700"), ("", "10000", "900")]
        {
            files.put(&format!("sys/fs/cgroup/{group}/memory.max"), max);
            files.put(&format!("sys/fs/cgroup/{group}/memory.current"), current);
        }
        assert_eq!(machine(&files).group(), used(700, 1000));
        files.put("sys/fs/cgroup/a.slice/hub.service/memory.high", "60");
        assert_eq!(machine(&files).group(), used(50, 60), "where the group is slowed down");
    }

    #[test]
    fn tcp_s_share_is_in_pages() {
        let files = Files::new();
        files.put(
            "proc/net/sockstat",
            "sockets: used 5\nTCP: inuse 3 orphan 0 tw 0 alloc 5 mem 12\nUDP: inuse 0 mem 9\n",
        );
        assert_eq!(machine(&files).tcp(), None, "no limit to be seen");
        files.put("proc/sys/net/ipv4/tcp_mem", "75\t100\t150\n");
        assert_eq!(machine(&files).tcp(), used(12 * PAGE, 150 * PAGE));
    }
}
