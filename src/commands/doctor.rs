//! `cinnabar doctor`: what this machine will hold, what stops it first, and what to do about it.

mod agreed;
mod passage;
mod report;

use super::credentials::Credentials;
use super::flags::SettingFlags;
use super::hub_client::parse_url;
use super::outside::{Paint, say};
use anyhow::Result;
use cinnabar::config::{Config, Refusal, flags, parse_count, parse_duration, parse_size};
use cinnabar::doctor::{Capacity, Finding, Hub, IoUring, Level, Load, Machine, Root, findings};
use cinnabar::protocol::matcher::MatchType;
use cinnabar::server::{own_descriptors, try_io_uring};
use clap::{ArgMatches, Args, FromArgMatches};
use report::Report;
use std::process::ExitCode;
use std::time::Duration;
use url::Url;

const EXAMPLES: &str = "\
Reads this machine and changes nothing. Takes the settings of `serve` – flags, environment, file –, so that the hub that will \
run is judged; without any, one with the defaults is. What is to be done stands under each finding: a command for now, and what \
holds after a restart. tuning/README.md explains every knob.

Exits with 0 if nothing breaks (warnings included), with 1 if something does, with 2 if the command line can't be understood. \
Without --connections and --max-connections nothing is too few; with either, whatever allows fewer breaks.

With --url it publishes a few events and receives them through the public URL; the token needs grants to publish and to \
subscribe to --topic.

Examples:
  cinnabar doctor
  cinnabar doctor --connections 300000 --config /etc/cinnabar.toml
  cinnabar doctor --pid $(pidof cinnabar) --json
  cinnabar doctor --url https://hub.example/.well-known/mercure --idle 2m --origin https://app.example";

/// The heading of what `--url` needs.
const WAY: &str = "The way to the hub";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    /// Ask whether so many connections fit
    #[arg(long, value_name = "N", value_parser = parse_count)]
    connections: Option<usize>,
    /// The size of a typical event, as it is sent
    #[arg(long, value_name = "SIZE", default_value = "300", value_parser = parse_size)]
    event_bytes: usize,
    /// Every subscriber has a topic and a token of its own
    #[arg(long)]
    own_topics: bool,
    /// Judge by the limits of a hub that runs, instead of those of its systemd unit or of this shell
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// The hub's systemd unit; where there is one its limits count, not those of this shell
    #[arg(long, value_name = "NAME", default_value = "cinnabar")]
    unit: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Publish and subscribe through this URL too, and say what happens on the way
    #[arg(long, value_name = "URL", value_parser = parse_url, help_heading = WAY)]
    url: Option<Url>,
    /// How long to watch a stream on which nobody publishes; longer finds longer cut-offs
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration, help_heading = WAY)]
    idle: Duration,
    /// An origin whose pages are to read the stream
    #[arg(long, value_name = "ORIGIN", help_heading = WAY)]
    origin: Option<String>,
    /// The topic to publish to [default: one that nobody else has]
    #[arg(long, value_name = "TOPIC", help_heading = WAY)]
    topic: Option<String>,
    /// The token to subscribe with, where that for publishing isn't one for subscribing too
    #[arg(long, value_name = "TOKEN", help_heading = WAY)]
    subscriber_token: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

/// The settings of `serve` and the credentials of `pub`: `--issuer` is a flag of both, and means the same.
#[derive(Debug)]
struct Shared {
    flags: SettingFlags,
    credentials: Credentials,
}

impl Args for Shared {
    fn augment_args(command: clap::Command) -> clap::Command {
        let command = SettingFlags::augment_args(command);
        let credentials = Credentials::augment_args(clap::Command::new(""));
        let known: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
        let further = credentials.get_arguments().filter(|arg| !known.contains(arg.get_id())).cloned();
        let further = further.map(|arg| if arg.get_help_heading().is_none() { arg.help_heading(WAY) } else { arg });
        command.args(further.collect::<Vec<_>>())
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Shared {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Shared, clap::Error> {
        let flags = SettingFlags::from_arg_matches(matches)?;
        Ok(Shared { flags, credentials: Credentials::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Shared::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Doctor {
    pub(super) fn run(self) -> Result<ExitCode> {
        let (config, mut all) = judged(self.shared.flags);
        let io_uring = try_io_uring().map_or_else(|why| IoUring::Denied(why.to_string()), |()| IoUring::Works);
        let hub = Hub::new(&config, &io_uring, own_descriptors(config.shards));
        let who = self.pid.map_or("self".to_owned(), |pid| pid.to_string());
        let unit = self.unit.trim_end_matches(".service");
        let machine = Machine::read(&Root::machine(), &who, Some(unit).filter(|_| self.pid.is_none()), io_uring);
        if self.pid.is_some() && machine.descriptors.is_none() {
            anyhow::bail!("/proc/{who}/limits can't be read: is there such a process, and is it yours?");
        }
        let load = Load {
            connections: self.connections.map(|connections| connections as u64),
            frame_bytes: self.event_bytes as u64,
            own: self.own_topics,
        };
        let capacity = Capacity::new(&machine, &hub, &load);
        all.extend(findings(&machine, &hub, &capacity));
        if let Some(url) = self.url {
            say(&format!("looking at the way to {url} …"));
            let topic = self.topic.unwrap_or_else(passage::topic);
            let grant = vec![(MatchType::Exact, topic.clone())];
            let shown = self.shared.credentials.shown(&url, grant.clone(), grant)?;
            let tokens = passage::Tokens { publisher: shown, subscriber: self.subscriber_token };
            all.extend(passage::look(&url, &topic, tokens, self.idle, self.origin.as_deref())?);
        }
        let report = Report::new(machine, hub, capacity, all);
        let mut out = std::io::stdout().lock();
        if self.json {
            report.json(&mut out)?
        } else {
            report.text(&mut out, Paint::stdout())?
        }
        Ok(if report.breaks() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// The configuration that is judged, and what is to be said about it: where a hub wouldn't start with it, the machine is
/// judged with as much of it as stands.
fn judged(given: SettingFlags) -> (Config, Vec<Finding>) {
    let refusals = match given.clone().load() {
        Ok(config) => return (config, Vec::new()),
        Err(refusals) => refusals.0,
    };
    // Who may come in is nothing to a machine: it may be asked about before anybody has decided that.
    let is_access = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::ResourceMissing { .. } | Refusal::NobodyCouldUseIt | Refusal::IssuerWithoutKey { .. }
        )
    };
    let only_access = refusals.iter().all(is_access);
    let from_file =
        given.layer.contains_key("config") || std::env::var_os("CINNABAR_CONFIG").is_some_and(|file| !file.is_empty());
    let said = refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let finding = if only_access && !from_file {
        let why = "nothing says who may come in, which a hub needs and a machine doesn't: give the settings of `serve` for more";
        Finding::new("configuration", Level::Note, "that of a hub with the defaults", why)
    } else {
        Finding::new("configuration", Level::Fail, said, "a hub doesn't start with it")
            .fix("then", "cinnabar config check")
    };
    let open = || {
        flags([
            ("resource", vec!["http://localhost:3000/.well-known/mercure".into()]),
            ("anonymous", vec!["true".into()]),
        ])
    };
    let mut layer = given.layer;
    // It may have been meant for the token alone.
    layer.remove("issuer");
    for (name, said) in open() {
        layer.entry(name).or_insert(said);
    }
    let config = Config::load(layer, std::env::vars_os()).or_else(|_| Config::load(open(), []));
    (config.expect("the defaults make a configuration"), vec![finding])
}
