//! How fast each publisher publishes, over all shards: a bucket for every issuer and subject that is faster than nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use super::counts::Key;
use super::rate::Rate;

/// Parts of the table, each with a lock of its own.
const STRIPES: usize = 64;
/// Publishers whose buckets aren't full again, in one part. Beyond, the fullest bucket is forgotten: its publisher gets what
/// little it lacked.
const STRIPE_PUBLISHERS_MAX: usize = 1024;

/// When each publisher's bucket is full again, nanoseconds. Who isn't there has a full one.
type Buckets = HashMap<Key, u64>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Publishers {
    stripes: Box<[Mutex<Buckets>]>,
    keys: RandomState,
}

impl Default for Publishers {
    fn default() -> Publishers {
        Publishers { stripes: (0..STRIPES).map(|_| Mutex::default()).collect(), keys: RandomState::new() }
    }
}

impl Publishers {
    /// Takes one publish of this publisher's, or says how long it has to wait, nanoseconds.
    pub(crate) fn take(&self, publisher: Key, rate: Rate, now_ns: u64) -> Result<(), u64> {
        let stripe = &self.stripes[(self.keys.hash_one(publisher) >> 40) as usize % STRIPES];
        let mut buckets = stripe.lock().expect("nobody panics with this lock");
        if let Some(full_at) = buckets.get_mut(&publisher) {
            *full_at = rate.take(*full_at, now_ns)?;
            return Ok(());
        }
        if buckets.len() >= STRIPE_PUBLISHERS_MAX {
            make_room(&mut buckets, now_ns);
        }
        buckets.insert(publisher, rate.take(0, now_ns)?);
        Ok(())
    }
}

/// Forgets the buckets that are full again, or else the fullest.
fn make_room(buckets: &mut Buckets, now_ns: u64) {
    buckets.retain(|_, full_at| *full_at > now_ns);
    if buckets.len() >= STRIPE_PUBLISHERS_MAX
        && let Some((&fullest, _)) = buckets.iter().min_by_key(|(_, full_at)| **full_at)
    {
        buckets.remove(&fullest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PUBLISHERS_MAX: usize = STRIPES * STRIPE_PUBLISHERS_MAX;

    #[test]
    fn every_publisher_has_a_bucket_of_its_own() {
        let (publishers, rate) = (Publishers::default(), Rate::new(1, Duration::from_secs(1), 2));
        let take = |who: u64, now_ns| publishers.take([who, 0], rate, now_ns);
        assert_eq!([take(1, 0), take(1, 0), take(2, 0)], [Ok(()); 3]);
        assert_eq!(take(1, 0), Err(1_000_000_000));
        assert_eq!([take(2, 0), take(1, 1_000_000_000)], [Ok(()); 2]);
        assert_eq!(take(1, 1_500_000_000), Err(500_000_000), "refused ones cost nothing");
    }

    #[test]
    fn a_flood_of_publishers_takes_no_more_memory_than_there_is_for_it() {
        let (publishers, rate) = (Publishers::default(), Rate::new(1, Duration::from_secs(3600), 2));
        let first = [7, 7];
        assert!(publishers.take(first, rate, 0).is_ok() && publishers.take(first, rate, 0).is_ok());
        for who in 0..2 * PUBLISHERS_MAX as u64 {
            assert!(publishers.take([who, 1], rate, 1).is_ok());
        }
        let kept: usize = publishers.stripes.iter().map(|stripe| stripe.lock().unwrap().len()).sum();
        assert!(kept <= PUBLISHERS_MAX, "{kept}");
        assert!(publishers.take(first, rate, 1).is_err(), "the emptiest bucket isn't the one that is forgotten");
    }
}
