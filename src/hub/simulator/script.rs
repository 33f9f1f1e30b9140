//! What happens in a world: chance picks one thing after the other; then everybody settles down, is compared with the
//! oracle, and leaves.

use std::collections::HashSet;

use super::client::{Edge, Pace, Phase};
use super::oracle::Publish;
use super::trace::note;
use super::turn::FRAME_BYTES_MAX;
use super::universe::{ANNOUNCED, Universe};
use super::world::World;
use crate::hub::{Drain, Input};

/// Rounds in which a hub has to come to rest: each is a turn of every shard with everything answered at once.
const REST_ROUNDS_MAX: usize = 20_000;

impl World {
    /// Whatever may happen.
    pub(super) fn live(&mut self) {
        for _ in 0..self.rules.steps {
            match self.random.below(100) {
                0..=29 => {
                    let shard = self.random.below(self.nodes.len());
                    self.turn(shard);
                }
                30..=39 => self.publish_burst(),
                40..=51 => {
                    let count = self.random.between(1, 40) as usize;
                    self.commit(count);
                }
                52..=66 => self.client_acts(),
                67..=81 => {
                    if !self.held.is_empty() {
                        let at = self.random.below(self.held.len());
                        self.read_some(self.held[at]);
                    }
                }
                82..=88 => {
                    if !self.questions.is_empty() {
                        let at = self.random.below(self.questions.len());
                        self.answer_question(at);
                    }
                }
                89..=96 => {
                    let ms = self.random.between(1, 60);
                    self.pass(ms);
                }
                97 => self.churn(),
                98 => {
                    let ms = self.random.pick(&[200, 1_000, 2_500]);
                    self.pass(ms);
                }
                _ => self.mishap(),
            }
        }
    }

    fn publish_burst(&mut self) {
        let flood = self.random.chance(self.rules.floods);
        let count = match flood {
            true => self.random.between(40, 160),
            false => self.random.between(1, 3),
        };
        let topics = self.draw_topics();
        for _ in 0..count {
            let topics = match flood && self.random.chance(900) {
                true => topics.clone(),
                false => self.draw_topics(),
            };
            let bytes = match self.random.below(200) {
                0 => 70_000,
                1..=8 => self.random.between(1_000, 6_000),
                _ => self.random.between(0, 200),
            };
            if !self.publish_on(topics, if flood { bytes.min(40) } else { bytes }) {
                return;
            }
        }
    }

    /// Members come and go while an event is on its way to them.
    fn churn(&mut self) {
        let topics = self.draw_topics();
        if !self.publish_on(topics, 20) {
            return;
        }
        self.commit(usize::MAX);
        for _ in 0..self.random.between(3, 30) {
            let shard = self.random.below(self.nodes.len());
            self.turn(shard);
            let client = self.random.below(self.clients.len());
            match self.clients[client].phase {
                Phase::Away => self.admit(client),
                Phase::Admitted(_) => self.enter(client),
                Phase::On(_) if self.random.chance(300) => self.leave(client),
                Phase::On(_) => {}
            }
        }
    }

    fn draw_topics(&mut self) -> Vec<usize> {
        let count = self.random.pick(&[1, 1, 1, 2, 3]);
        let all = Universe::get().topics.len();
        // The first topic is the one most clients ask for. The same one twice is allowed.
        let drawn = (0..count).map(|_| if self.random.chance(300) { 0 } else { self.random.below(all) });
        drawn.map(|topic| if topic == ANNOUNCED { 0 } else { topic }).collect()
    }

    /// Publishes to topics with data of about so many bytes.
    pub(super) fn publish_on(&mut self, topics: Vec<usize>, bytes: u64) -> bool {
        let serial = self.serial();
        let mut data = format!("{serial} ");
        match self.random.below(10) {
            0 => data.push_str("one\ntwo\r\nthree\rfour\n"),
            1 => data.push_str(":\n\n id: 5"),
            _ => {}
        }
        data.extend(std::iter::repeat_n('x', bytes as usize));
        debug_assert!(data.len() + 1_000 < FRAME_BYTES_MAX);
        let id = match self.random.below(10) {
            0 => Some(format!("urn:given:{serial}")),
            1 => Some(format!("urn:again:{}", self.random.below(4))),
            _ => None,
        };
        let publish = Publish {
            serial,
            topics,
            private: self.random.chance(300),
            announcement: false,
            id,
            event_type: self.random.chance(100).then(|| "change".to_owned()),
            data,
        };
        self.publish(publish)
    }

