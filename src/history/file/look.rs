//! A folder as somebody sees it who only looks: nothing is changed, and whoever has it may go on writing.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use serde::Serialize;

use super::log::{Log, Piece, ReadError};
use super::meta::{Epoch, Meta};
use super::open::{ASIDE, Purpose};
use super::segment::{self, FORMAT};
use super::storage::{Disk, Storage, StorageFile};
use super::{ANNOUNCEMENTS, OpenError, UPDATES, find, open};
use crate::hub::{self, Event, Found, Locator};
use crate::protocol::coding::Codings;
use crate::protocol::event_id::IdCipher;

/// Events read at once.
const READ_EVENTS: usize = 256;
/// Bytes of events read at once.
const READ_BYTES: usize = 1 << 20;

/// See the module. What was there when it was opened is what is seen.
#[derive(Debug)]
pub struct Look<S: Storage = Disk> {
    storage: Arc<S>,
    meta: Meta,
    locator: Locator,
    /// Publishers' events and announcements; `None`: no segment of them can be read.
    logs: [Option<Log<S>>; 2],
}

/// What is in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderSummary {
    /// The version of the format.
    pub format: u32,
    /// The hub's starts that are remembered, with the offset before the first event of each.
    #[serde(serialize_with = "epochs")]
    epochs: Vec<Epoch>,
    /// Publishers' events.
    pub updates: LogSummary,
    /// Announcements of subscriptions.
    pub announcements: LogSummary,
}

/// What is in one of the two logs of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogSummary {
    /// Files of events.
    pub segments: usize,
    /// Events in them.
    pub events: u64,
    /// The offset of the first; `None`: there is none, or it can't be read.
    pub first: Option<u64>,
    /// The newest offset there ever was.
    pub last: u64,
    /// When the first was published, milliseconds of Unix time.
    pub oldest_ms: Option<u64>,
    /// When the last was published.
    pub newest_ms: Option<u64>,
    /// Bytes on the disk, indexes included.
    pub bytes: u64,
    /// Bytes at the end that are no whole batch: one that is being written, or was when a hub was killed.
    pub unfinished_bytes: u64,
    /// Files that were damaged and put aside.
    pub aside: Vec<String>,
}

impl FolderSummary {
    /// How many starts of a hub are remembered, and the number of the last.
    pub fn epochs(&self) -> (usize, u32) {
        (self.epochs.len(), self.epochs.last().map_or(0, |last| last.epoch))
    }
}

fn epochs<S: serde::Serializer>(epochs: &[Epoch], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(epochs)
}

/// Why some events of a folder aren't read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// They are damaged.
    #[error(
        "events after offset {after} up to {through} are damaged and left out (`cinnabar history check` says more)"
    )]
    Damaged {
        /// The offset before them.
        after: u64,
        /// The last of them.
        through: u64,
    },
    /// The system said no; nothing further is read of this log.
    #[error("events after offset {after} can't be read: {why}")]
    Io {
        /// The offset before them.
        after: u64,
        /// What the system said.
        why: String,
    },
}

impl<S: Storage> Look<S> {
    /// Opens a folder to look at it. `cipher`: what the hub makes ids with. `None`: there is no history in it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(storage: S, cipher: IdCipher) -> Result<Option<Look<S>>, OpenError> {
        let Some(meta) = Meta::read(&storage)? else {
            return Ok(None);
        };
        let storage = Arc::new(storage);
        let log = |name| -> Result<Option<Log<S>>, OpenError> {
            let segments = open::open(&*storage, name, meta.hash_keys, Purpose::Look)?;
            Ok(segments.map(|segments| Log::new(name, storage.clone(), Codings::default(), meta.hash_keys, segments)))
        };
        let logs = [log(UPDATES)?, log(ANNOUNCEMENTS)?];
        let locator = hub::Log::new(meta.epoch(), 0, cipher).locator();
        Ok(Some(Look { storage, meta, locator, logs }))
    }

    /// The newest offset there is.
    pub fn last(&self) -> u64 {
        self.logs.iter().flatten().map(|log| log.segments().last()).max().unwrap_or(0)
    }

    /// What an id names.
    ///
    /// # Errors
    /// [`EventError`]: it can't be looked up.
    pub fn find(&self, id: &str) -> Result<Found, EventError> {
        let Some(updates) = &self.logs[0] else {
            return Ok(Found::Unknown);
        };
        find(id, updates, self.last(), &self.meta, &self.locator).map_err(|error| match error {
            ReadError::Damaged { through } => EventError::Damaged { after: 0, through },
            ReadError::Io(error) => EventError::Io { after: 0, why: error.to_string() },
        })
    }

    /// Events after an offset, in order, with those of announcements if they are asked for.
    pub fn events(&self, after: u64, announcements: bool) -> Events<'_, S> {
        let logs = self.logs.iter().take(1 + usize::from(announcements)).flatten();
        Events { cursors: logs.map(|log| Cursor::new(log, after)).collect() }
    }

    /// What is in the folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn summary(&self) -> io::Result<FolderSummary> {
        let names = self.storage.names()?;
        let [updates, announcements] = &self.logs;
        Ok(FolderSummary {
            format: FORMAT,
            epochs: self.meta.epochs.clone(),
            updates: summary(&*self.storage, &names, UPDATES, updates.as_ref())?,
            announcements: summary(&*self.storage, &names, ANNOUNCEMENTS, announcements.as_ref())?,
        })
    }
}

