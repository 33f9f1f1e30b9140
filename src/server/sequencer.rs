//! The sequencer: the single writer that gives events their order.
//!
//! One turn at the pen, many events, one commit: everything queued is placed in the log, committed to the history engine,
//! handed to every shard, and only then acknowledged (invariants *acked* and *visible*).
//!
//! Whoever has something to commit takes the pen if nobody has it: a shard commits what is queued on the spot, its own
//! publishes and others', as long as that needs no waiting. Where it would have to wait – history is being read, a shard has
//! no room for messages – it leaves the rest to the sequencer's own thread, which may. So a publish to history in memory costs no
//! wake-up of another thread, and there is never more than one writer. History on a disk is always waited for, so there the thread does
//! all of it; what is queued while it waits is the next commit. In a cluster the engine is the writer: the thread passes on what is queued,
//! and hands out what comes back ([`Relay`]).

mod counters;
mod relay;

pub(crate) use counters::SequencerCounters;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::admin::Clustering;
use crate::history::{AppendError, FileWriter, History};
use crate::hub::{Draft, Event, Log};
use crate::server::clock::{self, Clock};
use crate::server::cluster::LinkState;
use crate::server::commit::{Committed, NotStored, Stored};
use crate::server::compressor::{CompressorHandle, Offer};
use crate::server::inbox::{Inbox, Message, Ticket};
pub(crate) use relay::Relay;

/// Publishes that may wait for the sequencer.
const QUEUE_PUBLISHES_MAX: usize = 4096;
/// Bytes of publishes that may wait for the sequencer.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events of one commit at most, and bytes after which there is no further one.
const COMMIT_EVENTS_MAX: usize = 1024;
const COMMIT_BYTES_MAX: usize = 1024 * 1024;
/// Commits a shard does in a row.
const SHARD_COMMITS_MAX: usize = 2;
/// Calls for the sequencer's thread that may lie there: one of a kind is as good as many.
const CALLS_MAX: usize = 16;

/// An event to be committed.
pub(crate) struct Append {
    pub(crate) draft: Draft,
    /// The shard and its task that wait for the answer.
    asker: (usize, Ticket),
}

enum Order {
    Append(Append),
    /// The hub's own events, all together, and who is to be told when they are in the log.
    Announce(Vec<Draft>, Sender<()>),
}

/// What the sequencer's thread is for.
enum Call {
    /// Something is queued that can't be committed without waiting.
    Commit,
    /// Trim what has aged.
    Trim,
    Stop,
}

/// The way to the sequencer.
#[derive(Clone)]
pub(crate) struct SequencerHandle {
    desk: Arc<Desk>,
    compressor: Option<CompressorHandle>,
}

/// The queue, and the pen.
struct Desk {
    queue: Sender<Order>,
    orders: Receiver<Order>,
    queued_bytes: AtomicUsize,
    pen: Mutex<Pen>,
    calls: Sender<Call>,
    /// Every commit waits for a disk or an engine: none is for a shard to make.
    waits: bool,
    /// What is known of the engine of the cluster that commits are left to.
    link: Option<Arc<LinkState>>,
}

/// Which way a publish takes to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the order of the queue.
    Straight,
    /// Over the compressor: what is queued later may overtake it.
    Round,
}

/// The queue to the sequencer is full, or the one to the compressor before it.
#[derive(Debug)]
pub(crate) struct QueueFull(pub(crate) Draft);

impl SequencerHandle {
    /// A sequencer, and its thread before it runs.
    pub(crate) fn new(
        log: Log,
        history: Arc<History>,
        writer: Option<FileWriter>,
        keeper: Sender<()>,
        shards: Vec<Inbox>,
        clock: Clock,
    ) -> (SequencerHandle, SequencerThread, Arc<SequencerCounters>) {
        SequencerHandle::with(log, history, writer, None, keeper, shards, clock)
    }

    /// A sequencer that leaves order and memory to the engine of a cluster.
    pub(crate) fn of_cluster(
        log: Log,
        history: Arc<History>,
        relay: Relay,
        keeper: Sender<()>,
        shards: Vec<Inbox>,
        clock: Clock,
    ) -> (SequencerHandle, SequencerThread, Arc<SequencerCounters>) {
        SequencerHandle::with(log, history, None, Some(relay), keeper, shards, clock)
    }

