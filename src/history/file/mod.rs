//! The durable engine: a segment log in a folder.
//!
//! Events lie in segments, files of a bounded size to which batches are appended: one commit, one batch, one CRC, so that a batch is
//! there whole or not at all. A segment that is full is sealed, which gives it an index. What is over the bounds is dropped from the
//! beginning, and the space given back by unlinking segments. Publishers' events and announcements of subscriptions have a log of their
//! own each, in the same folder and with the same offsets, since they are kept by different bounds. docs/history-format.md has
//! every byte.
//!
//! [`FileWriter`] is the one who appends. [`FileHistory`] is everybody who reads, at any time and from any thread; it shares with the writer
//! what the segments hold, under a lock that nobody keeps while he reads or writes a file.

mod batch;
mod blocks;
mod check;
mod cut;
mod import;
mod index;
mod log;
mod look;
mod meta;
mod open;
mod segment;
mod storage;
#[cfg(test)]
mod tests;
mod trim;
mod walk;
mod writer;

use std::io;
use std::sync::Arc;

pub use self::check::{Checked, Notice, Problem, Remark, check};
pub use self::cut::{Cut, TrimError, Trimmed, trim};
pub use self::import::Importer;
use self::log::{Log, Piece, ReadError};
pub use self::look::{EventError, Events, FolderSummary, LogSummary, Look};
use self::meta::Meta;
use self::open::Purpose;
pub use self::storage::{Disk, Storage, StorageFile};
use self::trim::Bounds;
use self::writer::Writer;
use super::{ANNOUNCEMENTS_SHARE, Retention};
use crate::hub::{self, Event, Found, Gone, HistoryError, Located, Locator, Range, Reader};
use crate::protocol::coding::Codings;
use crate::protocol::event_id::IdCipher;

const UPDATES: &str = "updates";
const ANNOUNCEMENTS: &str = "announcements";
/// Bytes of a segment at most, unless a single batch is larger: what has to be read at opening.
const SEGMENT_BYTES_MAX: u64 = if cfg!(test) { 4 << 10 } else { 32 << 20 };
const SEGMENT_BYTES_MIN: u64 = if cfg!(test) { 2 << 10 } else { 64 << 10 };
/// A segment is one part of so many of what may be kept, so that giving back space takes little more than it has to.
const SEGMENTS_MIN: u64 = 8;
/// Bytes of events in one answer.
const RANGE_BYTES_MAX: usize = 1 << 20;

/// What an acknowledged event survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: every batch is synced before anybody is told of it.
    Fsync,
    /// The end of the process, however it comes; the system has it, and will write it when it likes.
    Written,
}

/// How a folder is opened.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// What is kept. Bytes are those of the segments on the disk; indexes come on top.
    pub retention: Retention,
    /// See [`Durability`].
    pub durability: Durability,
    /// Content codings that streams may have: long events are made ready for them.
    pub codings: Codings,
}

/// Why a folder can't be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was written by another version.
    #[error(
        "the history there has format {found}, and this version reads format {}: export it with the version that wrote it \
         (`cinnabar history export`) and import it into a new folder, or use that version",
        segment::FORMAT
    )]
    Version {
        /// The format found.
        found: u32,
    },
    /// A file that isn't what was written.
    #[error(
        "{what} of the history is damaged ({why}): restore it from a backup, or move the folder away to begin anew"
    )]
    Damaged {
        /// The file.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The system said no.
    #[error("{what} of the history can't be used: {why}")]
    Io {
        /// The file.
        what: String,
        /// What the system said.
        why: String,
    },
}

impl OpenError {
    fn io(what: &str, error: &io::Error) -> OpenError {
        OpenError::Io { what: what.to_owned(), why: error.to_string() }
    }
}

/// Why events were not appended. None of them is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk, or our share of it, is full. It is worth trying again when there is room.
    #[error("{0}")]
    Full(String),
    /// The system said no this time.
    #[error("{0}")]
    Failed(String),
    /// It isn't known what is on the disk. Nothing is written any more before the folder has been opened anew.
    #[error("{0}")]
    Stopped(String),
}

