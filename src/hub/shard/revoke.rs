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