    fn with(
        log: Log,
        history: Arc<History>,
        writer: Option<FileWriter>,
        relay: Option<Relay>,
        keeper: Sender<()>,
        shards: Vec<Inbox>,
        clock: Clock,
    ) -> (SequencerHandle, SequencerThread, Arc<SequencerCounters>) {
        let (queue, orders) = bounded(QUEUE_PUBLISHES_MAX);
        let (calls, called) = bounded(CALLS_MAX);
        let counters = Arc::new(SequencerCounters::default());
        let waits = writer.is_some() || relay.is_some();
        let link = relay.as_ref().map(|relay| relay.state.clone());
        let (counted, undelivered) = (counters.clone(), VecDeque::new());
        let again = None;
        let pen = Pen { log, history, writer, relay, keeper, shards, clock, counters: counted, undelivered, again };
        let desk = Desk { queue, orders, queued_bytes: AtomicUsize::new(0), pen: Mutex::new(pen), calls, waits, link };
        let handle = SequencerHandle { desk: Arc::new(desk), compressor: None };
        let thread = SequencerThread { desk: handle.desk.clone(), called };
        (handle, thread, counters)
    }

    /// Calls the sequencer's thread, from wherever.
    pub(crate) fn caller(&self) -> Arc<dyn Fn() + Send + Sync> {
        let desk = self.desk.clone();
        // If there is no room it has been called already.
        Arc::new(move || drop(desk.calls.try_send(Call::Commit)))
    }

    /// Whether the engine of the cluster is known not to answer, so that nothing can be committed.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.desk.link.as_ref().is_some_and(|link| link.is_down())
    }

    /// What is known of that engine, if the hub belongs to a cluster.
    pub(crate) fn clustering(&self) -> Option<Clustering> {
        self.desk.link.as_ref().map(|link| link.clustering())
    }

    /// The same with a compressor before it.
    pub(crate) fn behind(self, compressor: CompressorHandle) -> SequencerHandle {
        SequencerHandle { compressor: Some(compressor), ..self }
    }

    /// Commits what has come by the compressor, and has grown there; waits for room.
    pub(crate) fn pass_on(&self, append: Append, grown_bytes: usize) {
        self.desk.queued_bytes.fetch_add(grown_bytes, Ordering::Relaxed);
        let mut next = Some(Order::Append(append));
        while let Some(order) = next.take() {
            next = self.desk.queue.try_send(order).err().map(TrySendError::into_inner);
            self.desk.write_patiently();
        }
    }

    /// Ends the sequencer's thread, for the compressor to call when it has passed on everything.
    pub(crate) fn stop_after_all(&self) {
        let _ = self.desk.calls.send(Call::Stop);
    }

    /// Queues a publish without waiting; [`Self::commit`] must follow. The answer comes to the shard's inbox.
    pub(crate) fn append(&self, draft: Draft, shard: usize, ticket: Ticket) -> Result<Way, QueueFull> {
        let Desk { queue, queued_bytes, .. } = &*self.desk;
        let bytes = draft.cost_bytes();
        let before = queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > QUEUE_BYTES_MAX {
            queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(QueueFull(draft));
        }
        let append = Append { draft, asker: (shard, ticket) };
        let offer = match &self.compressor {
            Some(compressor) => compressor.offer(append),
            None => Offer::Passes(append),
        };
        let append = match offer {
            Offer::Taken => return Ok(Way::Round),
            Offer::Passes(append) => append,
            Offer::Full(append) => {
                queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                return Err(QueueFull(append.draft));
            }
        };
        queue.try_send(Order::Append(append)).map(|()| Way::Straight).map_err(|error| {
            queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                TrySendError::Full(Order::Append(append)) | TrySendError::Disconnected(Order::Append(append)) => {
                    QueueFull(append.draft)
                }
                _ => unreachable!("what comes back is what was sent"),
            }
        })
    }

    /// Commits what is queued, if that needs no waiting and nobody is at it; else it is done by whoever is, or by the
    /// sequencer's thread. `shard` calls it and looks at its messages next: nobody has to wake it.
    pub(crate) fn commit(&self, shard: usize) {
        let desk = &*self.desk;
        if desk.waits {
            if !desk.orders.is_empty() {
                let _ = desk.calls.try_send(Call::Commit);
            }
            return;
        }
        for _ in 0..SHARD_COMMITS_MAX {
            // Whoever has the pen looks into the queue once more after putting it down. Either that look finds what was
            // queued before this point, or the pen is free here.
            fence(Ordering::SeqCst);
            if desk.orders.is_empty() {
                return;
            }
            let mut pen = match desk.pen.try_lock() {
                Ok(pen) => pen,
                Err(TryLockError::WouldBlock) => return,
                Err(TryLockError::Poisoned(_)) => unreachable!("nobody panics with the pen"),
            };
            if !pen.write(desk, Writer::Shard(shard)) {
                break;
            }
        }
        // It has streams to serve: what others go on queueing is for the thread.
        let _ = desk.calls.try_send(Call::Commit);
    }

    /// Queues announcements, waiting for room; not for a shard to call.
    pub(crate) fn announce(&self, mut drafts: Vec<Draft>, done: Sender<()>) {
        if let Some(compressor) = &self.compressor {
            drafts.iter_mut().for_each(|draft| compressor.store(draft));
        }
        let bytes = drafts.iter().map(Draft::cost_bytes).sum();
        self.desk.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let _ = self.desk.queue.send(Order::Announce(drafts, done));
        if self.desk.calls.send(Call::Commit).is_err() {
            // The thread has stopped; nobody else will.
            self.desk.write_patiently();
        }
    }

    /// Bytes of publishes that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.desk.queued_bytes.load(Ordering::Relaxed)
    }

    /// Drops what has aged, now and then.
    pub(crate) fn trim(&self) {
        let _ = self.desk.calls.try_send(Call::Trim);
    }

    /// Ends the sequencer's thread once everything queued before is committed. Waits for room in the queue, not for ever:
    /// a stuck shard holds the sequencer up.
    pub(crate) fn stop(&self, patience: Duration) {
        match &self.compressor {
            Some(compressor) => compressor.stop(patience),
            None => _ = self.desk.calls.send_timeout(Call::Stop, patience),
        }
    }
}

