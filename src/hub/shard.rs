//! A shard: its tail of the log, its subscribers, and the fan-out between them, as one state machine.
//!
//! The server calls [`Shard::handle`] with what happened, drains [`Shard::output`], and between turns of its loop asks
//! for a [`Shard::slice`]: a bounded batch of writes, whose outcomes come back as [`Input::Sent`]. Time is an argument.

#[cfg(test)]
mod census;

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::{Batch, Outcome, Part, VISIT_BYTES_MAX, VISIT_PARTS_MAX, Write};
use super::defect::{Defect, planted};
use super::event::Event;
use super::history::{CHUNK_EVENTS_MAX, Filter, HistoryChunk, HistoryError};
use super::schedule::Schedule;
use super::selector::{NO_WALK, Selectors};
use super::slab::Slab;
use super::subscriber::{Backlog, CloseReason, Place, Places, Rest, Sink, SlotId, State, Subscriber, Wait};
use super::tail::Tail;
use crate::protocol::frame;
use crate::protocol::matcher::Matcher;
use crate::protocol::token::Access;
use crate::protocol::topic::{HubUrl, ParsedTopic};

/// Work of one slice, in steps: about 120 sends, 1 ms.
const SLICE_STEPS: u32 = 2048;
/// Steps of a send.
const SEND_STEPS: u32 = 17;
/// Bytes of a send that cost one step more.
const STEP_BYTES: usize = 1024;
/// Events handed to fan-out per slice at most.
const DISPATCH_EVENTS_MAX: u32 = 256;
/// (selector, event) pairs pending at most; dispatch pauses beyond.
pub(super) const PENDING_MAX: usize = if cfg!(test) { 1024 } else { 1 << 20 };
/// Events of the tail a cursor passes per visit at most.
const CURSOR_SCAN_MAX: u64 = if cfg!(test) { 32 } else { 1024 };
/// Ticks in which the whole slab is swept.
const SWEEP_TICKS: usize = 20;
/// Milliseconds between ticks.
pub const TICK_MS: u64 = 50;
/// A sweep looks this far ahead of a token's expiry: one whole sweep and some slack.
const EXPIRY_MARGIN_MS: u64 = 1_200;
/// Streams that end sooner than this are watched at every tick.
const SOON_MS: u64 = 2_500;
/// Window before a token's expiry over which its streams' ends are spread, at most.
const EXPIRY_SPREAD_MS: u64 = 30_000;
/// Bytes a client may send on a stream before it is closed.
const DISCARDED_BYTES_MAX: u32 = 16 * 1024;
/// Times a client may wake its stream before it is closed.
const WAKEUPS_MAX: u16 = 64;
/// How long an ended stream waits for the client's own end, tenths of seconds.
const LINGER_DS: u32 = 10;

/// The time, as an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds since some start.
    pub mono_ms: u64,
    /// Milliseconds of Unix time; may step.
    pub wall_ms: u64,
}

impl Now {
    fn ds(self) -> u32 {
        (self.mono_ms / 100) as u32
    }
}

/// The bounds of a shard.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Bytes of events the tail keeps.
    pub tail_bytes_max: usize,
    /// Idle time before a comment is sent; 0: never.
    pub heartbeat_ms: u64,
    /// A socket that takes nothing for so long is closed; 0: never.
    pub write_timeout_ms: u64,
    /// A stream ends after so long; 0: never.
    pub lifetime_max_ms: u64,
}

/// Where in the log a stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    Live,
    /// After this offset.
    After(u64),
    /// With everything kept.
    Earliest,
}

/// A request that becomes an event stream.
#[derive(Debug)]
pub struct Registration {
    /// Where its bytes go.
    pub sink: Sink,
    /// The response head, which is written first.
    pub head: Box<[u8]>,
    /// Whether the body is chunked (HTTP/1.1).
    pub chunked: bool,
    /// Where it starts.
    pub start: Start,
    /// What it asked for; not empty.
    pub matchers: Vec<Matcher>,
    /// Who it is and what it may read; `None`: anonymous.
    pub access: Option<Arc<Access>>,
    /// The client's address, as the server numbers them.
    pub address: u32,
    /// A random number that spreads the ends of streams begun together.
    pub spread: u16,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The sequencer committed these events, in log order.
    Events(Arc<[Arc<Event>]>),
    /// A reserved slot becomes an event stream.
    Register(SlotId, Box<Registration>),
    /// A reserved slot isn't needed after all.
    Abandon(SlotId),
    /// The socket has room again.
    Writable(SlotId),
    /// The client sent so many bytes, which were thrown away.
    Received(SlotId, u32),
    /// The client closed or half-closed, or the connection broke.
    Gone(SlotId),
    /// History's answer to an [`Output::Read`].
    History(SlotId, Result<HistoryChunk, HistoryError>),
    /// A slice has been carried out: every write has its outcome.
    Sent(Batch),
    /// 50 ms have passed.
    Tick,
    /// The hub is stopping: end every stream.
    Stop,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Ask history for what follows an offset.
    Read {
        /// Who asks.
        id: SlotId,
        /// The cursor.
        after: u64,
        /// Take the oldest event kept if the next one is gone.
        from_earliest: bool,
        /// What it may and wants to read.
        filter: Filter,
    },
    /// Everything is written: shut the sending side down and throw away what still arrives.
    Shutdown(Sink),
    /// Close the socket.
    Close {
        /// The socket.
        sink: Sink,
        /// The interned address to give back.
        address: u32,
    },
}

