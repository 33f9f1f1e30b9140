//! The end of all streams when the hub stops, in bounded pieces like other sweeps: those not yet ended go on meanwhile.

use super::revoke::{END_NS, LOOK_NS, PIECE_NS};
use super::{Now, Shard};
use crate::hub::budget::Budget;
use crate::hub::subscriber::{CloseReason, State};

/// Ends that may wait to be written. A stream has a second for its end from when it is closed, so that no more are closed than
/// can be told by then.
pub(super) const ENDINGS_MAX: usize = 4_096;

impl Shard {
    /// From now on whoever registers is ended at once, and those who are there by and by.
    pub(super) fn begin_stop(&mut self) {
        self.stopping = true;
        self.end_drain();
        self.stop_at = Some(0);
    }

    /// A bounded piece of the sweep that ends everybody. Where it has been nobody is left: who registers later is ended
    /// as it comes.
    pub(super) fn sweep_stopped(&mut self, now: Now) {
        if let Some(slot) = self.stop_at {
            self.stop_at = self.end_from(slot, CloseReason::Stopping, now);
        }
    }

    /// Ends a bounded number of streams, in the order of their slots. Where the next piece begins, if it wasn't the last.
    pub(super) fn end_from(&mut self, mut slot: usize, reason: CloseReason, now: Now) -> Option<usize> {
        let mut budget = Budget::new(PIECE_NS);
        while slot < self.slab.capacity() && !budget.is_spent() && self.endings.len() < ENDINGS_MAX {
            budget.spend(LOOK_NS);
            if matches!(self.slab.at(slot as u32).state, State::Current | State::Behind) {
                budget.spend(END_NS);
                self.close(slot as u32, reason, now);
            }
            slot += 1;
        }
        (slot < self.slab.capacity()).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Input, Registration, ShardLimits};

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

    fn ended(shard: &Shard) -> u64 {
        shard.counters().closed[CloseReason::Stopping as usize]
    }

    /// Seen: however many streams there were, all were ended in one turn.
    #[test]
    fn a_stop_ends_a_bounded_number_of_streams_per_turn() {
        let mut shard = Shard::sample(ShardLimits::roomy());
        for _ in 0..1_000 {
            shard.join(Registration::sample(), NOW);
        }
        shard.handle(Input::Stop, NOW);
        let (mut before, mut turns) = (0, 0);
        while shard.stop_at.is_some() {
            assert!(shard.busy());
            shard.errand(NOW);
            let after = ended(&shard);
            assert!((after - before) * END_NS <= PIECE_NS + END_NS, "{after} after {before}");
            (before, turns) = (after, turns + 1);
        }
        assert_eq!((before, turns >= 4), (1_000, true));
    }

    #[test]
    fn who_comes_while_a_stop_is_under_way_is_ended_too_and_each_is_counted_once() {
        let mut shard = Shard::sample(ShardLimits::roomy());
        let first = shard.join(Registration::sample(), NOW);
        for _ in 0..500 {
            shard.join(Registration::sample(), NOW);
        }
        shard.handle(Input::Stop, NOW);
        shard.errand(NOW);
        shard.handle(Input::Gone(first), NOW);
        for _ in 0..10 {
            // One of them takes the slot that was passed already.
            shard.join(Registration::sample(), NOW);
        }
        for _ in 0..100 {
            shard.errand(NOW);
        }
        assert_eq!((ended(&shard), shard.stop_at), (511, None));
    }
}
