//! What other threads say to a shard: a bounded queue and one wake-up per batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::hub::{Event, Found, HistoryChunk, HistoryError, SlotId};
use crate::server::admin::Order;
use crate::server::census::{Answer, Question};
use crate::server::compile::Compiled;
use crate::server::key_sets::LiveKeys;
use crate::server::settings::Settings;
use crate::server::sys::EventFd;

/// Messages that may wait for a shard. It empties the queue at every turn: a full one means a stuck loop.
const INBOX_MESSAGES_MAX: usize = 4096;

/// Names a task of a shard that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// A message to a shard.
pub(crate) enum Message {
    /// Committed events, in log order.
    Events(Arc<[Arc<Event>]>),
    /// Publishes of this shard's clients that are in the log now.
    Published(Vec<(Ticket, Arc<Event>)>),
    /// What became of a `Last-Event-ID`.
    Found(Ticket, Found),
    /// A range of history for a subscriber.
    History(SlotId, Result<HistoryChunk, HistoryError>),
    /// A subscription whose patterns were compiled elsewhere.
    Compiled(Ticket, Compiled),
    /// What an administrator wants.
    Admin(Order),
    /// Another shard asks who is subscribed to what.
    Asked { shard: usize, ticket: Ticket, question: Box<Question> },
    /// A shard's answer to that.
    Answered(Ticket, Answer),
    /// The keys that hold from now on.
    Keys(Arc<LiveKeys>),
    /// The configuration has changed.
    Settings {
        /// All of it.
        settings: Arc<Settings>,
        /// Connections in total.
        connections_max: usize,
    },
    /// Stop: no new requests, end the streams.
    Stop,
}

/// The sending end, one for each thread that talks to the shard.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    queue: Sender<Message>,
    bell: Arc<Bell>,
}

/// Wakes a shard's loop, once however often it is rung before the shard looks.
#[derive(Debug)]
pub(crate) struct Bell {
    fd: EventFd,
    rung: AtomicBool,
}

impl Bell {
    pub(crate) fn fd(&self) -> &EventFd {
        &self.fd
    }

    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.fd.signal();
        }
    }

    /// To be called before the queue is emptied, so that nothing sent meanwhile is slept over.
    pub(crate) fn answer(&self) {
        self.fd.clear();
        self.rung.store(false, Ordering::Release);
    }
}

impl Inbox {
    pub(crate) fn new() -> std::io::Result<(Inbox, Receiver<Message>, Arc<Bell>)> {
        let (queue, receiver) = bounded(INBOX_MESSAGES_MAX);
        let bell = Arc::new(Bell { fd: EventFd::new(0)?, rung: AtomicBool::new(false) });
        Ok((Inbox { queue, bell: bell.clone() }, receiver, bell))
    }

    /// Sends if there is room, and gives the message back if there is none: for shards, which wait for nobody.
    pub(crate) fn try_send(&self, message: Message) -> Result<(), TrySendError<Message>> {
        let sent = self.queue.try_send(message);
        self.bell.ring();
        sent
    }

    /// Sends, waiting for room if there is none; a shard that has ended swallows it.
    pub(crate) fn send(&self, message: Message) {
        if let Err(full) = self.queue.try_send(message) {
            self.bell.ring();
            let _ = self.queue.send(full.into_inner());
        }
        self.bell.ring();
    }

    /// Sends unless there is no room, without waiting; false: the shard is stuck.
    pub(crate) fn offer(&self, message: Message) -> bool {
        self.try_send(message).is_ok()
    }
}
