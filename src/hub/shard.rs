//! A shard: its tail of the log, its subscribers, and the fan-out between them, as one state machine.
//!
//! The server calls [`Shard::handle`] with what happened, drains [`Shard::output`], and between turns of its loop asks
//! for a [`Shard::slice`]: a bounded batch of writes, whose outcomes come back as [`Input::Sent`]. Time is an argument.

#[cfg(test)]
mod census;
mod cursor;
mod drain;
mod fan_out;
mod interface;
mod lifecycle;
mod loss;
mod outcome;
mod part;
mod population;
mod presence;
mod readers;
mod revoke;
#[cfg(test)]
mod sample;
mod stop;
mod survey;

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::{Batch, Part, Write};
use super::denials::Denials;
use super::event::Event;
use super::flight::{Flight, Latencies};
use super::schedule::Schedule;
use super::selector::{Resolution, Selectors};
use super::slab::Slab;
use super::subscriber::{Sink, SlotId, State};
use super::tail::Tail;
use crate::protocol::coding::Coding;
use crate::protocol::matcher::Matcher;
use crate::protocol::topic::HubUrl;
pub use drain::Drain;
use drain::Drainage;
use fan_out::SLICE_NS;
#[cfg(test)]
pub(super) use fan_out::{JUDGE_NS, PENDING_MAX, SEND_NS};
pub use interface::{Counters, Input, Now, Output, Registration, ShardLimits, Start, TICK_MS};
use part::part_pieces;
pub use population::Population;
use presence::Presence;
#[cfg(test)]
pub(super) use presence::STALE_MAX;
pub use presence::{Announcement, Listed, Subscriptions};
use readers::Readers;
pub use revoke::Revocation;
use revoke::Sweep;
use survey::Round;
pub use survey::{Findings, SHOWN_MATCHERS_MAX, SURVEY_ROWS_MAX, StreamView, Survey};

/// Who has taken nothing for so long is not waited for when the hub stops, tenths of seconds.
const LATELY_DS: u32 = 10;

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
    readers: Readers,
    /// Idle subscribers that are due a comment.
    heartbeats: VecDeque<SlotId>,
    /// Streams whose last chunk is to be written.
    endings: VecDeque<SlotId>,
    /// Streams whose token ends sooner than a sweep can promise to notice: (Unix ms, who).
    soon: Vec<(u64, SlotId)>,
    /// The newest [`Revocation::KeysGone`].
    keys_gone: Option<Arc<Revocation>>,
    outputs: VecDeque<Output>,
    presence: Presence,
    /// Storage of the batch between slices; `None` while one is being carried out.
    batch: Option<Batch>,
    /// The event being dispatched, as far as it has come.
    resolution: Resolution,
    resolved: Vec<u32>,
    offsets: Vec<u64>,
    /// Verdicts on private events within one slice: (offset, address of the access), outcome.
    verdicts: Vec<(u64, usize, bool)>,
    sweep_at: usize,
    slice_ns: u64,
    turn: u32,
    stopping: bool,
    /// How far the streams have been ended one by one.
    drainage: Option<Drainage>,
    /// Where the sweep is that ends everybody, while it is under way.
    stop_at: Option<usize>,
    /// Where the sweep is that ends the streams of a log that was lost. Until it is through nothing is fanned out.
    lost_at: Option<usize>,
    counters: Counters,
    population: Population,
    /// Streams by content coding.
    coded: [u32; Coding::ALL.len()],
    /// Readers met in this sweep of the slab whose sockets are full, and in the last one.
    slow_met: u32,
    slow: u32,
    flight: Flight,
    /// Who is kept out.
    denials: Arc<Denials>,
    /// Revocations and surveys under way.
    sweeps: VecDeque<Sweep>,
    rounds: VecDeque<Round>,
}

impl Shard {
    /// A shard whose tail begins after `head`.
    pub fn new(limits: ShardLimits, hub: HubUrl, head: u64) -> Shard {
        Shard {
            limits,
            slab: Slab::default(),
            tail: Tail::new(head, limits.tail_bytes_max),
            dispatched: head,
            selectors: Selectors::new(hub, limits.selectors_bytes_max),
            schedule: Schedule::default(),
            catch_up: VecDeque::new(),
            readers: Readers::default(),
            heartbeats: VecDeque::new(),
            endings: VecDeque::new(),
            soon: Vec::new(),
            keys_gone: None,
            outputs: VecDeque::new(),
            presence: Presence::default(),
            batch: Some(Batch::default()),
            resolution: Resolution::default(),
            resolved: Vec::new(),
            offsets: Vec::new(),
            verdicts: Vec::new(),
            sweep_at: 0,
            slice_ns: SLICE_NS,
            turn: 0,
            stopping: false,
            drainage: None,
            stop_at: None,
            lost_at: None,
            counters: Counters::default(),
            population: Population::default(),
            coded: [0; Coding::ALL.len()],
            slow_met: 0,
            slow: 0,
            flight: Flight::default(),
            denials: Arc::default(),
            sweeps: VecDeque::new(),
            rounds: VecDeque::new(),
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
            Input::Writable(id) => self.writable(id, now),
            Input::Received(id, bytes) => self.received(id, bytes, now),
            Input::Gone(id) => {
                if let Some(slot) = self.slab.find(id) {
                    self.gone(slot);
                }
            }
            Input::History(id, answer) => self.history(id, answer, now),
            Input::Sent(batch) => self.sent(batch, now),
            Input::Tick => self.tick(now),
            Input::Limits(limits) => self.set_limits(limits),
            Input::Revoke(revocation) => self.begin_revocation(revocation),
            Input::Deny(denials) => self.denials = denials,
            Input::LogLost(head, newest) => self.lose_log(head, newest),
            Input::Survey(survey) => self.begin_survey(survey),
            Input::Drain(drain) => self.begin_drain(drain, now),
            Input::Stop => self.begin_stop(),
        }
        self.give_turns();
    }

