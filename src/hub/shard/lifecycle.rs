//! The life of a stream: registration, what its socket says, deadlines, its end.

use super::{Now, Output, Registration, Shard, Start, TICK_MS};
use crate::hub::defect::{Defect, planted};
use crate::hub::selector::NO_WALK;
use crate::hub::subscriber::{Backlog, CloseReason, Place, Places, Rest, SlotId, State, Wait};
use crate::protocol::token::NEVER_MS;

/// Ticks in which the whole slab is swept.
const SWEEP_TICKS: usize = 20;
/// A sweep looks this far ahead of a token's expiry: two whole sweeps, which is what a slot may have to wait for while the
/// slab grows, and some slack.
const EXPIRY_MARGIN_MS: u64 = 2_200;
/// Streams that end sooner than this are watched at every tick.
const SOON_MS: u64 = 3_500;
/// Window before a token's expiry over which its streams' ends are spread, at most.
const EXPIRY_SPREAD_MS: u64 = 30_000;
/// Bytes a client may send on a stream before it is closed.
const DISCARDED_BYTES_MAX: u32 = 16 * 1024;
/// Times a client may wake its stream before it is closed.
const WAKEUPS_MAX: u16 = 64;
/// How long an ended stream waits for the client's own end, tenths of seconds.
const LINGER_DS: u32 = 10;

impl Shard {
    pub(super) fn register(&mut self, id: SlotId, registration: Registration, now: Now) {
        let Some(slot) = self.slab.find(id) else {
            return;
        };
        debug_assert!(!registration.matchers.is_empty(), "a subscription names at least one matcher");
        let places: Vec<Place> =
            registration.matchers.iter().map(|matcher| self.selectors.join(matcher, slot)).collect();
        let offset = match registration.start {
            Start::Live => self.tail.head(),
            Start::After(offset) => offset,
            Start::Earliest => 0,
        };
        let mut backlog = Backlog::new(Wait::Slice, offset);
        backlog.rest = Some(Rest::Head(registration.head, 0));
        if registration.start == Start::Earliest {
            backlog.forgiven = None;
        }
        let expires_ms = registration.access.as_ref().map(|access| access.expires_at_ms).filter(|&at| at != NEVER_MS);
        self.enter(slot, State::Behind);
        let subscriber = self.slab.at_mut(slot);
        subscriber.chunked = registration.chunked;
        subscriber.coding = registration.coding;
        subscriber.sink = Some(registration.sink);
        subscriber.offset = offset;
        subscriber.progress_ds = now.ds();
        subscriber.address = registration.address;
        subscriber.places = Places::new(&places);
        subscriber.access = registration.access;
        subscriber.backlog = Some(Box::new(backlog));
        let mut ending = false;
        if let Some(expires_ms) = expires_ms.filter(|_| !planted(Defect::IgnoresExpiry)) {
            let remaining = expires_ms.saturating_sub(now.wall_ms);
            let window = (remaining / 10).min(EXPIRY_SPREAD_MS);
            let early = window * u64::from(registration.spread) / u64::from(u16::MAX);
            subscriber.expires_s = u32::try_from((expires_ms - early) / 1000).unwrap_or(u32::MAX).max(1);
            // The next tick may come after the token's end.
            ending = remaining <= TICK_MS * 2;
            if remaining < SOON_MS && !ending {
                self.soon.push((expires_ms - TICK_MS * 2, id));
            }
        }
        if self.limits.lifetime_max_ms > 0 {
            let lifetime = self.limits.lifetime_max_ms;
            let early = lifetime / 10 * u64::from(registration.spread) / u64::from(u16::MAX);
            subscriber.ends_ds = u32::try_from((now.mono_ms + lifetime - early) / 100).unwrap_or(u32::MAX).max(1);
        }
        self.counters.registered += 1;
        if let Some(coding) = registration.coding {
            self.coded[coding as usize] += 1;
        }
        self.presence_begins(id, places.len());
        self.catch_up.push_back(id);
        let revoked = self.revoked_meanwhile(slot, &registration.matchers, now);
        if let Some(reason) = revoked {
            self.close(slot, reason, now);
        } else if self.stopping {
            self.close(slot, CloseReason::Stopping, now);
        } else if self.lost_at.is_some() {
            self.close(slot, CloseReason::LogLost, now);
        } else if ending {
            self.close(slot, CloseReason::Expired, now);
        }
    }

