//! What `/proc` says about a process and about the machine: memory, CPU time, threads, descriptors.

use std::fs;

use anyhow::Context;

use crate::sys;

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// The value of a `Name:  1234 kB` line, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Bytes of memory only this process has: what it would give back by ending.
pub(crate) fn private_bytes(pid: u32) -> anyhow::Result<u64> {
    let text = read(&format!("/proc/{pid}/smaps_rollup"))?;
    let parts = ["Private_Clean", "Private_Dirty", "Private_Hugetlb"];
    Ok(parts.iter().filter_map(|name| kilobytes(&text, name)).sum())
}

/// Seconds of CPU time a process (all its threads) has used, user and system.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<(f64, f64)> {
    let [user, system, ..] = cpu_fields(&format!("/proc/{pid}/stat"))?;
    Ok((user, system))
}

/// Seconds of CPU time this program has used, and those of its children that have ended.
pub(crate) fn family_cpu_seconds() -> anyhow::Result<(f64, f64)> {
    let [user, system, children_user, children_system] = cpu_fields("/proc/self/stat")?;
    Ok((user + system, children_user + children_system))
}

fn cpu_fields(path: &str) -> anyhow::Result<[f64; 4]> {
    let text = read(path)?;
    // The name in brackets may hold anything; fields are counted after it.
    let fields: Vec<&str> = text.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok([11, 12, 13, 14].map(|at| ticks(at) / sys::ticks_per_second()))
}

/// Threads of a process.
pub(crate) fn threads(pid: u32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

/// Open descriptors of a process and its soft limit.
pub(crate) fn descriptors(pid: u32) -> anyhow::Result<(u64, u64)> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).context("list descriptors")?.count();
    let limits = read(&format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit on open files")?;
    let soft = line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).unwrap_or(u64::MAX);
    Ok((open as u64, soft))
}

/// CPU seconds used up to a moment: by the server, by this program, by the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) server_s: f64,
    pub(crate) own_s: f64,
    /// Everything that wasn't idle, interrupts included, on all cores.
    pub(crate) machine_s: f64,
}

impl Cpu {
    /// Reads all clocks, of a server with all its processes.
    pub(crate) fn now(server: &[u32]) -> Self {
        let both = |pid| cpu_seconds(pid).map(|(user, system)| user + system).unwrap_or(0.0);
        Self {
            server_s: server.iter().map(|pid| both(*pid)).sum(),
            own_s: both(std::process::id()),
            machine_s: MachineTime::now().busy_s,
        }
    }

    /// What was used since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            server_s: self.server_s - before.server_s,
            own_s: self.own_s - before.own_s,
            machine_s: self.machine_s - before.machine_s,
        }
    }
}

/// CPU seconds of the machine, all cores together, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct MachineTime {
    /// Everything that wasn't idle, interrupts and what the hypervisor took included.
    pub(crate) busy_s: f64,
    /// Of it, interrupts: much of what the network does is on no program's account.
    pub(crate) interrupts_s: f64,
    /// Of it, what the hypervisor gave to others.
    pub(crate) stolen_s: f64,
    /// All there was.
    pub(crate) total_s: f64,
}

impl MachineTime {
    /// Reads it; zeroes where that can't be read.
    pub(crate) fn now() -> Self {
        read("/proc/stat").map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(stat: &str) -> Self {
        // user nice system idle iowait irq softirq steal; guest time is part of user.
        let words = stat.lines().next().unwrap_or("").split_whitespace().skip(1).take(8);
        let ticks: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
        let total: f64 = ticks.iter().sum();
        let at = |place: usize| ticks.get(place).copied().unwrap_or(0.0);
        let seconds = |ticks: f64| ticks / sys::ticks_per_second();
        Self {
            busy_s: seconds(total - at(3) - at(4)),
            interrupts_s: seconds(at(5) + at(6)),
            stolen_s: seconds(at(7)),
            total_s: seconds(total),
        }
    }
}

/// What the kernel holds: live objects in slab caches, and TCP's buffer pages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kernel {
    /// Bytes of live objects in all slab caches, if `/proc/slabinfo` is readable.
    slab_bytes: Option<u64>,
    pub(crate) tcp_buffer_bytes: u64,
}

impl Kernel {
    /// Reads what is readable.
    pub(crate) fn now() -> Self {
        let slabs = fs::read_to_string("/proc/slabinfo").ok();
        Self { slab_bytes: slabs.and_then(|text| live_bytes(&text)), tcp_buffer_bytes: tcp_buffer_bytes() }
    }

    /// What all slab caches together grew by, in bytes; nothing where they can't be read.
    pub(crate) fn slab_growth(&self, before: &Self) -> Option<i64> {
        Some(self.slab_bytes? as i64 - before.slab_bytes? as i64)
    }
}

/// What TCP's buffers take on the whole machine, in bytes.
pub(crate) fn tcp_buffer_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    sockstat("mem") * PAGE_BYTES
}

/// What the kernel's slabs take on the whole machine, in bytes: sockets and their files are most of what grows there.
pub(crate) fn slab_bytes() -> u64 {
    read("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "Slab")).unwrap_or(0)
}

/// A field of the TCP line of the socket statistics.
fn sockstat(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let tcp = text.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let mut words = tcp.split_whitespace().skip_while(|word| *word != name).skip(1);
    words.next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Objects times their size, over all caches; nothing of none.
fn live_bytes(slabinfo: &str) -> Option<u64> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let active = words.next()?.parse::<u64>().ok()?;
        let size = words.nth(1)?.parse::<u64>().ok()?;
        Some(active * size)
    };
    slabinfo.lines().filter_map(parse).reduce(|sum, bytes| sum + bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let own = std::process::id();
        assert!(private_bytes(own).expect("readable") > 100_000);
        assert!(threads(own).expect("readable") >= 1);
        let (open, limit) = descriptors(own).expect("readable");
        assert!(open > 2 && limit > open);
        assert!(Cpu::now(&[own]).machine_s > 0.0);
    }

    #[test]
    fn slab_lines_are_objects_times_size() {
        let head = "slabinfo - version: 2.1\n# name <active_objs>\n";
        assert_eq!(live_bytes(head), None);
        let slabs = format!("{head}TCP 10 26 2368 13 8 : tunables 0\nfilp 2 4 256 13 8 : tunables 0\n");
        assert_eq!(live_bytes(&slabs), Some(23_680 + 512));
    }

    #[test]
    fn idle_and_waiting_time_is_not_busy() {
        let time = MachineTime::parse("cpu  100 1 50 9999 888 2 3 4 77 0\ncpu0 1\n");
        let [busy_s, interrupts_s, stolen_s, total_s] =
            [160.0, 5.0, 4.0, 11_047.0].map(|ticks| ticks / sys::ticks_per_second());
        let wanted = MachineTime { busy_s, interrupts_s, stolen_s, total_s };
        assert_eq!(time, wanted);
    }
}
