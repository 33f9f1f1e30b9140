//! Presence: what subscriptions there are, and the announcements of those that begin and end.
//!
//! Announcements are drawn one by one by a server that admits only so many a second. Until its beginning has been drawn a
//! subscriber is not listed, and when it leaves before that, nothing is said of it at all. So the ends that wait are of
//! subscribers whose beginning was told, and never more than there were subscribers at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Shard;
use crate::hub::defect::{Defect, planted};
use crate::hub::subscriber::{SlotId, State, Subscriber};
use crate::protocol::matcher::Matcher;
use crate::protocol::token::Access;

/// Begun subscriptions waiting to be announced, beyond twice those that exist, before the list is cleared of what has gone.
pub(in crate::hub) const STALE_MAX: usize = if cfg!(test) { 16 } else { 1024 };

/// The subscriptions of one connection begin or end.
#[derive(Debug)]
pub struct Announcement {
    /// Whether they begin.
    pub active: bool,
    /// Whose they are.
    pub subscriptions: Subscriptions,
}

/// The subscriptions of one connection.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    /// The connection.
    pub id: SlotId,
    /// What it subscribes to: a subscription each.
    pub matchers: Vec<Matcher>,
    /// Who it is.
    pub access: Option<Arc<Access>>,
}

/// What is still to be announced.
#[derive(Debug, Default)]
pub(super) struct Presence {
    pub(super) begun: VecDeque<SlotId>,
    pub(super) ended: VecDeque<Subscriptions>,
    /// Turns between the two, so that neither waits for all of the other.
    ends_next: bool,
    /// Subscriptions that exist, announced or not.
    pub(super) subscriptions: usize,
}

impl Shard {
    /// The next beginning or end to be announced.
    pub fn announcement(&mut self) -> Option<Announcement> {
        if self.stopping {
            // Everything ends, and whoever starts next says so.
            return None;
        }
        self.presence.ends_next = !self.presence.ends_next;
        let ended = |shard: &mut Shard| {
            let subscriptions = shard.presence.ended.pop_front()?;
            Some(Announcement { active: false, subscriptions })
        };
        if self.presence.ends_next {
            ended(self).or_else(|| self.next_begun())
        } else {
            self.next_begun().or_else(|| ended(self))
        }
    }

    fn next_begun(&mut self) -> Option<Announcement> {
        while let Some(id) = self.presence.begun.pop_front() {
            let Some(slot) = self.slab.find(id) else {
                continue;
            };
            let subscriber = self.slab.at_mut(slot);
            if is_open(subscriber) {
                subscriber.announced = true;
                return Some(Announcement { active: true, subscriptions: self.subscriptions_of(slot) });
            }
        }
        None
    }

    /// Whether something is to be announced.
    pub fn has_announcements(&self) -> bool {
        !self.stopping && (!self.presence.begun.is_empty() || !self.presence.ended.is_empty())
    }

    /// A subscriber has come.
    pub(super) fn presence_begins(&mut self, id: SlotId, subscriptions: usize) {
        self.presence.subscriptions += subscriptions;
        if !self.limits.announces {
            return;
        }
        if self.presence.begun.len() >= 2 * self.slab.live() as usize + STALE_MAX {
            let slab = &self.slab;
            self.presence.begun.retain(|&id| slab.find(id).is_some_and(|slot| is_open(slab.at(slot))));
        }
        self.presence.begun.push_back(id);
    }

    /// A subscriber leaves; it still has its selectors.
    pub(super) fn presence_ends(&mut self, slot: u32) {
        let subscriber = self.slab.at(slot);
        self.presence.subscriptions -= subscriber.places.as_slice().len();
        let ghost = planted(Defect::LeavesGhosts) && subscriber.state == State::Behind;
        if subscriber.announced && !ghost {
            let subscriptions = self.subscriptions_of(slot);
            self.presence.ended.push_back(subscriptions);
        }
    }

    /// Subscriptions that exist.
    pub fn subscriptions(&self) -> usize {
        self.presence.subscriptions
    }

    /// Subscriptions of one matcher that exist.
    pub fn subscriptions_to(&self, matcher: &Matcher) -> usize {
        self.selectors.members(matcher).map_or(0, <[u32]>::len)
    }

    /// Up to `count` announced subscribers in slots from `from` on, in the order of their slots; only those who subscribe to
    /// `matcher`, if there is one. Fewer only when there are no more.
    pub fn listed(&self, matcher: Option<&Matcher>, from: u32, count: usize) -> Vec<Subscriptions> {
        let announced = |&slot: &u32| self.slab.get(slot).is_some_and(|s| is_open(s) && s.announced);
        let slots: Vec<u32> = match matcher {
            None => (from..self.slab.capacity() as u32).filter(announced).take(count).collect(),
            Some(matcher) => {
                let members = self.selectors.members(matcher).unwrap_or_default();
                let mut slots: Vec<u32> =
                    members.iter().copied().filter(|&slot| slot >= from).filter(announced).collect();
                if slots.len() > count {
                    slots.select_nth_unstable(count);
                    slots.truncate(count);
                }
                slots.sort_unstable();
                slots
            }
        };
        slots.into_iter().map(|slot| self.subscriptions_of(slot)).collect()
    }

    /// One subscriber, if it is there and was announced.
    pub fn listed_as(&self, id: SlotId) -> Option<Subscriptions> {
        let slot = self.slab.find(id)?;
        let subscriber = self.slab.at(slot);
        (is_open(subscriber) && subscriber.announced).then(|| self.subscriptions_of(slot))
    }

