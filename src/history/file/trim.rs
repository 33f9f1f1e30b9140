//! Retention: what is too old, or too many, or too large altogether, is dropped from the beginning of a log.
//!
//! Dropping is two things. Events are gone for readers as soon as somebody looks, exactly to the event; the space is given back a
//! segment at a time, by unlinking. Neither is done by who writes.

use std::io;
use std::sync::PoisonError;

use super::batch::{self, HEAD_BYTES, Head};
use super::log::{Log, Segments};
use super::segment::{self, START};
use super::storage::{Storage, StorageFile};

/// What a log may keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) events_max: u64,
    pub(super) bytes_max: u64,
    pub(super) age_max_ms: Option<u64>,
}

/// Where dropping goes on.
#[derive(Debug, Default)]
pub(super) struct TrimCursor {
    /// The segment after this offset.
    segment: u64,
    /// Its next batch, bytes; 0: its first.
    at: u64,
    /// The offset before that batch.
    before: u64,
    /// Of a batch of which only the first events are dropped: how many.
    into: u64,
}

/// The oldest segment that has something left.
struct Oldest {
    after: u64,
    last: u64,
    end: u64,
    events_kept: u64,
    bytes: u64,
    sealed: bool,
}

fn oldest<F>(segments: &Segments<F>) -> Oldest {
    let sealed = segments.sealed.iter().find(|sealed| sealed.summary.last > segments.dropped);
    let summary = sealed.map_or(segments.active.index.summary, |sealed| sealed.summary);
    let gone: u64 = segments
        .sealed
        .iter()
        .map(|one| one.summary)
        .filter(|one| one.last <= segments.dropped)
        .map(|one| one.end)
        .sum();
    Oldest {
        after: summary.after,
        last: summary.last,
        end: summary.end,
        events_kept: segments.events(),
        bytes: segments.bytes() - gone,
        sealed: sealed.is_some(),
    }
}

impl<S: Storage> Log<S> {
    /// Drops what is over the bounds, for readers.
    ///
    /// # Errors
    /// What the system says; what was dropped before stays so.
    pub(super) fn drop_old(&self, bounds: &Bounds, now_ms: u64) -> io::Result<()> {
        let mut cursor = self.trim.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let oldest = oldest(&self.segments());
            if oldest.sealed && oldest.bytes > bounds.bytes_max {
                self.drop_through(oldest.last);
                continue;
            }
            if oldest.after != cursor.segment || cursor.at == 0 {
                *cursor = TrimCursor { segment: oldest.after, at: START, before: oldest.after, into: 0 };
            }
            let excess = oldest.events_kept.saturating_sub(bounds.events_max);
            // At time 0, where most who read ask, nothing is too old: no file is looked into for that.
            if cursor.at >= oldest.end || excess == 0 && (bounds.age_max_ms.is_none() || now_ms == 0) {
                return Ok(());
            }
            let file = self.storage.open(&segment::name(self.name, oldest.after))?;
            let mut head = [0; HEAD_BYTES];
            if file.read_at(&mut head, cursor.at)? < HEAD_BYTES {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let head = Head::read(&head);
            if !head.may_follow(cursor.before) || cursor.at + head.bytes() > oldest.end {
                if !oldest.sealed {
                    // A batch is damaged: who reads it says so, and it goes with its segment.
                    return Ok(());
                }
                self.drop_through(oldest.last);
                continue;
            }
            let left = u64::from(head.events).saturating_sub(cursor.into);
            let aged = bounds.age_max_ms.is_some_and(|age| head.committed_ms.saturating_add(age) <= now_ms);
            if aged || excess >= left {
                self.drop_events(head.last, left);
                *cursor = TrimCursor { at: cursor.at + head.bytes(), before: head.last, into: 0, ..*cursor };
            } else if excess > 0 {
                let last = nth_offset(&file, cursor.at, &head, cursor.into + excess - 1)?;
                self.drop_events(last, excess);
                cursor.into += excess;
            } else {
                return Ok(());
            }
        }
    }

    /// Drops everything up to an offset, the end of a segment or of something that can't be read.
    pub(super) fn drop_through(&self, through: u64) {
        let mut segments = self.segments_mut();
        if through <= segments.dropped {
            return;
        }
        segments.dropped = through;
        // Of a segment that has something left it isn't known how many are gone; those of the others are.
        let whole: u64 =
            segments.sealed.iter().map(|one| one.summary).filter(|one| one.last <= through).map(|one| one.events).sum();
        segments.dropped_events = segments.dropped_events.max(whole);
    }

    fn drop_events(&self, last: u64, events: u64) {
        let mut segments = self.segments_mut();
        segments.dropped = segments.dropped.max(last);
        segments.dropped_events += events;
    }

    /// Gives the space of segments back of which nothing is kept. How many there were.
    ///
    /// # Errors
    /// What the system says; the rest stays for the next time.
    pub(super) fn give_back(&self) -> io::Result<usize> {
        let mut removed = 0;
        loop {
            let gone = {
                let segments = self.segments();
                segments.sealed.front().filter(|oldest| oldest.summary.last <= segments.dropped).cloned()
            };
            let Some(gone) = gone else {
                return Ok(removed);
            };
            let after = gone.summary.after;
            self.close(after);
            for name in [segment::name(self.name, after), segment::index_name(self.name, after)] {
                match self.storage.remove(&name) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            // One after the other, also for the disk: an older one that is left over would look as if something after it were missing.
            self.storage.sync_names()?;
            // Only now: what couldn't be removed is tried again.
            let mut segments = self.segments_mut();
            segments.dropped_events = segments.dropped_events.saturating_sub(gone.summary.events);
            segments.sealed.pop_front();
            removed += 1;
        }
    }
}

/// The offset of an event of a batch.
fn nth_offset(file: &impl StorageFile, at: u64, head: &Head, index: u64) -> io::Result<u64> {
    if head.last - head.after == u64::from(head.events) {
        return Ok(head.after + 1 + index);
    }
    let mut batch = vec![0; head.bytes() as usize];
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    if file.read_at(&mut batch, at)? < batch.len() || !head.holds(&batch) {
        return Err(damaged());
    }
    let stored = batch::events(head, &batch).nth(index as usize).flatten().ok_or_else(damaged)?;
    Ok(stored.offset)
}
