//! Many events at once, from somewhere else: synced at the end, not one by one.

use std::io;

use super::{AppendError, Durability, FileHistory, FileOptions, OpenError, Opened, Retention, Storage};
use crate::hub::Draft;
use crate::protocol::coding::Codings;
use crate::protocol::event_id::IdCipher;

/// Events of a batch at most.
const BATCH_EVENTS_MAX: usize = 512;
/// Bytes of events that make a batch large enough.
const BATCH_BYTES: usize = 1 << 20;
/// Nothing that is imported pushes out anything else: the hub that opens the folder has bounds of its own.
const EVERYTHING: Retention = Retention { events_max: usize::MAX, bytes_max: usize::MAX, age_max_ms: None };

/// Appends events to a folder that nobody else has.
#[derive(Debug)]
pub struct Importer<S: Storage> {
    opened: Opened<S>,
    batch: Vec<Draft>,
    batch_ms: u64,
    batch_bytes: usize,
    /// Events that are appended.
    pub appended: u64,
}

impl<S: Storage> Importer<S> {
    /// Opens a folder, as [`FileHistory::open`] does.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(storage: S, cipher: IdCipher, random: [u64; 3]) -> Result<Importer<S>, OpenError> {
        let options =
            FileOptions { retention: EVERYTHING, durability: Durability::Written, codings: Codings::default() };
        let opened = FileHistory::open(storage, options, cipher, random)?;
        Ok(Importer { opened, batch: Vec::new(), batch_ms: 0, batch_bytes: 0, appended: 0 })
    }

    /// Appends an event. It may be written with one of the next.
    ///
    /// # Errors
    /// [`AppendError`]: some before it may be lacking too; [`Importer::appended`] says how many there are.
    pub fn add(&mut self, draft: Draft, published_ms: u64) -> Result<(), AppendError> {
        // A batch has one time.
        if published_ms != self.batch_ms || self.batch.len() >= BATCH_EVENTS_MAX || self.batch_bytes >= BATCH_BYTES {
            self.write()?;
        }
        self.batch_ms = published_ms;
        self.batch_bytes += draft.cost_bytes();
        self.batch.push(draft);
        Ok(())
    }

    /// Writes what isn't written yet and makes all of it durable.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn finish(&mut self) -> Result<(), AppendError> {
        self.write()?;
        self.opened.history.keep(0);
        let failed = |error: io::Error| AppendError::Stopped(format!("a sync of history failed: {error}"));
        self.opened.writer.sync().map_err(failed)
    }

    fn write(&mut self) -> Result<(), AppendError> {
        let Opened { writer, history, log, .. } = &mut self.opened;
        let events: Vec<_> = self.batch.drain(..).map(|draft| log.append(draft, self.batch_ms)).collect();
        self.batch_bytes = 0;
        if events.is_empty() {
            return Ok(());
        }
        let (appended, result) = writer.append(&events, self.batch_ms);
        self.appended += appended as u64;
        if writer.has_rolled() {
            history.keep(0);
        }
        result
    }
}
