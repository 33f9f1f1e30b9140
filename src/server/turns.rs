//! How long the turns of a shard's loop are, in CPU time of its thread: what a subscriber may wait for its slice.

use crate::hub::Counters;

/// A turn, the tasks of requests included, should not use more CPU time than this, microseconds.
const LONG_TURN_US: u64 = 2_000;

/// Shorter turns are looked at together, this many microseconds of them: asking for the CPU time is a system call.
const LOOK_US: u64 = 250;

/// What is known of the turns so far.
#[derive(Debug)]
pub(crate) struct Turns {
    shard: usize,
    looked_us: u64,
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
        Turns { shard, looked_us: 0, last_end_us: 0, last: Counters::default(), turns: 0, long: 0, longest_us: 0 }
    }

    /// A turn ended at this time, and at this much CPU time if anybody asks; a long one is logged with what it did.
    pub(crate) fn count(&mut self, now_us: u64, cpu_us: impl FnOnce() -> u64, counters: &Counters) {
        self.turns += u64::from(self.last_end_us > 0);
        if now_us < self.looked_us + LOOK_US {
            return;
        }
        self.looked_us = now_us;
        let end_us = cpu_us();
        let turn_us = end_us - self.last_end_us;
        // The first one includes the start of the thread.
        if self.last_end_us > 0 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_turns_are_looked_at_together_and_long_ones_are_found() {
        let mut turns = Turns::new(0);
        let counters = Counters::default();
        turns.count(1_000, || 500, &counters);
        for turn in 1..=24 {
            turns.count(1_000 + turn * 10, || unreachable!("too soon to ask"), &counters);
        }
        turns.count(1_250, || 740, &counters);
        turns.count(3_600, || 3_000, &counters);
        assert_eq!((turns.turns, turns.long, turns.longest_us), (26, 1, 2_260));
    }
}
