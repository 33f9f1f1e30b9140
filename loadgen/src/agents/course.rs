//! The course of an agent's clock during a run: what it shows more than the coordinator's changes, by up to some fifty
//! microseconds a second. It is asked for its time again and again, and latencies are counted by what it shows now.
//!
//! An answer says between which two values the offset is, half a round trip to either side. As long as what was expected lies
//! between them nothing is changed: under load answers take long and would only make it worse. Otherwise it is moved by as little as
//! makes it agree, and from what it was moved by since the beginning follows how fast the clocks part.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

use super::clock::{Exchange, Offset};

/// Answers that are looked at together: the one that took the least counts.
const EXCHANGES: usize = 4;
/// Before that it isn't known how fast clocks part.
const RATE_AFTER_NS: u64 = 5_000_000_000;
/// Clocks that part faster are broken.
const RATE_PPB_MAX: i64 = 1_000_000;

/// What is to be added to a machine's clock to have the publishers', now.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockShift(Arc<AtomicI64>);

impl ClockShift {
    pub(super) fn new(shift_ns: i64) -> Self {
        Self(Arc::new(AtomicI64::new(shift_ns)))
    }

    /// In nanoseconds.
    pub(crate) fn ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// By the course the clock is on.
    pub(super) fn follow(&self, course: Course, agent_ns: u64) {
        self.0.store(course.offset_at(agent_ns).saturating_neg(), Ordering::Relaxed);
    }
}

/// What an agent's clock shows more than the coordinator's from some moment on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Course {
    /// The moment, in either of the two clocks: which one doesn't matter to the rate.
    pub(super) from_ns: u64,
    pub(super) offset_ns: i64,
    /// What it gains in a second, in nanoseconds.
    pub(super) rate_ppb: i64,
}

impl Course {
    /// The offset at another moment of the same clock.
    fn offset_at(self, now_ns: u64) -> i64 {
        let gained = (i128::from(now_ns) - i128::from(self.from_ns)) * i128::from(self.rate_ppb) / 1_000_000_000;
        self.offset_ns.saturating_add(i64::try_from(gained).unwrap_or(0))
    }

    /// The same with its moment in the agent's clock.
    pub(super) fn in_agents_time(self) -> Self {
        Self { from_ns: self.from_ns.saturating_add_signed(self.offset_ns), ..self }
    }
}

/// Follows the clock of an agent, in the coordinator's.
#[derive(Debug)]
pub(super) struct Follower {
    began: Course,
    course: Course,
    /// What the course had to be moved by at most.
    moved_ns: u64,
    exchanges: Vec<Exchange>,
}

impl Follower {
    /// From what was measured before the run.
    pub(super) fn new(offset: Offset, now_ns: u64) -> Self {
        let course = Course { from_ns: now_ns, offset_ns: offset.offset_ns, rate_ppb: 0 };
        Self { began: course, course, moved_ns: 0, exchanges: Vec::with_capacity(EXCHANGES) }
    }

    /// Takes an answer. Answers the course when it has become another.
    pub(super) fn hear(&mut self, exchange: Exchange) -> Option<Course> {
        self.exchanges.push(exchange);
        if self.exchanges.len() < EXCHANGES {
            return None;
        }
        let best = Offset::best_of(&self.exchanges);
        self.exchanges.clear();
        let (at_ns, offset) = best?;
        let off_ns = self.off_ns(at_ns, offset);
        if off_ns == 0 {
            return None;
        }
        self.moved_ns = self.moved_ns.max(off_ns.unsigned_abs());
        self.course.offset_ns = self.course.offset_at(at_ns).saturating_add(off_ns);
        self.course.from_ns = at_ns;
        let since_ns = at_ns.saturating_sub(self.began.from_ns);
        if since_ns >= RATE_AFTER_NS {
            let gained = i128::from(self.course.offset_ns) - i128::from(self.began.offset_ns);
            let rate = i64::try_from(gained * 1_000_000_000 / i128::from(since_ns)).unwrap_or(0);
            self.course.rate_ppb = rate.clamp(-RATE_PPB_MAX, RATE_PPB_MAX);
        }
        Some(self.course)
    }

