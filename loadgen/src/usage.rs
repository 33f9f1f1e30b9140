//! What a server's processes use of memory.

use crate::process;

/// Private memory of all these processes, if it can be read.
pub(crate) fn private_bytes(pids: &[u32]) -> Option<u64> {
    if pids.is_empty() {
        return None;
    }
    pids.iter().map(|pid| process::private_bytes(*pid).ok()).sum()
}
