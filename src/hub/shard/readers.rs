//! Whose turn it is to read history.
//!
//! What history answers may be memory of its own: a chunk, or one large event, for each stream. So only so many streams of a shard have a
//! question under way or an answer that isn't written yet; the others wait for their turn, in order. Who needs a further chunk waits
//! again, behind everybody else.

use std::collections::VecDeque;

use super::{Output, Shard};
use crate::hub::defect::{Defect, planted};
use crate::hub::history::Filter;
use crate::hub::subscriber::{SlotId, State, Wait};

/// Streams of a shard that read history at once.
pub(super) const READERS_MAX: usize = if cfg!(test) { 3 } else { 256 };
/// Streams that have ended and stand in the queue still, besides one for each that there is.
const STALE_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Questions that aren't answered yet. Those of streams that have ended since are among them: their answers are on their way.
    pub(super) asked: usize,
    /// Streams that hold what history answered.
    pub(super) holding: usize,
    /// Who waits for a turn.
    pub(super) waiting: VecDeque<SlotId>,
}

impl Readers {
    fn has_place(&self) -> bool {
        self.asked + self.holding < READERS_MAX
    }
}

impl Shard {
    /// Lets a stream that is behind ask history as soon as it is its turn.
    pub(super) fn read_history(&mut self, slot: u32, id: SlotId) {
        let Some(backlog) = &mut self.slab.at_mut(slot).backlog else {
            return;
        };
        backlog.wait = Wait::Turn;
        if self.readers.waiting.len() > 2 * self.slab.live() as usize + STALE_MAX {
            let slab = &self.slab;
            self.readers.waiting.retain(|&id| slab.find(id).is_some());
        }
        self.readers.waiting.push_back(id);
        self.give_turns();
    }

    /// Asks for those whose turn it is.
    pub(super) fn give_turns(&mut self) {
        while self.readers.has_place()
            && let Some(id) = self.readers.waiting.pop_front()
        {
            if let Some(slot) = self.slab.find(id) {
                self.ask_history(slot, id);
            }
        }
    }

    /// Asks for what follows the cursor, or begins with the event that the stream was cut in.
    fn ask_history(&mut self, slot: u32, id: SlotId) {
        let subscriber = self.slab.at_mut(slot);
        let Some(backlog) = subscriber.backlog.as_mut().filter(|backlog| backlog.wait == Wait::Turn) else {
            return;
        };
        debug_assert_eq!(subscriber.state, State::Behind, "who ends waits for no turn");
        backlog.wait = Wait::History;
        let filter = Filter {
            matchers: self.selectors.matchers(subscriber.places.as_slice()),
            access: subscriber.access.clone(),
        };
        let has = subscriber.offset;
        let (after, forgiven) = match backlog.cut_in() {
            // It has everything up to its cursor, but for the end of this one.
            Some(cut_in) => (cut_in - 1, backlog.forgiven.map(|gone| gone.or_up_to(has))),
            None => (has, backlog.forgiven),
        };
        self.readers.asked += 1;
        self.counters.history_reads += 1;
        self.outputs.push_back(Output::Read { id, after, forgiven, filter });
    }

    /// A question was answered, whoever is there to hear it.
    pub(super) fn answered(&mut self) {
        debug_assert!(self.readers.asked > 0, "bounded: an answer nobody asked for");
        self.readers.asked = self.readers.asked.saturating_sub(1);
    }

    /// A stream holds what history answered.
    pub(super) fn hold(&mut self, slot: u32) {
        if let Some(backlog) = &mut self.slab.at_mut(slot).backlog
            && !std::mem::replace(&mut backlog.holds, true)
        {
            self.readers.holding += 1;
        }
    }

