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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Filter, Log, read};
    use crate::protocol::event_id::IdCipher;
    use crate::protocol::matcher::{MatchType, Matcher};
    use crate::protocol::topic::HubUrl;

    fn history(events_max: usize) -> MemoryHistory {
        let retention = Retention { events_max, bytes_max: 1 << 20, age_max_ms: None };
        let cipher = IdCipher::new([7; 32]);
        MemoryHistory::new(retention, Log::new(1, 0, cipher).locator())
    }

    fn append(history: &mut MemoryHistory, offset: u64, id: Option<&str>) -> Arc<Event> {
        let event = Event::sample(offset, &["urn:a"], id, 10);
        history.append(std::slice::from_ref(&event), event.published_ms);
        event
    }

    #[test]
    fn an_id_used_twice_names_the_earliest_use_still_stored() {
        let mut history = history(3);
        append(&mut history, 1, Some("again"));
        append(&mut history, 2, Some("again"));
        append(&mut history, 3, None);
        assert_eq!(history.find("again"), Found::At(1));
        append(&mut history, 4, Some("again"));
        assert_eq!(history.find("again"), Found::At(2));
        append(&mut history, 5, None);
        assert_eq!(history.find("again"), Found::At(4));
        append(&mut history, 6, None);
        append(&mut history, 7, None);
        assert_eq!(history.find("again"), Found::Unknown);
        assert!(history.ids.is_empty());
    }

    #[test]
    fn an_id_of_the_hub_is_found_known_to_be_gone_or_unknown() {
        let mut history = history(2);
        let ids: Vec<String> = (1..=4).map(|offset| append(&mut history, offset, None).id().to_owned()).collect();
        let found: Vec<Found> = ids.iter().map(|id| history.find(id)).collect();
        // The second event is gone and nothing that came after it is.
        assert_eq!(found, [Found::Earliest, Found::At(2), Found::At(3), Found::At(4)]);
        let cipher = IdCipher::new([7; 32]);
        let id = |epoch, offset| String::from_utf8(cipher.encode(epoch, offset).to_vec()).unwrap();
        assert_eq!(history.find(&id(1, 5)), Found::Unknown, "not given yet");
        assert_eq!(history.find(&id(1, 0)), Found::Unknown, "never given");
        assert_eq!(history.find(&id(0, 900)), Found::Earliest, "of an earlier epoch");
        assert_eq!(history.find("earliest"), Found::Earliest);
        assert_eq!(history.find(""), Found::Unknown);
    }

    #[test]
    fn each_limit_lets_the_oldest_go() {
        let bytes = Event::sample(1, &["urn:a"], None, 10).cost_bytes();
        let mut history = history(100);
        history.retention.bytes_max = 3 * bytes;
        (1..=5).for_each(|offset| drop(append(&mut history, offset, None)));
        assert_eq!((history.bounds(), history.bytes()), ((3, 5), 3 * bytes));
        history.retention.age_max_ms = Some(1_000);
        history.trim(5_999);
        assert_eq!(history.bounds(), (5, 5), "published at second 5, a second may pass");
        history.trim(6_000);
        assert_eq!((history.bounds(), history.bytes()), ((6, 5), 0));
        append(&mut history, 6, None);
        assert_eq!(history.bounds(), (6, 6));
    }

    #[test]
    fn a_range_is_gapless_or_says_that_it_cannot_be() {
        let mut history = history(3);
        (1..=6).for_each(|offset| drop(append(&mut history, offset, None)));
        let history = RwLock::new(history);
        let offsets = |after, from_earliest, count| {
            let events = history.range(after, from_earliest, count)?;
            Ok::<Vec<u64>, HistoryError>(events.iter().map(|event| event.offset).collect())
        };
        assert_eq!(offsets(3, false, 2), Ok(vec![4, 5]));
        assert_eq!(offsets(5, false, 9), Ok(vec![6]));
        assert_eq!(offsets(6, false, 9), Ok(vec![]));
        assert_eq!(offsets(9, false, 9), Ok(vec![]));
        assert_eq!(offsets(2, false, 9), Err(HistoryError::Trimmed));
        assert_eq!(offsets(0, true, 9), Ok(vec![4, 5, 6]));
    }

    #[test]
    fn reading_an_empty_history_from_its_beginning_goes_to_its_end() {
        let mut history = history(0);
        (1..=6).for_each(|offset| drop(append(&mut history, offset, None)));
        let filter = Filter { matchers: vec![Matcher::Any(MatchType::Exact)], access: None };
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
        let chunk = read(&RwLock::new(history), 0, true, &filter, &hub).unwrap();
        assert_eq!((chunk.events.len(), chunk.through), (0, 6));
    }
}
