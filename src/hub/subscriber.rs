//! One event stream: a place in the log plus a filter.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::batch::VISIT_PARTS_MAX;
use super::defect::{Defect, planted};
use super::event::Event;
use super::history::Gone;
use super::tail::Tail;
use crate::protocol::coding::{Coding, Form};
use crate::protocol::frame::Frame;
use crate::protocol::token::Access;

/// A slot of the shard's slab and the generation it had: names one subscriber, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId {
    /// Index in the slab.
    pub slot: u32,
    /// How often the slot was freed before.
    pub generation: u32,
}

impl SlotId {
    /// Both halves in one word, as readiness events carry it.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The inverse of [`SlotId::to_bits`].
    pub fn from_bits(bits: u64) -> SlotId {
        SlotId { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// A parked socket, or a stream of a session. What the number means – a descriptor, a slot of a ring's file table, a place in a
/// slab – only the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u32);

/// Where a subscriber's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A plaintext HTTP/1 connection: shared frames leave unchanged in one vectored send.
    Socket(SocketId),
    /// An HTTP/1 connection with TLS: the same bytes leave sealed, and count as sent when they are.
    Sealed(SocketId),
    /// A stream of an HTTP/2 connection, which has others: the bytes leave in its frames, as far as its window has room, and count as
    /// sent when they are in them. The number is the stream's, not a socket's.
    Session(SocketId),
}

impl Sink {
    /// Its number, whatever kind it is of.
    pub fn socket(self) -> SocketId {
        match self {
            Sink::Socket(socket) | Sink::Sealed(socket) | Sink::Session(socket) => socket,
        }
    }
}

/// Why a stream was ended. Each has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed or the connection broke.
    Gone,
    /// The token's `exp` is near.
    Expired,
    /// The connection reached its maximum lifetime.
    Lifetime,
    /// The socket took nothing for the write deadline.
    Stalled,
    /// The client kept sending on a stream that reads nothing.
    Talkative,
    /// Its next event is no longer kept; it comes back and is told.
    Trimmed,
    /// Its next event can't be read; it comes back and is told, or served by then.
    Unreadable,
    /// The log it read isn't what it was: a cluster's engine has lost or replaced it.
    LogLost,
    /// The hub is stopping.
    Stopping,
    /// What let it in doesn't hold any more: its token's key was withdrawn.
    Revoked,
    /// An administrator ended it.
    Kicked,
}

impl CloseReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [CloseReason; 11] = [
        CloseReason::Gone,
        CloseReason::Expired,
        CloseReason::Lifetime,
        CloseReason::Stalled,
        CloseReason::Talkative,
        CloseReason::Trimmed,
        CloseReason::Unreadable,
        CloseReason::LogLost,
        CloseReason::Stopping,
        CloseReason::Revoked,
        CloseReason::Kicked,
    ];

    /// The word logs and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Gone => "gone",
            CloseReason::Expired => "expired",
            CloseReason::Lifetime => "lifetime",
            CloseReason::Stalled => "stalled",
            CloseReason::Talkative => "talkative",
            CloseReason::Trimmed => "trimmed",
            CloseReason::Unreadable => "unreadable",
            CloseReason::LogLost => "log-lost",
            CloseReason::Stopping => "stopping",
            CloseReason::Revoked => "revoked",
            CloseReason::Kicked => "kicked",
        }
    }
}

/// What dispatch may do with a slot. *Queued* is no state of its own: it is a current subscriber one of whose
/// selectors has an event pending that is newer than its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Free.
    Vacant,
    /// Taken, not registered yet.
    Reserved,
    /// Has everything up to the dispatched offset, or it is pending on its selectors.
    Current,
    /// Reads from its own cursor: its socket is full, or it is replaying. Dispatch skips it.
    Behind,
    /// Ending: in no member list any more.
    Closing,
}

/// Membership in one selector's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) selector: u32,
    pub(crate) position: u32,
}

