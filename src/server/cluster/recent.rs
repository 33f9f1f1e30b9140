//! What of the engine's log is at hand: the newest events, from where this hub began to follow it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cluster::Identity;
use crate::config::memory::CLUSTER_CACHE_BYTES_MAX;
use crate::history::Retention;
use crate::hub::{Event, Log, Range};

/// See the module.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Which log it is.
    pub(super) identity: Identity,
    /// Reads and makes ids.
    pub(super) log: Log,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Everything after this offset is here.
    after: u64,
    last: u64,
    /// The engine is known to keep nothing up to this offset.
    gone: u64,
    /// The log isn't what it was, and not everybody knows yet: nobody is to read it.
    lost: bool,
    /// How often that has been so.
    losses: u32,
    retention: Retention,
}

impl Recent {
    /// Nothing is at hand yet of a log that goes on after its head.
    pub(super) fn new(identity: Identity, log: Log, retention: Retention) -> Recent {
        let retention = Retention { bytes_max: retention.bytes_max.min(CLUSTER_CACHE_BYTES_MAX), ..retention };
        let head = log.head();
        Recent {
            identity,
            log,
            events: VecDeque::new(),
            bytes: 0,
            after: head,
            last: head,
            gone: 0,
            lost: false,
            losses: 0,
            retention,
        }
    }

    /// Nothing is read from now on, until [`Recent::begin_anew`].
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// Whether nobody is to read.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Another log, or this one from another place on.
    pub(crate) fn begin_anew(&mut self, identity: Identity, log: Log) {
        *self = Recent { losses: self.losses + 1, ..Recent::new(identity, log, self.retention) };
    }

    /// Takes in what follows.
    pub(crate) fn append(&mut self, events: &[Arc<Event>], now_ms: u64) {
        for event in events {
            debug_assert_eq!(event.offset, self.last + 1, "order: the log is gap-free and in order");
            self.last = event.offset;
            self.bytes += event.cost_bytes();
            self.events.push_back(event.clone());
        }
        self.trim(now_ms);
    }

    /// Drops what is too much or too old.
    pub(super) fn trim(&mut self, now_ms: u64) {
        let Retention { events_max, bytes_max, age_max_ms } = self.retention;
        while let Some(oldest) = self.events.front() {
            let aged = age_max_ms.is_some_and(|age| oldest.published_ms.saturating_add(age) <= now_ms);
            if !aged && self.bytes <= bytes_max && self.events.len() <= events_max {
                break;
            }
            self.after = oldest.offset;
            self.bytes -= oldest.cost_bytes();
            self.events.pop_front();
        }
        if self.events.capacity() > 4096 && self.events.len() < self.events.capacity() / 8 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    /// The newest offset that came.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The engine keeps nothing up to this offset.
    pub(super) fn forget(&mut self, offset: u64) {
        self.gone = self.gone.max(offset);
    }

    /// The newest offset that the engine is known to have dropped, 0 if none is.
    pub(super) fn gone(&self) -> u64 {
        self.gone
    }

    /// Events at hand, and their bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.events.len() as u64, self.bytes as u64)
    }

    /// The event of an offset, if it is at hand.
    pub(super) fn get(&self, offset: u64) -> Option<&Arc<Event>> {
        let index = offset.checked_sub(self.after + 1)?;
        self.events.get(usize::try_from(index).ok()?)
    }

    /// A range, if all of it is at hand; with announcements, asked for or not: there may be many in a row, and it is for whoever reads to
    /// pass over them, in pieces.
    pub(super) fn range(&self, range: &Range) -> Option<Vec<Arc<Event>>> {
        let skipped = usize::try_from(range.after.checked_sub(self.after)?).ok()?;
        Some(self.events.iter().skip(skipped).take(range.count).cloned().collect())
    }

    /// The offset after which everything is at hand.
    pub(super) fn after(&self) -> u64 {
        self.after
    }

    /// How often the log was lost: what was read before is not this log's.
    pub(super) fn losses(&self) -> u32 {
        self.losses
    }

    /// Takes in what comes right before that. False: it doesn't any more, or there is no room for it.
    pub(crate) fn prepend(&mut self, events: Vec<Arc<Event>>) -> bool {
        let Retention { events_max, bytes_max, .. } = self.retention;
        let bytes = self.bytes + events.iter().map(|event| event.cost_bytes()).sum::<usize>();
        let fits = bytes <= bytes_max && self.events.len() + events.len() <= events_max;
        let fits = fits && events.last().is_some_and(|last| last.offset == self.after);
        if fits {
            self.bytes = bytes;
            for event in events.into_iter().rev() {
                debug_assert_eq!(event.offset, self.after, "order: the log is gap-free and in order");
                self.after -= 1;
                self.events.push_front(event);
            }
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Gone;
    use crate::protocol::event_id::IdCipher;

    fn recent(head: u64, events_max: usize) -> Recent {
        let identity = Identity { log: [1; 16], id_key: [7; 32] };
        let retention = Retention { events_max, bytes_max: usize::MAX, age_max_ms: Some(1_000_000) };
        Recent::new(identity, Log::new(0, head, IdCipher::new([7; 32])), retention)
    }

    fn events(offsets: std::ops::RangeInclusive<u64>) -> Vec<Arc<Event>> {
        let event = |offset| match offset % 3 {
            0 => Event::sample_announcement(offset, "/.well-known/mercure/subscriptions/exact/a/s"),
            _ => Event::sample(offset, &["urn:a"], None, 10),
        };
        offsets.map(event).collect()
    }

    fn read(recent: &Recent, after: u64, count: usize) -> Option<Vec<u64>> {
        let range = Range { after, forgiven: Gone::default(), announcements: false, count };
        recent.range(&range).map(|events| events.iter().map(|event| event.offset).collect())
    }

    #[test]
    fn what_is_at_hand_is_read_and_what_is_not_is_known() {
        let mut recent = recent(10, 4);
        assert_eq!((read(&recent, 10, 9), read(&recent, 9, 9)), (Some(vec![]), None));
        recent.append(&events(11..=16), 0);
        assert_eq!((recent.last(), recent.size().0), (16, 4));
        assert_eq!(read(&recent, 11, 9), None);
        assert_eq!(read(&recent, 12, 9), Some(vec![13, 14, 15, 16]));
        assert_eq!(read(&recent, 13, 2), Some(vec![14, 15]));
        assert_eq!(read(&recent, 20, 2), Some(vec![]));
        assert_eq!(recent.get(13).map(|event| event.offset), Some(13));
        assert!(recent.get(12).is_none() && recent.get(17).is_none());
        recent.trim(u64::MAX);
        assert_eq!((recent.size(), read(&recent, 16, 1)), ((0, 0), Some(vec![])));
    }

    #[test]
    fn what_came_before_is_taken_in_as_long_as_there_is_room() {
        let mut recent = recent(10, 6);
        recent.append(&events(11..=12), 0);
        assert!(!recent.prepend(events(8..=9)) && !recent.prepend(vec![]), "there would be a gap");
        assert!(recent.prepend(events(9..=10)) && recent.prepend(events(7..=8)));
        assert_eq!((recent.after(), recent.size().0), (6, 6));
        assert_eq!(read(&recent, 6, 9), Some(vec![7, 8, 9, 10, 11, 12]));
        assert!(!recent.prepend(events(6..=6)), "it is full");
        recent.append(&events(13..=13), 0);
        assert_eq!(read(&recent, 6, 9), None);
        assert_eq!(read(&recent, 7, 9), Some(vec![8, 9, 10, 11, 12, 13]));
    }
}
