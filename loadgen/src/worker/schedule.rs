//! When members of a group connect: those an order named one after another, at its rate if it has one, and those who come again at a time
//! of their own.
//!
//! Where there is such a time it is kept with the connection, however late this program or the server is: what is counted from
//! it holds the wait of those who had to stand in line. A wait that is left out (coordinated omission) would make a server look
//! the faster the more it is behind.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A member that is to connect now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) member: u32,
    /// With its last id, if it has one.
    pub(super) goes_on: bool,
    /// When it was due: its place at a rate, or the time at which it was to come again. Nothing where all connect as fast as
    /// they can.
    pub(super) due_ns: Option<u64>,
}

/// Who is to connect, and when.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Those an order named, and whether they go on.
    queue: VecDeque<(u32, bool)>,
    /// Those who come again: when, who, and whether they go on.
    again: BinaryHeap<Reverse<(u64, u32, bool)>>,
    /// The next place at the rate.
    next_ns: u64,
    /// Between two places; 0 without a rate.
    gap_ns: u64,
    at_once: usize,
    /// Between connecting and their response head.
    opening: usize,
}

impl Schedule {
    /// Nobody is to connect.
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new(), again: BinaryHeap::new(), next_ns: 0, gap_ns: 0, at_once: 1, opening: 0 }
    }

    /// From now on there is one place every `gap_ns` (0: as many as there may be), for no more than `at_once` who have no
    /// response head yet.
    pub(super) fn pace(&mut self, gap_ns: u64, at_once: usize, now_ns: u64) {
        (self.next_ns, self.gap_ns, self.at_once) = (now_ns, gap_ns, at_once);
    }

    /// From now on without a rate.
    pub(super) fn unpace(&mut self) {
        self.gap_ns = 0;
    }

    /// It is to connect when its turn comes.
    pub(super) fn want(&mut self, member: u32, goes_on: bool) {
        self.queue.push_back((member, goes_on));
    }

    /// It is to connect again then, or as soon after as there is a place.
    pub(super) fn again(&mut self, due_ns: u64, member: u32, goes_on: bool) {
        self.again.push(Reverse((due_ns, member, goes_on)));
    }

    /// Who is to connect now, if anybody; it counts as opening.
    pub(super) fn next(&mut self, now_ns: u64, is_away: impl Fn(u32) -> bool) -> Option<Due> {
        while self.opening < self.at_once && (self.gap_ns == 0 || self.next_ns <= now_ns) {
            let comes_again = self.again.peek().is_some_and(|Reverse((due_ns, ..))| *due_ns <= now_ns);
            let (ready_ns, member, goes_on) = match comes_again {
                true => self.again.pop().map(|Reverse((due_ns, member, goes_on))| (Some(due_ns), member, goes_on))?,
                false => self.queue.pop_front().map(|(member, goes_on)| (None, member, goes_on))?,
            };
            // Who was to try again may have been told to connect meanwhile.
            if !is_away(member) {
                continue;
            }
            let mut due_ns = ready_ns;
            if self.gap_ns > 0 {
                due_ns = Some(self.next_ns.max(ready_ns.unwrap_or(0)));
                // While nobody stood in line no place was missed.
                let place_ns = if self.queue.is_empty() { due_ns.unwrap_or(self.next_ns) } else { self.next_ns };
                self.next_ns = place_ns + self.gap_ns;
            }
            self.opening += 1;
            return Some(Due { member, goes_on, due_ns });
        }
        None
    }

    /// One that was opening has its response head, or won't get one.
    pub(super) fn opened(&mut self) {
        self.opening -= 1;
    }

    /// Those who haven't their response head yet.
    pub(super) fn todo(&self) -> usize {
        self.queue.len() + self.again.len() + self.opening
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(gap_ns: u64, at_once: usize, members: u32) -> Schedule {
        let mut schedule = Schedule::new();
        schedule.pace(gap_ns, at_once, 1000);
        (0..members).for_each(|member| schedule.want(member, false));
        schedule
    }

    fn due(schedule: &mut Schedule, now_ns: u64) -> Vec<(u32, Option<u64>)> {
        std::iter::from_fn(|| schedule.next(now_ns, |_| true)).map(|due| (due.member, due.due_ns)).collect()
    }

    #[test]
    fn at_a_rate_each_is_due_at_its_place_however_late_it_connects() {
        let mut schedule = schedule(10, 100, 4);
        assert_eq!(due(&mut schedule, 1000), [(0, Some(1000))]);
        assert_eq!(due(&mut schedule, 1009), []);
        // This program didn't look for a while.
        assert_eq!(due(&mut schedule, 1035), [(1, Some(1010)), (2, Some(1020)), (3, Some(1030))]);
        assert_eq!((due(&mut schedule, 2000), schedule.todo()), (vec![], 4));
    }

    #[test]
    fn who_waits_for_a_server_that_does_not_answer_is_due_at_its_place_too() {
        let mut schedule = schedule(10, 1, 3);
        assert_eq!(due(&mut schedule, 1005), [(0, Some(1000))]);
        assert_eq!(due(&mut schedule, 5000), [], "the first has no answer");
        schedule.opened();
        assert_eq!(due(&mut schedule, 6000), [(1, Some(1010))]);
    }

    #[test]
    fn without_a_rate_nobody_is_due_at_a_time() {
        let mut schedule = schedule(0, 2, 3);
        assert_eq!(due(&mut schedule, 5000), [(0, None), (1, None)]);
        schedule.opened();
        assert_eq!(due(&mut schedule, 9000), [(2, None)]);
    }

    #[test]
    fn who_comes_again_is_due_at_its_own_time_and_has_no_place_of_before_it() {
        let mut schedule = schedule(0, 10, 0);
        schedule.again(7000, 1, true);
        assert_eq!(due(&mut schedule, 6999), []);
        assert_eq!(due(&mut schedule, 7500), [(1, Some(7000))]);
        schedule.pace(10, 10, 1000);
        schedule.again(8000, 1, true);
        schedule.again(8000, 2, true);
        assert_eq!(due(&mut schedule, 8005), [(1, Some(8000))]);
        assert_eq!(due(&mut schedule, 8015), [(2, Some(8010))]);
        schedule.unpace();
        schedule.again(9000, 3, true);
        assert_eq!(due(&mut schedule, 9100), [(3, Some(9000))]);
    }

    #[test]
    fn who_is_connected_already_takes_no_place() {
        let mut schedule = schedule(10, 10, 3);
        let next = schedule.next(1000, |member| member == 2).map(|due| (due.member, due.due_ns));
        assert_eq!((next, schedule.todo()), (Some((2, Some(1000))), 1));
    }
}
