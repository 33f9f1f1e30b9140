//! Appends to the engine's log: batch after batch, each in one round trip, and tells what became of every entry.
//!
//! Nothing is appended twice on behalf of a publisher: if the engine's answer is lost, so is ours, and the publisher decides. The hub's own
//! announcements are tried again until they are there, after a look whether they are.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::backoff::{Backoff, tags};
use super::link::{Answered, News, Outgoing, Tell};
use super::state::LinkState;
use crate::cluster::{Appended, Engine, EngineError, Entry, Identity, Placed};
use crate::protocol::event_id::IdCipher;
use crate::server::commit::NotStored;
use crate::server::sequencer::Asker;

/// Entries of one batch at most, and bytes after which it takes no further one.
const BATCH_ENTRIES_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Entries looked at in one step, for announcements that may be there already.
const LOOK_ENTRIES: usize = 512;
/// Bytes of them.
const LOOK_BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct Appender<E> {
    engine: Arc<E>,
    state: Arc<LinkState>,
    news: Tell,
    /// Announcements whose fate isn't known, and where the log was before they were sent. Bounded: there are few announcers, and each waits.
    again: VecDeque<Outgoing>,
    since: Option<(Identity, u64)>,
    /// When they are tried again, if there are any.
    again_at: Option<Instant>,
    backoff: Backoff,
}

/// There is nobody to tell any more.
struct Gone;

impl<E: Engine> Appender<E> {
    pub(super) fn new(engine: Arc<E>, state: Arc<LinkState>, news: Tell) -> Appender<E> {
        Appender {
            engine,
            state,
            news,
            again: VecDeque::new(),
            since: None,
            again_at: None,
            backoff: Backoff::default(),
        }
    }

    /// Runs until the sequencer's thread is gone.
    pub(super) async fn run(mut self, mut outgoing: mpsc::Receiver<Outgoing>) {
        while let Ok(batch) = self.gather(&mut outgoing).await {
            // Whoever found no room looks again.
            self.news.call();
            if self.append(batch).await.is_err() {
                return;
            }
        }
    }

    /// What is to be appended next: what waits already, for one at least or until announcements have been looked for.
    async fn gather(&mut self, outgoing: &mut mpsc::Receiver<Outgoing>) -> Result<Vec<Outgoing>, Gone> {
        let mut batch = Vec::new();
        if let Some(again_at) = self.again_at {
            let state = self.state.clone();
            let due = async move {
                state.until_up().await;
                sleep_until(again_at).await;
            };
            // In this order: publishers who go on publishing don't put them off.
            match select(pin!(due), pin!(outgoing.recv())).await {
                Either::Left(_) => batch.extend(self.try_again().await?),
                Either::Right((came, _)) => batch.push(came.ok_or(Gone)?),
            }
        } else {
            batch.push(outgoing.recv().await.ok_or(Gone)?);
        }
        let mut bytes: usize = batch.iter().map(|one| one.cost_bytes).sum();
        while batch.len() < BATCH_ENTRIES_MAX
            && bytes < BATCH_BYTES_MAX
            && let Ok(next) = outgoing.try_recv()
        {
            bytes += next.cost_bytes;
            batch.push(next);
        }
        let batch_entries = batch.len();
        for (one, tag) in batch.iter_mut().zip(tags(batch_entries)) {
            if one.entry.tag == 0 {
                one.entry.tag = tag.max(1);
            }
        }
        Ok(batch)
    }

    /// Appends a batch and says what came of it.
    async fn append(&mut self, batch: Vec<Outgoing>) -> Result<(), Gone> {
        if batch.is_empty() {
            return Ok(());
        }
        let (identity, since) = (self.state.identity(), self.state.cursor());
        let appended = if self.state.is_down() {
            None
        } else {
            let entries = batch.iter().map(|one| one.entry.clone()).collect();
            match select(pin!(self.engine.append(&identity, entries)), pin!(self.state.until_down())).await {
                Either::Left((appended, _)) => Some(appended),
                Either::Right(_) => None,
            }
        };
        let unanswered = || vec![Err(EngineError::Unavailable("it doesn't answer".to_owned())); batch.len()];
        let appended: Vec<Appended> = appended.unwrap_or_else(unanswered);
        debug_assert_eq!(appended.len(), batch.len(), "an engine has one answer for each entry");
        let cipher = IdCipher::new(identity.id_key);
        let mut answers = Vec::with_capacity(batch.len());
        for (one, appended) in batch.into_iter().zip(appended) {
            match (appended, &one.asker) {
                (Err(_), Asker::Announcer(_)) => {
                    self.since.get_or_insert((identity, since));
                    if self.again_at.is_none() {
                        self.again_at = Some(Instant::now() + self.backoff.next());
                    }
                    self.again.push_back(one);
                }
                (appended, _) => answers.push(self.answer(one, appended, &cipher)),
            }
        }
        if self.again.is_empty() {
            self.backoff = Backoff::default();
        }
        self.tell(answers).await
    }

