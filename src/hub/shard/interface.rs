//! What goes into a shard and what comes out of it.

use std::sync::Arc;

use super::drain::Drain;
use super::revoke::Revocation;
use super::survey::{Findings, Survey};
use crate::hub::batch::Batch;
use crate::hub::denials::Denials;
use crate::hub::event::Event;
use crate::hub::history::{Filter, Gone, HistoryChunk, HistoryError};
use crate::hub::subscriber::{CloseReason, Sink, SlotId};
use crate::protocol::coding::Coding;
use crate::protocol::matcher::Matcher;
use crate::protocol::token::Access;

/// Milliseconds between ticks.
pub const TICK_MS: u64 = 50;

/// The time, as an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds since some start.
    pub mono_ms: u64,
    /// Milliseconds of Unix time; may step.
    pub wall_ms: u64,
}

impl Now {
    pub(super) fn ds(self) -> u32 {
        (self.mono_ms / 100) as u32
    }
}

/// The bounds of a shard.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Bytes of events the tail keeps.
    pub tail_bytes_max: usize,
    /// Bytes of what subscribers ask for; beyond, nothing that isn't there already can be asked for.
    pub selectors_bytes_max: usize,
    /// Idle time before a comment is sent; 0: never.
    pub heartbeat_ms: u64,
    /// A socket that takes nothing for so long is closed; 0: never.
    pub write_timeout_ms: u64,
    /// A stream ends after so long; 0: never.
    pub lifetime_max_ms: u64,
    /// Whether subscriptions that begin and end are announced.
    pub announces: bool,
}

#[cfg(test)]
impl ShardLimits {
    /// A roomy tail, nothing else bounded, nothing announced: tests change what they are about.
    pub(crate) fn roomy() -> ShardLimits {
        ShardLimits {
            tail_bytes_max: 64 << 20,
            selectors_bytes_max: usize::MAX,
            heartbeat_ms: 0,
            write_timeout_ms: 0,
            lifetime_max_ms: 0,
            announces: false,
        }
    }
}

/// Where in the log a stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    Live,
    /// After this offset.
    After(u64),
    /// With everything kept.
    Earliest,
}

/// A request that becomes an event stream.
#[derive(Debug)]
pub struct Registration {
    /// Where its bytes go.
    pub sink: Sink,
    /// The response head, which is written first.
    pub head: Box<[u8]>,
    /// Whether the body is chunked (HTTP/1.1).
    pub chunked: bool,
    /// The content coding of the body. The head has begun it.
    pub coding: Option<Coding>,
    /// Where it starts.
    pub start: Start,
    /// What it asked for; not empty.
    pub matchers: Vec<Matcher>,
    /// Who it is and what it may read; `None`: anonymous.
    pub access: Option<Arc<Access>>,
    /// The client's address, as the server numbers them.
    pub address: u32,
    /// A random number that spreads the ends of streams begun together.
    pub spread: u16,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The sequencer committed these events, in log order.
    Events(Arc<[Arc<Event>]>),
    /// A reserved slot becomes an event stream.
    Register(SlotId, Box<Registration>),
    /// A reserved slot isn't needed after all.
    Abandon(SlotId),
    /// The socket has room again.
    Writable(SlotId),
    /// The client sent so many bytes, which were thrown away.
    Received(SlotId, u32),
    /// The client closed or half-closed, or the connection broke.
    Gone(SlotId),
    /// History's answer to an [`Output::Read`]. Each has to be answered, whether the stream is still there or not: until then it
    /// takes one of the places of those that read at a time.
    History(SlotId, Result<HistoryChunk, HistoryError>),
    /// A slice has been carried out: every write has its outcome.
    Sent(Batch),
    /// 50 ms have passed.
    Tick,
    /// The bounds in time have changed.
    Limits(ShardLimits),
    /// Streams are to end: those there are, and those registered before all of them have been looked at.
    Revoke(Arc<Revocation>),
    /// Who is kept out from now on. Streams there are stay: ending them is for [`Input::Revoke`].
    Deny(Arc<Denials>),
    /// The log isn't what it was: end every stream, a bounded number per turn, and go on after this offset, with what is known of the
    /// event there.
    LogLost(u64, Option<Arc<Event>>),
    /// Somebody wants to see what there is.
    Survey(Arc<Survey>),
    /// The hub is about to stop: end the streams that have nothing to wait for one by one, in random order. Whoever registers from now on
    /// is ended as it comes.
    Drain(Drain),
    /// The hub is stopping: end every stream that is left, a bounded number per turn.
    Stop,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Ask history for what follows an offset.
    Read {
        /// Who asks.
        id: SlotId,
        /// The cursor.
        after: u64,
        /// What it was told is gone; `None`: it begins with the oldest event kept, and the answer tells it.
        forgiven: Option<Gone>,
        /// What it may and wants to read.
        filter: Filter,
    },
    /// A revocation is done with, and so many streams ended for it.
    Revoked(Arc<Revocation>, u64),
    /// What a survey found.
    Surveyed(Arc<Survey>, Findings),
    /// Everything is written: shut the sending side down and throw away what still arrives.
    Shutdown(Sink),
    /// Close the socket.
    Close {
        /// The socket.
        sink: Sink,
        /// The interned address to give back.
        address: u32,
    },
}

/// What a shard counts. Plain numbers, read by the server now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Streams registered.
    pub registered: u64,
    /// Streams ended, by [`CloseReason`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Events written to a subscriber, whole.
    pub deliveries: u64,
    /// Sends handed to the kernel.
    pub sends: u64,
    /// Bytes the kernel took.
    pub bytes: u64,
    /// Sends that were refused or cut short: the subscriber fell behind.
    pub short_sends: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Events handed to fan-out.
    pub dispatched: u64,
    /// Questions to history.
    pub history_reads: u64,
}
