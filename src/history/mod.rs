//! Engines that remember events: append in order, find an id, read a range, trim.
//!
//! An engine knows nothing of subscribers or sockets. The sequencer appends, the history readers ask. [`MemoryHistory`] forgets with the
//! process; [`FileHistory`] survives it.

mod file;
pub mod line;
mod memory;

use std::sync::{Arc, RwLock, RwLockReadGuard};

use crate::hub::{Event, Found, Gone, HistoryError, Range, Reader};

pub use file::{
    AppendError, Checked, Cut, Disk, Durability, EventError, Events, FileHistory, FileOptions, FileWriter,
    FolderSummary, Importer, LogSummary, Look, Notice, OpenError, Opened, Problem, Remark, Storage, StorageFile,
    TrimError, Trimmed, check, trim,
};
pub use memory::MemoryHistory;

/// Where in a data folder history in files lies.
pub const HISTORY_FOLDER: &str = "history";

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

/// Where events are remembered, as everybody who reads sees it.
#[derive(Debug)]
pub enum History {
    /// Until the process ends.
    Memory(RwLock<MemoryHistory>),
    /// In a folder.
    File(FileHistory),
    /// By somebody else.
    Remote(Box<dyn Remote>),
}

/// History that others keep, so that asking for it takes a while and may fail.
pub trait Remote: Send + Sync + std::fmt::Debug {
    /// See [`History::find`]; waits.
    fn find(&self, id: &str) -> Found;

    /// See [`Reader::range`]; waits, for a bounded time.
    ///
    /// # Errors
    /// As [`Reader::range`].
    fn range(&self, range: Range) -> Result<Vec<Arc<Event>>, HistoryError>;

    /// The newest offset that came from there.
    fn last(&self) -> u64;

    /// What is known to be gone there: [`Remote::range`] learns of more when it meets it.
    fn dropped(&self) -> Gone;

    /// Events that are at hand here, and their bytes.
    fn size(&self) -> (u64, u64);

    /// Drops of those what is too old.
    fn keep(&self, now_ms: u64);
}

impl History {
    /// What a `Last-Event-ID` names (design §1, "Ids") to somebody who may or may not read announcements.
    pub fn find(&self, id: &str, announcements: bool) -> Found {
        match self {
            History::Memory(memory) => read(memory).find(id, announcements),
            History::File(file) => file.find(id, announcements),
            History::Remote(remote) => remote.find(id),
        }
    }

    /// Events that are kept, and their bytes.
    pub fn size(&self) -> (u64, u64) {
        match self {
            History::Memory(memory) => {
                let memory = read(memory);
                (memory.counts().iter().sum::<usize>() as u64, memory.bytes().iter().sum::<usize>() as u64)
            }
            History::File(file) => (file.counts().iter().sum(), file.bytes().iter().sum()),
            History::Remote(remote) => remote.size(),
        }
    }

    /// Drops what is too old, gives back the space, and does what else needs no hurry. To be called now and then by somebody who may wait.
    pub fn keep(&self, now_ms: u64) {
        match self {
            History::Memory(memory) => memory.write().expect("no holder of the history lock panics").trim(now_ms),
            History::File(file) => file.keep(now_ms),
            History::Remote(remote) => remote.keep(now_ms),
        }
    }
}

impl Reader for History {
    fn range(&self, range: Range) -> Result<Vec<Arc<Event>>, HistoryError> {
        match self {
            History::Memory(memory) => memory.range(range),
            History::File(file) => file.range(range),
            History::Remote(remote) => remote.range(range),
        }
    }

    fn last(&self) -> u64 {
        match self {
            History::Memory(memory) => memory.last(),
            History::File(file) => file.last(),
            History::Remote(remote) => remote.last(),
        }
    }

    fn dropped(&self) -> Gone {
        match self {
            History::Memory(memory) => memory.dropped(),
            History::File(file) => file.dropped(),
            History::Remote(remote) => remote.dropped(),
        }
    }
}

fn read(memory: &RwLock<MemoryHistory>) -> RwLockReadGuard<'_, MemoryHistory> {
    memory.read().expect("no holder of the history lock panics")
}

/// Of the bounds in events and bytes, what announcements of subscriptions may have: one part of so many. A storm of
/// connections must not push out what publishers said.
const ANNOUNCEMENTS_SHARE: usize = 5;
