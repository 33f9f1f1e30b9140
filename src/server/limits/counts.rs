//! How many connections each address has, or streams each subject, over all shards.
//!
//! Every entry is in use by a connection, so there are never more of them than connections, and those are limited. A
//! connection holds the place of its entry, four bytes, and gives it back when it ends: nothing is looked up for that.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};

use hashbrown::HashTable;

/// Parts of the table, each with a lock of its own: a power of two, many more than shards wait at a time.
const STRIPES: u32 = 64;
/// The end of the list of free entries.
const NO_ENTRY: u32 = u32::MAX;

/// Who is counted: two words, of which the first says what kind the second is, or 128 bits of a keyed hash.
pub(crate) type Key = [u64; 2];

/// The place of an entry in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place(NonZeroU32);

impl Place {
    fn new(stripe: u32, entry: u32) -> Option<Place> {
        let number = entry.checked_add(1)?.checked_mul(STRIPES)?.checked_add(stripe)?;
        NonZeroU32::new(number).map(Place)
    }

    fn stripe(self) -> usize {
        (self.0.get() % STRIPES) as usize
    }

    fn entry(self) -> u32 {
        self.0.get() / STRIPES - 1
    }
}

#[derive(Debug)]
struct Entry {
    key: Key,
    /// How many there are; of a free entry, 0.
    count: u32,
    /// The next free one.
    next: u32,
}

/// A table of its own with an order of its own.
#[derive(Debug)]
struct Stripe {
    by_key: HashTable<u32>,
    entries: Vec<Entry>,
    free: u32,
}

impl Default for Stripe {
    fn default() -> Stripe {
        Stripe { by_key: HashTable::new(), entries: Vec::new(), free: NO_ENTRY }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Counts {
    stripes: Box<[Mutex<Stripe>]>,
    /// Addresses and subjects are chosen by strangers: the hash is keyed.
    keys: RandomState,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { stripes: (0..STRIPES).map(|_| Mutex::default()).collect(), keys: RandomState::new() }
    }
}

impl Counts {
    /// Counts one more, unless there are as many as there may be.
    fn add(&self, key: Key, max: u32) -> Option<Place> {
        let hash = self.keys.hash_one(key);
        // Of the bits that the table within a stripe uses least.
        let number = (hash >> 40) as u32 % STRIPES;
        let mut stripe = self.stripe(number as usize);
        let Stripe { by_key, entries, free } = &mut *stripe;
        if let Some(&at) = by_key.find(hash, |&at| entries[at as usize].key == key) {
            let entry = &mut entries[at as usize];
            if entry.count >= max {
                return None;
            }
            entry.count += 1;
            return Place::new(number, at);
        }
        if max == 0 {
            return None;
        }
        let at = match *free {
            NO_ENTRY => entries.len() as u32,
            at => at,
        };
        let place = Place::new(number, at)?;
        let entry = Entry { key, count: 1, next: NO_ENTRY };
        match entries.get_mut(at as usize) {
            Some(vacant) => {
                *free = vacant.next;
                *vacant = entry;
            }
            None => {
                if entries.len() == entries.capacity() {
                    // Doubling would leave up to half of a large list unused.
                    entries.reserve_exact(entries.len() / 4 + 4);
                }
                entries.push(entry);
            }
        }
        by_key.insert_unique(hash, at, |&other| self.keys.hash_one(entries[other as usize].key));
        Some(place)
    }

    /// One less. The place is that of a connection that was counted and hasn't given it back yet.
    pub(crate) fn give_back(&self, place: Place) {
        let at = place.entry();
        let mut stripe = self.stripe(place.stripe());
        let Stripe { by_key, entries, free } = &mut *stripe;
        let entry = &mut entries[at as usize];
        debug_assert!(entry.count > 0, "a place is given back once");
        entry.count = entry.count.saturating_sub(1);
        if entry.count > 0 {
            return;
        }
        let key = entry.key;
        entry.next = std::mem::replace(free, at);
        if let Ok(found) = by_key.find_entry(self.keys.hash_one(key), |&other| other == at) {
            found.remove();
        }
        if by_key.is_empty() {
            // Nobody is left: a crowd leaves no memory behind.
            *stripe = Stripe::default();
        } else if by_key.capacity() > 64 && by_key.len() < by_key.capacity() / 8 {
            by_key.shrink_to(by_key.len() * 2, |&other| self.keys.hash_one(entries[other as usize].key));
        }
    }

