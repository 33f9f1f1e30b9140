//! The announcer: it turns what the shards say of comers and goers into events, no faster than the log should take them.
//!
//! A beginning is in the journal before it is in the log, and an end is in the log before it is in the journal. So
//! whatever happens in between, the next run knows whom to end: nobody is left that only seems to be there.

mod ids;
mod journal;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::hub::{Announcement, Draft, Subscriptions};
use crate::protocol::subscription::{self, Subscription};
use crate::protocol::topic::HubUrl;
use crate::protocol::update::Update;
use crate::server::sequencer::SequencerHandle;
use crate::server::shared::Shared;
use crate::server::sys;
pub(crate) use ids::SubscriberIds;
pub(crate) use journal::Journal;
use journal::Left;

/// Comers and goers that may wait for the announcer; a shard keeps the rest and tells it later.
const WAITING_MAX: usize = 1024;
/// Events handed to the sequencer at a time: what a publish may have to stand behind. One connection's go together.
const BATCH_EVENTS: usize = 64;
/// The announcer's share of the log: so many events a second.
pub(crate) const EVENTS_PER_S_MAX: u32 = 4_000;
/// How long the announcer steps back when the hub can't keep up.
const STEP_BACK: Duration = Duration::from_millis(20);

/// Somebody of a shard comes or goes.
pub(crate) type FromShard = (usize, Announcement);

/// The queue to the announcer.
pub(crate) fn channel() -> (Sender<FromShard>, Receiver<FromShard>) {
    bounded(WAITING_MAX)
}

/// Where a cluster notes who is subscribed at this hub.
pub(crate) trait Roster: Send + Sync {
    /// Notes those who begin (each with its document), announces, and forgets those who have ended. Waits as long as it takes; false: the hub
    /// has ended.
    fn keep(&self, begun: Vec<(String, String)>, ended: &[String], announce: &mut Announcing<'_>) -> bool;
}

/// Announces a batch, its ends under the ids that the roster gives for their addresses. False: the hub has ended.
pub(crate) type Announcing<'a> = dyn FnMut(&dyn Fn(&str) -> String) -> bool + 'a;

/// See the module.
pub(crate) struct Announcer {
    pub(crate) hub: HubUrl,
    pub(crate) ids: Arc<SubscriberIds>,
    pub(crate) sequencer: SequencerHandle,
    pub(crate) shared: Arc<Shared>,
    /// `None`: nothing survives a restart, and there is nobody to tell.
    pub(crate) journal: Option<Journal>,
    /// In a cluster, instead of the journal: other hubs end what this one leaves open.
    pub(crate) roster: Option<Arc<dyn Roster>>,
}

impl Announcer {
    /// Works until every shard has hung up or the hub has ended.
    pub(crate) fn run(mut self, waiting: &Receiver<FromShard>) {
        sys::yield_to_others();
        self.end_those_left();
        let mut batch = Batch::default();
        for first in waiting {
            if self.shared.ended() {
                return;
            }
            self.add(first, &mut batch);
            while batch.updates.len() < BATCH_EVENTS
                && let Ok(next) = waiting.try_recv()
            {
                self.add(next, &mut batch);
            }
            self.announce(&mut batch);
        }
    }

