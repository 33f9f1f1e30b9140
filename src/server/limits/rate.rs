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
    /// Takes one for a shard, whose own bucket is given. `None`: there was none.
    pub(crate) fn take(&self, own: &Cell<u64>, rate: Rate, shards: u32, now_ns: u64) -> Option<Taken> {
        let share = rate.share(shards);
        let of_share = share.take(own.get(), now_ns);
        let part_ns = if of_share.is_ok() { rate.depth_ns } else { rate.depth_ns / 2 };
        let take = |full_at| rate.take_within(part_ns, full_at, now_ns).ok();
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        let mut taken = Taken { of_all_ns: rate.interval_ns, of_share_ns: 0 };
        if let Ok(full_at) = of_share {
            own.set(full_at);
            taken.of_share_ns = share.interval_ns;
        }
        Some(taken)
    }

    /// Gives back what wasn't needed after all.
    pub(crate) fn give_back(&self, own: &Cell<u64>, taken: Taken) {
        let earlier = |full_at: u64| Some(full_at.saturating_sub(taken.of_all_ns));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
        own.set(own.get().saturating_sub(taken.of_share_ns));
    }
}

/// What [`SharedBucket::take`] took, as the time it takes to come back. By default nothing.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    of_all_ns: u64,
    /// 0 where the shard had its share already, and this is what others leave of theirs.
    of_share_ns: u64,
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
        let taken = take().expect("one");
        assert!(take().is_none());
        bucket.give_back(&own, taken);
        assert!(take().is_some() && take().is_none());
    }

    /// Seen: a shard that had taken more than its share, and had no connection to accept, had its share given back with each look.
    #[test]
    fn only_what_was_taken_is_given_back() {
        let (bucket, own, rate) = (SharedBucket::default(), Cell::default(), per_second(10, 8));
        let take = || bucket.take(&own, rate, 4, SECOND_NS);
        let levels = || (bucket.0.load(Ordering::Relaxed), own.get());
        assert!(take().is_some() && take().is_some());
        let before = levels();
        let beyond = take().expect("what others leave");
        assert_eq!(levels().1, before.1, "beyond its share");
        bucket.give_back(&own, beyond);
        assert_eq!(levels(), before);
        bucket.give_back(&own, Taken::default());
        assert_eq!(levels(), before, "nothing");
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
                while bucket.take(&own[shard], rate, 3, now_ns).is_some() {
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
