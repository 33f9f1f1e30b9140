//! Fan-out: events in log order to those they match, in bounded slices, the smallest audience first without starving
//! the oldest event.

use std::sync::Arc;

use super::Shard;
use super::part::part_length;
use crate::hub::batch::{Batch, Outcome, Part, VISIT_BYTES_MAX, VISIT_PARTS_MAX, Write};
use crate::hub::budget::Budget;
use crate::hub::defect::{Defect, planted};
use crate::hub::event::Event;
use crate::hub::judge;
use crate::hub::selector::NO_WALK;
use crate::hub::subscriber::{Rest, Sink, SlotId, State, Wait};
use crate::protocol::token::Access;
use crate::protocol::topic::HubUrl;

/// Work of one slice: about 55 sends.
pub(super) const SLICE_NS: u64 = 500_000;
/// A send, and what it costs more per byte.
pub(in crate::hub) const SEND_NS: u64 = 8_500;
const BYTES_PER_NS: usize = 2;
/// Looking whether a member of a selector has something pending.
const VISIT_NS: u64 = 400;
/// Collecting one pending offset of a subscriber.
const OFFSET_NS: u64 = 15;
/// Handing an event to fan-out, and hanging it on one selector.
const DISPATCH_NS: u64 = 1_000;
const HANG_NS: u64 = 150;
/// Finding an earlier verdict on a private event, and coming to a new one, whatever it is judged by.
const VERDICT_NS: u64 = 50;
pub(in crate::hub) const JUDGE_NS: u64 = 400;
/// (selector, event) pairs pending at most; dispatch pauses beyond.
pub(in crate::hub) const PENDING_MAX: usize = if cfg!(test) { 1024 } else { 1 << 20 };

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Oldest,
    Smallest,
    CatchUp,
    /// Heartbeats, and the ends of streams.
    Chores,
    /// Those alone.
    Ends,
}

impl Shard {
    /// The next bounded piece of work. `None` when there was nothing to write; [`Shard::busy`] says whether there is
    /// more to do. The batch comes back with its outcomes as [`Input::Sent`] before anything else is handled.
    pub fn slice(&mut self) -> Option<Batch> {
        debug_assert!(self.outputs.is_empty(), "drain outputs before the next slice");
        let mut batch = self.batch.take().expect("the last batch has come back");
        batch.clear();
        self.verdicts.clear();
        let mut budget = Budget::new(self.slice_ns);
        if self.lost_at.is_none() {
            self.dispatch(&mut budget);
        }
        self.turn = self.turn.wrapping_add(1);
        use Source::{CatchUp, Chores, Ends, Oldest, Smallest};
        let order = match self.turn % 4 {
            // Cursors are places in the log that was.
            _ if self.lost_at.is_some() => [Ends; 4],
            0 | 2 => [Oldest, Smallest, CatchUp, Chores],
            1 => [Smallest, CatchUp, Chores, Oldest],
            // Chores are few, and slow readers may be many: behind them a heartbeat would never come.
            _ => [Chores, CatchUp, Smallest, Oldest],
        };
        for source in order {
            while !budget.is_spent() && self.serve(source, &mut budget, &mut batch) {}
        }
        if batch.writes.is_empty() {
            self.flight.land_done();
            self.batch = Some(batch);
            return None;
        }
        self.counters.sends += batch.writes.len() as u64;
        Some(batch)
    }

    /// Does a piece of one kind of work; false when there is none of it.
    fn serve(&mut self, source: Source, budget: &mut Budget, batch: &mut Batch) -> bool {
        let walk = match source {
            Source::Oldest if !planted(Defect::SmallestOnly) => self.schedule.oldest(),
            Source::Smallest if planted(Defect::OldestOnly) => self.schedule.oldest(),
            Source::Oldest | Source::Smallest => self.schedule.smallest(),
            Source::CatchUp => {
                let Some(id) = self.catch_up.pop_front() else {
                    return false;
                };
                self.advance(id, budget, batch);
                return true;
            }
            Source::Ends if self.endings.is_empty() => return false,
            Source::Ends | Source::Chores => return self.chore(budget, batch),
        };
        let Some(walk) = walk else { return false };
        self.walk(walk, budget, batch)
    }