fn summary<S: Storage>(storage: &S, names: &[String], name: &str, log: Option<&Log<S>>) -> io::Result<LogSummary> {
    let mut summary = LogSummary::default();
    for file in names {
        if file.starts_with(name) && file.ends_with(ASIDE) {
            summary.aside.push(file.clone());
        }
    }
    summary.bytes = disk_bytes(storage, names, name)?;
    let Some(log) = log else {
        return Ok(summary);
    };
    let (dropped, newest_ms) = {
        let segments = log.segments();
        let active = segments.active.index.summary;
        let all = segments.sealed.iter().map(|sealed| sealed.summary).chain([active]);
        summary.segments = 1 + segments.sealed.len();
        (summary.events, summary.last) = (segments.events(), segments.last());
        summary.unfinished_bytes = segments.active.file.length()?.saturating_sub(active.end);
        (segments.dropped, all.map(|one| one.newest_ms).max())
    };
    if let Some(Ok(first)) = Cursor::new(log, dropped).next() {
        (summary.first, summary.oldest_ms, summary.newest_ms) =
            (Some(first.offset), Some(first.published_ms), newest_ms);
    }
    Ok(summary)
}

/// Bytes of a log's segments and indexes.
pub(super) fn disk_bytes(storage: &impl Storage, names: &[String], log: &str) -> io::Result<u64> {
    let mut bytes = 0;
    for name in names {
        if [".log", ".index"].iter().any(|ending| segment::parse_name(log, name, ending).is_some()) {
            bytes += match storage.open(name).and_then(|file| file.length()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                length => length?,
            };
        }
    }
    Ok(bytes)
}

/// Stored events in order; what can't be read comes as an error where it stood. Holds some of them at a time.
#[derive(Debug)]
pub struct Events<'a, S: Storage = Disk> {
    cursors: Vec<Cursor<'a, S>>,
}

/// A place in one log.
#[derive(Debug)]
struct Cursor<'a, S: Storage> {
    log: &'a Log<S>,
    after: u64,
    ready: VecDeque<Arc<Event>>,
    failed: Option<EventError>,
    ended: bool,
}

impl<S: Storage> Iterator for Events<'_, S> {
    type Item = Result<Arc<Event>, EventError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursors.iter_mut().filter_map(|cursor| Some((cursor.place()?, cursor))).min_by_key(|one| one.0)?.1.next()
    }
}

impl<'a, S: Storage> Cursor<'a, S> {
    fn new(log: &'a Log<S>, after: u64) -> Cursor<'a, S> {
        let after = after.max(log.segments().dropped);
        Cursor { log, after, ready: VecDeque::new(), failed: None, ended: false }
    }

    /// Where what comes next stood.
    fn place(&mut self) -> Option<u64> {
        while self.ready.is_empty() && self.failed.is_none() && !self.ended {
            self.read();
        }
        match (self.ready.front(), &self.failed) {
            (Some(event), _) => Some(event.offset),
            (None, Some(EventError::Damaged { after, .. } | EventError::Io { after, .. })) => Some(after + 1),
            (None, None) => None,
        }
    }

    fn next(&mut self) -> Option<Result<Arc<Event>, EventError>> {
        self.place()?;
        self.ready.pop_front().map(Ok).or_else(|| self.failed.take().map(Err))
    }

    fn read(&mut self) {
        let after = self.after;
        match self.log.read(after, READ_EVENTS, READ_BYTES) {
            Ok(Piece { events, .. }) => {
                self.ended = events.is_empty();
                self.after = events.last().map_or(after, |last| last.offset);
                self.ready.extend(events);
            }
            Err(ReadError::Damaged { through }) => {
                // What the hub has dropped meanwhile isn't missing.
                if !self.is_gone() {
                    self.failed = Some(EventError::Damaged { after, through });
                }
                self.ended = through <= after;
                self.after = through;
            }
            Err(ReadError::Io(error)) => {
                self.failed = Some(EventError::Io { after, why: error.to_string() });
                self.ended = true;
            }
        }
    }

    /// Whether the segment with the next event isn't there any more.
    fn is_gone(&self) -> bool {
        let segments = self.log.segments();
        let next = segments.sealed.iter().find(|sealed| sealed.summary.last > self.after);
        next.is_some_and(|sealed| {
            let opened = self.log.storage.open(&segment::name(self.log.name, sealed.summary.after));
            opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        })
    }
}
