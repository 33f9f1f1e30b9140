//! The past as the engine keeps it: what isn't at hand any more, or never was, is asked of it. Whoever asks waits.

use std::future::Future;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crossbeam_channel::bounded;
use tokio::runtime::Handle;

use super::event_of;
use super::recent::Recent;
use super::state::LinkState;
use crate::cluster::{Engine, EngineError, Identity, LogError, Placed};
use crate::history::Remote;
use crate::hub::{Event, Found, Gone, HistoryError, Log, Range};
use crate::protocol::coding::Codings;

/// How long the engine may take for a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of entries asked for at once: one can be longer.
const RANGE_BYTES: usize = 256 << 10;

/// See the module.
pub(crate) struct EngineHistory<E> {
    engine: Arc<E>,
    state: Arc<LinkState>,
    recent: Arc<RwLock<Recent>>,
    runtime: Handle,
    codings: Codings,
}

impl<E: Engine> EngineHistory<E> {
    pub(super) fn new(
        engine: Arc<E>,
        state: Arc<LinkState>,
        recent: Arc<RwLock<Recent>>,
        runtime: Handle,
        codings: Codings,
    ) -> EngineHistory<E> {
        EngineHistory { engine, state, recent, runtime, codings }
    }

    fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().expect("no holder of what is at hand panics")
    }

    fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().expect("no holder of what is at hand panics")
    }

    /// The engine keeps nothing of this log up to an offset.
    fn forget(&self, identity: Identity, offset: u64) {
        let mut recent = self.recent_mut();
        if recent.identity == identity {
            recent.forget(offset);
        }
    }

    /// Which log it is, and what makes its ids; `None`: it has just been lost.
    fn log(&self) -> Option<(Identity, Log)> {
        let recent = self.recent();
        (!recent.is_lost()).then(|| (recent.identity, recent.log.clone()))
    }

    /// Asks the engine on the backbone and waits here, not for long.
    fn ask<T, F>(&self, question: impl FnOnce(Arc<E>) -> F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        let silent = || EngineError::Unavailable("it doesn't answer".to_owned());
        if self.state.is_down() {
            return Err(silent());
        }
        let question = question(self.engine.clone());
        let (sender, answer) = bounded(1);
        let task = self.runtime.spawn(async move {
            let _ = sender.send(question.await);
        });
        answer.recv_timeout(ANSWER_TIMEOUT).unwrap_or_else(|_| {
            task.abort();
            Err(silent())
        })
    }

    fn entries(&self, identity: Identity, after: u64, count: usize) -> Result<Vec<Placed>, EngineError> {
        self.ask(|engine| async move { engine.range(&identity, after, count, RANGE_BYTES).await })
    }

    /// Where an event of this hub's making is, if it is there.
    fn find_made(&self, identity: Identity, id: &str, tag: u32, offset: u64) -> Found {
        if let Some(event) = self.recent().get(offset) {
            return if event.id() == id { Found::At(offset) } else { Found::Earliest };
        }
        let Some(before) = offset.checked_sub(1) else {
            return Found::Earliest;
        };
        match self.entries(identity, before, 1) {
            Ok(entries) => match entries.first() {
                Some(placed) if placed.offset == offset && placed.entry.tag == tag => Found::At(offset),
                // It is gone, or was lost and something else stands there: everything kept may be new to whoever has this id.
                _ => Found::Earliest,
            },
            Err(EngineError::Log(LogError::Trimmed { .. } | LogError::Shorter { .. })) => Found::Earliest,
            Err(_) => Found::Unavailable,
        }
    }
}

impl<E: Engine> Remote for EngineHistory<E> {
    fn find(&self, id: &str) -> Found {
        if id == "earliest" {
            return Found::Earliest;
        }
        let Some((identity, log)) = self.log() else {
            return Found::Unavailable;
        };
        if let Some((tag, offset)) = log.place_of(id) {
            return self.find_made(identity, id, tag, offset);
        }
        let id = id.to_owned();
        match self.ask(|engine| async move { engine.find(&identity, &id).await }) {
            Ok(Some(offset)) => Found::At(offset),
            Ok(None) => Found::Unknown,
            Err(_) => Found::Unavailable,
        }
    }

    fn range(&self, range: Range) -> Result<Vec<Arc<Event>>, HistoryError> {
        let (identity, log) = self.log().ok_or(HistoryError::Unreadable)?;
        let mut range = range;
        loop {
            let (last, gone) = {
                let recent = self.recent();
                if recent.is_lost() || recent.identity != identity {
                    return Err(HistoryError::Unreadable);
                }
                if let Some(events) = recent.range(&range) {
                    return Ok(events);
                }
                (recent.last(), recent.gone())
            };
            // It drops events of both kinds alike. What is forgiven needn't have gone: who was cut in an event asks for it again.
            let forgiven = range.forgiven.newest();
            let entries = match self.entries(identity, range.after.max(gone.min(forgiven)), range.count) {
                Ok(entries) => entries,
                Err(EngineError::Log(LogError::Trimmed { first })) => {
                    self.forget(identity, first - 1);
                    if first - 1 > forgiven {
                        return Err(HistoryError::Trimmed);
                    }
                    range = Range { after: first - 1, ..range };
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, after = range.after, "the past can't be read of the engine");
                    return Err(HistoryError::Unreadable);
                }
            };
            // What this hub hasn't followed yet comes with the others.
            let entries = entries.into_iter().take_while(|placed| placed.offset <= last);
            return Ok(entries.map(|placed| Arc::new(event_of(&log, placed, self.codings))).collect());
        }
    }

    fn last(&self) -> u64 {
        self.recent().last()
    }

    fn dropped(&self) -> Gone {
        Gone::default().or_up_to(self.recent().gone())
    }

    fn size(&self) -> (u64, u64) {
        self.recent().size()
    }

    fn keep(&self, now_ms: u64) {
        self.recent_mut().trim(now_ms);
    }
}

impl<E> std::fmt::Debug for EngineHistory<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineHistory").field("state", &self.state).finish_non_exhaustive()
    }
}
