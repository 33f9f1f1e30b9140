//! The few words all threads of the hub read and write.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::server::compressor::CodedStreams;
use crate::server::limits::Limits;
use crate::server::observed::Observed;

/// How long before the streams' end at a stop the last update is taken: what is acknowledged must still reach them.
const LAST_COMMIT_MS: u64 = 100;

/// Shared by the shards and the thread that started them.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Connections of all kinds, over all shards.
    pub(crate) connections: AtomicUsize,
    /// Those of them that carry requests, not streams.
    pub(crate) guests: AtomicUsize,
    /// Shards that accept connections.
    pub(crate) listening: AtomicUsize,
    /// The hub is stopping.
    pub(crate) stopping: AtomicBool,
    /// The shards have stopped, or had the time to: nobody waits for answers of other threads any more.
    ended: AtomicBool,
    /// While stopping: when the streams are ended even if something is still owed to them.
    streams_end_ms: AtomicU64,
    /// For each shard whether its dispatch lags by more than half its tail: publishers wait.
    overloaded: Box<[AtomicBool]>,
    /// What clients have, and memory.
    pub(crate) limits: Limits,
    /// Streams under a content coding.
    pub(crate) coded_streams: CodedStreams,
    /// What the shards have counted.
    pub(crate) observed: Observed,
}

impl Shared {
    pub(crate) fn new(shards: usize) -> Shared {
        let overloaded = (0..shards).map(|_| AtomicBool::new(false)).collect();
        Shared {
            connections: AtomicUsize::new(0),
            guests: AtomicUsize::new(0),
            listening: AtomicUsize::new(shards),
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            streams_end_ms: AtomicU64::new(u64::MAX),
            overloaded,
            limits: Limits::default(),
            coded_streams: CodedStreams::new(shards),
            observed: Observed::new(shards),
        }
    }

    /// The shards are gone, or given up.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The hub stops; its streams end at this time at the latest.
    pub(crate) fn stop(&self, streams_end_ms: u64) {
        self.streams_end_ms.store(streams_end_ms, Ordering::Release);
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn streams_end_ms(&self) -> u64 {
        self.streams_end_ms.load(Ordering::Acquire)
    }

    /// Whether it is too late for an update: nobody might get it any more.
    pub(crate) fn commits_ended(&self, now_ms: u64) -> bool {
        now_ms.saturating_add(LAST_COMMIT_MS) >= self.streams_end_ms()
    }

    pub(crate) fn set_overloaded(&self, shard: usize, overloaded: bool) {
        self.overloaded[shard].store(overloaded, Ordering::Relaxed);
    }

    /// Whether publishers are to wait for some shard.
    pub(crate) fn overloaded(&self) -> bool {
        self.overloaded.iter().any(|shard| shard.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_taken_until_shortly_before_the_streams_end() {
        let shared = Shared::new(1);
        assert!(!shared.commits_ended(1_000_000));
        shared.stop(5_000);
        assert!(!shared.commits_ended(5_000 - LAST_COMMIT_MS - 1));
        assert!(shared.commits_ended(5_000 - LAST_COMMIT_MS) && shared.commits_ended(9_000));
    }
}
