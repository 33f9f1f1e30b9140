//! What other threads say to a shard: a bounded queue and one wake-up per batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustls::ServerConfig;

use crate::hub::{Drain, Event, Found, HistoryChunk, HistoryError, SlotId};
use crate::server::admin::Order;
use crate::server::census::{Answer, Question};
use crate::server::cluster::elsewhere;
use crate::server::commit::Committed;
use crate::server::compile::Compiled;
use crate::server::key_sets::LiveKeys;
use crate::server::settings::Settings;
use crate::server::sys::EventFd;

/// Messages that may wait for a shard. It empties the queue at every turn: a full one means a stuck loop.
const INBOX_MESSAGES_MAX: usize = 4096;
/// Batches of events that may lie with a shard without streams before it is woken for them. It looks at every tick
/// anyway, and before anybody subscribes.
const UNHURRIED_MESSAGES_MAX: usize = 64;

/// Names a task of a shard that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// A message to a shard.
pub(crate) enum Message {
    /// Committed events, in log order.
    Events(Arc<[Arc<Event>]>),
    /// What became of publishes of this shard's clients.
    Published(Vec<(Ticket, Committed)>),
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
    /// The log isn't what it was, and goes on after this offset, where this event is.
    LogLost(u64, Option<Arc<Event>>),
    /// Who is subscribed at other hubs.
    Elsewhere(Ticket, elsewhere::Answer),
    /// The keys that hold from now on.
    Keys(Arc<LiveKeys>),
    /// What new connections with TLS begin with.
    Certificates(Arc<ServerConfig>),
    /// The configuration has changed.
    Settings {
        /// All of it.
        settings: Arc<Settings>,
        /// Connections in total.
        connections_max: usize,
    },
    /// Drain: accept no more, and end the streams one by one.
    Drain(Drain),
    /// Stop: no new requests, end the streams that are left.
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
    /// The shard has streams, for which events are urgent.
    urgent: AtomicBool,
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

    /// Whether events are to wake the shard. Who starts to want them looks at its messages afterwards: what was left
    /// there meanwhile rang for nobody.
    pub(crate) fn set_urgent(&self, urgent: bool) {
        self.urgent.store(urgent, Ordering::Relaxed);
        fence(Ordering::SeqCst);
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
        let bell =
            Arc::new(Bell { fd: EventFd::new(0)?, rung: AtomicBool::new(false), urgent: AtomicBool::new(false) });
        Ok((Inbox { queue, bell: bell.clone() }, receiver, bell))
    }

    /// Sends if there is room, and gives the message back if there is none: for shards, which wait for nobody.
    pub(crate) fn try_send(&self, message: Message) -> Result<(), TrySendError<Message>> {
        let sent = self.queue.try_send(message);
        self.bell.ring();
        sent
    }

    /// Leaves a message without waking the shard, if there is room.
    pub(crate) fn leave(&self, message: Message) -> Result<(), TrySendError<Message>> {
        self.queue.try_send(message)
    }

    /// Wakes the shard.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// Wakes the shard for events that were left with it, if that is urgent.
    pub(crate) fn ring_for_events(&self) {
        // The other half is in `Bell::set_urgent`: whichever comes second sees the first.
        fence(Ordering::SeqCst);
        if self.bell.urgent.load(Ordering::Relaxed) || self.queue.len() > UNHURRIED_MESSAGES_MAX {
            self.bell.ring();
        }
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
