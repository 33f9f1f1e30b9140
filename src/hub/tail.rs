//! The newest part of the log that a shard keeps in memory, to write from.

use std::collections::VecDeque;
use std::sync::Arc;

use super::defect::{Defect, planted};
use super::event::Event;

#[derive(Debug)]
struct Entry {
    event: Arc<Event>,
    /// Bytes of everything before this event since the shard started: a difference of two is a lag in bytes.
    start: u64,
}

/// A bounded, gap-free run of events up to the shard's head. The events are shared with the other shards.
#[derive(Debug)]
pub(crate) struct Tail {
    entries: VecDeque<Entry>,
    head: u64,
    /// Kept also when it is too large to stay: the next one comes after it.
    newest: Option<Arc<Event>>,
    bytes_end: u64,
    bytes_max: u64,
}

impl Tail {
    pub(crate) fn new(head: u64, bytes_max: usize) -> Tail {
        Tail { entries: VecDeque::new(), head, newest: None, bytes_end: 0, bytes_max: bytes_max as u64 }
    }

    /// Leaves everything and goes on after an offset.
    pub(crate) fn go_on_after(&mut self, head: u64, newest: Option<Arc<Event>>) {
        (self.head, self.newest) = (head, newest);
        self.entries = VecDeque::new();
    }

    /// Newest offset held or, of an empty tail, the one before the next.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Oldest offset that can be read here; `head + 1` when empty.
    pub(crate) fn first(&self) -> u64 {
        self.head + 1 - self.entries.len() as u64
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        assert_eq!(event.offset, self.head + 1, "order: the log is gap-free and in order");
        self.head = event.offset;
        self.newest = Some(event.clone());
        let start = self.bytes_end;
        self.bytes_end += event.cost_bytes() as u64;
        self.entries.push_back(Entry { event, start });
    }

    /// Drops the oldest events until the limit holds, but none newer than `dispatched`: what fan-out has not seen stays.
    pub(crate) fn trim(&mut self, dispatched: u64) {
        while self.bytes() > self.bytes_max && self.first() <= dispatched && !planted(Defect::NeverTrims) {
            self.entries.pop_front();
        }
        if self.entries.capacity() > 4096 && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&Arc<Event>> {
        let index = offset.checked_sub(self.first())?;
        self.entries.get(usize::try_from(index).ok()?).map(|entry| &entry.event)
    }

    pub(crate) fn newest(&self) -> Option<&Event> {
        self.newest.as_deref()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.front().map_or(0, |oldest| self.bytes_end - oldest.start)
    }

    /// Bytes from `offset` (inclusive) to the head; of an offset no longer held, everything.
    pub(crate) fn bytes_since(&self, offset: u64) -> u64 {
        if offset > self.head {
            return 0;
        }
        let index = offset.saturating_sub(self.first()) as usize;
        self.entries.get(index).map_or(0, |entry| self.bytes_end - entry.start)
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(events: u64) -> (Tail, u64) {
        let bytes = Event::sample(1, &["urn:a"], None, 10).cost_bytes() as u64;
        let mut tail = Tail::new(0, 3 * bytes as usize);
        for offset in 1..=events {
            tail.push(Event::sample(offset, &["urn:a"], None, 10));
        }
        (tail, bytes)
    }

    #[test]
    fn the_oldest_events_leave_when_it_is_full() {
        let (mut tail, bytes) = tail(5);
        assert_eq!((tail.first(), tail.head(), tail.bytes()), (1, 5, 5 * bytes));
        tail.trim(5);
        assert_eq!((tail.first(), tail.head(), tail.bytes()), (3, 5, 3 * bytes));
        assert_eq!(tail.get(2).map(|event| event.offset), None);
        assert_eq!(tail.get(3).map(|event| event.offset), Some(3));
        assert_eq!(tail.get(6).map(|event| event.offset), None);
    }

    #[test]
    fn what_was_not_dispatched_stays() {
        let (mut tail, bytes) = tail(6);
        tail.trim(1);
        assert_eq!((tail.first(), tail.bytes()), (2, 5 * bytes));
        tail.trim(0);
        assert_eq!(tail.first(), 2);
    }

    #[test]
    fn an_event_larger_than_the_limit_leaves_it_empty_and_in_place() {
        let mut tail = Tail::new(7, 100);
        tail.push(Event::sample(8, &["urn:a"], None, 10_000));
        tail.trim(8);
        assert_eq!((tail.first(), tail.head(), tail.bytes()), (9, 8, 0));
        tail.push(Event::sample(9, &["urn:a"], None, 1));
        assert_eq!(tail.get(9).map(|event| event.offset), Some(9));
    }

    #[test]
    fn a_lag_is_the_bytes_from_an_offset_on() {
        let (mut tail, bytes) = tail(5);
        tail.trim(5);
        let lags = [6, 5, 4, 3, 2, 1].map(|offset| tail.bytes_since(offset) / bytes);
        assert_eq!(lags, [0, 1, 2, 3, 3, 3]);
    }
}
