//! What a folder knows about itself: its format, the key that ids are hashed with, and the epochs its events come from.

use std::io;

use serde::{Deserialize, Serialize};

use super::OpenError;
use super::segment::FORMAT;
use super::storage::{Storage, StorageFile};
use crate::protocol::event_id::EPOCH_MAX;

pub(super) const NAME: &str = "history.json";
const DRAFT: &str = "history.json.draft";
/// Bytes of the file at most.
const BYTES_MAX: usize = 1 << 20;
/// Epochs that are remembered. Ids of older ones are taken for trimmed.
const EPOCHS_MAX: usize = 4096;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    format: u32,
    /// Keys of the hash of publishers' ids.
    pub(super) hash_keys: [u64; 2],
    /// Every start of a hub has an epoch of its own; the last is the current one.
    pub(super) epochs: Vec<Epoch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Epoch {
    pub(super) epoch: u32,
    /// The offset before its first event.
    after: u64,
}

/// Just enough to tell that a folder is of another version.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Meta {
    /// What stands in the folder; `None`: nothing yet.
    ///
    /// # Errors
    /// When it is of another version, damaged, or can't be read.
    pub(super) fn read(storage: &impl Storage) -> Result<Option<Meta>, OpenError> {
        let failed = |error: io::Error| OpenError::Io { what: NAME.to_owned(), why: error.to_string() };
        let file = match storage.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut bytes = vec![0; BYTES_MAX];
        let read = file.read_at(&mut bytes, 0).map_err(failed)?;
        bytes.truncate(read);
        let damaged = |error: serde_json::Error| OpenError::Damaged { what: NAME.to_owned(), why: error.to_string() };
        let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format != FORMAT {
            return Err(OpenError::Version { found: format });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// Of a new folder. `random`: 16 bytes for the hash, and a first epoch.
    pub(super) fn new(random: [u64; 3]) -> Meta {
        let first = Epoch { epoch: (random[2] % u64::from(EPOCH_MAX)) as u32, after: 0 };
        Meta { format: FORMAT, hash_keys: [random[0], random[1]], epochs: vec![first] }
    }

    /// Begins another epoch after an offset.
    pub(super) fn begin_epoch(&mut self, after: u64, dropped: u64) {
        let last = self.epochs.last().map_or(0, |last| last.epoch);
        // Of those whose events are all gone nothing has to be known.
        let gone = self.epochs.windows(2).take_while(|two| two[1].after <= dropped).count();
        self.epochs.drain(..gone);
        if self.epochs.last().is_some_and(|last| last.after == after) {
            // It never had an event.
            self.epochs.pop();
        }
        self.epochs.push(Epoch { epoch: last % EPOCH_MAX + 1, after });
        if self.epochs.len() > EPOCHS_MAX {
            self.epochs.remove(0);
        }
    }

    /// The current epoch.
    pub(super) fn epoch(&self) -> u32 {
        self.epochs.last().map_or(1, |last| last.epoch)
    }

    /// Whether this log has an event of that epoch at this offset, or had it.
    pub(super) fn has(&self, epoch: u32, offset: u64, last: u64) -> bool {
        let Some(index) = self.epochs.iter().position(|one| one.epoch == epoch) else {
            return false;
        };
        // What came after a later epoch began was lost: the log ended before it then.
        let end = self.epochs[index + 1..].iter().map(|later| later.after).min().unwrap_or(last);
        self.epochs[index].after < offset && offset <= end
    }

    /// Puts it into the folder, whole and durably.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, storage: &impl Storage) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let draft = storage.create(DRAFT)?;
        draft.write_at(&text, 0)?;
        draft.sync()?;
        storage.rename(DRAFT, NAME)?;
        storage.sync_names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_the_offsets_between_its_beginning_and_the_next() {
        let mut meta = Meta::new([1, 2, 3]);
        let first = meta.epoch();
        meta.begin_epoch(0, 0);
        assert_eq!(meta.epochs.len(), 1, "the first had no event");
        meta.begin_epoch(100, 0);
        let second = meta.epoch();
        assert_ne!(first + 1, second);
        // The machine lost power: ten events of the second epoch were lost.
        let whole = meta.clone();
        meta.begin_epoch(150, 0);
        assert!(meta.has(first + 1, 100, 200) && !meta.has(first + 1, 101, 200) && !meta.has(first + 1, 0, 200));
        assert!(meta.has(second, 101, 200) && meta.has(second, 150, 200) && !meta.has(second, 151, 200));
        assert!(whole.has(second, 151, 160));
        assert!(meta.has(meta.epoch(), 151, 200) && !meta.has(meta.epoch(), 201, 200));
        assert!(!meta.has(first + 9, 1, 200));
        // What is lost can reach back beyond an epoch.
        meta.begin_epoch(120, 0);
        assert!(!meta.has(second, 121, 200) && meta.has(second, 120, 200));
    }

    #[test]
    fn epochs_without_events_are_forgotten_and_there_are_never_too_many() {
        let mut meta = Meta::new([1, 2, 3]);
        for start in 1..10_000 {
            meta.begin_epoch(start, 0);
        }
        assert_eq!(meta.epochs.len(), EPOCHS_MAX);
        meta.begin_epoch(10_000, 9_990);
        assert!(meta.epochs.len() < 15);
        assert!(meta.has(meta.epoch(), 10_001, 10_001));
        let epochs: Vec<u32> = meta.epochs.iter().map(|one| one.epoch).collect();
        assert!(epochs.windows(2).all(|two| two[1] == two[0] + 1));
    }
}
