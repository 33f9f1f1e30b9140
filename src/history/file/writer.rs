//! The writing end of a segment log: one batch, one write, one sync.

use std::io;
use std::sync::{Arc, PoisonError};

use super::batch::{self, HEAD_BYTES, Head};
use super::index::Index;
use super::log::{Active, Log, Sealed};
use super::segment::{self, START};
use super::storage::{Storage, StorageFile};
use super::{AppendError, Durability};
use crate::hub::Event;

/// Events of a segment at most: a bound of what its index takes in memory.
const SEGMENT_EVENTS_MAX: u64 = 256 * 1024;
/// Sealed segments whose indexes are in memory, at most. Above that who writes makes one a file, and waits for it.
const UNSEALED_MAX: usize = 4;
/// Bytes of the buffer that are kept from one batch to the next.
const BUFFER_BYTES_KEPT: usize = 2 << 20;
/// What an index file is called before it is whole.
pub(super) const DRAFT: &str = ".draft";

/// See the module.
#[derive(Debug)]
pub(super) struct Writer<S: Storage> {
    pub(super) log: Arc<Log<S>>,
    durability: Durability,
    segment_bytes: u64,
    buffer: Vec<u8>,
    /// A segment has been sealed since somebody asked.
    pub(super) rolled: bool,
}

/// Whether the disk, or somebody's share of it, is full.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl<S: Storage> Writer<S> {
    pub(super) fn new(log: Arc<Log<S>>, durability: Durability, segment_bytes: u64) -> Writer<S> {
        Writer { log, durability, segment_bytes, buffer: Vec::new(), rolled: false }
    }

    /// Appends events as one batch, as durably as configured. When it fails, none of them is there.
    pub(super) fn append(&mut self, events: &[Arc<Event>], epoch: u32, now_ms: u64) -> Result<(), AppendError> {
        let (after, mut end, in_segment, used_up) = {
            let segments = self.log.segments();
            let summary = segments.active.index.summary;
            (summary.last, summary.end, summary.events, summary.last <= segments.dropped)
        };
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        batch::write(events, after, epoch, now_ms, &mut self.buffer);
        let full = end + self.buffer.len() as u64 > self.segment_bytes || in_segment >= SEGMENT_EVENTS_MAX;
        if in_segment > 0 && (full || used_up) {
            self.roll()?;
            end = START;
        }
        let file = self.log.segments().active.file.clone();
        if let Err(error) = file.write_at(&self.buffer, end) {
            return Err(take_back(&*file, end, &error));
        }
        if self.durability == Durability::Fsync
            && let Err(error) = file.sync()
        {
            // What the system has of it now nobody knows, and a later sync that succeeds would say nothing about it.
            return Err(AppendError::Stopped(format!("a sync of history failed: {error}")));
        }
        let head = Head::read(self.buffer.first_chunk::<HEAD_BYTES>().expect("a batch has a head"));
        let given = events.iter().filter(|event| event.id_given);
        let ids: Vec<(u64, u64)> = given.map(|event| (self.log.hash(event.id()), event.offset)).collect();
        self.log.segments_mut().active.index.add(&head, ids);
        Ok(())
    }

    /// Begins another segment.
    fn roll(&mut self) -> Result<(), AppendError> {
        let (oldest, count) = {
            let segments = self.log.segments();
            let mut unsealed = segments.unsealed();
            (unsealed.next().cloned(), 1 + unsealed.count())
        };
        if let Some(oldest) = oldest.filter(|_| count > UNSEALED_MAX) {
            self.log.seal(&oldest).map_err(|error| failed("the index of history isn't written", &error))?;
        }
        let (after, file) = {
            let segments = self.log.segments();
            (segments.last(), segments.active.file.clone())
        };
        // Before there is another segment: a loss of power must not leave the next one without the end of this one.
        if self.durability == Durability::Written
            && let Err(error) = file.sync().and_then(|()| self.log.storage.sync_names())
        {
            return Err(AppendError::Stopped(format!("a sync of history failed: {error}")));
        }
        let name = segment::name(self.log.name, after);
        let made = create(&*self.log.storage, &name, after, self.durability);
        let file = made.map_err(|error| {
            // Half a segment would be in the way of the next try only if it stayed in the list.
            let _ = self.log.storage.remove(&name);
            failed("a segment of history can't be made", &error)
        })?;
        let mut segments = self.log.segments_mut();
        let next = Active { file: Arc::new(file), index: Index::new(after, START) };
        let Active { file, index } = std::mem::replace(&mut segments.active, next);
        let unsealed = Some((file, Arc::new(index)));
        let summary = unsealed.as_ref().expect("just put there").1.summary;
        segments.sealed.push_back(Arc::new(Sealed { summary, unsealed: unsealed.into() }));
        self.rolled = true;
        Ok(())
    }

    /// Begins another segment if nothing in this one is kept, so that its space can be given back.
    pub(super) fn tidy(&mut self) -> Result<(), AppendError> {
        let used_up = {
            let segments = self.log.segments();
            let summary = segments.active.index.summary;
            summary.events > 0 && summary.last <= segments.dropped
        };
        if used_up { self.roll() } else { Ok(()) }
    }
}

/// After a write that failed: the file is as it was, or nothing is written any more.
fn take_back(file: &impl StorageFile, end: u64, error: &io::Error) -> AppendError {
    if let Err(second) = file.cut(end) {
        return AppendError::Stopped(format!("writing history failed ({error}), and so did taking it back ({second})"));
    }
    failed("writing history failed", error)
}

fn failed(what: &str, error: &io::Error) -> AppendError {
    let why = format!("{what}: {error}");
    if is_full(error) { AppendError::Full(why) } else { AppendError::Failed(why) }
}

/// Makes an empty segment.
pub(super) fn create<S: Storage>(storage: &S, name: &str, after: u64, durability: Durability) -> io::Result<S::File> {
    let file = storage.create(name)?;
    file.write_at(&segment::head(after), 0)?;
    if durability == Durability::Fsync {
        file.sync()?;
        storage.sync_names()?;
    }
    Ok(file)
}

impl<S: Storage> Log<S> {
    /// Makes files of the indexes of segments that were sealed.
    ///
    /// # Errors
    /// What the system says; they stay in memory until the next time.
    pub(super) fn seal_all(&self) -> io::Result<()> {
        let unsealed: Vec<_> = {
            let segments = self.segments();
            segments.unsealed().filter(|sealed| sealed.summary.last > segments.dropped).cloned().collect()
        };
        unsealed.iter().try_for_each(|sealed| self.seal(sealed))
    }

    fn seal(&self, sealed: &Sealed<S::File>) -> io::Result<()> {
        // One at a time: the writer may come for the same.
        let _only = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((file, index)) = sealed.unsealed() else {
            return Ok(());
        };
        // An earlier run may have left it written only.
        file.sync()?;
        write_index(&*self.storage, self.name, &index)?;
        sealed.set_unsealed(None);
        Ok(())
    }
}

/// Makes a file of an index. When it fails nothing of it is left, which would take the room it lacked.
pub(super) fn write_index(storage: &impl Storage, log: &str, index: &Index) -> io::Result<()> {
    let name = segment::index_name(log, index.summary.after);
    let draft = format!("{name}{DRAFT}");
    let write = || {
        let file = storage.create(&draft)?;
        file.write_at(&index.to_bytes(), 0)?;
        file.sync()
    };
    if let Err(error) = write() {
        let _ = storage.remove(&draft);
        return Err(error);
    }
    storage.rename(&draft, &name)?;
    storage.sync_names()
}
