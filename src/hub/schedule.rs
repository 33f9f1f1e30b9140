//! Which pending events are delivered next: the smallest audience first, without starving the oldest.
//!
//! Audiences are never materialised. Pending events hang on their selectors; a *walk* passes over one selector's
//! member list from its end to its start in bounded slices. What arrives during a pass is taken along by the members
//! still ahead and gets a pass of its own for the others; a member's own offset stops repeats.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Walks kept for reuse, so that steady traffic allocates nothing.
const SPARE_WALKS_MAX: usize = 64;
/// Pending offsets a spare walk may keep room for.
const SPARE_PENDING_MAX: usize = 1024;

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
        let walk = self.free.pop().unwrap_or_else(|| {
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
        while let Some(&Reverse((_, _, walk, generation))) = self.smallest.peek() {
            if self.current(walk, generation) {
                return Some(walk);
            }
            self.smallest.pop();
        }
        None
    }

    /// The walk with the oldest pending event.
    pub(crate) fn oldest(&mut self) -> Option<u32> {
        while let Some(&Reverse((_, walk, generation))) = self.oldest.peek() {
            if self.current(walk, generation) {
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
    }

    fn retire(&mut self, walk: u32) {
        let entry = &mut self.walks[walk as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.active = false;
        entry.pending.clear();
        if entry.pending.capacity() > SPARE_PENDING_MAX {
            entry.pending = VecDeque::new();
        }
        self.free.push(walk);
        if self.free.len() == self.walks.len() {
            // Idle: generations may start again, for no heap entry is left to name one.
            self.smallest.clear();
            self.oldest.clear();
            if self.walks.len() > SPARE_WALKS_MAX {
                *self = Schedule::default();
            }
        }
    }

    fn current(&self, walk: u32, generation: u32) -> bool {
        self.walks.get(walk as usize).is_some_and(|entry| entry.active && entry.generation == generation)
    }
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
