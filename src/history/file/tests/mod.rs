//! The engine on a folder in memory that can be looked at, broken, and lose what was not synced.

mod crash;
mod engine;
mod faults;
mod folder;
mod tools;
mod walk;

use std::sync::Arc;

use self::folder::Folder;
use super::*;
use crate::hub::{Draft, Log};
use crate::protocol::topic::Topic;
use crate::protocol::update::Update;

/// SplitMix64: what varies from seed to seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

fn options(events_max: usize, bytes_max: usize, age_max_ms: Option<u64>) -> FileOptions {
    let retention = Retention { events_max, bytes_max, age_max_ms };
    FileOptions { retention, durability: Durability::Fsync, codings: Codings::default() }
}

fn cipher() -> IdCipher {
    IdCipher::new([7; 32])
}

/// An opened folder and what a sequencer does with it.
struct Hub {
    log: Log,
    writer: FileWriter<Folder>,
    history: FileHistory<Folder>,
    newest: Option<Arc<Event>>,
}

impl Hub {
    fn open(folder: &Folder, options: FileOptions) -> Hub {
        Hub::try_open(folder, options).expect("the folder can be opened")
    }

    fn try_open(folder: &Folder, options: FileOptions) -> Result<Hub, OpenError> {
        let Opened { writer, history, log, newest } = FileHistory::open(folder.clone(), options, cipher(), [1, 2, 3])?;
        Ok(Hub { log, writer, history, newest })
    }

    /// Commits drafts; those that weren't appended get no place.
    fn commit(&mut self, drafts: Vec<Draft>, now_ms: u64) -> (Vec<Arc<Event>>, Result<(), AppendError>) {
        let mut events: Vec<Arc<Event>> = drafts.into_iter().map(|draft| self.log.append(draft, now_ms)).collect();
        let (appended, result) = self.writer.append(&events, now_ms);
        let after = self.log.head() - events.len() as u64;
        self.log.retract(after + appended as u64);
        events.truncate(appended);
        (events, result)
    }

    fn publish(&mut self, id: Option<&str>, now_ms: u64) -> Arc<Event> {
        let (mut events, result) = self.commit(vec![draft(id, 20)], now_ms);
        result.expect("it is appended");
        events.pop().expect("one event")
    }

    fn range(
        &self,
        after: u64,
        from_earliest: bool,
        announcements: bool,
        count: usize,
    ) -> Result<Vec<u64>, HistoryError> {
        let forgiven = if from_earliest { self.history.dropped() } else { Gone::default() };
        let events = self.history.range(Range { after, forgiven, announcements, count })?;
        Ok(events.iter().map(|event| event.offset).collect())
    }

    /// Everything that is kept.
    fn everything(&self) -> Vec<Arc<Event>> {
        let of = |announcements: bool| {
            let (mut events, mut after, mut forgiven) = (Vec::new(), 0, self.history.dropped());
            loop {
                let range = Range { after, forgiven, announcements, count: 7 };
                let next = match self.history.range(range) {
                    // Damage counts as dropped once it is met.
                    Err(HistoryError::Trimmed) if self.history.dropped() != forgiven => {
                        forgiven = self.history.dropped();
                        continue;
                    }
                    next => next.expect("it can be read"),
                };
                let Some(last) = next.last() else {
                    return events;
                };
                after = last.offset;
                events.extend(next);
            }
        };
        let mut events: Vec<Arc<Event>> = of(false);
        events.extend(of(true).into_iter().filter(|event| event.announcement));
        events.sort_unstable_by_key(|event| event.offset);
        events
    }
}

fn draft(id: Option<&str>, data_bytes: usize) -> Draft {
    Draft::new(Update {
        topics: vec![Topic::of_hub("urn:a"), Topic::of_hub("https://example.com/b")],
        data: "x".repeat(data_bytes),
        private: data_bytes % 2 == 1,
        id: id.map(str::to_owned),
        event_type: None,
        retry: None,
    })
}

fn announcement() -> Draft {
    let topic = "/.well-known/mercure/subscriptions/exact/a/s";
    Draft::announcement(crate::protocol::subscription::announcement(topic, "{}".to_owned()))
}
