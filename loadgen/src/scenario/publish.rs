//! `publish`: how fast publishes are taken when nobody is subscribed, beside a bare loop of request and fixed answer.

use std::time::Duration;

use clap::Args;

use crate::bare::Bare;
use crate::hammer::{Blows, Hammer};
use crate::options::{Common, cores};
use crate::process::Cpu;
use crate::progress::Progress;
use crate::report::{Report, median, number};
use crate::scenario::stop;
use crate::server::Server;

/// Shares of the bare loop's rate that are asked for: one request at a time, and pipelined.
const SHARE_MIN: f64 = 0.7;
const SHARE_PIPELINED_MIN: f64 = 0.5;

/// Publishes with nobody subscribed, beside a bare loop of request and fixed answer
#[derive(Args, Debug)]
pub(crate) struct Publish {
    #[command(flatten)]
    common: Common,
    /// Keep-alive connections
    #[arg(long, default_value_t = 8)]
    publishers: usize,
    /// Unanswered publishes per connection in the pipelined rounds
    #[arg(long, default_value_t = 32)]
    pipeline: usize,
    /// Seconds of a round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Rounds of hub and bare loop in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
}

impl Publish {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let title = format!("nobody subscribed, {} connections, events of {} B", self.publishers, self.size);
        let mut report = Report::new("publish", title);
        let mut progress = Progress::new();
        let mut server = Server::start(&self.common, &[])?;
        let bare = Bare::start(cores(), self.size, self.common.verbose)?;
        let mut hub_side = Hammer::connect(&self.common.post(&server, &[self.size]), self.publishers)?;
        let mut bare_side = Hammer::connect(&self.common.post(&bare.server, &[self.size]), self.publishers)?;
        let kinds =
            [("", 1, SHARE_MIN, "one at a time"), ("pipelined_", self.pipeline, SHARE_PIPELINED_MIN, "pipelined")];
        for (key, pipeline, share_min, label) in kinds {
            let mut sides = [
                Side {
                    name: "hub",
                    pid: server.pid(),
                    hammer: &mut hub_side,
                    rates: vec![],
                    cpu: Cpu::default(),
                    answered: 0,
                },
                Side {
                    name: "bare",
                    pid: bare.server.pid(),
                    hammer: &mut bare_side,
                    rates: vec![],
                    cpu: Cpu::default(),
                    answered: 0,
                },
            ];
            for round in 0..self.rounds {
                for side in &mut sides {
                    progress.show(|| format!("{label}: round {} of {}", round + 1, self.rounds));
                    let blows = side.round(Duration::from_secs(self.seconds), pipeline)?;
                    report.check(
                        format!("{}: nothing refused", side.name),
                        blows.refused == 0,
                        blows.refused.to_string(),
                    );
                    let quantile = |q| number(blows.latency.value_at_quantile(q) as f64);
                    report.note(format!(
                        "{label}, {}: {} /s, p50 {} us, p99 {} us",
                        side.name,
                        number(blows.rate()),
                        quantile(0.5),
                        quantile(0.99)
                    ));
                }
            }
            let [hub, bare] = &sides;
            let share = median(&hub.rates) / median(&bare.rates);
            for side in [hub, bare] {
                let name = side.name;
                report.figure(
                    format!("{key}{name}_per_s"),
                    format!("{label}, {name}: publishes per second"),
                    median(&side.rates),
                    "/s",
                );
                let each = side.cpu.server_s * 1e6 / side.answered as f64;
                report.figure(
                    format!("{key}{name}_cpu_us"),
                    format!("{label}, {name}: server CPU per publish"),
                    each,
                    "us",
                );
                let machine = side.cpu.machine_s * 1e6 / side.answered as f64;
                report.figure(
                    format!("{key}{name}_machine_us"),
                    format!("{label}, {name}: CPU of the machine per publish"),
                    machine,
                    "us",
                );
            }
            report.figure(format!("{key}share"), format!("{label}: share of the bare loop"), share, "");
            report.goal(format!("{label}: at least {share_min} of the bare loop: {share:.3}"), share >= share_min);
        }
        stop(&mut server, &mut report);
        Ok(report)
    }
}

struct Side<'a> {
    name: &'static str,
    pid: Option<u32>,
    hammer: &'a mut Hammer,
    rates: Vec<f64>,
    cpu: Cpu,
    answered: u64,
}

impl Side<'_> {
    fn round(&mut self, time: Duration, pipeline: usize) -> anyhow::Result<Blows> {
        let before = Cpu::now(self.pid);
        let blows = self.hammer.run(time, pipeline)?;
        self.cpu = self.cpu.plus(Cpu::now(self.pid).since(before));
        self.rates.push(blows.rate());
        self.answered += blows.answered;
        Ok(blows)
    }
}
