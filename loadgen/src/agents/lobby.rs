//! Connections whose other end hasn't proven yet who it is. There is room for a few; who wants in when it is full takes the place
//! of another, so that nobody keeps coordinators out by saying nothing.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use crate::swarm::lock;

/// Connections that may wait at the same time.
pub(super) const GUESTS_MAX: usize = 32;

struct Guest {
    number: u64,
    address: IpAddr,
    stream: TcpStream,
}

#[derive(Default)]
struct Guests {
    /// The oldest first.
    here: Vec<Guest>,
    next: u64,
}

/// The place where they wait.
#[derive(Clone, Default)]
pub(super) struct Lobby(Arc<Mutex<Guests>>);

/// A connection's place in it, until it is known or gone.
pub(super) struct Seat {
    lobby: Lobby,
    number: u64,
}

impl Lobby {
    /// Lets a connection wait. When there is no room, the oldest of the address with most of them is sent away: who comes in
    /// numbers stands in their own way only.
    pub(super) fn enter(&self, stream: &TcpStream, address: IpAddr) -> io::Result<Seat> {
        let stream = stream.try_clone()?;
        let mut guests = lock(&self.0);
        if guests.here.len() >= GUESTS_MAX {
            let least = least_missed(&guests.here);
            let leaves = guests.here.remove(least);
            // Its thread finds the connection ended.
            let _ = leaves.stream.shutdown(Shutdown::Both);
        }
        let number = guests.next;
        guests.next += 1;
        guests.here.push(Guest { number, address, stream });
        Ok(Seat { lobby: self.clone(), number })
    }
}

/// The oldest of those with the address most of them have.
fn least_missed(guests: &[Guest]) -> usize {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    guests.iter().for_each(|guest| *counts.entry(guest.address).or_default() += 1);
    let most = counts.values().copied().max().unwrap_or_default();
    guests.iter().position(|guest| counts[&guest.address] == most).unwrap_or_default()
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.lobby.0).here.retain(|guest| guest.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// Both ends of a connection; reading doesn't wait.
    fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let far = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        far.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("set");
        (listener.accept().expect("accepts").0, far)
    }

    fn is_gone(far: &mut TcpStream) -> bool {
        matches!(far.read(&mut [0]), Ok(0))
    }

    #[test]
    fn who_comes_in_numbers_makes_room_for_others() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let (crowd, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let lobby = Lobby::default();
        let enter = |address| {
            let (near, far) = connection(&listener);
            let seat = lobby.enter(&near, address).expect("a copy");
            (near, far, seat)
        };
        let mut first = enter(other);
        let mut many: Vec<_> = (1..GUESTS_MAX).map(|_| enter(crowd)).collect();
        let mut late = enter(other);
        assert!(is_gone(&mut many[0].1), "the oldest of the crowd went");
        let mut later = enter(crowd);
        assert!(is_gone(&mut many[1].1), "and then the next");
        for stays in [&mut first.1, &mut late.1, &mut later.1, &mut many[2].1] {
            assert!(!is_gone(stays));
        }
        // Who is known, or has gone, makes room.
        drop((first, late));
        let _room = (enter(other), enter(other));
        assert!(!is_gone(&mut many[2].1));
    }
}
