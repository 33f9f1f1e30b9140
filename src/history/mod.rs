//! Engines that remember events: append in order, find an id, read a range, trim.
//!
//! An engine knows nothing of subscribers or sockets. The sequencer appends, the history readers ask; both go through
//! [`MemoryHistory`] until the durable engine joins it.

mod memory;

pub use memory::{MemoryHistory, Retention};
