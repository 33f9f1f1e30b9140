//! When an event has reached the last of a group's members, whichever thread reads for them.

use std::collections::VecDeque;
use std::sync::Mutex;

use hdrhistogram::Histogram;

use crate::lanes::Lanes;
use crate::swarm::{lock, new_histogram};

/// Events of a lane that some have and others don't have yet. Of more than that the oldest count as never complete.
const PENDING_MAX: usize = 1 << 16;

/// How far an event has got.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    members: u32,
    last_ns: u64,
}

/// The events of a lane that are on their way, one after another, without those before `first`.
#[derive(Debug, Default)]
struct Pending {
    first: u32,
    events: VecDeque<Reached>,
}

/// What a group's members have of each lane.
pub(crate) struct Arrivals {
    members: u32,
    lanes: Box<[Mutex<Pending>]>,
    /// From the intended send time to the last delivery, in microseconds.
    times: Mutex<Histogram<u64>>,
}

impl Arrivals {
    /// Of a group whose members all get what is published on these lanes.
    pub(crate) fn new(members: usize, lanes: &Lanes) -> Self {
        Self {
            members: members as u32,
            lanes: (0..lanes.count()).map(|_| Mutex::default()).collect(),
            times: Mutex::new(new_histogram()),
        }
    }

    /// One more member has an event of a lane, which was meant to be sent at `sent_ns`.
    pub(crate) fn enter(&self, lane: usize, sequence: u32, sent_ns: u64, now_ns: u64) {
        let Some(last_ns) = lock(&self.lanes[lane]).enter(sequence, now_ns, self.members) else { return };
        lock(&self.times).saturating_record(last_ns.saturating_sub(sent_ns) / 1000);
    }

    /// The times since the last call.
    pub(crate) fn take(&self) -> Histogram<u64> {
        std::mem::replace(&mut lock(&self.times), new_histogram())
    }
}

impl Pending {
    /// The time of the last delivery, once all have it.
    fn enter(&mut self, sequence: u32, now_ns: u64, members: u32) -> Option<u64> {
        if self.events.is_empty() {
            self.first = self.first.max(sequence);
        }
        let place = sequence.checked_sub(self.first)? as usize;
        // Numbers in between may have been refused: nobody ever gets those.
        while self.events.len() <= place {
            self.events.push_back(Reached::default());
        }
        let reached = &mut self.events[place];
        reached.members += 1;
        reached.last_ns = reached.last_ns.max(now_ns);
        let whole = (reached.members >= members).then_some(reached.last_ns);
        // Each member has them in order: what comes before a whole one is over, too.
        let over = if whole.is_some() { place + 1 } else { self.events.len().saturating_sub(PENDING_MAX) };
        self.events.drain(..over);
        self.first += over as u32;
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_member_decides_whichever_comes_first() {
        let lanes = Lanes::new([("urn:x".to_owned(), 0b11)]);
        let arrivals = Arrivals::new(2, &lanes);
        // The first lane's event 1 reaches both, its event 3 (2 was refused) one; the second lane's event 1 both.
        for (lane, sequence, now_ns) in [(0, 1, 3_000_000), (1, 1, 9_000_000), (0, 3, 4_000_000)] {
            arrivals.enter(lane, sequence, 1_000_000, now_ns);
        }
        assert!(arrivals.take().is_empty());
        arrivals.enter(0, 1, 1_000_000, 2_500_000);
        arrivals.enter(1, 1, 1_000_000, 11_000_000);
        let times = arrivals.take();
        assert_eq!((times.len(), times.min(), times.max() / 100), (2, 2_000, 100));
        arrivals.enter(0, 3, 1_000_000, 5_000_000);
        assert_eq!((arrivals.take().min(), arrivals.take().len()), (4_000, 0));
    }

    #[test]
    fn what_never_becomes_whole_is_forgotten() {
        let mut pending = Pending::default();
        for sequence in 1..=2 * PENDING_MAX as u32 {
            assert_eq!(pending.enter(sequence, 1, 2), None);
        }
        assert_eq!((pending.first, pending.events.len()), (PENDING_MAX as u32 + 1, PENDING_MAX));
        assert_eq!(pending.enter(1, 1, 2), None, "it counts no more");
        assert_eq!(pending.enter(PENDING_MAX as u32 + 7, 5, 2), Some(5));
        assert_eq!(pending.first, PENDING_MAX as u32 + 8);
    }
}