    pub(super) fn writable(&mut self, id: SlotId, now: Now) {
        let Some(slot) = self.slab.find(id) else {
            return;
        };
        let subscriber = self.slab.at_mut(slot);
        let form = subscriber.form();
        if subscriber.state == State::Closing {
            if let Some(backlog) = subscriber.backlog.as_mut().filter(|backlog| backlog.wait == Wait::Writable) {
                backlog.wait = Wait::Slice;
                self.endings.push_back(id);
            }
            return;
        }
        let Some(backlog) = &mut subscriber.backlog else {
            return;
        };
        if planted(Defect::LosesWakeUp) && backlog.cut_in().is_some() {
            return;
        }
        if backlog.wait == Wait::Writable {
            backlog.idle_ds = now.ds().saturating_sub(subscriber.progress_ds);
            if backlog.resume(&self.tail, form) {
                backlog.wait = Wait::Slice;
                self.catch_up.push_back(id);
            } else {
                self.read_history(slot, id);
            }
        }
    }

    pub(super) fn received(&mut self, id: SlotId, bytes: u32, now: Now) {
        let Some(slot) = self.slab.find(id) else {
            return;
        };
        let subscriber = self.slab.at_mut(slot);
        subscriber.wakeups = subscriber.wakeups.saturating_add(1);
        let discarded = u32::from(subscriber.discarded_bytes).saturating_add(bytes);
        subscriber.discarded_bytes = discarded.min(u32::from(u16::MAX)) as u16;
        if subscriber.state != State::Closing && (discarded > DISCARDED_BYTES_MAX || subscriber.wakeups > WAKEUPS_MAX) {
            self.close(slot, CloseReason::Talkative, now);
        }
    }

    pub(super) fn tick(&mut self, now: Now) {
        if let Some(drainage) = &mut self.drainage {
            drainage.go_on(now);
        }
        let capacity = self.slab.capacity();
        if capacity == 0 {
            (self.slow, self.slow_met) = (0, 0);
        }
        for _ in 0..capacity.div_ceil(SWEEP_TICKS) {
            if self.sweep_at >= capacity {
                (self.sweep_at, self.slow, self.slow_met) = (0, self.slow_met, 0);
            }
            self.sweep(self.sweep_at as u32, now);
            self.sweep_at += 1;
        }
        if !self.soon.is_empty() {
            let due: Vec<SlotId> =
                self.soon.extract_if(.., |(at_ms, _)| *at_ms <= now.wall_ms).map(|(_, id)| id).collect();
            for id in due {
                if let Some(slot) = self.slab.find(id) {
                    self.close(slot, CloseReason::Expired, now);
                }
            }
        }
    }

    /// Looks after one slot: expiry, lifetime, write deadline, heartbeat, linger.
    fn sweep(&mut self, slot: u32, now: Now) {
        let limits = self.limits;
        let Some(subscriber) = self.slab.get(slot) else {
            return;
        };
        let idle_ds = now.ds().saturating_sub(subscriber.progress_ds);
        match subscriber.state {
            State::Vacant | State::Reserved => return,
            State::Closing => {
                if idle_ds >= LINGER_DS {
                    self.shut_down(slot);
                    self.release(slot);
                }
                return;
            }
            State::Current | State::Behind => {}
        }
        if subscriber.expires_s > 0 && u64::from(subscriber.expires_s) * 1000 <= now.wall_ms + EXPIRY_MARGIN_MS {
            self.close(slot, CloseReason::Expired, now);
        } else if subscriber.ends_ds > 0 && subscriber.ends_ds <= now.ds() {
            self.close(slot, CloseReason::Lifetime, now);
        } else if subscriber.state == State::Behind {
            let blocked = subscriber.backlog.as_ref().is_some_and(|backlog| backlog.wait == Wait::Writable);
            self.slow_met += u32::from(blocked);
            if blocked && limits.write_timeout_ms > 0 && u64::from(idle_ds) * 100 >= limits.write_timeout_ms {
                self.close(slot, CloseReason::Stalled, now);
            }
        } else if limits.heartbeat_ms > 0 {
            // A few slots early each, so that what one broadcast made idle together isn't due together.
            let early = limits.heartbeat_ms / 8 * u64::from(slot % 8) / 8;
            if u64::from(idle_ds) * 100 + early >= limits.heartbeat_ms {
                let id = SlotId { slot, generation: subscriber.generation };
                self.heartbeats.push_back(id);
                // Counted as written from here, so that it is queued once however long its slice takes to come.
                self.slab.at_mut(slot).progress_ds = now.ds();
            }
        }
    }

