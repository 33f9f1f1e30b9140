//! Streams ended before their time: whoever a revocation covers, found by a sweep over the slab.
//!
//! There is no index from subjects to streams, which would cost every stream memory for something rare. A sweep is made
//! in bounded pieces, one per turn; streams registered meanwhile are looked at as they come.

use std::sync::Arc;

use super::{Now, Output, Shard};
use crate::hub::budget::Budget;
use crate::hub::denials::Denied;
use crate::hub::pattern_index::PARSE_NS;
use crate::hub::subscriber::{CloseReason, State};
use crate::protocol::matcher::Matcher;
use crate::protocol::token::Access;
use crate::protocol::topic::{HubUrl, ParsedTopic};

/// Work of one piece of a sweep.
pub(super) const PIECE_NS: u64 = 250_000;
/// Looking at a slot.
pub(super) const LOOK_NS: u64 = 100;
/// Ending a stream.
const END_NS: u64 = 2_000;

/// Whose streams are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Those an administrator names.
    Kicked(Denied),
}

impl Revocation {
    fn reason(&self) -> CloseReason {
        match self {
            Revocation::Kicked(_) => CloseReason::Kicked,
        }
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
            if self.is_covered(slot, &sweep.revocation, topic.as_ref(), &mut budget) {
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
        if self.sweeps.is_empty() && self.denials.is_empty() {
            return None;
        }
        let hub = self.selectors.hub().clone();
        let access = self.slab.at(slot).access.clone();
        let denied = access.as_ref().is_some_and(|access| self.denials.cover_token(access, now.wall_ms))
            || self.denials.cover_matchers(matchers, &hub, now.wall_ms);
        if denied {
            return Some(CloseReason::Kicked);
        }
        let mut budget = Budget::new(PIECE_NS);
        let covering = self.sweeps.iter_mut().find(|sweep| {
            let topic = topic_of(&sweep.revocation, &hub, &mut budget);
            covers(&sweep.revocation, access.as_deref(), matchers.iter(), topic.as_ref(), &mut budget)
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
        Revocation::Kicked(Denied::Subject(_) | Denied::TokenId(_)) => None,
    }
}

fn covers<'a>(
    revocation: &Revocation,
    access: Option<&Access>,
    mut matchers: impl Iterator<Item = &'a Matcher>,
    topic: Option<&ParsedTopic<'_>>,
    budget: &mut Budget,
) -> bool {
    let Revocation::Kicked(who) = revocation;
    match topic {
        None => access.is_some_and(|access| who.names(access)),
        Some(topic) => matchers.any(|matcher| {
            budget.spend(matcher.cost_ns(topic));
            matcher.matches(topic)
        }),
    }
}
