//! Streams ended one by one before the hub stops, so that their clients don't come back all at once.
//!
//! The slots of the slab are visited in a random order, evenly over the window, in bounded pieces like other sweeps. The order is a
//! bijection of slot numbers: no list has to be made of who there is, and none kept. Who isn't up to date yet is passed over, and left to
//! [`Input::Stop`](super::Input::Stop), before which what is owed is waited for.

use super::revoke::{END_NS, LOOK_NS, PIECE_NS};
use super::stop::ENDINGS_MAX;
use super::{Now, Shard};
use crate::hub::budget::Budget;
use crate::hub::subscriber::{CloseReason, State};
use crate::protocol::last_words::last_words;

/// How streams are to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The ends are spread over so many milliseconds, and the times after which clients are told to come back over as many; 0: all end at
    /// once, and nobody is told anything.
    pub window_ms: u64,
    /// The shortest time any of them is told.
    pub retry_least_ms: u64,
    /// What the order and those times are drawn from.
    pub random: u64,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drainage {
    drain: Drain,
    began_ms: u64,
    /// Streams are ended that have everything up to here.
    head: u64,
    /// There are two to the power of this many places in the order.
    bits: u32,
    /// The next place, and the first one whose time hasn't come.
    next: u64,
    due: u64,
}

impl Drainage {
    /// Time has passed: more streams may be due.
    pub(super) fn go_on(&mut self, now: Now) {
        let passed_ms = now.mono_ms.saturating_sub(self.began_ms).min(self.drain.window_ms);
        let places = u128::from(self.places()) * u128::from(passed_ms) / u128::from(self.drain.window_ms.max(1));
        self.due = self.due.max(places as u64);
    }

    /// Whether streams are due that haven't been ended.
    pub(super) fn is_late(&self) -> bool {
        self.next < self.due
    }

    fn places(&self) -> u64 {
        1 << self.bits
    }

    /// The slot at a place of the order. Adding, multiplying by something odd and shifting onto itself are bijections of numbers of so
    /// many bits, and so is what they make together.
    fn slot_at(&self, place: u64) -> u64 {
        let mask = self.places() - 1;
        (0..3).fold(place, |place, round| {
            let key = mixed(self.drain.random.wrapping_add(round));
            let place = place.wrapping_add(key >> 32).wrapping_mul(key | 1) & mask;
            place ^ place >> self.bits.div_ceil(2)
        })
    }
}

/// SplitMix64's finish: each bit of a number reaches all of the other.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

impl Shard {
    /// From now on whoever registers is ended at once, and those who are there within the window.
    pub(super) fn begin_drain(&mut self, drain: Drain, now: Now) {
        self.stopping = true;
        // A slot that is added later is of somebody who comes later.
        let bits = self.slab.capacity().next_power_of_two().trailing_zeros();
        let head = self.tail.head();
        let drainage = Drainage { drain, began_ms: now.mono_ms, head, bits, next: 0, due: 0 };
        self.drainage = Some(drainage).filter(|_| drain.window_ms > 0);
    }

    /// No more streams end one by one. What they are told stays.
    pub(super) fn end_drain(&mut self) {
        if let Some(drainage) = &mut self.drainage {
            (drainage.next, drainage.due) = (drainage.places(), drainage.places());
        }
    }

    /// A bounded piece of what is due.
    pub(super) fn sweep_drained(&mut self, now: Now) {
        let Some(mut drainage) = self.drainage else {
            return;
        };
        let mut budget = Budget::new(PIECE_NS);
        while drainage.is_late() && !budget.is_spent() && self.endings.len() < ENDINGS_MAX {
            budget.spend(LOOK_NS);
            let slot = drainage.slot_at(drainage.next) as u32;
            drainage.next += 1;
            let current = self.slab.get(slot).is_some_and(|subscriber| subscriber.state == State::Current);
            if current && self.has_everything_to(slot) >= drainage.head {
                budget.spend(END_NS);
                self.close(slot, CloseReason::Stopping, now);
            }
        }
        self.drainage = Some(drainage);
    }

