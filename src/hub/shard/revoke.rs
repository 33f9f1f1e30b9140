//! Streams ended before their time: whoever a revocation covers, found by a sweep over the slab.
//!
//! There is no index from subjects to streams, which would cost every stream memory for something rare. A sweep is made
//! in bounded pieces, one per turn; streams registered meanwhile are looked at as they come.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Now, Output, Shard};
use crate::hub::budget::Budget;
use crate::hub::defect::{Defect, planted};
use crate::hub::denials::Denied;
use crate::hub::pattern_index::PARSE_NS;
use crate::hub::subscriber::{CloseReason, State};
use crate::protocol::matcher::Matcher;
use crate::protocol::token::{Access, KeyIdentity};
use crate::protocol::topic::{HubUrl, ParsedTopic};

/// Work of one piece of a sweep.
pub(super) const PIECE_NS: u64 = 250_000;
/// Looking at a slot.
pub(super) const LOOK_NS: u64 = 100;
/// Ending a stream.
pub(super) const END_NS: u64 = 2_000;

/// Whose streams are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Those an administrator names.
    Kicked(Denied),
    /// Those whose token was accepted by a key that isn't among these. Holds for whoever comes later too, until the next
    /// one of its kind.
    KeysGone {
        /// The keys that hold.
        live: HashSet<KeyIdentity>,
    },
}

impl Revocation {
    fn reason(&self) -> CloseReason {
        match self {
            Revocation::Kicked(_) => CloseReason::Kicked,
            Revocation::KeysGone { .. } => CloseReason::Revoked,
        }
    }

    /// Whether what this key has accepted goes on.
    pub fn spares(&self, key: KeyIdentity) -> bool {
        match self {
            Revocation::Kicked(_) => true,
            Revocation::KeysGone { live } => live.contains(&key),
        }
    }

    /// Whether the bearer of a token is meant, whatever it subscribes to; `None`: anonymous.
    fn names(&self, access: Option<&Access>) -> bool {
        access.is_some_and(|access| match self {
            Revocation::Kicked(who) => who.names(access),
            Revocation::KeysGone { .. } => !self.spares(access.key),
        })
    }
}

/// A sweep under way.
#[derive(Debug)]
pub(super) struct Sweep {
    revocation: Arc<Revocation>,
    next_slot: usize,
    closed: u64,
}

impl Shard {
    pub(super) fn begin_revocation(&mut self, revocation: Arc<Revocation>) {
        if let Revocation::KeysGone { .. } = *revocation {
            // The newest word on keys is the only one.
            self.sweeps.retain(|sweep| !matches!(*sweep.revocation, Revocation::KeysGone { .. }));
            self.keys_gone = Some(revocation.clone());
        }
        self.sweeps.push_back(Sweep { revocation, next_slot: 0, closed: 0 });
    }

    /// A bounded piece of the oldest sweep; says when it is over.
    pub(super) fn sweep_revoked(&mut self, now: Now) {
        let Some(mut sweep) = self.sweeps.pop_front() else {
            return;
        };
        let hub = self.selectors.hub().clone();
        let mut budget = Budget::new(PIECE_NS);
        let topic = topic_of(&sweep.revocation, &hub, &mut budget);
        while sweep.next_slot < self.slab.capacity() && !budget.is_spent() {
            let slot = sweep.next_slot as u32;
            sweep.next_slot += 1;
            budget.spend(LOOK_NS);
            let covered = self.is_covered(slot, &sweep.revocation, topic.as_ref(), &mut budget);
            if covered && !planted(Defect::SparesRevoked) {
                budget.spend(END_NS);
                sweep.closed += 1;
                self.close(slot, sweep.revocation.reason(), now);
            }
        }
        if sweep.next_slot >= self.slab.capacity() {
            self.outputs.push_back(Output::Revoked(sweep.revocation, sweep.closed));
        } else {
            self.sweeps.push_front(sweep);
        }
    }