    /// What has to be added at least to the offset that was expected, so that it agrees with what was measured.
    fn off_ns(&self, at_ns: u64, measured: Offset) -> i64 {
        let uncertainty = i64::try_from(measured.uncertainty_ns).unwrap_or(i64::MAX);
        let expected = self.course.offset_at(at_ns);
        let (low, high) =
            (measured.offset_ns.saturating_sub(uncertainty), measured.offset_ns.saturating_add(uncertainty));
        expected.clamp(low, high).saturating_sub(expected)
    }

    /// What it gained since the beginning by a last measurement, and how wrong what was counted by was at most while it was
    /// followed, both in nanoseconds and beyond what measurements leave open.
    pub(super) fn close(&self, at_ns: u64, last: Offset) -> (i64, u64) {
        let wrong = self.moved_ns.max(self.off_ns(at_ns, last).unsigned_abs());
        (last.offset_ns.saturating_sub(self.began.offset_ns), wrong)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const BEGAN: u64 = 1_000 * SECOND;

    /// An exchange at a moment, whose ways take so long, with a clock that has so much more then.
    fn exchange(at_ns: u64, there: u64, back: u64, offset: i64) -> Exchange {
        let received_ns = (at_ns + there).saturating_add_signed(offset);
        Exchange {
            asked_ns: at_ns,
            received_ns,
            answered_ns: received_ns + 1_000,
            heard_ns: at_ns + there + 1_000 + back,
        }
    }

    fn follower() -> Follower {
        Follower::new(Offset { offset_ns: 7_000_000, uncertainty_ns: 20_000 }, BEGAN)
    }

    #[test]
    fn a_clock_that_gains_fifty_microseconds_a_second_is_followed_for_an_hour() {
        let mut follower = follower();
        let truth = |at_ns: u64| 7_000_000 + ((at_ns - BEGAN) / 20_000) as i64;
        let mut worst = 0;
        for half in 1..7_200 {
            let at_ns = BEGAN + half * SECOND / 2;
            let slow = half % 3 * 400_000;
            follower.hear(exchange(at_ns, 20_000 + slow, 20_000, truth(at_ns)));
            let wrong = follower.course.offset_at(at_ns).abs_diff(truth(at_ns));
            worst = worst.max(if half > 60 { wrong } else { 0 });
        }
        assert!(worst < 60_000, "within what a measurement leaves open, nearly: {worst} ns");
        let end = BEGAN + 3_600 * SECOND;
        let (gained, wrong) = follower.close(end, Offset { offset_ns: truth(end), uncertainty_ns: 20_000 });
        assert_eq!(gained, 180_000_000);
        assert!((50_000..400_000).contains(&wrong), "what it had gained before it was noticed: {wrong} ns");
    }

    #[test]
    fn answers_that_take_long_change_nothing() {
        let mut follower = follower();
        for half in 1..100 {
            assert_eq!(follower.hear(exchange(BEGAN + half * SECOND / 2, 9_000_000, 100_000, 7_000_000)), None);
        }
        assert_eq!(
            follower.close(BEGAN + SECOND, Offset { offset_ns: 7_010_000, uncertainty_ns: 20_000 }),
            (10_000, 0)
        );
    }

    #[test]
    fn an_agent_counts_by_the_course_it_was_told() {
        let course = Course { from_ns: BEGAN, offset_ns: 2_000_000, rate_ppb: 50_000 };
        let shift = ClockShift::new(-2_000_000);
        let in_agents = course.in_agents_time();
        shift.follow(in_agents, in_agents.from_ns + 10 * SECOND);
        assert_eq!(shift.ns(), -2_500_000);
        assert_eq!(shift.clone().ns(), shift.ns(), "all threads have the same");
    }

    proptest! {
        #[test]
        fn no_answers_break_it(times in prop::collection::vec(any::<[u64; 4]>(), 0..40), offset in any::<i64>()) {
            let mut follower = Follower::new(Offset { offset_ns: offset, uncertainty_ns: 0 }, BEGAN);
            for [asked_ns, received_ns, answered_ns, heard_ns] in times {
                if let Some(course) = follower.hear(Exchange { asked_ns, received_ns, answered_ns, heard_ns }) {
                    ClockShift::default().follow(course.in_agents_time(), heard_ns);
                }
            }
            follower.close(u64::MAX, Offset { offset_ns: i64::MIN, uncertainty_ns: u64::MAX });
        }
    }
}
