//! `floor`: the bare send loop alone.

use clap::Args;

use crate::lane::Lane;
use crate::options::{Common, cores};
use crate::progress::Progress;
use crate::report::{Report, median};

/// What a program that does nothing but send reaches on this machine
#[derive(Args, Debug)]
pub(crate) struct BareFloor {
    #[command(flatten)]
    common: Common,
    /// Subscribers
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Broadcasts per round, one at a time
    #[arg(long, default_value_t = 30)]
    events: usize,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Sending threads (as many as cores)
    #[arg(long)]
    threads: Option<usize>,
}

impl BareFloor {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let threads = self.threads.unwrap_or_else(cores);
        let title = format!(
            "{} subscribers, {} x {} events of {} B, {threads} threads that only send",
            self.connections, self.rounds, self.events, self.size
        );
        let mut report = Report::new("floor", title);
        let mut progress = Progress::new();
        let mut lane = Lane::floor(&self.common, threads, self.connections, self.size, &mut progress)?;
        lane.broadcast(1, None, &mut progress)?;
        lane.take_latency();
        let mut rounds = Vec::new();
        for _ in 0..self.rounds {
            rounds.push(lane.broadcast(self.events, None, &mut progress)?);
        }
        let rates: Vec<f64> = rounds.iter().map(|round| round.rate()).collect();
        let last: Vec<f64> = rounds.iter().map(|round| round.last_ms()).collect();
        let cpu = rounds.iter().fold(Default::default(), |sum: crate::process::Cpu, round| sum.plus(round.cpu));
        report.figure("deliveries_per_s", "deliveries per second, median round", median(&rates), "/s");
        report.figure("last_delivery_ms", "last delivery, median", median(&last), "ms");
        report.timeline(&mut progress);
        report.latency("floor_latency", "floor: latency", &lane.take_latency());
        report.cpu("floor", "all rounds", cpu, rounds.iter().map(|round| round.deliveries()).sum());
        lane.finish(&mut report);
        Ok(report)
    }
}
