//! The ceiling of memory: watched by the backbone, so that new subscribers are refused before anything else suffers.
//!
//! Three things are looked at: what the hub takes, against `--memory-max`; what its control group takes, whose limit the
//! kernel enforces by ending processes; and what TCP has in its queues, beyond whose limit sends fail. Near one of the
//! ceilings no stream begins any more; those there are go on, and so do publishes and administrators.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::machine::Machine;
use crate::admin::{Memory, MemoryUse};
use crate::config::memory::NEAR_PERCENT;

/// How often memory is looked at. 25,000 connections a second, which is what a core accepts, take some 11 MB in that time.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// TCP's share is looked at every so many times: the kernel walks all sockets for it.
const TCP_WATCHES: u64 = 10;
/// Below this much of every ceiling they are let in again.
const CLEAR_PERCENT: u64 = 85;

/// What the shards are told, and administrators.
#[derive(Debug, Default)]
pub(crate) struct Ceiling {
    /// `--memory-max`; 0: nothing is refused.
    max_bytes: AtomicU64,
    short: AtomicBool,
    seen: Mutex<Memory>,
}

impl Ceiling {
    /// What the hub may take from now on; `None`: there is no ceiling.
    pub(crate) fn set_max(&self, bytes: Option<u64>) {
        self.max_bytes.store(bytes.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether new subscribers are to be refused.
    pub(crate) fn is_near(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// What was last seen.
    pub(crate) fn seen(&self) -> Memory {
        *self.seen.lock().expect("nobody panics with this lock")
    }

    /// Looks once. `connections` there are now; TCP's share is read anew only where `tcp_too` says so.
    pub(crate) fn look(&self, machine: &Machine, connections: u64, tcp_too: bool) {
        let max_bytes = self.max_bytes.load(Ordering::Relaxed);
        let before = self.seen();
        let process = machine.process_bytes(connections);
        let mut memory = Memory {
            process: process.map(|used_bytes| MemoryUse { used_bytes, ceiling_bytes: max_bytes }),
            group: machine.group(),
            tcp: if tcp_too { machine.tcp() } else { before.tcp },
            near: None,
        };
        memory.near = if max_bytes == 0 { None } else { near(&memory, before.near.is_some()) };
        self.short.store(memory.near.is_some(), Ordering::Relaxed);
        *self.seen.lock().expect("nobody panics with this lock") = memory;
        match (before.near, memory.near) {
            (None, Some(what)) => {
                let MemoryUse { used_bytes, ceiling_bytes } = memory.of(what).unwrap_or_default();
                tracing::warn!(
                    what,
                    used_bytes,
                    ceiling_bytes,
                    "memory is near its ceiling: new subscribers are refused until it isn't; docs/limits.md says what helps"
                );
            }
            (Some(_), None) => {
                let process_bytes = memory.process.unwrap_or_default().used_bytes;
                tracing::info!(process_bytes, "memory is below its ceiling again: new subscribers are let in");
            }
            _ => {}
        }
    }

    /// Looks now and again, for as long as the hub runs.
    pub(crate) async fn watch(&self, machine: Machine, connections: impl Fn() -> u64) {
        let mut looks = interval(WATCH_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0u64.. {
            looks.tick().await;
            self.look(&machine, connections(), number.is_multiple_of(TCP_WATCHES));
        }
    }
}

/// What is near its ceiling. Once something was, all must be well below before it is over.
fn near(memory: &Memory, was_near: bool) -> Option<&'static str> {
    let percent = if was_near { CLEAR_PERCENT } else { NEAR_PERCENT };
    let is_near = |memory: MemoryUse| {
        u128::from(memory.used_bytes) * 100 >= u128::from(memory.ceiling_bytes) * u128::from(percent)
    };
    Memory::PARTS.into_iter().find(|part| memory.of(part).is_some_and(is_near))
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::machine;
    use super::*;
    use crate::kernel::Files;

    fn resident(files: &Files, kilobytes: u64) {
        files.put("proc/self/status", &format!("VmRSS: {kilobytes} kB\n"));
    }

    fn ceiling(bytes: u64) -> Ceiling {
        let ceiling = Ceiling::default();
        ceiling.set_max(Some(bytes));
        ceiling
    }

    #[test]
    fn refusing_begins_near_the_ceiling_and_ends_well_below_it() {
        let (files, ceiling) = (Files::new(), ceiling(1_024_000));
        let look = |kilobytes| {
            resident(&files, kilobytes);
            ceiling.look(&machine(&files), 0, true);
            ceiling.is_near()
        };
        assert_eq!([899, 900, 1500, 899, 850, 849, 899].map(look), [false, true, true, true, true, false, false]);
    }

    #[test]
    fn connections_count_with_what_the_kernel_takes_for_them() {
        let (files, ceiling) = (Files::new(), ceiling(10 << 20));
        resident(&files, 1024);
        let near = [0, 1_900, 1_000].map(|connections| {
            ceiling.look(&machine(&files), connections, true);
            ceiling.is_near()
        });
        assert_eq!(near, [false; 3]);
        ceiling.look(&machine(&files), 2_100, true);
        assert!(ceiling.is_near());
        assert_eq!(ceiling.seen().near, Some("process"));
    }

    #[test]
    fn the_group_and_tcp_have_ceilings_of_their_own() {
        let (files, ceiling) = (Files::new(), ceiling(1 << 40));
        resident(&files, 1024);
        files.put("proc/self/cgroup", "0::/\n");
        files.put("sys/fs/cgroup/memory.max", "1000\n");
        files.put("sys/fs/cgroup/memory.current", "900\n");
        ceiling.look(&machine(&files), 0, true);
        assert_eq!(ceiling.seen().near, Some("group"));
        files.put("sys/fs/cgroup/memory.current", "800\n");
        files.put("proc/sys/net/ipv4/tcp_mem", "50 75 100\n");
        files.put("proc/net/sockstat", "TCP: inuse 1 mem 95\n");
        ceiling.look(&machine(&files), 0, false);
        assert_eq!(ceiling.seen().near, None, "TCP isn't looked at every time");
        ceiling.look(&machine(&files), 0, true);
        assert_eq!(ceiling.seen().near, Some("tcp"));
        files.put("proc/net/sockstat", "TCP: inuse 1 mem 5\n");
        ceiling.look(&machine(&files), 0, false);
        assert!(ceiling.is_near(), "as long as nothing else is known");
        ceiling.look(&machine(&files), 0, true);
        assert!(!ceiling.is_near());
    }

    #[test]
    fn without_a_ceiling_nothing_is_refused_and_everything_seen() {
        let (files, ceiling) = (Files::new(), ceiling(1024));
        resident(&files, 1024);
        ceiling.look(&machine(&files), 0, true);
        assert!(ceiling.is_near());
        ceiling.set_max(None);
        ceiling.look(&machine(&files), 0, true);
        assert!(!ceiling.is_near());
        assert_eq!(ceiling.seen().process, Some(MemoryUse { used_bytes: 1 << 20, ceiling_bytes: 0 }));
    }
}
