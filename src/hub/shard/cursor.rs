//! Subscribers behind: each reads on from its own cursor, in history and then in the tail, until it meets the head.

use std::collections::VecDeque;

use super::fan_out::{push_write, readable};
use super::part::part_length;
use super::{Now, Shard};
use crate::hub::batch::{Batch, Part, VISIT_BYTES_MAX};
use crate::hub::budget::Budget;
use crate::hub::defect::{Defect, planted};
use crate::hub::history::{CHUNK_EVENTS_MAX, Gone, HistoryChunk, HistoryError};
use crate::hub::subscriber::{Backlog, CloseReason, SlotId, State, Wait};

/// A visit of somebody who is behind, and each event its cursor passes.
const ADVANCE_NS: u64 = 800;
const SCAN_NS: u64 = 100;
/// Events of the tail a cursor passes per visit at most.
const CURSOR_SCAN_MAX: u64 = if cfg!(test) { 32 } else { 1024 };

impl Shard {
    /// Lets a subscriber that is behind read on from its cursor: what is left of the last write, then its chunk of
    /// history, then the tail; when its cursor meets the head it is current, in one step.
    pub(super) fn advance(&mut self, id: SlotId, budget: &mut Budget, batch: &mut Batch) {
        budget.spend(ADVANCE_NS);
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
        let (form, parts_max) = (subscriber.form(), subscriber.parts_max());
        let mut bytes = 0;
        let mut through = before;
        if backlog.rest.is_some() {
            batch.parts.push(Part::Rest);
            bytes += part_length(subscriber, &self.tail, Part::Rest);
        }
        let room = |parts: usize, bytes: usize| parts - first_part < parts_max && bytes < VISIT_BYTES_MAX;
        if !backlog.chunk.is_empty() {
            let mut taken = 0;
            for (index, event) in backlog.chunk.iter().enumerate() {
                if !room(batch.parts.len(), bytes) {
                    break;
                }
                batch.parts.push(Part::Chunk { index: index as u32 });
                bytes += event.frame.length(form);
                through = event.offset;
                taken += 1;
            }
            if taken == backlog.chunk.len() {
                through = backlog.through;
            }
        } else if before + 1 < self.tail.first() || backlog.asks_history(before) {
            if batch.parts.len() == first_part {
                self.read_history(slot, id);
                return;
            }
        } else {
            let scan_end = self.tail.head().min(before.saturating_add(CURSOR_SCAN_MAX));
            let mut next = before + 1;
            while next <= scan_end && room(batch.parts.len(), bytes) && (next == before + 1 || !budget.is_spent()) {
                let Some(event) = self.tail.get(next) else {
                    break;
                };
                budget.spend(SCAN_NS);
                let subscriber = self.slab.at(slot);
                if self.selectors.admits(subscriber.places.as_slice(), event, budget)
                    && (!event.private
                        || planted(Defect::ReplaysPrivate)
                        || readable(event, &subscriber.access, self.selectors.hub(), &mut self.verdicts, budget))
                {
                    bytes += event.frame.length(form);
                    self.flight.written(next);
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
            push_write(batch, slot, sink, first_part, bytes, before, through, budget);
        } else {
            self.caught_up_to(slot, through);
        }
    }

    /// A subscriber behind has everything up to `through`: it is current, or goes on in a later slice.
    pub(super) fn caught_up_to(&mut self, slot: u32, through: u64) {
        let head = self.tail.head();
        let subscriber = self.slab.at_mut(slot);
        debug_assert!(through >= subscriber.offset, "order: a cursor never goes back");
        subscriber.offset = through;
        let written =
            subscriber.backlog.as_ref().is_none_or(|backlog| backlog.chunk.is_empty() && backlog.rest.is_none());
        if written {
            self.let_go(slot);
        }
        let subscriber = self.slab.at_mut(slot);
        let Some(backlog) = &mut subscriber.backlog else {
            return;
        };
        if through >= head && written && !backlog.asks_history(through) {
            subscriber.backlog = None;
            self.enter(slot, State::Current);
        } else {
            backlog.wait = Wait::Slice;
            let id = SlotId { slot, generation: subscriber.generation };
            self.catch_up.push_back(id);
        }
    }

    pub(super) fn history(&mut self, id: SlotId, answer: Result<HistoryChunk, HistoryError>, now: Now) {
        self.answered();
        let Some(slot) = self.slab.find(id) else {
            return;
        };
        let subscriber = self.slab.at_mut(slot);
        let form = subscriber.form();
        let Some(backlog) = &mut subscriber.backlog else {
            return;
        };
        if subscriber.state != State::Behind || backlog.wait != Wait::History {
            return;
        }
        match answer {
            Err(HistoryError::Trimmed) => self.close(slot, CloseReason::Trimmed, now),
            Err(HistoryError::Unreadable) => self.close(slot, CloseReason::Unreadable, now),
            Ok(chunk) => {
                let cut_in = backlog.cut_in();
                debug_assert!(chunk.through >= subscriber.offset || cut_in.is_some(), "order: history reads forward");
                debug_assert!(chunk.events.len() <= CHUNK_EVENTS_MAX, "bounded: an answer of history");
                debug_assert!(
                    chunk.events.iter().is_sorted_by(|one, next| one.offset < next.offset),
                    "order: history answers in log order"
                );
                let mut events = VecDeque::from(chunk.events);
                if cut_in.is_some() && !events.pop_front().is_some_and(|event| backlog.resume_in(event, form)) {
                    self.close(slot, CloseReason::Trimmed, now);
                    return;
                }
                // Waiting for history was not its socket's fault.
                subscriber.progress_ds = now.ds().saturating_sub(backlog.idle_ds);
                let told = if planted(Defect::ForgetsTold) { Gone::default() } else { chunk.forgiven };
                backlog.forgiven.get_or_insert(told);
                backlog.through = chunk.through.max(subscriber.offset);
                backlog.chunk = events;
                backlog.wait = Wait::Slice;
                debug_assert!(
                    backlog.chunk.front().is_none_or(|next| next.offset > subscriber.offset),
                    "order: what it has isn't read again"
                );
                // What was looked at and doesn't match isn't read again, whatever becomes of the chunk.
                subscriber.offset = backlog.chunk.front().map_or(backlog.through, |event| event.offset - 1);
                let holds = !backlog.chunk.is_empty() || backlog.rest.is_some();
                self.catch_up.push_back(id);
                if holds {
                    self.hold(slot);
                }
            }
        }
    }

    /// From here on the subscriber reads from its own cursor.
    pub(super) fn fall_behind(&mut self, id: SlotId, wait: Wait) {
        self.enter(id.slot, State::Behind);
        let subscriber = self.slab.at_mut(id.slot);
        let offset = subscriber.offset;
        subscriber.backlog.get_or_insert_with(|| Box::new(Backlog::new(wait, offset))).wait = wait;
        if wait == Wait::Slice {
            self.catch_up.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hub::event::Event;
    use crate::hub::{Input, Outcome, Output, Registration, ShardLimits};

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

    fn event(offset: u64, data_bytes: usize) -> Arc<Event> {
        Event::sample(offset, &["urn:a"], None, data_bytes)
    }

    fn commit(shard: &mut Shard, event: Arc<Event>) {
        shard.handle(Input::Events([event].into()), NOW);
    }

    /// The socket takes so many bytes of the next slice, which is the only stream's.
    fn taken(shard: &mut Shard, bytes: u32) -> Vec<u8> {
        let mut batch = shard.slice().expect("something to write");
        let [write] = &mut batch.writes[..] else { panic!("one write") };
        write.outcome = Outcome::Sent(bytes.min(write.bytes));
        let write = &batch.writes[0];
        let all: Vec<u8> =
            batch.parts(write).iter().flat_map(|&part| shard.pieces(write, part)).flatten().copied().collect();
        shard.handle(Input::Sent(batch), NOW);
        all
    }

    fn question(shard: &mut Shard) -> (u64, Option<Gone>) {
        match shard.output() {
            Some(Output::Read { after, forgiven, .. }) => (after, forgiven),
            other => panic!("{other:?}"),
        }
    }

    fn answer(shard: &mut Shard, id: SlotId, events: Vec<Arc<Event>>, through: u64) {
        let answer = Ok(HistoryChunk { events, through, forgiven: Gone::default() });
        shard.handle(Input::History(id, answer), NOW);
    }

    /// A stream cut after 20 bytes of event 1, which its shard doesn't have any more.
    fn cut_in_one() -> (Shard, SlotId) {
        let tail_bytes_max = event(1, 100).cost_bytes();
        let mut shard = Shard::sample(ShardLimits { tail_bytes_max, ..ShardLimits::roomy() });
        let id = shard.join(Registration::sample(), NOW);
        taken(&mut shard, u32::MAX);
        commit(&mut shard, event(1, 100));
        taken(&mut shard, 20);
        commit(&mut shard, event(2, 100));
        assert!(shard.slice().is_none());
        shard.handle(Input::Writable(id), NOW);
        assert_eq!(question(&mut shard), (0, Some(Gone { updates: 1, announcements: 1 })));
        (shard, id)
    }

    #[test]
    fn who_was_cut_inside_an_event_goes_on_inside_it_when_it_has_been_read_again() {
        let (mut shard, id) = cut_in_one();
        let [first, second] = [1, 2].map(|offset| event(offset, 100).frame.clone());
        answer(&mut shard, id, vec![event(1, 100), event(2, 100)], 2);
        assert_eq!(taken(&mut shard, 30), [&first.chunked()[20..], second.chunked()].concat());
        // Cut in it once more.
        shard.handle(Input::Writable(id), NOW);
        assert_eq!((question(&mut shard).0, shard.busy()), (0, false));
        answer(&mut shard, id, vec![event(1, 100)], 1);
        assert_eq!(taken(&mut shard, u32::MAX), [&first.chunked()[50..], second.chunked()].concat());
        assert_eq!((shard.counters().deliveries, shard.busy()), (2, false));
    }

    #[test]
    fn who_was_cut_inside_an_event_that_is_gone_or_has_other_bytes_is_told() {
        for events in [vec![], vec![event(2, 100)], vec![event(1, 101), event(2, 100)], vec![event(1, 1)]] {
            let (mut shard, id) = cut_in_one();
            answer(&mut shard, id, events, 2);
            assert_eq!(shard.counters().closed[CloseReason::Trimmed as usize], 1);
            assert!(matches!(shard.output(), Some(Output::Shutdown(_))));
            assert!(shard.slice().is_none() && shard.output().is_none(), "not one byte more");
        }
    }

    #[test]
    fn who_was_cut_inside_an_event_of_the_tail_needs_no_history() {
        let mut shard = Shard::sample(ShardLimits::roomy());
        let id = shard.join(Registration::sample(), NOW);
        taken(&mut shard, u32::MAX);
        let first = event(1, 100);
        commit(&mut shard, first.clone());
        taken(&mut shard, 20);
        shard.handle(Input::Writable(id), NOW);
        assert_eq!(taken(&mut shard, u32::MAX), first.frame.chunked()[20..]);
        assert!(shard.output().is_none() && !shard.busy());
    }
}
