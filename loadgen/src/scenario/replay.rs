//! `replay`: clients that come back and read what is stored, beside a bare loop that writes the same frames.

use std::time::Duration;

use clap::Args;

use crate::bare::Bare;
use crate::options::{Common, cores};
use crate::press::{Pace, Press};
use crate::process::Cpu;
use crate::progress::Progress;
use crate::report::{Report, median, number};
use crate::scenario::stop;
use crate::server::Server;
use crate::swarm::{Plan, Requests, Swarm};
use crate::sys;

/// The share of the bare loop's rate that is asked for.
const SHARE_MIN: f64 = 0.9;
const PATIENCE: Duration = Duration::from_secs(20);

/// Clients that read stored events, beside a bare loop that writes the same frames
#[derive(Args, Debug)]
pub(crate) struct Replay {
    #[command(flatten)]
    common: Common,
    /// Clients
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Events each of them reads
    #[arg(long, default_value_t = 10_000)]
    events: u64,
    /// Rounds of hub and bare loop in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
}

impl Replay {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let title = format!("{} clients read {} stored events of {} B", self.connections, self.events, self.size);
        let mut report = Report::new("replay", title);
        let mut progress = Progress::new();
        let mut server = Server::start(&self.common, &[])?;
        let mut bare = Bare::start(cores(), self.size, self.common.verbose)?;
        let nobody = Swarm::open(&self.common.plan(&server, 0, 1), &mut progress)?;
        let mut press = Press::connect(&self.common.post(&server, &[self.size]), 1)?;
        let rate = 50_000.0;
        let time = Duration::from_secs_f64(self.events as f64 / rate);
        press.run(Pace { rate: Some(rate), pipeline: 64, ahead: 0, time }, &nobody, |_| Ok(()))?;
        let published = press.ledger();
        report.check("everything was stored", published.count == self.events, published.count.to_string());
        let stored = bare.store(self.events)?;
        let plan = |server: &Server| {
            let mut target = server.target.clone();
            target.path += "?last_event_id=earliest&";
            let request = String::from_utf8(target.subscribe_request(&self.common.topic, None)).expect("text");
            let request = request.replace("&?", "&").into_bytes();
            Plan { requests: Requests::Same(request), ..self.common.plan(server, self.connections, 1) }
        };
        let mut sides = [
            ("hub", server.pid(), plan(&server), published, vec![], Cpu::default()),
            ("bare", bare.server.pid(), plan(&bare.server), stored, vec![], Cpu::default()),
        ];
        let wanted = self.events * self.connections as u64;
        for _ in 0..self.rounds {
            for (name, pid, plan, ledger, rates, cpu) in &mut sides {
                progress.part(*name);
                let before = Cpu::now(*pid);
                let start_ns = sys::now_ns();
                let swarm = Swarm::open(plan, &mut progress)?;
                let all = swarm.wait_for(wanted, PATIENCE, |_| ());
                rates.push(wanted as f64 * 1e9 / (swarm.last_ns() - start_ns) as f64);
                *cpu = cpu.plus(Cpu::now(*pid).since(before));
                report.check(format!("{name}: everything was delivered"), all, swarm.delivered().to_string());
                report.check_delivery(name, &swarm.finish(), *ledger);
            }
        }
        for (name, _, _, _, rates, cpu) in &sides {
            report.figure(format!("{name}_per_s"), format!("{name}: events per second"), median(rates), "/s");
            report.cpu(name, name, *cpu, wanted * self.rounds as u64);
            let each: Vec<String> = rates.iter().map(|&rate| number(rate)).collect();
            report.note(format!("{name}: per second in each round: {}", each.join("  ")));
        }
        let share = median(&sides[0].4) / median(&sides[1].4);
        report.figure("share", "share of the bare loop", share, "");
        report.goal(format!("at least {SHARE_MIN} of the bare loop: {share:.3}"), share >= SHARE_MIN);
        stop(&mut server, &mut report);
        Ok(report)
    }
}