    /// What a stream is told before it ends: when to come back, which is another time for each.
    pub(super) fn last_words(&self, slot: u32) -> Option<Box<[u8]>> {
        let drain = self.drainage.as_ref()?.drain;
        let subscriber = self.slab.at(slot);
        let drawn = mixed(drain.random ^ mixed(u64::from(slot) << 32 | u64::from(subscriber.generation)));
        let retry_ms = drain.retry_least_ms + drawn % (drain.window_ms + 1);
        Some(last_words(subscriber.form(), retry_ms))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;
    use crate::hub::{Event, Input, Outcome, Part, Registration, ShardLimits, TICK_MS};
    use crate::protocol::event_stream::Decoder;

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
    const DRAIN: Drain = Drain { window_ms: 2_000, retry_least_ms: 500, random: 7 };

    fn later(ms: u64) -> Now {
        Now { mono_ms: NOW.mono_ms + ms, ..NOW }
    }

    /// A shard with so many streams that have their heads.
    fn crowd(streams: usize) -> Shard {
        let mut shard = Shard::sample(ShardLimits::roomy());
        for _ in 0..streams {
            shard.join(Registration { chunked: false, ..Registration::sample() }, NOW);
        }
        write_all(&mut shard, NOW, &mut |_, _| {});
        shard
    }

    /// Carries out everything that is to be written, as slot and bytes.
    fn write_all(shard: &mut Shard, now: Now, written: &mut impl FnMut(u32, Vec<u8>)) {
        while let Some(mut batch) = shard.slice() {
            for write in &batch.writes {
                let bytes = batch.parts(write).iter().flat_map(|&part| shard.pieces(write, part).concat()).collect();
                written(write.slot, bytes);
            }
            batch.writes.iter_mut().for_each(|write| write.outcome = Outcome::Sent(write.bytes));
            shard.handle(Input::Sent(batch), now);
            while shard.output().is_some() {}
        }
    }

    fn ended(shard: &Shard) -> u64 {
        shard.counters().closed[CloseReason::Stopping as usize]
    }

    fn retry_ms(bytes: &[u8]) -> u64 {
        let mut decoder = Decoder::new(1_000);
        decoder.push(bytes, &mut |event| panic!("an event: {event:?}")).unwrap();
        decoder.retry_ms().expect("it is told when to come back")
    }

    #[test]
    fn every_slot_has_one_place_in_the_order_which_differs_from_time_to_time() {
        let mut orders = BTreeSet::new();
        for random in 0..20 {
            for bits in [0, 1, 2, 3, 10, 13] {
                let drain = Drain { random, ..DRAIN };
                let drainage = Drainage { drain, began_ms: 0, head: 0, bits, next: 0, due: 0 };
                let order: Vec<u64> = (0..drainage.places()).map(|place| drainage.slot_at(place)).collect();
                let slots: BTreeSet<u64> = order.iter().copied().collect();
                assert_eq!(slots, (0..drainage.places()).collect(), "{random} {bits}");
                if bits == 13 {
                    let neighbours = order.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 64).count();
                    assert!(neighbours < 400, "{neighbours} of 8191 steps lead to a neighbour");
                    orders.insert(order);
                }
            }
        }
        assert_eq!(orders.len(), 20);
    }

    #[test]
    fn streams_end_evenly_over_the_window_each_with_its_own_time_to_come_back() {
        let mut shard = crowd(3_000);
        shard.handle(Input::Drain(DRAIN), NOW);
        let (mut told, mut before) = (HashMap::new(), 0);
        for tick in 0..=DRAIN.window_ms / TICK_MS {
            let now = later(tick * TICK_MS);
            shard.handle(Input::Tick, now);
            let mut turns = 0;
            while shard.busy() {
                let so_far = ended(&shard);
                shard.errand(now);
                assert!((ended(&shard) - so_far) * END_NS <= PIECE_NS + END_NS, "a turn is bounded");
                while shard.output().is_some() {}
                write_all(&mut shard, now, &mut |slot, bytes| {
                    assert!(told.insert(slot, retry_ms(&bytes)).is_none(), "{slot} is told twice");
                });
                turns += 1;
            }
            let now_ended = ended(&shard);
            // 75 on average.
            assert!(tick == 0 || (30..150).contains(&(now_ended - before)), "{} at tick {tick}", now_ended - before);
            assert!(turns < 20, "{turns}");
            before = now_ended;
        }
        assert_eq!((ended(&shard), told.len()), (3_000, 3_000));
        assert!(told.values().all(|retry_ms| (500..=2_500).contains(retry_ms)));
        let differ: BTreeSet<u64> = told.values().copied().collect();
        assert!(differ.len() > 1_000, "{} different times", differ.len());
        let early = told.values().filter(|&&retry_ms| retry_ms < 1_500).count();
        assert!((1_300..1_700).contains(&early), "{early} of 3000 come back in the first half");
    }

