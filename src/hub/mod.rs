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
mod event;
mod history;
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
pub use event::{Draft, Event};
pub use history::{Filter, Found, HistoryChunk, HistoryError, Reader, read};
pub use log::{Located, Locator, Log};
pub use shard::{Counters, Input, Now, Output, Registration, Shard, ShardLimits, Start, TICK_MS};
pub use subscriber::{CloseReason, Sink, SlotId, SocketId, Subscriber};