    async fn tell(&self, answers: Vec<Answered>) -> Result<(), Gone> {
        self.state.count_appended(answers.iter().filter(|answer| answer.outcome.is_ok()).count());
        if self.news.tell(News::Appended(answers)).await { Ok(()) } else { Err(Gone) }
    }

    fn answer(&mut self, one: Outgoing, appended: Appended, cipher: &IdCipher) -> Answered {
        let Outgoing { entry, cost_bytes, mut asker } = one;
        // Who is told of the last one is told of those before it, too.
        if let (Asker::Announcer(done), Some(Outgoing { asker: Asker::Announcer(last), .. })) =
            (&mut asker, self.again.back_mut())
        {
            last.append(done);
        }
        let outcome = match appended {
            Ok(offset) => Ok(id_of(&entry, offset, cipher)),
            Err(EngineError::Refused(why)) => Err(Arc::new(NotStored::Refused(why))),
            Err(error @ (EngineError::Unavailable(_) | EngineError::Log(_))) => {
                Err(Arc::new(NotStored::Unreachable(error.to_string())))
            }
        };
        Answered { cost_bytes, asker, outcome }
    }

    /// Announcements to be appended again: those that a look doesn't find in the log. None if it can't be told now; they are tried
    /// later.
    async fn try_again(&mut self) -> Result<Vec<Outgoing>, Gone> {
        if self.look_for_announcements().await? {
            (self.since, self.again_at) = (None, None);
            return Ok(self.again.drain(..).collect());
        }
        self.again_at = Some(Instant::now() + self.backoff.next());
        Ok(Vec::new())
    }

    /// Looks which announcements are in the log already although nobody said so; those needn't be appended again. False: it can't be told.
    async fn look_for_announcements(&mut self) -> Result<bool, Gone> {
        let Some((identity, mut after)) = self.since else {
            return Ok(true);
        };
        // Of another log it is known that they aren't there.
        while identity == self.state.identity() {
            let entries = match self.engine.range(&identity, after, LOOK_ENTRIES, LOOK_BYTES).await {
                Ok(entries) => entries,
                Err(EngineError::Log(_)) => break,
                Err(_) => return Ok(false),
            };
            let Some(last) = entries.last() else {
                break;
            };
            after = last.offset;
            let found = self.take_found(&entries);
            if !found.is_empty() {
                let cipher = IdCipher::new(identity.id_key);
                let answers = found.into_iter().map(|(one, offset)| self.answer(one, Ok(offset), &cipher)).collect();
                self.tell(answers).await?;
            }
        }
        Ok(true)
    }

    /// Takes those out that are among these entries, with their places.
    fn take_found(&mut self, entries: &[Placed]) -> Vec<(Outgoing, u64)> {
        let mut found = Vec::new();
        for one in std::mem::take(&mut self.again) {
            match entries.iter().find(|placed| is_same(&placed.entry, &one.entry)) {
                Some(placed) => found.push((one, placed.offset)),
                None => self.again.push_back(one),
            }
        }
        found
    }
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    one.tag == other.tag && one.published_ms == other.published_ms && one.update.topics == other.update.topics
}

