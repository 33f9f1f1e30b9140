//! Which pending events are delivered next: the smallest audience first, without starving the oldest.
//!
//! Audiences are never materialised. Pending events hang on their selectors; a *walk* passes over one selector's
//! member list from its end to its start in bounded slices. What arrives during a pass is taken along by the members
//! still ahead and gets a pass of its own for the others; a member's own offset stops repeats.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Bytes of walks kept for reuse while nothing is pending, so that steady traffic allocates nothing: some thousand walks.
const SPARE_BYTES_MAX: usize = 1 << 20;
/// Pending offsets a spare walk may keep room for.
const SPARE_PENDING_MAX: usize = 1024;
/// Entries of a heap per walk under way, and on top of that, before the stale ones are thrown out.
const RANKED_PER_WALK_MAX: usize = 4;
const RANKED_SPARE_MAX: usize = 64;

/// What is pending on one selector and how far its pass has come.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) selector: u32,
    /// Offsets of the events that not all members have, ascending.
    pub(crate) pending: VecDeque<u64>,
    /// Members at this position and above have been visited in this pass.
    pub(crate) position: u32,
    /// This pass ends the events up to here …
    pub(crate) pass_end: u64,
    /// … but none above the offset of the member that could take least.
    pub(crate) pass_low: u64,
    /// Members of the smallest audience among the pending events.
    rank: u32,
    generation: u32,
    active: bool,
}

/// All walks of a shard, in the order they are to be served.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    walks: Vec<Walk>,
    free: Vec<u32>,
    /// Offsets that the free ones have room for.
    free_room: usize,
    /// (audience, oldest offset, walk, generation): entries of ended passes are skipped when they come up.
    smallest: BinaryHeap<Reverse<(u32, u64, u32, u32)>>,
    oldest: BinaryHeap<Reverse<(u64, u32, u32)>>,
    pending: usize,
}

