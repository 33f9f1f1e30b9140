//! `cinnabar-loadgen`: puts load on a hub, checks every delivery, and holds the figures against a program that does
//! nothing but send.
//!
//! A scenario (`scenario/`) is one file. It takes a `Server` (found or started), subscribers (`Swarm`), publishers
//! (`Publisher`, `Press`) and fills a `Report`. `Lane` is a sender with subscribers, hub or floor, for comparisons.

mod answer;
mod bare;
mod chunked;
mod floor;
mod hammer;
mod laggard;
mod lane;
mod ledger;
mod machine;
mod options;
mod payload;
mod press;
mod process;
mod progress;
mod publisher;
mod report;
mod scenario;
mod server;
mod subscriber;
mod swarm;
mod sys;
mod target;
mod token;

use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Parser, Subcommand};

use crate::bare::BareServer;
use crate::floor::FloorServer;
use crate::scenario::{
    BareFloor, Broadcast, Connect, Idle, Many, Pause, Presence, Publish, Receive, Replay, Saturate, Slow, Stalled,
};

/// The soft descriptor limit this program was started with: children get it back.
static SOFT_DESCRIPTOR_LIMIT: OnceLock<u64> = OnceLock::new();

/// Puts load on a Mercure hub and checks every delivery
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    after_help = "Exit status: 0 when every check held, 1 when one failed, 2 when the run could not be made."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Floor(BareFloor),
    Idle(Idle),
    Broadcast(Broadcast),
    Saturate(Saturate),
    Slow(Slow),
    Stalled(Stalled),
    Pause(Pause),
    Many(Many),
    Presence(Presence),
    Publish(Publish),
    Connect(Connect),
    Replay(Replay),
    #[command(hide = true)]
    BareServer(BareServer),
    #[command(hide = true)]
    FloorServer(FloorServer),
    #[command(hide = true)]
    Receive(Receive),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("cinnabar-loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<bool> {
    let (soft, _) = sys::raise_descriptor_limit()?;
    SOFT_DESCRIPTOR_LIMIT.get_or_init(|| soft);
    let (common, report) = match &command {
        Command::BareServer(server) => return server.run().map(|()| true),
        Command::FloorServer(server) => return server.run().map(|()| true),
        Command::Receive(receive) => return receive.run().map(|()| true),
        Command::Floor(scenario) => (scenario.common(), scenario.run()?),
        Command::Idle(scenario) => (scenario.common(), scenario.run()?),
        Command::Broadcast(scenario) => (scenario.common(), scenario.run()?),
        Command::Saturate(scenario) => (scenario.common(), scenario.run()?),
        Command::Slow(scenario) => (scenario.common(), scenario.run()?),
        Command::Stalled(scenario) => (scenario.common(), scenario.run()?),
        Command::Pause(scenario) => (scenario.common(), scenario.run()?),
        Command::Many(scenario) => (scenario.common(), scenario.run()?),
        Command::Presence(scenario) => (scenario.common(), scenario.run()?),
        Command::Publish(scenario) => (scenario.common(), scenario.run()?),
        Command::Connect(scenario) => (scenario.common(), scenario.run()?),
        Command::Replay(scenario) => (scenario.common(), scenario.run()?),
    };
    report.print();
    if let Some(path) = &common.json {
        report.append_to(path)?;
    }
    Ok(report.is_good())
}