/// What a shard counts. Plain numbers, read by the server now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Streams registered.
    pub registered: u64,
    /// Streams ended, by [`CloseReason`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Events written to a subscriber, whole.
    pub deliveries: u64,
    /// Sends handed to the kernel.
    pub sends: u64,
    /// Bytes the kernel took.
    pub bytes: u64,
    /// Sends that were refused or cut short: the subscriber fell behind.
    pub short_sends: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Events handed to fan-out.
    pub dispatched: u64,
    /// Questions to history.
    pub history_reads: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Shard {
    limits: ShardLimits,
    slab: Slab,
    tail: Tail,
    dispatched: u64,
    selectors: Selectors,
    schedule: Schedule,
    /// Subscribers behind that can go on at once.
    catch_up: VecDeque<SlotId>,
    /// Idle subscribers that are due a comment.
    heartbeats: VecDeque<SlotId>,
    /// Streams whose last chunk is to be written.
    endings: VecDeque<SlotId>,
    /// Streams whose token ends sooner than a sweep can promise to notice: (Unix ms, who).
    soon: Vec<(u64, SlotId)>,
    outputs: VecDeque<Output>,
    /// Storage of the batch between slices; `None` while one is being carried out.
    batch: Option<Batch>,
    resolved: Vec<u32>,
    offsets: Vec<u64>,
    /// Verdicts on private events within one slice: (offset, address of the access), outcome.
    verdicts: Vec<(u64, usize, bool)>,
    sweep_at: usize,
    slice_steps: u32,
    turn: u32,
    stopping: bool,
    counters: Counters,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Oldest,
    Smallest,
    CatchUp,
    Chores,
}

impl Shard {
    /// A shard whose tail begins after `head`.
    pub fn new(limits: ShardLimits, hub: HubUrl, head: u64) -> Shard {
        Shard {
            limits,
            slab: Slab::default(),
            tail: Tail::new(head, limits.tail_bytes_max),
            dispatched: head,
            selectors: Selectors::new(hub),
            schedule: Schedule::default(),
            catch_up: VecDeque::new(),
            heartbeats: VecDeque::new(),
            endings: VecDeque::new(),
            soon: Vec::new(),
            outputs: VecDeque::new(),
            batch: Some(Batch::default()),
            resolved: Vec::new(),
            offsets: Vec::new(),
            verdicts: Vec::new(),
            sweep_at: 0,
            slice_steps: SLICE_STEPS,
            turn: 0,
            stopping: false,
            counters: Counters::default(),
        }
    }

    /// Takes a slot for a connection about to be parked.
    pub fn reserve(&mut self) -> SlotId {
        self.slab.reserve()
    }