/// The selectors of a subscriber and its position in each one's member list.
#[derive(Debug, Default)]
pub(crate) enum Places {
    #[default]
    None,
    /// The common case costs no allocation.
    One(Place),
    /// Boxed twice on purpose: one word in the record.
    Many(Box<Box<[Place]>>),
}

impl Places {
    pub(crate) fn new(places: &[Place]) -> Places {
        match places {
            [] => Places::None,
            [one] => Places::One(*one),
            many => Places::Many(Box::new(many.into())),
        }
    }

    pub(crate) fn as_slice(&self) -> &[Place] {
        match self {
            Places::None => &[],
            Places::One(place) => std::slice::from_ref(place),
            Places::Many(places) => places,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Place] {
        match self {
            Places::None => &mut [],
            Places::One(place) => std::slice::from_mut(place),
            Places::Many(places) => places,
        }
    }
}

/// What remains of something whose first bytes the socket has taken, or that must go before everything else.
#[derive(Debug)]
pub(crate) enum Rest {
    /// Bytes of its own: the response head, what it is told before it ends, or both.
    Head(Box<[u8]>, u32),
    /// An event, from a byte of its frame (in the connection's own form: chunked or plain).
    Event(Arc<Event>, u32),
    /// The same while the socket is full. It doesn't keep the event: were it to, stalled clients would hold more than
    /// tail and history may. Should nobody else have it in memory by then, it is read again.
    Stalled {
        event: Weak<Event>,
        offset: u64,
        /// Bytes of its frame.
        length: u32,
        at: u32,
    },
    /// A heartbeat.
    Heartbeat(u32),
    /// The end of a chunked body.
    LastChunk(u32),
}

/// What a subscriber that is behind waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A slice: it stands in the catch-up queue.
    Slice,
    /// Room in its socket.
    Writable,
    /// Its turn to ask the history readers.
    Turn,
    /// An answer of theirs.
    History,
}

/// What a subscriber needs only while it is behind. Constant in size while its socket is full: a slow reader has no queue.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) wait: Wait,
    pub(crate) rest: Option<Rest>,
    /// Matching events of one bounded answer from history, oldest first.
    pub(crate) chunk: VecDeque<Arc<Event>>,
    /// Everything up to here has been looked at when `chunk` is empty.
    pub(crate) through: u64,
    /// It has one of the places of those who read history at once: for its chunk, or for the event it was cut in.
    pub(crate) holds: bool,
    /// What was gone when it began, so that it doesn't miss it; `None`: it begins with the oldest event kept, and history will say
    /// where that is.
    pub(crate) forgiven: Option<Gone>,
    /// How long its socket had taken nothing when it was said to have room, tenths of seconds: waiting for history then isn't the
    /// socket's fault, and no excuse for what was before.
    pub(crate) idle_ds: u32,
}

impl Backlog {
    pub(crate) fn new(wait: Wait, offset: u64) -> Backlog {
        Backlog {
            wait,
            rest: None,
            chunk: VecDeque::new(),
            through: offset,
            holds: false,
            forgiven: Some(Gone::default()),
            idle_ds: 0,
        }
    }

    /// The socket is full: lets go of events until it isn't. What history answered is asked for again.
    pub(crate) fn stall(&mut self, form: Form) {
        self.chunk = VecDeque::new();
        if let Some(Rest::Event(event, at)) = &self.rest {
            let (offset, length) = (event.offset, event.frame.length(form) as u32);
            self.rest = Some(Rest::Stalled { event: Arc::downgrade(event), offset, length, at: *at });
        }
    }

    /// The socket has room: whether the event it was cut in is still in memory.
    pub(crate) fn resume(&mut self, tail: &Tail, form: Form) -> bool {
        let Some(Rest::Stalled { event, offset, .. }) = &self.rest else {
            return true;
        };
        match event.upgrade().or_else(|| tail.get(*offset).cloned()) {
            Some(event) => self.resume_in(event, form),
            None => false,
        }
    }

