//! The history readers: they answer the shards' questions about the past, so that no shard ever reads it itself.
//!
//! A look-up is cheap and somebody waits for it before anything is answered; reading a range may be costly. Each kind has
//! a queue and a thread of its own, so that no reconnect waits behind somebody else's replay.

use std::cell::RefCell;
use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::history::History;
use crate::hub::{self, Filter, Gone, SlotId};
use crate::protocol::topic::HubUrl;
use crate::server::clock;
use crate::server::inbox::{Inbox, Message, Ticket};
use crate::server::shared::Shared;

/// Questions of one kind that may wait for their reader; a shard keeps the rest (one per connection at most) and asks
/// later.
const QUESTIONS_MAX: usize = 1024;

/// What does this `Last-Event-ID` name?
#[derive(Debug)]
pub(crate) struct Find {
    pub(crate) shard: usize,
    pub(crate) ticket: Ticket,
    pub(crate) id: Box<str>,
    /// By somebody who may read announcements of subscriptions.
    pub(crate) announcements: bool,
}

/// What follows this offset and passes the filter?
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) shard: usize,
    pub(crate) slot: SlotId,
    pub(crate) after: u64,
    pub(crate) forgiven: Option<Gone>,
    pub(crate) filter: Filter,
}

/// The queue to a reader.
pub(crate) fn channel<Q>() -> (Sender<Q>, Receiver<Q>) {
    bounded(QUESTIONS_MAX)
}

/// A shard's end of such a queue.
pub(crate) struct Questions<Q> {
    queue: Sender<Q>,
    /// What the queue had no room for: one per connection at most.
    unasked: RefCell<VecDeque<Q>>,
}

impl<Q> Questions<Q> {
    pub(crate) fn new(queue: Sender<Q>) -> Questions<Q> {
        Questions { queue, unasked: RefCell::new(VecDeque::new()) }
    }

    /// Asks without waiting; after those that have to wait already.
    pub(crate) fn ask(&self, question: Q) {
        self.unasked.borrow_mut().push_back(question);
        self.ask_again();
    }

    /// Asks what there was no room for.
    pub(crate) fn ask_again(&self) {
        let mut unasked = self.unasked.borrow_mut();
        while let Some(question) = unasked.pop_front() {
            if let Err(TrySendError::Full(question)) = self.queue.try_send(question) {
                unasked.push_front(question);
                break;
            }
        }
    }
}

/// Looks up ids until every shard has hung up, or nobody waits for answers any more.
pub(crate) fn find(questions: &Receiver<Find>, history: &History, shared: &Shared, shards: &[Inbox]) {
    for Find { shard, ticket, id, announcements } in questions.iter().take_while(|_| !shared.ended()) {
        let found = history.find(&id, announcements);
        shards[shard].send(Message::Found(ticket, found));
    }
}

/// Reads ranges as long as [`find`] looks up.
pub(crate) fn read(questions: &Receiver<Read>, history: &History, url: &HubUrl, shared: &Shared, shards: &[Inbox]) {
    for Read { shard, slot, after, forgiven, filter } in questions.iter().take_while(|_| !shared.ended()) {
        let chunk = hub::read(history, after, forgiven, &filter, url);
        shards[shard].send(Message::History(slot, chunk));
    }
}

/// Keeps history in order whenever somebody asks for it, until the hub has ended.
pub(crate) fn keep(asked: &Receiver<()>, history: &History, shared: &Shared) {
    for () in asked.iter().take_while(|()| !shared.ended()) {
        history.keep(clock::wall_ms());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use super::*;
    use crate::history::{MemoryHistory, Retention};
    use crate::hub::Log;
    use crate::protocol::event_id::IdCipher;

    #[test]
    fn what_the_queue_has_no_room_for_is_asked_later_and_in_order() {
        let (queue, reader) = bounded(2);
        let questions = Questions::new(queue);
        for number in 0..5 {
            questions.ask(number);
        }
        assert_eq!(reader.try_iter().collect::<Vec<_>>(), [0, 1]);
        questions.ask(5);
        assert_eq!(reader.try_iter().collect::<Vec<_>>(), [2, 3], "nobody overtakes");
        questions.ask_again();
        assert_eq!(reader.try_iter().collect::<Vec<_>>(), [4, 5]);
        assert!(questions.unasked.borrow().is_empty());
    }

    #[test]
    fn a_reader_answers_nobody_once_the_shards_have_ended() {
        let log = Log::new(1, 0, IdCipher::new([7; 32]));
        let retention = Retention { events_max: 10, bytes_max: 1000, age_max_ms: None };
        let history = History::Memory(RwLock::new(MemoryHistory::new(retention, log.locator())));
        let shared = Shared::new(1);
        let (inbox, messages, _) = Inbox::new().unwrap();
        let (queue, asked) = channel();
        let ask = || queue.send(Find { shard: 0, ticket: Ticket(0), id: "x".into(), announcements: false }).unwrap();
        ask();
        shared.end();
        ask();
        // The sender lives: it returns because of the flag, and leaves what is queued.
        find(&asked, &history, &shared, &[inbox]);
        assert_eq!((messages.len(), asked.len()), (0, 1));
    }
}
