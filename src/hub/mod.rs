//! Who gets what, in which order: the log, a shard's tail, the selector index, subscribers and their fan-out.
//!
//! Nothing here knows sockets, clocks, threads or randomness. A [`Shard`] is a state machine: the server hands it
//! [`Input`]s with the time, drains its [`Output`]s, and carries out the writes it proposes in a [`Batch`]. What a
//! rule of the protocol means belongs in `protocol`; how bytes reach a socket belongs in `server`.

mod batch;
#[doc(hidden)]
pub mod bench;
mod budget;
mod defect;
mod denials;
mod event;
mod flight;
mod histogram;
mod history;
mod interned;
mod judge;
mod log;
mod pattern_index;
mod schedule;
mod selector;
mod shard;
#[cfg(test)]
mod simulator;
mod slab;
mod subscriber;
mod tail;

pub(crate) use batch::VISIT_PARTS_MAX;
pub use batch::{Batch, Outcome, Part, Write};
pub use denials::{
    DENIED_BYTES_MAX, DENIED_ENTRIES_MAX, DENIED_MAX, DENIED_TEXT_BYTES_MAX, DENIED_TOPICS_MAX, DenialError, Denials,
    Denied,
};
pub use event::{Draft, Event};
pub use flight::Latencies;
pub use histogram::{COUNT_BOUNDS, Histogram, Sizes, TIME_BOUNDS_US, Times};
pub use history::{Filter, Found, Gone, HistoryChunk, HistoryError, Range, Reader, may_read_announcements, read};
pub use log::{Located, Locator, Log};
pub use shard::{
    Announcement, Counters, Drain, Findings, Input, Listed, Now, Output, Population, Registration, Revocation,
    SHOWN_MATCHERS_MAX, SURVEY_ROWS_MAX, Shard, ShardLimits, Start, StreamView, Subscriptions, Survey, TICK_MS,
};
pub use subscriber::{CloseReason, Sink, SlotId, SocketId, Subscriber};
