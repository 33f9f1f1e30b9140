//! A segment log as its readers see it: which segments there are, what has been dropped of them, and the way to each event.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use siphasher::sip::SipHasher24;

use super::batch::{self, HEAD_BYTES};
use super::blocks::{Decoded, Key, OpenSegment, OpenSegments, SharedBlocks, Topics};
use super::index::{Extent, Index, IndexFile, Summary};
use super::segment;
use super::storage::{Storage, StorageFile};
use super::trim::TrimCursor;
use crate::hub::Event;
use crate::protocol::coding::Codings;

/// One kind of events in a folder: a row of segments, the last of which is being written.
#[derive(Debug)]
pub(super) struct Log<S: Storage> {
    /// What the names of its files begin with.
    pub(super) name: &'static str,
    pub(super) storage: Arc<S>,
    codings: Codings,
    hash_keys: [u64; 2],
    segments: RwLock<Segments<S::File>>,
    pub(super) trim: Mutex<TrimCursor>,
    /// Held by who makes a file of an index.
    pub(super) sealing: Mutex<()>,
    open: Mutex<OpenSegments<S::File>>,
    pub(super) blocks: Mutex<SharedBlocks>,
}

/// See [`Log`].
#[derive(Debug)]
pub(super) struct Segments<F> {
    pub(super) sealed: VecDeque<Arc<Sealed<F>>>,
    pub(super) active: Active<F>,
    /// The newest offset that is gone.
    pub(super) dropped: u64,
    /// Events of `sealed` and `active` that are gone, though their bytes are there.
    pub(super) dropped_events: u64,
}

/// A segment to which nothing is added any more.
#[derive(Debug)]
pub(super) struct Sealed<F> {
    pub(super) summary: Summary,
    /// Until its index is a file: the file of the segment, and its index.
    pub(super) unsealed: RwLock<Option<Unsealed<F>>>,
}

/// See [`Sealed`].
pub(super) type Unsealed<F> = (Arc<F>, Arc<Index>);

/// The index of a sealed segment.
enum Indexed<F> {
    Memory(Arc<F>, Arc<Index>),
    File(Arc<OpenSegment<F>>),
}

impl<F: StorageFile> Indexed<F> {
    fn file(&self) -> Arc<F> {
        match self {
            Indexed::Memory(file, _) => file.clone(),
            Indexed::File(opened) => opened.file.clone(),
        }
    }

    fn block_after(&self, offset: u64) -> Option<Extent> {
        match self {
            Indexed::Memory(_, index) => index.block_after(offset),
            Indexed::File(opened) => opened.index.block_after(offset),
        }
    }

    fn find(&self, hash: u64, after: u64) -> io::Result<Vec<u64>> {
        match self {
            Indexed::Memory(_, index) => Ok(index.find(hash, after).collect()),
            Indexed::File(opened) => opened.index.find(hash, after),
        }
    }
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Active<F> {
    pub(super) file: Arc<F>,
    pub(super) index: Index,
}

impl<F> Sealed<F> {
    pub(super) fn unsealed(&self) -> Option<Unsealed<F>> {
        self.unsealed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_unsealed(&self, unsealed: Option<Unsealed<F>>) {
        *self.unsealed.write().unwrap_or_else(PoisonError::into_inner) = unsealed;
    }
}

impl<F> Segments<F> {
    pub(super) fn last(&self) -> u64 {
        self.active.index.summary.last
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.sealed.iter().map(|sealed| sealed.summary.end).sum::<u64>() + self.active.index.summary.end
    }

    /// Events that are kept.
    pub(super) fn events(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|sealed| sealed.summary.events).sum();
        (sealed + self.active.index.summary.events).saturating_sub(self.dropped_events)
    }

    /// Segments whose indexes are in memory only, the one that is being written aside.
    pub(super) fn unsealed(&self) -> impl Iterator<Item = &Arc<Sealed<F>>> {
        self.sealed.iter().filter(|sealed| sealed.unsealed().is_some())
    }

    /// The sealed segment with the first event after an offset; `None`: it is in the one that is being written.
    fn sealed_after(&self, offset: u64) -> Option<&Arc<Sealed<F>>> {
        self.sealed.get(self.sealed.partition_point(|sealed| sealed.summary.last <= offset))
    }
}

/// Where a block is: its file, the offset before its segment, and where in it.
type Place<F> = (Arc<F>, u64, Extent);

/// Events that were read together.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) events: Vec<Arc<Event>>,
    /// How far the log was read: it has no others up to there. Without end if the end was reached.
    pub(super) through: u64,
}

/// Why events can't be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// What is stored from here on, to this offset, can't be understood.
    Damaged {
        /// The newest offset of those.
        through: u64,
    },
    /// The system said no.
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