    /// Ends a stream in order: no more events, when to come back if the hub drains, the last chunk, neither if a frame is cut, shutdown, linger.
    pub(super) fn close(&mut self, slot: u32, reason: CloseReason, now: Now) {
        if !matches!(self.slab.at(slot).state, State::Current | State::Behind) {
            return;
        }
        self.leave(slot);
        self.counters.closed[reason as usize] += 1;
        self.enter(slot, State::Closing);
        let last_words = if reason == CloseReason::Stopping { self.last_words(slot) } else { None };
        let subscriber = self.slab.at_mut(slot);
        let rest = subscriber.backlog.take().and_then(|backlog| backlog.rest);
        subscriber.access = None;
        subscriber.progress_ds = now.ds();
        let (own, cut) = match rest {
            // A response head nobody has seen yet still goes out: a request is not left without an answer.
            Some(Rest::Head(head, 0)) => (Some([head, last_words.unwrap_or_default()].concat().into()), false),
            rest => (last_words.filter(|_| rest.is_none()), rest.is_some()),
        };
        let own_words = own.is_some();
        if let Some(own) = own {
            let mut backlog = Backlog::new(Wait::Slice, subscriber.offset);
            backlog.rest = Some(Rest::Head(own, 0));
            subscriber.backlog = Some(Box::new(backlog));
        }
        if own_words || subscriber.chunked && !cut {
            let id = SlotId { slot, generation: subscriber.generation };
            self.endings.push_back(id);
        } else {
            self.shut_down(slot);
        }
    }

    pub(super) fn shut_down(&mut self, slot: u32) {
        let subscriber = self.slab.at_mut(slot);
        if let (false, Some(sink)) = (subscriber.ended, subscriber.sink) {
            subscriber.ended = true;
            self.outputs.push_back(Output::Shutdown(sink));
        }
    }

    /// The connection is no more.
    pub(super) fn gone(&mut self, slot: u32) {
        match self.slab.at(slot).state {
            State::Current | State::Behind => {
                self.leave(slot);
                self.counters.closed[CloseReason::Gone as usize] += 1;
                self.release(slot);
            }
            State::Closing => self.release(slot),
            State::Vacant | State::Reserved => {}
        }
    }

    fn release(&mut self, slot: u32) {
        let subscriber = self.slab.at(slot);
        if let Some(sink) = subscriber.sink {
            self.outputs.push_back(Output::Close { sink, address: subscriber.address });
        }
        self.population.moves(subscriber.state, State::Vacant);
        self.slab.release(slot);
    }

    /// Takes a subscriber out of its selectors' member lists, and from among those who read history.
    fn leave(&mut self, slot: u32) {
        self.presence_ends(slot);
        self.let_go(slot);
        if let Some(coding) = self.slab.at(slot).coding {
            self.coded[coding as usize] -= 1;
        }
        let places = std::mem::take(&mut self.slab.at_mut(slot).places);
        for &place in places.as_slice() {
            if planted(Defect::SkipsMember) {
                self.pass_over_one(place.selector);
            }
            let removed = self.selectors.leave(place);
            if let Some(moved) = removed.moved_slot {
                let places = self.slab.at_mut(moved).places.as_mut_slice();
                let theirs = places.iter_mut().find(|other| other.selector == place.selector);
                theirs.expect("a member knows its selectors").position = place.position;
            }
            if let Some(walk) = removed.orphaned_walk {
                for &offset in &self.schedule.get(walk).pending {
                    self.flight.unhang(offset);
                }
                self.schedule.cancel(walk);
            }
        }
    }
}

