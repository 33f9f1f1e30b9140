//! What the hub needs of a machine, for those who ask before it starts.

use std::io;

use super::sender::Sender;
use super::start::{OWN_DESCRIPTORS, SHARD_DESCRIPTORS, uring_runtime};

/// Slots of the file table that is tried.
const TABLE_SLOTS: usize = 16;

/// Whether io_uring can do here what shards do with it: a loop's ring, and a sender's with its table of files.
///
/// # Errors
/// What the system says.
pub fn try_io_uring() -> io::Result<()> {
    uring_runtime()?;
    Sender::ring(TABLE_SLOTS).map(drop)
}

/// The descriptors a hub with so many shards keeps for itself.
pub fn own_descriptors(shards: usize) -> usize {
    OWN_DESCRIPTORS + SHARD_DESCRIPTORS * shards
}
