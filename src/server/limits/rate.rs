//! A rate as a token bucket, in one number: the time at which the bucket is full again. Time is an argument.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much is allowed, and how much of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// What one takes of the time.
    interval_ns: u64,
    /// What a full bucket holds, as the time it takes to fill.
    depth_ns: u64,
}

impl Rate {
    /// So many per period, and so many at once. Neither is 0.
    pub(crate) fn new(count: u32, period: Duration, burst: u32) -> Rate {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let interval_ns = (period_ns / u64::from(count.max(1))).max(1);
        Rate { interval_ns, depth_ns: interval_ns.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Takes one from a bucket that is full again at `full_at_ns` (0: nobody took anything yet): when it is full after that,
    /// or how long it is until there is one to take, nanoseconds.
    pub(crate) fn take(self, full_at_ns: u64, now_ns: u64) -> Result<u64, u64> {
        self.take_within(self.depth_ns, full_at_ns, now_ns)
    }

    /// The same from the upper part of the bucket only.
    fn take_within(self, part_ns: u64, full_at_ns: u64, now_ns: u64) -> Result<u64, u64> {
        // A rate that was raised by a reload finds buckets emptier than they can be.
        let full_at_ns = full_at_ns.clamp(now_ns, now_ns.saturating_add(self.depth_ns));
        let then_ns = full_at_ns.saturating_add(self.interval_ns);
        match then_ns.saturating_sub(now_ns).checked_sub(part_ns) {
            None | Some(0) => Ok(then_ns),
            Some(wait_ns) => Err(wait_ns),
        }
    }

    /// One of equal parts of it, with its part of what may be taken at once.
    fn share(self, parts: u32) -> Rate {
        let interval_ns = self.interval_ns.saturating_mul(u64::from(parts.max(1)));
        Rate { interval_ns, depth_ns: self.depth_ns.max(interval_ns) }
    }
}

/// A bucket that all shards take from, and none too much: each has a bucket for its share besides, and what the others leave
/// of theirs it gets when the one for all is half full. Otherwise a shard whose ticks come just before another's would take
/// everything, again and again.
#[derive(Debug, Default)]
pub(crate) struct SharedBucket(AtomicU64);

impl SharedBucket {
    /// Takes one for a shard, whose own bucket is given. Whether there was one.
    pub(crate) fn take(&self, own: &Cell<u64>, rate: Rate, shards: u32, now_ns: u64) -> bool {
        let of_share = rate.share(shards).take(own.get(), now_ns);
        let part_ns = if of_share.is_ok() { rate.depth_ns } else { rate.depth_ns / 2 };
        let take = |full_at| rate.take_within(part_ns, full_at, now_ns).ok();
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if let (true, Ok(full_at)) = (taken, of_share) {
            own.set(full_at);
        }
        taken
    }

    /// Gives back what wasn't needed after all.
    pub(crate) fn give_back(&self, own: &Cell<u64>, rate: Rate, shards: u32) {
        let earlier = |full_at: u64| Some(full_at.saturating_sub(rate.interval_ns));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
        own.set(own.get().saturating_sub(rate.share(shards).interval_ns));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn per_second(count: u32, burst: u32) -> Rate {
        Rate::new(count, Duration::from_secs(1), burst)
    }

    #[test]
    fn a_burst_at_once_then_one_per_interval() {
        let rate = per_second(10, 3);
        let mut full_at = 0;
        for _ in 0..3 {
            full_at = rate.take(full_at, 5 * SECOND_NS).unwrap();
        }
        assert_eq!(rate.take(full_at, 5 * SECOND_NS), Err(SECOND_NS / 10), "and says how long it is until the next");
        assert_eq!(rate.take(full_at, 5 * SECOND_NS + SECOND_NS / 20), Err(SECOND_NS / 20));
        full_at = rate.take(full_at, 5 * SECOND_NS + SECOND_NS / 10).unwrap();
        assert!(rate.take(full_at, 5 * SECOND_NS + SECOND_NS / 10).is_err());
        assert!(rate.take(full_at, 60 * SECOND_NS).is_ok());
    }

    #[test]
    fn a_changed_rate_holds_at_once() {
        let slow = Rate::new(1, Duration::from_secs(3600), 2);
        let mut full_at = 0;
        while let Ok(then) = slow.take(full_at, 0) {
            full_at = then;
        }
        let fast = per_second(10, 3);
        assert_eq!(fast.take(full_at, 0), Err(SECOND_NS / 10), "an hour's debt is none of a faster rate's");
        assert!(fast.take(full_at, SECOND_NS / 10).is_err(), "the old mark still stands, as a bucket that is empty");
        assert!(fast.take(fast.depth_ns, SECOND_NS / 10).is_ok());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (bucket, own, rate) = (SharedBucket::default(), Cell::default(), per_second(10, 1));
        let take = || bucket.take(&own, rate, 2, SECOND_NS);
        assert!(take() && !take());
        bucket.give_back(&own, rate, 2);
        assert!(take() && !take());
    }

    /// Who gets how many in ten seconds of ticks, at each of which the shards with a crowd before them take what they can, in
    /// this order.
    fn taken_by(crowds: [bool; 3], rate: Rate) -> [u32; 3] {
        let (bucket, own) = (SharedBucket::default(), [const { Cell::new(0) }; 3]);
        let mut taken = [0; 3];
        for tick in 1..=200u64 {
            for shard in (0..3).filter(|&shard| crowds[shard]) {
                // A millisecond apart.
                let now_ns = tick * SECOND_NS / 20 + shard as u64 * SECOND_NS / 1000;
                while bucket.take(&own[shard], rate, 3, now_ns) {
                    taken[shard] += 1;
                }
            }
        }
        taken
    }

    #[test]
    fn no_shard_starves_another_and_none_leaves_anything_unused() {
        let rate = per_second(600, 60);
        let all = taken_by([true; 3], rate);
        assert!((5800..=6100).contains(&all.iter().sum::<u32>()), "{all:?}");
        assert!(all.iter().all(|&taken| taken > 1500), "{all:?}");
        let one = taken_by([false, true, false], rate);
        assert!((5700..=6100).contains(&one[1]), "{one:?}");
        let slow = taken_by([true; 3], per_second(3, 1));
        assert!(slow.iter().sum::<u32>() <= 31 && slow.iter().all(|&taken| taken >= 5), "{slow:?}");
    }

    proptest! {
        /// Never more than the burst and what the time since then gives; and never less, for who takes whenever it can.
        #[test]
        fn within_any_time_it_gives_what_it_should(
            count in 1u32..1000,
            burst in 1u32..50,
            steps in proptest::collection::vec(0u64..50_000_000, 1..300),
        ) {
            let rate = per_second(count, burst);
            let (mut now_ns, mut full_at, mut taken) = (7 * SECOND_NS, 0, 0u64);
            for step_ns in steps {
                now_ns += step_ns;
                while let Ok(then) = rate.take(full_at, now_ns) {
                    full_at = then;
                    taken += 1;
                }
                let due = u64::from(burst) + (now_ns - 7 * SECOND_NS) / rate.interval_ns;
                prop_assert!(taken <= due, "{} of {}", taken, due);
            }
            let waited = rate.take(full_at, now_ns).unwrap_err();
            prop_assert!(waited <= rate.interval_ns);
            prop_assert!(rate.take(full_at, now_ns + waited).is_ok());
        }
    }
}
