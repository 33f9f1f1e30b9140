//! The compressor: a thread between the publishers and the sequencer that makes what streams under a content coding share, once
//! for each event and coding.
//!
//! Compressed is only what is worth it, and only while somebody is there to read it. It holds nobody up: what finds no room goes to
//! the sequencer as it is. Long events come here whoever reads: streams under a coding, those included that come later, need them
//! copied into blocks, and copying megabytes is nothing for a shard's loop, nor for who has the sequencer's pen.
//!
//! The order of events is the sequencer's, so one that takes this way may come after one that was
//! published later on another connection; on the same one nothing is published before one that went this way was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::admin::Compression;
use crate::hub::Draft;
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
/// Bytes that are copied in the time that one takes to be compressed, or less.
const BYTES_COPIED_PER_COMPRESSED: usize = 10;

enum Job {
    /// Compress what gets smaller, and copy what is long.
    Compress(Append),
    /// Copy a long event.
    Store(Append),
    Stop,
}

/// What comes of an event that is offered to the compressor.
pub(crate) enum Offer {
    /// It is on its way.
    Taken,
    /// It may go to the sequencer as it is.
    Passes(Append),
    /// It has to come here, and there is no room yet.
    Full(Append),
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
    /// Takes an event, without waiting, if there is something to be done about it and room for it.
    pub(crate) fn offer(&self, append: Append) -> Offer {
        let bytes = append.draft.data_bytes();
        let compressible = (COMPRESS_BYTES_MIN..=COMPRESS_BYTES_MAX).contains(&bytes)
            && self.codings.iter().any(|coding| self.shared.coded_streams.any(coding));
        let append = match compressible {
            true => match self.queue_within(QUEUE_BYTES_MAX, bytes, Job::Compress(append)) {
                Ok(()) => return Offer::Taken,
                Err(append) => append,
            },
            false => append,
        };
        let offer = match append.draft.is_long() {
            true => match self.queue_within(usize::MAX, bytes / BYTES_COPIED_PER_COMPRESSED, Job::Store(append)) {
                Ok(()) => Offer::Taken,
                // It comes again.
                Err(append) => return Offer::Full(append),
            },
            false => Offer::Passes(append),
        };
        self.counters.passed_by.fetch_add(u64::from(compressible), Ordering::Relaxed);
        offer
    }

    /// Queues a job that counts so much, if that is within the limit or nothing else is queued.
    fn queue_within(&self, limit: usize, bytes: usize, job: Job) -> Result<(), Append> {
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let queued = match before > 0 && before + bytes > limit {
            true => Err(job),
            false => self.queue.try_send(job).map_err(TrySendError::into_inner),
        };
        queued.map_err(|job| {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match job {
                Job::Compress(append) | Job::Store(append) => append,
                Job::Stop => unreachable!("nobody queues it here"),
            }
        })
    }

    /// Makes what streams under the codings there are need of a long event, here and now. Not for a shard to call.
    pub(crate) fn store(&self, draft: &mut Draft) {
        draft.store(self.codings);
    }

    /// Ends the compressor and after it the sequencer, once everything queued before is committed. Waits for room in the queue,
    /// not for ever.
    pub(crate) fn stop(&self, patience: Duration) {
        let _ = self.queue.send_timeout(Job::Stop, patience);
    }
}

/// Does at once, where it is called, what the compressor does by and by: for a thread that may.
pub(crate) struct Coder {
    compressor: Compressor,
    codings: Codings,
    shared: Arc<Shared>,
    counters: Arc<CompressionCounters>,
}

impl Coder {
    /// For streams of these codings.
    pub(crate) fn new(codings: Codings, shared: Arc<Shared>, counters: Arc<CompressionCounters>) -> Coder {
        Coder { compressor: Compressor::default(), codings, shared, counters }
    }

