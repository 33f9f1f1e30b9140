//! Whose streams a shard has, interned: the record of a stream carries a number that stands for its client's address and
//! for the places that it holds in the counts of addresses and subjects.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use hashbrown::HashTable;

use crate::server::limits::Place;

/// What a stream's number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// The client's address.
    pub(crate) address: IpAddr,
    /// Where its address is counted, if it is.
    pub(crate) by_address: Option<Place>,
    /// Where its subject is.
    pub(crate) by_subject: Option<Place>,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    /// Streams with this number.
    streams: u32,
}

// With streams that each have a subject of their own, each costs an entry.
const _: () = assert!(size_of::<Entry>() <= 32);

/// The clients of a shard's streams, each once.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    numbers: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Addresses are chosen by strangers: the hash is keyed.
    keys: RandomState,
}

impl Peers {
    /// The number of a client, for one more stream.
    pub(crate) fn intern(&mut self, peer: Peer) -> u32 {
        let Peers { numbers, entries, free, keys } = self;
        let hash = keys.hash_one(peer);
        if let Some(&number) = numbers.find(hash, |&number| entries[number as usize].peer == peer) {
            entries[number as usize].streams += 1;
            return number;
        }
        let entry = Entry { peer, streams: 1 };
        let number = match free.pop() {
            Some(number) => {
                entries[number as usize] = entry;
                number
            }
            None => {
                if entries.len() == entries.capacity() {
                    // Doubling would leave up to half of a large list unused.
                    entries.reserve_exact(entries.len() / 4 + 4);
                }
                entries.push(entry);
                (entries.len() - 1) as u32
            }
        };
        numbers.insert_unique(hash, number, |&other| keys.hash_one(entries[other as usize].peer));
        number
    }

    /// The address behind a number.
    pub(crate) fn address(&self, number: u32) -> Option<IpAddr> {
        self.entries.get(number as usize).filter(|entry| entry.streams > 0).map(|entry| entry.peer.address)
    }

    /// One stream of that client less: whose it was.
    pub(crate) fn release(&mut self, number: u32) -> Peer {
        let entry = &mut self.entries[number as usize];
        let peer = entry.peer;
        entry.streams -= 1;
        if entry.streams == 0 {
            if let Ok(found) = self.numbers.find_entry(self.keys.hash_one(peer), |&other| other == number) {
                found.remove();
            }
            self.free.push(number);
            if self.numbers.is_empty() {
                // The last one has gone: a crowd leaves no memory behind.
                *self = Peers::default();
            }
        }
        peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        Peer { address: IpAddr::from([127, 0, 0, last]), by_address: None, by_subject: None }
    }

    #[test]
    fn an_address_has_one_number_while_it_has_streams() {
        let mut peers = Peers::default();
        let (a, b) = (peer(1), peer(2));
        let number = peers.intern(a);
        assert_eq!(peers.intern(a), number);
        assert_ne!(peers.intern(b), number);
        assert_eq!((peers.address(number), peers.address(99)), (Some(a.address), None));
        assert_eq!(peers.release(number), a);
        assert_eq!(peers.intern(a), number, "it still had a stream");
        peers.release(number);
        peers.release(number);
        assert_eq!(peers.address(number), None);
        assert_eq!(peers.intern(peer(3)), number, "the number is free again");
        assert_eq!(peers.numbers.len(), 2);
    }

    #[test]
    fn those_who_hold_different_places_have_different_numbers() {
        use std::sync::Arc;

        use crate::server::limits::{Counts, Hold};

        let counts = Arc::new(Counts::default());
        let place = |subject| Hold::take(&counts, [subject, 0], 9).and_then(Hold::keep);
        let (one, other) = (place(1), place(2));
        let mut peers = Peers::default();
        let numbers: Vec<u32> =
            [None, one, other, one].map(|by_subject| peers.intern(Peer { by_subject, ..peer(1) })).to_vec();
        assert_eq!(numbers, [0, 1, 2, 1]);
        assert_eq!(peers.release(1).by_subject, one);
        assert_eq!(peers.release(2).by_subject, other);
    }

    #[test]
    fn a_crowd_leaves_no_memory_behind() {
        let mut peers = Peers::default();
        let numbers: Vec<u32> = (0..=255).map(|last| peers.intern(peer(last))).collect();
        for number in numbers {
            peers.release(number);
        }
        assert_eq!((peers.entries.capacity(), peers.numbers.capacity(), peers.free.capacity()), (0, 0, 0));
    }
}