    /// Why a stream registered just now must end at once: a sweep may have passed its slot, or it was judged before its
    /// bearer was denied.
    pub(super) fn revoked_meanwhile(&mut self, slot: u32, matchers: &[Matcher], now: Now) -> Option<CloseReason> {
        if planted(Defect::AdmitsRevoked) {
            return None;
        }
        let access = self.slab.at(slot).access.as_deref();
        if let Some(keys_gone) = self.keys_gone.as_ref().filter(|rule| rule.names(access)) {
            return Some(keys_gone.reason());
        }
        if self.sweeps.is_empty() && self.denials.is_empty() {
            return None;
        }
        let hub = self.selectors.hub().clone();
        let denied = access.is_some_and(|access| self.denials.cover_token(access, now.wall_ms))
            || self.denials.cover_matchers(matchers, &hub, now.wall_ms);
        if denied {
            return Some(CloseReason::Kicked);
        }
        let mut budget = Budget::new(PIECE_NS);
        let covering = self.sweeps.iter_mut().find(|sweep| {
            let topic = topic_of(&sweep.revocation, &hub, &mut budget);
            covers(&sweep.revocation, access, matchers.iter(), topic.as_ref(), &mut budget)
        })?;
        covering.closed += 1;
        Some(covering.revocation.reason())
    }

    fn is_covered(
        &self,
        slot: u32,
        revocation: &Revocation,
        topic: Option<&ParsedTopic<'_>>,
        budget: &mut Budget,
    ) -> bool {
        let subscriber = self.slab.at(slot);
        matches!(subscriber.state, State::Current | State::Behind) && {
            let matchers = self.selectors.matchers_of(subscriber.places.as_slice());
            covers(revocation, subscriber.access.as_deref(), matchers, topic, budget)
        }
    }
}

/// The topic of a revocation by topic, read once for many matchers.
fn topic_of<'a>(revocation: &'a Revocation, hub: &HubUrl, budget: &mut Budget) -> Option<ParsedTopic<'a>> {
    match revocation {
        Revocation::Kicked(Denied::Topic(topic)) => {
            budget.spend(PARSE_NS);
            Some(ParsedTopic::new(topic, hub))
        }
        Revocation::Kicked(Denied::Subject(_) | Denied::TokenId(_)) | Revocation::KeysGone { .. } => None,
    }
}

fn covers<'a>(
    revocation: &Revocation,
    access: Option<&Access>,
    mut matchers: impl Iterator<Item = &'a Matcher>,
    topic: Option<&ParsedTopic<'_>>,
    budget: &mut Budget,
) -> bool {
    match topic {
        None => revocation.names(access),
        Some(topic) => matchers.any(|matcher| {
            budget.spend(matcher.cost_ns(topic));
            matcher.matches(topic)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Input, Registration, ShardLimits};
    use crate::protocol::grants::Grants;

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

    fn register(shard: &mut Shard, key: Option<u64>) {
        let access = key.map(|key| {
            Arc::new(Access {
                issuer: "i".into(),
                subject: None,
                token_id: None,
                expires_at_ms: u64::MAX,
                not_before_ms: 0,
                key: KeyIdentity(key),
                grants: Grants::default(),
            })
        });
        shard.join(Registration { access, ..Registration::sample() }, NOW);
    }

    fn revoke(shard: &mut Shard, live: &[u64]) {
        let live = live.iter().map(|&key| KeyIdentity(key)).collect();
        shard.handle(Input::Revoke(Arc::new(Revocation::KeysGone { live })), NOW);
    }

    impl Shard {
        fn busy_revoking(&self) -> bool {
            !self.sweeps.is_empty()
        }
    }

    fn revoked(shard: &Shard) -> u64 {
        shard.counters().closed[CloseReason::Revoked as usize]
    }

    #[test]
    fn a_turn_ends_a_bounded_number_and_the_shard_is_busy_until_all_are_ended() {
        let mut shard = Shard::sample(ShardLimits::roomy());
        for number in 0..1500 {
            register(&mut shard, [Some(1), Some(2), None][number % 3]);
        }
        revoke(&mut shard, &[2]);
        assert_eq!(revoked(&shard), 0, "nothing is done at once");
        let (mut before, mut turns) = (0, 0);
        while shard.busy_revoking() {
            assert!(shard.busy());
            shard.errand(NOW);
            let after = revoked(&shard);
            assert!((after - before) * END_NS <= PIECE_NS + END_NS);
            (before, turns) = (after, turns + 1);
        }
        assert_eq!((before, turns >= 4), (500, true));
    }

    #[test]
    fn the_newest_word_on_keys_holds_for_who_comes_later() {
        let mut shard = Shard::sample(ShardLimits::roomy());
        register(&mut shard, Some(1));
        revoke(&mut shard, &[2]);
        revoke(&mut shard, &[1, 3]);
        for _ in 0..1000 {
            shard.errand(NOW);
        }
        assert_eq!(revoked(&shard), 0, "the first word was taken back before it was carried out");
        for key in [Some(2), Some(1), Some(3), None, Some(2)] {
            register(&mut shard, key);
        }
        assert_eq!((revoked(&shard), shard.live()), (2, 6));
    }
}
