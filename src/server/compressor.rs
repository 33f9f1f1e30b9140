//! The compressor: a thread between the publishers and the sequencer that makes what streams under a content coding share, once
//! for each event and coding.
//!
//! Only what is worth it comes here, and only while somebody is there to read it. It holds nobody up: what finds no room goes to
//! the sequencer as it is. The order of events is the sequencer's, so one that takes this way may come after one that was
//! published later on another connection; on the same one nothing is published before the last publish was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::admin::Compression;
use crate::protocol::coding::{Coding, Codings, Compressor};
use crate::server::sequencer::{Append, SequencerHandle};
use crate::server::shared::Shared;

/// Bytes of data from which on it is done: a small event by itself hardly gets smaller.
const COMPRESS_BYTES_MIN: usize = 512;
/// Bytes of data up to which it is done: others wait meanwhile, some 10 ms.
const COMPRESS_BYTES_MAX: usize = 256 << 10;
/// Publishes that may wait for it.
const QUEUE_PUBLISHES_MAX: usize = 256;
/// Bytes of data that may wait for it: what an event is held up by, some 10 ms again.
const QUEUE_BYTES_MAX: usize = 256 << 10;

enum Job {
    Compress(Append),
    Stop,
}

/// How many streams of each coding the shards have, for whoever wonders whether anybody would read a fragment.
#[derive(Debug)]
pub(crate) struct CodedStreams(Box<[[AtomicU32; Coding::ALL.len()]]>);

impl CodedStreams {
    pub(crate) fn new(shards: usize) -> CodedStreams {
        CodedStreams((0..shards).map(|_| Default::default()).collect())
    }

    /// A shard says how many it has.
    pub(crate) fn put(&self, shard: usize, streams: [u32; Coding::ALL.len()]) {
        for (place, count) in self.0[shard].iter().zip(streams) {
            place.store(count, Ordering::Relaxed);
        }
    }

    fn any(&self, coding: Coding) -> bool {
        self.0.iter().any(|shard| shard[coding as usize].load(Ordering::Relaxed) > 0)
    }
}

/// What the compressor has counted.
#[derive(Debug, Default)]
pub(crate) struct CompressionCounters {
    /// Events compressed, by coding.
    events: [AtomicU64; Coding::ALL.len()],
    /// Bytes of those that the fragments are smaller by, by coding.
    saved_bytes: [AtomicU64; Coding::ALL.len()],
    /// Events that found no room.
    passed_by: AtomicU64,
}

impl CompressionCounters {
    /// For those who look at the hub.
    pub(crate) fn compression(&self) -> Compression {
        let read =
            |counters: &[AtomicU64; Coding::ALL.len()]| std::array::from_fn(|at| counters[at].load(Ordering::Relaxed));
        Compression {
            events: read(&self.events),
            saved_bytes: read(&self.saved_bytes),
            passed_by: self.passed_by.load(Ordering::Relaxed),
        }
    }
}

/// The way to the compressor.
#[derive(Clone)]
pub(crate) struct CompressorHandle {
    queue: Sender<Job>,
    queued_bytes: Arc<AtomicUsize>,
    codings: Codings,
    shared: Arc<Shared>,
    counters: Arc<CompressionCounters>,
}

impl CompressorHandle {
    /// Takes an event, without waiting, if it is to be compressed and there is room; else it comes back.
    pub(crate) fn offer(&self, append: Append) -> Result<(), Append> {
        let bytes = append.draft.data_bytes();
        if !(COMPRESS_BYTES_MIN..=COMPRESS_BYTES_MAX).contains(&bytes)
            || !self.codings.iter().any(|coding| self.shared.coded_streams.any(coding))
        {
            return Err(append);
        }
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let queued = match before > 0 && before + bytes > QUEUE_BYTES_MAX {
            true => Err(append),
            false => self.queue.try_send(Job::Compress(append)).map_err(|error| match error.into_inner() {
                Job::Compress(append) => append,
                Job::Stop => unreachable!("what comes back is what was sent"),
            }),
        };
        queued.inspect_err(|_| {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counters.passed_by.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Ends the compressor and after it the sequencer, once everything queued before is committed. Waits for room in the queue,
    /// not for ever.
    pub(crate) fn stop(&self, patience: Duration) {
        let _ = self.queue.send_timeout(Job::Stop, patience);
    }
}

/// The compressor before it runs.
pub(crate) struct CompressorThread {
    jobs: Receiver<Job>,
    handle: CompressorHandle,
    sequencer: SequencerHandle,
}

impl CompressorThread {
    /// For streams of these codings, in front of a sequencer.
    pub(crate) fn new(
        codings: Codings,
        shared: Arc<Shared>,
        counters: Arc<CompressionCounters>,
        sequencer: SequencerHandle,
    ) -> (CompressorThread, CompressorHandle) {
        let (queue, jobs) = bounded(QUEUE_PUBLISHES_MAX);
        let handle = CompressorHandle { queue, queued_bytes: Arc::default(), codings, shared, counters };
        (CompressorThread { jobs, handle: handle.clone(), sequencer }, handle)
    }

    /// Works until told to stop.
    pub(crate) fn run(self) {
        let mut compressor = Compressor::default();
        let CompressorHandle { queued_bytes, codings, shared, counters, .. } = self.handle;
        for job in self.jobs {
            let Job::Compress(mut append) = job else {
                self.sequencer.stop_after_all();
                return;
            };
            let (data_bytes, cost_bytes) = (append.draft.data_bytes(), append.draft.cost_bytes());
            for coding in codings.iter().filter(|&coding| shared.coded_streams.any(coding)) {
                if let Some(saved_bytes) = append.draft.compress(coding, &mut compressor) {
                    counters.events[coding as usize].fetch_add(1, Ordering::Relaxed);
                    counters.saved_bytes[coding as usize].fetch_add(saved_bytes as u64, Ordering::Relaxed);
                }
            }
            let grown_bytes = append.draft.cost_bytes() - cost_bytes;
            queued_bytes.fetch_sub(data_bytes, Ordering::Relaxed);
            self.sequencer.pass_on(append, grown_bytes);
        }
    }
}
