//! History in memory, bounded by bytes, count and age. The events are the ones the shards' tails share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, RwLock};

use crate::hub::{Event, Found, HistoryError, Located, Locator, Reader};

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Events at most.
    pub events_max: usize,
    /// Bytes at most, frames and topics with their overhead.
    pub bytes_max: usize,
    /// Milliseconds at most; `None`: no limit by age.
    pub age_max_ms: Option<u64>,
}

/// The memory engine.
#[derive(Debug)]
pub struct MemoryHistory {
    retention: Retention,
    events: VecDeque<Arc<Event>>,
    last: u64,
    bytes: usize,
    /// Publishers' ids: id → offsets still stored, ascending. Ids made by the hub need no index.
    ids: HashMap<Box<str>, Offsets>,
    locator: Locator,
}

/// Almost every id is used once.
#[derive(Debug)]
enum Offsets {
    One(u64),
    Several(VecDeque<u64>),
}

impl MemoryHistory {
    /// An empty history of a log whose ids `locator` reads.
    pub fn new(retention: Retention, locator: Locator) -> MemoryHistory {
        MemoryHistory { retention, events: VecDeque::new(), last: 0, bytes: 0, ids: HashMap::new(), locator }
    }

    /// Appends events in log order and trims what is over the limits.
    pub fn append(&mut self, events: &[Arc<Event>], now_ms: u64) {
        for event in events {
            debug_assert_eq!(event.offset, self.last + 1, "the log is gap-free and in order");
            self.last = event.offset;
            self.bytes += event.cost_bytes();
            if event.id_given {
                self.index(event.id(), event.offset);
            }
            self.events.push_back(event.clone());
        }
        self.trim(now_ms);
    }

    /// Drops the oldest events until the limits hold.
    pub fn trim(&mut self, now_ms: u64) {
        while let Some(oldest) = self.events.front() {
            let aged = self.retention.age_max_ms.is_some_and(|age| oldest.published_ms.saturating_add(age) <= now_ms);
            if !aged && self.bytes <= self.retention.bytes_max && self.events.len() <= self.retention.events_max {
                break;
            }
            let Some(event) = self.events.pop_front() else {
                break;
            };
            self.bytes -= event.cost_bytes();
            if event.id_given {
                self.unindex(event.id(), event.offset);
            }
        }
        if self.events.capacity() > 4096 && self.events.len() < self.events.capacity() / 8 {
            self.events.shrink_to(self.events.len() * 2);
            self.ids.shrink_to(self.ids.len() * 2);
        }
    }

    /// What a `Last-Event-ID` names (design §1, "Ids").
    pub fn find(&self, id: &str) -> Found {
        if id == "earliest" {
            return Found::Earliest;
        }
        match self.ids.get(id) {
            Some(Offsets::One(offset)) => return Found::At(*offset),
            Some(Offsets::Several(offsets)) => {
                return offsets.front().map_or(Found::Unknown, |&offset| Found::At(offset));
            }
            None => {}
        }
        match self.locator.locate(id) {
            Some(Located::Here(offset)) if offset == 0 || offset > self.last => Found::Unknown,
            // The event itself may be gone: nothing after it is.
            Some(Located::Here(offset)) if offset + 1 >= self.bounds().0 => Found::At(offset),
            Some(Located::Here(_) | Located::Before) => Found::Earliest,
            None => Found::Unknown,
        }
    }

    /// Oldest offset kept and newest one (`last + 1` and `last` when empty).
    pub fn bounds(&self) -> (u64, u64) {
        (self.last + 1 - self.events.len() as u64, self.last)
    }

    /// Bytes counted against the limit.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn index(&mut self, id: &str, offset: u64) {
        match self.ids.get_mut(id) {
            None => {
                self.ids.insert(id.into(), Offsets::One(offset));
            }
            Some(Offsets::Several(offsets)) => offsets.push_back(offset),
            Some(one) => {
                if let Offsets::One(first) = *one {
                    *one = Offsets::Several(VecDeque::from([first, offset]));
                }
            }
        }
    }

    fn unindex(&mut self, id: &str, offset: u64) {
        let gone = match self.ids.get_mut(id) {
            Some(Offsets::Several(offsets)) => {
                debug_assert_eq!(offsets.front(), Some(&offset), "the oldest use of an id is trimmed first");
                offsets.pop_front();
                offsets.is_empty()
            }
            Some(Offsets::One(_)) => true,
            None => false,
        };
        if gone {
            self.ids.remove(id);
        }
    }
}

impl Reader for RwLock<MemoryHistory> {
    fn range(&self, after: u64, from_earliest: bool, count: usize) -> Result<Vec<Arc<Event>>, HistoryError> {
        let history = self.read().expect("no holder of the history lock panics");
        let (first, last) = history.bounds();
        let next = match after + 1 {
            next if next >= first => next,
            _ if from_earliest => first,
            _ => return Err(HistoryError::Trimmed),
        };
        if next > last {
            return Ok(Vec::new());
        }
        Ok(history.events.range((next - first) as usize..).take(count).cloned().collect())
    }

    fn last(&self) -> u64 {
        self.read().expect("no holder of the history lock panics").last
    }
}
