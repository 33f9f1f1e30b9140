//! One turn of a shard's loop with everything around it checked: what it is told, what it writes, what it wants done.

use super::client::{Connection, Edge, Phase};
use super::trace::note;
use super::universe::Universe;
use super::world::{Question, World};
use crate::hub::batch::{Part, VISIT_BYTES_MAX};
use crate::hub::history::CHUNK_EVENTS_MAX;
use crate::hub::pattern_index::{CACHED_TOPICS_MAX, PATTERN_LOG_MAX};
use crate::hub::shard::{JUDGE_NS, PENDING_MAX, SEND_NS, STALE_MAX};
use crate::hub::subscriber::State;
use crate::hub::{Batch, Input, Outcome, Output, TICK_MS, VISIT_PARTS_MAX};

/// No frame in this world is larger.
pub(super) const FRAME_BYTES_MAX: usize = 80_000;
/// How long after a deadline a sweep may notice it.
const SWEEP_MS: u64 = 1_000 + 2 * TICK_MS;
/// How long an ended stream may wait for its last chunk or its client.
const LINGER_MS: u64 = 1_000 + 2 * SWEEP_MS;

impl World {
    /// A turn of a shard: take in what is there, write one slice. Whether there is more to do at once.
    pub(super) fn turn(&mut self, shard: usize) -> bool {
        while let Some((id, edge)) = self.nodes[shard].ready.pop_front() {
            if let (Edge::Writable, Some(&at)) = (edge, self.by_slot.get(&(shard, id))) {
                self.connections[at].edge_queued = false;
                self.connections[at].full_ms = None;
            }
            let input = match edge {
                Edge::Writable => Input::Writable(id),
                Edge::Received(bytes) => Input::Received(id, bytes),
                Edge::Gone => Input::Gone(id),
            };
            self.input(shard, input);
        }
        let all = !self.rules.faults || self.random.chance(700);
        while all || self.random.chance(500) {
            let Some(events) = self.nodes[shard].inbox.pop_front() else {
                break;
            };
            self.input(shard, Input::Events(events));
        }
        while !self.nodes[shard].returned.is_empty() && (all || self.random.chance(500)) {
            let returned = &mut self.nodes[shard].returned;
            let (id, answer) = returned.swap_remove(self.random.below(returned.len()));
            if let Some(&at) = self.by_slot.get(&(shard, id)) {
                self.connections[at].reading = false;
                // Only a stream at rest is kept alive by comments: one that reads gets its events.
                self.connections[at].idle_since_ms = self.now.mono_ms;
            }
            self.input(shard, Input::History(id, answer));
        }
        self.carry_out(shard);
        let now = self.now;
        self.nodes[shard].shard.errand(now);
        self.carry_out(shard);
        if let Some(batch) = self.nodes[shard].shard.slice() {
            let batch = self.send(shard, batch);
            self.input(shard, Input::Sent(batch));
        }
        self.carry_out(shard);
        while self.random.chance(500) && self.announce(shard) {}
        let node = &mut self.nodes[shard];
        node.turns += 1;
        node.overloaded = node.shard.overloaded();
        if node.turns.is_multiple_of(16) {
            self.check_bounds(shard);
        }
        let busy = self.nodes[shard].shard.busy();
        if !busy {
            self.check_nothing_owed(shard);
        }
        busy
    }

    /// Does what a shard wants done.
    pub(super) fn carry_out(&mut self, shard: usize) {
        while let Some(output) = self.nodes[shard].shard.output() {
            match output {
                Output::Read { id, after, forgiven, filter } => {
                    let connection = self.by_slot[&(shard, id)];
                    assert!(
                        !std::mem::replace(&mut self.connections[connection].reading, true),
                        "bounded: a second question to history for one subscriber"
                    );
                    note(|| format!("{:>6} {connection} reads after {after} {forgiven:?}", self.now.mono_ms));
                    self.questions.push(Question { shard, id, connection, after, forgiven, filter });
                }
                Output::Revoked(revocation, closed) => self.nodes[shard].revoked.push((revocation, closed)),
                Output::Surveyed(_, findings) => self.nodes[shard].findings.push(findings),
                Output::Shutdown(sink) => self.shut_down(sink.socket().0 as usize),
                Output::Close { sink, address } => self.close(sink.socket().0 as usize, address),
            }
        }
    }