/// A planted defect's harm.
impl Shard {
    fn pass_over_one(&mut self, selector: u32) {
        let walk = self.selectors.get(selector).walk;
        if walk != NO_WALK {
            let position = &mut self.schedule.get_mut(walk).position;
            *position = position.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Batch, Input, Outcome, Output, ShardLimits};
    use crate::protocol::frame::LAST_CHUNK;

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

    /// A shard with one stream, whose head is to be written.
    fn parked() -> (Shard, SlotId) {
        let mut shard = Shard::sample(ShardLimits::roomy());
        let id = shard.join(Registration::sample(), NOW);
        (shard, id)
    }

    /// The same when it has its head, and the shard was told to stop.
    fn stopping() -> (Shard, SlotId) {
        let (mut shard, id) = parked();
        let head = shard.slice().expect("the head");
        taken(&mut shard, head, u32::MAX);
        stop(&mut shard);
        (shard, id)
    }

    /// Ends the streams there are, few enough for one piece.
    fn stop(shard: &mut Shard) {
        shard.handle(Input::Stop, NOW);
        shard.errand(NOW);
    }

    /// The socket takes so many bytes of each write.
    fn taken(shard: &mut Shard, mut batch: Batch, bytes: u32) {
        for write in &mut batch.writes {
            write.outcome = Outcome::Sent(bytes.min(write.bytes));
        }
        shard.handle(Input::Sent(batch), NOW);
    }

    /// The bytes of the only write.
    fn written(shard: &Shard, batch: &Batch) -> Vec<u8> {
        let [write] = &batch.writes[..] else { panic!("one write") };
        batch.parts(write).iter().flat_map(|&part| shard.pieces(write, part)).flatten().copied().collect()
    }

    fn shut_downs(shard: &mut Shard) -> usize {
        std::iter::from_fn(|| shard.output()).filter(|output| matches!(output, Output::Shutdown(_))).count()
    }

    /// Seen: a client that was a moment behind when the hub stopped got a body without an end.
    #[test]
    fn the_end_of_a_body_waits_for_room() {
        let (mut shard, id) = stopping();
        let end = shard.slice().expect("the end");
        taken(&mut shard, end, 0);
        assert!(shut_downs(&mut shard) == 0 && !shard.busy());
        shard.handle(Input::Writable(id), NOW);
        let end = shard.slice().expect("the end again");
        assert_eq!(written(&shard, &end), LAST_CHUNK);
        taken(&mut shard, end, u32::MAX);
        assert_eq!(shut_downs(&mut shard), 1);
    }

    /// Seen: a socket with room for a part of the last chunk got no more than that.
    #[test]
    fn the_end_of_a_body_is_finished_wherever_it_is_cut() {
        for cuts in [&[1][..], &[4], &[2, 2], &[1, 0, 1, 1, 1]] {
            let (mut shard, id) = stopping();
            let mut sent = 0;
            for &cut in cuts {
                let end = shard.slice().expect("the end, or what is left of it");
                assert_eq!(written(&shard, &end), LAST_CHUNK[sent..], "{cuts:?}");
                taken(&mut shard, end, cut);
                assert!(shut_downs(&mut shard) == 0 && !shard.busy(), "{cuts:?}");
                sent += cut as usize;
                shard.handle(Input::Writable(id), NOW);
            }
            let end = shard.slice().expect("what is left");
            assert_eq!(written(&shard, &end), LAST_CHUNK[sent..], "{cuts:?}");
            taken(&mut shard, end, u32::MAX);
            assert_eq!(shut_downs(&mut shard), 1, "{cuts:?}");
        }
    }

    #[test]
    fn a_head_that_is_cut_when_the_hub_stops_is_finished_with_its_body() {
        for cut in [1, 4, 6] {
            let (mut shard, id) = parked();
            stop(&mut shard);
            let answer = shard.slice().expect("head and end");
            let all = written(&shard, &answer);
            assert_eq!(all, [b"head", LAST_CHUNK].concat());
            taken(&mut shard, answer, cut);
            assert_eq!(shut_downs(&mut shard), 0, "{cut}");
            shard.handle(Input::Writable(id), NOW);
            let left = shard.slice().expect("what is left");
            assert_eq!(written(&shard, &left), all[cut as usize..], "{cut}");
            taken(&mut shard, left, u32::MAX);
            assert_eq!(shut_downs(&mut shard), 1, "{cut}");
        }
    }

    #[test]
    fn who_takes_the_end_bit_by_bit_has_no_more_time_for_it() {
        let (mut shard, id) = stopping();
        let mut live = 0;
        for tick in 1..=50 {
            let now = Now { mono_ms: NOW.mono_ms + tick * TICK_MS, ..NOW };
            if let Some(mut end) = shard.slice() {
                end.writes[0].outcome = Outcome::Sent(u32::from(tick % 12 == 1));
                shard.handle(Input::Sent(end), now);
                shard.handle(Input::Writable(id), now);
            }
            shard.handle(Input::Tick, now);
            shut_downs(&mut shard);
            live += shard.live();
        }
        assert!(live > 10 && shard.live() == 0, "{live}");
    }

    #[test]
    fn the_end_of_a_body_waits_no_longer_than_a_closed_stream_may_linger() {
        let (mut shard, _) = stopping();
        let end = shard.slice().expect("the end");
        taken(&mut shard, end, 0);
        for tick in 1..=50 {
            shard.handle(Input::Tick, Now { mono_ms: NOW.mono_ms + tick * TICK_MS, ..NOW });
        }
        assert_eq!((shut_downs(&mut shard), shard.live()), (1, 0));
    }
}
