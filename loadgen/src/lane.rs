//! A sender with subscribers of its own: the hub with a publisher, or the floor. Scenarios that compare the two run
//! the same rounds over both.

use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;

use crate::floor::Floor;
use crate::options::Common;
use crate::process::Cpu;
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::report::{Report, median};
use crate::sampler::Counts;
use crate::server::Server;
use crate::swarm::{Plan, Swarm, new_histogram};
use crate::sys;
use crate::timeline::Spread;

/// A broadcast that stops moving for so long has failed.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(10);
/// Each of the floor's threads has a descriptor table of its own with 20,000 places here, and the
/// kernel doesn't spread connections quite evenly.
const FLOOR_CONNECTIONS_PER_THREAD_MAX: usize = 18_000;

enum Source {
    Hub(Box<Publisher>),
    Floor(Box<Floor>),
}

/// The sender and its subscribers.
pub(crate) struct Lane {
    name: &'static str,
    source: Source,
    swarm: Swarm,
    /// Latencies since the last call of `take_latency`.
    latency: Histogram<u64>,
    /// Why no further broadcast makes sense.
    trouble: Option<String>,
}

/// Some broadcasts, one at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// From the publish to the last delivery, in seconds; fewer than asked for when one failed.
    pub(crate) spans: Vec<f64>,
    pub(crate) cpu: Cpu,
    connections: usize,
}

impl Round {
    /// Deliveries per second while something was under way.
    pub(crate) fn rate(&self) -> f64 {
        (self.connections * self.spans.len()) as f64 / self.spans.iter().sum::<f64>()
    }

    /// The median time to the last delivery, in milliseconds.
    pub(crate) fn last_ms(&self) -> f64 {
        median(&self.spans) * 1e3
    }

    /// Deliveries of all its broadcasts.
    pub(crate) fn deliveries(&self) -> u64 {
        (self.connections * self.spans.len()) as u64
    }
}

impl Lane {
    /// Subscribers at a hub.
    pub(crate) fn hub(
        common: &Common,
        server: &Server,
        connections: usize,
        size: usize,
        progress: &mut Progress,
    ) -> anyhow::Result<Self> {
        Self::hub_with(common, server, &common.plan(server, connections, 1), size, progress)
    }

    /// The same with subscribers of one's own plan.
    pub(crate) fn hub_with(
        common: &Common,
        server: &Server,
        plan: &Plan,
        size: usize,
        progress: &mut Progress,
    ) -> anyhow::Result<Self> {
        progress.part("hub");
        progress.watch("hub", server.pid());
        let swarm = Swarm::open(plan, progress)?;
        let publisher = Publisher::connect(&common.post(server, &[size]), 0)?;
        Ok(Self::new("hub", Source::Hub(Box::new(publisher)), swarm))
    }

    /// Subscribers at a floor.
    pub(crate) fn floor(
        common: &Common,
        threads: usize,
        connections: usize,
        size: usize,
        progress: &mut Progress,
    ) -> anyhow::Result<Self> {
        if connections > threads * FLOOR_CONNECTIONS_PER_THREAD_MAX {
            bail!(
                "the floor holds {FLOOR_CONNECTIONS_PER_THREAD_MAX} connections per thread (its \
                 descriptor limit); give it more --threads for {connections}"
            );
        }
        progress.part("floor");
        let floor = Floor::start(threads, size, common.verbose)?;
        progress.watch("floor", floor.server.pid());
        let swarm = Swarm::open(&common.plan(&floor.server, connections, 1), progress)?;
        Ok(Self::new("floor", Source::Floor(Box::new(floor)), swarm))
    }

    fn new(name: &'static str, source: Source, swarm: Swarm) -> Self {
        Self { name, source, swarm, latency: new_histogram(), trouble: None }
    }

    /// The subscribers.
    pub(crate) fn swarm(&self) -> &Swarm {
        &self.swarm
    }

