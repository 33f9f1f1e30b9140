//! The one order of all events: who appends gets the next offset and, where the publisher gave none, an id made of it.

use std::sync::Arc;

use super::event::{Draft, Event};
use crate::protocol::event_id::IdCipher;

/// The writing end of the log. There is one per node, owned by the sequencer.
#[derive(Clone, Debug)]
pub struct Log {
    epoch: u32,
    head: u64,
    cipher: IdCipher,
}

impl Log {
    /// A log that goes on after `head` (0: empty) in `epoch`. An offset is never reused within an epoch.
    pub fn new(epoch: u32, head: u64, cipher: IdCipher) -> Log {
        Log { epoch, head, cipher }
    }

    /// Gives the draft its place. The event is not visible to anybody until the engine has it.
    pub fn append(&mut self, draft: Draft, now_ms: u64) -> Arc<Event> {
        self.head += 1;
        let hub_id = self.cipher.encode(self.epoch, self.head);
        Arc::new(draft.place(self.head, now_ms, &hub_id))
    }

    /// Gives the draft the next place of a log that somebody else writes: `tag` is what distinguishes it from events that may have had this
    /// place before.
    pub fn follow(&mut self, draft: Draft, tag: u32, published_ms: u64) -> Arc<Event> {
        self.head += 1;
        Arc::new(self.stored(draft, self.head, tag, published_ms))
    }

    /// The event of a place in such a log.
    pub fn stored(&self, draft: Draft, offset: u64, tag: u32, published_ms: u64) -> Event {
        draft.place(offset, published_ms, &self.cipher.encode(tag, offset))
    }

    /// Tag and offset of an id made by [`Log::follow`], whether or not something stands there.
    pub fn place_of(&self, id: &str) -> Option<(u32, u64)> {
        self.cipher.decode(id)
    }

    /// Takes the newest places back, down to `head`: nobody has seen what stood there, and no engine has it.
    pub fn retract(&mut self, head: u64) {
        debug_assert!(head <= self.head, "order: only what was given can be taken back");
        self.head = head;
    }

    /// The newest offset given, 0 when there is none.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// What turns ids back into offsets, for the history readers.
    pub fn locator(&self) -> Locator {
        Locator { epoch: self.epoch, cipher: self.cipher.clone() }
    }
}

/// Reads the offset out of an id this log made, without an index.
#[derive(Clone, Debug)]
pub struct Locator {
    epoch: u32,
    cipher: IdCipher,
}

/// Where an id made by a hub with this key points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// An offset of this log.
    Here(u64),
    /// An event of another epoch, with its offset there.
    Elsewhere {
        /// The epoch.
        epoch: u32,
        /// The offset in it.
        offset: u64,
    },
}

impl Locator {
    /// Reads an id; `None` for publishers' ids and forgeries.
    pub fn locate(&self, id: &str) -> Option<Located> {
        let (epoch, offset) = self.cipher.decode(id)?;
        Some(if epoch == self.epoch { Located::Here(offset) } else { Located::Elsewhere { epoch, offset } })
    }
}
