//! `cinnabar-loadgen`: puts load on a hub, checks every delivery, and holds the figures against other servers and against
//! a program that does nothing but send.
//!
//! A scenario (`scenario`) is a TOML file. The engine runs it against each target: a server (`server`, `nchan`, `floor`)
//! spoken to in its `dialect`, subscribers (`swarm`, `worker`), publishers (`press`, `publisher`) and the numbers of all
//! that was published (`lanes`), which every `ledger` is held against. What comes out is a `report`.
//!
//! On several load machines it is `agents` that hold the subscribers.
//!
//! Meanwhile the engine tells `progress` how far it is and what there is to count, which becomes the timeline. `output::measure`
//! makes a `record` of all that, and everything shown of a run (`table`, `html`, `markdown`, `compare`) is made from its record alone.

mod accounts;
mod agents;
mod answer;
mod archive;
mod arrival;
mod attack;
mod chunked;
mod coding;
mod compare;
mod dialect;
mod engine;
#[cfg(test)]
mod example;
mod floor;
mod group;
mod hammer;
mod html;
mod joined;
mod kernel;
mod lanes;
mod last_id;
mod ledger;
mod live;
mod machine;
mod markdown;
mod memory_watch;
mod nchan;
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
mod scheduling;
mod server;
mod show;
mod sources;
mod subscriber;
mod summary;
mod surroundings;
mod swarm;
mod sys;
mod table;
mod target;
mod timeline;
mod tls;
mod token;
mod topic;
mod usage;
mod worker;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::agents::AgentCommand;
use crate::compare::Compare;
use crate::engine::FLOOR;
use crate::floor::FloorServer;
use crate::options::Options;
use crate::output::measure;
use crate::scenario::{BUILT_IN, Scenario, built_in};
use crate::show::Show;
use crate::summary::Summary;

/// The soft descriptor limit this program was started with: children get it back.
static SOFT_DESCRIPTOR_LIMIT: OnceLock<u64> = OnceLock::new();

/// Puts load on an SSE hub and checks every delivery
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    after_help = "`cinnabar-loadgen NAME …` is short for `cinnabar-loadgen run NAME …`.\n\
                  Exit status: 0 when every check held, 1 when one failed, 2 when the run could not be made."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a scenario
    Run(Box<Options>),
    Agent(AgentCommand),
    /// List the built-in scenarios
    List,
    /// Print a built-in scenario's file
    Show {
        /// Its name
        name: String,
    },
    Report(Show),
    Compare(Compare),
    Summary(Summary),
    #[command(hide = true)]
    FloorServer(FloorServer),
}

fn main() -> ExitCode {
    match run(Cli::parse_from(with_short_form(std::env::args_os())).command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("cinnabar-loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The name of a scenario in the place of a command means to run it.
fn with_short_form(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = arguments.collect();
    if all.get(1).and_then(|name| name.to_str()).is_some_and(|name| name == FLOOR || built_in(name).is_some()) {
        all.insert(1, "run".into());
    }
    all
}

fn run(command: Command) -> anyhow::Result<bool> {
    let descriptors = sys::raise_descriptor_limit()?;
    SOFT_DESCRIPTOR_LIMIT.get_or_init(|| descriptors.0);
    match command {
        Command::Run(options) => run_scenario(&options, descriptors),
        Command::Agent(agent) => agent.run().map(|()| true),
        Command::List => {
            for (name, text) in BUILT_IN {
                println!("{name:<10} {}", first_comment(text));
            }
            println!("{FLOOR:<10} {}.", engine::FLOOR_TITLE);
            Ok(true)
        }
        Command::Show { name } => {
            print!(
                "{}",
                built_in(&name).with_context(|| format!("no built-in scenario is called {name}: see `list`"))?
            );
            Ok(true)
        }
        Command::Report(show) => show.run().map(|()| true),
        Command::Compare(compare) => compare.run().map(|()| true),
        Command::Summary(summary) => summary.run().map(|()| true),
        Command::FloorServer(server) => server.run().map(|()| true),
    }
}

fn run_scenario(options: &Options, descriptors: (u64, u64)) -> anyhow::Result<bool> {
    let name = &options.scenario;
    if name == FLOOR {
        return measure(options, descriptors, || engine::run_floor(options));
    }
    let read;
    let text = match built_in(name) {
        Some(text) => text,
        None => {
            read = std::fs::read_to_string(name)
                .with_context(|| format!("{name} is no built-in scenario (see `list`) and can't be read as a file"))?;
            &read
        }
    };
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
    let scenario = Scenario::parse(stem, text, &options.set).with_context(|| format!("the scenario {name}"))?;
    measure(options, descriptors, || engine::run(&scenario, options))
}

/// What a scenario says of itself in its first lines.
fn first_comment(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenarios_name_is_short_for_running_it() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let formed = |text: &str| with_short_form(words(text).into_iter());
        assert_eq!(formed("loadgen idle --url x"), words("loadgen run idle --url x"));
        assert_eq!(formed("loadgen show idle"), words("loadgen show idle"));
    }

    #[test]
    fn every_built_in_scenario_says_what_it_is_for() {
        for (name, text) in BUILT_IN {
            assert!(first_comment(text).len() > 20, "{name}");
        }
    }
}