    /// What the previous run did not get to end, ends now.
    fn end_those_left(&mut self) {
        let Some(left) = self.journal.as_ref().map(Journal::left) else {
            return;
        };
        let mut ended = 0;
        for together in whole_subscribers(left) {
            ended += together.len();
            if !self.announce_left(together) {
                return;
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.forget_left();
        }
        if ended > 0 {
            tracing::info!(subscriptions = ended, "ended what the previous run left open");
        }
    }

    /// Whether it could be done: the hub hasn't ended.
    fn announce_left(&mut self, left: Vec<Left>) -> bool {
        let (mut drafts, mut ended) = (Vec::new(), Vec::new());
        for Left { subscriber, address, document } in left {
            drafts.push(Draft::announcement(subscription::announcement(&address, document)));
            ended.push(subscriber);
        }
        ended.dedup();
        let events = drafts.len();
        let done = self.commit(drafts);
        if let (true, Some(journal)) = (done, &mut self.journal) {
            journal.ended_of_left(&ended);
        }
        rest_after(events);
        done
    }

    fn add(&self, (shard, announcement): FromShard, batch: &mut Batch) {
        let Announcement { active, subscriptions: Subscriptions { id, matchers, access } } = announcement;
        let subscriber = self.ids.name(shard, id);
        let (mut lines, mut document) = (Vec::new(), Vec::new());
        for matcher in &matchers {
            let payload = subscription::payload(access.as_deref(), matcher, &self.hub);
            let subscription = Subscription { matcher, subscriber: &subscriber, active, payload };
            let ending = Subscription { active: false, ..subscription };
            if let Some(journal) = &self.journal {
                journal.note_begun(&subscriber, &ending, &self.hub, &mut lines);
            }
            if active && self.roster.is_some() {
                ending.write(&self.hub, &mut document);
                document.push(b'\n');
            }
            batch.updates.push((active, subscription.update(&self.hub)));
        }
        if active {
            batch.begun.append(&mut lines);
            if self.roster.is_some() {
                let document = String::from_utf8(document).expect("addresses and JSON are UTF-8");
                batch.entered.push((subscriber, document));
            }
        } else {
            batch.ended.push(subscriber);
            batch.ended_bytes += lines.len();
        }
    }

    fn announce(&mut self, batch: &mut Batch) {
        if let Some(journal) = &mut self.journal {
            journal.begun(&batch.begun);
        }
        batch.begun.clear();
        let events = batch.updates.len();
        let mut updates = std::mem::take(&mut batch.updates);
        let committed = match &self.roster {
            None => self.commit(updates.into_iter().map(|(_, update)| Draft::announcement(update)).collect()),
            Some(roster) => roster.keep(std::mem::take(&mut batch.entered), &batch.ended, &mut |end_id| {
                let named = |(active, update): (bool, Update)| {
                    let id = (!active).then(|| end_id(update.topics[0].as_str()));
                    Draft::announcement(Update { id, ..update })
                };
                self.commit(updates.drain(..).map(named).collect())
            }),
        };
        if committed && let Some(journal) = &mut self.journal {
            journal.ended(&batch.ended, batch.ended_bytes);
        }
        batch.ended.clear();
        batch.ended_bytes = 0;
        rest_after(events);
    }

    /// Puts events into the log and waits until they are there. False: the hub has ended.
    fn commit(&self, drafts: Vec<Draft>) -> bool {
        if drafts.is_empty() {
            return !self.shared.ended();
        }
        while self.shared.overloaded() {
            if self.shared.ended() {
                return false;
            }
            thread::sleep(STEP_BACK);
        }
        let (done, committed) = bounded(1);
        self.sequencer.announce(drafts, done);
        committed.recv().is_ok()
    }
}

/// Batches in which every subscriber is whole: the journal knows only that a subscriber has ended, not which part of it.
fn whole_subscribers(left: impl Iterator<Item = Left>) -> impl Iterator<Item = Vec<Left>> {
    let mut left = left.peekable();
    std::iter::from_fn(move || {
        let mut batch = vec![left.next()?];
        while let Some(next) = left.next_if(|next| {
            batch.len() < BATCH_EVENTS || batch.last().is_some_and(|one| one.subscriber == next.subscriber)
        }) {
            batch.push(next);
        }
        Some(batch)
    })
}

/// Waits until more events may follow. After the journal was told: a run that is killed meanwhile leaves it right.
fn rest_after(events: usize) {
    thread::sleep(Duration::from_secs(1) / EVENTS_PER_S_MAX * events as u32);
}

/// Events that go together, and what the journal is told with them.
#[derive(Default)]
struct Batch {
    /// Each with whether it says that somebody is there.
    updates: Vec<(bool, Update)>,
    /// Lines of the journal.
    begun: Vec<u8>,
    /// Those who begin, and their documents, where a cluster is to know.
    entered: Vec<(String, String)>,
    /// Subscribers.
    ended: Vec<String>,
    /// Bytes of the lines that said that they had begun.
    ended_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen: a hub that was killed while it ended what was left, in the middle of a subscriber, never ended the rest of it.
    #[test]
    fn a_subscriber_is_ended_as_a_whole() {
        let left =
            |n: usize| Left { subscriber: (n / 20).to_string(), address: n.to_string(), document: String::new() };
        let batches: Vec<Vec<Left>> = whole_subscribers((0..200).map(left)).collect();
        assert!(batches.iter().map(Vec::len).eq([80, 80, 40]));
        let addresses = batches.iter().flatten().map(|one| one.address.clone());
        assert!(addresses.eq((0..200).map(|n| n.to_string())), "all of them, in their order");
    }
}