    /// What time allows changes from now on; lifetimes that are running keep the end they have. What bounds memory stays.
    fn set_limits(&mut self, limits: ShardLimits) {
        let ShardLimits { tail_bytes_max, selectors_bytes_max, .. } = self.limits;
        self.limits = ShardLimits { tail_bytes_max, selectors_bytes_max, ..limits };
    }

    /// The next thing to be done; `None` when all is drained.
    pub fn output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Events that fan-out hasn't seen yet.
    pub fn undispatched(&self) -> u64 {
        self.tail.head() - self.dispatched
    }

    /// Whether a further slice has something to do.
    pub fn busy(&mut self) -> bool {
        self.dispatched < self.tail.head()
            || !self.catch_up.is_empty()
            || !self.heartbeats.is_empty()
            || !self.endings.is_empty()
            || self.schedule.oldest().is_some()
            || !self.sweeps.is_empty()
            || !self.rounds.is_empty()
            || self.drainage.as_ref().is_some_and(Drainage::is_late)
            || self.stop_at.is_some()
            || self.lost_at.is_some()
    }

    /// A bounded piece of what takes longer than a turn and isn't fan-out: the drain, the stop, a lost log, revocations, surveys. To be called once a turn.
    pub fn errand(&mut self, now: Now) {
        self.sweep_drained(now);
        self.sweep_stopped(now);
        self.sweep_lost(now);
        self.sweep_revoked(now);
        self.look_around(now);
        self.give_turns();
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

    /// The newest event there has been, unless there was none.
    pub fn newest(&self) -> Option<&Event> {
        self.tail.newest()
    }

    /// Goes on after an offset, with what is known of the event there: the log had a past before this shard began. To be called before
    /// anything else.
    pub fn go_on_after(&mut self, head: u64, newest: Option<Arc<Event>>) {
        debug_assert!(self.live() == 0 && self.tail.head() == 0, "order: nothing has happened yet");
        self.tail.go_on_after(head, newest);
        self.dispatched = head;
    }

    /// Streams and reserved slots.
    pub fn live(&self) -> u32 {
        self.slab.live()
    }

    /// Where a subscriber's bytes go.
    pub fn sink(&self, id: SlotId) -> Option<Sink> {
        self.slab.find(id).and_then(|slot| self.slab.at(slot).sink)
    }

    /// Whether there is room for what somebody wants to subscribe to: the selectors of all are bounded.
    pub fn has_room(&self, matchers: &[Matcher]) -> bool {
        self.selectors.has_room(matchers)
    }

    /// Whether something is still owed to somebody who has taken some of it lately: what a stop waits for.
    pub fn owes(&mut self, now: Now) -> bool {
        self.busy()
            || self.population.behind > 0
                && (0..self.slab.capacity() as u32).filter_map(|slot| self.slab.get(slot)).any(|subscriber| {
                    subscriber.state == State::Behind && now.ds().saturating_sub(subscriber.progress_ds) <= LATELY_DS
                })
    }

    /// What has been counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Who is there, by state.
    pub fn population(&self) -> Population {
        self.population
    }

    /// Readers whose sockets were full when they were last looked at, a second ago at most.
    pub fn slow_readers(&self) -> u32 {
        self.slow
    }

    /// How long fan-out took.
    pub fn latencies(&self) -> &Latencies {
        &self.flight.latencies
    }

    /// Who is kept out.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// The bytes of a part of a write, where they lie: in up to three pieces, of which any may be empty.
    pub fn pieces(&self, write: &Write, part: Part) -> [&[u8]; 3] {
        let subscriber = self.slab.at(write.slot);
        part_pieces(subscriber, &self.tail, part)
    }

    /// How many streams have which content coding, in the order of [`Coding::ALL`].
    pub fn coded_streams(&self) -> [u32; Coding::ALL.len()] {
        self.coded
    }
}