    fn shut_down(&mut self, at: usize) {
        note(|| format!("{:>6} {at} is shut down", self.now.mono_ms));
        if !self.connections[at].ending {
            self.check_reason(at);
        }
        let connection = &mut self.connections[at];
        assert!(connection.shut_ms.is_none() && !connection.closed, "bounded: shut down twice");
        let cut = connection.blocked_ms.is_some() || connection.edge_queued || !connection.wire.begun();
        assert!(
            !connection.chunked || connection.wire.over() || cut || connection.cut() || connection.left,
            "complete: a chunked body lacks its last chunk"
        );
        connection.shut_ms = Some(self.now.mono_ms);
    }

    /// A stream is ended for a reason only.
    fn check_reason(&mut self, at: usize) {
        let dropped = self.history.read().expect("nobody panics in between").dropped();
        let connection = &mut self.connections[at];
        // A socket that was full in the middle of an event keeps no event alive.
        let next = connection.due.owed(&self.ledger, u64::MAX);
        let cut = connection.cut();
        let cut_off = cut && next.is_some_and(|next| next == 0 || self.ledger.is_dropped(next, dropped))
            || (connection.coded && cut || connection.wire.at_end_of_chunk())
                && dropped.iter().any(|&gone| connection.due.last() <= gone)
            // What it was cut in has other bytes in history.
            || self.rules.copies
                && connection.coded
                && cut
                && [next.unwrap_or(0), connection.due.last()].iter().any(|&at| self.ledger.is_compressed(at));
        let connection = &self.connections[at];
        let limits = &self.rules.limits;
        let age_ms = self.now.mono_ms - connection.opened.mono_ms;
        let stepped = self.stepped_within(2_500);
        let expiring = connection.expires_ms.is_some_and(|expires_ms| {
            let spread_ms = expires_ms.saturating_sub(connection.opened.wall_ms).min(300_000) / 10;
            stepped || self.now.wall_ms + spread_ms + 3_500 >= expires_ms
        });
        let old = limits.lifetime_max_ms > 0 && age_ms + 200 >= limits.lifetime_max_ms / 10 * 9;
        let stalled = limits.write_timeout_ms > 0
            && connection
                .blocked_ms
                .or(connection.full_ms)
                .is_some_and(|since| self.now.mono_ms + 1_000 >= since + limits.write_timeout_ms);
        let revoked = self.is_revoked(connection);
        let talkative = connection.talked.0 > 60 || connection.talked.1 > 16 * 1024;
        assert!(
            self.stopping
                || connection.left
                || connection.trimmed
                || cut_off
                || expiring
                || old
                || stalled
                || revoked
                || talkative
                || self.kicked.contains(&connection.client),
            "complete: connection {at} was ended for no reason"
        );
    }

    fn close(&mut self, at: usize, address: u32) {
        note(|| format!("{:>6} {at} is closed", self.now.mono_ms));
        let connection = &mut self.connections[at];
        assert!(!connection.closed, "bounded: a socket is closed once");
        assert_eq!(address, connection.client as u32, "bounded: an address is given back");
        assert!(connection.left || connection.shut_ms.is_some(), "complete: connection {at} was closed without an end");
        connection.closed = true;
        let client = connection.client;
        // What is in the client's own buffer is still read, as a rule.
        if self.random.chance(700) {
            self.read_some(at);
        }
        self.by_slot.remove(&(self.connections[at].shard, self.connections[at].slot));
        self.held.retain(|&held| held != at);
        if self.clients[client].phase == Phase::On(at) {
            self.clients[client].phase = Phase::Away;
        }
    }

    /// The kernel: takes all, some or nothing of each write.
    fn send(&mut self, shard: usize, mut batch: Batch) -> Batch {
        assert!(
            batch.writes.len() as u64 <= self.rules.slice_ns / SEND_NS + 1,
            "bounded: {} writes in one slice",
            batch.writes.len()
        );
        for index in 0..batch.writes.len() {
            let outcome = self.write(shard, &batch, index);
            batch.writes[index].outcome = outcome;
        }
        batch
    }

