//! Several publishers driven together: as fast as they may, or on a schedule that doesn't wait for anyone.

use std::time::Duration;

use crate::ledger::Ledger;
use crate::publisher::{Post, Publisher};
use crate::swarm::Swarm;
use crate::sys;

/// How to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Events per second; nothing means as fast as the answers come.
    pub(crate) rate: Option<f64>,
    /// Unanswered requests per connection.
    pub(crate) pipeline: usize,
    /// Stop to publish while so many accepted events are on their way to the average subscriber; 0 for no such bound.
    pub(crate) ahead: u64,
    /// For how long.
    pub(crate) time: Duration,
}

/// Publishers and what they got accepted.
pub(crate) struct Press {
    publishers: Vec<Publisher>,
}

impl Press {
    /// Connects them.
    pub(crate) fn connect(post: &Post, publishers: usize) -> anyhow::Result<Self> {
        let publishers = (0..publishers).map(|index| Publisher::connect(post, index)).collect::<anyhow::Result<_>>()?;
        Ok(Self { publishers })
    }

    /// What was accepted of all.
    pub(crate) fn ledger(&self) -> Ledger {
        self.publishers.iter().fold(Ledger::default(), |sum, publisher| sum.plus(publisher.accepted))
    }

    /// Answers that said 503.
    pub(crate) fn refusals(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.refusals).sum()
    }

    /// Publishes for the given time, then waits for the answers. Answers when it started. `meanwhile` is called in
    /// every turn.
    pub(crate) fn run(
        &mut self,
        pace: Pace,
        swarm: &Swarm,
        mut meanwhile: impl FnMut(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let start_ns = sys::now_ns();
        let end_ns = start_ns + pace.time.as_nanos() as u64;
        // What this swarm had received and these publishers had sent before.
        let before = self.ledger().count;
        let delivered_before = swarm.delivered();
        let mut scheduled = 0_u64;
        loop {
            let now_ns = sys::now_ns();
            let mut moved = false;
            if let Some(rate) = pace.rate {
                loop {
                    let intended_ns = start_ns + (scheduled as f64 * 1e9 / rate) as u64;
                    if intended_ns > now_ns || intended_ns >= end_ns {
                        break;
                    }
                    let turn = scheduled as usize % self.publishers.len();
                    self.publishers[turn].publish(intended_ns);
                    scheduled += 1;
                }
            } else if now_ns < end_ns {
                let reached = (swarm.delivered() - delivered_before) / swarm.connections().max(1) as u64;
                let unanswered: u64 = self.publishers.iter().map(|publisher| publisher.unanswered() as u64).sum();
                let sent = self.ledger().count - before + unanswered;
                let mut room = if pace.ahead == 0 { u64::MAX } else { (pace.ahead + reached).saturating_sub(sent) };
                for publisher in &mut self.publishers {
                    while room > 0 && publisher.is_ready(pace.pipeline, now_ns) {
                        publisher.publish(now_ns);
                        room -= 1;
                    }
                }
            }
            for publisher in &mut self.publishers {
                moved |= publisher.drive(now_ns)?;
            }
            meanwhile(self)?;
            if now_ns >= end_ns && self.publishers.iter().all(|publisher| publisher.unanswered() == 0) {
                return Ok(start_ns);
            }
            if !moved {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
}