    /// Goes on inside an event, which has to be the one it was cut in. Frames of the same event and form that are of one length have the
    /// same bytes: one that was compressed is shorter than one that wasn't, as events from a disk are.
    pub(crate) fn resume_in(&mut self, event: Arc<Event>, form: Form) -> bool {
        let Some(Rest::Stalled { offset, length, at, .. }) = self.rest else {
            return false;
        };
        let now = event.frame.length(form) as u32;
        let same = event.offset == offset && (now == length || planted(Defect::MistakesFrame) && now > at);
        if same {
            self.rest = Some(Rest::Event(event, at));
        }
        same
    }

    /// Whether it asks history although it may have all the tail has: before it has begun, and as long as what is forgiven reaches further
    /// than its place does, which only a backlog remembers.
    pub(crate) fn asks_history(&self, offset: u64) -> bool {
        self.forgiven.is_none_or(|gone| gone.newest() > offset)
    }

    /// The event it was cut in, as long as it has to be read again.
    pub(crate) fn cut_in(&self) -> Option<u64> {
        match self.rest {
            Some(Rest::Stalled { offset, .. }) => Some(offset),
            _ => None,
        }
    }
}

/// The record of one event stream.
#[derive(Debug)]
pub struct Subscriber {
    pub(crate) generation: u32,
    pub(crate) state: State,
    /// HTTP/1.1: frames go out with their chunk lines; HTTP/1.0: the middle only.
    pub(crate) chunked: bool,
    /// The content coding of its body.
    pub(crate) coding: Option<Coding>,
    /// A write of the batch being carried out names it.
    pub(crate) in_batch: bool,
    /// The end of the chunked body has been queued or can't be written any more.
    pub(crate) ended: bool,
    /// Its subscriptions have been announced: their end will be, too.
    pub(crate) announced: bool,
    /// Times the socket became readable; 64 are too many for a stream that reads nothing.
    pub(crate) wakeups: u16,
    /// Bytes read and thrown away.
    pub(crate) discarded_bytes: u16,
    pub(crate) sink: Option<Sink>,
    /// Newest offset it has or, of a subscriber behind, the cursor it reads on from.
    pub(crate) offset: u64,
    /// Last time the socket took bytes; of a closing one, when closing began. Tenths of seconds of monotonic time.
    pub(crate) progress_ds: u32,
    /// End by the token's `exp`, seconds of Unix time; 0: none.
    pub(crate) expires_s: u32,
    /// End by the maximum lifetime, tenths of seconds of monotonic time; 0: none.
    pub(crate) ends_ds: u32,
    /// The client's address, interned by the server.
    pub(crate) address: u32,
    pub(crate) places: Places,
    /// Subject, token id and grants; shared by all who came with the same token.
    pub(crate) access: Option<Arc<Access>>,
    pub(crate) backlog: Option<Box<Backlog>>,
}

const _: () = assert!(size_of::<Subscriber>() <= 96, "a subscriber's record grew: design §3 allows 96 bytes");

impl Subscriber {
    pub(crate) fn vacant(generation: u32) -> Subscriber {
        Subscriber {
            generation,
            state: State::Vacant,
            chunked: true,
            coding: None,
            in_batch: false,
            ended: false,
            announced: false,
            wakeups: 0,
            discarded_bytes: 0,
            sink: None,
            offset: 0,
            progress_ds: 0,
            expires_s: 0,
            ends_ds: 0,
            address: 0,
            places: Places::None,
            access: None,
            backlog: None,
        }
    }

    /// Parts of one send at most: under a content coding each may lie in several places.
    pub(crate) fn parts_max(&self) -> usize {
        VISIT_PARTS_MAX / Frame::pieces_max(self.form())
    }

    /// How its bytes are written.
    pub(crate) fn form(&self) -> Form {
        Form { chunked: self.chunked, coding: self.coding }
    }
}
