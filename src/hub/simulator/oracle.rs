//! What each connection must receive: a model of the hub that knows nothing of tails, walks and cursors.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::universe::Universe;
use crate::hub::{Event, Found};
use crate::protocol::event_stream::{self, normalise_line_ends};

/// A publish as the publisher sent it.
#[derive(Clone, Debug)]
pub(super) struct Publish {
    /// Its data starts with this number, so that it is known again.
    pub(super) serial: u64,
    pub(super) topics: Vec<usize>,
    pub(super) private: bool,
    pub(super) announcement: bool,
    pub(super) id: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) data: String,
}

/// Everything in the log of this epoch, as it was published.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
    offsets: HashMap<u64, u64>,
    /// Ids the hub made in earlier epochs.
    old_ids: HashSet<String>,
}

#[derive(Debug)]
struct Entry {
    publish: Publish,
    id: String,
    /// Under some coding it has other bytes than what a disk has of it.
    compressed: bool,
}

impl Ledger {
    /// The newest offset.
    pub(super) fn head(&self) -> u64 {
        self.entries.len() as u64
    }

    /// An event got its place.
    pub(super) fn append(&mut self, publish: Publish, event: &Arc<Event>) {
        assert_eq!(event.offset, self.head() + 1, "order: offsets have no gaps");
        assert_eq!(event.id_given, publish.id.is_some());
        let id = publish.id.clone().unwrap_or_else(|| event.id().to_owned());
        assert_eq!(id, event.id(), "complete: a publisher's id is kept");
        self.offsets.insert(publish.serial, event.offset);
        let compressed = event.frame.memory_bytes() != event.read_again().frame.memory_bytes();
        self.entries.push(Entry { publish, id, compressed });
    }

    /// The log is lost with its node.
    pub(super) fn crash(&mut self) {
        let hub_made = self.entries.drain(..).filter(|entry| entry.publish.id.is_none());
        self.old_ids.extend(hub_made.map(|entry| entry.id));
        self.offsets.clear();
    }

    /// The id of an event.
    pub(super) fn id(&self, offset: u64) -> &str {
        &self.entry(offset).id
    }

    /// What a `Last-Event-ID` names, where history keeps everything from `first` on.
    pub(super) fn find(&self, id: &str, first: u64) -> Found {
        if id == "earliest" || self.old_ids.contains(id) {
            return Found::Earliest;
        }
        let with_id = || (1..=self.head()).filter(|&offset| self.id(offset) == id);
        let given = |offset: u64| self.entry(offset).publish.id.is_some();
        if let Some(kept) = with_id().find(|&offset| given(offset) && offset >= first) {
            return Found::At(kept);
        }
        match with_id().find(|&offset| !given(offset)) {
            Some(offset) if offset + 1 >= first => Found::At(offset),
            Some(_) => Found::Earliest,
            None => Found::Unknown,
        }
    }

    /// Whether history, having dropped the offsets up to these, has dropped this one.
    pub(super) fn is_dropped(&self, offset: u64, [updates, announcements]: [u64; 2]) -> bool {
        offset <= if self.entry(offset).publish.announcement { announcements } else { updates }
    }

    /// Whether who was cut inside this event can't go on in what a disk has of it.
    pub(super) fn is_compressed(&self, offset: u64) -> bool {
        offset > 0 && self.entry(offset).compressed
    }

    fn entry(&self, offset: u64) -> &Entry {
        &self.entries[offset as usize - 1]
    }
}

/// Who a connection is: what it asked for and may see.
#[derive(Clone, Debug)]
pub(super) struct Interest {
    pub(super) matchers: Vec<usize>,
    /// `None`: anonymous.
    pub(super) grants: Option<Vec<usize>>,
}

impl Interest {
    fn wants(&self, publish: &Publish) -> bool {
        Universe::get().any_fits(&self.matchers, &publish.topics)
    }

    fn may_read(&self, publish: &Publish) -> bool {
        let granted = |grants: &Vec<usize>| Universe::get().any_fits(grants, &publish.topics);
        !publish.private || self.grants.as_ref().is_some_and(granted)
    }
}

/// What one connection has and is due.
#[derive(Debug)]
pub(super) struct Due {
    interest: Interest,
    /// Where it started; `None` while the hub has still to say what the oldest event kept is.
    start: Option<u64>,
    /// The last event received.
    has: u64,
    /// Nothing up to here is owed.
    clear: u64,
    /// What had gone when it was told that it gets what is kept: updates, and announcements, up to these.
    gone: [u64; 2],
    pub(super) received: u64,
}

impl Due {
    pub(super) fn new(interest: Interest, start: Option<u64>) -> Due {
        let clear = start.unwrap_or(0);
        Due { interest, start, has: clear, clear, gone: [0; 2], received: 0 }
    }

    pub(super) fn start(&self) -> Option<u64> {
        self.start
    }

    /// What it was told is gone when it began.
    pub(super) fn gone(&self) -> [u64; 2] {
        self.gone
    }

    /// The last event received.
    pub(super) fn last(&self) -> u64 {
        self.has
    }

    /// A connection that asked for everything kept gets updates after the first of these, and announcements after the
    /// second.
    pub(super) fn starts_after(&mut self, gone: [u64; 2]) {
        if self.start.is_none() {
            *self = Due { gone, ..Due::new(self.interest.clone(), Some(gone[0].min(gone[1]))) };
        }
    }

    /// The first event up to `through` that it should have and hasn't.
    pub(super) fn owed(&mut self, ledger: &Ledger, through: u64) -> Option<u64> {
        if self.start.is_none() {
            return Some(0);
        }
        while self.clear < through.min(ledger.head()) {
            let publish = &ledger.entry(self.clear + 1).publish;
            if !ledger.is_dropped(self.clear + 1, self.gone)
                && self.interest.wants(publish)
                && self.interest.may_read(publish)
            {
                return Some(self.clear + 1);
            }
            self.clear += 1;
        }
        None
    }

    /// An event arrived. Panics with the name of the invariant it breaks; returns its offset.
    pub(super) fn receive(&mut self, ledger: &Ledger, event: &event_stream::Event) -> u64 {
        let serial = event.data.split([' ', '\n']).next().and_then(|n| n.parse().ok());
        let serial: u64 = serial.expect("complete: an event's data is damaged");
        let Some(&offset) = ledger.offsets.get(&serial) else {
            panic!("visible: publish {serial} was received and is not in the log");
        };
        let Entry { publish, id, .. } = ledger.entry(offset);
        assert!(
            self.interest.may_read(publish),
            "private: event {offset} was written to a connection that may not read it"
        );
        assert!(
            self.interest.wants(publish),
            "private: event {offset} was written to a connection that did not ask for it"
        );
        assert!(offset > self.has, "order: event {offset} came after event {}", self.has);
        if let Some(owed) = self.owed(ledger, offset - 1) {
            panic!("complete: event {owed} was skipped, {offset} came after {}", self.has);
        }
        assert_eq!(*id, event.id, "complete: the id of event {offset} is damaged");
        assert_eq!(publish.event_type, event.event_type, "complete: the type of event {offset} is damaged");
        assert!(normalise_line_ends(&publish.data) == event.data, "complete: the data of event {offset} is damaged");
        self.has = offset;
        self.clear = offset;
        self.received += 1;
        offset
    }
}