    /// The latencies since the last call, in microseconds from the intended send time.
    pub(crate) fn take_latency(&mut self) -> Histogram<u64> {
        self.gather();
        std::mem::replace(&mut self.latency, new_histogram())
    }

    /// What a sample needs, with the latencies since the last one.
    fn gather(&mut self) -> Counts {
        let latency = self.swarm.take_latency();
        self.latency.add(&latency).expect("histograms of one shape");
        counts(&self.source, &self.swarm, &latency)
    }

    /// The floor behind it, if that is what sends.
    pub(crate) fn floor_mut(&mut self) -> Option<&mut Floor> {
        match &mut self.source {
            Source::Floor(floor) => Some(floor),
            Source::Hub(_) => None,
        }
    }

    /// Sends events one at a time: the next when everybody has the one before. `server` is the hub's process.
    pub(crate) fn broadcast(
        &mut self,
        events: usize,
        server: Option<u32>,
        progress: &mut Progress,
    ) -> anyhow::Result<Round> {
        progress.part(self.name);
        let pid = match &self.source {
            Source::Hub(_) => server,
            Source::Floor(floor) => floor.server.pid(),
        };
        let connections = self.swarm.connections();
        let mut round = Round { connections, ..Round::default() };
        self.swarm.rest(false);
        progress.watch(self.name, pid);
        let before = Cpu::now(pid);
        for event in 0..events {
            if self.trouble.is_some() {
                break;
            }
            let wanted = self.swarm.delivered() + connections as u64;
            let sent_ns = match &mut self.source {
                Source::Hub(publisher) => publisher.publish_one()?,
                Source::Floor(floor) => floor.broadcast()?,
            };
            let mut trouble = None;
            let (source, swarm, sum) = (&mut self.source, &self.swarm, &mut self.latency);
            let arrived = self.swarm.wait_for(wanted, DELIVERY_PATIENCE, |_| {
                if let Source::Hub(publisher) = source
                    && let Err(error) = publisher.drive(sys::now_ns())
                {
                    trouble.get_or_insert(error);
                }
                progress.sample(|| {
                    let latency = swarm.take_latency();
                    sum.add(&latency).expect("histograms of one shape");
                    counts(source, swarm, &latency)
                });
                progress.advance(event as u64, events as u64, "broadcasts");
            });
            if let Some(error) = trouble {
                return Err(error);
            }
            if let Source::Hub(publisher) = &mut self.source {
                publisher.settle_all()?;
            }
            if !arrived {
                let missing = wanted.saturating_sub(self.swarm.delivered());
                let closed = self.swarm.closed();
                let trouble = format!("{missing} of {connections} missing, {closed} closed");
                self.trouble = Some(trouble);
                break;
            }
            round.spans.push(self.swarm.last_ns().saturating_sub(sent_ns) as f64 / 1e9);
        }
        round.cpu = Cpu::now(pid).since(before);
        let counts = self.gather();
        progress.sample_now(counts);
        self.swarm.rest(true);
        Ok(round)
    }

    /// Closes the subscribers and enters whether they got what was sent.
    pub(crate) fn finish(self, report: &mut Report) {
        let ledger = match &self.source {
            Source::Hub(publisher) => publisher.accepted,
            Source::Floor(floor) => floor.ledger(),
        };
        if let Some(trouble) = &self.trouble {
            let what = format!("{}: every broadcast came through", self.name);
            report.check(what, false, trouble);
        }
        report.check_delivery(self.name, &self.swarm.finish(), ledger);
    }
}

fn counts(source: &Source, swarm: &Swarm, latency: &Histogram<u64>) -> Counts {
    let publishes = match source {
        Source::Hub(publisher) => publisher.accepted.count,
        Source::Floor(floor) => floor.ledger().count,
    };
    Counts {
        connections: (swarm.connections() as u64).saturating_sub(swarm.closed()),
        deliveries: swarm.delivered(),
        publishes,
        refused: 0,
        closed: swarm.closed(),
        latency: Spread::of(latency),
    }
}
