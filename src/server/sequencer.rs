//! The sequencer: the single writer that gives events their order.
//!
//! One wake, many events, one commit: everything queued is placed in the log, committed to the history engine, handed
//! to every shard, and only then acknowledged (invariants *acked* and *visible*).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::admin::Sequencing;
use crate::history::MemoryHistory;
use crate::hub::{Draft, Event, Log, Sizes};
use crate::server::clock::{self, Clock};
use crate::server::compressor::CompressorHandle;
use crate::server::inbox::{Inbox, Message, Ticket};

/// Publishes that may wait for the sequencer.
const QUEUE_PUBLISHES_MAX: usize = 4096;
/// Bytes of publishes that may wait for the sequencer.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events of one commit at most.
const COMMIT_EVENTS_MAX: usize = 1024;

/// An event to be committed.
pub(crate) struct Append {
    pub(crate) draft: Draft,
    /// The shard and its task that wait for the answer.
    asker: Option<(usize, Ticket)>,
}

enum Order {
    Append(Append),
    /// The hub's own events, all together, and who is to be told when they are in the log.
    Announce(Vec<Draft>, Sender<()>),
    /// Trim what has aged.
    Trim,
    Stop,
}

/// A shard's way to the sequencer.
#[derive(Clone)]
pub(crate) struct SequencerHandle {
    queue: Sender<Order>,
    queued_bytes: Arc<AtomicUsize>,
    compressor: Option<CompressorHandle>,
}

/// The queue to the sequencer is full.
#[derive(Debug)]
pub(crate) struct QueueFull(pub(crate) Draft);

impl SequencerHandle {
    /// The same with a compressor before it.
    pub(crate) fn behind(self, compressor: CompressorHandle) -> SequencerHandle {
        SequencerHandle { compressor: Some(compressor), ..self }
    }

    /// Queues what has come by the compressor, and has grown there; waits for room.
    pub(crate) fn pass_on(&self, append: Append, grown_bytes: usize) {
        self.queued_bytes.fetch_add(grown_bytes, Ordering::Relaxed);
        let _ = self.queue.send(Order::Append(append));
    }

    /// Ends the sequencer, for the compressor to call when it has passed on everything.
    pub(crate) fn stop_after_all(&self) {
        let _ = self.queue.send(Order::Stop);
    }

    /// Queues a publish without waiting. The answer comes to the shard's inbox.
    pub(crate) fn append(&self, draft: Draft, shard: usize, ticket: Ticket) -> Result<(), QueueFull> {
        let bytes = draft.cost_bytes();
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > QUEUE_BYTES_MAX {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(QueueFull(draft));
        }
        let append = Append { draft, asker: Some((shard, ticket)) };
        let offered = match &self.compressor {
            Some(compressor) => compressor.offer(append),
            None => Err(append),
        };
        let Err(append) = offered else { return Ok(()) };
        self.queue.try_send(Order::Append(append)).map_err(|error| {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                TrySendError::Full(Order::Append(append)) | TrySendError::Disconnected(Order::Append(append)) => {
                    QueueFull(append.draft)
                }
                _ => unreachable!("what comes back is what was sent"),
            }
        })
    }

    /// Queues announcements, waiting for room; not for a shard to call.
    pub(crate) fn announce(&self, drafts: Vec<Draft>, done: Sender<()>) {
        self.queued_bytes.fetch_add(drafts.iter().map(Draft::cost_bytes).sum(), Ordering::Relaxed);
        let _ = self.queue.send(Order::Announce(drafts, done));
    }

    /// Bytes of publishes that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Drops what has aged, now and then.
    pub(crate) fn trim(&self) {
        let _ = self.queue.try_send(Order::Trim);
    }

    /// Ends the sequencer once everything queued before is committed. Waits for room in the queue, not for ever: a
    /// stuck shard holds the sequencer up.
    pub(crate) fn stop(&self, patience: Duration) {
        match &self.compressor {
            Some(compressor) => compressor.stop(patience),
            None => _ = self.queue.send_timeout(Order::Stop, patience),
        }
    }
}