    #[test]
    fn who_is_still_there_gets_what_is_published_meanwhile() {
        let mut shard = crowd(1_000);
        shard.handle(Input::Drain(DRAIN), NOW);
        shard.handle(Input::Tick, later(1_000));
        for _ in 0..50 {
            shard.errand(later(1_000));
            while shard.output().is_some() {}
            write_all(&mut shard, later(1_000), &mut |_, _| {});
        }
        let (gone, before) = (ended(&shard), shard.counters().deliveries);
        assert!((300..700).contains(&gone), "{gone}");
        shard.handle(Input::Events([Event::sample(1, &["urn:a"], None, 10)].into()), later(1_000));
        write_all(&mut shard, later(1_000), &mut |_, _| {});
        assert_eq!(shard.counters().deliveries - before, 1_000 - gone);
    }

    #[test]
    fn who_lacks_something_from_before_or_is_behind_is_left_to_the_stop() {
        let mut shard = crowd(10);
        shard.handle(Input::Events([Event::sample(1, &["urn:a"], None, 10)].into()), NOW);
        let mut batch = shard.slice().expect("the event");
        for (index, write) in batch.writes.iter_mut().enumerate() {
            write.outcome = Outcome::Sent(if index < 4 { 3 } else { write.bytes });
        }
        shard.handle(Input::Sent(batch), NOW);
        // Not dispatched when the drain begins.
        shard.handle(Input::Events([Event::sample(2, &["urn:a"], None, 10)].into()), NOW);
        shard.handle(Input::Drain(DRAIN), NOW);
        shard.handle(Input::Tick, later(DRAIN.window_ms));
        shard.errand(later(DRAIN.window_ms));
        assert_eq!(ended(&shard), 0);
        shard.handle(Input::Stop, later(DRAIN.window_ms));
        shard.errand(later(DRAIN.window_ms));
        assert_eq!(ended(&shard), 10);
    }

    #[test]
    fn the_stop_tells_those_who_are_left_when_to_come_back_and_who_comes_late_too() {
        let mut shard = crowd(5);
        shard.handle(Input::Drain(DRAIN), NOW);
        let late = shard.join(Registration::sample(), NOW);
        shard.handle(Input::Stop, NOW);
        shard.errand(NOW);
        let mut told = Vec::new();
        while let Some(mut batch) = shard.slice() {
            for write in &mut batch.writes {
                write.outcome = Outcome::Sent(write.bytes);
            }
            for write in &batch.writes {
                let parts = batch.parts(write);
                let bytes: Vec<u8> = parts.iter().flat_map(|&part| shard.pieces(write, part).concat()).collect();
                if write.slot == late.slot {
                    assert!(bytes.starts_with(b"head") && parts.contains(&Part::LastChunk));
                    assert!(String::from_utf8_lossy(&bytes).contains("retry: "), "{bytes:?}");
                } else {
                    told.push(retry_ms(&bytes));
                }
            }
            shard.handle(Input::Sent(batch), NOW);
            while shard.output().is_some() {}
        }
        assert_eq!((told.len(), ended(&shard)), (5, 6));
    }

    #[test]
    fn without_a_window_nobody_is_told_anything_and_all_are_left_to_the_stop() {
        let mut shard = crowd(5);
        shard.handle(Input::Drain(Drain { window_ms: 0, ..DRAIN }), NOW);
        shard.handle(Input::Tick, later(1_000));
        shard.errand(later(1_000));
        assert_eq!(ended(&shard), 0);
        shard.handle(Input::Stop, NOW);
        shard.errand(NOW);
        while shard.output().is_some() {}
        write_all(&mut shard, NOW, &mut |_, bytes| panic!("{bytes:?}"));
        assert_eq!(ended(&shard), 5);
    }
}