/// What was found in a folder.
#[derive(Debug)]
pub struct Opened<S: Storage> {
    /// The one who appends.
    pub writer: FileWriter<S>,
    /// For everybody who reads.
    pub history: FileHistory<S>,
    /// Where the next event gets its place.
    pub log: hub::Log,
    /// The newest event, if it is kept.
    pub newest: Option<Arc<Event>>,
}

/// The reading side of a folder.
#[derive(Debug)]
pub struct FileHistory<S: Storage = Disk> {
    updates: Arc<Log<S>>,
    announcements: Arc<Log<S>>,
    meta: Meta,
    options: FileOptions,
    locator: Locator,
}

/// The writing side of a folder.
#[derive(Debug)]
pub struct FileWriter<S: Storage = Disk> {
    updates: Writer<S>,
    announcements: Writer<S>,
    epoch: u32,
    /// Why nothing is written any more, to either log: they share their offsets.
    stopped: Option<String>,
}

fn bounds(retention: &Retention, part: u64) -> Bounds {
    Bounds {
        events_max: (retention.events_max as u64 / part).max(1),
        bytes_max: (retention.bytes_max as u64 / part).max(1),
        age_max_ms: retention.age_max_ms,
    }
}

impl<S: Storage> FileHistory<S> {
    /// Opens a folder to write to, with whatever is there. `cipher` makes and reads the ids of events; `random` is used if the
    /// folder is new. Who calls must have the folder for himself.
    ///
    /// # Errors
    /// [`OpenError`]: nothing but what an interrupted run left behind has been changed.
    pub fn open(storage: S, options: FileOptions, cipher: IdCipher, random: [u64; 3]) -> Result<Opened<S>, OpenError> {
        let mut meta = Meta::read(&storage)?.unwrap_or_else(|| Meta::new(random));
        let purpose = Purpose::Write(options.durability);
        let storage = Arc::new(storage);
        let log = |name| -> Result<Arc<Log<S>>, OpenError> {
            let segments = open::open(&*storage, name, meta.hash_keys, purpose)?.expect("made if it wasn't there");
            Ok(Arc::new(Log::new(name, storage.clone(), options.codings, meta.hash_keys, segments)))
        };
        let (updates, announcements) = (log(UPDATES)?, log(ANNOUNCEMENTS)?);
        let ends = [&updates, &announcements].map(|log| (log.segments().last(), log.segments().dropped));
        let head = ends[0].0.max(ends[1].0);
        meta.begin_epoch(head, ends[0].1.min(ends[1].1));
        if meta.write(&*storage).is_err() {
            // Perhaps the disk is full, and what is kept by now is less than what was.
            for (log, part) in [(&updates, 1), (&announcements, ANNOUNCEMENTS_SHARE as u64)] {
                let _ = log.drop_old(&bounds(&options.retention, part), 0).and_then(|()| log.give_back());
            }
            meta.write(&*storage).map_err(|error| OpenError::io("the description", &error))?;
        }
        let writer = |log: &Arc<Log<S>>, part| {
            let bytes = bounds(&options.retention, part).bytes_max / SEGMENTS_MIN;
            Writer::new(log.clone(), options.durability, bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX))
        };
        let writer = FileWriter {
            updates: writer(&updates, 1),
            announcements: writer(&announcements, ANNOUNCEMENTS_SHARE as u64),
            epoch: meta.epoch(),
            stopped: None,
        };
        let log = hub::Log::new(meta.epoch(), head, cipher);
        let history = FileHistory { updates, announcements, meta, options, locator: log.locator() };
        let newest = history.newest();
        Ok(Opened { writer, history, log, newest })
    }

    fn newest(&self) -> Option<Arc<Event>> {
        let newest = [&self.updates, &self.announcements].map(|log| {
            log.newest().unwrap_or_else(|error| {
                tracing::error!(log = log.name, ?error, "the newest event of history can't be read");
                None
            })
        });
        newest.into_iter().flatten().max_by_key(|event| event.offset)
    }

    /// What a `Last-Event-ID` names (design §1, "Ids") to somebody who may or may not read announcements.
    pub fn find(&self, id: &str, announcements: bool) -> Found {
        let _ = self.drop_old(0);
        match self.find_update(id) {
            Found::At(offset) if announcements && offset < self.announcements.segments().dropped => Found::Earliest,
            found => found,
        }
    }

    fn find_update(&self, id: &str) -> Found {
        loop {
            match find(id, &self.updates, self.last(), &self.meta, &self.locator) {
                Ok(found) => return found,
                Err(error) => {
                    self.note(&self.updates, &error);
                    // What is damaged is let go of, and the rest looked at.
                    if let ReadError::Io(_) = error {
                        // Rather too much is replayed than nothing.
                        return Found::Earliest;
                    }
                }
            }
        }
    }

    /// Drops what is over the bounds, gives back the space, and writes indexes that aren't written yet. To be called now and then, by
    /// somebody who may wait for the disk.
    pub fn keep(&self, now_ms: u64) {
        if let Err(error) = self.drop_old(now_ms) {
            tracing::warn!(%error, "what is too old in history can't be dropped yet and will be tried again");
        }
        for log in [&self.updates, &self.announcements] {
            // First what makes room.
            for kept in [log.give_back().map(drop), log.seal_all()] {
                if let Err(error) = kept {
                    tracing::warn!(log = log.name, %error, "history isn't in order yet and will be tried again");
                }
            }
        }
    }

    /// Drops what is over the bounds, for readers; at time 0 nothing is too old.
    ///
    /// # Errors
    /// What the system says; it is tried again whenever somebody reads.
    pub fn drop_old(&self, now_ms: u64) -> io::Result<()> {
        let updates = self.updates.drop_old(&bounds(&self.options.retention, 1), now_ms);
        let share = bounds(&self.options.retention, ANNOUNCEMENTS_SHARE as u64);
        updates.and(self.announcements.drop_old(&share, now_ms))
    }

    /// Publishers' events and announcements that are kept.
    pub fn counts(&self) -> [u64; 2] {
        [&self.updates, &self.announcements].map(|log| log.segments().events())
    }

    /// Bytes of their segments.
    pub fn bytes(&self) -> [u64; 2] {
        [&self.updates, &self.announcements].map(|log| log.segments().bytes())
    }

    /// The offset from which on nothing of publishers' has gone, and the newest one.
    pub fn bounds(&self) -> (u64, u64) {
        let dropped = self.updates.segments().dropped;
        (dropped + 1, self.last())
    }

    /// Says what can't be read, and lets go of it: whoever comes for it is told that it is gone.
    fn note(&self, log: &Log<S>, error: &ReadError) {
        match error {
            ReadError::Damaged { through } => {
                tracing::error!(
                    log = log.name,
                    through,
                    "history is damaged: everything up to this offset counts as dropped; `cinnabar history check` says more"
                );
                log.drop_through(*through);
            }
            ReadError::Io(error) => tracing::error!(log = log.name, %error, "history can't be read"),
        }
    }

    /// What a log has of a range; `has` is how far its reader misses nothing.
    fn read(&self, log: &Log<S>, range: Range, has: u64) -> Result<Piece, HistoryError> {
        loop {
            let dropped = log.segments().dropped;
            if has < dropped {
                return Err(HistoryError::Trimmed);
            }
            match log.read(range.after.max(dropped), range.count, RANGE_BYTES_MAX) {
                // What has been dropped meanwhile may be missing in between.
                Ok(_) if log.segments().dropped > range.after.max(dropped) => {}
                Ok(piece) => return Ok(piece),
                Err(error) => {
                    self.note(log, &error);
                    if let ReadError::Io(_) = error {
                        return Err(HistoryError::Unreadable);
                    }
                }
            }
        }
    }
}