    fn write(&mut self, shard: usize, batch: &Batch, index: usize) -> Outcome {
        let write = &batch.writes[index];
        let at = write.sink.socket().0 as usize;
        let connection = &self.connections[at];
        assert_eq!((connection.shard, connection.slot.slot), (shard, write.slot), "private: another's socket");
        assert!(!connection.closed && connection.shut_ms.is_none(), "order: a write after the end of connection {at}");
        let parts = batch.parts(write);
        let total: usize =
            parts.iter().flat_map(|&part| self.nodes[shard].shard.pieces(write, part)).map(<[u8]>::len).sum();
        let pieces = parts.iter().flat_map(|&part| self.nodes[shard].shard.pieces(write, part));
        let pieces = pieces.filter(|piece| !piece.is_empty()).count();
        assert_eq!(total, write.bytes as usize, "complete: a write's length");
        assert!(
            pieces <= VISIT_PARTS_MAX && total <= VISIT_BYTES_MAX + FRAME_BYTES_MAX,
            "bounded: a write of {pieces} pieces and {total} bytes"
        );
        if parts.contains(&Part::LastChunk) && !connection.ending {
            // Now, and not when there is room for it: a reader that was too slow may have read by then.
            self.check_reason(at);
            self.connections[at].ending = true;
        }
        let connection = &self.connections[at];
        if self.rules.faults && (connection.left && self.random.chance(500) || self.random.chance(2)) {
            note(|| format!("{:>6} {at} breaks", self.now.mono_ms));
            let connection = &mut self.connections[at];
            connection.left = true;
            if self.random.chance(500) {
                self.nodes[shard].ready.push_back((connection.slot, Edge::Gone));
            }
            return Outcome::Gone;
        }
        let mut takes = total.min(connection.room().min(usize::MAX as u64) as usize);
        if self.rules.faults && self.random.chance(15) {
            takes = self.random.below(takes + 1);
        }
        note(|| format!("{:>6} {at} takes {takes} of {total}: {parts:?}", self.now.mono_ms));
        self.deliver(shard, at, batch, index, takes);
        let connection = &mut self.connections[at];
        connection.blocked_ms = match connection.blocked_ms {
            _ if takes == total => None,
            // A refusal says nothing new about a socket that was full before.
            Some(since) if takes == 0 => Some(since),
            _ => Some(self.now.mono_ms),
        };
        if takes < total {
            // A refused heartbeat counts: the next one is due an interval later.
            connection.idle_since_ms = self.now.mono_ms;
        }
        Outcome::Sent(takes as u32)
    }

    fn deliver(&mut self, shard: usize, at: usize, batch: &Batch, index: usize, takes: usize) {
        let stepped = self.stepped_within(SWEEP_MS + 200);
        let connection = &mut self.connections[at];
        let expired = connection.expires_ms.is_some_and(|expires_ms| expires_ms <= self.now.wall_ms);
        let write = &batch.writes[index];
        let mut left = takes;
        for &part in batch.parts(write) {
            let bytes = self.nodes[shard].shard.pieces(write, part).concat();
            let whole = bytes.len();
            let bytes = &bytes[..whole.min(left)];
            if left > 0 {
                connection.in_part = left < whole;
            }
            left -= bytes.len();
            connection.written += bytes.len() as u64;
            let mut events = Vec::new();
            let pushed = connection.wire.push(bytes, &mut |event| events.push(event));
            pushed.unwrap_or_else(|error| panic!("complete: framing of connection {at} is broken: {error}"));
            for event in events {
                assert!(!expired || stepped, "expiry: an event was written to connection {at} after its token's end");
                connection.due.receive(&self.ledger, &event);
                connection.remember(event.id);
            }
        }
        if takes > 0 {
            connection.idle_since_ms = self.now.mono_ms;
        }
    }

    pub(super) fn stepped_within(&self, ms: u64) -> bool {
        self.stepped_ms.is_some_and(|at| self.now.mono_ms - at <= ms)
    }

    fn is_revoked(&self, connection: &Connection) -> bool {
        connection.key.is_some_and(|key| !self.keys.contains(&key))
    }

    /// A shard that isn't busy owes nothing to anybody whose socket has room, and has ended whom it had to.
    fn check_nothing_owed(&mut self, shard: usize) {
        for &at in &self.held {
            let connection = &self.connections[at];
            assert!(
                // The end of a body may wait for room in the socket, as long as a closed stream may linger.
                connection.shard != shard || !connection.expectant() || !self.is_revoked(connection),
                "revoked: connection {at} is open, its key was withdrawn, and the shard is idle"
            );
        }
        let head = self.nodes[shard].shard.head();
        for &at in &self.held {
            let connection = &mut self.connections[at];
            if connection.shard != shard || !connection.expectant() {
                continue;
            }
            if self.nodes[shard].shard.waits_for_turn(connection.slot) {
                continue;
            }
            assert!(connection.wire.begun(), "complete: connection {at} waits for its head, the shard is idle");
            if let Some(owed) = connection.due.owed(&self.ledger, head) {
                panic!("complete: connection {at} is owed event {owed}, the shard is idle at {head}");
            }
            connection.settled = head;
        }
    }