    /// Takes in what happened. Outputs of the last input must have been drained.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Events(events) => {
                for event in events.iter() {
                    self.tail.push(event.clone());
                }
                self.tail.trim(self.dispatched);
            }
            Input::Register(id, registration) => self.register(id, *registration, now),
            Input::Abandon(id) => {
                if let Some(slot) = self.slab.find(id) {
                    self.slab.release(slot);
                }
            }
            Input::Writable(id) => self.writable(id),
            Input::Received(id, bytes) => self.received(id, bytes, now),
            Input::Gone(id) => {
                if let Some(slot) = self.slab.find(id) {
                    self.gone(slot);
                }
            }
            Input::History(id, answer) => self.history(id, answer, now),
            Input::Sent(batch) => self.sent(batch, now),
            Input::Tick => self.tick(now),
            Input::Stop => {
                self.stopping = true;
                self.end_all(CloseReason::Stopping, now);
            }
        }
    }

    /// The next thing to be done; `None` when all is drained.
    pub fn output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether a further slice has something to do.
    pub fn busy(&mut self) -> bool {
        self.dispatched < self.tail.head()
            || !self.catch_up.is_empty()
            || !self.heartbeats.is_empty()
            || !self.endings.is_empty()
            || self.schedule.oldest().is_some()
    }

    /// Bytes of the log that fan-out still owes somebody whose socket isn't full.
    pub fn lag_bytes(&mut self) -> u64 {
        let undispatched = self.dispatched + 1;
        let oldest = self.schedule.oldest_pending().unwrap_or(undispatched);
        self.tail.bytes_since(oldest.min(undispatched))
    }

    /// Whether publishers are to wait: dispatch lags by more than half the tail (design §2, "Overload").
    pub fn overloaded(&mut self) -> bool {
        self.lag_bytes() > self.tail.bytes_max() / 2
    }

    /// Newest offset in the tail.
    pub fn head(&self) -> u64 {
        self.tail.head()
    }

    /// Streams and reserved slots.
    pub fn live(&self) -> u32 {
        self.slab.live()
    }

    /// Where a subscriber's bytes go.
    pub fn sink(&self, id: SlotId) -> Option<Sink> {
        self.slab.find(id).and_then(|slot| self.slab.at(slot).sink)
    }

    /// Distinct selectors.
    pub fn selectors(&self) -> usize {
        self.selectors.len()
    }

    /// What has been counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The bytes of a part of a write, where they lie.
    pub fn bytes(&self, write: &Write, part: Part) -> &[u8] {
        let subscriber = self.slab.at(write.slot);
        part_bytes(subscriber, &self.tail, part)
    }

    /// The next bounded piece of work. `None` when there was nothing to write; [`Shard::busy`] says whether there is
    /// more to do. The batch comes back with its outcomes as [`Input::Sent`] before anything else is handled.
    pub fn slice(&mut self) -> Option<Batch> {
        debug_assert!(self.outputs.is_empty(), "drain outputs before the next slice");
        let mut batch = self.batch.take().expect("the last batch has come back");
        batch.clear();
        self.verdicts.clear();
        self.dispatch();
        self.turn = self.turn.wrapping_add(1);
        use Source::{CatchUp, Chores, Oldest, Smallest};
        let order = match self.turn % 4 {
            0 | 2 => [Oldest, Smallest, CatchUp, Chores],
            1 => [Smallest, CatchUp, Chores, Oldest],
            // Chores are few, and slow readers may be many: behind them a heartbeat would never come.
            _ => [Chores, CatchUp, Smallest, Oldest],
        };
        let mut steps = self.slice_steps;
        for source in order {
            while steps > 0 && self.serve(source, &mut steps, &mut batch) {}
        }
        if batch.writes.is_empty() {
            self.batch = Some(batch);
            return None;
        }
        self.counters.sends += batch.writes.len() as u64;
        Some(batch)
    }

    /// Does a piece of one kind of work; false when there is none of it.
    fn serve(&mut self, source: Source, steps: &mut u32, batch: &mut Batch) -> bool {
        let walk = match source {
            Source::Oldest if !planted(Defect::SmallestOnly) => self.schedule.oldest(),
            Source::Smallest if planted(Defect::OldestOnly) => self.schedule.oldest(),
            Source::Oldest | Source::Smallest => self.schedule.smallest(),
            Source::CatchUp => {
                let Some(id) = self.catch_up.pop_front() else {
                    return false;
                };
                self.advance(id, steps, batch);
                return true;
            }
            Source::Chores => return self.chore(steps, batch),
        };
        let Some(walk) = walk else { return false };
        self.walk(walk, steps, batch)
    }

    /// Walks on over a selector's members. False when the pass can't go on in this batch.
    fn walk(&mut self, walk: u32, steps: &mut u32, batch: &mut Batch) -> bool {
        let selector = self.schedule.get(walk).selector;
        let mut position = self.schedule.get(walk).position.min(self.selectors.get(selector).members.len() as u32);
        let mut low = self.schedule.get(walk).pass_low;
        let mut met_batch = false;
        while position > 0 && *steps > 0 {
            position -= 1;
            let slot = self.selectors.get(selector).members[position as usize];
            if let Some(has) = self.visit(slot, steps, batch) {
                low = low.min(has);
                met_batch |= self.slab.at(slot).in_batch;
            }
        }
        let entry = self.schedule.get_mut(walk);
        entry.position = position;
        entry.pass_low = low;
        if position > 0 {
            return false;
        }
        let members = self.selectors.get(selector).members.len() as u32;
        if !self.schedule.end_pass(walk, members) {
            self.selectors.get_mut(selector).walk = NO_WALK;
        }
        // Somebody who could not take everything is being written to in this very batch: the next pass would only
        // meet it again.
        !met_batch
    }

    /// Queues what is pending for one subscriber as one send. `Some(offset)` when it could not take everything: what
    /// it has now.
    fn visit(&mut self, slot: u32, steps: &mut u32, batch: &mut Batch) -> Option<u64> {
        *steps = steps.saturating_sub(1);
        let subscriber = self.slab.at(slot);
        if subscriber.state != State::Current || subscriber.offset >= self.dispatched {
            return None;
        }
        if subscriber.in_batch {
            return Some(subscriber.offset);
        }
        let has = subscriber.offset;
        self.offsets.clear();
        // Nothing is pending up to here but what is collected.
        let mut known = self.dispatched;
        for place in subscriber.places.as_slice() {
            let walk = self.selectors.get(place.selector).walk;
            if walk != NO_WALK {
                let pending = &self.schedule.get(walk).pending;
                let from = match planted(Defect::Repeats) {
                    false => pending.partition_point(|&offset| offset <= has),
                    true => 0,
                };
                let mut pending = pending.range(from..);
                self.offsets.extend(pending.by_ref().take(VISIT_PARTS_MAX + 1));
                if let Some(next) = pending.next() {
                    known = known.min(next - 1);
                }
            }
        }
        if subscriber.places.as_slice().len() > 1 {
            self.offsets.sort_unstable();
            self.offsets.dedup();
        }
        let first_part = batch.parts.len();
        let mut bytes = 0;
        let mut through = has;
        let mut capped = false;
        for &offset in &self.offsets {
            if offset > known {
                break;
            }
            if batch.parts.len() - first_part == VISIT_PARTS_MAX || bytes >= VISIT_BYTES_MAX {
                capped = true;
                break;
            }
            let Some(event) = self.tail.get(offset) else {
                // Trimmed before this subscriber's turn came: it reads on from history.
                debug_assert_eq!(first_part, batch.parts.len(), "the tail is trimmed from its old end");
                let id = SlotId { slot, generation: subscriber.generation };
                self.slab.at_mut(slot).offset = offset - 1;
                self.fall_behind(id, Wait::Slice);
                return None;
            };
            debug_assert!(
                offset > through || planted(Defect::Repeats),
                "order: matching events leave in log order, each once"
            );
            through = offset;
            // Judging is work too, and what may not be read leads to no send that would be counted.
            *steps = steps.saturating_sub(u32::from(event.private));
            if !event.private || readable(event, &subscriber.access, self.selectors.hub(), &mut self.verdicts) {
                bytes += frame_bytes(event, subscriber.chunked).len();
                batch.parts.push(Part::Tail { offset });
            }
        }
        if !capped {
            through = known;
            capped = known < self.dispatched;
        }
        // Its own offset may be long past and only prevents repeats: a cursor starts before the first event pending.
        let before = self.offsets.first().map_or(has, |first| first - 1);
        let sink = subscriber.sink;
        let subscriber = self.slab.at_mut(slot);
        subscriber.offset = through;
        if batch.parts.len() > first_part {
            subscriber.in_batch = true;
            push_write(batch, slot, sink, first_part, bytes, before, through, steps);
        }
        capped.then_some(through)
    }

    /// Lets a subscriber that is behind read on from its cursor: what is left of the last write, then its chunk of
    /// history, then the tail; when its cursor meets the head it is current, in one step.
    fn advance(&mut self, id: SlotId, steps: &mut u32, batch: &mut Batch) {
        *steps = steps.saturating_sub(2);
        let Some(slot) = self.slab.find(id) else {
            return;
        };
        let subscriber = self.slab.at(slot);
        let Some(backlog) = &subscriber.backlog else {
            return;
        };
        if subscriber.state != State::Behind || backlog.wait != Wait::Slice || subscriber.in_batch {
            return;
        }
        let before = subscriber.offset;
        let first_part = batch.parts.len();
        let mut bytes = 0;
        let mut through = before;
        if backlog.rest.is_some() {
            batch.parts.push(Part::Rest);
            bytes += part_bytes(subscriber, &self.tail, Part::Rest).len();
        }
        let room = |parts: usize, bytes: usize| parts - first_part < VISIT_PARTS_MAX && bytes < VISIT_BYTES_MAX;
        if !backlog.chunk.is_empty() {
            let mut taken = 0;
            for (index, event) in backlog.chunk.iter().enumerate() {
                if !room(batch.parts.len(), bytes) {
                    break;
                }
                batch.parts.push(Part::Chunk { index: index as u32 });
                bytes += frame_bytes(event, subscriber.chunked).len();
                through = event.offset;
                taken += 1;
            }
            if taken == backlog.chunk.len() {
                through = backlog.through;
            }
        } else if backlog.from_earliest || before + 1 < self.tail.first() {
            if batch.parts.len() == first_part {
                self.read_history(slot, id);
                return;
            }
        } else {
            let scan_end = self.tail.head().min(before.saturating_add(CURSOR_SCAN_MAX));
            let mut next = before + 1;
            while next <= scan_end && room(batch.parts.len(), bytes) {
                let Some(event) = self.tail.get(next) else {
                    break;
                };
                *steps = steps.saturating_sub(1);
                let subscriber = self.slab.at(slot);
                if self.selectors.admits(subscriber.places.as_slice(), event)
                    && (!event.private
                        || planted(Defect::ReplaysPrivate)
                        || readable(event, &subscriber.access, self.selectors.hub(), &mut self.verdicts))
                {
                    bytes += frame_bytes(event, subscriber.chunked).len();
                    batch.parts.push(Part::Tail { offset: next });
                }
                through = next;
                next += 1;
            }
        }
        if batch.parts.len() > first_part {
            let subscriber = self.slab.at_mut(slot);
            subscriber.in_batch = true;
            let sink = subscriber.sink;
            push_write(batch, slot, sink, first_part, bytes, before, through, steps);
        } else {
            self.caught_up_to(slot, through);
        }
    }

    /// A subscriber behind has everything up to `through`: it is current, or goes on in a later slice.
    fn caught_up_to(&mut self, slot: u32, through: u64) {
        let head = self.tail.head();
        let subscriber = self.slab.at_mut(slot);
        debug_assert!(through >= subscriber.offset, "order: a cursor never goes back");
        subscriber.offset = through;
        let Some(backlog) = &mut subscriber.backlog else {
            return;
        };
        let read_on = backlog.from_earliest || !backlog.chunk.is_empty() || backlog.rest.is_some();
        if through >= head && !read_on {
            subscriber.state = State::Current;
            subscriber.backlog = None;
        } else {
            backlog.wait = Wait::Slice;
            let id = SlotId { slot, generation: subscriber.generation };
            self.catch_up.push_back(id);
        }
    }

    fn read_history(&mut self, slot: u32, id: SlotId) {
        let subscriber = self.slab.at_mut(slot);
        let Some(backlog) = &mut subscriber.backlog else {
            return;
        };
        backlog.wait = Wait::History;
        let filter = Filter {
            matchers: self.selectors.matchers(subscriber.places.as_slice()),
            access: subscriber.access.clone(),
        };
        self.counters.history_reads += 1;
        self.outputs.push_back(Output::Read {
            id,
            after: subscriber.offset,
            from_earliest: backlog.from_earliest,
            filter,
        });
    }

    fn history(&mut self, id: SlotId, answer: Result<HistoryChunk, HistoryError>, now: Now) {
        let Some(slot) = self.slab.find(id) else {
            return;
        };
        let subscriber = self.slab.at_mut(slot);
        let Some(backlog) = &mut subscriber.backlog else {
            return;
        };
        if subscriber.state != State::Behind || backlog.wait != Wait::History {
            return;
        }
        match answer {
            Err(HistoryError::Trimmed) => self.close(slot, CloseReason::Trimmed, now),
            Ok(chunk) => {
                debug_assert!(
                    chunk.through >= subscriber.offset || backlog.from_earliest,
                    "order: history reads forward"
                );
                debug_assert!(chunk.events.len() <= CHUNK_EVENTS_MAX, "bounded: an answer of history");
                debug_assert!(
                    chunk.events.iter().is_sorted_by(|one, next| one.offset < next.offset),
                    "order: history answers in log order"
                );
                // Waiting for history was not its socket's fault.
                subscriber.progress_ds = now.ds();
                backlog.from_earliest = false;
                backlog.through = chunk.through.max(subscriber.offset);
                backlog.chunk = chunk.events.into();
                backlog.wait = Wait::Slice;
                if backlog.chunk.is_empty() {
                    subscriber.offset = backlog.through;
                }
                self.catch_up.push_back(id);
            }
        }
    }

    /// Hands events to fan-out: each hangs on the selectors it matches.
    fn dispatch(&mut self) {
        let mut budget = DISPATCH_EVENTS_MAX;
        while self.dispatched < self.tail.head() && budget > 0 && self.schedule.pending() < PENDING_MAX {
            budget -= 1;
            let offset = self.dispatched + 1;
            let event = self.tail.get(offset).expect("the tail keeps what was not dispatched");
            self.selectors.resolve(event, &mut self.resolved);
            let audience =
                self.resolved.iter().map(|&selector| self.selectors.get(selector).members.len()).sum::<usize>() as u32;
            for &selector in &self.resolved {
                let entry = self.selectors.get_mut(selector);
                if entry.walk == NO_WALK {
                    entry.walk = self.schedule.start(selector, entry.members.len() as u32, offset, audience);
                } else {
                    self.schedule.add(entry.walk, offset, audience);
                }
            }
            self.dispatched = offset;
            self.counters.dispatched += 1;
        }
        self.tail.trim(self.dispatched);
    }

    /// A heartbeat or an ending.
    fn chore(&mut self, steps: &mut u32, batch: &mut Batch) -> bool {
        let (id, part) = match (self.endings.pop_front(), &mut self.heartbeats) {
            (Some(id), _) => (id, Part::LastChunk),
            (None, heartbeats) => match heartbeats.pop_front() {
                Some(id) => (id, Part::Heartbeat),
                None => return false,
            },
        };
        *steps = steps.saturating_sub(1);
        let Some(slot) = self.slab.find(id) else {
            return true;
        };
        let subscriber = self.slab.at(slot);
        let wanted = match part {
            Part::Heartbeat => State::Current,
            _ => State::Closing,
        };
        if subscriber.state != wanted || subscriber.in_batch {
            return true;
        }
        let sink = subscriber.sink;
        let first_part = batch.parts.len();
        if subscriber.backlog.is_some() {
            batch.parts.push(Part::Rest);
        }
        if part != Part::LastChunk || subscriber.chunked {
            batch.parts.push(part);
        }
        let bytes = batch.parts[first_part..].iter().map(|&part| part_bytes(subscriber, &self.tail, part).len()).sum();
        let offset = match part {
            // Should the socket be full, it reads on from here: not from its own offset, which may be long past.
            Part::Heartbeat => self.has_everything_to(slot),
            _ => subscriber.offset,
        };
        let subscriber = self.slab.at_mut(slot);
        subscriber.in_batch = true;
        push_write(batch, slot, sink, first_part, bytes, offset, offset, steps);
        if part == Part::Heartbeat {
            self.counters.heartbeats += 1;
        }
        true
    }

    /// A current subscriber has everything before the first event pending on its selectors.
    fn has_everything_to(&self, slot: u32) -> u64 {
        let subscriber = self.slab.at(slot);
        let pending = subscriber.places.as_slice().iter().filter_map(|place| {
            let walk = self.selectors.get(place.selector).walk;
            let pending = (walk != NO_WALK).then(|| &self.schedule.get(walk).pending)?;
            let first = pending.partition_point(|&offset| offset <= subscriber.offset);
            pending.get(first).copied()
        });
        match pending.min() {
            Some(first) => first - 1,
            None => self.dispatched.max(subscriber.offset),
        }
    }

    fn sent(&mut self, batch: Batch, now: Now) {
        for write in &batch.writes {
            self.slab.at_mut(write.slot).in_batch = false;
            match write.outcome {
                Outcome::Gone => self.gone(write.slot),
                Outcome::Sent(bytes) => {
                    self.counters.bytes += u64::from(bytes);
                    if bytes > 0 {
                        self.slab.at_mut(write.slot).progress_ds = now.ds();
                    }
                    if bytes >= write.bytes {
                        self.sent_whole(&batch, write)
                    } else {
                        self.sent_short(&batch, write, bytes, now)
                    }
                }
            }
        }
        self.batch = Some(batch);
    }

    fn sent_whole(&mut self, batch: &Batch, write: &Write) {
        let parts = batch.parts(write);
        self.counters.deliveries +=
            parts.iter().filter(|part| matches!(part, Part::Tail { .. } | Part::Chunk { .. })).count() as u64;
        let subscriber = self.slab.at_mut(write.slot);
        match subscriber.state {
            State::Behind => {
                if let Some(backlog) = &mut subscriber.backlog {
                    if let Some(Rest::Event(..)) = backlog.rest.take() {
                        self.counters.deliveries += 1;
                    }
                    let chunks = parts.iter().filter(|part| matches!(part, Part::Chunk { .. })).count();
                    backlog.chunk.drain(..chunks);
                }
                self.caught_up_to(write.slot, write.through);
            }
            State::Closing => self.shut_down(write.slot),
            State::Current | State::Reserved | State::Vacant => {}
        }
    }

    /// The socket is full: what it took of the frame being written is remembered, the rest is read again later.
    fn sent_short(&mut self, batch: &Batch, write: &Write, bytes: u32, now: Now) {
        self.counters.short_sends += 1;
        let subscriber = self.slab.at(write.slot);
        if subscriber.state == State::Closing {
            self.shut_down(write.slot);
            return;
        }
        let mut left = bytes as usize;
        let mut offset = write.before;
        let mut chunks = 0;
        let mut rest_done = false;
        let mut cut = None;
        for &part in batch.parts(write) {
            let length = part_bytes(subscriber, &self.tail, part).len();
            if left < length {
                cut = Some((part, left as u32));
                break;
            }
            left -= length;
            match part {
                Part::Tail { offset: sent } => offset = sent,
                Part::Chunk { index } => {
                    chunks += 1;
                    offset = subscriber.backlog.as_ref().map_or(offset, |backlog| backlog.chunk[index as usize].offset);
                }
                Part::Rest => rest_done = true,
                Part::Heartbeat | Part::LastChunk => {}
            }
        }
        let (part, at) = cut.expect("a short write is cut somewhere");
        let rest = match part {
            _ if at == 0 => None,
            Part::Tail { offset: cut } => {
                offset = cut;
                self.tail.get(cut).map(|event| Rest::Event(event.clone(), at))
            }
            Part::Chunk { index } => {
                chunks += 1;
                let event = subscriber.backlog.as_ref().map(|backlog| backlog.chunk[index as usize].clone());
                event.map(|event| {
                    offset = event.offset;
                    Rest::Event(event, at)
                })
            }
            Part::Heartbeat => Some(Rest::Heartbeat(at)),
            Part::Rest | Part::LastChunk => None,
        };
        let whole = batch.parts(write).iter().take_while(|&&other| other != part);
        self.counters.deliveries +=
            whole.filter(|part| matches!(part, Part::Tail { .. } | Part::Chunk { .. })).count() as u64;
        let id = SlotId { slot: write.slot, generation: subscriber.generation };
        let subscriber = self.slab.at_mut(write.slot);
        subscriber.offset = offset + u64::from(planted(Defect::DropsWhenBehind));
        if bytes == 0 && subscriber.state == State::Current {
            // The deadline counts from the first refusal, not from the last event, which may be long ago.
            subscriber.progress_ds = now.ds();
        }
        let blocked = match planted(Defect::SpinsOnBlocked) {
            false => Wait::Writable,
            true => Wait::Slice,
        };
        self.fall_behind(id, blocked);
        let Some(backlog) = &mut self.slab.at_mut(write.slot).backlog else {
            return;
        };
        match part {
            Part::Rest => {
                if let Some(Rest::Head(_, sent) | Rest::Event(_, sent) | Rest::Heartbeat(sent)) = &mut backlog.rest {
                    *sent += at;
                }
            }
            _ => {
                if rest_done && let Some(Rest::Event(..)) = backlog.rest {
                    self.counters.deliveries += 1;
                }
                if rest.is_some() || rest_done {
                    backlog.rest = rest;
                }
            }
        }
        backlog.chunk.drain(..chunks);
    }

    /// From here on the subscriber reads from its own cursor.
    fn fall_behind(&mut self, id: SlotId, wait: Wait) {
        let subscriber = self.slab.at_mut(id.slot);
        subscriber.state = State::Behind;
        let offset = subscriber.offset;
        subscriber.backlog.get_or_insert_with(|| Box::new(Backlog::new(wait, offset))).wait = wait;
        if wait == Wait::Slice {
            self.catch_up.push_back(id);
        }
    }

    fn register(&mut self, id: SlotId, registration: Registration, now: Now) {
        let Some(slot) = self.slab.find(id) else {
            return;
        };
        debug_assert!(!registration.matchers.is_empty(), "a subscription names at least one matcher");
        let places: Vec<Place> =
            registration.matchers.iter().map(|matcher| self.selectors.join(matcher, slot)).collect();
        let offset = match registration.start {
            Start::Live => self.tail.head(),
            Start::After(offset) => offset,
            Start::Earliest => 0,
        };
        let mut backlog = Backlog::new(Wait::Slice, offset);
        backlog.rest = Some(Rest::Head(registration.head, 0));
        backlog.from_earliest = registration.start == Start::Earliest;
        let expires_ms = registration.access.as_ref().map(|access| access.expires_at_ms);
        let subscriber = self.slab.at_mut(slot);
        subscriber.state = State::Behind;
        subscriber.chunked = registration.chunked;
        subscriber.sink = Some(registration.sink);
        subscriber.offset = offset;
        subscriber.progress_ds = now.ds();
        subscriber.address = registration.address;
        subscriber.places = Places::new(&places);
        subscriber.access = registration.access;
        subscriber.backlog = Some(Box::new(backlog));
        let mut ending = false;
        if let Some(expires_ms) = expires_ms.filter(|_| !planted(Defect::IgnoresExpiry)) {
            let remaining = expires_ms.saturating_sub(now.wall_ms);
            let window = (remaining / 10).min(EXPIRY_SPREAD_MS);
            let early = window * u64::from(registration.spread) / u64::from(u16::MAX);
            subscriber.expires_s = u32::try_from((expires_ms - early) / 1000).unwrap_or(u32::MAX).max(1);
            // The next tick may come after the token's end.
            ending = remaining <= TICK_MS * 2;
            if remaining < SOON_MS && !ending {
                self.soon.push((expires_ms - TICK_MS * 2, id));
            }
        }
        if self.limits.lifetime_max_ms > 0 {
            let lifetime = self.limits.lifetime_max_ms;
            let early = lifetime / 10 * u64::from(registration.spread) / u64::from(u16::MAX);
            subscriber.ends_ds = u32::try_from((now.mono_ms + lifetime - early) / 100).unwrap_or(u32::MAX).max(1);
        }
        self.counters.registered += 1;
        self.catch_up.push_back(id);
        if self.stopping {
            self.close(slot, CloseReason::Stopping, now);
        } else if ending {
            self.close(slot, CloseReason::Expired, now);
        }
    }

    fn writable(&mut self, id: SlotId) {
        let Some(slot) = self.slab.find(id) else {
            return;
        };
        let Some(backlog) = &mut self.slab.at_mut(slot).backlog else {
            return;
        };
        if planted(Defect::LosesWakeUp) && matches!(backlog.rest, Some(Rest::Event(..))) {
            return;
        }
        if backlog.wait == Wait::Writable {
            backlog.wait = Wait::Slice;
            self.catch_up.push_back(id);
        }
    }

    fn received(&mut self, id: SlotId, bytes: u32, now: Now) {
        let Some(slot) = self.slab.find(id) else {
            return;
        };
        let subscriber = self.slab.at_mut(slot);
        subscriber.wakeups = subscriber.wakeups.saturating_add(1);
        let discarded = u32::from(subscriber.discarded_bytes).saturating_add(bytes);
        subscriber.discarded_bytes = discarded.min(u32::from(u16::MAX)) as u16;
        if subscriber.state != State::Closing && (discarded > DISCARDED_BYTES_MAX || subscriber.wakeups > WAKEUPS_MAX) {
            self.close(slot, CloseReason::Talkative, now);
        }
    }

    fn tick(&mut self, now: Now) {
        let capacity = self.slab.capacity();
        for _ in 0..capacity.div_ceil(SWEEP_TICKS) {
            self.sweep_at = if self.sweep_at >= capacity { 0 } else { self.sweep_at };
            self.sweep(self.sweep_at as u32, now);
            self.sweep_at += 1;
        }
        if !self.soon.is_empty() {
            let due: Vec<SlotId> =
                self.soon.extract_if(.., |(at_ms, _)| *at_ms <= now.wall_ms).map(|(_, id)| id).collect();
            for id in due {
                if let Some(slot) = self.slab.find(id) {
                    self.close(slot, CloseReason::Expired, now);
                }
            }
        }
    }

    /// Looks after one slot: expiry, lifetime, write deadline, heartbeat, linger.
    fn sweep(&mut self, slot: u32, now: Now) {
        let limits = self.limits;
        let Some(subscriber) = self.slab.get(slot) else {
            return;
        };
        let idle_ds = now.ds().saturating_sub(subscriber.progress_ds);
        match subscriber.state {
            State::Vacant | State::Reserved => return,
            State::Closing => {
                if idle_ds >= LINGER_DS {
                    self.shut_down(slot);
                    self.release(slot);
                }
                return;
            }
            State::Current | State::Behind => {}
        }
        if subscriber.expires_s > 0 && u64::from(subscriber.expires_s) * 1000 <= now.wall_ms + EXPIRY_MARGIN_MS {
            self.close(slot, CloseReason::Expired, now);
        } else if subscriber.ends_ds > 0 && subscriber.ends_ds <= now.ds() {
            self.close(slot, CloseReason::Lifetime, now);
        } else if subscriber.state == State::Behind {
            let blocked = subscriber.backlog.as_ref().is_some_and(|backlog| backlog.wait == Wait::Writable);
            if blocked && limits.write_timeout_ms > 0 && u64::from(idle_ds) * 100 >= limits.write_timeout_ms {
                self.close(slot, CloseReason::Stalled, now);
            }
        } else if limits.heartbeat_ms > 0 {
            // A few slots early each, so that what one broadcast made idle together isn't due together.
            let early = limits.heartbeat_ms / 8 * u64::from(slot % 8) / 8;
            if u64::from(idle_ds) * 100 + early >= limits.heartbeat_ms {
                let id = SlotId { slot, generation: subscriber.generation };
                self.heartbeats.push_back(id);
                // Counted as written from here, so that it is queued once however long its slice takes to come.
                self.slab.at_mut(slot).progress_ds = now.ds();
            }
        }
    }

    fn end_all(&mut self, reason: CloseReason, now: Now) {
        for slot in 0..self.slab.capacity() as u32 {
            if self.slab.get(slot).is_some_and(|s| matches!(s.state, State::Current | State::Behind)) {
                self.close(slot, reason, now);
            }
        }
    }

    /// Ends a stream in order: no more events, the last chunk unless a frame is cut, shutdown, linger.
    fn close(&mut self, slot: u32, reason: CloseReason, now: Now) {
        if !matches!(self.slab.at(slot).state, State::Current | State::Behind) {
            return;
        }
        self.leave(slot);
        self.counters.closed[reason as usize] += 1;
        let subscriber = self.slab.at_mut(slot);
        let rest = subscriber.backlog.take().and_then(|backlog| backlog.rest);
        subscriber.state = State::Closing;
        subscriber.access = None;
        subscriber.progress_ds = now.ds();
        // A response head nobody has seen yet still goes out: a request is not left without an answer.
        let unanswered = matches!(rest, Some(Rest::Head(_, 0)));
        let cut = rest.is_some() && !unanswered;
        if unanswered {
            let mut backlog = Backlog::new(Wait::Slice, subscriber.offset);
            backlog.rest = rest;
            subscriber.backlog = Some(Box::new(backlog));
        }
        if unanswered || subscriber.chunked && !cut {
            let id = SlotId { slot, generation: subscriber.generation };
            self.endings.push_back(id);
        } else {
            self.shut_down(slot);
        }
    }

    fn shut_down(&mut self, slot: u32) {
        let subscriber = self.slab.at_mut(slot);
        if let (false, Some(sink)) = (subscriber.ended, subscriber.sink) {
            subscriber.ended = true;
            self.outputs.push_back(Output::Shutdown(sink));
        }
    }

    /// The connection is no more.
    fn gone(&mut self, slot: u32) {
        match self.slab.at(slot).state {
            State::Current | State::Behind => {
                self.leave(slot);
                self.counters.closed[CloseReason::Gone as usize] += 1;
                self.release(slot);
            }
            State::Closing => self.release(slot),
            State::Vacant | State::Reserved => {}
        }
    }

    fn release(&mut self, slot: u32) {
        let subscriber = self.slab.at(slot);
        if let Some(sink) = subscriber.sink {
            self.outputs.push_back(Output::Close { sink, address: subscriber.address });
        }
        self.slab.release(slot);
    }

    /// Takes a subscriber out of its selectors' member lists.
    fn leave(&mut self, slot: u32) {
        let places = std::mem::take(&mut self.slab.at_mut(slot).places);
        for &place in places.as_slice() {
            if planted(Defect::SkipsMember) {
                self.pass_over_one(place.selector);
            }
            let removed = self.selectors.leave(place);
            if let Some(moved) = removed.moved_slot {
                let places = self.slab.at_mut(moved).places.as_mut_slice();
                let theirs = places.iter_mut().find(|other| other.selector == place.selector);
                theirs.expect("a member knows its selectors").position = place.position;
            }
            if let Some(walk) = removed.orphaned_walk {
                self.schedule.cancel(walk);
            }
        }
    }
}

