//! What a shard lets others see of itself: its numbers, copied every other tick.

use crate::admin::{ShardSnapshot, Tally};
use crate::hub::{Now, TICK_MS};
use crate::server::shard::Context;

/// Numbers are copied every so many ticks.
const OBSERVE_TICKS: u64 = 2;

impl Context {
    /// Counts how late a tick is, and copies the numbers. `before` ticks had been taken in before it.
    pub(super) fn observe(&self, before: u64, now: Now) {
        let due_us = self.ticker_started_us + (before + 1) * TICK_MS * 1_000;
        self.loop_lag.borrow_mut().record(self.clock.mono_us().saturating_sub(due_us));
        if self.ticks.get() / OBSERVE_TICKS == before / OBSERVE_TICKS {
            return;
        }
        let mut shard = self.shard.borrow_mut();
        let snapshot = ShardSnapshot {
            at_ms: now.mono_ms,
            counters: *shard.counters(),
            latencies: *shard.latencies(),
            population: shard.population(),
            coded_streams: shard.coded_streams(),
            slow_readers: shard.slow_readers().into(),
            tally: self.whole_tally(),
            loop_lag: *self.loop_lag.borrow(),
            lag_bytes: shard.lag_bytes(),
            requests: self.guests.borrow().len() as u64 + self.sessions.borrow().requests(),
            http2: [self.sessions.borrow().len() as u64, self.sender.borrow().streams().len() as u64],
            overloaded: shard.overloaded(),
        };
        self.shared.observed.put(self.index, snapshot);
    }

    /// What requests have come to, with what the sender has counted.
    fn whole_tally(&self) -> Tally {
        let mut tally = *self.tally.borrow();
        tally.tls.ends = self.sender.borrow().sealed_ends();
        tally
    }
}
