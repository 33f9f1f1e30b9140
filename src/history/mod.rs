//! Engines that remember events: append in order, find an id, read a range, trim.
//!
//! An engine knows nothing of subscribers or sockets. The sequencer appends, the history readers ask. [`MemoryHistory`] forgets with the
//! process; [`FileHistory`] survives it.

mod file;
mod memory;

pub use file::{
    AppendError, Disk, Durability, FileHistory, FileOptions, FileWriter, OpenError, Opened, Storage, StorageFile,
};
pub use memory::MemoryHistory;

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Events at most.
    pub events_max: usize,
    /// Bytes at most: in memory frames and topics with their overhead, on a disk segments.
    pub bytes_max: usize,
    /// Milliseconds at most; `None`: no limit by age.
    pub age_max_ms: Option<u64>,
}

/// Of the bounds in events and bytes, what announcements of subscriptions may have: one part of so many. A storm of
/// connections must not push out what publishers said.
const ANNOUNCEMENTS_SHARE: usize = 5;
