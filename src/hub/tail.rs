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
    bytes_end: u64,
    bytes_max: u64,
}

impl Tail {
    pub(crate) fn new(head: u64, bytes_max: usize) -> Tail {
        Tail { entries: VecDeque::new(), head, bytes_end: 0, bytes_max: bytes_max as u64 }
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
        assert_eq!(event.offset, self.head + 1, "the log is gap-free and in order");
        self.head = event.offset;
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