    /// Addresses, or subjects, that have any.
    pub(crate) fn len(&self) -> usize {
        (0..STRIPES as usize).map(|number| self.stripe(number).by_key.len()).sum()
    }

    fn stripe(&self, number: usize) -> MutexGuard<'_, Stripe> {
        self.stripes[number].lock().expect("nobody panics with this lock")
    }
}

/// One connection or stream, counted until this is dropped or kept by whoever gives it back himself.
#[derive(Debug)]
pub(crate) struct Hold {
    counts: Arc<Counts>,
    place: Option<Place>,
}

impl Hold {
    /// Counts one more; `None`: there are as many as there may be.
    pub(crate) fn take(counts: &Arc<Counts>, key: Key, max: u32) -> Option<Hold> {
        let place = counts.add(key, max)?;
        Some(Hold { counts: counts.clone(), place: Some(place) })
    }

    /// The place, to be given back by [`Counts::give_back`].
    pub(crate) fn keep(mut self) -> Option<Place> {
        self.place.take()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.counts.give_back(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// What one subject costs in its stripe at worst, beside a list that has room for a quarter more.
    const _: () = assert!(size_of::<Entry>() <= 24);

    #[test]
    fn as_many_as_there_may_be_and_one_more_when_one_has_gone() {
        let counts = Arc::new(Counts::default());
        let held: Vec<Hold> = (0..3).map(|_| Hold::take(&counts, [4, 7], 3).unwrap()).collect();
        assert!(Hold::take(&counts, [4, 7], 3).is_none());
        let other = Hold::take(&counts, [4, 8], 3);
        assert!(other.is_some(), "others have their own");
        let kept = held.into_iter().next().and_then(Hold::keep).unwrap();
        assert_eq!(counts.len(), 2, "two of the three are dropped, one is kept");
        let again: Vec<_> = (0..3).filter_map(|_| Hold::take(&counts, [4, 7], 3)).collect();
        assert_eq!(again.len(), 2);
        drop(again);
        counts.give_back(kept);
        drop(other);
        assert_eq!(counts.len(), 0);
    }

    #[test]
    fn a_limit_that_is_lowered_lets_nobody_in_until_enough_have_gone() {
        let counts = Arc::new(Counts::default());
        let mut held: Vec<Hold> = (0..5).map(|_| Hold::take(&counts, [1, 1], 5).unwrap()).collect();
        assert!(Hold::take(&counts, [1, 1], 2).is_none());
        held.truncate(2);
        assert!(Hold::take(&counts, [1, 1], 2).is_none());
        held.truncate(1);
        assert!(Hold::take(&counts, [1, 1], 2).is_some());
    }

    #[test]
    fn a_crowd_leaves_no_memory_behind() {
        let counts = Arc::new(Counts::default());
        let held: Vec<Hold> = (0..10_000).map(|n| Hold::take(&counts, [n, n], 1).unwrap()).collect();
        assert_eq!(counts.len(), 10_000);
        drop(held);
        assert!(counts.stripes.iter().all(|stripe| stripe.lock().unwrap().entries.capacity() == 0));
    }

    #[test]
    fn threads_never_pass_the_limit_together() {
        let counts = Arc::new(Counts::default());
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..1000).filter_map(|_| Hold::take(&counts, [9, 9], 1500)).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(taken.len(), 1500);
        drop(taken);
        assert_eq!(counts.len(), 0);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_plain_map(steps in proptest::collection::vec((0u64..40, any::<bool>()), 1..400)) {
            const MAX: u32 = 3;
            let counts = Arc::new(Counts::default());
            let mut held: HashMap<u64, Vec<Place>> = HashMap::new();
            for (who, comes) in steps {
                let theirs = held.entry(who).or_default();
                if comes {
                    let place = counts.add([who, 0], MAX);
                    prop_assert_eq!(place.is_some(), theirs.len() < MAX as usize);
                    theirs.extend(place);
                } else if let Some(place) = theirs.pop() {
                    counts.give_back(place);
                }
                prop_assert_eq!(counts.len(), held.values().filter(|places| !places.is_empty()).count());
            }
            held.into_values().flatten().for_each(|place| counts.give_back(place));
            prop_assert_eq!(counts.len(), 0);
        }
    }
}
