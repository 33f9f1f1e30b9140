//! Connections that are requests, not yet streams: bounded in number, each with a deadline for what it is doing.
//!
//! There is no timer per connection. Whoever is too slow has its socket shut down; its task notices and ends. So does
//! whoever is dropped to make room: the connection that has been idle for longest, or the oldest unfinished head.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Shutdown;
use std::os::fd::RawFd;

use crate::server::sys;

/// How long a head may take that is sent to a hub that stops: whoever was let in at the last moment is answered.
const LAST_HEAD_MS: u64 = 1_000;
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
    /// Taking an answer that is made while it is taken, and may be long.
    Listing,
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

/// How many there may be on a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestLimits {
    /// In all.
    pub(crate) guests_max: usize,
    /// Unfinished heads.
    pub(crate) heads_max: usize,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    /// Its time is up: the read that now ends meant no end of the client's. There may be an answer to this.
    TimedOut,
    /// It made room for another one: whatever its task still does, it ends without an answer.
    Dropped,
}

#[derive(Debug)]
struct Guest {
    fd: RawFd,
    phase: Phase,
    deadline_ms: u64,
    state: State,
}

/// Connections of one phase, which all have the same time: the first to run out of it has been at it for longest.
type ByAge = BTreeSet<(u64, u64)>;

/// The request connections of a shard.
#[derive(Debug)]
pub(crate) struct Guests {
    entries: BTreeMap<u64, Guest>,
    next: u64,
    phases: PhaseLimits,
    limits: GuestLimits,
    /// Live ones in [`Phase::Head`].
    heads: ByAge,
    /// Live ones in [`Phase::Idle`].
    idles: ByAge,
    dropped: usize,
}

impl Guests {
    pub(crate) fn new(phases: PhaseLimits, limits: GuestLimits) -> Guests {
        let (heads, idles) = (ByAge::new(), ByAge::new());
        Guests { entries: BTreeMap::new(), next: 0, phases, limits, heads, idles, dropped: 0 }
    }

    /// Deadlines that are given from now on.
    pub(crate) fn set_phases(&mut self, phases: PhaseLimits) {
        self.phases = phases;
    }

    /// A new connection; drops another one if there are too many. `None`: all of them are busy, it is one too many.
    pub(crate) fn admit(&mut self, fd: RawFd, now_ms: u64) -> Option<u64> {
        if self.entries.len() - self.dropped >= self.limits.guests_max {
            let &(_, oldest) = self.idles.first().or(self.heads.first())?;
            self.drop_guest(oldest);
        }
        if self.heads.len() >= self.limits.heads_max
            && let Some(&(_, oldest)) = self.heads.first()
        {
            self.drop_guest(oldest);
        }
        let id = self.next;
        self.next += 1;
        let deadline_ms = now_ms + self.phases.head_ms;
        self.entries.insert(id, Guest { fd, phase: Phase::Head, deadline_ms, state: State::Live });
        self.heads.insert((deadline_ms, id));
        Some(id)
    }

    /// The connection goes on to something else, with the time that has.
    pub(crate) fn enter(&mut self, id: u64, phase: Phase, now_ms: u64) {
        self.unlist(id);
        let Some(guest) = self.entries.get_mut(&id).filter(|guest| guest.state != State::Dropped) else {
            return;
        };
        let limit_ms = match phase {
            Phase::Head => self.phases.head_ms,
            Phase::Body => self.phases.body_ms,
            Phase::Idle => self.phases.idle_ms,
            Phase::Answer | Phase::Listing => self.phases.answer_ms,
            Phase::Linger => LINGER_MS,
        };
        let deadline_ms = now_ms + limit_ms;
        (guest.phase, guest.deadline_ms, guest.state) = (phase, deadline_ms, State::Live);
        match phase {
            Phase::Head => self.heads.insert((deadline_ms, id)),
            Phase::Idle => self.idles.insert((deadline_ms, id)),
            _ => true,
        };
    }

