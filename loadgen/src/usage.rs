//! What a server's processes and this program use: CPU time and memory.

use crate::process::{self, Cpu};

/// CPU time used up to a moment, by a server with all its processes, by this program, by the machine.
pub(crate) fn cpu(pids: &[u32]) -> Cpu {
    let both = |pid: &u32| process::cpu_seconds(*pid).map(|(user, system)| user + system).unwrap_or(0.0);
    Cpu { server_s: pids.iter().map(both).sum(), ..Cpu::now(None) }
}

/// Private memory of all these processes, if it can be read.
pub(crate) fn private_bytes(pids: &[u32]) -> Option<u64> {
    if pids.is_empty() {
        return None;
    }
    pids.iter().map(|pid| process::private_bytes(*pid).ok()).sum()
}
