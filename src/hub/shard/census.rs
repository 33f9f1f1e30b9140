//! What a shard holds at the moment, counted for the simulator's invariant *bounded*.

use std::collections::HashSet;

use super::{Population, Shard};
use crate::hub::subscriber::{SlotId, State, Wait};

/// Sizes of everything in a shard that could grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) live: usize,
    pub(crate) slots: usize,
    pub(crate) selectors: usize,
    pub(crate) tail_bytes: u64,
    pub(crate) tail_first: u64,
    pub(crate) dispatched: u64,
    /// (selector, event) pairs.
    pub(crate) pending: usize,
    pub(crate) walks: usize,
    /// Entries in the two heaps of the schedule, stale ones included.
    pub(crate) ranked: usize,
    pub(crate) catch_up: usize,
    pub(crate) heartbeats: usize,
    pub(crate) endings: usize,
    pub(crate) soon: usize,
    /// Private events judged in the last slice.
    pub(crate) judged: usize,
    pub(crate) outputs: usize,
    pub(crate) cached_topics: usize,
    pub(crate) recent_patterns: usize,
    /// Events in the fullest backlog.
    pub(crate) backlog_events: usize,
    /// Subscribers that are behind and wait for history.
    pub(crate) reading: usize,
    pub(crate) behind: usize,
    /// Subscribers whose beginning or end waits to be announced.
    pub(crate) begun: usize,
    pub(crate) ended: usize,
}

impl Shard {
    /// What dispatch may do with a stream, if it is there.
    pub(crate) fn state(&self, id: SlotId) -> Option<State> {
        self.slab.find(id).map(|slot| self.slab.at(slot).state)
    }

    /// Counts everything.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census {
            live: self.slab.live() as usize,
            slots: self.slab.capacity(),
            selectors: self.selectors.len(),
            tail_bytes: self.tail.bytes(),
            tail_first: self.tail.first(),
            dispatched: self.dispatched,
            pending: self.schedule.pending(),
            walks: self.schedule.walks(),
            ranked: self.schedule.ranked(),
            catch_up: self.catch_up.len(),
            heartbeats: self.heartbeats.len(),
            endings: self.endings.len(),
            soon: self.soon.len(),
            judged: self.verdicts.len(),
            outputs: self.outputs.len(),
            cached_topics: self.selectors.cached_topics(),
            recent_patterns: self.selectors.recent_patterns(),
            begun: self.presence.begun.len(),
            ended: self.presence.ended.len(),
            ..Census::default()
        };
        let mut population = Population::default();
        let mut queued = HashSet::new();
        for id in self.catch_up.iter().filter(|id| self.slab.find(**id).is_some()) {
            assert!(queued.insert(*id), "bounded: {id:?} stands in the catch-up queue twice");
        }
        for slot in 0..census.slots as u32 {
            let subscriber = self.slab.at(slot);
            debug_assert!(!subscriber.in_batch, "no batch is out");
            population.moves(State::Vacant, subscriber.state);
            if subscriber.state == State::Behind {
                census.behind += 1;
                let backlog = subscriber.backlog.as_ref().expect("a cursor needs its backlog");
                census.backlog_events = census.backlog_events.max(backlog.chunk.len());
                census.reading += usize::from(backlog.wait == Wait::History);
            }
        }
        assert_eq!(population, self.population, "the numbers of streams by state");
        census
    }

    /// Makes slices smaller, so that few subscribers are enough to fill one.
    pub(crate) fn set_slice_ns(&mut self, ns: u64) {
        self.slice_ns = ns;
    }
}