/// The id subscribers will see.
fn id_of(entry: &Entry, offset: u64, cipher: &IdCipher) -> Box<str> {
    match &entry.update.id {
        Some(given) => given.as_str().into(),
        None => std::str::from_utf8(&cipher.encode(entry.tag, offset)).expect("an id is ASCII").into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;
    use std::time::Duration;

    use super::super::fake::{Fake, Fate, LOG, update};
    use super::super::link::{self, Link};
    use super::super::recent::Recent;
    use super::*;
    use crate::history::Retention;
    use crate::hub::{Draft, Log};
    use crate::server::inbox::Ticket;

    fn outgoing(data: &str, asker: Asker) -> Outgoing {
        Outgoing::new(Draft::new(update(data)), asker)
    }

    /// Runs an appender over a script, what the test does beside it, and gives the log and the answers in their order.
    fn run(fates: &[Fate], test: impl AsyncFnOnce(&mut Link)) -> (Vec<String>, Vec<Answered>) {
        let engine = Arc::new(Fake::default());
        engine.state().fates.extend(fates);
        let log = Log::new(0, 0, IdCipher::new(LOG.id_key));
        let retention = Retention { events_max: 100, bytes_max: 1 << 20, age_max_ms: None };
        let (mut link, outgoing, quiet) = link::new(Arc::new(RwLock::new(Recent::new(LOG, log, retention))));
        let state = Arc::new(LinkState::new(LOG, 0));
        let appender = Appender::new(engine.clone(), state, quiet.calling(Arc::new(|| ())));
        let mut answers = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let running = tokio::spawn(appender.run(outgoing));
            tokio::time::timeout(Duration::from_secs(30), test(&mut link)).await.expect("the test ends");
            let Link { outgoing, mut news, .. } = link;
            drop(outgoing);
            while let Some(news) = news.recv().await {
                if let News::Appended(answered) = news {
                    answers.extend(answered);
                }
            }
            running.await.unwrap();
        });
        let log = engine.state().log.iter().map(|entry| entry.update.data.clone()).collect();
        (log, answers)
    }

    #[test]
    fn announcements_that_are_there_already_are_not_appended_again_and_are_answered() {
        let (done, told) = crossbeam_channel::bounded(1);
        let (log, answers) = run(&[Fate::AnswerLost], async |link| {
            link.outgoing.send(outgoing("one", Asker::Announcer(vec![]))).await.ok().unwrap();
            link.outgoing.send(outgoing("two", Asker::Announcer(vec![done]))).await.ok().unwrap();
            while told.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                while let Ok(News::Appended(answered)) = link.news.try_recv() {
                    for Answered { cost_bytes, asker, outcome } in answered {
                        assert!(cost_bytes > 0 && outcome.is_ok());
                        let Asker::Announcer(done) = asker else { panic!("nobody published") };
                        done.iter().for_each(|done| done.send(()).unwrap());
                    }
                }
            }
        });
        assert_eq!((log, answers.len()), (vec!["one".to_owned(), "two".to_owned()], 0));
    }

    #[test]
    fn what_the_queue_counts_is_given_back_whatever_becomes_of_it() {
        let (log, _) = run(&[Fate::Lost, Fate::AnswerLost], async |link| {
            let (mut sent_bytes, mut answered_bytes) = (0, 0);
            for n in 0..10 {
                let one = outgoing(&n.to_string(), Asker::Announcer(vec![]));
                sent_bytes += one.cost_bytes;
                link.outgoing.send(one).await.ok().unwrap();
            }
            while answered_bytes < sent_bytes {
                if let Some(News::Appended(answered)) = link.news.recv().await {
                    answered_bytes += answered.iter().map(|answer| answer.cost_bytes).sum::<usize>();
                }
            }
            assert_eq!(answered_bytes, sent_bytes);
        });
        assert_eq!(log.len(), 10);
    }

    /// Seen: with a publish a second they were never tried again.
    #[test]
    fn publishers_who_go_on_publishing_do_not_put_announcements_off() {
        let (log, _) = run(&[Fate::Lost], async |link| {
            link.outgoing.send(outgoing("announced", Asker::Announcer(vec![]))).await.ok().unwrap();
            for n in 0..400_u64 {
                link.outgoing.send(outgoing("said", Asker::Publisher(0, Ticket(n)))).await.ok().unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
                while link.news.try_recv().is_ok() {}
            }
        });
        let place = log.iter().position(|data| data == "announced").expect("it is there");
        assert!(place < 390, "behind {place} publishes");
    }
}
