//! Whose streams a shard has: the record of a stream carries a number that stands for its client's address, and for the
//! places it holds in the counts of addresses and subjects.
//!
//! Addresses are interned. A stream that is counted towards a subject has a number of its own, with eight bytes behind it.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use hashbrown::HashTable;

use crate::server::limits::Place;

/// Numbers from here on are those of streams that are counted towards a subject.
const BEARERS: u32 = 1 << 31;
/// The end of a list of free entries.
const NO_ENTRY: u32 = u32::MAX;

/// What a stream's number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The client's address.
    pub(crate) address: IpAddr,
    /// Where its address is counted, if it is.
    pub(crate) by_address: Option<Place>,
    /// Where its subject is.
    pub(crate) by_subject: Option<Place>,
}

/// An address, and its place among those counted.
#[derive(Debug)]
struct Home {
    address: IpAddr,
    by_address: Option<Place>,
    /// Streams that have it; of a free one, 0.
    streams: u32,
}

/// A stream whose subject is counted.
#[derive(Debug)]
struct Bearer {
    /// The number of its address; of a free one, the next free one.
    home: u32,
    by_subject: Option<Place>,
}

// A crowd in which everybody has a subject of his own has one of these each.
const _: () = assert!(size_of::<Bearer>() <= 8);

/// The clients of a shard's streams.
#[derive(Debug)]
pub(crate) struct Peers {
    numbers: HashTable<u32>,
    homes: Vec<Home>,
    free_homes: Vec<u32>,
    bearers: Vec<Bearer>,
    free_bearer: u32,
    /// Addresses are chosen by strangers: the hash is keyed.
    keys: RandomState,
}

impl Default for Peers {
    fn default() -> Peers {
        Peers {
            numbers: HashTable::new(),
            homes: Vec::new(),
            free_homes: Vec::new(),
            bearers: Vec::new(),
            free_bearer: NO_ENTRY,
            keys: RandomState::new(),
        }
    }
}

impl Peers {
    /// The number of a client, for one more stream.
    pub(crate) fn intern(&mut self, peer: Peer) -> u32 {
        let home = self.home(peer.address, peer.by_address);
        if peer.by_subject.is_none() {
            return home;
        }
        let bearer = Bearer { home, by_subject: peer.by_subject };
        let at = self.free_bearer;
        match self.bearers.get_mut(at as usize) {
            Some(vacant) => {
                self.free_bearer = vacant.home;
                *vacant = bearer;
                BEARERS | at
            }
            None => {
                push(&mut self.bearers, bearer);
                BEARERS | (self.bearers.len() - 1) as u32
            }
        }
    }

    /// The address behind a number.
    pub(crate) fn address(&self, number: u32) -> Option<IpAddr> {
        let home = match number & BEARERS {
            0 => number,
            _ => self.bearers.get((number & !BEARERS) as usize)?.home,
        };
        self.homes.get(home as usize).filter(|home| home.streams > 0).map(|home| home.address)
    }

    /// One stream of that number less: whose it was.
    pub(crate) fn release(&mut self, number: u32) -> Peer {
        if number & BEARERS == 0 {
            return self.leave_home(number, None);
        }
        let at = number & !BEARERS;
        let bearer = &mut self.bearers[at as usize];
        debug_assert!(bearer.by_subject.is_some(), "a number is released once");
        let by_subject = bearer.by_subject.take();
        let home = std::mem::replace(&mut bearer.home, self.free_bearer);
        self.free_bearer = at;
        self.leave_home(home, by_subject)
    }

    /// The number of an address, for one more stream.
    fn home(&mut self, address: IpAddr, by_address: Option<Place>) -> u32 {
        let Peers { numbers, homes, free_homes, keys, .. } = self;
        let hash = keys.hash_one((address, by_address));
        let is_it = |home: &Home| home.address == address && home.by_address == by_address;
        if let Some(&number) = numbers.find(hash, |&number| is_it(&homes[number as usize])) {
            homes[number as usize].streams += 1;
            return number;
        }
        let home = Home { address, by_address, streams: 1 };
        let number = match free_homes.pop() {
            Some(number) => {
                homes[number as usize] = home;
                number
            }
            None => {
                push(homes, home);
                (homes.len() - 1) as u32
            }
        };
        numbers.insert_unique(hash, number, |&other| {
            let home = &homes[other as usize];
            keys.hash_one((home.address, home.by_address))
        });
        number
    }

    fn leave_home(&mut self, number: u32, by_subject: Option<Place>) -> Peer {
        let home = &mut self.homes[number as usize];
        let peer = Peer { address: home.address, by_address: home.by_address, by_subject };
        home.streams -= 1;
        if home.streams == 0 {
            let hash = self.keys.hash_one((peer.address, peer.by_address));
            if let Ok(found) = self.numbers.find_entry(hash, |&other| other == number) {
                found.remove();
            }
            self.free_homes.push(number);
            if self.numbers.is_empty() {
                // The last one has gone: a crowd leaves no memory behind.
                *self = Peers::default();
            }
        }
        peer
    }
}

/// Doubling would leave up to half of a large list unused.
fn push<T>(list: &mut Vec<T>, entry: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 4 + 4);
    }
    list.push(entry);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::server::limits::{Counts, Hold};

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
    fn a_crowd_leaves_no_memory_behind() {
        let mut peers = Peers::default();
        let numbers: Vec<u32> = (0..=255).map(|last| peers.intern(peer(last))).collect();
        for number in numbers {
            peers.release(number);
        }
        assert_eq!((peers.homes.capacity(), peers.numbers.capacity(), peers.free_homes.capacity()), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn a_number_gives_back_what_was_interned(steps in proptest::collection::vec((0u8..4, 0usize..4, 0usize..4, any::<bool>()), 1..200)) {
            let counts = Arc::new(Counts::default());
            let places: Vec<Option<Place>> = std::iter::once(None)
                .chain((1..4).map(|key| Hold::take(&counts, [key, 0], 9).and_then(Hold::keep)))
                .collect();
            let mut peers = Peers::default();
            let mut live: Vec<(u32, Peer)> = Vec::new();
            let mut by_number: HashMap<u32, Peer> = HashMap::new();
            for (last, by_address, by_subject, leaves) in steps {
                if leaves && let Some((number, whose)) = live.pop() {
                    prop_assert_eq!(peers.release(number), whose);
                } else {
                    let whose = Peer { by_address: places[by_address], by_subject: places[by_subject], ..peer(last) };
                    let number = peers.intern(whose);
                    prop_assert_eq!(peers.address(number), Some(whose.address));
                    by_number.insert(number, whose);
                    live.push((number, whose));
                }
                prop_assert!(live.iter().all(|(number, whose)| by_number[number] == *whose), "a number has one meaning");
            }
            for (number, whose) in live {
                prop_assert_eq!(peers.release(number), whose);
            }
            prop_assert_eq!((peers.numbers.len(), peers.bearers.capacity()), (0, 0));
        }
    }
}
