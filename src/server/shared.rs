//! The few words all threads of the hub read and write.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Shared by the shards and the thread that started them.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Connections of all kinds, over all shards.
    pub(crate) connections: AtomicUsize,
    /// Those of them that carry requests, not streams.
    pub(crate) guests: AtomicUsize,
    /// The hub is stopping.
    pub(crate) stopping: AtomicBool,
    /// The shards have stopped, or had the time to: nobody waits for answers of other threads any more.
    ended: AtomicBool,
    /// For each shard whether its dispatch lags by more than half its tail: publishers wait.
    overloaded: Box<[AtomicBool]>,
}

impl Shared {
    pub(crate) fn new(shards: usize) -> Shared {
        let overloaded = (0..shards).map(|_| AtomicBool::new(false)).collect();
        Shared {
            connections: AtomicUsize::new(0),
            guests: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            overloaded,
        }
    }

    /// The shards are gone, or given up.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn set_overloaded(&self, shard: usize, overloaded: bool) {
        self.overloaded[shard].store(overloaded, Ordering::Relaxed);
    }

    /// Whether publishers are to wait for some shard.
    pub(crate) fn overloaded(&self) -> bool {
        self.overloaded.iter().any(|shard| shard.load(Ordering::Relaxed))
    }
}
