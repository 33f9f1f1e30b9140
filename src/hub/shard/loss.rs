//! The log isn't what it was: a cluster's engine has lost events or holds another log. Nobody may read on as if nothing had happened.

use std::sync::Arc;

use super::{Now, Shard};
use crate::hub::event::Event;
use crate::hub::flight::Flight;
use crate::hub::selector::Resolution;
use crate::hub::subscriber::CloseReason;

impl Shard {
    /// From now on nothing is fanned out, and every stream is ended by and by: none of them has a place in the log any more. What hasn't been
    /// written of the old log isn't written. Who registers meanwhile is ended as it comes. Then it goes on after `head`.
    pub(super) fn lose_log(&mut self, head: u64, newest: Option<Arc<Event>>) {
        let latencies = self.flight.latencies;
        self.resolution = Resolution::default();
        self.resolved.clear();
        self.flight = Flight::default();
        self.flight.latencies = latencies;
        self.tail.go_on_after(head, newest);
        self.dispatched = head;
        self.lost_at = Some(0);
    }

    /// A bounded piece of the sweep that ends the streams of a lost log.
    pub(super) fn sweep_lost(&mut self, now: Now) {
        if let Some(slot) = self.lost_at {
            self.lost_at = self.end_from(slot, CloseReason::LogLost, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::shard::revoke::{END_NS, PIECE_NS};
    use crate::hub::{Input, Outcome, Registration, ShardLimits};

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

    fn events(offsets: std::ops::RangeInclusive<u64>) -> Input {
        Input::Events(offsets.map(|offset| Event::sample(offset, &["urn:a"], None, 10)).collect())
    }

    fn ended(shard: &Shard) -> u64 {
        shard.counters().closed[CloseReason::LogLost as usize]
    }

    /// Carries out everything; how many bytes were written.
    fn write_all(shard: &mut Shard) -> u64 {
        let mut bytes = 0;
        while shard.busy() {
            shard.errand(NOW);
            while shard.output().is_some() {}
            if let Some(mut batch) = shard.slice() {
                for write in &mut batch.writes {
                    bytes += u64::from(write.bytes);
                    write.outcome = Outcome::Sent(write.bytes);
                }
                shard.handle(Input::Sent(batch), NOW);
            }
            while shard.output().is_some() {}
        }
        bytes
    }

    #[test]
    fn every_stream_is_ended_and_the_shard_goes_on_with_the_other_log() {
        let mut shard = Shard::sample(ShardLimits::roomy());
        for _ in 0..100 {
            shard.join(Registration::sample(), NOW);
        }
        write_all(&mut shard);
        // Some of it is under way when the loss is noticed.
        shard.handle(events(1..=50), NOW);
        let batch = shard.slice();
        if let Some(mut batch) = batch {
            batch.writes.iter_mut().for_each(|write| write.outcome = Outcome::Sent(write.bytes / 2));
            shard.handle(Input::Sent(batch), NOW);
        }
        shard.handle(Input::LogLost(7, None), NOW);
        assert_eq!((shard.head(), shard.undispatched(), shard.newest().is_none()), (7, 0, true));
        write_all(&mut shard);
        assert_eq!(ended(&shard), 100);
        shard.join(Registration::sample(), NOW);
        write_all(&mut shard);
        shard.handle(events(8..=9), NOW);
        let before = shard.counters().deliveries;
        assert!(write_all(&mut shard) > 0);
        assert_eq!(shard.counters().deliveries - before, 2);
    }

    #[test]
    fn a_lost_log_ends_a_bounded_number_of_streams_per_turn_and_nobody_receives_anything_meanwhile() {
        let mut shard = Shard::sample(ShardLimits::roomy());
        for _ in 0..1_000 {
            shard.join(Registration::sample(), NOW);
        }
        write_all(&mut shard);
        let before = shard.counters().deliveries;
        shard.handle(Input::LogLost(7, None), NOW);
        shard.handle(events(8..=9), NOW);
        let (mut so_far, mut turns) = (0, 0);
        while shard.lost_at.is_some() {
            shard.errand(NOW);
            assert!((ended(&shard) - so_far) * END_NS <= PIECE_NS + END_NS);
            (so_far, turns) = (ended(&shard), turns + 1);
            while shard.output().is_some() {}
            if shard.lost_at.is_some() {
                // One of them takes a slot that was passed already.
                shard.join(Registration::sample(), NOW);
                assert_eq!(ended(&shard), so_far + 1);
                so_far += 1;
            }
            if let Some(mut batch) = shard.slice() {
                batch.writes.iter_mut().for_each(|write| write.outcome = Outcome::Sent(write.bytes));
                shard.handle(Input::Sent(batch), NOW);
                while shard.output().is_some() {}
            }
        }
        assert!(turns >= 4, "{turns} turns");
        shard.join(Registration::sample(), NOW);
        write_all(&mut shard);
        assert_eq!((shard.counters().deliveries - before, shard.undispatched()), (0, 0));
        shard.handle(events(10..=10), NOW);
        write_all(&mut shard);
        assert_eq!(shard.counters().deliveries - before, 1);
    }
}