/// The thread that commits where that may take waiting.
pub(crate) struct SequencerThread {
    desk: Arc<Desk>,
    called: Receiver<Call>,
}

impl SequencerThread {
    /// Works until told to stop.
    pub(crate) fn run(self) {
        let desk = &*self.desk;
        for call in &self.called {
            if let Call::Trim = call {
                desk.pen().trim();
            }
            // Last: whoever found the pen taken meanwhile relies on a look into the queue.
            desk.write_patiently();
            if let Call::Stop = call {
                // Nobody waits any more for what an engine hasn't been given.
                desk.orders.try_iter().for_each(drop);
                return;
            }
        }
    }
}

impl Desk {
    /// Commits all that is queued, however long it takes. Not for a shard to call.
    fn write_patiently(&self) {
        if self.link.is_some() {
            // What the engine's queue has no room for comes when it calls.
            self.pen().write(self, Writer::Patient);
            return;
        }
        loop {
            self.pen().write(self, Writer::Patient);
            // See `SequencerHandle::commit`.
            fence(Ordering::SeqCst);
            if self.orders.is_empty() {
                return;
            }
        }
    }

    fn pen(&self) -> MutexGuard<'_, Pen> {
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// A shard, which waits for nothing and needs no waking.
    Shard(usize),
    /// The sequencer's thread, which waits as long as it takes.
    Patient,
}

/// What only the single writer may touch.
struct Pen {
    log: Log,
    history: Arc<History>,
    /// Writes history that lies on a disk.
    writer: Option<FileWriter>,
    /// Leaves order and memory to the engine of a cluster.
    relay: Option<Relay>,
    /// The way to who keeps history in order.
    keeper: Sender<()>,
    shards: Vec<Inbox>,
    clock: Clock,
    counters: Arc<SequencerCounters>,
    /// Messages that found no room with their shards. Nothing new is committed before they are delivered.
    undelivered: VecDeque<(usize, Message)>,
    /// Announcements that history had no room for. They are tried again before anything else.
    again: Option<(Vec<Draft>, Sender<()>)>,
}

/// Who waits for an event of a commit.
pub(crate) enum Asker {
    Publisher(usize, Ticket),
    /// One of the hub's own events; with the last of an order who is told of all.
    Announcer(Vec<Sender<()>>),
}

impl Append {
    fn asker(&self) -> Asker {
        Asker::Publisher(self.asker.0, self.asker.1)
    }
}

