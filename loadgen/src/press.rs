//! Several publishing connections driven together: one event at a time, as fast as they may, or on a schedule that doesn't
//! wait for anyone.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::dialect::Dialect;
use crate::lanes::Lanes;
use crate::publisher::{Post, Publisher};
use crate::swarm::{Swarm, new_histogram};

/// A broadcast that stops moving for so long has failed.
const DELIVERY_PATIENCE_NS: u64 = 10_000_000_000;

/// When events are published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// The next one when everybody has the one before.
    OneAtATime,
    /// As fast as the answers come, but no more than so many on their way to the average subscriber (0: no bound).
    Flood { ahead: u64 },
    /// So many a second, whatever the answers do.
    Rate(f64),
}

impl Pace {
    /// How long to look away when there was nothing to do, so many times in a row by now: short against what is measured.
    pub(crate) fn nap(self, times: u32) -> Duration {
        match self {
            Pace::OneAtATime => Duration::from_micros(500),
            // Answers come soon, but room for more may take as long as everybody has to read.
            Pace::Flood { .. } => Duration::from_micros(100 << times.min(2)),
            Pace::Rate(rate) => Duration::from_secs_f64((0.1 / rate).clamp(100e-6, 1e-3)),
        }
    }
}

/// When to stop: after a time, after a number of events, or when told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Limit {
    pub(crate) time_ns: Option<u64>,
    pub(crate) count: Option<u64>,
}

impl Limit {
    /// Has it been reached?
    pub(crate) fn is_over(self, start_ns: u64, now_ns: u64, count: u64) -> bool {
        self.time_ns.is_some_and(|time_ns| now_ns - start_ns >= time_ns)
            || self.count.is_some_and(|limit| count >= limit)
    }
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something moved: look again soon.
    Moved,
    /// Nothing to do.
    Waited,
    /// All is published and answered.
    Done,
}

/// What was published since the last look.
pub(crate) struct Published {
    pub(crate) accepted: u64,
    pub(crate) refusals: u64,
    /// From a publish to its last delivery, in seconds, of events published one at a time.
    pub(crate) spans: Vec<f64>,
    pub(crate) answers: Histogram<u64>,
    pub(crate) late: Histogram<u64>,
    /// Of those published as fast as they may.
    pub(crate) flow: Flow,
}

/// How long somebody published as fast as it may, and for how long of that an event was on its way to somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) under_way_ns: u64,
    pub(crate) all_ns: u64,
}

impl Flow {
    /// It went on for so long, and something was on its way or nothing was.
    fn add(&mut self, ns: u64, under_way: bool) {
        self.all_ns += ns;
        self.under_way_ns += if under_way { ns } else { 0 };
    }

    /// The share without a pause, in percent; nothing of none.
    pub(crate) fn percent(self) -> Option<f64> {
        (self.all_ns > 0).then(|| self.under_way_ns as f64 * 100.0 / self.all_ns as f64)
    }
}

impl Published {
    pub(crate) fn none() -> Self {
        Self {
            accepted: 0,
            refusals: 0,
            spans: Vec::new(),
            answers: new_histogram(),
            late: new_histogram(),
            flow: Flow::default(),
        }
    }

    /// Takes in what another has.
    pub(crate) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refusals += other.refusals;
        self.spans.extend(other.spans);
        self.flow.under_way_ns += other.flow.under_way_ns;
        self.flow.all_ns += other.flow.all_ns;
        for (ours, theirs) in [(&mut self.answers, other.answers), (&mut self.late, other.late)] {
            ours.add(theirs).expect("histograms of one shape");
        }
    }
}

/// A run that is under way.
struct Run {
    limit: Limit,
    start_ns: u64,
    scheduled: u64,
    /// Deliveries its own events lead to.
    expected: u64,
    delivered_before: u64,
    expected_before: u64,
    /// Its last turn.
    turn_ns: u64,
    /// When the event went out that everybody must get before the next, and how many deliveries that makes.
    waiting: Option<(u64, u64)>,
    /// What had been delivered when something last moved.
    progress: (u64, u64),
    told_to_end: bool,
}

/// Publishing connections of one kind.
pub(crate) struct Press {
    pace: Pace,
    pipeline: usize,
    publishers: Vec<Publisher>,
    run: Option<Run>,
    spans: Vec<f64>,
    flow: Flow,
    /// What was taken already.
    taken: (u64, u64),
    /// Why no further event makes sense.
    pub(crate) trouble: Option<String>,
}

