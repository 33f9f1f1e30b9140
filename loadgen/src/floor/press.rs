//! The floor in the place of publishers: what a hub is sent as publishes, the floor is told to send, or to store for those
//! who come for it.

use std::time::Duration;

use super::{Floor, FloorKind};
use crate::lanes::Lanes;
use crate::press::{Limit, Pace, Published, Turn};
use crate::swarm::Swarm;
use crate::sys;

/// A broadcast that stops moving for so long has failed.
const DELIVERY_PATIENCE_NS: u64 = 10_000_000_000;

struct Run {
    limit: Limit,
    start_ns: u64,
    scheduled: u64,
    waiting: Option<(u64, u64)>,
    progress: (u64, u64),
    flooding: bool,
    told_to_end: bool,
}

/// Orders to a floor, paced like a publisher.
pub(crate) struct FloorPress {
    run: Option<Run>,
    spans: Vec<f64>,
    taken: u64,
    /// Why no further event makes sense.
    pub(crate) trouble: Option<String>,
}

impl FloorPress {
    pub(crate) fn new() -> Self {
        Self { run: None, spans: Vec::new(), taken: 0, trouble: None }
    }

    /// Begins to send.
    pub(crate) fn begin(&mut self, limit: Limit, swarm: &Swarm, now_ns: u64) {
        let progress = (swarm.delivered(), now_ns);
        self.run = Some(Run {
            limit,
            start_ns: now_ns,
            scheduled: 0,
            waiting: None,
            progress,
            flooding: false,
            told_to_end: false,
        });
    }

    /// Ends a run before its limit. A flood goes on for its time.
    pub(crate) fn end(&mut self) {
        if let Some(run) = &mut self.run {
            run.told_to_end = true;
        }
    }

    /// Has sent what is due.
    pub(crate) fn turn(
        &mut self,
        floor: &mut Floor,
        pace: Pace,
        lanes: &Lanes,
        swarm: &Swarm,
        now_ns: u64,
    ) -> anyhow::Result<Turn> {
        let Some(mut run) = self.run.take() else {
            return Ok(Turn::Done);
        };
        if floor.kind() == FloorKind::Serve {
            let Some(count) = run.limit.count else {
                anyhow::bail!("the floor stores a number of events: the step needs a `count`");
            };
            floor.store(count)?;
            sent(floor, lanes);
            return Ok(Turn::Done);
        }
        let over = run.told_to_end || self.trouble.is_some() || run.limit.is_over(run.start_ns, now_ns, run.scheduled);
        let mut turn = Turn::Waited;
        match pace {
            Pace::Flood { .. } => {
                let Some(time_ns) = run.limit.time_ns else {
                    anyhow::bail!("the floor floods for a time only: the step needs `seconds`");
                };
                if !run.flooding {
                    floor.flood(Duration::from_nanos(time_ns))?;
                    run.flooding = true;
                } else if over {
                    floor.hear_count()?;
                    sent(floor, lanes);
                    return Ok(Turn::Done);
                }
            }
            Pace::Rate(rate) => {
                let intended_ns = run.start_ns + (run.scheduled as f64 * 1e9 / rate) as u64;
                if over || run.limit.is_over(run.start_ns, intended_ns, run.scheduled) {
                    return Ok(Turn::Done);
                }
                if intended_ns <= now_ns {
                    floor.broadcast(intended_ns)?;
                    sent(floor, lanes);
                    run.scheduled += 1;
                    turn = Turn::Moved;
                }
            }
            Pace::OneAtATime => {
                if let Some((sent_ns, wanted)) = run.waiting {
                    let delivered = swarm.delivered();
                    if delivered > run.progress.0 {
                        run.progress = (delivered, now_ns);
                    }
                    if delivered >= wanted {
                        self.spans.push(swarm.last_ns().saturating_sub(sent_ns) as f64 / 1e9);
                        run.waiting = None;
                    } else if now_ns - run.progress.1 > DELIVERY_PATIENCE_NS {
                        self.trouble = Some(format!("{} deliveries of an event are missing", wanted - delivered));
                        run.waiting = None;
                    }
                } else if over {
                    return Ok(Turn::Done);
                } else {
                    let delivered = swarm.delivered();
                    let sent_ns = sys::now_ns();
                    floor.broadcast(sent_ns)?;
                    sent(floor, lanes);
                    run.waiting = Some((sent_ns, delivered + lanes.audience(0)));
                    run.progress = (delivered, now_ns);
                    run.scheduled += 1;
                    turn = Turn::Moved;
                }
            }
        }
        self.run = Some(run);
        Ok(turn)
    }

    /// What was sent since the last call.
    pub(crate) fn take_published(&mut self, lanes: &Lanes) -> Published {
        let accepted = lanes.accepted();
        let new = accepted - std::mem::replace(&mut self.taken, accepted);
        Published { accepted: new, spans: std::mem::take(&mut self.spans), ..Published::none() }
    }
}

/// Brings the floor's only lane up to what it has sent.
fn sent(floor: &Floor, lanes: &Lanes) {
    let count = floor.count();
    while lanes.accepted() < count {
        let number = lanes.next(0, 0);
        lanes.settle(number, true);
    }
}