impl Pen {
    /// Commits what is queued, a shard one commit's worth of it. False: it can't go on without waiting.
    fn write(&mut self, desk: &Desk, writer: Writer) -> bool {
        if self.relay.is_some() {
            self.counters.at_work(self.clock.now().mono_ms);
            self.pass_on(desk);
            self.counters.at_work(self.clock.now().mono_ms);
            return true;
        }
        while self.deliver_rest(writer) {
            self.counters.at_work(self.clock.now().mono_ms);
            match (self.commit(desk, writer), writer) {
                (Some(true), Writer::Patient) => {}
                (Some(false), Writer::Patient) => return true,
                // What a shard has no room for must be waited for, and nobody may come to commit again.
                (Some(_), Writer::Shard(_)) => return self.undelivered.is_empty(),
                (None, _) => return false,
            }
        }
        false
    }

    /// One commit: whether there was something to commit. `None`: it would have to wait.
    fn commit(&mut self, desk: &Desk, writer: Writer) -> Option<bool> {
        let history = self.history.clone();
        let mut memory = match (&*history, writer) {
            (History::Memory(memory), Writer::Patient) => {
                Some(memory.write().expect("no holder of the history lock panics"))
            }
            (History::Memory(memory), Writer::Shard(_)) => Some(memory.try_write().ok()?),
            (History::File(_), Writer::Patient) => None,
            (History::File(_), Writer::Shard(_)) => return None,
            (History::Remote(_), _) => unreachable!("a hub of a cluster has a relay"),
        };
        let now_ms = clock::wall_ms();
        let (mut events, mut askers, bytes) = self.place_queued(desk, now_ms);
        if events.is_empty() {
            return Some(false);
        }
        desk.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let stored = match (&mut memory, &mut self.writer) {
            (Some(memory), _) => {
                memory.append(&events, now_ms);
                Ok(())
            }
            (None, Some(file)) => {
                let (appended, stored) = file.append(&events, now_ms);
                let unstored = events.split_off(appended);
                stored.map_err(|error| (error, unstored, askers.split_off(appended)))
            }
            (None, None) => unreachable!("history in files has a writer"),
        };
        drop(memory);
        self.hand_out(events, askers, writer);
        match stored {
            Ok(()) => self.counters.well(),
            Err((error, events, askers)) => self.take_back(error, events, askers, writer),
        }
        if self.writer.as_mut().is_some_and(FileWriter::has_rolled) {
            let _ = self.keeper.try_send(());
        }
        // After a failure it isn't tried again at once.
        Some(self.again.is_none())
    }

