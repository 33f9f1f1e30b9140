//! How long the turns of a shard's loop are, in CPU time of its thread: what a subscriber may wait for its slice.

use crate::hub::Counters;

/// A turn, the tasks of requests included, should not use more CPU time than this, microseconds.
const LONG_TURN_US: u64 = 2_000;

/// What is known of the turns so far.
#[derive(Debug)]
pub(crate) struct Turns {
    shard: usize,
    last_end_us: u64,
    last: Counters,
    /// Turns.
    pub(crate) turns: u64,
    /// Those that were long.
    pub(crate) long: u64,
    /// The longest, microseconds.
    pub(crate) longest_us: u64,
}

impl Turns {
    pub(crate) fn new(shard: usize) -> Turns {
        Turns { shard, last_end_us: 0, last: Counters::default(), turns: 0, long: 0, longest_us: 0 }
    }

    /// A turn ended at this much CPU time; a long one is logged with what it did.
    pub(crate) fn count(&mut self, end_us: u64, counters: &Counters) {
        let turn_us = end_us - self.last_end_us;
        // The first one includes the start of the thread.
        if self.last_end_us > 0 {
            self.turns += 1;
            self.longest_us = self.longest_us.max(turn_us);
            if turn_us > LONG_TURN_US {
                self.long += 1;
                tracing::debug!(
                    shard = self.shard,
                    turn_us,
                    registered = counters.registered - self.last.registered,
                    sends = counters.sends - self.last.sends,
                    short_sends = counters.short_sends - self.last.short_sends,
                    bytes = counters.bytes - self.last.bytes,
                    "a long turn"
                );
            }
        }
        self.last_end_us = end_us;
        self.last = *counters;
    }
}