    /// What a stream held has been written or let go of.
    pub(super) fn let_go(&mut self, slot: u32) {
        if let Some(backlog) = &mut self.slab.at_mut(slot).backlog
            && std::mem::take(&mut backlog.holds)
            && !planted(Defect::KeepsTurn)
        {
            self.readers.holding -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hub::event::Event;
    use crate::hub::{
        CloseReason, Gone, HistoryChunk, HistoryError, Input, Now, Outcome, Registration, ShardLimits, Start,
    };

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

    /// A shard with streams that read everything kept and have their heads.
    fn reading(streams: usize) -> (Shard, Vec<SlotId>) {
        let mut shard =
            Shard::sample(ShardLimits { tail_bytes_max: 1_000, write_timeout_ms: 2_000, ..ShardLimits::roomy() });
        let join = |_| shard.join(Registration { start: Start::Earliest, ..Registration::sample() }, NOW);
        let ids: Vec<SlotId> = (0..streams).map(join).collect();
        write(&mut shard, u32::MAX);
        assert!(shard.slice().is_none());
        (shard, ids)
    }

    /// A slice of which every socket takes so many bytes.
    fn write(shard: &mut Shard, bytes: u32) {
        let mut batch = shard.slice().expect("something to write");
        for write in &mut batch.writes {
            write.outcome = Outcome::Sent(bytes.min(write.bytes));
        }
        shard.handle(Input::Sent(batch), NOW);
    }

    fn asked(shard: &mut Shard) -> Vec<SlotId> {
        let outputs = std::iter::from_fn(|| shard.output());
        let asked = outputs.filter_map(|output| match output {
            Output::Read { id, .. } => Some(id),
            _ => None,
        });
        let asked = asked.collect();
        shard.census();
        asked
    }

    fn answer(shard: &mut Shard, id: SlotId, events: Vec<Arc<Event>>) {
        let answer = Ok(HistoryChunk { events, through: 9, forgiven: Gone::default() });
        shard.handle(Input::History(id, answer), NOW);
    }

    fn event() -> Vec<Arc<Event>> {
        vec![Event::sample(5, &["urn:a"], None, 100)]
    }

    #[test]
    fn so_many_read_at_once_and_the_others_follow_in_order() {
        let (mut shard, ids) = reading(8);
        assert_eq!(asked(&mut shard), ids[..READERS_MAX]);
        // Nothing matches, so there is nothing to hold.
        answer(&mut shard, ids[1], vec![]);
        assert_eq!(asked(&mut shard), [ids[3]]);
        // An answer is held until it is written.
        answer(&mut shard, ids[0], event());
        assert_eq!(asked(&mut shard), []);
        write(&mut shard, u32::MAX);
        assert_eq!(asked(&mut shard), [ids[4]]);
    }

    #[test]
    fn who_needs_more_waits_behind_the_others() {
        let (mut shard, ids) = reading(5);
        assert_eq!(asked(&mut shard), ids[..3]);
        // The tail has gone on without what this one needs next.
        let events: Vec<Arc<Event>> = (1..=40).map(|offset| Event::sample(offset, &["urn:b"], None, 100)).collect();
        shard.handle(Input::Events(events.into()), NOW);
        answer(&mut shard, ids[0], event());
        assert_eq!(asked(&mut shard), []);
        write(&mut shard, u32::MAX);
        assert_eq!(asked(&mut shard), [ids[3]]);
        assert!(shard.slice().is_none() && asked(&mut shard).is_empty());
        for (answered, next) in [(ids[1], ids[4]), (ids[2], ids[0])] {
            shard.handle(Input::History(answered, Err(HistoryError::Unreadable)), NOW);
            assert_eq!(asked(&mut shard), [next]);
        }
    }

    #[test]
    fn who_holds_something_and_ends_or_stalls_makes_room() {
        for stalls in [true, false] {
            let (mut shard, ids) = reading(4);
            assert_eq!(asked(&mut shard), ids[..3]);
            answer(&mut shard, ids[0], event());
            assert_eq!(asked(&mut shard), []);
            match stalls {
                true => write(&mut shard, 10),
                false => shard.handle(Input::Gone(ids[0]), NOW),
            }
            assert_eq!(asked(&mut shard), [ids[3]]);
        }
    }

    #[test]
    fn an_answer_that_ends_a_stream_makes_room() {
        for error in [HistoryError::Trimmed, HistoryError::Unreadable] {
            let (mut shard, ids) = reading(4);
            assert_eq!(asked(&mut shard), ids[..3]);
            shard.handle(Input::History(ids[2], Err(error)), NOW);
            assert_eq!(asked(&mut shard), [ids[3]]);
        }
    }

    #[test]
    fn a_question_of_somebody_who_has_gone_takes_its_place_until_it_is_answered() {
        let (mut shard, ids) = reading(6);
        assert_eq!(asked(&mut shard), ids[..3]);
        for gone in [0, 3, 4] {
            shard.handle(Input::Gone(ids[gone]), NOW);
        }
        assert_eq!(asked(&mut shard), []);
        answer(&mut shard, ids[0], event());
        assert_eq!(asked(&mut shard), [ids[5]]);
    }

    #[test]
    fn those_who_wait_for_a_turn_are_not_closed_for_it() {
        let (mut shard, ids) = reading(4);
        for tick in 1..=200 {
            shard.handle(Input::Tick, Now { mono_ms: NOW.mono_ms + tick * 50, ..NOW });
        }
        assert_eq!((shard.live(), shard.counters().closed[CloseReason::Stalled as usize]), (4, 0));
        assert_eq!(asked(&mut shard), ids[..3]);
    }

    #[test]
    fn who_comes_and_goes_leaves_no_queue_behind() {
        let (mut shard, _) = reading(3);
        for _ in 0..1_000 {
            let id = shard.join(Registration { start: Start::Earliest, ..Registration::sample() }, NOW);
            asked(&mut shard);
            write(&mut shard, u32::MAX);
            assert!(shard.slice().is_none());
            shard.handle(Input::Gone(id), NOW);
        }
        assert!(shard.census().turns <= 2 * 4 + STALE_MAX + 1);
    }
}
