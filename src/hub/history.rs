//! What a shard asks the history readers and what they answer. The interface is a request and a later answer, with
//! every engine: neither a shard nor the sequencer reads history itself.

use std::sync::Arc;

use super::budget::Budget;
use super::defect::{Defect, planted};
use super::event::Event;
use super::judge;
use crate::protocol::matcher::Matcher;
use crate::protocol::subscription::may_match_announcements;
use crate::protocol::token::Access;
use crate::protocol::topic::HubUrl;

/// Matching events in one answer at most.
pub(super) const CHUNK_EVENTS_MAX: usize = if cfg!(test) { 16 } else { 256 };
/// Bytes of matching events after which an answer takes no further one.
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Work of one answer: how long somebody may keep the others waiting for theirs.
const READ_NS: u64 = if cfg!(test) { 100 * SCAN_NS } else { 2_000_000 };
/// Looking at an event.
const SCAN_NS: u64 = 100;
/// Times a beginning is looked for again, because what was the oldest event has gone meanwhile.
const BEGINNINGS_MAX: u32 = 100;
/// Events taken from an engine at once: how long a reader may hold up the writer.
const RANGE_EVENTS: usize = if cfg!(test) { 24 } else { 256 };

/// Which events a subscriber reads: what it asked for and may see.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Its selectors.
    pub matchers: Vec<Matcher>,
    /// Its grants; `None`: public events only.
    pub access: Option<Arc<Access>>,
}

impl Filter {
    /// Whether the subscriber is to receive the event (protocol §4, "Delivery").
    pub(crate) fn admits(&self, event: &Event, hub: &HubUrl, budget: &mut Budget) -> bool {
        budget.spend(SCAN_NS);
        judge::any_matches(self.matchers.iter(), event, hub, budget)
            && (!event.private || planted(Defect::ReadsPrivate) || self.is_granted(event, hub, budget))
    }

    fn is_granted(&self, event: &Event, hub: &HubUrl, budget: &mut Budget) -> bool {
        let access = self.access.as_ref();
        access.is_some_and(|access| judge::any_matches(access.grants.subscribe.iter(), event, hub, budget))
    }
}

/// Whether announcements of subscriptions may be among what somebody reads. Nobody else misses them when they are gone.
pub fn may_read_announcements(matchers: &[Matcher], access: Option<&Access>, hub: &HubUrl) -> bool {
    let may_match = |matcher: &Matcher| may_match_announcements(matcher, hub);
    access.is_some_and(|access| access.grants.subscribe.iter().any(may_match)) && matchers.iter().any(may_match)
}

/// A bounded piece of history that matches a filter.
#[derive(Debug)]
pub struct HistoryChunk {
    /// Matching events in log order.
    pub events: Vec<Arc<Event>>,
    /// Everything up to this offset has been looked at.
    pub through: u64,
    /// What was gone when the reader began: it goes with its further questions.
    pub forgiven: Gone,
}

/// Why a range can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The next event of this cursor is no longer kept.
    #[error("the event after this place in the log is no longer kept")]
    Trimmed,
    /// It is kept and can't be read.
    #[error("history can't be read")]
    Unreadable,
}

/// The newest offsets that have gone, of each kind of event; 0: none. Each kind is kept by bounds of its own, so that one may reach far
/// further back than the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Of publishers' events.
    pub updates: u64,
    /// Of announcements of subscriptions.
    pub announcements: u64,
}

impl Gone {
    /// What isn't missed by somebody who has, or was told of, all this and besides everything up to an offset.
    #[must_use]
    pub fn or_up_to(self, offset: u64) -> Gone {
        Gone { updates: self.updates.max(offset), announcements: self.announcements.max(offset) }
    }

    /// The newest offset that has gone.
    pub fn newest(self) -> u64 {
        self.updates.max(self.announcements)
    }
}

/// What became of a `Last-Event-ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It names this place in the log.
    At(u64),
    /// It was one of this log's, or asked for `earliest`: everything kept is to be replayed.
    Earliest,
    /// Never seen: nothing is to be replayed.
    Unknown,
    /// Who would know can't be asked.
    Unavailable,
}

/// Which stored events are to be read.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Those after this offset.
    pub after: u64,
    /// What may be gone: whoever asks was told of it when he began to read.
    pub forgiven: Gone,
    /// The announcements of subscriptions among them, too.
    pub announcements: bool,
    /// So many at most.
    pub count: usize,
}

/// Stored events, in order. Engines give ranges; [`read`] filters them.
pub trait Reader {
    /// Up to `range.count` events after `range.after`: none only at the end of what is stored.
    ///
    /// # Errors
    /// [`HistoryError::Trimmed`] when something after `range.after` is gone that isn't forgiven. Announcements count only
    /// where they are asked for.
    fn range(&self, range: Range) -> Result<Vec<Arc<Event>>, HistoryError>;

    /// The newest offset ever stored, 0 when there was none.
    fn last(&self) -> u64;

    /// What is gone by now.
    fn dropped(&self) -> Gone;
}

/// What follows `after` and passes the filter, in a bounded step. `forgiven` is what the reader was told is gone; `None`: it begins
/// with the oldest event kept, and the answer says what is gone before that or in between. What goes later it isn't forgiven.
///
/// # Errors
/// As [`Reader::range`].
pub fn read(
    reader: &impl Reader,
    after: u64,
    forgiven: Option<Gone>,
    filter: &Filter,
    hub: &HubUrl,
) -> Result<HistoryChunk, HistoryError> {
    let told = forgiven.unwrap_or_else(|| reader.dropped());
    let mut beginnings = if forgiven.is_none() { BEGINNINGS_MAX } else { 0 };
    let mut chunk = HistoryChunk { events: Vec::new(), through: after, forgiven: told };
    let mut budget = Budget::new(READ_NS);
    let announcements = may_read_announcements(&filter.matchers, filter.access.as_deref(), hub);
    let mut bytes = 0;
    loop {
        let last = reader.last();
        let range = Range { after: chunk.through, forgiven: chunk.forgiven, announcements, count: RANGE_EVENTS };
        let range = match reader.range(range) {
            Err(HistoryError::Trimmed) if beginnings > 0 => {
                beginnings -= 1;
                chunk.forgiven = reader.dropped();
                continue;
            }
            range => range?,
        };
        beginnings = 0;
        if range.is_empty() {
            // Nothing is left for it up to there: what is still to come starts after everything that has gone.
            chunk.through = chunk.through.max(last);
            return Ok(chunk);
        }
        for event in range {
            chunk.through = event.offset;
            if filter.admits(&event, hub, &mut budget) {
                bytes += event.cost_bytes();
                chunk.events.push(event);
            }
            if budget.is_spent() || chunk.events.len() == CHUNK_EVENTS_MAX || bytes >= CHUNK_BYTES_MAX {
                return Ok(chunk);
            }
        }
    }
}