/// A planted defect's harm.
impl Shard {
    fn pass_over_one(&mut self, selector: u32) {
        let walk = self.selectors.get(selector).walk;
        if walk != NO_WALK {
            let position = &mut self.schedule.get_mut(walk).position;
            *position = position.saturating_sub(1);
        }
    }
}

/// The frame in a connection's own form.
fn frame_bytes(event: &Event, chunked: bool) -> &[u8] {
    if chunked { event.frame.chunked() } else { event.frame.plain() }
}

fn part_bytes<'a>(subscriber: &'a Subscriber, tail: &'a Tail, part: Part) -> &'a [u8] {
    let chunked = subscriber.chunked;
    match part {
        Part::Tail { offset } => {
            frame_bytes(tail.get(offset).expect("a batch outlives no turn: its events are in the tail"), chunked)
        }
        Part::Chunk { index } => {
            let backlog = subscriber.backlog.as_ref().expect("a chunk belongs to a backlog");
            frame_bytes(&backlog.chunk[index as usize], chunked)
        }
        Part::Rest => match subscriber.backlog.as_ref().and_then(|backlog| backlog.rest.as_ref()) {
            Some(Rest::Head(bytes, at)) => &bytes[*at as usize..],
            Some(Rest::Event(event, at)) => &frame_bytes(event, chunked)[*at as usize..],
            Some(Rest::Heartbeat(at)) => &heartbeat(chunked)[*at as usize..],
            None => &[],
        },
        Part::Heartbeat => heartbeat(chunked),
        Part::LastChunk => frame::LAST_CHUNK,
    }
}

