//! What the sequencer does in a cluster: it passes on what is queued, and hands out what the engine has put in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Asker, Desk, Order, Pen, Writer};
use crate::cluster::{LogError, Placed};
use crate::hub::{Event, Log};
use crate::protocol::event_id::IdCipher;
use crate::server::clock;
use crate::server::cluster::{Answered, Link, LinkState, News, Outgoing, draft_of};
use crate::server::commit::{Committed, NotStored, Stored};
use crate::server::compressor::Coder;
use crate::server::inbox::{Message, Ticket};
use crate::server::ration::Ration;

/// See the module.
pub(crate) struct Relay {
    link: Link,
    pub(super) state: Arc<LinkState>,
    coder: Coder,
    /// Taken from the queue and not passed on yet: one order of it at most.
    next: VecDeque<Outgoing>,
    /// Why the engine refused the last entry, as far as the log knows.
    refused: Option<Arc<NotStored>>,
    /// Of lines about that: publishers can cause them.
    lines: Ration,
}

impl Relay {
    pub(crate) fn new(link: Link, state: Arc<LinkState>, coder: Coder) -> Relay {
        Relay { link, state, coder, next: VecDeque::new(), refused: None, lines: Ration::default() }
    }

    /// Passes on what there is room for.
    fn take_from(&mut self, desk: &Desk) {
        loop {
            while let Some(one) = self.next.pop_front() {
                if let Err(full) = self.link.outgoing.try_send(one) {
                    self.next.push_front(full.into_inner());
                    return;
                }
            }
            match desk.orders.try_recv() {
                Ok(Order::Append(append)) => {
                    let asker = append.asker();
                    self.next.push_back(Outgoing::new(append.draft, asker));
                }
                Ok(Order::Announce(drafts, done)) => {
                    let last = drafts.len().saturating_sub(1);
                    let asker = |index| Asker::Announcer((index == last).then(|| done.clone()).into_iter().collect());
                    let all = drafts.into_iter().enumerate();
                    self.next.extend(all.map(|(index, draft)| Outgoing::new(draft, asker(index))));
                }
                Err(_) => return,
            }
        }
    }

    /// The events of what follows in the log, compressed as the compressor would.
    fn events(&mut self, log: &mut Log, entries: Vec<Placed>) -> Vec<Arc<Event>> {
        let event = |Placed { offset, entry }: Placed| {
            debug_assert_eq!(offset, log.head() + 1, "order: what is followed is gap-free");
            let (tag, published_ms) = (entry.tag, entry.published_ms);
            let mut draft = draft_of(entry);
            self.coder.prepare(&mut draft);
            log.follow(draft, tag, published_ms)
        };
        entries.into_iter().map(event).collect()
    }

    /// Says once why the engine refuses, and when it doesn't any more.
    fn note(&mut self, outcome: &Committed) {
        match outcome {
            Ok(_) => {
                if self.refused.take().is_some()
                    && let Some(left_out) = self.lines.take(clock::wall_ms())
                {
                    tracing::info!(left_out, "the cluster's engine takes updates again");
                }
            }
            Err(why) => {
                if self.refused.as_ref().is_none_or(|before| before.why() != why.why())
                    && let Some(left_out) = self.lines.take(clock::wall_ms())
                {
                    tracing::warn!(
                        why = why.why(),
                        left_out,
                        "updates could not be given to the cluster's engine: publishers are told so"
                    );
                }
                self.refused = Some(why.clone());
            }
        }
    }
}

impl Pen {
    /// Passes on what is queued, and hands out what has come back. Waits for shards without room, for nothing else.
    pub(super) fn pass_on(&mut self, desk: &Desk) {
        loop {
            let relay = self.relay.as_mut().expect("only the pen of a cluster passes on");
            relay.take_from(desk);
            let Ok(news) = relay.link.news.try_recv() else {
                return;
            };
            match news {
                News::Appended(answers) => self.tell_publishers(desk, answers),
                News::Followed(entries) => self.follow(entries),
                News::Lost { why, identity, head, newest } => {
                    let cipher = IdCipher::new(identity.id_key);
                    let log = Log::new(0, head, cipher);
                    let relay = self.relay.as_mut().expect("it was there just now");
                    let newest = newest.map(|placed| {
                        let before = &mut Log::new(0, placed.offset - 1, IdCipher::new(identity.id_key));
                        relay.events(before, vec![placed]).remove(0)
                    });
                    let recent = relay.link.recent.clone();
                    self.log = log.clone();
                    // Who asks before his shard was told gets no answer of the log that was, who asks afterwards none but of the next one.
                    recent.write().expect("no holder of what is at hand panics").lose();
                    self.lose_log(why, head, newest.clone());
                    let mut recent = recent.write().expect("no holder of what is at hand panics");
                    recent.begin_anew(identity, log);
                    recent.prepend(newest.into_iter().collect());
                }
            }
        }
    }

    fn tell_publishers(&mut self, desk: &Desk, answered: Vec<Answered>) {
        let mut answers: Vec<Vec<(Ticket, Committed)>> = vec![Vec::new(); self.shards.len()];
        let relay = self.relay.as_mut().expect("only the pen of a cluster is told");
        for Answered { cost_bytes, asker, outcome } in answered {
            desk.queued_bytes.fetch_sub(cost_bytes, Ordering::Relaxed);
            let outcome = outcome.map(Stored::Id);
            if outcome.is_err() {
                self.counters.failed();
            }
            relay.note(&outcome);
            match asker {
                Asker::Publisher(shard, ticket) => answers[shard].push((ticket, outcome)),
                Asker::Announcer(done) => done.iter().for_each(|done| _ = done.send(())),
            }
        }
        self.answer(answers, Writer::Patient);
    }

    fn follow(&mut self, entries: Vec<Placed>) {
        let relay = self.relay.as_mut().expect("only the pen of a cluster follows");
        let events = relay.events(&mut self.log, entries);
        let askers = events.iter().map(|_| Asker::Announcer(Vec::new())).collect();
        // Before anybody sees them: who comes back with one of their ids finds it.
        relay.link.recent.write().expect("no holder of what is at hand panics").append(&events, clock::wall_ms());
        self.hand_out(events, askers, Writer::Patient);
    }

    fn lose_log(&mut self, why: LogError, head: u64, newest: Option<Arc<Event>>) {
        tracing::debug!(%why, head, "shards go on with another log");
        for shard in 0..self.shards.len() {
            self.deliver(shard, Message::LogLost(head, newest.clone()), Writer::Patient);
        }
    }
}
