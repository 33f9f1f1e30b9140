//! `slow`: does one subscriber that never reads, and one that hardly does, delay the others?

use std::time::Duration;

use clap::Args;

use crate::laggard::{Sipper, subscribe};
use crate::options::Common;
use crate::press::{Pace, Press};
use crate::process::{self, Cpu};
use crate::progress::Progress;
use crate::report::{Report, median, number};
use crate::scenario::stop;
use crate::server::{LongTurns, Server};
use crate::swarm::Swarm;

/// The ratio of the others' p99 with and without slow subscribers that is allowed.
const RATIO_MAX: f64 = 1.25;
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// Pairs of runs without and with slow subscribers: the others' latency
#[derive(Args, Debug)]
pub(crate) struct Slow {
    #[command(flatten)]
    common: Common,
    /// Subscribers that read as they should
    #[arg(long, default_value_t = 2_000)]
    connections: usize,
    /// Events per second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Pairs of runs
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Receive buffer of the two slow subscribers in bytes, small so that they stall within a run; 0 for the system's
    #[arg(long, default_value_t = 4096)]
    receive_buffer: usize,
}

/// One run.
struct Run {
    p99_ms: f64,
    growth_bytes: f64,
    long_turns: LongTurns,
}

impl Slow {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let title = format!(
            "{} subscribers, {} events/s of {} B, {} pairs of {} s without and with one that never reads and one that \
             reads 1 kB/s",
            self.connections, self.rate, self.size, self.pairs, self.seconds
        );
        let mut report = Report::new("slow", title);
        let mut progress = Progress::new();
        let mut server = Server::start(&self.common, &["--log", "info,cinnabar::server::turns=debug"])?;
        progress.part("connect");
        let swarm = Swarm::open(&self.common.plan(&server, self.connections, 1), &mut progress)?;
        let mut press = Press::connect(&self.common.post(&server, &[self.size]), 1)?;
        progress.part("warm-up");
        self.once(&server, &swarm, &mut press, Duration::from_secs(2), &mut progress)?;
        let start = private(&server);
        let cpu = Cpu::now(server.pid());
        let delivered = swarm.delivered();
        let (mut without, mut with) = (Vec::new(), Vec::new());
        let time = Duration::from_secs(self.seconds);
        for pair in 1..=self.pairs {
            progress.part(format!("pair {pair} without"));
            without.push(self.once(&server, &swarm, &mut press, time, &mut progress)?);
            progress.part(format!("pair {pair} with"));
            let request = server.target.subscribe_request(&self.common.topic, None);
            let never = subscribe(server.target.address, &request, self.receive_buffer)?;
            let hardly = subscribe(server.target.address, &request, self.receive_buffer)?;
            let hardly = Sipper::start(hardly, 1000)?;
            with.push(self.once(&server, &swarm, &mut press, time, &mut progress)?);
            drop((never, hardly));
        }
        let end = private(&server);
        self.figures(&without, &with, &mut report);
        let cpu = Cpu::now(server.pid()).since(cpu);
        report.cpu("all", "all runs", cpu, swarm.delivered() - delivered);
        if server.pid().is_some() {
            report.figure("start_bytes", "server's private memory before", start, "B");
            report.figure("end_bytes", "server's private memory after", end, "B");
        }
        let published = press.ledger();
        report.figure("refusals", "publishes answered 503", press.refusals() as f64, "");
        report.check_delivery("the others", &swarm.finish(), published);
        stop(&mut server, &mut report);
        Ok(report)
    }

    fn once(
        &self,
        server: &Server,
        swarm: &Swarm,
        press: &mut Press,
        time: Duration,
        progress: &mut Progress,
    ) -> anyhow::Result<Run> {
        let before = private(server);
        let turns_before = server.long_turns();
        swarm.take_latency();
        let pace = Pace { rate: Some(self.rate), pipeline: usize::MAX, ahead: 0, time };
        press.run(pace, swarm, |press| {
            progress.show(|| format!("{} published", press.ledger().count));
            Ok(())
        })?;
        let wanted = press.ledger().count * swarm.connections() as u64;
        swarm.wait_for(wanted, DRAIN_PATIENCE, |_| ());
        let p99_ms = swarm.take_latency().value_at_quantile(0.99) as f64 / 1e3;
        let turns = server.long_turns();
        let long_turns = LongTurns {
            count: turns.count - turns_before.count,
            with_full_sockets: turns.with_full_sockets - turns_before.with_full_sockets,
        };
        Ok(Run { p99_ms, growth_bytes: private(server) - before, long_turns })
    }

    fn figures(&self, without: &[Run], with: &[Run], report: &mut Report) {
        let p99 = |runs: &[Run]| runs.iter().map(|run| run.p99_ms).collect::<Vec<_>>();
        let growth = |runs: &[Run]| median(&runs.iter().map(|run| run.growth_bytes).collect::<Vec<_>>());
        let ratios: Vec<f64> = without.iter().zip(with).map(|(without, with)| with.p99_ms / without.p99_ms).collect();
        let ratio = median(&ratios);
        report.figure("without_p99_ms", "p99 without slow subscribers, median run", median(&p99(without)), "ms");
        report.figure("with_p99_ms", "p99 with them, median run", median(&p99(with)), "ms");
        report.figure("p99_ratio", "with / without, median of the pairs", ratio, "");
        report.figure("without_growth_bytes", "server's memory growth in a run without, median", growth(without), "B");
        report.figure("with_growth_bytes", "server's memory growth in a run with, median", growth(with), "B");
        let long = |runs: &[Run]| runs.iter().map(|run| run.long_turns.count).sum::<u64>();
        let full = with.iter().map(|run| run.long_turns.with_full_sockets).sum::<u64>();
        report.figure("without_long_turns", "turns over 2 ms of CPU, all runs without", long(without) as f64, "");
        report.figure("with_long_turns", "turns over 2 ms of CPU, all runs with", long(with) as f64, "");
        report.figure("slow_long_turns", "those of them that met a full socket", full as f64, "");
        let text = |runs: &[Run]| runs.iter().map(|run| number(run.p99_ms)).collect::<Vec<_>>().join("  ");
        report.note(format!("p99 without, ms: {}", text(without)));
        report.note(format!("p99 with, ms:    {}", text(with)));
        report.goal(format!("no turn over 2 ms that met a full socket: {full}"), full == 0);
        report.goal(format!("ratio at most {RATIO_MAX}: {ratio:.3}"), ratio <= RATIO_MAX);
    }
}

fn private(server: &Server) -> f64 {
    server.pid().and_then(|pid| process::private_bytes(pid).ok()).unwrap_or(0) as f64
}