    fn subscriptions_of(&self, slot: u32) -> Subscriptions {
        let subscriber = self.slab.at(slot);
        Subscriptions {
            id: SlotId { slot, generation: subscriber.generation },
            matchers: self.selectors.matchers(subscriber.places.as_slice()),
            access: subscriber.access.clone(),
        }
    }
}

fn is_open(subscriber: &Subscriber) -> bool {
    matches!(subscriber.state, State::Current | State::Behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Input, Now, Registration, ShardLimits, Sink, SocketId, Start};
    use crate::protocol::matcher::MatchType;
    use crate::protocol::topic::HubUrl;

    fn shard() -> Shard {
        let limits = ShardLimits {
            tail_bytes_max: 1 << 20,
            selectors_bytes_max: usize::MAX,
            heartbeat_ms: 0,
            write_timeout_ms: 0,
            lifetime_max_ms: 0,
            announces: true,
        };
        Shard::new(limits, HubUrl::parse("https://hub.example/.well-known/mercure").unwrap(), 0)
    }

    fn exact(text: &str) -> Matcher {
        Matcher::Exact(text.into())
    }

    fn join(shard: &mut Shard, matchers: &[Matcher]) -> SlotId {
        let id = shard.reserve();
        let registration = Registration {
            sink: Sink::Socket(SocketId(id.slot)),
            head: Box::default(),
            chunked: true,
            start: Start::Live,
            matchers: matchers.to_vec(),
            access: None,
            address: 0,
            spread: 0,
        };
        shard.handle(Input::Register(id, Box::new(registration)), Now::default());
        id
    }

    fn leave(shard: &mut Shard, id: SlotId) {
        shard.handle(Input::Gone(id), Now::default());
        while shard.output().is_some() {}
    }

    fn announced(shard: &mut Shard) -> Vec<(SlotId, bool)> {
        std::iter::from_fn(|| shard.announcement()).map(|a| (a.subscriptions.id, a.active)).collect()
    }

    #[test]
    fn who_comes_and_goes_is_announced_once_each() {
        let mut shard = shard();
        let first = join(&mut shard, &[exact("a"), exact("b")]);
        let second = join(&mut shard, &[exact("a")]);
        assert!(shard.has_announcements());
        assert_eq!((shard.subscriptions(), shard.subscriptions_to(&exact("a"))), (3, 2));
        assert_eq!(announced(&mut shard), [(first, true), (second, true)]);
        leave(&mut shard, first);
        let ended = shard.announcement().unwrap();
        assert_eq!((ended.active, ended.subscriptions.id), (false, first));
        assert_eq!(ended.subscriptions.matchers, [exact("a"), exact("b")]);
        assert!(shard.announcement().is_none() && !shard.has_announcements());
        assert_eq!((shard.subscriptions(), shard.subscriptions_to(&exact("b"))), (1, 0));
    }

    #[test]
    fn who_leaves_before_it_was_announced_was_never_there() {
        let mut shard = shard();
        for _ in 0..10_000 {
            let id = join(&mut shard, &[exact("a")]);
            leave(&mut shard, id);
        }
        assert!(shard.presence.begun.len() <= 2 + STALE_MAX, "bounded however many come and go");
        let here = join(&mut shard, &[exact("a")]);
        assert!(shard.listed(None, 0, 10).is_empty(), "not before it was announced");
        assert_eq!(announced(&mut shard), [(here, true)]);
        assert_eq!(shard.listed(None, 0, 10).len(), 1);
    }

    #[test]
    fn beginnings_and_ends_take_turns() {
        let mut shard = shard();
        let first: Vec<SlotId> = (0..3).map(|_| join(&mut shard, &[exact("a")])).collect();
        announced(&mut shard);
        first.into_iter().for_each(|id| leave(&mut shard, id));
        for _ in 0..3 {
            join(&mut shard, &[exact("a")]);
        }
        let active: Vec<bool> = announced(&mut shard).into_iter().map(|(_, active)| active).collect();
        assert!(active.windows(2).all(|pair| pair[0] != pair[1]), "{active:?}");
    }

    #[test]
    fn a_list_is_read_piece_by_piece_without_gap_or_repetition() {
        let mut shard = shard();
        let ids: Vec<SlotId> =
            (0..50).map(|n| join(&mut shard, &[exact("all"), exact(if n % 3 == 0 { "third" } else { "x" })])).collect();
        announced(&mut shard);
        leave(&mut shard, ids[4]);
        for (matcher, expected) in
            [(None, 49), (Some(exact("third")), 17), (Some(exact("all")), 49), (Some(exact("none")), 0)]
        {
            let (mut from, mut slots) = (0, Vec::new());
            loop {
                let piece = shard.listed(matcher.as_ref(), from, 7);
                let Some(last) = piece.last() else { break };
                from = last.id.slot + 1;
                slots.extend(piece.iter().map(|listed| listed.id.slot));
            }
            assert_eq!(slots.len(), expected);
            assert!(slots.is_sorted_by(|a, b| a < b));
        }
        assert_eq!(shard.listed_as(ids[5]).unwrap().matchers[0], exact("all"));
        assert!(shard.listed_as(ids[4]).is_none());
        assert_eq!(shard.listed(Some(&Matcher::Any(MatchType::Exact)), 0, 9).len(), 0);
    }
}
