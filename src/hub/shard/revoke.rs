//! Ending streams that were let in by what doesn't hold any more.
//!
//! Whoever it concerns is found by looking at every slot, a bounded piece per turn of the loop. Streams that begin meanwhile
//! are judged as they do: a request that was let in before the revocation may register after it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::{Now, Shard};
use crate::hub::defect::{Defect, planted};
use crate::hub::subscriber::CloseReason;
use crate::protocol::token::{Access, KeyIdentity};

/// Slots looked at per turn, and streams closed per turn: about a tenth of a millisecond each.
const SLOTS_PER_TURN_MAX: u32 = if cfg!(test) { 16 } else { 1024 };
const CLOSES_PER_TURN_MAX: usize = if cfg!(test) { 2 } else { 64 };
/// Revocations under way. Beyond, the oldest is carried out at once, however long that takes: none is forgotten.
const REVOCATIONS_MAX: usize = 64;

/// Whose streams are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Those whose token was accepted by a key that isn't among these. Holds for whoever comes later too, until the next
    /// one of its kind.
    KeysGone {
        /// The keys that hold.
        live: HashSet<KeyIdentity>,
    },
}

impl Revocation {
    /// Whether a stream with this access (`None`: anonymous) is to end.
    fn concerns(&self, access: Option<&Access>) -> bool {
        match self {
            Revocation::KeysGone { live } => access.is_some_and(|access| !live.contains(&access.key)),
        }
    }
}

/// What is being carried out, and what stays in force for those who register.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// The newest [`Revocation::KeysGone`].
    keys: Option<Arc<Revocation>>,
    /// Each with the slot its sweep goes on at.
    sweeps: VecDeque<(Arc<Revocation>, u32)>,
}

impl Revocations {
    /// Whether somebody who registers now is to be ended at once.
    pub(super) fn concern(&self, access: Option<&Access>) -> bool {
        let rules = self.keys.iter().chain(self.sweeps.iter().map(|(rule, _)| rule));
        rules.into_iter().any(|rule| rule.concerns(access))
    }

    pub(super) fn under_way(&self) -> bool {
        !self.sweeps.is_empty()
    }
}

impl Shard {
    /// Begins to end all streams that a revocation concerns.
    pub(super) fn revoke(&mut self, revocation: Arc<Revocation>, now: Now) {
        let Revocation::KeysGone { .. } = &*revocation;
        // The newest word on keys is the only one.
        self.revocations.sweeps.retain(|(rule, _)| !matches!(**rule, Revocation::KeysGone { .. }));
        self.revocations.keys = Some(revocation.clone());
        if self.revocations.sweeps.len() == REVOCATIONS_MAX
            && let Some((rule, at)) = self.revocations.sweeps.pop_front()
        {
            self.sweep_revoked(&rule, at, u32::MAX, usize::MAX, now);
        }
        self.revocations.sweeps.push_back((revocation, 0));
    }

    /// Goes on with the oldest revocation under way, for a bounded piece.
    pub(super) fn carry_on_revoking(&mut self, now: Now) {
        let Some((rule, at)) = self.revocations.sweeps.pop_front() else {
            return;
        };
        if let Some(at) = self.sweep_revoked(&rule, at, SLOTS_PER_TURN_MAX, CLOSES_PER_TURN_MAX, now) {
            self.revocations.sweeps.push_front((rule, at));
        }
    }

    /// Where to go on; `None` when every slot has been looked at.
    fn sweep_revoked(&mut self, rule: &Revocation, from: u32, slots: u32, closes: usize, now: Now) -> Option<u32> {
        let capacity = self.slab.capacity() as u32;
        let end = from.saturating_add(slots).min(capacity);
        let mut closed = 0;
        for slot in from..end {
            if closed == closes {
                return Some(slot);
            }
            if rule.concerns(self.slab.at(slot).access.as_deref()) && !planted(Defect::SparesRevoked) {
                self.close(slot, CloseReason::Revoked, now);
                closed += 1;
            }
        }
        (end < capacity).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Input, Registration, ShardLimits, Sink, SocketId, Start};
    use crate::protocol::grants::Grants;
    use crate::protocol::matcher::{MatchType, Matcher};
    use crate::protocol::topic::HubUrl;

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

    fn shard() -> Shard {
        let limits = ShardLimits {
            tail_bytes_max: 1 << 20,
            selectors_bytes_max: usize::MAX,
            heartbeat_ms: 0,
            write_timeout_ms: 0,
            lifetime_max_ms: 0,
            announces: false,
        };
        Shard::new(limits, HubUrl::parse("https://hub.example/.well-known/mercure").unwrap(), 0)
    }

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
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
        let registration = Registration {
            sink: Sink::Socket(SocketId(0)),
            head: (*b"head").into(),
            chunked: true,
            start: Start::Live,
            matchers: vec![Matcher::parse(MatchType::Exact, "urn:a", &hub).unwrap()],
            access,
            address: 0,
            spread: 0,
        };
        let id = shard.reserve();
        shard.handle(Input::Register(id, Box::new(registration)), NOW);
    }

    fn revoke(shard: &mut Shard, live: &[u64]) {
        let live = live.iter().map(|&key| KeyIdentity(key)).collect();
        shard.handle(Input::Revoke(Arc::new(Revocation::KeysGone { live })), NOW);
    }

    fn revoked(shard: &Shard) -> u64 {
        shard.counters().closed[CloseReason::Revoked as usize]
    }

    #[test]
    fn a_turn_ends_a_bounded_number_and_the_shard_is_busy_until_all_are_ended() {
        let mut shard = shard();
        for number in 0..90 {
            register(&mut shard, [Some(1), Some(2), None][number % 3]);
        }
        revoke(&mut shard, &[2]);
        assert_eq!(revoked(&shard), 0, "nothing is done at once");
        let (mut before, mut turns) = (0, 0);
        while shard.revocations.under_way() {
            assert!(shard.busy());
            shard.handle(Input::Turn, NOW);
            let after = revoked(&shard);
            assert!(after - before <= CLOSES_PER_TURN_MAX as u64);
            (before, turns) = (after, turns + 1);
        }
        assert_eq!((before, turns >= 15), (30, true));
    }

    #[test]
    fn the_newest_word_on_keys_holds_for_who_comes_later() {
        let mut shard = shard();
        register(&mut shard, Some(1));
        revoke(&mut shard, &[2]);
        revoke(&mut shard, &[1, 3]);
        for _ in 0..1000 {
            shard.handle(Input::Turn, NOW);
        }
        assert_eq!(revoked(&shard), 0, "the first word was taken back before it was carried out");
        for key in [Some(2), Some(1), Some(3), None, Some(2)] {
            register(&mut shard, key);
        }
        assert_eq!((revoked(&shard), shard.live()), (2, 6));
    }
}