impl<S: Storage> Log<S> {
    pub(super) fn new(
        name: &'static str,
        storage: Arc<S>,
        codings: Codings,
        hash_keys: [u64; 2],
        segments: Segments<S::File>,
    ) -> Log<S> {
        Log {
            name,
            storage,
            codings,
            hash_keys,
            segments: RwLock::new(segments),
            trim: Mutex::default(),
            sealing: Mutex::default(),
            open: Mutex::default(),
            blocks: Mutex::default(),
        }
    }

    pub(super) fn segments(&self) -> RwLockReadGuard<'_, Segments<S::File>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn segments_mut(&self) -> RwLockWriteGuard<'_, Segments<S::File>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hash(&self, id: &str) -> u64 {
        hash(self.hash_keys, id)
    }

    /// Up to `count` stored events after `after`, fewer at the end, when they have `bytes` bytes, and before something that can't be read.
    pub(super) fn read(&self, mut after: u64, count: usize, bytes: usize) -> Result<Piece, ReadError> {
        let mut events: Vec<Arc<Event>> = Vec::new();
        let mut taken_bytes = 0;
        while events.len() < count && taken_bytes < bytes {
            let (block, last) = match self.block_after(after) {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(Piece { events, through: u64::MAX }),
                Err(_) if !events.is_empty() => break,
                Err(error) => return Err(error),
            };
            let from = block.partition_point(|event| event.offset <= after);
            for event in &block[from..] {
                if events.len() == count || taken_bytes >= bytes {
                    break;
                }
                taken_bytes += event.cost_bytes();
                events.push(event.clone());
            }
            after = last;
        }
        let through = events.last().map_or(after, |last| last.offset);
        Ok(Piece { events, through })
    }

    /// The offset of the earliest event that is kept to which a publisher gave this id.
    pub(super) fn find(&self, id: &str) -> Result<Option<u64>, ReadError> {
        let hash = self.hash(id);
        // The offset before what hasn't been looked at.
        let mut after = 0;
        loop {
            let (next, of_active, dropped) = {
                let segments = self.segments();
                let dropped = segments.dropped;
                let mut kept = segments.sealed.iter().filter(|sealed| sealed.summary.last > dropped.max(after));
                let of_active: Vec<u64> = segments.active.index.find(hash, dropped.max(after)).collect();
                (kept.next().cloned(), of_active, dropped)
            };
            let Some(sealed) = next else {
                return self.first_with_id(id, of_active);
            };
            let offsets = self.find_in(&sealed, hash, dropped)?;
            if let Some(offset) = self.first_with_id(id, offsets)? {
                return Ok(Some(offset));
            }
            after = sealed.summary.last;
        }
    }