    /// Compresses what is worth it and would be read, and copies what is long.
    pub(crate) fn prepare(&mut self, draft: &mut Draft) {
        let Coder { compressor, codings, shared, counters } = self;
        if (COMPRESS_BYTES_MIN..=COMPRESS_BYTES_MAX).contains(&draft.data_bytes()) {
            for coding in codings.iter().filter(|&coding| shared.coded_streams.any(coding)) {
                if let Some(saved_bytes) = draft.compress(coding, compressor) {
                    counters.events[coding as usize].fetch_add(1, Ordering::Relaxed);
                    counters.saved_bytes[coding as usize].fetch_add(saved_bytes as u64, Ordering::Relaxed);
                }
            }
        }
        draft.store(*codings);
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
            let (mut append, compress) = match job {
                Job::Compress(append) => (append, true),
                Job::Store(append) => (append, false),
                Job::Stop => {
                    self.sequencer.stop_after_all();
                    return;
                }
            };
            let (data_bytes, cost_bytes) = (append.draft.data_bytes(), append.draft.cost_bytes());
            for coding in codings.iter().filter(|&coding| compress && shared.coded_streams.any(coding)) {
                if let Some(saved_bytes) = append.draft.compress(coding, &mut compressor) {
                    counters.events[coding as usize].fetch_add(1, Ordering::Relaxed);
                    counters.saved_bytes[coding as usize].fetch_add(saved_bytes as u64, Ordering::Relaxed);
                }
            }
            append.draft.store(codings);
            let grown_bytes = append.draft.cost_bytes() - cost_bytes;
            let load_bytes = if compress { data_bytes } else { data_bytes / BYTES_COPIED_PER_COMPRESSED };
            queued_bytes.fetch_sub(load_bytes, Ordering::Relaxed);
            self.sequencer.pass_on(append, grown_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use super::*;
    use crate::history::{History, MemoryHistory, Retention};
    use crate::hub::{Event, Log};
    use crate::protocol::coding::Form;
    use crate::protocol::coding::decoder::Decoder;
    use crate::protocol::event_id::IdCipher;
    use crate::protocol::known_topics::KnownTopics;
    use crate::protocol::topic::{HubUrl, Topic};
    use crate::protocol::update::{Update, UpdateLimits};
    use crate::server::clock::Clock;
    use crate::server::inbox::{Inbox, Message, Ticket};
    use crate::server::sequencer::{QueueFull, SequencerThread, Way};

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
            let history = Arc::new(History::Memory(RwLock::new(MemoryHistory::new(retention, log.locator()))));
            let (inbox, messages, _) = Inbox::new().expect("a wake-up descriptor");
            let (handle, sequencer, _) =
                SequencerHandle::new(log, history, None, bounded(1).0, vec![inbox], Clock::start());
            let shared = Arc::new(Shared::new(2));
            let codings = Codings::new(&[Coding::Gzip]);
            let (thread, compressor) = CompressorThread::new(codings, shared.clone(), Arc::default(), handle.clone());
            Stage { sequencer, messages, publishers: handle.behind(compressor), thread, shared }
        }

        fn draft(&self, data_bytes: usize) -> Draft {
            let hub = HubUrl::parse("http://localhost:3000/.well-known/mercure").expect("a URL");
            let mut topics = KnownTopics::new(hub);
            let form = format!("topic=a&data={}", "x".repeat(data_bytes));
            let update = Update::from_form(form.as_bytes(), &mut topics, &UpdateLimits::default()).expect("an update");
            Draft::new(update)
        }

        /// Publishes so many bytes; whether they went to the compressor.
        fn publish(&self, data_bytes: usize) -> bool {
            let ticket = Ticket(data_bytes as u64);
            let way = self.publishers.append(self.draft(data_bytes), 0, ticket).expect("the sequencer has room");
            way == Way::Round
        }

        /// Takes what is queued: whether each is to be compressed.
        fn jobs(&self) -> Vec<bool> {
            self.thread.jobs.try_iter().map(|job| matches!(job, Job::Compress(_))).collect()
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
        assert!(!stage.publish(COMPRESS_BYTES_MIN / 2));
        assert!(stage.publish(COMPRESS_BYTES_MAX), "to be copied");
        assert_eq!(stage.jobs(), [true, false]);
        assert_eq!(stage.passed_by(), 0, "none of these lacked room");
        stage.shared.coded_streams.put(1, [0, 0]);
        assert!(!stage.publish(1_000), "they are gone");
    }

    #[test]
    fn what_finds_the_compressor_busy_goes_on_and_is_counted() {
        let stage = Stage::new();
        stage.shared.coded_streams.put(0, [1, 0]);
        assert!(stage.publish(240_000));
        assert!(!stage.publish(60_000), "so many bytes");
        assert_eq!(stage.passed_by(), 1);
        assert!(stage.publish(100_000), "it is too long for one block, and copied");
        assert_eq!(stage.passed_by(), 2);
        assert_eq!(stage.jobs(), [true, false]);
        let stage = Stage::new();
        stage.shared.coded_streams.put(0, [1, 0]);
        assert!((0..QUEUE_PUBLISHES_MAX).all(|_| stage.publish(600)));
        assert!(!stage.publish(600), "so many events");
        assert_eq!(stage.passed_by(), 1);
    }

    /// They used to be copied when they got their place, while every shard's publishes waited for the pen.
    #[test]
    fn what_is_too_long_for_one_block_is_copied_here_whoever_reads() {
        let stage = Stage::new();
        assert!(!stage.publish(60_000) && stage.publish(70_000) && stage.publish(900_000));
        let announcement = Draft::announcement(Update {
            topics: vec![Topic::of_hub("urn:a")],
            data: "x".repeat(80_000),
            private: true,
            id: None,
            event_type: None,
            retry: None,
        });
        let (done, _) = bounded(1);
        stage.publishers.announce(vec![announcement], done);
        let queued_bytes = stage.publishers.queued_bytes();
        let Stage { sequencer, messages, publishers, thread, .. } = stage;
        publishers.stop(Duration::from_secs(1));
        thread.run();
        sequencer.run();
        assert_eq!(publishers.queued_bytes(), 0, "what they have grown by is counted on both sides");
        let events = messages.try_iter().filter_map(|message| match message {
            Message::Events(events) => Some(events.to_vec()),
            _ => None,
        });
        let events: Vec<Arc<Event>> = events.flatten().collect();
        assert_eq!(events.len(), 4);
        for event in &events {
            let form = Form { chunked: false, coding: Some(Coding::Gzip) };
            let mut decoder = Decoder::new(Coding::Gzip);
            decoder.push(Coding::Gzip.header()).expect("a header");
            let decoded = decoder.push(&event.frame.pieces(form).concat()).expect("fragments");
            assert!(decoded == event.frame.plain(), "with its own id");
        }
        let cost_bytes: usize = events.iter().map(|event| event.cost_bytes()).sum();
        assert!(cost_bytes > queued_bytes + 900_000, "the copies are counted once they are made");
    }

    #[test]
    fn what_has_to_come_here_and_finds_no_room_comes_again() {
        let stage = Stage::new();
        stage.shared.coded_streams.put(0, [1, 0]);
        assert!((0..QUEUE_PUBLISHES_MAX).all(|_| stage.publish(600)));
        let queued_bytes = stage.publishers.queued_bytes();
        let QueueFull(draft) = stage.publishers.append(stage.draft(70_000), 0, Ticket(0)).expect_err("no room");
        assert_eq!(draft.data_bytes(), 70_000 + "data: \n\n".len());
        assert_eq!((stage.publishers.queued_bytes(), stage.passed_by()), (queued_bytes, 0));
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
