//! `presence`: does a crowd that comes and goes at once, and is announced, delay publishers or push out what they said?

use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use crate::options::Common;
use crate::press::{Pace, Press};
use crate::progress::Progress;
use crate::report::{Report, median, number};
use crate::scenario::stop;
use crate::server::Server;
use crate::swarm::{Plan, Requests, Swarm};

/// The ratio of the p99 with and without announcements that is allowed.
const RATIO_MAX: f64 = 1.25;
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// A crowd comes and goes while others are published to, at a hub that announces it and at one that doesn't
#[derive(Args, Debug)]
pub(crate) struct Presence {
    #[command(flatten)]
    common: Common,
    /// Subscribers that come and go together
    #[arg(long, default_value_t = 15_000)]
    crowd: usize,
    /// Subscribers that stay, whose latency is measured
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Events per second
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Pairs of runs
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
}

impl Presence {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        ensure!(self.common.hub.is_some(), "this scenario starts hubs of its own: give it --hub BINARY");
        let title = format!(
            "{} subscribers come and go once in {} s, {} events/s to {} others, {} pairs without and with announcements",
            self.crowd, self.seconds, self.rate, self.connections, self.pairs
        );
        let mut report = Report::new("presence", title);
        let mut progress = Progress::new();
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for pair in 1..=self.pairs {
            progress.part(format!("pair {pair} without"));
            without.push(self.once(&[], &mut report, &mut progress)?);
            progress.part(format!("pair {pair} with"));
            with.push(self.once(&["--subscriptions"], &mut report, &mut progress)?);
        }
        let ratios: Vec<f64> = without.iter().zip(&with).map(|(without, with)| with / without).collect();
        let ratio = median(&ratios);
        report.figure("without_p99_ms", "p99 without announcements, median run", median(&without), "ms");
        report.figure("with_p99_ms", "p99 with them, median run", median(&with), "ms");
        report.figure("p99_ratio", "with / without, median of the pairs", ratio, "");
        let text = |runs: &[f64]| runs.iter().map(|&p99| number(p99)).collect::<Vec<_>>().join("  ");
        report.note(format!("p99 without, ms: {}", text(&without)));
        report.note(format!("p99 with, ms:    {}", text(&with)));
        report.goal(format!("ratio at most {RATIO_MAX}: {ratio:.3}"), ratio <= RATIO_MAX);
        Ok(report)
    }

    /// The p99 of one run, in milliseconds.
    fn once(&self, extra: &[&str], report: &mut Report, progress: &mut Progress) -> anyhow::Result<f64> {
        let mut server = Server::start(&self.common, extra)?;
        let swarm = Swarm::open(&self.common.plan(&server, self.connections, 1), progress)?;
        let mut press = Press::connect(&self.common.post(&server, &[self.size]), 1)?;
        let elsewhere = server.target.subscribe_request(&format!("{}/crowd", self.common.topic), None);
        let crowd = Plan { requests: Requests::Same(elsewhere), ..self.common.plan(&server, self.crowd, 1) };
        let come_and_go = std::thread::spawn(move || Swarm::open(&crowd, &mut Progress::quiet()).map(Swarm::finish));
        let pace =
            Pace { rate: Some(self.rate), pipeline: usize::MAX, ahead: 0, time: Duration::from_secs(self.seconds) };
        press.run(pace, &swarm, |press| {
            progress.show(|| format!("{} published", press.ledger().count));
            Ok(())
        })?;
        come_and_go.join().expect("the crowd's thread doesn't panic")?;
        let published = press.ledger();
        swarm.wait_for(published.count * swarm.connections() as u64, DRAIN_PATIENCE, |_| ());
        let p99_ms = swarm.take_latency().value_at_quantile(0.99) as f64 / 1e3;
        let name = if extra.is_empty() { "without announcements" } else { "with announcements" };
        report.check_delivery(name, &swarm.finish(), published);
        stop(&mut server, report);
        Ok(p99_ms)
    }
}
