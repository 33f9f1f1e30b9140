//! Clients and their sockets: what they ask for, how they read, and what the kernel holds for them.

use std::collections::VecDeque;

use super::oracle::{Due, Interest};
use super::random::Random;
use super::universe::{ANY, FIRST_PATTERN, Universe};
use super::wire::Wire;
use crate::hub::{Now, SlotId, Start};
use crate::protocol::coding::Coding;
use crate::protocol::token::KeyIdentity;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Everything at once.
    Fast,
    /// A few hundred bytes now and then.
    Slow,
    /// A few bytes now and then.
    Trickle,
    /// Never.
    Stopped,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Away,
    /// Its request was judged and its cursor looked up; it is about to be registered.
    Admitted(Start),
    /// Its connection.
    On(usize),
}

/// Somebody who subscribes, loses the connection, and comes back.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) interest: Interest,
    pub(super) chunked: bool,
    pub(super) coding: Option<Coding>,
    pub(super) pace: Pace,
    /// What the kernel on both sides holds for it.
    pub(super) buffer_bytes: u64,
    /// The last id it has read.
    pub(super) cursor: Option<String>,
    pub(super) phase: Phase,
}

impl Client {
    /// Anybody.
    pub(super) fn draw(random: &mut Random, lazy: u64) -> Client {
        let lazy = random.chance(lazy);
        let pace = match lazy {
            true => random.pick(&[Pace::Slow, Pace::Slow, Pace::Trickle, Pace::Stopped]),
            false => Pace::Fast,
        };
        Client {
            interest: Interest { matchers: draw_matchers(random), grants: draw_grants(random) },
            chunked: random.chance(700),
            coding: random.pick(&[None, None, Some(Coding::Gzip), Some(Coding::Zstd)]),
            pace,
            buffer_bytes: match lazy {
                true => random.pick(&[60, 500, 3_000, 100_000]),
                false => random.pick(&[3_000, 100_000, 100_000_000]),
            },
            cursor: None,
            phase: Phase::Away,
        }
    }
}

/// One to five matchers, each once: shared ones, patterns, and some that nobody else has.
fn draw_matchers(random: &mut Random) -> Vec<usize> {
    let universe = Universe::get();
    let mut matchers = Vec::new();
    for _ in 0..random.pick(&[1, 1, 1, 2, 2, 3, 4, 5]) {
        let matcher = match random.below(12) {
            0 => ANY,
            1..=5 => random.between(1, FIRST_PATTERN as u64 - 2) as usize,
            6..=8 => random.between(FIRST_PATTERN as u64, universe.stray as u64 - 1) as usize,
            // Most clients have this one: an audience larger than the others.
            9 | 10 => 1,
            _ => random.between(universe.stray as u64, universe.matchers.len() as u64 - 1) as usize,
        };
        if !matchers.contains(&matcher) {
            matchers.push(matcher);
        }
    }
    matchers
}

fn draw_grants(random: &mut Random) -> Option<Vec<usize>> {
    let stray = Universe::get().stray;
    match random.below(5) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![ANY]),
        3 => Some(vec![random.below(stray)]),
        _ => Some(vec![random.below(stray), random.below(stray)]),
    }
}

/// What happens at a socket and its shard is told in its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Writable,
    Received(u32),
    Gone,
}

/// One event stream, from the outside.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: usize,
    pub(super) shard: usize,
    pub(super) slot: SlotId,
    pub(super) chunked: bool,
    pub(super) coded: bool,
    /// A part has been written to some byte, and not to its end.
    pub(super) in_part: bool,
    pub(super) wire: Wire,
    pub(super) due: Due,
    pub(super) buffer_bytes: u64,
    pub(super) written: u64,
    pub(super) read: u64,
    /// Ids of events in the buffer and where each event ends.
    ids: VecDeque<(u64, String)>,
    /// When a write was cut last: the hub waits for an edge.
    pub(super) blocked_ms: Option<u64>,
    /// An edge is on its way to the shard.
    pub(super) edge_queued: bool,
    /// What `blocked_ms` was before: until the shard has the edge, the socket is full for it.
    pub(super) full_ms: Option<u64>,
    /// The hub waits for history.
    pub(super) reading: bool,
    /// History told the hub that the next event is gone.
    pub(super) trimmed: bool,
    /// The end of its body was to be written, for a reason.
    pub(super) ending: bool,
    /// The hub has ended the stream.
    pub(super) shut_ms: Option<u64>,
    /// The hub has closed the socket.
    pub(super) closed: bool,
    /// The client has gone, or the connection broke.
    pub(super) left: bool,
    /// It sent more than a stream's client may.
    pub(super) talked: (u32, u32),
    pub(super) opened: Now,
    pub(super) expires_ms: Option<u64>,
    /// What its token was accepted by.
    pub(super) key: Option<KeyIdentity>,
    pub(super) idle_since_ms: u64,
    /// When a tick last found it reading on from its own cursor.
    pub(super) behind_ms: u64,
    /// The hub was idle once when its head was here: this stream has everything up to there.
    pub(super) settled: u64,
}

impl Connection {
    pub(super) fn new(client: usize, who: &Client, shard: usize, slot: SlotId, due: Due, now: Now) -> Connection {
        Connection {
            client,
            shard,
            slot,
            chunked: who.chunked,
            coded: who.coding.is_some(),
            in_part: false,
            wire: Wire::new(who.chunked, who.coding),
            due,
            buffer_bytes: who.buffer_bytes,
            written: 0,
            read: 0,
            ids: VecDeque::new(),
            blocked_ms: None,
            edge_queued: false,
            full_ms: None,
            reading: false,
            trimmed: false,
            ending: false,
            shut_ms: None,
            closed: false,
            left: false,
            talked: (0, 0),
            opened: now,
            expires_ms: None,
            key: None,
            idle_since_ms: now.mono_ms,
            behind_ms: 0,
            settled: 0,
        }
    }

    /// Bytes the socket takes.
    pub(super) fn room(&self) -> u64 {
        self.buffer_bytes.saturating_sub(self.written - self.read)
    }

    /// An event or a heartbeat has arrived in part, as far as the chunks or, under a coding, where an event may be several of them,
    /// the hub's writes say.
    pub(super) fn cut(&self) -> bool {
        if self.coded { self.in_part } else { !self.chunked || !self.wire.between_chunks() }
    }

    /// Neither side has ended it.
    pub(super) fn open(&self) -> bool {
        !self.left && !self.closed && self.shut_ms.is_none()
    }

    /// Whether the hub has no reason not to write what is due.
    pub(super) fn expectant(&self) -> bool {
        self.open() && !self.reading && !self.edge_queued && self.blocked_ms.is_none()
    }

    /// An event has been written whole.
    pub(super) fn remember(&mut self, id: String) {
        self.ids.push_back((self.written, id));
    }

    /// The client reads; the last id it got to.
    pub(super) fn read(&mut self, bytes: u64) -> Option<String> {
        self.read = (self.read + bytes).min(self.written);
        let mut last = None;
        while self.ids.front().is_some_and(|(end, _)| *end <= self.read) {
            last = self.ids.pop_front().map(|(_, id)| id);
        }
        last
    }
}