    fn find_in(&self, sealed: &Sealed<S::File>, hash: u64, after: u64) -> Result<Vec<u64>, ReadError> {
        let found = match self.indexed(sealed) {
            Ok(indexed) => match indexed.find(hash, after) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.index_anew(sealed, &error).and_then(|indexed| Ok(indexed.find(hash, after)?))
                }
                found => Ok(found?),
            },
            Err(error) => Err(error),
        };
        match found {
            // It was dropped while it was looked at, and its files are gone.
            Err(ReadError::Damaged { through }) if through <= self.segments().dropped => Ok(Vec::new()),
            found => found,
        }
    }

    /// Hashes may meet.
    fn first_with_id(&self, id: &str, offsets: Vec<u64>) -> Result<Option<u64>, ReadError> {
        for offset in offsets {
            if self.has_id(offset, id)? {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    /// Whether the event at this offset has this id. Nothing is made of the block for that: nobody reads it now.
    fn has_id(&self, offset: u64, id: &str) -> Result<bool, ReadError> {
        let Some((file, _, extent)) = self.extent_after(offset - 1)? else {
            return Ok(false);
        };
        let bytes = read_block(&*file, extent)?;
        let mut rest = &bytes[..];
        while let Some(head) = rest.first_chunk::<HEAD_BYTES>().map(batch::Head::read) {
            let batch = rest.get(..head.bytes() as usize).ok_or(ReadError::Damaged { through: extent.last })?;
            if offset <= head.last {
                let stored = batch::events(&head, batch).flatten().find(|stored| stored.offset == offset);
                return Ok(head.holds(batch) && stored.is_some_and(|stored| stored.id() == Some(id)));
            }
            rest = &rest[batch.len()..];
        }
        Ok(false)
    }

    /// The newest event, if any is kept.
    pub(super) fn newest(&self) -> Result<Option<Arc<Event>>, ReadError> {
        let (last, dropped) = {
            let segments = self.segments();
            (segments.last(), segments.dropped)
        };
        Ok(if last <= dropped { None } else { self.read(last - 1, 1, usize::MAX)?.events.pop() })
    }

    /// The events of the block with the first event after an offset, and the offset it reaches to; `None`: there is none.
    fn block_after(&self, offset: u64) -> Result<Option<(Decoded, u64)>, ReadError> {
        let Some((file, segment, extent)) = self.extent_after(offset)? else {
            return Ok(None);
        };
        let key = Key { segment, at: extent.at, end: extent.end };
        if let Some(decoded) = self.shared_blocks().get(&key) {
            return Ok(Some((decoded, extent.last)));
        }
        let decoded = self.decode(&file, extent)?;
        self.shared_blocks().put(key, decoded.clone());
        Ok(Some((decoded, extent.last)))
    }

    /// Where the block with the first event after an offset stands: its file, its segment, and where in it.
    fn extent_after(&self, offset: u64) -> Result<Option<Place<S::File>>, ReadError> {
        let sealed = {
            let segments = self.segments();
            let oldest = segments.sealed.front().map_or(segments.active.index.summary, |oldest| oldest.summary);
            let offset = offset.max(oldest.after);
            if offset >= segments.last() {
                return Ok(None);
            }
            let Some(sealed) = segments.sealed_after(offset) else {
                let Active { file, index } = &segments.active;
                let extent = index.block_after(offset).expect("an event is in a block");
                return Ok(Some((file.clone(), index.summary.after, extent)));
            };
            sealed.clone()
        };
        let Summary { after, last: through, .. } = sealed.summary;
        let indexed = self.indexed(&sealed)?;
        let extent = indexed.block_after(offset).ok_or(ReadError::Damaged { through })?;
        if extent.last <= offset {
            // Less is there than there was.
            return Err(ReadError::Damaged { through });
        }
        Ok(Some((indexed.file(), after, extent)))
    }

    /// The index of a sealed segment, wherever it is, and the segment's file with it.
    fn indexed(&self, sealed: &Sealed<S::File>) -> Result<Indexed<S::File>, ReadError> {
        if let Some((file, index)) = sealed.unsealed() {
            return Ok(Indexed::Memory(file, index));
        }
        let after = sealed.summary.after;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = open.get(after, || {
            let index = IndexFile::open(self.storage.open(&segment::index_name(self.name, after))?, &sealed.summary)?;
            Ok(OpenSegment { file: Arc::new(self.storage.open(&segment::name(self.name, after))?), index })
        });
        match opened {
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => {
                drop(open);
                self.index_anew(sealed, &error)
            }
            opened => Ok(Indexed::File(opened?)),
        }
    }

    /// Goes through a segment whose index is no good.
    fn index_anew(&self, sealed: &Sealed<S::File>, error: &io::Error) -> Result<Indexed<S::File>, ReadError> {
        let Summary { after, last: through, .. } = sealed.summary;
        tracing::warn!(log = self.name, after, %error, "the index of a segment of history is made anew");
        let file = self.storage.open(&segment::name(self.name, after)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::Damaged { through },
            _ => ReadError::Io(error),
        })?;
        let index = Arc::new(segment::scan(&file, after, |id| self.hash(id))?);
        let file = Arc::new(file);
        sealed.set_unsealed(Some((file.clone(), index.clone())));
        self.close(after);
        Ok(Indexed::Memory(file, index))
    }

    /// Forgets the open files of a segment that is gone.
    pub(super) fn close(&self, after: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(after);
    }

    fn decode(&self, file: &S::File, extent: Extent) -> Result<Decoded, ReadError> {
        let damaged = || ReadError::Damaged { through: extent.last };
        let bytes = read_block(file, extent)?;
        let mut topics = Topics::default();
        let (mut rest, mut after, mut events) = (&bytes[..], extent.after, Vec::new());
        while !rest.is_empty() {
            let head = rest.first_chunk::<HEAD_BYTES>().map(batch::Head::read).ok_or_else(damaged)?;
            let batch = rest.get(..head.bytes() as usize).ok_or_else(damaged)?;
            if !head.may_follow(after) || !head.holds(batch) {
                return Err(damaged());
            }
            for stored in batch::events(&head, batch) {
                let event = stored.and_then(|stored| stored.event(&head, self.codings, &mut |text| topics.share(text)));
                events.push(Arc::new(event.ok_or_else(damaged)?));
            }
            (rest, after) = (&rest[batch.len()..], head.last);
        }
        Ok(events.into())
    }

    fn shared_blocks(&self) -> MutexGuard<'_, SharedBlocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a block.
fn read_block(file: &impl StorageFile, extent: Extent) -> Result<Vec<u8>, ReadError> {
    let damaged = || ReadError::Damaged { through: extent.last };
    let mut bytes = vec![0; usize::try_from(extent.end - extent.at).map_err(|_| damaged())?];
    if file.read_at(&mut bytes, extent.at)? < bytes.len() { Err(damaged()) } else { Ok(bytes) }
}

/// A keyed hash: whoever chooses ids can't make them meet.
pub(super) fn hash(keys: [u64; 2], id: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(keys[0], keys[1]);
    hasher.write(id.as_bytes());
    hasher.finish()
}