    /// The connection ended or became a stream. To be called before its descriptor is given up.
    pub(crate) fn leave(&mut self, id: u64) {
        self.unlist(id);
        if let Some(guest) = self.entries.remove(&id) {
            self.dropped -= usize::from(guest.state == State::Dropped);
        }
    }

    /// Whether a read ended because the time was up.
    pub(crate) fn timed_out(&self, id: u64) -> bool {
        self.entries.get(&id).is_some_and(|guest| guest.state == State::TimedOut)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Ends whoever has used up its time.
    pub(crate) fn sweep(&mut self, now_ms: u64) {
        let late = self.entries.iter().filter(|(_, guest)| guest.deadline_ms <= now_ms && guest.state == State::Live);
        let late: Vec<u64> = late.map(|(&id, _)| id).collect();
        for id in late {
            self.expire(id);
        }
    }

    /// Ends everybody who isn't waiting for an answer, nor was let in just now: the hub is stopping. A list is cut where it is, or whoever
    /// reads it slowly would hold the stop up. To be called again until nobody is left.
    pub(crate) fn dismiss_idle(&mut self, now_ms: u64) {
        let began_ms = |guest: &Guest| guest.deadline_ms.saturating_sub(self.phases.head_ms);
        for guest in self.entries.values() {
            match guest.phase {
                Phase::Head if began_ms(guest) + LAST_HEAD_MS > now_ms => {}
                Phase::Idle | Phase::Head | Phase::Linger => sys::shutdown(guest.fd, Shutdown::Read),
                Phase::Listing => sys::shutdown(guest.fd, Shutdown::Both),
                Phase::Answer | Phase::Body => {}
            }
        }
    }

    fn expire(&mut self, id: u64) {
        self.unlist(id);
        if let Some(guest) = self.entries.get_mut(&id) {
            guest.state = State::TimedOut;
            let answered = matches!(guest.phase, Phase::Answer | Phase::Listing);
            sys::shutdown(guest.fd, if answered { Shutdown::Both } else { Shutdown::Read });
        }
    }

    fn drop_guest(&mut self, id: u64) {
        self.unlist(id);
        if let Some(guest) = self.entries.get_mut(&id) {
            guest.state = State::Dropped;
            self.dropped += 1;
            sys::shutdown(guest.fd, Shutdown::Both);
        }
    }

    /// Takes it out of the sets of those that may be dropped.
    fn unlist(&mut self, id: u64) {
        if let Some(guest) = self.entries.get(&id) {
            match guest.phase {
                Phase::Head => self.heads.remove(&(guest.deadline_ms, id)),
                Phase::Idle => self.idles.remove(&(guest.deadline_ms, id)),
                _ => false,
            };
        }
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

    fn guests(guests_max: usize, heads_max: usize) -> Guests {
        Guests::new(LIMITS, GuestLimits { guests_max, heads_max })
    }

    /// A guest's socket, whether it has been shut down, and the client's end that keeps it open.
    struct Connection(TcpStream, #[allow(dead_code, reason = "kept open")] TcpStream);

    impl Connection {
        fn new() -> Connection {
            let (server, client) = pair();
            server.set_nonblocking(true).unwrap();
            Connection(server, client)
        }

        fn admit(&self, guests: &mut Guests, now_ms: u64) -> Option<u64> {
            guests.admit(self.0.as_raw_fd(), now_ms)
        }

        fn ended(&self) -> bool {
            (&self.0).read(&mut [0; 8]).is_ok_and(|read| read == 0)
        }
    }

    fn which_ended(connections: &[Connection]) -> Vec<usize> {
        connections.iter().enumerate().filter(|(_, it)| it.ended()).map(|(at, _)| at).collect()
    }

    #[test]
    fn one_head_too_many_ends_the_oldest_unfinished_one() {
        let mut guests = guests(8, 2);
        let connections: Vec<_> = (0..3).map(|_| Connection::new()).collect();
        for connection in &connections {
            connection.admit(&mut guests, 0).unwrap();
        }
        assert_eq!(which_ended(&connections), [0]);
    }

    #[test]
    fn a_connection_past_its_head_is_not_dropped_for_a_new_head() {
        let mut guests = guests(8, 1);
        let connections: Vec<_> = (0..2).map(|_| Connection::new()).collect();
        let first = connections[0].admit(&mut guests, 0).unwrap();
        guests.enter(first, Phase::Answer, 0);
        connections[1].admit(&mut guests, 0).unwrap();
        assert!(which_ended(&connections).is_empty());
    }

    #[test]
    fn one_guest_too_many_ends_the_longest_idle_one_else_the_oldest_head_else_is_turned_away() {
        let mut guests = guests(4, 4);
        let connections: Vec<_> = (0..8).map(|_| Connection::new()).collect();
        let ids: Vec<u64> = connections[..4].iter().map(|it| it.admit(&mut guests, 0).unwrap()).collect();
        guests.enter(ids[1], Phase::Answer, 1);
        guests.enter(ids[1], Phase::Idle, 3);
        guests.enter(ids[2], Phase::Idle, 2);
        guests.enter(ids[3], Phase::Body, 2);
        connections[4].admit(&mut guests, 4).unwrap();
        assert_eq!(which_ended(&connections), [2], "idle for longest");
        connections[5].admit(&mut guests, 5).unwrap();
        assert_eq!(which_ended(&connections), [1, 2], "the other idle one");
        let six = connections[6].admit(&mut guests, 6).unwrap();
        assert_eq!(which_ended(&connections), [0, 1, 2], "the oldest head");
        // Dropped tasks that have not ended yet are no reason to drop more, whatever they still try.
        guests.enter(ids[0], Phase::Linger, 6);
        assert_eq!((guests.len(), guests.dropped), (7, 3));
        for id in [ids[0], ids[1], ids[2]] {
            guests.leave(id);
        }
        assert_eq!((guests.len(), guests.dropped), (4, 0));
        for id in [ids[3] + 1, ids[3] + 2, six] {
            guests.enter(id, Phase::Answer, 7);
        }
        assert_eq!(connections[7].admit(&mut guests, 8), None, "everybody is busy");
        assert_eq!(which_ended(&connections), [0, 1, 2]);
    }

    #[test]
    fn who_was_let_in_just_before_a_stop_has_a_moment_for_its_request() {
        let mut guests = guests(8, 8);
        let connections: Vec<_> = (0..3).map(|_| Connection::new()).collect();
        for (at, connection) in connections.iter().enumerate() {
            let guest = connection.admit(&mut guests, 5_000 + at as u64 * 500).unwrap();
            if at == 1 {
                guests.enter(guest, Phase::Idle, 5_500);
            }
        }
        guests.dismiss_idle(6_000);
        assert_eq!(which_ended(&connections), [0, 1], "one has had its second, one waits for nothing");
        guests.dismiss_idle(7_000);
        assert_eq!(which_ended(&connections), [0, 1, 2]);
    }

    #[test]
    fn each_phase_has_its_own_time() {
        for (phase, limit_ms) in [(Phase::Head, 10), (Phase::Body, 20), (Phase::Idle, 30), (Phase::Answer, 40)] {
            let mut guests = guests(8, 8);
            let (server, _client) = pair();
            let id = guests.admit(server.as_raw_fd(), 0).unwrap();
            guests.enter(id, phase, 100);
            guests.sweep(100 + limit_ms - 1);
            assert!(!guests.timed_out(id), "{phase:?}");
            guests.sweep(100 + limit_ms);
            assert!(guests.timed_out(id), "{phase:?}");
            guests.leave(id);
            assert_eq!((guests.len(), guests.heads.len(), guests.idles.len()), (0, 0, 0), "{phase:?}");
        }
    }
}
