//! Follows the engine's log and says what comes; notices when the engine doesn't answer, and when the log isn't what it was.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::OPEN_TIMEOUT;
use super::backoff::Backoff;
use super::link::{News, Tell};
use super::state::LinkState;
use crate::cluster::{Engine, EngineError, Identity, LogError, Opened, Placed};
use crate::server::shared::Shared;

/// How long the engine may keep quiet.
const WAIT: Duration = Duration::from_secs(1);
/// How much longer its word may take before it counts as down.
const GRACE: Duration = Duration::from_millis(700);
/// Entries taken at once, and bytes of them.
const ENTRIES_MAX: usize = 512;
const BYTES_MAX: usize = 1 << 20;
/// How long what stands at the cursor is taken for what was read there.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(1);
/// How long a hub whose fan-out lags leaves the engine alone.
const STEP_BACK: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Follower<E> {
    engine: Arc<E>,
    state: Arc<LinkState>,
    news: Tell,
    shared: Arc<Shared>,
    /// The tag of the entry at the cursor, if it is known, and when it was last compared.
    tag: Option<u32>,
    looked_back: Option<Instant>,
}

impl<E: Engine> Follower<E> {
    /// `tag`: of the newest entry, behind which it begins.
    pub(super) fn new(
        engine: Arc<E>,
        state: Arc<LinkState>,
        news: Tell,
        shared: Arc<Shared>,
        tag: Option<u32>,
    ) -> Follower<E> {
        Follower { engine, state, news, shared, tag, looked_back: None }
    }

    /// Runs until the sequencer's thread is gone.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut wait = WAIT;
        loop {
            let failure = match self.read_on(wait).await {
                Ok(entries) => {
                    self.state.well();
                    (backoff, wait) = (Backoff::default(), WAIT);
                    if !self.take(entries).await {
                        return;
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            self.looked_back = None;
            self.state.ill(&failure.to_string());
            let (opened, why) = self.open_again(&mut backoff, failure).await;
            if let Some(why) = why
                && !self.begin_anew(opened, why).await
            {
                return;
            }
            // Only one that is seen to be followed is well; that shouldn't wait for the next event.
            wait = Duration::ZERO;
        }
    }

    /// What follows, if something does before `wait` is over.
    async fn read_on(&mut self, wait: Duration) -> Result<Vec<Placed>, EngineError> {
        let (identity, cursor) = (self.state.identity(), self.state.cursor());
        let mut heard = Instant::now();
        // Others publish too, and can't be slowed from here: what isn't read yet waits in the engine.
        while self.shared.overloaded() {
            sleep(STEP_BACK).await;
            if heard.elapsed() >= WAIT {
                within(GRACE, self.engine.bounds(&identity)).await?;
                heard = Instant::now();
            }
        }
        let followed = self.engine.follow(&identity, cursor, ENTRIES_MAX, BYTES_MAX, wait);
        let entries = within(wait + GRACE, followed).await?;
        let gap = (cursor + 1..).zip(&entries).find(|(offset, placed)| *offset != placed.offset);
        if let Some((_, Placed { offset, .. })) = gap {
            return Err(LogError::Trimmed { first: *offset }.into());
        }
        self.look_back(&identity).await?;
        Ok(entries)
    }

    /// Opens the engine again, however long that takes, and looks whether its log is what it was.
    async fn open_again(&self, backoff: &mut Backoff, failure: EngineError) -> (Opened, Option<LogError>) {
        let mut seen = match failure {
            EngineError::Log(why) => Some(why),
            _ => None,
        };
        loop {
            if seen.is_none() || backoff.tries() > 0 {
                sleep(backoff.next()).await;
            } else {
                // The next try comes later.
                let _ = backoff.next();
            }
            match timeout(OPEN_TIMEOUT, self.engine.open()).await {
                Ok(Ok(opened)) => {
                    let last = opened.bounds.last;
                    if opened.identity != self.state.identity() {
                        seen = Some(LogError::Replaced);
                    } else if last < self.state.cursor() {
                        seen = seen.or(Some(LogError::Shorter { last }));
                    }
                    return (opened, seen);
                }
                Ok(Err(error)) => self.state.ill(&error.to_string()),
                Err(_) => self.state.ill(&format!("it has not answered within {} s", OPEN_TIMEOUT.as_secs())),
            }
        }
    }

    /// Hands on what follows. False: there is nobody any more.
    async fn take(&mut self, entries: Vec<Placed>) -> bool {
        let Some(last) = entries.last() else {
            return true;
        };
        self.tag = Some(last.entry.tag);
        self.state.read_on(last.offset, entries.len());
        self.news.tell(News::Followed(entries)).await
    }

    /// Looks now and then whether at the cursor stands what was read there. If not, the log had lost its newest events and has grown again
    /// since, which the engine's client needn't have noticed.
    async fn look_back(&mut self, identity: &Identity) -> Result<(), EngineError> {
        let cursor = self.state.cursor();
        if cursor == 0 || self.looked_back.is_some_and(|at| at.elapsed() < LOOK_BACK_EVERY) {
            return Ok(());
        }
        if let Some(tag) = self.tag {
            match within(GRACE, self.engine.range(identity, cursor - 1, 1, 1)).await {
                Ok(entries) => {
                    if entries.first().is_some_and(|at| at.offset == cursor && at.entry.tag != tag) {
                        return Err(LogError::Shorter { last: cursor - 1 }.into());
                    }
                }
                // It has aged meanwhile.
                Err(EngineError::Log(LogError::Trimmed { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        self.looked_back = Some(Instant::now());
        Ok(())
    }

    /// Goes on with the newest event of a log that isn't what it was.
    async fn begin_anew(&mut self, opened: Opened, why: LogError) -> bool {
        // What can't be had is not named to those who come.
        let newest = newest_of(&*self.engine, &opened).await.ok().flatten();
        self.tag = newest.as_ref().map(|placed| placed.entry.tag);
        let (identity, head) = (opened.identity, opened.bounds.last);
        self.state.lost(why, identity, head);
        tracing::error!(%why, head, "events of the cluster are lost to this hub: all streams are closed, and it goes on with the newest");
        self.news.tell(News::Lost { why, identity, head, newest }).await
    }
}

/// The engine's answer, if it comes in time.
async fn within<T>(patience: Duration, answer: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    let silent = || EngineError::Unavailable(format!("it has not answered within {} ms", patience.as_millis()));
    timeout(patience, answer).await.unwrap_or_else(|_| Err(silent()))
}

/// The newest event of a log that was opened.
pub(super) async fn newest_of<E: Engine>(engine: &E, opened: &Opened) -> Result<Option<Placed>, EngineError> {
    let last = opened.bounds.last;
    if last == 0 || opened.bounds.first > last {
        return Ok(None);
    }
    match engine.range(&opened.identity, last - 1, 1, 1).await {
        Ok(entries) => Ok(entries.into_iter().find(|placed| placed.offset == last)),
        // It has aged meanwhile.
        Err(EngineError::Log(LogError::Trimmed { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}
