//! `stalled`: hundreds of subscribers that never read during a flood. What does the kernel hold for each on the hub's
//! side, and is everybody else served?

use std::collections::HashSet;
use std::net::TcpStream;
use std::time::Duration;

use clap::Args;

use crate::laggard::{KernelWatch, subscribe};
use crate::options::Common;
use crate::press::{Pace, Press};
use crate::process;
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::stop;
use crate::server::Server;
use crate::swarm::Swarm;

/// Kernel memory on the hub's side that one stalled subscriber may cost: 64 KiB.
const KERNEL_BYTES_MAX: u64 = 64 * 1024;
/// Data sizes of the flood's events, in turn.
const SIZES: [usize; 4] = [300, 1024, 2048, 4096];
const DRAIN_PATIENCE: Duration = Duration::from_secs(15);

/// Subscribers that never read: kernel memory behind each, and the others' deliveries
#[derive(Args, Debug)]
pub(crate) struct Stalled {
    #[command(flatten)]
    common: Common,
    /// Subscribers that never read
    #[arg(long, default_value_t = 500)]
    stalled: usize,
    /// Subscribers that do
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// How long to flood
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Publishing connections
    #[arg(long, default_value_t = 8)]
    publishers: usize,
    /// Unanswered publishes per connection
    #[arg(long, default_value_t = 8)]
    pipeline: usize,
    /// Publishers wait while so many events are on their way to the average reading subscriber; 0 for no bound
    #[arg(long, default_value_t = 512)]
    ahead: u64,
    /// Receive buffer of those that never read, in bytes; 0 for the system's
    #[arg(long, default_value_t = 4096)]
    receive_buffer: usize,
}

impl Stalled {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let title = format!(
            "{} subscribers that never read, {} that do, a flood of 300 B to 4 KiB events for {} s",
            self.stalled, self.connections, self.seconds
        );
        let mut report = Report::new("stalled", title);
        let mut progress = Progress::new();
        let mut server = Server::start(&self.common, &[])?;
        progress.part("connect");
        let swarm = Swarm::open(&self.common.plan(&server, self.connections, self.publishers), &mut progress)?;
        let request = server.target.subscribe_request(&self.common.topic, None);
        let mut stalled: Vec<TcpStream> = Vec::new();
        for _ in 0..self.stalled {
            stalled.push(subscribe(server.target.address, &request, self.receive_buffer)?);
            progress.show(|| format!("{} that never read", stalled.len()));
        }
        let peers: HashSet<_> = stalled.iter().filter_map(|stream| stream.local_addr().ok()).collect();
        let mut press = Press::connect(&self.common.post(&server, &SIZES), self.publishers)?;

        progress.part("flood");
        let tcp_before = process::tcp_buffer_bytes();
        let mut tcp_max = tcp_before;
        let mut watch = KernelWatch::default();
        let time = Duration::from_secs(self.seconds);
        let pace = Pace { rate: None, pipeline: self.pipeline, ahead: self.ahead, time };
        let started_ns = press.run(pace, &swarm, |press| {
            watch.look(server.target.address, &peers)?;
            tcp_max = tcp_max.max(process::tcp_buffer_bytes());
            progress.show(|| format!("{} published, {} deliveries", press.ledger().count, swarm.delivered()));
            Ok(())
        })?;
        let published = press.ledger();
        let wanted = published.count * self.connections as u64;
        let all = swarm.wait_for(wanted, DRAIN_PATIENCE, |delivered| {
            progress.show(|| format!("draining, {} deliveries to come", wanted - delivered));
        });
        watch.look(server.target.address, &peers)?;

        let span_s = swarm.last_ns().saturating_sub(started_ns) as f64 / 1e9;
        report.figure("kernel_bytes_max", "kernel memory per stalled socket, hub's side, most", watch.max as f64, "B");
        report.figure("kernel_bytes_mean", "the same, highest mean", watch.mean, "B");
        report.figure("stalled_open", "stalled sockets open at the last look", watch.sockets as f64, "");
        report.figure("tcp_buffer_bytes_before", "TCP buffers of the whole machine before", tcp_before as f64, "B");
        report.figure("tcp_buffer_bytes_max", "the same, most during the flood", tcp_max as f64, "B");
        report.figure("events", "events accepted", published.count as f64, "");
        report.figure("refusals", "publishes answered 503", press.refusals() as f64, "");
        report.figure(
            "deliveries_per_s",
            "deliveries per second to those that read",
            swarm.delivered() as f64 / span_s,
            "/s",
        );
        if let Some(bytes) = server.pid().and_then(|pid| process::private_bytes(pid).ok()) {
            report.figure("private_bytes", "server's private memory at the end", bytes as f64, "B");
        }
        if watch.sockets > 0 || watch.max > 0 {
            let met = watch.max <= KERNEL_BYTES_MAX;
            report.goal(format!("at most {KERNEL_BYTES_MAX} B each on the hub's side: {} B", watch.max), met);
        } else {
            report.check("stalled sockets were found by ss", false, "none");
        }
        report.check("everything was delivered to those that read", all, format!("{} of {wanted}", swarm.delivered()));
        report.check_delivery("those that read", &swarm.finish(), published);
        drop(stalled);
        stop(&mut server, &mut report);
        Ok(report)
    }
}