/// What the sequencer has counted.
#[derive(Debug, Default)]
pub(crate) struct SequencerCounters {
    /// Events committed.
    events: AtomicU64,
    /// Commits they went in.
    commits: AtomicU64,
    /// Events per commit.
    batches: Mutex<Sizes>,
    /// When it was last done with something, milliseconds of monotonic time. Shards send something every second.
    at_ms: AtomicU64,
}

impl SequencerCounters {
    /// Events and commits so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.events.load(Ordering::Relaxed), self.commits.load(Ordering::Relaxed))
    }

    /// For those who look at the hub.
    pub(crate) fn sequencing(&self, queued_bytes: usize) -> Sequencing {
        Sequencing {
            at_ms: self.at_ms.load(Ordering::Relaxed),
            events: self.totals().0,
            batches: *self.batches.lock().expect("nobody panics with this lock"),
            queued_bytes: queued_bytes as u64,
        }
    }
}

/// The sequencer before it runs.
pub(crate) struct Sequencer {
    log: Log,
    history: Arc<RwLock<MemoryHistory>>,
    orders: Receiver<Order>,
    queued_bytes: Arc<AtomicUsize>,
    counters: Arc<SequencerCounters>,
}

impl Sequencer {
    pub(crate) fn new(
        log: Log,
        history: Arc<RwLock<MemoryHistory>>,
    ) -> (Sequencer, SequencerHandle, Arc<SequencerCounters>) {
        let (queue, orders) = bounded(QUEUE_PUBLISHES_MAX);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let counters = Arc::new(SequencerCounters::default());
        let handle = SequencerHandle { queue, queued_bytes: queued_bytes.clone(), compressor: None };
        (Sequencer { log, history, orders, queued_bytes, counters: counters.clone() }, handle, counters)
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self, shards: &[Inbox], clock: &Clock) {
        let mut appends = Vec::with_capacity(COMMIT_EVENTS_MAX);
        let mut announced = Vec::new();
        let mut stopping = false;
        while !stopping {
            let Ok(order) = self.orders.recv() else {
                return;
            };
            let mut next = Some(order);
            while let Some(order) = next.take() {
                match order {
                    Order::Append(append) => appends.push(append),
                    Order::Announce(drafts, done) => {
                        appends.extend(drafts.into_iter().map(|draft| Append { draft, asker: None }));
                        announced.push(done);
                    }
                    Order::Trim => self.trim(),
                    Order::Stop => stopping = true,
                }
                if appends.len() < COMMIT_EVENTS_MAX {
                    next = self.orders.try_recv().ok();
                }
            }
            if !appends.is_empty() {
                self.commit(&mut appends, shards);
            }
            for done in announced.drain(..) {
                let _ = done.send(());
            }
            self.counters.at_ms.store(clock.now().mono_ms, Ordering::Relaxed);
        }
    }

    fn commit(&mut self, appends: &mut Vec<Append>, shards: &[Inbox]) {
        let now_ms = clock::wall_ms();
        let mut bytes = 0;
        let mut answers: Vec<Vec<(Ticket, Arc<Event>)>> = vec![Vec::new(); shards.len()];
        let mut events = Vec::with_capacity(appends.len());
        for Append { draft, asker } in appends.drain(..) {
            bytes += draft.cost_bytes();
            let event = self.log.append(draft, now_ms);
            if let Some((shard, ticket)) = asker {
                answers[shard].push((ticket, event.clone()));
            }
            events.push(event);
        }
        self.history.write().expect("no holder of the history lock panics").append(&events, now_ms);
        self.counters.events.fetch_add(events.len() as u64, Ordering::Relaxed);
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.batches.lock().expect("nobody panics with this lock").record(events.len() as u64);
        let events: Arc<[Arc<Event>]> = events.into();
        // Every shard has the events before any publisher is answered: whoever subscribes after the answer, on whichever
        // shard, starts after them.
        for shard in shards {
            shard.send(Message::Events(events.clone()));
        }
        for (shard, answers) in shards.iter().zip(answers) {
            if !answers.is_empty() {
                shard.send(Message::Published(answers));
            }
        }
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn trim(&self) {
        self.history.write().expect("no holder of the history lock panics").trim(clock::wall_ms());
    }
}
