//! Events whose fan-out is under way, timed: from the publish to the first byte written to anybody on this shard, and to
//! the last byte of the last subscriber that takes what it is sent.
//!
//! It costs something per event, next to nothing per delivery: a comparison. Events nobody on the shard reads aren't
//! timed, nor are those that come while as many as may be are under way already.

use std::collections::VecDeque;

use super::histogram::Times;

/// Events timed at once.
const TIMED_EVENTS_MAX: usize = 1 << 16;

/// How long publishes took, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// From the publish to the first byte to anybody.
    pub first_byte: Times,
    /// From the publish to the last byte of the fan-out. Subscribers that fall behind aren't waited for.
    pub last_byte: Times,
}

#[derive(Debug)]
struct Entry {
    offset: u64,
    received_us: u64,
    /// Selectors on which it is still pending.
    selectors: u32,
    begun: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Flight {
    /// In log order, not all events among them.
    entries: VecDeque<Entry>,
    /// No event below has still to be begun.
    unbegun: u64,
    /// Publish times of those begun and those done with in the batch being made.
    begun: Vec<u64>,
    done: Vec<u64>,
    last_sent_us: u64,
    pub(crate) latencies: Latencies,
}

impl Default for Flight {
    fn default() -> Flight {
        Flight {
            entries: VecDeque::new(),
            unbegun: u64::MAX,
            begun: Vec::new(),
            done: Vec::new(),
            last_sent_us: 0,
            latencies: Latencies::default(),
        }
    }
}

impl Flight {
    /// An event was handed to fan-out and hangs on so many selectors.
    pub(crate) fn take_off(&mut self, offset: u64, received_us: u64, selectors: usize) {
        // Events that were never given a time (0) come from elsewhere.
        if selectors == 0 || received_us == 0 || self.entries.len() >= TIMED_EVENTS_MAX {
            return;
        }
        debug_assert!(self.entries.back().is_none_or(|last| last.offset < offset), "dispatch goes in log order");
        self.entries.push_back(Entry { offset, received_us, selectors: selectors as u32, begun: false });
        self.unbegun = self.unbegun.min(offset);
    }

    /// An event is part of a write of the batch being made.
    pub(crate) fn written(&mut self, offset: u64) {
        if offset >= self.unbegun {
            self.begin(offset);
        }
    }

    #[cold]
    fn begin(&mut self, offset: u64) {
        let Some(at) = self.find(offset) else {
            return;
        };
        let entry = &mut self.entries[at];
        if !std::mem::replace(&mut entry.begun, true) {
            self.begun.push(entry.received_us);
        }
        if offset == self.unbegun {
            self.look_on(at);
        }
    }

    /// The next event that has still to be begun, from a place on.
    fn look_on(&mut self, at: usize) {
        let next = self.entries.range(at..).find(|entry| !entry.begun && entry.selectors > 0);
        self.unbegun = next.map_or(u64::MAX, |entry| entry.offset);
    }

    /// Every member of one of its selectors has been visited, or none is left.
    pub(crate) fn unhang(&mut self, offset: u64) {
        let Some(at) = self.find(offset) else {
            return;
        };
        let entry = &mut self.entries[at];
        entry.selectors = entry.selectors.saturating_sub(1);
        if entry.selectors > 0 {
            return;
        }
        if entry.begun {
            self.done.push(entry.received_us);
        }
        if offset == self.unbegun {
            self.look_on(at);
        }
        while self.entries.front().is_some_and(|entry| entry.selectors == 0) {
            self.entries.pop_front();
        }
    }

    /// The batch has been carried out, at this time; 0: nobody looked at the clock.
    pub(crate) fn land(&mut self, sent_us: u64) {
        self.last_sent_us = sent_us;
        for received_us in self.begun.drain(..) {
            self.latencies.first_byte.record(sent_us.saturating_sub(received_us));
        }
        self.land_done();
    }

    /// There was nothing to write: what is done with was written before.
    pub(crate) fn land_done(&mut self) {
        for received_us in self.done.drain(..) {
            self.latencies.last_byte.record(self.last_sent_us.saturating_sub(received_us));
        }
    }

    fn find(&self, offset: u64) -> Option<usize> {
        // Mostly it is the oldest one.
        if self.entries.front()?.offset == offset {
            return Some(0);
        }
        self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(flight: &Flight) -> (u64, u64) {
        (flight.latencies.first_byte.count(), flight.latencies.last_byte.count())
    }

    #[test]
    fn an_event_is_timed_from_its_publish_to_the_first_and_the_last_byte() {
        let mut flight = Flight::default();
        flight.take_off(1, 1_000, 2);
        flight.written(1);
        flight.written(1);
        flight.land(1_400);
        assert_eq!((counts(&flight), flight.latencies.first_byte.sum()), ((1, 0), 400));
        flight.unhang(1);
        flight.land(1_500);
        assert_eq!(counts(&flight), (1, 0), "it is pending on another selector");
        flight.written(1);
        flight.unhang(1);
        flight.land(3_000);
        assert_eq!((counts(&flight), flight.latencies.last_byte.sum()), ((1, 1), 2_000));
        assert!(flight.entries.is_empty());
    }

    #[test]
    fn a_pass_that_ends_without_a_write_ended_with_the_last_one() {
        let mut flight = Flight::default();
        flight.take_off(1, 1_000, 1);
        flight.written(1);
        flight.land(1_700);
        flight.unhang(1);
        flight.land_done();
        assert_eq!((counts(&flight), flight.latencies.last_byte.sum()), ((1, 1), 700));
    }

    #[test]
    fn events_without_readers_count_nothing() {
        let mut flight = Flight::default();
        flight.take_off(1, 1_000, 0);
        flight.take_off(2, 1_000, 1);
        flight.take_off(3, 0, 1);
        // Private, and nobody may read it.
        flight.unhang(2);
        flight.land(5_000);
        assert_eq!((counts(&flight), flight.unbegun), ((0, 0), u64::MAX));
    }

    #[test]
    fn a_small_event_overtakes_a_broadcast_and_both_are_timed() {
        let mut flight = Flight::default();
        flight.take_off(1, 1_000, 1);
        flight.take_off(3, 2_000, 1);
        flight.written(3);
        flight.unhang(3);
        flight.land(2_100);
        assert_eq!((counts(&flight), flight.unbegun, flight.entries.len()), ((1, 1), 1, 2));
        flight.written(1);
        flight.unhang(1);
        flight.land(9_000);
        assert_eq!((counts(&flight), flight.unbegun, flight.entries.len()), ((2, 2), u64::MAX, 0));
    }

    #[test]
    fn what_is_timed_at_once_is_bounded() {
        let mut flight = Flight::default();
        let events = TIMED_EVENTS_MAX as u64 + 100;
        (1..=events).for_each(|offset| flight.take_off(offset, 1, 1));
        assert_eq!(flight.entries.len(), TIMED_EVENTS_MAX);
        for offset in 1..=events {
            flight.written(offset);
            flight.unhang(offset);
        }
        flight.land(10);
        assert_eq!((counts(&flight).1, flight.entries.len()), (TIMED_EVENTS_MAX as u64, 0));
    }
}
