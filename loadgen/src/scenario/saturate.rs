//! `saturate`: events published faster than they can be sent one by one, so that only coalescing keeps up.

use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;

use crate::lane::Lane;
use crate::options::{Common, cores};
use crate::press::{Pace, Press};
use crate::process::{self, Cpu};
use crate::progress::Progress;
use crate::record::Bar;
use crate::report::{Report, number};
use crate::sampler::Counts;
use crate::scenario::stop;
use crate::server::Server;
use crate::swarm::{Swarm, new_histogram};
use crate::timeline::Spread;

/// After the publishers stop: how long nothing may move before the rest counts as lost.
const DRAIN_PATIENCE: Duration = Duration::from_secs(15);

/// Events published as fast as the hub takes them
#[derive(Args, Debug)]
pub(crate) struct Saturate {
    #[command(flatten)]
    common: Common,
    /// Subscribers
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// How long to publish
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Publishing connections
    #[arg(long, default_value_t = 8)]
    publishers: usize,
    /// Unanswered publishes per connection
    #[arg(long, default_value_t = 16)]
    pipeline: usize,
    /// Publishers wait while so many events are accepted and not yet delivered to the average subscriber; 0 for no
    /// bound, when it is the hub that must slow them (and draining takes as long as its tail is deep)
    #[arg(long, default_value_t = 512)]
    ahead: u64,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Run the bare send loop before and print the ratio
    #[arg(long)]
    with_floor: bool,
    /// Sending threads of the floor: as many as the hub has shards (as many as cores)
    #[arg(long)]
    threads: Option<usize>,
}

impl Saturate {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let title = format!(
            "{} subscribers, {} publishers for {} s, events of {} B",
            self.connections, self.publishers, self.seconds, self.size
        );
        let mut report = Report::new("saturate", title);
        let mut progress = Progress::new();
        let floor_rate = if self.with_floor { Some(self.floor(&mut report, &mut progress)?) } else { None };
        let mut server = Server::start(&self.common, &[])?;
        let hub_rate = self.hub(&server, &mut report, &mut progress)?;
        if let Some(floor_rate) = floor_rate {
            let ratio = hub_rate / floor_rate;
            report.figure("ratio_to_floor", "hub / floor, deliveries per second", ratio, "x");
            report.goal_of("hub / floor, deliveries per second", ratio, Bar::AtLeast(1.0), "x");
        }
        stop(&mut server, &mut report);
        Ok(report)
    }

    fn floor(&self, report: &mut Report, progress: &mut Progress) -> anyhow::Result<f64> {
        let threads = self.threads.unwrap_or_else(cores);
        let mut lane = Lane::floor(&self.common, threads, self.connections, self.size, progress)?;
        let time = Duration::from_secs(self.seconds);
        let pid = lane.floor_mut().and_then(|floor| floor.server.pid());
        let before = Cpu::now(pid);
        let started_ns = lane.floor_mut().map_or(Ok(0), |floor| floor.flood(time))?;
        progress.wait(time, "flooding");
        lane.floor_mut().map_or(Ok(()), |floor| floor.flood_end())?;
        let sent = lane.floor_mut().map_or(0, |floor| floor.ledger().count) * self.connections as u64;
        lane.swarm().wait_for(sent, DRAIN_PATIENCE, |_| ());
        let cpu = Cpu::now(pid).since(before);
        let rate = rate(lane.swarm(), started_ns);
        report.figure("floor_deliveries_per_s", "floor: deliveries per second, one by one", rate, "/s");
        report.cpu("floor", "floor", cpu, sent);
        lane.finish(report);
        Ok(rate)
    }

    fn hub(&self, server: &Server, report: &mut Report, progress: &mut Progress) -> anyhow::Result<f64> {
        progress.part("hub");
        progress.watch("hub", server.pid());
        let swarm = Swarm::open(&self.common.plan(server, self.connections, self.publishers), progress)?;
        let mut press = Press::connect(&self.common.post(server, &[self.size]), self.publishers)?;
        let time = Duration::from_secs(self.seconds);
        let pace = Pace { rate: None, pipeline: self.pipeline, ahead: self.ahead, time };
        let before = Cpu::now(server.pid());
        let connections = self.connections as u64;
        let mut latency = new_histogram();
        let started_ns = press.run(pace, &swarm, |press| {
            progress.sample(|| counts(press, &swarm, &mut latency));
            progress.show(|| {
                let (accepted, delivered) = (press.ledger().count, swarm.delivered());
                format!("{accepted} published, {} delivered to the average subscriber", delivered / connections)
            });
            Ok(())
        })?;
        let published_s = (crate::sys::now_ns() - started_ns) as f64 / 1e9;
        let published = press.ledger();
        let wanted = published.count * connections;
        let all = swarm.wait_for(wanted, DRAIN_PATIENCE, |delivered| {
            progress.sample(|| counts(&press, &swarm, &mut latency));
            progress.show(|| format!("draining, {} deliveries to come", number((wanted - delivered) as f64)));
        });
        let cpu = Cpu::now(server.pid()).since(before);
        let rate = rate(&swarm, started_ns);
        progress.sample_now(counts(&press, &swarm, &mut latency));
        report.figure("hub_deliveries_per_s", "hub: deliveries per second, to the last one", rate, "/s");
        report.figure("events_per_s", "hub: events accepted per second", published.count as f64 / published_s, "/s");
        report.figure("events", "hub: events accepted", published.count as f64, "");
        report.figure("refusals", "hub: publishes answered 503", press.refusals() as f64, "");
        report.figure("closed", "hub: subscribers closed", swarm.closed() as f64, "");
        report.timeline(progress);
        report.latency("hub_latency", "hub: latency with waiting", &latency);
        report.cpu("hub", "hub", cpu, swarm.delivered());
        if let Some(bytes) = server.pid().and_then(|pid| process::private_bytes(pid).ok()) {
            report.figure("hub_private_bytes", "hub: private memory at the end", bytes as f64, "B");
        }
        report.check("hub: everything was delivered in the end", all, format!("{} of {wanted}", swarm.delivered()));
        report.check_delivery("hub", &swarm.finish(), published);
        Ok(rate)
    }
}

fn counts(press: &Press, swarm: &Swarm, sum: &mut Histogram<u64>) -> Counts {
    let latency = swarm.take_latency();
    sum.add(&latency).expect("histograms of one shape");
    Counts {
        connections: (swarm.connections() as u64).saturating_sub(swarm.closed()),
        deliveries: swarm.delivered(),
        publishes: press.ledger().count,
        refused: press.refusals(),
        closed: swarm.closed(),
        latency: Spread::of(&latency),
    }
}

fn rate(swarm: &Swarm, started_ns: u64) -> f64 {
    swarm.delivered() as f64 / (swarm.last_ns().saturating_sub(started_ns) as f64 / 1e9)
}
