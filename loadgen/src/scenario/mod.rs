//! The scenarios, one a file: each reads its options, runs, and answers with a report. What they share (hubs, swarms,
//! publishers) lives beside this folder; a scenario knows no other scenario.

use std::time::Duration;

use crate::process;
use crate::progress::Progress;
use crate::report::Report;
use crate::server::Server;

mod broadcast;
mod connect;
mod floor;
mod idle;
mod many;
mod pause;
mod presence;
mod publish;
mod replay;
mod saturate;
mod slow;
mod stalled;

pub(crate) use broadcast::Broadcast;
pub(crate) use connect::Connect;
pub(crate) use floor::BareFloor;
pub(crate) use idle::Idle;
pub(crate) use many::Many;
pub(crate) use pause::{Pause, Receive};
pub(crate) use presence::Presence;
pub(crate) use publish::Publish;
pub(crate) use replay::Replay;
pub(crate) use saturate::Saturate;
pub(crate) use slow::Slow;
pub(crate) use stalled::Stalled;

/// Private memory of the server, once it stands still (two readings a second apart within 64 KiB), or after `longest`.
fn settled_bytes(server: &Server, longest: Duration, progress: &mut Progress) -> Option<f64> {
    const STILL_BYTES: u64 = 64 * 1024;
    let pid = server.pid()?;
    let mut before = process::private_bytes(pid).ok()?;
    for _ in 0..longest.as_secs().max(1) {
        progress.wait(Duration::from_secs(1), "waiting for the server's memory to settle");
        let now = process::private_bytes(pid).ok()?;
        let still = now.abs_diff(before) <= STILL_BYTES;
        before = now;
        if still {
            break;
        }
    }
    Some(before as f64)
}

/// Stops the server if it is ours and enters how it ended.
fn stop(server: &mut Server, report: &mut Report) {
    let early = server.ended();
    match server.stop() {
        Ok(None) => {}
        Ok(Some(status)) => {
            let detail = if status.success() { String::new() } else { format!(":\n{}", server.last_words()) };
            let holds = early.is_none() && status.success();
            report.check("the server ran to the end and stopped on SIGTERM", holds, format!("{status}{detail}"));
        }
        Err(error) => report.check("the server ran to the end and stopped on SIGTERM", false, format!("{error:#}")),
    }
}