    fn client_acts(&mut self) {
        let client = self.random.below(self.clients.len());
        match self.clients[client].phase {
            Phase::Away => {
                self.choose_cursor(client);
                self.admit(client);
            }
            Phase::Admitted(_) => self.enter(client),
            Phase::On(at) => match self.random.below(40) {
                0..=3 => self.leave(client),
                4 => {
                    // It goes, and is back before the hub has noticed.
                    self.leave(client);
                    self.admit(client);
                    self.enter(client);
                }
                5 => self.clients[client].pace = self.random.pick(&[Pace::Fast, Pace::Slow, Pace::Stopped]),
                6 => {
                    // Nobody waits for this edge, or there is no room.
                    let connection = &self.connections[at];
                    let edge = (connection.slot, Edge::Writable);
                    self.nodes[connection.shard].ready.push_back(edge);
                }
                7 => {
                    let bytes = self.random.pick(&[0, 1, 1, 100, 9_000]);
                    let connection = &mut self.connections[at];
                    connection.talked.0 += 1;
                    connection.talked.1 += bytes;
                    let edge = (connection.slot, Edge::Received(bytes));
                    self.nodes[connection.shard].ready.push_back(edge);
                }
                _ => {}
            },
        }
    }

    fn choose_cursor(&mut self, client: usize) {
        let head = self.ledger.head();
        let cursor = match self.random.below(20) {
            0 => None,
            1 => Some("earliest".to_owned()),
            2 => Some("urn:never".to_owned()),
            3 => Some(format!("urn:again:{}", self.random.below(4))),
            4..=6 if head > 0 => {
                let offset = self.random.between(1, head);
                Some(self.ledger.id(offset).to_owned())
            }
            _ => return,
        };
        self.clients[client].cursor = cursor;
    }

    fn enter(&mut self, client: usize) {
        let shard = self.random.below(self.nodes.len());
        if self.random.chance(10) {
            let node = &mut self.nodes[shard];
            let slot = node.shard.reserve();
            self.input(shard, Input::Abandon(slot));
        }
        let lives_ms = match self.random.below(6) {
            0 => self.random.between(0, 300),
            1 => self.random.between(300, 3_000),
            2 => self.random.between(3_000, 20_000),
            _ => 3_600_000,
        };
        let access = self.mint(client, self.now.wall_ms + lives_ms);
        if self.random.chance(20) {
            // Between the check of a token and the stream; those who are there may have been dealt with by then.
            self.withdraw_key();
            for _ in 0..self.random.below(12) {
                self.turn(shard);
            }
        }
        self.register(client, shard, access);
    }

    fn mishap(&mut self) {
        match self.random.below(11) {
            0 => self.crash(),
            8 | 9 => self.withdraw_key(),
            10 => {
                let client = self.random.below(self.clients.len());
                self.kick(client);
            }
            1 | 2 => {
                let ms = self.random.pick(&[300, 5_000, 100_000]);
                note(|| format!("{:>6} the clock is stepped by {ms}", self.now.mono_ms));
                self.stepped_ms = Some(self.now.mono_ms);
                match self.random.chance(500) {
                    true => self.now.wall_ms += ms,
                    false => self.now.wall_ms -= ms,
                }
            }
            _ => {
                // Everybody on one shard goes.
                let shard = self.random.below(self.nodes.len());
                for client in 0..self.clients.len() {
                    if let Phase::On(at) = self.clients[client].phase
                        && self.connections[at].shard == shard
                    {
                        self.leave(client);
                    }
                }
            }
        }
    }

    /// Nothing goes wrong any more and everybody reads: the hub has to come to rest, and nothing may be missing.
    pub(super) fn settle(&mut self) {
        note(|| format!("{:>6} everybody settles down", self.now.mono_ms));
        self.rules.faults = false;
        for client in &mut self.clients {
            client.pace = Pace::Fast;
        }
        self.rest();
        let head = self.ledger.head();
        let open = self.held.iter().map(|&at| &self.connections[at]).filter(|connection| connection.open());
        let open: HashSet<_> = open.map(|connection| (connection.shard, connection.slot)).collect();
        assert!(
            !self.rules.limits.announces || self.announced == open,
            "complete: those who are there are those announced"
        );
        for &at in &self.held {
            let connection = &mut self.connections[at];
            if connection.open() {
                assert!(
                    connection.expectant(),
                    "complete: the hub waits for connection {at}, and that waits for the hub"
                );
                if let Some(owed) = connection.due.owed(&self.ledger, head) {
                    panic!("complete: connection {at} is owed event {owed} at rest");
                }
            }
        }
        for (shard, node) in self.nodes.iter().enumerate() {
            let census = node.shard.census();
            assert_eq!((node.shard.head(), census.dispatched), (head, head), "complete: shard {shard} is at the head");
            let queued = [
                census.pending,
                census.walks,
                census.catch_up,
                census.heartbeats,
                census.endings,
                census.ranked,
                census.behind,
                census.reading,
                census.asked,
                census.turns,
            ];
            assert_eq!(queued, [0; 10], "bounded: shard {shard} is at rest: {census:?}");
            assert!(!node.overloaded, "isolated: shard {shard} is at rest and slows publishers down");
        }
        self.check_answers();
    }

