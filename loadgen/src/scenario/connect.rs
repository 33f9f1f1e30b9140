//! `connect`: how fast subscribers are let in, beside a bare loop that accepts and writes a fixed head.

use clap::Args;

use crate::bare::Bare;
use crate::options::{Common, cores};
use crate::process::Cpu;
use crate::progress::Progress;
use crate::report::{Report, median, number};
use crate::scenario::stop;
use crate::server::Server;
use crate::swarm::{Plan, Requests, Swarm};
use crate::sys;

/// The share of the bare loop's rate that is asked for.
const SHARE_MIN: f64 = 0.8;

/// Subscribers with a token connect as fast as they are let in, beside a bare loop that accepts
#[derive(Args, Debug)]
pub(crate) struct Connect {
    #[command(flatten)]
    common: Common,
    /// Subscribers per round
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Rounds of hub and bare loop in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

impl Connect {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let mut report = Report::new("connect", format!("{} subscribers with one token", self.connections));
        let mut progress = Progress::new();
        let mut server = Server::start(&self.common, &[])?;
        let bare = Bare::start(cores(), 300, self.common.verbose)?;
        let token = server.issuer.as_ref().map(|issuer| issuer.mint("subscribe", sys::unix_seconds()));
        let plan = |server: &Server| Plan {
            requests: Requests::Same(server.target.subscribe_request(&self.common.topic, token.as_deref())),
            ..self.common.plan(server, self.connections, 1)
        };
        let mut sides = [
            ("hub", server.pid(), plan(&server), vec![], 0.0),
            ("bare", bare.server.pid(), plan(&bare.server), vec![], 0.0),
        ];
        for _ in 0..self.rounds {
            for (name, pid, plan, rates, cpu_s) in &mut sides {
                progress.part(*name);
                let before = Cpu::now(*pid);
                let start_ns = sys::now_ns();
                let swarm = Swarm::open(plan, &mut progress)?;
                let seconds = (sys::now_ns() - start_ns) as f64 / 1e9;
                *cpu_s += Cpu::now(*pid).since(before).server_s;
                rates.push(self.connections as f64 / seconds);
                swarm.finish();
                progress.wait(std::time::Duration::from_secs(2), "letting the server notice");
            }
        }
        for (name, _, _, rates, cpu_s) in &sides {
            report.figure(
                format!("{name}_per_s"),
                format!("{name}: subscribers let in per second"),
                median(rates),
                "/s",
            );
            let each = cpu_s * 1e6 / (self.connections * self.rounds) as f64;
            report.figure(format!("{name}_cpu_us"), format!("{name}: server CPU per subscriber"), each, "us");
            let each: Vec<String> = rates.iter().map(|&rate| number(rate)).collect();
            report.note(format!("{name}: per second in each round: {}", each.join("  ")));
        }
        let share = median(&sides[0].3) / median(&sides[1].3);
        report.figure("share", "share of the bare loop", share, "");
        report.goal(format!("at least {SHARE_MIN} of the bare loop: {share:.3}"), share >= SHARE_MIN);
        stop(&mut server, &mut report);
        Ok(report)
    }
}