impl<S: Storage> Reader for FileHistory<S> {
    fn range(&self, range: Range) -> Result<Vec<Arc<Event>>, HistoryError> {
        let _ = self.drop_old(0);
        let has = range.forgiven.or_up_to(range.after);
        // What comes while the one log is read after the other is left for the next time: it would hide what came before it.
        let last = self.last();
        let updates = self.read(&self.updates, range, has.updates)?;
        if !range.announcements {
            return Ok(updates.events);
        }
        let others = self.read(&self.announcements, range, has.announcements)?;
        Ok(merge(updates, others, last, range.count))
    }

    fn last(&self) -> u64 {
        self.updates.segments().last().max(self.announcements.segments().last())
    }

    fn dropped(&self) -> Gone {
        let _ = self.drop_old(0);
        Gone { updates: self.updates.segments().dropped, announcements: self.announcements.segments().dropped }
    }
}

/// What an id names to somebody who reads what publishers said. `last`: the newest offset of all.
fn find<S: Storage>(id: &str, updates: &Log<S>, last: u64, meta: &Meta, locator: &Locator) -> Result<Found, ReadError> {
    if id == "earliest" {
        return Ok(Found::Earliest);
    }
    let located = locator.locate(id);
    let offset = match located {
        Some(Located::Here(offset)) if (1..=last).contains(&offset) => Some(offset),
        Some(Located::Elsewhere { epoch, offset }) if meta.has(epoch, offset, last) => Some(offset),
        _ => None,
    };
    if let Some(offset) = offset {
        // The event itself may be gone: nothing after it is.
        let kept = offset >= updates.segments().dropped;
        return Ok(if kept { Found::At(offset) } else { Found::Earliest });
    }
    Ok(match (updates.find(id)?, located) {
        (Some(offset), _) => Found::At(offset),
        // Ours, and lost or long gone.
        (None, Some(Located::Elsewhere { .. })) => Found::Earliest,
        (None, _) => Found::Unknown,
    })
}

