//! A slice of fan-out on its way to the sockets: what to write where, and what came of it.

use std::ops::Range;

use super::subscriber::Sink;

/// Pieces of one vectored send at most, each a part or, under a content coding, a half or a third of one.
pub(crate) const VISIT_PARTS_MAX: usize = 64;
/// Bytes after which a visit takes no further part.
pub(crate) const VISIT_BYTES_MAX: usize = 64 * 1024;

/// One part of a vectored send. The bytes stay where they are: [`super::Shard::pieces`] resolves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What a short write left, or a response head.
    Rest,
    /// An event of the shard's tail.
    Tail {
        /// Its place in the log.
        offset: u64,
    },
    /// An event of the subscriber's chunk from history.
    Chunk {
        /// Index in the chunk.
        index: u32,
    },
    /// A comment that keeps the connection alive.
    Heartbeat,
    /// The end of a chunked body.
    LastChunk,
}

/// What the socket said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It took this many bytes: all, some, or none because it is full.
    Sent(u32),
    /// The connection is no more.
    #[default]
    Gone,
}

/// One vectored, non-blocking send.
#[derive(Debug)]
pub struct Write {
    /// Where to.
    pub sink: Sink,
    /// What came of it; the sender fills it in.
    pub outcome: Outcome,
    pub(super) slot: u32,
    pub(super) parts: Range<u32>,
    pub(super) bytes: u32,
    /// Everything up to here is done with when all parts are sent.
    pub(super) through: u64,
    /// The subscriber's offset before this write.
    pub(super) before: u64,
}

/// The writes of one slice, connection-major: everything a subscriber is due leaves in one send.
#[derive(Debug, Default)]
pub struct Batch {
    /// One for each subscriber visited.
    pub writes: Vec<Write>,
    /// When they were carried out, microseconds of monotonic time; the sender fills it in.
    pub sent_us: u64,
    pub(super) parts: Vec<Part>,
}

impl Batch {
    /// The parts of a write, in order.
    pub fn parts(&self, write: &Write) -> &[Part] {
        &self.parts[write.parts.start as usize..write.parts.end as usize]
    }

    pub(super) fn clear(&mut self) {
        self.writes.clear();
        self.parts.clear();
    }
}
