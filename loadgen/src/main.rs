//! `cinnabar-loadgen`: puts load on a hub, checks every delivery, and holds the figures against a program that does
//! nothing but send.
//!
//! A scenario (`scenario/`) is one file. It takes a `Server` (found or started), subscribers (`Swarm`), publishers
//! (`Publisher`, `Press`) and fills a `Report`. `Lane` is a sender with subscribers, hub or floor, for comparisons.
//! Meanwhile it tells `Progress` how far it is and what there is to count, which becomes the timeline. `output::measure` makes a
//! `Record` of all that, and everything shown of a run (`table`, `html`, `markdown`, `compare`) is made from its record alone.

mod accounts;
mod answer;
mod archive;
mod bare;
mod chunked;
mod compare;
#[cfg(test)]
mod example;
mod floor;
mod hammer;
mod html;
mod laggard;
mod lane;
mod ledger;
mod live;
mod machine;
mod markdown;
mod options;
mod output;
mod payload;
mod press;
mod process;
mod progress;
mod publisher;
mod quantity;
mod record;
mod report;
mod sampler;
mod scenario;
mod server;
mod show;
mod subscriber;
mod surroundings;
mod swarm;
mod sys;
mod table;
mod target;
mod timeline;
mod token;

use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Parser, Subcommand};

use crate::bare::BareServer;
use crate::compare::Compare;
use crate::floor::FloorServer;
use crate::output::measure;
use crate::scenario::{
    BareFloor, Broadcast, Connect, Idle, Many, Pause, Presence, Publish, Receive, Replay, Saturate, Slow, Stalled,
};
use crate::show::Show;

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
    Report(Show),
    Compare(Compare),
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
    let descriptors = sys::raise_descriptor_limit()?;
    SOFT_DESCRIPTOR_LIMIT.get_or_init(|| descriptors.0);
    match &command {
        Command::BareServer(server) => server.run().map(|()| true),
        Command::FloorServer(server) => server.run().map(|()| true),
        Command::Receive(receive) => receive.run().map(|()| true),
        Command::Report(show) => show.run().map(|()| true),
        Command::Compare(compare) => compare.run().map(|()| true),
        Command::Floor(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Idle(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Broadcast(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Saturate(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Slow(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Stalled(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Pause(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Many(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Presence(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Publish(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Connect(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
        Command::Replay(scenario) => measure(scenario.common(), descriptors, || scenario.run()),
    }
}