    /// Nothing has grown beyond its limit.
    fn check_bounds(&mut self, shard: usize) {
        let census = self.nodes[shard].shard.census();
        let matchers = Universe::get().matchers.len();
        let waiting = self.questions.iter().filter(|question| question.shard == shard).count();
        let tail_max = self.rules.limits.tail_bytes_max as u64;
        let holds = (census.tail_bytes <= tail_max || census.tail_first > census.dispatched)
            && census.pending <= PENDING_MAX + matchers
            && census.selectors <= matchers
            && census.walks <= census.selectors
            && census.ranked <= 2 * (4 * census.walks + 64)
            && census.cached_topics <= 2 * 2 * CACHED_TOPICS_MAX
            && census.recent_patterns <= 2 * PATTERN_LOG_MAX
            && census.backlog_events <= CHUNK_EVENTS_MAX
            && census.asked == waiting + self.nodes[shard].returned.len()
            && census.outputs == 0
            && census.ended <= self.announced.len()
            && census.begun <= 2 * census.live + STALE_MAX + 1;
        assert!(holds, "bounded: {census:?}");
        // One visit more than the slice had room for, and that looks at 65 events of each of five selectors.
        let judged_max = self.rules.slice_ns as usize / JUDGE_NS as usize + 5 * (VISIT_PARTS_MAX + 1);
        assert!(census.judged <= judged_max, "isolated: {} private events judged in one slice", census.judged);
    }

    /// What time alone has to bring about, seen right after a tick.
    pub(super) fn check_deadlines(&mut self) {
        let now = self.now;
        let limits = self.rules.limits;
        for index in 0..self.held.len() {
            let at = self.held[index];
            let (busy, state) = {
                let Connection { shard, slot, .. } = self.connections[at];
                let shard = &mut self.nodes[shard].shard;
                (shard.busy(), shard.state(slot))
            };
            if state == Some(State::Behind) {
                self.connections[at].behind_ms = now.mono_ms;
            }
            let waits = {
                let Connection { shard, slot, .. } = self.connections[at];
                self.nodes[shard].shard.waits_for_turn(slot)
            };
            if waits || self.connections[at].reading {
                // Waiting for history isn't its socket's fault.
                self.connections[at].blocked_ms.iter_mut().for_each(|since| *since += TICK_MS);
            }
            let connection = &self.connections[at];
            if let Some(shut_ms) = connection.shut_ms {
                assert!(now.mono_ms <= shut_ms + LINGER_MS, "bounded: connection {at} lingers");
                continue;
            }
            if connection.left {
                continue;
            }
            // The end of a body may wait for room in the socket, as long as a closed stream may linger.
            let grace = if busy || state == Some(State::Closing) { LINGER_MS } else { 0 };
            let age_ms = now.mono_ms - connection.opened.mono_ms;
            if let Some(expires_ms) = connection.expires_ms {
                assert!(
                    now.wall_ms <= expires_ms + grace || self.stepped_within(SWEEP_MS + grace) || age_ms < TICK_MS,
                    "expiry: connection {at} is open after its token's end"
                );
            }
            assert!(
                limits.lifetime_max_ms == 0 || age_ms <= limits.lifetime_max_ms + SWEEP_MS + grace,
                "expiry: connection {at} is open after its lifetime"
            );
            if let Some(since) = connection.blocked_ms {
                assert!(
                    limits.write_timeout_ms == 0 || now.mono_ms <= since + limits.write_timeout_ms + SWEEP_MS + grace,
                    "bounded: connection {at} took nothing since {since} and is open"
                );
            }
            // Who reads on from a cursor may pass over foreign events for long, and is due one when it is current again.
            let due_ms = connection.behind_ms.max(connection.idle_since_ms + limits.heartbeat_ms);
            assert!(
                limits.heartbeat_ms == 0 || busy || !connection.expectant() || now.mono_ms <= due_ms + SWEEP_MS + 100,
                "isolated: connection {at} got no heartbeat"
            );
        }
    }
}