/// Two answers in order, as far as both reach and up to `last`: one that is cut short may have had more before what the other has.
fn merge(updates: Piece, others: Piece, last: u64, count: usize) -> Vec<Arc<Event>> {
    let through = updates.through.min(others.through).min(last);
    let both = updates.events.into_iter().chain(others.events);
    let mut merged: Vec<Arc<Event>> = both.filter(|event| event.offset <= through).collect();
    merged.sort_unstable_by_key(|event| event.offset);
    merged.truncate(count);
    merged
}

impl<S: Storage> FileWriter<S> {
    /// Appends events in log order, those of one kind that stand together as one batch. How many are there, and why not the others; none
    /// of those may be shown to anybody.
    pub fn append(&mut self, events: &[Arc<Event>], now_ms: u64) -> (usize, Result<(), AppendError>) {
        let mut appended = 0;
        if let Some(why) = &self.stopped {
            return (appended, Err(AppendError::Stopped(why.clone())));
        }
        for batch in events.chunk_by(|one, next| one.announcement == next.announcement) {
            let writer = if batch[0].announcement { &mut self.announcements } else { &mut self.updates };
            if let Err(error) = writer.append(batch, self.epoch, now_ms) {
                self.note(&error);
                return (appended, Err(error));
            }
            appended += batch.len();
        }
        (appended, Ok(()))
    }

    fn note(&mut self, error: &AppendError) {
        if let AppendError::Stopped(why) = error {
            self.stopped = Some(why.clone());
        }
    }

    /// Whether there is something for [`FileHistory::keep`] to do since this was asked last.
    pub fn has_rolled(&mut self) -> bool {
        std::mem::take(&mut self.updates.rolled) | std::mem::take(&mut self.announcements.rolled)
    }

    /// Makes durable what was only written.
    ///
    /// # Errors
    /// What the system says; it isn't known then what a loss of power leaves.
    pub fn sync(&self) -> io::Result<()> {
        for log in [&self.updates.log, &self.announcements.log] {
            let files: Vec<_> = {
                let segments = log.segments();
                let unsealed = segments.unsealed().filter_map(|sealed| Some(sealed.unsealed()?.0));
                unsealed.chain([segments.active.file.clone()]).collect()
            };
            files.iter().try_for_each(|file| file.sync())?;
        }
        self.updates.log.storage.sync_names()
    }

    /// Begins new segments where nothing of the old ones is kept, so that their space can be given back.
    ///
    /// # Errors
    /// [`AppendError`]: it stays as it was.
    pub fn tidy(&mut self) -> Result<(), AppendError> {
        if self.stopped.is_some() {
            return Ok(());
        }
        let tidied = self.updates.tidy().and_then(|()| self.announcements.tidy());
        if let Err(error) = &tidied {
            self.note(error);
        }
        tidied
    }
}
