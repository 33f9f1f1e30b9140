//! Trimming by hand: the oldest events go, for good and with their bytes, while no hub has the folder.
//!
//! Whole segments are unlinked. One of which the newer events stay is replaced: they are copied into a segment that begins with them,
//! and the old one is removed when the new one is there for good. Where that was interrupted both are there, and opening tells
//! them from others (`open::is_in_place_of`).

use std::io;
use std::sync::Arc;

use super::blocks::Topics;
use super::index::Summary;
use super::log::Log;
use super::look::disk_bytes;
use super::meta::Meta;
use super::open::Purpose;
use super::segment;
use super::storage::{Storage, StorageFile};
use super::trim::Bounds;
use super::walk::{Step, Walk};
use super::writer::{DRAFT, create};
use super::{ANNOUNCEMENTS, Durability, OpenError, UPDATES, batch, open};
use crate::hub::Event;
use crate::protocol::coding::Codings;

/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;

/// Which events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Those before this offset.
    Before(u64),
    /// Those published so long ago, milliseconds.
    OlderThan(u64),
    /// All but so many of publishers' newest, and announcements that are older than those.
    Keep(u64),
}

/// What went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Publishers' events.
    pub updates: u64,
    /// Announcements of subscriptions.
    pub announcements: u64,
    /// Bytes given back.
    pub bytes: u64,
    /// Publishers' events that are left.
    pub left: u64,
}

/// Why a folder can't be trimmed, or not as far as it was asked. What was trimmed before stays so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrimError {
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What should stay of a segment can't be copied.
    #[error(
        "{segment} is damaged, so what should stay of it can't be kept; trim all of it away (`--before {next}`), or see \
         `cinnabar history check`"
    )]
    Damaged {
        /// The file.
        segment: String,
        /// The offset after its last.
        next: u64,
    },
    /// The system said no.
    #[error("history can't be trimmed: {0}")]
    Io(String),
}

impl From<io::Error> for TrimError {
    fn from(error: io::Error) -> TrimError {
        TrimError::Io(error.to_string())
    }
}

/// Drops the oldest events and gives their space back. Who calls must have the folder for himself. `None`: there is no history in it.
///
/// # Errors
/// [`TrimError`].
pub fn trim<S: Storage>(storage: S, cut: Cut, now_ms: u64) -> Result<Option<Trimmed>, TrimError> {
    let Some(meta) = Meta::read(&storage)? else {
        return Ok(None);
    };
    let storage = Arc::new(storage);
    let log = |name| -> Result<Log<S>, TrimError> {
        let segments = open::open(&*storage, name, meta.hash_keys, Purpose::Write(Durability::Fsync))?;
        let segments = segments.expect("made if it wasn't there");
        Ok(Log::new(name, storage.clone(), Codings::default(), meta.hash_keys, segments))
    };
    let counted = |logs: &[Log<S>; 2]| -> io::Result<([u64; 2], u64)> {
        let names = storage.names()?;
        let bytes = disk_bytes(&*storage, &names, UPDATES)? + disk_bytes(&*storage, &names, ANNOUNCEMENTS)?;
        Ok((logs.each_ref().map(|log| log.segments().events()), bytes))
    };
    let logs = [log(UPDATES)?, log(ANNOUNCEMENTS)?];
    let (events, bytes) = counted(&logs)?;
    drop_for_readers(&logs, cut, now_ms)?;
    for log in &logs {
        log.give_back()?;
        log.replace_oldest()?;
    }
    storage.sync_names()?;
    let (left, bytes_left) = counted(&[log(UPDATES)?, log(ANNOUNCEMENTS)?])?;
    Ok(Some(Trimmed {
        updates: events[0] - left[0],
        announcements: events[1] - left[1],
        bytes: bytes.saturating_sub(bytes_left),
        left: left[0],
    }))
}

fn drop_for_readers<S: Storage>(logs: &[Log<S>; 2], cut: Cut, now_ms: u64) -> io::Result<()> {
    let bounds = Bounds { events_max: u64::MAX, bytes_max: u64::MAX, age_max_ms: None };
    let through = |log: &Log<S>, through: u64| {
        let last = log.segments().last();
        log.drop_through(through.min(last));
    };
    match cut {
        Cut::Before(offset) => logs.iter().for_each(|log| through(log, offset.saturating_sub(1))),
        Cut::OlderThan(age) => {
            let bounds = Bounds { age_max_ms: Some(age), ..bounds };
            for log in logs {
                log.drop_old(&bounds, now_ms)?;
            }
        }
        Cut::Keep(events_max) => {
            logs[0].drop_old(&Bounds { events_max, ..bounds }, now_ms)?;
            let dropped = logs[0].segments().dropped;
            through(&logs[1], dropped);
        }
    }
    Ok(())
}

impl<S: Storage> Log<S> {
    /// Replaces the oldest segment, of which the first events are dropped, by one that begins with what is kept. The log is
    /// of no use afterwards.
    fn replace_oldest(&self) -> Result<(), TrimError> {
        let (dropped, oldest) = {
            let segments = self.segments();
            let oldest = segments.sealed.front().map_or(segments.active.index.summary, |sealed| sealed.summary);
            (segments.dropped, oldest)
        };
        if dropped <= oldest.after {
            return Ok(());
        }
        let name = segment::name(self.name, dropped);
        if dropped >= oldest.last {
            create(&*self.storage, &name, dropped, Durability::Fsync)?;
        } else {
            let draft = format!("{name}{DRAFT}");
            self.copy_newer(&oldest, dropped, &draft)?;
            self.storage.rename(&draft, &name)?;
            self.storage.sync_names()?;
        }
        for name in [segment::name(self.name, oldest.after), segment::index_name(self.name, oldest.after)] {
            match self.storage.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Copies what follows an offset from a segment into a file, and syncs that.
    fn copy_newer(&self, from: &Summary, after: u64, to: &str) -> Result<(), TrimError> {
        let name = segment::name(self.name, from.after);
        let damaged = || TrimError::Damaged { segment: name.clone(), next: from.last + 1 };
        let (old, new) = (self.storage.open(&name)?, self.storage.create(to)?);
        let (mut out, mut written) = (segment::head(after).to_vec(), 0);
        let mut walk = Walk::new(&old, from.after)?;
        while let Some(step) = walk.step()? {
            let Step::Batch { head, bytes, .. } = step else {
                return Err(damaged());
            };
            if head.after >= after {
                out.extend_from_slice(bytes);
            } else if head.last > after {
                let kept = kept_events(&head, bytes, after).ok_or_else(damaged)?;
                batch::write(&kept, after, head.epoch, head.committed_ms, &mut out);
            }
            if out.len() >= WRITE_BYTES {
                new.write_at(&out, written)?;
                written += out.len() as u64;
                out.clear();
            }
        }
        if walk.last != from.last {
            return Err(damaged());
        }
        new.write_at(&out, written)?;
        Ok(new.sync()?)
    }
}

/// The events of a batch that come after an offset; `None`: it makes no sense.
fn kept_events(head: &batch::Head, bytes: &[u8], after: u64) -> Option<Vec<Arc<Event>>> {
    let mut topics = Topics::default();
    let events = batch::events(head, bytes)
        .map(|stored| Some(Arc::new(stored?.event(head, Codings::default(), &mut |text| topics.share(text))?)));
    let mut events = events.collect::<Option<Vec<_>>>()?;
    events.retain(|event| event.offset > after);
    Some(events)
}