    /// Gives places to what is queued, one commit's worth of it: the events, who waits for each, and what they cost in the queue.
    fn place_queued(&mut self, desk: &Desk, now_ms: u64) -> (Vec<Arc<Event>>, Vec<Asker>, usize) {
        let (mut events, mut askers, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut place = |draft: Draft, asker| {
            events.push(self.log.append(draft, now_ms));
            askers.push(asker);
        };
        let announce = |drafts: Vec<Draft>, done: Sender<()>, place: &mut dyn FnMut(Draft, Asker)| {
            let last = drafts.len().saturating_sub(1);
            for (index, draft) in drafts.into_iter().enumerate() {
                place(draft, Asker::Announcer((index == last).then(|| done.clone()).into_iter().collect()));
            }
        };
        // They aren't in the queue any more.
        if let Some((drafts, done)) = self.again.take() {
            announce(drafts, done, &mut place);
        }
        let mut placed = 0;
        for order in desk.orders.try_iter() {
            match order {
                Order::Append(append) => {
                    placed += 1;
                    bytes += append.draft.cost_bytes();
                    let asker = append.asker();
                    place(append.draft, asker);
                }
                Order::Announce(drafts, done) => {
                    placed += drafts.len();
                    bytes += drafts.iter().map(Draft::cost_bytes).sum::<usize>();
                    announce(drafts, done, &mut place);
                }
            }
            if placed >= COMMIT_EVENTS_MAX || bytes >= COMMIT_BYTES_MAX {
                break;
            }
        }
        (events, askers, bytes)
    }

    /// Gives events that are stored to the shards, and answers to those who wait for them.
    fn hand_out(&mut self, events: Vec<Arc<Event>>, askers: Vec<Asker>, writer: Writer) {
        if events.is_empty() {
            return;
        }
        self.counters.committed(events.len());
        let mut answers: Vec<Vec<(Ticket, Committed)>> = vec![Vec::new(); self.shards.len()];
        let mut announced = Vec::new();
        for (event, asker) in events.iter().zip(askers) {
            match asker {
                Asker::Publisher(shard, ticket) => answers[shard].push((ticket, Ok(Stored::Event(event.clone())))),
                Asker::Announcer(done) => announced.extend(done),
            }
        }
        let events: Arc<[Arc<Event>]> = events.into();
        // Every shard has the events before any publisher is answered: whoever subscribes after the answer, on whichever
        // shard, starts after them.
        for shard in 0..self.shards.len() {
            self.deliver(shard, Message::Events(events.clone()), writer);
        }
        self.answer(answers, writer);
        // They are in history, which is what is asked; a shard without room gets them later.
        for done in announced {
            let _ = done.send(());
        }
    }

    fn answer(&mut self, answers: Vec<Vec<(Ticket, Committed)>>, writer: Writer) {
        for (shard, answers) in answers.into_iter().enumerate() {
            if !answers.is_empty() {
                self.deliver(shard, Message::Published(answers), writer);
            }
        }
    }

    /// Takes the places back of events that could not be stored. Publishers are told; announcements are tried again, as long as that
    /// may help.
    fn take_back(&mut self, error: AppendError, events: Vec<Arc<Event>>, askers: Vec<Asker>, writer: Writer) {
        self.log.retract(self.log.head() - events.len() as u64);
        let why = Arc::new(NotStored::from(error));
        self.counters.ill(&why);
        let mut answers: Vec<Vec<(Ticket, Committed)>> = vec![Vec::new(); self.shards.len()];
        let mut drafts = Vec::new();
        for (event, asker) in events.into_iter().zip(askers) {
            match asker {
                Asker::Publisher(shard, ticket) => answers[shard].push((ticket, Err(why.clone()))),
                // Who is told of these is told of those before him.
                Asker::Announcer(done) => {
                    drafts.push(Arc::into_inner(event).expect("nobody has seen it").withdraw());
                    if let Some(done) = done.into_iter().next() {
                        self.put_off(std::mem::take(&mut drafts), done, &why);
                    }
                }
            }
        }
        self.answer(answers, writer);
    }

    fn put_off(&mut self, drafts: Vec<Draft>, done: Sender<()>, why: &NotStored) {
        if let NotStored::Stopped(_) = why {
            return;
        }
        // There is one announcer, which waits for each of its orders.
        debug_assert!(self.again.is_none(), "bounded: one order of announcements is put off at most");
        self.again = Some((drafts, done));
    }

    fn deliver(&mut self, shard: usize, message: Message, writer: Writer) {
        let inbox = &self.shards[shard];
        let urgent = !matches!(message, Message::Events(_));
        let sent = match self.undelivered.is_empty() {
            true => inbox.leave(message),
            false => Err(TrySendError::Full(message)),
        };
        match (sent, writer) {
            (Err(full), Writer::Patient) if self.undelivered.is_empty() => return inbox.send(full.into_inner()),
            (Err(TrySendError::Full(message)), _) => return self.undelivered.push_back((shard, message)),
            // A shard that has ended swallows what it is told.
            (Err(TrySendError::Disconnected(_)) | Ok(()), _) => {}
        }
        if writer == Writer::Shard(shard) {
            // It looks at its messages next.
        } else if urgent {
            inbox.ring();
        } else {
            inbox.ring_for_events();
        }
    }

    /// Delivers what found no room. False: there is still none.
    fn deliver_rest(&mut self, writer: Writer) -> bool {
        while let Some((shard, message)) = self.undelivered.pop_front() {
            if writer == Writer::Patient {
                self.shards[shard].send(message);
            } else if let Err(TrySendError::Full(message)) = self.shards[shard].try_send(message) {
                self.undelivered.push_front((shard, message));
                return false;
            }
        }
        true
    }

    /// What is to be done every second.
    fn trim(&mut self) {
        if let Some(file) = &mut self.writer {
            // What doesn't succeed now is said when something is to be stored.
            let _ = file.tidy();
        }
        let _ = self.keeper.try_send(());
    }
}

#[cfg(test)]
mod tests;