    /// Turns until nothing is left to do.
    pub(super) fn rest(&mut self) {
        for _ in 0..REST_ROUNDS_MAX {
            self.commit(usize::MAX);
            while !self.questions.is_empty() {
                self.answer_question(0);
            }
            for at in 0..self.held.len() {
                self.read_some(self.held[at]);
            }
            let mut busy = false;
            for shard in 0..self.nodes.len() {
                busy |= self.turn(shard);
            }
            for shard in 0..self.nodes.len() {
                while self.announce(shard) {
                    busy = true;
                }
            }
            let waiting = |node: &super::world::Node| {
                !node.inbox.is_empty() || !node.returned.is_empty() || !node.ready.is_empty()
            };
            let blocked =
                self.held.iter().any(|&at| self.connections[at].blocked_ms.is_some() && self.connections[at].open());
            if !busy
                && !blocked
                && self.questions.is_empty()
                && self.queue.is_empty()
                && !self.nodes.iter().any(waiting)
            {
                return;
            }
        }
        panic!("isolated: the hub doesn't come to rest");
    }

    /// Everybody leaves, or the hub stops: nothing may be left of them.
    pub(super) fn part(&mut self) {
        self.stopping = self.random.chance(500);
        if self.stopping && self.random.chance(500) {
            self.drain();
        }
        let open: Vec<usize> = self.held.iter().copied().filter(|&at| self.connections[at].open()).collect();
        if self.stopping {
            note(|| format!("{:>6} the hub stops", self.now.mono_ms));
            for shard in 0..self.nodes.len() {
                self.input(shard, Input::Stop);
                self.carry_out(shard);
            }
        } else {
            for client in 0..self.clients.len() {
                self.leave(client);
            }
        }
        self.rest();
        for &at in &self.held {
            let connection = &self.connections[at];
            assert!(connection.shut_ms.is_some(), "complete: connection {at} outlives everything");
            let ended = !connection.chunked || connection.left || connection.wire.over() || !open.contains(&at);
            assert!(ended, "complete: connection {at} lacks its last chunk");
        }
        // Lingering ends, and whatever a token's end was noted for has come.
        self.now.wall_ms += 10_000_000;
        self.stepped_ms = Some(self.now.mono_ms);
        self.pass(2_500);
        self.rest();
        assert!(self.stopping || self.announced.is_empty(), "complete: {:?} never went", self.announced);
        assert!(self.held.is_empty(), "bounded: connections {:?} were never closed", self.held);
        for (shard, node) in self.nodes.iter().enumerate() {
            let census = node.shard.census();
            let left = [
                census.live,
                census.slots,
                census.selectors,
                census.pending,
                census.walks,
                census.ranked,
                census.catch_up,
                census.heartbeats,
                census.endings,
                census.soon,
                census.cached_topics,
                census.recent_patterns,
            ];
            assert_eq!(left, [0; 12], "bounded: shard {shard} after everybody left: {census:?}");
            let counters = node.shard.counters();
            assert_eq!(
                counters.closed.iter().sum::<u64>(),
                counters.registered,
                "bounded: every stream of shard {shard} ended once: {counters:?}"
            );
        }
        self.check_deliveries();
    }

    /// The streams are ended one by one, while publishers go on.
    fn drain(&mut self) {
        let (window_ms, random) = (self.random.between(1, 3_000), self.random.next());
        note(|| format!("{:>6} the hub drains for {window_ms} ms", self.now.mono_ms));
        for shard in 0..self.nodes.len() {
            self.input(shard, Input::Drain(Drain { window_ms, retry_least_ms: 1_000, random }));
            self.carry_out(shard);
        }
        for _ in 0..self.random.between(1, 8) {
            self.publish_burst();
            self.commit(usize::MAX);
            self.pass(window_ms / 4);
        }
        // The server waits for what is owed, too.
        self.rest();
    }

    /// The hub's count of deliveries is what arrived. The last bytes of a chunk hold no event, so that one cut there for
    /// good has arrived and was not written whole. Shards that crashed took their counts with them.
    fn check_deliveries(&self) {
        if self.epoch > 1 {
            return;
        }
        let counted: u64 = self.nodes.iter().map(|node| node.shard.counters().deliveries).sum();
        let received: u64 = self.connections.iter().map(|connection| connection.due.received).sum();
        assert!(
            counted <= received && received <= counted + self.connections.len() as u64,
            "complete: {counted} deliveries counted, {received} events received"
        );
    }
}
