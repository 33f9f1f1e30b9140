//! Connections that are requests, not yet streams: bounded in number, each with a deadline for what it is doing.
//!
//! There is no timer per connection. Whoever is too slow, or is the oldest unfinished head when there are too many, has
//! its socket shut down; its task notices and ends.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::fd::RawFd;

use crate::server::sys;

/// How long a client may take to read our last answer.
const LINGER_MS: u64 = 1_000;

/// What a connection is doing, as far as its deadline goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Sending the head of a request.
    Head,
    /// Sending the body of a request.
    Body,
    /// Kept alive between requests.
    Idle,
    /// Waiting for, or taking, our answer.
    Answer,
    /// Reading the end of our last answer.
    Linger,
}

/// Deadlines of the phases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhaseLimits {
    pub(crate) head_ms: u64,
    pub(crate) body_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) answer_ms: u64,
}

#[derive(Debug)]
struct Guest {
    fd: RawFd,
    phase: Phase,
    deadline_ms: u64,
    /// Its time is up: the read that now ends meant no end of the client's.
    timed_out: bool,
}

/// The request connections of a shard, oldest first.
#[derive(Debug)]
pub(crate) struct Guests {
    entries: BTreeMap<u64, Guest>,
    next: u64,
    limits: PhaseLimits,
    heads_max: usize,
    heads: usize,
}

impl Guests {
    pub(crate) fn new(limits: PhaseLimits, heads_max: usize) -> Guests {
        Guests { entries: BTreeMap::new(), next: 0, limits, heads_max, heads: 0 }
    }

    /// A new connection; makes room by dropping the oldest unfinished head if there are too many.
    pub(crate) fn admit(&mut self, fd: RawFd, now_ms: u64) -> u64 {
        if self.heads >= self.heads_max
            && let Some((&oldest, _)) =
                self.entries.iter().find(|(_, guest)| guest.phase == Phase::Head && !guest.timed_out)
        {
            self.expire(oldest);
        }
        let id = self.next;
        self.next += 1;
        self.heads += 1;
        let deadline_ms = now_ms + self.limits.head_ms;
        self.entries.insert(id, Guest { fd, phase: Phase::Head, deadline_ms, timed_out: false });
        id
    }

    /// The connection goes on to something else, with the time that has.
    pub(crate) fn enter(&mut self, id: u64, phase: Phase, now_ms: u64) {
        let Some(guest) = self.entries.get_mut(&id) else {
            return;
        };
        self.heads -= usize::from(guest.phase == Phase::Head && !guest.timed_out);
        guest.phase = phase;
        guest.timed_out = false;
        self.heads += usize::from(phase == Phase::Head);
        let limit_ms = match phase {
            Phase::Head => self.limits.head_ms,
            Phase::Body => self.limits.body_ms,
            Phase::Idle => self.limits.idle_ms,
            Phase::Answer => self.limits.answer_ms,
            Phase::Linger => LINGER_MS,
        };
        guest.deadline_ms = now_ms + limit_ms;
    }

    /// The connection ended or became a stream. To be called before its descriptor is given up.
    pub(crate) fn leave(&mut self, id: u64) {
        if let Some(guest) = self.entries.remove(&id) {
            self.heads -= usize::from(guest.phase == Phase::Head && !guest.timed_out);
        }
    }

    /// Whether a read ended because the time was up.
    pub(crate) fn timed_out(&self, id: u64) -> bool {
        self.entries.get(&id).is_some_and(|guest| guest.timed_out)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Ends whoever has used up its time.
    pub(crate) fn sweep(&mut self, now_ms: u64) {
        let late = self.entries.iter().filter(|(_, guest)| guest.deadline_ms <= now_ms && !guest.timed_out);
        let late: Vec<u64> = late.map(|(&id, _)| id).collect();
        for id in late {
            self.expire(id);
        }
    }

    /// Ends everybody who isn't waiting for an answer: the hub is stopping.
    pub(crate) fn dismiss_idle(&mut self) {
        for guest in
            self.entries.values_mut().filter(|guest| matches!(guest.phase, Phase::Idle | Phase::Head | Phase::Linger))
        {
            sys::shutdown(guest.fd, Shutdown::Read);
        }
    }

    fn expire(&mut self, id: u64) {
        let Some(guest) = self.entries.get_mut(&id) else {
            return;
        };
        self.heads -= usize::from(guest.phase == Phase::Head && !guest.timed_out);
        guest.timed_out = true;
        let direction = if guest.phase == Phase::Answer { Shutdown::Both } else { Shutdown::Read };
        sys::shutdown(guest.fd, direction);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    const LIMITS: PhaseLimits = PhaseLimits { head_ms: 10, body_ms: 20, idle_ms: 30, answer_ms: 40 };

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    #[test]
    fn one_head_too_many_ends_the_oldest_unfinished_one() {
        let mut guests = Guests::new(LIMITS, 2);
        let connections: Vec<_> = (0..3).map(|_| pair()).collect();
        let ids: Vec<u64> = connections.iter().map(|(server, _)| guests.admit(server.as_raw_fd(), 0)).collect();
        assert!(guests.timed_out(ids[0]) && !guests.timed_out(ids[1]) && !guests.timed_out(ids[2]));
        let mut server = &connections[0].0;
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0, "its read ends");
    }

    #[test]
    fn a_connection_past_its_head_is_not_dropped_for_a_new_one() {
        let mut guests = Guests::new(LIMITS, 1);
        let connections: Vec<_> = (0..2).map(|_| pair()).collect();
        let first = guests.admit(connections[0].0.as_raw_fd(), 0);
        guests.enter(first, Phase::Answer, 0);
        let second = guests.admit(connections[1].0.as_raw_fd(), 0);
        assert!(!guests.timed_out(first) && !guests.timed_out(second));
    }

    #[test]
    fn each_phase_has_its_own_time() {
        for (phase, limit_ms) in [(Phase::Head, 10), (Phase::Body, 20), (Phase::Idle, 30), (Phase::Answer, 40)] {
            let mut guests = Guests::new(LIMITS, 8);
            let (server, _client) = pair();
            let id = guests.admit(server.as_raw_fd(), 0);
            guests.enter(id, phase, 100);
            guests.sweep(100 + limit_ms - 1);
            assert!(!guests.timed_out(id), "{phase:?}");
            guests.sweep(100 + limit_ms);
            assert!(guests.timed_out(id), "{phase:?}");
            guests.leave(id);
            assert_eq!((guests.len(), guests.heads), (0, 0), "{phase:?}");
        }
    }
}