    /// Walks on over a selector's members. False when the pass can't go on in this batch.
    fn walk(&mut self, walk: u32, budget: &mut Budget, batch: &mut Batch) -> bool {
        let selector = self.schedule.get(walk).selector;
        let mut position = self.schedule.get(walk).position.min(self.selectors.get(selector).members.len() as u32);
        let mut low = self.schedule.get(walk).pass_low;
        let mut met_batch = false;
        while position > 0 && !budget.is_spent() {
            position -= 1;
            let slot = self.selectors.get(selector).members[position as usize];
            if let Some(has) = self.visit(slot, budget, batch) {
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
        for &offset in entry.pending.iter().take_while(|&&offset| offset <= entry.pass_end.min(low)) {
            self.flight.unhang(offset);
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
    fn visit(&mut self, slot: u32, budget: &mut Budget, batch: &mut Batch) -> Option<u64> {
        budget.spend(VISIT_NS);
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
        budget.spend(OFFSET_NS * self.offsets.len() as u64);
        let first_part = batch.parts.len();
        let (form, parts_max) = (subscriber.form(), subscriber.parts_max());
        let mut bytes = 0;
        let mut through = has;
        let mut capped = false;
        for &offset in &self.offsets {
            if offset > known {
                break;
            }
            if batch.parts.len() - first_part == parts_max || bytes >= VISIT_BYTES_MAX {
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
            // Judging may cost more than a slice has; the first event is always judged, and what needs no judging costs
            // nothing more in this send.
            if event.private && budget.is_spent() && through > has {
                capped = true;
                break;
            }
            debug_assert!(
                offset > through || planted(Defect::Repeats),
                "order: matching events leave in log order, each once"
            );
            through = offset;
            if !event.private || readable(event, &subscriber.access, self.selectors.hub(), &mut self.verdicts, budget) {
                bytes += event.frame.length(form);
                self.flight.written(offset);
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
            push_write(batch, slot, sink, first_part, bytes, before, through, budget);
        }
        capped.then_some(through)
    }

    /// Hands events to fan-out: each hangs on the selectors it matches. Takes half of a slice at most, so that matching
    /// doesn't hold up what is matched already.
    fn dispatch(&mut self, slice: &mut Budget) {
        let mut budget = slice.set_aside(self.slice_ns / 2);
        while self.dispatched < self.tail.head() && !budget.is_spent() && self.schedule.pending() < PENDING_MAX {
            let offset = self.dispatched + 1;
            let event = self.tail.get(offset).expect("the tail keeps what was not dispatched");
            if !self.selectors.resolve(event, &mut self.resolution, &mut budget, &mut self.resolved) {
                break;
            }
            budget.spend(DISPATCH_NS + HANG_NS * self.resolved.len() as u64);
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
            self.flight.take_off(offset, event.received_us, self.resolved.len());
            self.dispatched = offset;
            self.counters.dispatched += 1;
        }
        slice.put_back(budget);
        self.tail.trim(self.dispatched);
    }

    /// A heartbeat or an ending.
    fn chore(&mut self, budget: &mut Budget, batch: &mut Batch) -> bool {
        let (id, part) = match (self.endings.pop_front(), &mut self.heartbeats) {
            (Some(id), _) => (id, Part::LastChunk),
            (None, heartbeats) => match heartbeats.pop_front() {
                Some(id) => (id, Part::Heartbeat),
                None => return false,
            },
        };
        budget.spend(VISIT_NS);
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
        let rest = subscriber.backlog.as_ref().and_then(|backlog| backlog.rest.as_ref());
        if rest.is_some() {
            batch.parts.push(Part::Rest);
        }
        if part != Part::LastChunk || subscriber.chunked && !matches!(rest, Some(Rest::LastChunk(_))) {
            batch.parts.push(part);
        }
        let bytes = batch.parts[first_part..].iter().map(|&part| part_length(subscriber, &self.tail, part)).sum();
        let offset = match part {
            // Should the socket be full, it reads on from here: not from its own offset, which may be long past.
            Part::Heartbeat => self.has_everything_to(slot),
            _ => subscriber.offset,
        };
        let subscriber = self.slab.at_mut(slot);
        subscriber.in_batch = true;
        push_write(batch, slot, sink, first_part, bytes, offset, offset, budget);
        if part == Part::Heartbeat {
            self.counters.heartbeats += 1;
        }
        true
    }

    /// A current subscriber has everything before the first event pending on its selectors.
    pub(super) fn has_everything_to(&self, slot: u32) -> u64 {
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
}

/// Whether a private event may go to a subscriber: one of its topics is granted (protocol §6). Judged once per event
/// and token within a slice.
pub(super) fn readable(
    event: &Event,
    access: &Option<Arc<Access>>,
    hub: &HubUrl,
    verdicts: &mut Vec<(u64, usize, bool)>,
    budget: &mut Budget,
) -> bool {
    let Some(access) = access else { return false };
    budget.spend(VERDICT_NS);
    let key = (event.offset, Arc::as_ptr(access) as usize);
    if let Some(&(_, _, verdict)) = verdicts.iter().rev().take(64).find(|&&(offset, who, _)| (offset, who) == key) {
        return verdict;
    }
    budget.spend(JUDGE_NS);
    let verdict = judge::any_matches(access.grants.subscribe.iter(), event, hub, budget);
    verdicts.push((key.0, key.1, verdict));
    verdict
}

#[expect(clippy::too_many_arguments, reason = "one call per kind of visit; a struct would be the write itself")]
pub(super) fn push_write(
    batch: &mut Batch,
    slot: u32,
    sink: Option<Sink>,
    first_part: usize,
    bytes: usize,
    before: u64,
    through: u64,
    budget: &mut Budget,
) {
    let sink = sink.expect("a registered subscriber has a sink");
    let parts = first_part as u32..batch.parts.len() as u32;
    budget.spend(SEND_NS + (bytes / BYTES_PER_NS) as u64);
    batch.writes.push(Write { sink, outcome: Outcome::Gone, slot, parts, bytes: bytes as u32, through, before });
}
