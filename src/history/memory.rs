//! History in memory, bounded by bytes, count and age. The events are the ones the shards' tails share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, RwLock};

use super::{ANNOUNCEMENTS_SHARE, Retention};
use crate::hub::{Event, Found, Gone, HistoryError, Located, Locator, Range, Reader};

/// The memory engine.
#[derive(Debug)]
pub struct MemoryHistory {
    updates: Shelf,
    announcements: Shelf,
    age_max_ms: Option<u64>,
    last: u64,
    /// Publishers' ids: id → offsets still stored, ascending. Ids made by the hub need no index.
    ids: HashMap<Box<str>, Offsets>,
    locator: Locator,
}

/// Events of one kind, in log order, with their own bounds.
#[derive(Debug)]
struct Shelf {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    /// The newest offset that has been dropped: a cursor before it lacks something. 0: none.
    dropped: u64,
}

impl Shelf {
    fn new(events_max: usize, bytes_max: usize) -> Shelf {
        Shelf { events: VecDeque::new(), bytes: 0, events_max, bytes_max, dropped: 0 }
    }

    fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.cost_bytes();
        self.events.push_back(event);
    }

    /// Drops the oldest event if it has to go.
    fn pop(&mut self, aged: impl Fn(&Event) -> bool) -> Option<Arc<Event>> {
        let full = self.bytes > self.bytes_max || self.events.len() > self.events_max;
        if !(full || self.events.front().is_some_and(|oldest| aged(oldest))) {
            return None;
        }
        let event = self.events.pop_front()?;
        self.bytes -= event.cost_bytes();
        self.dropped = event.offset;
        Some(event)
    }

    fn shrink(&mut self) {
        if self.events.capacity() > 4096 && self.events.len() < self.events.capacity() / 8 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    fn after(&self, offset: u64) -> impl Iterator<Item = &Arc<Event>> {
        self.events.range(self.events.partition_point(|event| event.offset <= offset)..)
    }
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
        let Retention { events_max, bytes_max, age_max_ms } = retention;
        let share = |part: usize| (part / ANNOUNCEMENTS_SHARE).max(1);
        MemoryHistory {
            updates: Shelf::new(events_max, bytes_max),
            announcements: Shelf::new(share(events_max), share(bytes_max)),
            age_max_ms,
            last: 0,
            ids: HashMap::new(),
            locator,
        }
    }

    /// Appends events in log order and trims what is over the limits.
    pub fn append(&mut self, events: &[Arc<Event>], now_ms: u64) {
        for event in events {
            debug_assert_eq!(event.offset, self.last + 1, "the log is gap-free and in order");
            self.last = event.offset;
            if event.id_given {
                self.index(event.id(), event.offset);
            }
            if event.announcement { &mut self.announcements } else { &mut self.updates }.push(event.clone());
        }
        self.trim(now_ms);
    }

    /// Drops the oldest events until the limits hold.
    pub fn trim(&mut self, now_ms: u64) {
        let age_max_ms = self.age_max_ms;
        let aged = |event: &Event| age_max_ms.is_some_and(|age| event.published_ms.saturating_add(age) <= now_ms);
        while let Some(event) = self.updates.pop(aged) {
            if event.id_given {
                self.unindex(event.id(), event.offset);
            }
        }
        while self.announcements.pop(aged).is_some() {}
        self.announcements.shrink();
        self.updates.shrink();
        if self.ids.capacity() > 4096 && self.ids.len() < self.ids.capacity() / 8 {
            self.ids.shrink_to(self.ids.len() * 2);
        }
    }

    /// What a `Last-Event-ID` names (design §1, "Ids") to somebody who may or may not read announcements.
    pub fn find(&self, id: &str, announcements: bool) -> Found {
        let found = self.find_update(id);
        match found {
            Found::At(offset) if announcements && offset < self.announcements.dropped => Found::Earliest,
            found => found,
        }
    }

    fn find_update(&self, id: &str) -> Found {
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
            Some(Located::Here(offset)) if offset >= self.updates.dropped => Found::At(offset),
            // Of an earlier run: everything this one holds came after it.
            Some(Located::Here(_) | Located::Elsewhere { .. }) => Found::Earliest,
            None => Found::Unknown,
        }
    }

    /// The offset from which on nothing of publishers' has gone, and the newest one.
    pub fn bounds(&self) -> (u64, u64) {
        (self.updates.dropped + 1, self.last)
    }

    /// The newest offsets that have gone: of publishers' events, and of announcements. 0: none.
    pub fn dropped(&self) -> [u64; 2] {
        [self.updates.dropped, self.announcements.dropped]
    }

    /// Bytes of publishers' events and of announcements, each counted against its own limit.
    pub fn bytes(&self) -> [usize; 2] {
        [self.updates.bytes, self.announcements.bytes]
    }

    /// Publishers' events and announcements that are kept.
    pub fn counts(&self) -> [usize; 2] {
        [self.updates.events.len(), self.announcements.events.len()]
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
    fn range(&self, range: Range) -> Result<Vec<Arc<Event>>, HistoryError> {
        let history = self.read().expect("no holder of the history lock panics");
        let Range { after, forgiven, announcements, count } = range;
        let has = forgiven.or_up_to(after);
        if has.updates < history.updates.dropped || announcements && has.announcements < history.announcements.dropped {
            return Err(HistoryError::Trimmed);
        }
        let mut updates = history.updates.after(after).peekable();
        if !announcements || history.announcements.events.is_empty() {
            return Ok(updates.take(count).cloned().collect());
        }
        let mut others = history.announcements.after(after).peekable();
        let in_order = std::iter::from_fn(|| match (updates.peek(), others.peek()) {
            (Some(update), Some(other)) if update.offset > other.offset => others.next(),
            (Some(_), _) => updates.next(),
            (None, _) => others.next(),
        });
        Ok(in_order.take(count).cloned().collect())
    }

    fn last(&self) -> u64 {
        self.read().expect("no holder of the history lock panics").last
    }

    fn dropped(&self) -> Gone {
        let [updates, announcements] = self.read().expect("no holder of the history lock panics").dropped();
        Gone { updates, announcements }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Filter, Log, read};
    use crate::protocol::event_id::IdCipher;
    use crate::protocol::grants::Grants;
    use crate::protocol::matcher::{MatchType, Matcher};
    use crate::protocol::token::{Access, KeyIdentity};
    use crate::protocol::topic::HubUrl;

    const NONE: Gone = Gone { updates: 0, announcements: 0 };

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
        assert_eq!(history.find("again", false), Found::At(1));
        append(&mut history, 4, Some("again"));
        assert_eq!(history.find("again", false), Found::At(2));
        append(&mut history, 5, None);
        assert_eq!(history.find("again", false), Found::At(4));
        append(&mut history, 6, None);
        append(&mut history, 7, None);
        assert_eq!(history.find("again", false), Found::Unknown);
        assert!(history.ids.is_empty());
    }

    #[test]
    fn an_id_of_the_hub_is_found_known_to_be_gone_or_unknown() {
        let mut history = history(2);
        let ids: Vec<String> = (1..=4).map(|offset| append(&mut history, offset, None).id().to_owned()).collect();
        let found: Vec<Found> = ids.iter().map(|id| history.find(id, false)).collect();
        // The second event is gone and nothing that came after it is.
        assert_eq!(found, [Found::Earliest, Found::At(2), Found::At(3), Found::At(4)]);
        let cipher = IdCipher::new([7; 32]);
        let id = |epoch, offset| String::from_utf8(cipher.encode(epoch, offset).to_vec()).unwrap();
        assert_eq!(history.find(&id(1, 5), false), Found::Unknown, "not given yet");
        assert_eq!(history.find(&id(1, 0), false), Found::Unknown, "never given");
        assert_eq!(history.find(&id(0, 900), false), Found::Earliest, "of an earlier epoch");
        assert_eq!(history.find("earliest", false), Found::Earliest);
        assert_eq!(history.find("", false), Found::Unknown);
    }

    #[test]
    fn each_limit_lets_the_oldest_go() {
        let bytes = Event::sample(1, &["urn:a"], None, 10).cost_bytes();
        let mut history = history(100);
        history.updates.bytes_max = 3 * bytes;
        (1..=5).for_each(|offset| drop(append(&mut history, offset, None)));
        assert_eq!((history.bounds(), history.bytes()), ((3, 5), [3 * bytes, 0]));
        history.age_max_ms = Some(1_000);
        history.trim(5_999);
        assert_eq!(history.bounds(), (5, 5), "published at second 5, a second may pass");
        history.trim(6_000);
        assert_eq!((history.bounds(), history.bytes()), ((6, 5), [0, 0]));
        append(&mut history, 6, None);
        assert_eq!(history.bounds(), (6, 6));
    }

    #[test]
    fn a_range_is_gapless_or_says_that_it_cannot_be() {
        let mut history = history(3);
        (1..=6).for_each(|offset| drop(append(&mut history, offset, None)));
        let history = RwLock::new(history);
        let offsets = |after, forgiven, count| {
            let events = history.range(Range { after, forgiven, announcements: false, count })?;
            Ok::<Vec<u64>, HistoryError>(events.iter().map(|event| event.offset).collect())
        };
        assert_eq!(offsets(3, NONE, 2), Ok(vec![4, 5]));
        assert_eq!(offsets(5, NONE, 9), Ok(vec![6]));
        assert_eq!(offsets(6, NONE, 9), Ok(vec![]));
        assert_eq!(offsets(9, NONE, 9), Ok(vec![]));
        assert_eq!(offsets(2, NONE, 9), Err(HistoryError::Trimmed));
        assert_eq!(offsets(0, history.dropped(), 9), Ok(vec![4, 5, 6]));
    }

    /// Appends an announcement of a subscription.
    fn announce(history: &mut MemoryHistory, offset: u64) -> usize {
        let event = Event::sample_announcement(offset, "/.well-known/mercure/subscriptions/exact/a/s");
        history.append(std::slice::from_ref(&event), event.published_ms);
        event.cost_bytes()
    }

    #[test]
    fn announcements_have_a_fifth_and_push_out_nothing_else() {
        let mut history = history(20);
        (1..=3).for_each(|offset| drop(append(&mut history, offset, None)));
        for offset in 4..=1_000 {
            announce(&mut history, offset);
        }
        append(&mut history, 1_001, None);
        assert_eq!(history.counts(), [4, 4]);
        assert_eq!(history.bounds(), (1, 1_001));
        let bytes = announce(&mut history, 1_002);
        history.announcements.bytes_max = 2 * bytes;
        history.trim(0);
        assert_eq!((history.counts(), history.bytes()[1]), ([4, 2], 2 * bytes));
    }

    #[test]
    fn who_reads_announcements_gets_them_in_order_and_is_told_of_those_that_are_gone() {
        let mut history = history(10);
        let ids: Vec<String> = (1..=9)
            .map(|offset| match offset % 2 {
                0 => String::from({
                    announce(&mut history, offset);
                    history.announcements.events.back().unwrap().id()
                }),
                _ => append(&mut history, offset, None).id().to_owned(),
            })
            .collect();
        // Two of four are kept: 6 and 8.
        let find = |at: u64, announcements| history.find(&ids[at as usize - 1], announcements);
        assert_eq!([find(3, false), find(3, true)], [Found::At(3), Found::Earliest]);
        assert_eq!([find(4, false), find(4, true), find(5, true)], [Found::At(4), Found::At(4), Found::At(5)]);
        let history = RwLock::new(history);
        let offsets = |after, forgiven, announcements, count| {
            let events = history.range(Range { after, forgiven, announcements, count })?;
            Ok::<Vec<u64>, HistoryError>(events.iter().map(|event| event.offset).collect())
        };
        assert_eq!(offsets(4, NONE, true, 9), Ok(vec![5, 6, 7, 8, 9]));
        assert_eq!(offsets(4, NONE, true, 2), Ok(vec![5, 6]));
        assert_eq!(offsets(3, NONE, true, 9), Err(HistoryError::Trimmed));
        assert_eq!(offsets(3, history.dropped(), true, 9), Ok(vec![5, 6, 7, 8, 9]));
        assert_eq!(offsets(3, NONE, false, 9), Ok(vec![5, 7, 9]));
    }

    #[test]
    fn a_reader_is_forgiven_what_was_gone_when_it_began_and_nothing_later() {
        let mut history = history(50);
        for offset in 1..=60 {
            if offset % 2 == 0 {
                announce(&mut history, offset);
            } else {
                append(&mut history, offset, None);
            }
        }
        let history = RwLock::new(history);
        let filter = Filter { matchers: vec![Matcher::Any(MatchType::Exact)], access: reader_of_everything() };
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
        let first = read(&history, 0, None, &filter, &hub).unwrap();
        let told = Gone { updates: 0, announcements: 40 };
        assert_eq!((first.through, first.forgiven), (31, told));
        let second = read(&history, first.through, Some(told), &filter, &hub).unwrap();
        assert_eq!((second.events[0].offset, second.forgiven), (33, told));
        assert_eq!(read(&history, first.through, Some(NONE), &filter, &hub).unwrap_err(), HistoryError::Trimmed);
        // An update that was there when the reader was told of announcements after it.
        history.write().unwrap().updates.events_max = 13;
        history.write().unwrap().trim(0);
        assert_eq!(history.dropped(), Gone { updates: 33, announcements: 40 });
        assert_eq!(read(&history, first.through, Some(told), &filter, &hub).unwrap_err(), HistoryError::Trimmed);
        assert!(read(&history, 33, Some(told), &filter, &hub).is_ok());
        // And an announcement.
        history.write().unwrap().announcements.events_max = 9;
        history.write().unwrap().trim(0);
        assert_eq!(read(&history, 33, Some(told), &filter, &hub).unwrap_err(), HistoryError::Trimmed);
    }

    fn reader_of_everything() -> Option<Arc<Access>> {
        let mut grants = Grants::default();
        grants.subscribe = [Matcher::Any(MatchType::Exact)].into_iter().collect();
        Some(Arc::new(Access {
            issuer: "i".into(),
            subject: None,
            token_id: None,
            expires_at_ms: u64::MAX,
            not_before_ms: 0,
            key: KeyIdentity(0),
            grants,
        }))
    }

    #[test]
    fn reading_an_empty_history_from_its_beginning_goes_to_its_end() {
        let mut history = history(0);
        (1..=6).for_each(|offset| drop(append(&mut history, offset, None)));
        let filter = Filter { matchers: vec![Matcher::Any(MatchType::Exact)], access: None };
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
        let chunk = read(&RwLock::new(history), 0, None, &filter, &hub).unwrap();
        assert_eq!((chunk.events.len(), chunk.through), (0, 6));
    }
}
