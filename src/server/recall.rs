//! The history readers: they answer the shards' questions about the past, so that no shard ever reads it itself.

use std::sync::RwLock;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::history::MemoryHistory;
use crate::hub::{self, Filter, SlotId};
use crate::protocol::topic::HubUrl;
use crate::server::inbox::{Inbox, Message, Ticket};

/// Questions that may wait for a reader; a shard keeps the rest (one per subscriber at most) and asks later.
const QUESTIONS_MAX: usize = 1024;

/// A question about the past.
#[derive(Debug)]
pub(crate) enum Question {
    /// What does this `Last-Event-ID` name?
    Find { shard: usize, ticket: Ticket, id: Box<str> },
    /// What follows this offset and passes the filter?
    Read { shard: usize, slot: SlotId, after: u64, from_earliest: bool, filter: Filter },
}

/// The queue to the readers.
pub(crate) fn channel() -> (Sender<Question>, Receiver<Question>) {
    bounded(QUESTIONS_MAX)
}

/// Answers until every shard has hung up.
pub(crate) fn run(questions: &Receiver<Question>, history: &RwLock<MemoryHistory>, url: &HubUrl, shards: &[Inbox]) {
    for question in questions {
        let (shard, answer) = match question {
            Question::Find { shard, ticket, id } => {
                let found = history.read().expect("no holder of the history lock panics").find(&id);
                (shard, Message::Found(ticket, found))
            }
            Question::Read { shard, slot, after, from_earliest, filter } => {
                (shard, Message::History(slot, hub::read(history, after, from_earliest, &filter, url)))
            }
        };
        shards[shard].send(answer);
    }
}