impl Schedule {
    /// Pending (selector, event) pairs: what dispatch is bounded by.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    pub(crate) fn get(&self, walk: u32) -> &Walk {
        &self.walks[walk as usize]
    }

    pub(crate) fn get_mut(&mut self, walk: u32) -> &mut Walk {
        &mut self.walks[walk as usize]
    }

    /// Starts a walk over a selector with `members` members.
    pub(crate) fn start(&mut self, selector: u32, members: u32, offset: u64, audience: u32) -> u32 {
        let walk = self.free.pop().inspect(|&walk| self.free_room -= self.walks[walk as usize].pending.capacity());
        let walk = walk.unwrap_or_else(|| {
            self.walks.push(Walk {
                selector,
                pending: VecDeque::new(),
                position: 0,
                pass_end: 0,
                pass_low: 0,
                rank: 0,
                generation: 0,
                active: false,
            });
            (self.walks.len() - 1) as u32
        });
        let entry = &mut self.walks[walk as usize];
        entry.selector = selector;
        entry.pending.push_back(offset);
        entry.active = true;
        self.pending += 1;
        self.begin_pass(walk, members, audience);
        walk
    }

    /// Hangs one more event on a walk under way.
    pub(crate) fn add(&mut self, walk: u32, offset: u64, audience: u32) {
        let entry = &mut self.walks[walk as usize];
        debug_assert!(entry.pending.back().is_some_and(|&newest| newest < offset), "events are pending in log order");
        entry.pending.push_back(offset);
        self.pending += 1;
        if audience < entry.rank {
            entry.rank = audience;
            self.smallest.push(Reverse((audience, entry.pending[0], walk, entry.generation)));
            self.throw_out_stale();
        }
    }

    /// Ends a pass: what every member has is no longer pending; what isn't gets another pass. Returns whether it does.
    pub(crate) fn end_pass(&mut self, walk: u32, members: u32) -> bool {
        let entry = &mut self.walks[walk as usize];
        let done_through = entry.pass_end.min(entry.pass_low);
        let done = entry.pending.partition_point(|&offset| offset <= done_through);
        entry.pending.drain(..done);
        self.pending -= done;
        if entry.pending.is_empty() {
            self.retire(walk);
            return false;
        }
        let rank = entry.rank;
        self.begin_pass(walk, members, rank);
        true
    }

    /// Drops a walk whose selector nobody reads any more.
    pub(crate) fn cancel(&mut self, walk: u32) {
        self.pending -= self.walks[walk as usize].pending.len();
        self.retire(walk);
    }

    /// The walk with the smallest audience.
    pub(crate) fn smallest(&mut self) -> Option<u32> {
        while let Some(&Reverse((audience, _, walk, generation))) = self.smallest.peek() {
            if ranked(&self.walks, walk, generation, audience) {
                return Some(walk);
            }
            self.smallest.pop();
        }
        None
    }

    /// The walk with the oldest pending event.
    pub(crate) fn oldest(&mut self) -> Option<u32> {
        while let Some(&Reverse((_, walk, generation))) = self.oldest.peek() {
            if current(&self.walks, walk, generation) {
                return Some(walk);
            }
            self.oldest.pop();
        }
        None
    }

    /// The oldest offset pending anywhere.
    pub(crate) fn oldest_pending(&mut self) -> Option<u64> {
        let walk = self.oldest()?;
        self.walks[walk as usize].pending.front().copied()
    }

    fn begin_pass(&mut self, walk: u32, members: u32, audience: u32) {
        let entry = &mut self.walks[walk as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.position = members;
        entry.pass_end = *entry.pending.back().expect("a pass has something to deliver");
        entry.pass_low = u64::MAX;
        entry.rank = audience;
        let first = entry.pending[0];
        self.smallest.push(Reverse((audience, first, walk, entry.generation)));
        self.oldest.push(Reverse((first, walk, entry.generation)));
        self.throw_out_stale();
    }

    /// Stale entries leave a heap when they come up. Below a walk that stays on top they would only gather.
    fn throw_out_stale(&mut self) {
        let under_way = self.walks.len() - self.free.len();
        let entries_max = RANKED_PER_WALK_MAX * under_way + RANKED_SPARE_MAX;
        let walks = &self.walks;
        if self.smallest.len() > entries_max {
            self.smallest.retain(|&Reverse((audience, _, walk, generation))| ranked(walks, walk, generation, audience));
        }
        if self.oldest.len() > entries_max {
            self.oldest.retain(|&Reverse((_, walk, generation))| current(walks, walk, generation));
        }
        debug_assert!(
            self.smallest.len().max(self.oldest.len()) <= entries_max,
            "bounded: each walk has one entry in each heap that isn't stale"
        );
    }

    fn retire(&mut self, walk: u32) {
        let entry = &mut self.walks[walk as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.active = false;
        entry.pending.clear();
        if entry.pending.capacity() > SPARE_PENDING_MAX {
            entry.pending = VecDeque::new();
        }
        self.free_room += entry.pending.capacity();
        self.free.push(walk);
        if self.free.len() == self.walks.len() {
            // Idle: generations may start again, for no heap entry is left to name one.
            self.smallest.clear();
            self.oldest.clear();
            if self.spare_bytes() > SPARE_BYTES_MAX {
                *self = Schedule::default();
            }
        }
    }

    /// What it takes in memory when nothing is pending.
    fn spare_bytes(&self) -> usize {
        debug_assert_eq!(self.free.len(), self.walks.len(), "nothing is pending");
        self.walks.capacity() * size_of::<Walk>()
            + self.free.capacity() * size_of::<u32>()
            + self.free_room * size_of::<u64>()
            + self.smallest.capacity() * size_of::<Reverse<(u32, u64, u32, u32)>>()
            + self.oldest.capacity() * size_of::<Reverse<(u64, u32, u32)>>()
    }
}

/// Whether an entry is of the pass under way.
fn current(walks: &[Walk], walk: u32, generation: u32) -> bool {
    walks.get(walk as usize).is_some_and(|entry| entry.active && entry.generation == generation)
}

/// The same, and the walk hasn't been ranked anew since.
fn ranked(walks: &[Walk], walk: u32, generation: u32, audience: u32) -> bool {
    current(walks, walk, generation) && walks[walk as usize].rank == audience
}

#[cfg(test)]
impl Schedule {
    /// Walks under way.
    pub(crate) fn walks(&self) -> usize {
        self.walks.len() - self.free.len()
    }

    /// Entries in both heaps, stale ones included.
    pub(crate) fn ranked(&self) -> usize {
        self.smallest.len() + self.oldest.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pass over everybody, who all take everything.
    fn pass(schedule: &mut Schedule, walk: u32) -> bool {
        schedule.end_pass(walk, 1)
    }

    #[test]
    fn the_smallest_audience_and_the_oldest_event_come_first() {
        let mut schedule = Schedule::default();
        let broadcast = schedule.start(0, 9_000, 1, 9_000);
        let few = schedule.start(1, 10, 2, 10);
        let fewer = schedule.start(2, 9, 3, 9);
        assert_eq!((schedule.smallest(), schedule.oldest()), (Some(fewer), Some(broadcast)));
        assert!(!pass(&mut schedule, fewer));
        assert_eq!((schedule.smallest(), schedule.oldest()), (Some(few), Some(broadcast)));
        // An event with a smaller audience on the walk under way moves it forward.
        schedule.add(broadcast, 4, 3);
        assert_eq!(schedule.smallest(), Some(broadcast));
        assert_eq!((schedule.pending(), schedule.oldest_pending()), (3, Some(1)));
        schedule.cancel(broadcast);
        assert_eq!((schedule.smallest(), schedule.oldest_pending()), (Some(few), Some(2)));
        assert!(!pass(&mut schedule, few));
        assert_eq!((schedule.smallest(), schedule.oldest(), schedule.pending()), (None, None, 0));
    }

    #[test]
    fn what_arrives_during_a_pass_gets_one_of_its_own() {
        let mut schedule = Schedule::default();
        let walk = schedule.start(0, 5, 1, 5);
        schedule.add(walk, 2, 5);
        assert!(schedule.end_pass(walk, 7));
        assert_eq!((schedule.get(walk).position, schedule.get(walk).pass_end), (7, 2));
        assert_eq!(schedule.get(walk).pending, [2]);
        schedule.get_mut(walk).pass_low = 1;
        assert!(schedule.end_pass(walk, 7), "somebody has only event 1");
        assert!(!schedule.end_pass(walk, 7));
    }

    #[test]
    fn small_events_leave_nothing_behind_below_a_broadcast_that_stays_on_top() {
        let mut schedule = Schedule::default();
        let broadcast = schedule.start(0, 9_000, 1, 9_000);
        let lonely = schedule.start(1, 1, 2, 1);
        for offset in 3..5_000 {
            let small = schedule.start(2, 10, offset, 10);
            schedule.add(small, offset + 10_000, 9);
            pass(&mut schedule, small);
            pass(&mut schedule, small);
            assert_eq!((schedule.smallest(), schedule.oldest()), (Some(lonely), Some(broadcast)));
            assert!(schedule.ranked() < 200, "{} entries", schedule.ranked());
        }
    }

    #[test]
    fn an_idle_schedule_keeps_what_it_needs_again_and_gives_the_rest_back() {
        // Many walks, and fewer with more pending on each of them.
        for (walks, events, kept) in [(2_000, 1, true), (20_000, 1, false), (50, 1_000, true), (500, 1_000, false)] {
            let mut schedule = Schedule::default();
            for round in 0..3 {
                let under_way: Vec<u32> = (0..walks).map(|n| schedule.start(n, 1, 1, 1)).collect();
                let begun: usize = schedule.walks.len();
                for &walk in &under_way {
                    (2..=events).for_each(|offset| schedule.add(walk, offset, 1));
                }
                under_way.into_iter().for_each(|walk| schedule.cancel(walk));
                assert_eq!(schedule.ranked(), 0);
                assert_eq!(begun, walks as usize, "round {round}: none is made anew where there is one");
                let room: usize = schedule.walks.iter().map(|walk| walk.pending.capacity()).sum();
                assert_eq!((schedule.walks.len(), schedule.free_room), if kept { (begun, room) } else { (0, 0) });
                assert!(schedule.spare_bytes() <= SPARE_BYTES_MAX);
            }
        }
    }

    proptest! {
        #[test]
        fn the_heaps_agree_with_looking_at_every_walk(
            steps in proptest::collection::vec((0_u8..4, 0_usize..8, 1_u32..20), 1..300),
        ) {
            let mut schedule = Schedule::default();
            let mut under_way: Vec<u32> = Vec::new();
            for (offset, (what, which, audience)) in (1..).zip(steps) {
                match (what, under_way.get(which).copied()) {
                    (_, None) | (0, _) => under_way.push(schedule.start(0, audience, offset, audience)),
                    (1, Some(walk)) => schedule.add(walk, offset, audience),
                    (2, Some(walk)) => {
                        if !schedule.end_pass(walk, audience) {
                            under_way.retain(|&other| other != walk);
                        }
                    }
                    (_, Some(walk)) => {
                        schedule.cancel(walk);
                        under_way.retain(|&other| other != walk);
                    }
                }
                let walk = |walk: &u32| &schedule.walks[*walk as usize];
                let rank = under_way.iter().map(|w| walk(w).rank).min();
                let first = under_way.iter().map(|w| walk(w).pending[0]).min();
                let pending: usize = under_way.iter().map(|w| walk(w).pending.len()).sum();
                prop_assert_eq!(schedule.pending(), pending);
                let smallest = schedule.smallest();
                prop_assert_eq!(smallest.map(|w| schedule.get(w).rank), rank);
                prop_assert_eq!(schedule.oldest_pending(), first);
            }
        }
    }
}