impl Press {
    /// Connects. The connections' bits in the lanes begin at `first`.
    pub(crate) fn connect(
        dialect: &Arc<Dialect>,
        lanes: &Arc<Lanes>,
        posts: Vec<Post>,
        first: usize,
        pace: Pace,
        pipeline: usize,
    ) -> anyhow::Result<Self> {
        let publishers = posts
            .into_iter()
            .enumerate()
            .map(|(index, post)| Publisher::connect(Arc::clone(dialect), Arc::clone(lanes), post, first + index))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            pace,
            pipeline,
            publishers,
            run: None,
            spans: Vec::new(),
            flow: Flow::default(),
            taken: (0, 0),
            trouble: None,
        })
    }

    fn sum(&self, of: impl Fn(&Publisher) -> u64) -> u64 {
        self.publishers.iter().map(of).sum()
    }

    /// Deliveries that what was published must lead to.
    pub(crate) fn expected(&self) -> u64 {
        self.sum(|publisher| publisher.expected)
    }

    /// Begins to publish. `expected` are the deliveries that all publishers' events must lead to.
    pub(crate) fn begin(&mut self, limit: Limit, swarm: &Swarm, expected: u64, now_ns: u64) {
        let delivered_before = swarm.delivered();
        self.run = Some(Run {
            limit,
            start_ns: now_ns,
            scheduled: 0,
            expected: 0,
            delivered_before,
            expected_before: expected,
            turn_ns: now_ns,
            waiting: None,
            progress: (delivered_before, now_ns),
            told_to_end: false,
        });
    }

    /// Ends a run that has no limit of its own, or before it.
    pub(crate) fn end(&mut self) {
        if let Some(run) = &mut self.run {
            run.told_to_end = true;
        }
    }

    /// Publishes what is due, and reads answers. `expected` are the deliveries that all publishers' events must lead to.
    pub(crate) fn turn(&mut self, swarm: &Swarm, expected: u64, now_ns: u64) -> anyhow::Result<Turn> {
        let Some(mut run) = self.run.take() else {
            return Ok(Turn::Done);
        };
        let over = run.told_to_end || self.trouble.is_some() || run.limit.is_over(run.start_ns, now_ns, run.scheduled);
        let mut moved = match self.pace {
            Pace::Rate(rate) => self.on_schedule(&mut run, rate, now_ns),
            Pace::Flood { .. } if over => false,
            Pace::Flood { ahead } => self.flood(&mut run, ahead, (expected, swarm.delivered()), now_ns),
            Pace::OneAtATime => self.one_at_a_time(&mut run, over, swarm, now_ns),
        };
        for publisher in &mut self.publishers {
            moved |= publisher.drive(now_ns)?;
        }
        let settled = self.publishers.iter().all(|publisher| publisher.unanswered() == 0);
        if over && settled && run.waiting.is_none() {
            return Ok(Turn::Done);
        }
        self.run = Some(run);
        Ok(if moved { Turn::Moved } else { Turn::Waited })
    }

    fn on_schedule(&mut self, run: &mut Run, rate: f64, now_ns: u64) -> bool {
        let before = run.scheduled;
        loop {
            let intended_ns = run.start_ns + (run.scheduled as f64 * 1e9 / rate) as u64;
            if intended_ns > now_ns || run.told_to_end || run.limit.is_over(run.start_ns, intended_ns, run.scheduled) {
                return run.scheduled > before;
            }
            let turn = run.scheduled as usize % self.publishers.len();
            self.publishers[turn].publish(intended_ns, now_ns);
            run.scheduled += 1;
        }
    }

    fn flood(&mut self, run: &mut Run, ahead: u64, (expected, delivered): (u64, u64), now_ns: u64) -> bool {
        // Deliveries are counted of all publishers' events together.
        let expected = expected.saturating_sub(run.expected_before);
        let on_their_way = expected.saturating_sub(delivered - run.delivered_before);
        let audience = run.expected as f64 / run.scheduled.max(1) as f64;
        // Half an audience: what others publish to fewer is not this publisher's.
        self.flow.add(now_ns - run.turn_ns, on_their_way as f64 > audience / 2.0);
        run.turn_ns = now_ns;
        // In events to the average subscriber.
        let mut room = if ahead == 0 || audience == 0.0 {
            u64::MAX
        } else {
            ahead.saturating_sub((on_their_way as f64 / audience) as u64)
        };
        if let Some(count) = run.limit.count {
            room = room.min(count - run.scheduled);
        }
        let before = run.scheduled;
        for publisher in &mut self.publishers {
            while room > 0 && publisher.is_ready(self.pipeline, now_ns) {
                run.expected += publisher.publish(now_ns, now_ns);
                run.scheduled += 1;
                room -= 1;
            }
        }
        run.scheduled > before
    }

    fn one_at_a_time(&mut self, run: &mut Run, over: bool, swarm: &Swarm, now_ns: u64) -> bool {
        if let Some((sent_ns, wanted)) = run.waiting {
            let delivered = swarm.delivered();
            if delivered > run.progress.0 {
                run.progress = (delivered, now_ns);
            }
            if delivered < wanted {
                if now_ns - run.progress.1 > DELIVERY_PATIENCE_NS {
                    self.trouble = Some(format!("{} deliveries of an event are missing", wanted - delivered));
                    run.waiting = None;
                }
                return false;
            }
            if self.publishers.iter().any(|publisher| publisher.unanswered() > 0) {
                return false;
            }
            self.spans.push(swarm.last_ns().saturating_sub(sent_ns) as f64 / 1e9);
            run.waiting = None;
        }
        if over || run.limit.count.is_some_and(|count| run.scheduled >= count) {
            return false;
        }
        let turn = run.scheduled as usize % self.publishers.len();
        let delivered = swarm.delivered();
        let audience = self.publishers[turn].publish(now_ns, now_ns);
        run.waiting = Some((now_ns, delivered + audience));
        run.progress = (delivered, now_ns);
        run.scheduled += 1;
        true
    }

    /// What was published since the last call.
    pub(crate) fn take_published(&mut self) -> Published {
        let mut published = Published::none();
        let now = (self.sum(|publisher| publisher.accepted), self.sum(|publisher| publisher.refusals));
        (published.accepted, published.refusals) = (now.0 - self.taken.0, now.1 - self.taken.1);
        self.taken = now;
        published.spans = std::mem::take(&mut self.spans);
        published.flow = std::mem::take(&mut self.flow);
        for publisher in &mut self.publishers {
            published.answers.add(&publisher.answers).expect("histograms of one shape");
            published.late.add(&publisher.late).expect("histograms of one shape");
            publisher.answers.reset();
            publisher.late.reset();
        }
        published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_no_time_under_way() {
        let mut flow = Flow::default();
        assert_eq!(flow.percent(), None, "nobody published as fast as it could");
        flow.add(30, true);
        flow.add(10, false);
        assert_eq!(flow.percent(), Some(75.0));
    }
}
