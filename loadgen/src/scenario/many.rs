//! `many`: more subscribers in one process than it may have descriptors.

use clap::Args;

use crate::lane::Lane;
use crate::options::Common;
use crate::process;
use crate::progress::Progress;
use crate::report::{Report, number};
use crate::scenario::stop;
use crate::server::Server;

/// More subscribers than the descriptor limit, in one process with two shards
#[derive(Args, Debug)]
pub(crate) struct Many {
    #[command(flatten)]
    common: Common,
    /// Subscribers
    #[arg(long, default_value_t = 45_000)]
    connections: usize,
    /// Broadcasts that all must receive
    #[arg(long, default_value_t = 1)]
    broadcasts: usize,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Shards of a hub started by --hub
    #[arg(long, default_value_t = 2)]
    shards: usize,
}

impl Many {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let title = format!("{} subscribers in one process, {} broadcasts", self.connections, self.broadcasts);
        let mut report = Report::new("many", title);
        let mut progress = Progress::new();
        let mut server = Server::start(&self.common, &["--shards", &self.shards.to_string()])?;
        let bytes = |server: &Server| server.pid().and_then(|pid| process::private_bytes(pid).ok());
        let start = bytes(&server);
        let mut hub = Lane::hub(&self.common, &server, self.connections, self.size, &mut progress)?;
        let round = hub.broadcast(self.broadcasts, server.pid(), &mut progress)?;
        report.figure("last_delivery_ms", "last delivery, median", round.last_ms(), "ms");
        report.figure("deliveries_per_s", "deliveries per second", round.rate(), "/s");
        if let (Some(start), Some(now)) = (start, bytes(&server)) {
            let each = now.saturating_sub(start) as f64 / self.connections as f64;
            report.figure("bytes_per_connection", "user memory per subscriber", each, "B");
        }
        if let Some(pid) = server.pid() {
            let (open, limit) = process::descriptors(pid)?;
            report.figure("threads", "threads of the server", process::threads(pid)? as f64, "");
            report.figure("descriptors_open", "descriptors the server has open", open as f64, "");
            report.figure("descriptors_limit", "its descriptor limit", limit as f64, "");
            let (wanted, limit) = (number(self.connections as f64), number(limit as f64));
            report.note(format!("{wanted} streams at once under a limit of {limit} descriptors"));
        }
        hub.finish(&mut report);
        stop(&mut server, &mut report);
        Ok(report)
    }
}
