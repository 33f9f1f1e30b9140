//! Who is subscribed to what, asked of the shards: each knows only its own, and answers in pieces.

use std::cell::RefCell;
use std::collections::VecDeque;

use crossbeam_channel::TrySendError;

use crate::hub::{Listed, Shard, SlotId};
use crate::protocol::matcher::Matcher;
use crate::server::inbox::{Inbox, Message};

/// What one shard asks another, or itself.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// Subscribers in slots from one on; only those of a matcher, if there is one.
    List {
        /// The matcher.
        matcher: Option<Matcher>,
        /// The first slot.
        from: u32,
        /// So many at most.
        count: usize,
    },
    /// One subscriber.
    One(SlotId),
    /// How many subscriptions there are; only those of a matcher, if there is one.
    Count(Option<Matcher>),
}

/// What it answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A piece of the list of subscribers.
    Listed(Listed),
    /// A number of subscriptions.
    Count(usize),
}

impl Question {
    /// The answer of one shard.
    pub(crate) fn answer(&self, shard: &Shard) -> Answer {
        match self {
            Question::List { matcher, from, count } => Answer::Listed(shard.listed(matcher.as_ref(), *from, *count)),
            Question::One(id) => {
                Answer::Listed(Listed { subscribers: shard.listed_as(*id).into_iter().collect(), next: None })
            }
            Question::Count(None) => Answer::Count(shard.subscriptions()),
            Question::Count(Some(matcher)) => Answer::Count(shard.subscriptions_to(matcher)),
        }
    }
}

/// What a shard has for others. It never waits for room in their inboxes: what finds none is sent later. There is one
/// letter for each request for subscriptions at most.
pub(crate) struct Letters {
    neighbours: Vec<Inbox>,
    unsent: RefCell<VecDeque<(usize, Message)>>,
}

impl Letters {
    pub(crate) fn new(neighbours: Vec<Inbox>) -> Letters {
        Letters { neighbours, unsent: RefCell::new(VecDeque::new()) }
    }

    /// Shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.neighbours.len()
    }

    /// Sends a letter to a shard, after those that wait already.
    pub(crate) fn send(&self, shard: usize, message: Message) {
        self.unsent.borrow_mut().push_back((shard, message));
        self.send_again();
    }

    /// Sends what there was no room for. Whoever has ended gets nothing, and answers nothing.
    pub(crate) fn send_again(&self) {
        let mut unsent = self.unsent.borrow_mut();
        while let Some((shard, message)) = unsent.pop_front() {
            if let Err(TrySendError::Full(message)) = self.neighbours[shard].try_send(message) {
                unsent.push_front((shard, message));
                break;
            }
        }
    }
}
