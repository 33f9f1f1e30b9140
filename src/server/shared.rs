//! The few words all threads of the hub read and write.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::hub::Counters;

/// Shared by the shards and the thread that started them.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Connections of all kinds, over all shards.
    pub(crate) connections: AtomicUsize,
    /// The hub is stopping.
    pub(crate) stopping: AtomicBool,
    shards: Box<[ShardWords]>,
}

/// What one shard tells the others.
#[derive(Debug, Default)]
struct ShardWords {
    /// Its dispatch lags by more than half its tail: publishers wait.
    overloaded: AtomicBool,
    registered: AtomicU64,
    deliveries: AtomicU64,
    sends: AtomicU64,
    short_sends: AtomicU64,
    bytes: AtomicU64,
}

/// Sums over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) registered: u64,
    pub(crate) deliveries: u64,
    pub(crate) sends: u64,
    pub(crate) short_sends: u64,
    pub(crate) bytes: u64,
}

impl Shared {
    pub(crate) fn new(shards: usize) -> Shared {
        let shards = (0..shards).map(|_| ShardWords::default()).collect();
        Shared { connections: AtomicUsize::new(0), stopping: AtomicBool::new(false), shards }
    }

    pub(crate) fn set_overloaded(&self, shard: usize, overloaded: bool) {
        self.shards[shard].overloaded.store(overloaded, Ordering::Relaxed);
    }

    /// Whether publishers are to wait for some shard.
    pub(crate) fn overloaded(&self) -> bool {
        self.shards.iter().any(|shard| shard.overloaded.load(Ordering::Relaxed))
    }

    pub(crate) fn publish_counters(&self, shard: usize, counters: &Counters) {
        let words = &self.shards[shard];
        words.registered.store(counters.registered, Ordering::Relaxed);
        words.deliveries.store(counters.deliveries, Ordering::Relaxed);
        words.sends.store(counters.sends, Ordering::Relaxed);
        words.short_sends.store(counters.short_sends, Ordering::Relaxed);
        words.bytes.store(counters.bytes, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        let sum = |word: fn(&ShardWords) -> &AtomicU64| {
            self.shards.iter().map(|shard| word(shard).load(Ordering::Relaxed)).sum()
        };
        Totals {
            registered: sum(|words| &words.registered),
            deliveries: sum(|words| &words.deliveries),
            sends: sum(|words| &words.sends),
            short_sends: sum(|words| &words.short_sends),
            bytes: sum(|words| &words.bytes),
        }
    }
}
