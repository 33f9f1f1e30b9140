//! What the kernel has counted since it started: signs that a limit was met already.

use crate::kernel::Root;
use serde::Serialize;

/// Counts since the machine, or the network namespace, began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections that found a full accept queue.
    pub listen_overflows: u64,
    /// Times TCP came under memory pressure.
    pub memory_pressures: u64,
    /// Connections reset for want of TCP memory.
    pub aborts_on_memory: u64,
    /// Packets dropped because a core's input queue was full.
    pub softnet_drops: u64,
}

/// Reads cheap files only: `/proc/net/tcp` would hold the kernel up for half a second at 250,000 sockets.
pub(super) fn read(root: &Root) -> Counters {
    let netstat = root.read("proc/net/netstat").unwrap_or_default();
    let softnet = root.read("proc/net/softnet_stat").unwrap_or_default();
    // One line per core, in hexadecimal; the second number counts drops.
    let drops = softnet.lines().filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok());
    Counters {
        listen_overflows: extension(&netstat, "ListenOverflows"),
        memory_pressures: extension(&netstat, "TCPMemoryPressures"),
        aborts_on_memory: extension(&netstat, "TCPAbortOnMemory"),
        softnet_drops: drops.sum(),
    }
}

/// A number of the `TcpExt` pair of lines: names, then values.
fn extension(netstat: &str, name: &str) -> u64 {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let found = names.split_whitespace().zip(values.split_whitespace()).find(|(found, _)| *found == name);
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or_default()
}
