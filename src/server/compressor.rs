//! The compressor: a thread between the publishers and the sequencer that makes what streams under a content coding share, once
//! for each event and coding.
//!
//! Only what is worth it comes here, and only while somebody is there to read it. It holds nobody up: what finds no room goes to
//! the sequencer as it is. The order of events is the sequencer's, so one that takes this way may come after one that was
//! published later on another connection; on the same one nothing is published before one that went this way was answered.

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

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use super::*;
    use crate::history::{MemoryHistory, Retention};
    use crate::hub::{Draft, Log};
    use crate::protocol::event_id::IdCipher;
    use crate::protocol::known_topics::KnownTopics;
    use crate::protocol::topic::HubUrl;
    use crate::protocol::update::{Update, UpdateLimits};
    use crate::server::clock::Clock;
    use crate::server::inbox::{Inbox, Message, Ticket};
    use crate::server::sequencer::SequencerThread;

    struct Stage {
        sequencer: SequencerThread,
        messages: Receiver<Message>,
        publishers: SequencerHandle,
        thread: CompressorThread,
        shared: Arc<Shared>,
    }

    impl Stage {
        fn new() -> Stage {
            let log = Log::new(1, 0, IdCipher::new([7; 32]));
            let retention = Retention { events_max: 10, bytes_max: 1 << 20, age_max_ms: None };
            let history = Arc::new(RwLock::new(MemoryHistory::new(retention, log.locator())));
            let (inbox, messages, _) = Inbox::new().expect("a wake-up descriptor");
            let (handle, sequencer, _) = SequencerHandle::new(log, history, vec![inbox], Clock::start());
            let shared = Arc::new(Shared::new(2));
            let codings = Codings::new(&[Coding::Gzip]);
            let (thread, compressor) = CompressorThread::new(codings, shared.clone(), Arc::default(), handle.clone());
            Stage { sequencer, messages, publishers: handle.behind(compressor), thread, shared }
        }

        /// Publishes so many bytes; whether they went to the compressor.
        fn publish(&self, data_bytes: usize) -> bool {
            let hub = HubUrl::parse("http://localhost:3000/.well-known/mercure").expect("a URL");
            let mut topics = KnownTopics::new(hub);
            let form = format!("topic=a&data={}", "x".repeat(data_bytes));
            let update = Update::from_form(form.as_bytes(), &mut topics, &UpdateLimits::default()).expect("an update");
            let before = self.thread.jobs.len();
            self.publishers.append(Draft::new(update), 0, Ticket(data_bytes as u64)).expect("the sequencer has room");
            self.thread.jobs.len() > before
        }

        fn passed_by(&self) -> u64 {
            self.thread.handle.counters.compression().passed_by
        }
    }

    #[test]
    fn only_what_somebody_would_read_and_is_worth_it_is_compressed() {
        let stage = Stage::new();
        assert!(!stage.publish(1_000), "nobody has a coding");
        stage.shared.coded_streams.put(1, [0, 5]);
        assert!(!stage.publish(1_000), "not one that is offered");
        stage.shared.coded_streams.put(1, [1, 0]);
        assert!(stage.publish(1_000));
        assert!(!stage.publish(COMPRESS_BYTES_MIN / 2) && !stage.publish(COMPRESS_BYTES_MAX));
        assert_eq!(stage.passed_by(), 0, "none of these lacked room");
        stage.shared.coded_streams.put(1, [0, 0]);
        assert!(!stage.publish(1_000), "they are gone");
    }

    #[test]
    fn what_finds_the_compressor_busy_goes_on_and_is_counted() {
        let stage = Stage::new();
        stage.shared.coded_streams.put(0, [1, 0]);
        assert!(stage.publish(200_000));
        assert!(!stage.publish(100_000), "so many bytes");
        assert_eq!(stage.passed_by(), 1);
        let stage = Stage::new();
        stage.shared.coded_streams.put(0, [1, 0]);
        assert!((0..QUEUE_PUBLISHES_MAX).all(|_| stage.publish(600)));
        assert!(!stage.publish(600), "so many events");
        assert_eq!(stage.passed_by(), 1);
    }

    #[test]
    fn what_was_published_before_a_stop_is_committed_compressed_and_counted_right() {
        let Stage { sequencer, messages, publishers, thread, shared } = {
            let stage = Stage::new();
            stage.shared.coded_streams.put(0, [1, 0]);
            assert!(stage.publish(2_000) && !stage.publish(10) && stage.publish(3_000));
            stage
        };
        let counters = thread.handle.counters.clone();
        publishers.stop(Duration::from_secs(1));
        assert!(publishers.queued_bytes() > 5_000);
        thread.run();
        sequencer.run();
        assert_eq!(publishers.queued_bytes(), 0, "what a draft has grown by is counted on both sides");
        let answered: Vec<Ticket> = messages
            .try_iter()
            .filter_map(|message| match message {
                Message::Published(answers) => Some(answers.into_iter().map(|(ticket, _)| ticket)),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(answered, [10, 2_000, 3_000].map(Ticket));
        let compression = counters.compression();
        assert_eq!(compression.events, [2, 0]);
        assert!(compression.saved_bytes[0] > 4_000);
        assert!(shared.coded_streams.any(Coding::Gzip));
    }
}
