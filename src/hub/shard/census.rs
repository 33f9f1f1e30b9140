//! What a shard holds at the moment, counted for the simulator's invariant *bounded*.

use std::collections::HashSet;

use super::readers::READERS_MAX;
use super::{Population, Shard};
use crate::hub::subscriber::{Rest, SlotId, State, Wait};

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
    /// Questions to history that aren't answered.
    pub(crate) asked: usize,
    /// Entries in the queue of those who wait for their turn to ask, stale ones included.
    pub(crate) turns: usize,
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

    /// Whether a stream waits for its turn to ask history.
    pub(crate) fn waits_for_turn(&self, id: SlotId) -> bool {
        let backlog = self.slab.find(id).and_then(|slot| self.slab.at(slot).backlog.as_ref());
        backlog.is_some_and(|backlog| backlog.wait == Wait::Turn)
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
            asked: self.readers.asked,
            turns: self.readers.waiting.len(),
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
        let turns: HashSet<SlotId> = self.readers.waiting.iter().copied().collect();
        assert!(turns.len() == census.turns, "bounded: somebody waits for two turns");
        let mut holding = 0;
        for slot in 0..census.slots as u32 {
            let subscriber = self.slab.at(slot);
            debug_assert!(!subscriber.in_batch, "no batch is out");
            population.moves(State::Vacant, subscriber.state);
            if subscriber.state == State::Behind {
                census.behind += 1;
                let backlog = subscriber.backlog.as_ref().expect("a cursor needs its backlog");
                census.backlog_events = census.backlog_events.max(backlog.chunk.len());
                census.reading += usize::from(backlog.wait == Wait::History);
                let id = SlotId { slot, generation: subscriber.generation };
                assert!((backlog.wait == Wait::Turn) == turns.contains(&id), "bounded: who waits for a turn is queued");
                let inside = matches!(backlog.rest, Some(Rest::Event(..)));
                assert!(backlog.holds || backlog.chunk.is_empty(), "bounded: a chunk without a place");
                assert!(!backlog.holds || inside || !backlog.chunk.is_empty(), "bounded: a place for nothing");
                holding += usize::from(backlog.holds);
            }
        }
        assert!(holding == self.readers.holding, "bounded: {holding} hold what history answered: {:?}", self.readers);
        assert!(census.reading <= census.asked, "bounded: {census:?}");
        let places = census.asked + holding;
        assert!(places <= READERS_MAX, "bounded: {places} places are taken by those who read history");
        assert!(census.turns == 0 || places == READERS_MAX, "bounded: somebody waits for a place that is free");
        assert_eq!(population, self.population, "the numbers of streams by state");
        census
    }

    /// Makes slices smaller, so that few subscribers are enough to fill one.
    pub(crate) fn set_slice_ns(&mut self, ns: u64) {
        self.slice_ns = ns;
    }
}
