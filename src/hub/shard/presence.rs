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

/// Slots looked at for one piece of a list.
const LISTED_SLOTS_MAX: usize = if cfg!(test) { 16 } else { 4096 };

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

/// A piece of the list of subscribers.
#[derive(Debug, Default)]
pub struct Listed {
    /// In the order of their slots.
    pub subscribers: Vec<Subscriptions>,
    /// The slot to go on from; `None`: there are no more.
    pub next: Option<u32>,
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

/// The next of a queue, which gives its memory back when it is empty.
fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let next = queue.pop_front();
    if queue.is_empty() {
        queue.shrink_to(STALE_MAX);
    }
    next
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
            let subscriptions = pop(&mut shard.presence.ended)?;
            Some(Announcement { active: false, subscriptions })
        };
        if self.presence.ends_next {
            ended(self).or_else(|| self.next_begun())
        } else {
            self.next_begun().or_else(|| ended(self))
        }
    }

    fn next_begun(&mut self) -> Option<Announcement> {
        while let Some(id) = pop(&mut self.presence.begun) {
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

    /// Streams that take memory: those there are, and those whose end is still to be announced.
    pub fn remembered(&self) -> u32 {
        self.live() + self.presence.ended.len() as u32
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
        // A hub that stops announces nothing more; the next one ends what it finds open.
        if subscriber.announced && !ghost && !self.stopping {
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

    /// Up to `count` announced subscribers in slots from `from` on; only those who subscribe to `matcher`, if there is one.
    /// However many there are, a piece is a bounded piece of work.
    pub fn listed(&self, matcher: Option<&Matcher>, from: u32, count: usize) -> Listed {
        let selector = matcher.map(|matcher| self.selectors.known(matcher));
        let (slots, next) = match selector {
            Some(None) => return Listed::default(),
            Some(Some(selector)) if self.selectors.get(selector).members.len() <= LISTED_SLOTS_MAX => {
                self.listed_members(selector, from, count)
            }
            // Of a large audience the members aren't in order; the slab is, and looking on in it costs no more.
            selector => self.listed_slots(selector.flatten(), from, count),
        };
        Listed { subscribers: slots.into_iter().map(|slot| self.subscriptions_of(slot)).collect(), next }
    }

    fn listed_members(&self, selector: u32, from: u32, count: usize) -> (Vec<u32>, Option<u32>) {
        let members = self.selectors.get(selector).members.iter().copied();
        let mut slots: Vec<u32> = members.filter(|&slot| slot >= from && self.is_listed(slot)).collect();
        let next = (slots.len() > count).then(|| *slots.select_nth_unstable(count).1);
        slots.truncate(count);
        slots.sort_unstable();
        (slots, next)
    }

    fn listed_slots(&self, selector: Option<u32>, from: u32, count: usize) -> (Vec<u32>, Option<u32>) {
        let capacity = self.slab.capacity() as u32;
        let end = capacity.min(from.saturating_add(LISTED_SLOTS_MAX as u32));
        let (mut slots, mut next) = (Vec::new(), from);
        while next < end && slots.len() < count {
            let follows =
                |selector| self.slab.at(next).places.as_slice().iter().any(|place| place.selector == selector);
            if self.is_listed(next) && selector.is_none_or(follows) {
                slots.push(next);
            }
            next += 1;
        }
        (slots, (next < capacity).then_some(next))
    }

    fn is_listed(&self, slot: u32) -> bool {
        self.slab.get(slot).is_some_and(|subscriber| is_open(subscriber) && subscriber.announced)
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
    use crate::hub::{Input, Now, Registration, ShardLimits};
    use crate::protocol::matcher::MatchType;

    fn shard() -> Shard {
        Shard::sample(ShardLimits { announces: true, ..ShardLimits::roomy() })
    }

    fn exact(text: &str) -> Matcher {
        Matcher::Exact(text.into())
    }

    fn join(shard: &mut Shard, matchers: &[Matcher]) -> SlotId {
        shard.join(Registration { matchers: matchers.to_vec(), ..Registration::sample() }, Now::default())
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
        assert_eq!((shard.live(), shard.remembered()), (1, 2), "who has left takes memory until that is announced");
        let ended = shard.announcement().unwrap();
        assert_eq!(shard.remembered(), 1);
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
        assert!(shard.listed(None, 0, 10).subscribers.is_empty(), "not before it was announced");
        assert_eq!(announced(&mut shard), [(here, true)]);
        assert_eq!(shard.listed(None, 0, 10).subscribers.len(), 1);
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
        let matchers = |n| {
            let third = exact(if n % 3 == 0 { "third" } else { "x" });
            [exact("all"), third, exact(if n % 10 == 0 { "tenth" } else { "y" })]
        };
        let ids: Vec<SlotId> = (0..50).map(|n| join(&mut shard, &matchers(n))).collect();
        announced(&mut shard);
        leave(&mut shard, ids[4]);
        for (matcher, expected) in [
            (None, 49),
            (Some(exact("third")), 17),
            (Some(exact("tenth")), 5),
            (Some(exact("all")), 49),
            (Some(exact("none")), 0),
        ] {
            let (mut next, mut slots) = (Some(0), Vec::new());
            while let Some(from) = next {
                let piece = shard.listed(matcher.as_ref(), from, 7);
                assert!(piece.subscribers.len() <= 7 && piece.next.is_none_or(|next| next > from));
                slots.extend(piece.subscribers.iter().map(|listed| listed.id.slot));
                next = piece.next;
            }
            assert_eq!(slots.len(), expected);
            assert!(slots.is_sorted_by(|a, b| a < b));
        }
        assert_eq!(shard.listed_as(ids[5]).unwrap().matchers[0], exact("all"));
        assert!(shard.listed_as(ids[4]).is_none());
        assert_eq!(shard.listed(Some(&Matcher::Any(MatchType::Exact)), 0, 9).subscribers.len(), 0);
    }
}
