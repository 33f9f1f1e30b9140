//! `idle`: what an idle subscriber costs, before and after traffic, and what stays when all are gone.

use std::time::Duration;

use clap::Args;

use crate::lane::Lane;
use crate::options::Common;
use crate::process::{Cpu, Kernel};
use crate::progress::Progress;
use crate::record::Bar;
use crate::report::Report;
use crate::sampler::Counts;
use crate::scenario::{settled_bytes, stop};
use crate::server::Server;

/// Subscribers of the warm-up.
const WARM_UP_CONNECTIONS: usize = 100;
/// User memory of an idle subscriber that is asked for: of those who share topic and token, and of those who don't.
const BYTES_PER_CONNECTION_MAX: f64 = 400.0;
const BYTES_PER_OWN_CONNECTION_MAX: f64 = 800.0;
/// With `--own`: announced, and a log that holds next to none of the announcements. It has bounds of its own, whoever is
/// subscribed; what is measured is the subscribers.
const OWN_ARGUMENTS: [&str; 5] = ["--subscriptions", "--history-max-bytes", "256KiB", "--tail-bytes", "64KiB"];
/// Slab caches that take less per connection aren't listed.
const SLAB_BYTES_LISTED_MIN: i64 = 8;

/// Memory of idle subscribers: user and kernel, before and after broadcasts, and after all left
#[derive(Args, Debug)]
pub(crate) struct Idle {
    #[command(flatten)]
    common: Common,
    /// Subscribers
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Give each subscriber a topic and a token of its own, at a hub that announces them (nothing is broadcast then)
    #[arg(long)]
    own: bool,
    /// Broadcasts in between
    #[arg(long, default_value_t = 20)]
    broadcasts: usize,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Seconds to wait at most for the memory to stand still
    #[arg(long, default_value_t = 10)]
    settle: u64,
    /// Seconds to stay idle and count the CPU that takes (heartbeats)
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

impl Idle {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let (broadcasts, bytes_max, arguments) = match self.own {
            true => (0, BYTES_PER_OWN_CONNECTION_MAX, &OWN_ARGUMENTS[..]),
            false => (self.broadcasts, BYTES_PER_CONNECTION_MAX, &[][..]),
        };
        let mut report = Report::new("idle", format!("{} subscribers, {broadcasts} broadcasts", self.connections));
        if self.own {
            report.note(format!("each with a topic and a token of its own; the hub has {}", OWN_ARGUMENTS.join(" ")));
        }
        let mut progress = Progress::new();
        let longest = Duration::from_secs(self.settle);
        let mut server = Server::start(&self.common, arguments)?;
        progress.part("warm-up");
        // What a hub allocates once, when it first delivers, is no subscriber's.
        let mut few = Lane::hub(&self.common, &server, WARM_UP_CONNECTIONS, self.size, &mut progress)?;
        few.broadcast(self.broadcasts, server.pid(), &mut progress)?;
        drop(few);
        progress.wait(Duration::from_secs(2), "letting the server notice");
        progress.part("before");
        let start = settled_bytes(&server, longest, &mut progress);
        let kernel = Kernel::now();
        let cpu = Cpu::now(server.pid());

        let plan = match self.own {
            true => self.common.own_plan(&server, self.connections)?,
            false => self.common.plan(&server, self.connections, 1),
        };
        let mut hub = Lane::hub_with(&self.common, &server, &plan, self.size, &mut progress)?;
        let connect = Cpu::now(server.pid()).since(cpu);
        progress.part("idle");
        let idle = settled_bytes(&server, longest, &mut progress);
        self.kernel(&Kernel::now(), &kernel, &mut report);
        hub.swarm().rest(true);
        let cpu = Cpu::now(server.pid());
        progress.wait(Duration::from_secs(self.seconds), "idle");
        let idle_cpu = Cpu::now(server.pid()).since(cpu);

        hub.broadcast(broadcasts, server.pid(), &mut progress)?;
        progress.part("after traffic");
        let after = settled_bytes(&server, longest, &mut progress);
        report.latency("latency", "hub: latency of the broadcasts", &hub.take_latency());
        hub.finish(&mut report);
        progress.part("all gone");
        progress.sample_now(Counts::default());
        progress.wait(Duration::from_secs(2), "letting the server notice");
        let gone = settled_bytes(&server, longest, &mut progress);

        if let (Some(start), Some(idle), Some(after), Some(gone)) = (start, idle, after, gone) {
            let each = |bytes: f64| (bytes - start) / self.connections as f64;
            report.figure("start_bytes", "server's private memory at start", start, "B");
            report.figure("idle_bytes", "with all connected", idle, "B");
            report.figure("after_bytes", "after the broadcasts", after, "B");
            report.figure("gone_bytes", "when all are gone", gone, "B");
            report.figure("idle_bytes_per_connection", "user memory per idle subscriber", each(idle), "B");
            report.figure("after_bytes_per_connection", "the same after the broadcasts", each(after), "B");
            report.figure("left_bytes", "what stays when all are gone", gone - start, "B");
            let bar = Bar::AtMost(bytes_max);
            report.goal_of("user memory per idle subscriber", each(idle), bar, "B");
            report.goal_of("user memory per subscriber after the broadcasts", each(after), bar, "B");
        } else {
            report.note("no memory figures: the server's process isn't known (--server-pid)");
        }
        report.figure("connect_cpu_s", "CPU of the server to connect all", connect.server_s, "s");
        report.figure(
            "idle_cpu_percent",
            "CPU of the server while idle",
            idle_cpu.server_s * 100.0 / self.seconds as f64,
            "%",
        );
        report.timeline(&mut progress);
        stop(&mut server, &mut report);
        Ok(report)
    }

    fn kernel(&self, now: &Kernel, before: &Kernel, report: &mut Report) {
        let connections = self.connections as i64;
        let (slabs, sum) = now.growth(before, SLAB_BYTES_LISTED_MIN * connections);
        if now.slabs.is_empty() {
            report.note("no kernel figures: /proc/slabinfo isn't readable");
        } else {
            let each = sum as f64 / self.connections as f64;
            report.figure("kernel_slab_bytes_per_connection", "kernel slabs per connection, both ends", each, "B");
            let listed: Vec<String> =
                slabs.iter().map(|(name, bytes)| format!("{name} {}", bytes / connections)).collect();
            report.note(format!("kernel slabs per connection, both ends: {}", listed.join(", ")));
        }
        report.figure("tcp_buffer_bytes", "TCP buffers of the whole machine", now.tcp_buffer_bytes as f64, "B");
        let sockets = now.tcp_sockets.saturating_sub(before.tcp_sockets);
        report.figure("tcp_sockets", "TCP sockets opened, both ends", sockets as f64, "");
    }
}
