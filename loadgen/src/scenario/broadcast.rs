//! `broadcast`: events to everybody, the next one when the last subscriber has the one before.

use clap::Args;

use crate::lane::{Lane, Round};
use crate::options::{Common, cores};
use crate::process::Cpu;
use crate::progress::Progress;
use crate::record::Bar;
use crate::report::{Report, median, number};
use crate::scenario::stop;
use crate::server::Server;

/// The share of the floor's deliveries per second that is asked for.
const SHARE_OF_FLOOR_MIN: f64 = 0.85;

/// Broadcasts one at a time: deliveries per second, time to the last delivery
#[derive(Args, Debug)]
pub(crate) struct Broadcast {
    #[command(flatten)]
    common: Common,
    /// Subscribers
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Events per round
    #[arg(long, default_value_t = 30)]
    events: usize,
    /// Rounds, interleaved with the floor's
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Run the bare send loop in turn with the hub and print the ratio
    #[arg(long)]
    with_floor: bool,
    /// Sending threads of the floor: as many as the hub has shards (as many as cores)
    #[arg(long)]
    threads: Option<usize>,
}

impl Broadcast {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let title = format!(
            "{} subscribers, {} x {} events of {} B, one at a time",
            self.connections, self.rounds, self.events, self.size
        );
        let mut report = Report::new("broadcast", title);
        let mut progress = Progress::new();
        let mut server = Server::start(&self.common, &[])?;
        let pid = server.pid();
        let mut hub = Lane::hub(&self.common, &server, self.connections, self.size, &mut progress)?;
        let threads = self.threads.unwrap_or_else(cores);
        let mut floor = if self.with_floor {
            Some(Lane::floor(&self.common, threads, self.connections, self.size, &mut progress)?)
        } else {
            None
        };
        // The first broadcast of all touches everything for the first time; it is checked and not measured.
        for lane in std::iter::once(&mut hub).chain(&mut floor) {
            lane.broadcast(1, pid, &mut progress)?;
        }
        for lane in std::iter::once(&mut hub).chain(&mut floor) {
            lane.take_latency();
        }
        let (mut hub_rounds, mut floor_rounds) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            hub_rounds.push(hub.broadcast(self.events, pid, &mut progress)?);
            if let Some(floor) = &mut floor {
                floor_rounds.push(floor.broadcast(self.events, None, &mut progress)?);
            }
        }
        report.timeline(&mut progress);
        report.latency("hub_latency", "hub: latency", &hub.take_latency());
        if let Some(floor) = &mut floor {
            report.latency("floor_latency", "floor: latency", &floor.take_latency());
        }
        let hub_rate = summarise("hub", &hub_rounds, &mut report);
        if floor.is_some() {
            let floor_rate = summarise("floor", &floor_rounds, &mut report);
            let share = hub_rate / floor_rate;
            report.figure("share_of_floor", "hub / floor, deliveries per second", share, "x");
            report.goal_of("hub / floor, deliveries per second", share, Bar::AtLeast(SHARE_OF_FLOOR_MIN), "x");
        }
        hub.finish(&mut report);
        if let Some(floor) = floor {
            floor.finish(&mut report);
        }
        stop(&mut server, &mut report);
        Ok(report)
    }
}

fn summarise(name: &str, rounds: &[Round], report: &mut Report) -> f64 {
    let rates: Vec<f64> = rounds.iter().map(Round::rate).collect();
    let last: Vec<f64> = rounds.iter().map(Round::last_ms).collect();
    let cpu = rounds.iter().fold(Cpu::default(), |sum, round| sum.plus(round.cpu));
    let rate = median(&rates);
    report.figure(
        format!("{name}_deliveries_per_s"),
        format!("{name}: deliveries per second, median round"),
        rate,
        "/s",
    );
    report.figure(format!("{name}_last_delivery_ms"), format!("{name}: last delivery, median"), median(&last), "ms");
    report.cpu(name, name, cpu, rounds.iter().map(Round::deliveries).sum());
    let each: Vec<String> = rates.iter().map(|&rate| number(rate)).collect();
    report.note(format!("{name}: deliveries per second of each round: {}", each.join("  ")));
    rate
}
