//! The few words all threads of the hub read and write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::admin::Stage;
use crate::server::acme::Challenges;
use crate::server::compressor::CodedStreams;
use crate::server::limits::Limits;
use crate::server::observed::Observed;

/// How long before the streams' end at a stop the last update is taken: what is acknowledged must still reach them.
const LAST_COMMIT_MS: u64 = 100;

/// What stands where a shard hasn't said anything.
const UNTOLD: u64 = u64::MAX;

/// Shared by the shards and the thread that started them.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Connections of all kinds, over all shards.
    pub(crate) connections: AtomicUsize,
    /// Those of them that carry requests, not streams.
    pub(crate) guests: AtomicUsize,
    /// Shards that accept connections.
    pub(crate) listening: AtomicUsize,
    /// How far the hub's end has come: a place in [`Stage::ALL`].
    stage: AtomicUsize,
    /// While draining: streams that each shard still has; [`UNTOLD`]: it hasn't said.
    streams_left: Box<[AtomicU64]>,
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
    /// What authorities that look for this hub are shown.
    pub(crate) challenges: Arc<Challenges>,
}

impl Shared {
    pub(crate) fn new(shards: usize) -> Shared {
        let overloaded = (0..shards).map(|_| AtomicBool::new(false)).collect();
        Shared {
            connections: AtomicUsize::new(0),
            guests: AtomicUsize::new(0),
            listening: AtomicUsize::new(shards),
            stage: AtomicUsize::new(Stage::Serving as usize),
            streams_left: (0..shards).map(|_| AtomicU64::new(UNTOLD)).collect(),
            ended: AtomicBool::new(false),
            streams_end_ms: AtomicU64::new(u64::MAX),
            overloaded,
            limits: Limits::default(),
            coded_streams: CodedStreams::new(shards),
            observed: Observed::new(shards),
            challenges: Arc::default(),
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
        self.enter(Stage::Stopping);
    }

    /// The hub goes on to another stage.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as usize, Ordering::Release);
    }

    pub(crate) fn stage(&self) -> Stage {
        Stage::ALL[self.stage.load(Ordering::Acquire)]
    }

    /// A shard that drains says how many streams it still has.
    pub(crate) fn set_streams_left(&self, shard: usize, streams: u64) {
        self.streams_left[shard].store(streams, Ordering::Release);
    }

    /// How many streams are left; `None`: not every shard has said it yet.
    pub(crate) fn streams_left(&self) -> Option<u64> {
        let left = |shard: &AtomicU64| Some(shard.load(Ordering::Acquire)).filter(|&left| left != UNTOLD);
        self.streams_left.iter().map(left).sum()
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

    #[test]
    fn the_streams_that_are_left_are_known_when_every_shard_has_said_it() {
        let shared = Shared::new(2);
        shared.set_streams_left(1, 5);
        assert_eq!(shared.streams_left(), None);
        shared.set_streams_left(0, 2);
        assert_eq!(shared.streams_left(), Some(7));
    }
}
