//! Client addresses, interned: a record of a stream carries a number.

use std::collections::HashMap;
use std::net::IpAddr;

/// The addresses of a shard's streams, each once.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    numbers: HashMap<IpAddr, u32>,
    entries: Vec<(Option<IpAddr>, u32)>,
    free: Vec<u32>,
}

impl Peers {
    /// The number of an address, for one more stream.
    pub(crate) fn intern(&mut self, address: IpAddr) -> u32 {
        let number = *self.numbers.entry(address).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.entries.push((None, 0));
                (self.entries.len() - 1) as u32
            })
        });
        let entry = &mut self.entries[number as usize];
        entry.0 = Some(address);
        entry.1 += 1;
        number
    }

    /// The address behind a number.
    pub(crate) fn address(&self, number: u32) -> Option<IpAddr> {
        self.entries.get(number as usize)?.0
    }

    /// One stream of that address less.
    pub(crate) fn release(&mut self, number: u32) {
        let entry = &mut self.entries[number as usize];
        entry.1 -= 1;
        if entry.1 == 0
            && let Some(address) = entry.0.take()
        {
            self.numbers.remove(&address);
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_number_while_it_has_streams() {
        let mut peers = Peers::default();
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let number = peers.intern(a);
        assert_eq!(peers.intern(a), number);
        assert_ne!(peers.intern(b), number);
        assert_eq!((peers.address(number), peers.address(99)), (Some(a), None));
        peers.release(number);
        assert_eq!(peers.intern(a), number, "it still had a stream");
        peers.release(number);
        peers.release(number);
        assert_eq!(peers.intern(IpAddr::from([127, 0, 0, 3])), number, "the number is free again");
        assert_eq!(peers.numbers.len(), 2);
    }
}