fn heartbeat(chunked: bool) -> &'static [u8] {
    if chunked { frame::HEARTBEAT_CHUNK } else { frame::HEARTBEAT }
}

/// Whether a private event may go to a subscriber: one of its topics is granted (protocol §6). Judged once per event
/// and token within a slice.
fn readable(event: &Event, access: &Option<Arc<Access>>, hub: &HubUrl, verdicts: &mut Vec<(u64, usize, bool)>) -> bool {
    let Some(access) = access else { return false };
    let key = (event.offset, Arc::as_ptr(access) as usize);
    if let Some(&(_, _, verdict)) = verdicts.iter().rev().take(64).find(|&&(offset, who, _)| (offset, who) == key) {
        return verdict;
    }
    let verdict = event.topics.iter().any(|topic| access.grants.may_subscribe(&ParsedTopic::new(topic.as_str(), hub)));
    verdicts.push((key.0, key.1, verdict));
    verdict
}

#[expect(clippy::too_many_arguments, reason = "one call per kind of visit; a struct would be the write itself")]
fn push_write(
    batch: &mut Batch,
    slot: u32,
    sink: Option<Sink>,
    first_part: usize,
    bytes: usize,
    before: u64,
    through: u64,
    steps: &mut u32,
) {
    let sink = sink.expect("a registered subscriber has a sink");
    let parts = first_part as u32..batch.parts.len() as u32;
    *steps = steps.saturating_sub(SEND_STEPS + (bytes / STEP_BYTES) as u32);
    batch.writes.push(Write { sink, outcome: Outcome::Gone, slot, parts, bytes: bytes as u32, through, before });
}
