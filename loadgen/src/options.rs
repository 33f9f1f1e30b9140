//! The options of a run.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::agents::AgentOptions;
use crate::dialect::Preset;
use crate::output::Output;
use crate::sources::Source;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetKind {
    /// The hub of --hub or --spawn, or of --url where there is no other
    Hub,
    /// The server of --url beside another hub; --preset, tokens and --server-pid are its
    Url,
    /// A program that does nothing but send
    Floor,
    /// nginx with nchan, from Debian's packages
    Nchan,
}

/// Which scenario, which servers, and how to talk to them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// A built-in scenario (see `list`) or a TOML file
    pub(crate) scenario: String,
    /// Override a variable of the scenario
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Scenario")]
    pub(crate) set: Vec<String>,
    /// What to measure, round by round in turn; ratios are to the others of the same run
    #[arg(
        long,
        value_enum,
        value_name = "TARGETS",
        value_delimiter = ',',
        default_value = "hub",
        help_heading = "Scenario"
    )]
    pub(crate) targets: Vec<TargetKind>,
    /// Sending threads of the floor: as many as the hub has shards (as many as cores)
    #[arg(long, value_name = "N", help_heading = "Scenario")]
    pub(crate) floor_threads: Option<usize>,
    /// Start this cinnabar binary on a free loopback port with keys of its own; arguments after `--` are passed on
    #[arg(long, value_name = "BINARY", conflicts_with = "spawn", help_heading = "Hub")]
    pub(crate) hub: Option<PathBuf>,
    /// Start the server with this command line, wait for its line `listening on http://…`, stop it by SIGTERM at the end
    #[arg(long, value_name = "COMMAND", help_heading = "Hub")]
    pub(crate) spawn: Option<String>,
    /// The URL of a hub that runs already (or of the spawned one, if its own line doesn't tell)
    #[arg(long, help_heading = "Hub")]
    pub(crate) url: Option<String>,
    /// The address that hub, floor and nchan listen on when this program starts them: one of this machine's that agents reach
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::from(Ipv4Addr::LOCALHOST), conflicts_with = "spawn", help_heading = "Hub")]
    pub(crate) listen_address: IpAddr,
    /// The certificate of the server at an https:// URL, in PEM: exactly this one is trusted, whatever name it has
    #[arg(long, value_name = "FILE", help_heading = "Hub")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The process whose memory and CPU time are read
    #[arg(long, value_name = "PID", help_heading = "Hub")]
    pub(crate) server_pid: Option<u32>,
    /// A token that may publish; Centrifugo's API key
    #[arg(long, conflicts_with = "publisher_jwt_key", help_heading = "Hub")]
    pub(crate) token: Option<String>,
    /// Mint the publishing token from this HS256 secret instead
    #[arg(long, value_name = "SECRET", help_heading = "Hub")]
    pub(crate) publisher_jwt_key: Option<String>,
    /// Mint subscribers' tokens, where a scenario wants them, from this HS256 secret
    #[arg(long, value_name = "SECRET", help_heading = "Hub")]
    pub(crate) subscriber_jwt_key: Option<String>,
    /// The issuer of minted tokens
    #[arg(long, default_value = "https://loadgen.example", help_heading = "Hub")]
    pub(crate) issuer: String,
    /// The audience of minted tokens, if it isn't the hub's URL
    #[arg(long, help_heading = "Hub")]
    pub(crate) resource: Option<String>,
    /// How the hub is spoken to
    #[arg(long, value_enum, default_value_t, help_heading = "Wire")]
    pub(crate) preset: Preset,
    /// Path and query of a subscription (preset plain); {topic}, {topics}
    #[arg(long, value_name = "TEMPLATE", default_value = "/{topic}", help_heading = "Wire")]
    pub(crate) subscribe_url: String,
    /// Path and query of a publish (preset plain)
    #[arg(long, value_name = "TEMPLATE", default_value = "/{topic}", help_heading = "Wire")]
    pub(crate) publish_url: String,
    /// The body of a publish (preset plain); {topic}, {topic:raw}, and {data} or {data:form}
    #[arg(long, value_name = "TEMPLATE", default_value = "{data}", help_heading = "Wire")]
    pub(crate) publish_body: String,
    /// The media type of that body
    #[arg(long, value_name = "TYPE", default_value = "text/plain", help_heading = "Wire")]
    pub(crate) publish_type: String,
    /// Client threads, each with its own descriptor table (as many as cores; more if the connections need them)
    #[arg(long, value_name = "N", help_heading = "Client")]
    pub(crate) client_threads: Option<usize>,
    /// Cores for the client threads, as in 0,1 (all)
    #[arg(long, value_name = "CORES", value_delimiter = ',', help_heading = "Client")]
    pub(crate) client_cpus: Vec<usize>,
    /// Addresses or interfaces to connect from, in turn (on loopback 127.0.0.0/8)
    #[arg(long, value_name = "SOURCES", value_delimiter = ',', help_heading = "Client")]
    pub(crate) source: Vec<Source>,
    /// Microseconds between two looks of a client thread at its sockets
    #[arg(long, value_name = "US", default_value_t = 1000, help_heading = "Client")]
    pub(crate) poll_us: u64,
    #[command(flatten)]
    pub(crate) agents: AgentOptions,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Show what the server writes to standard error
    #[arg(long, short, help_heading = "Result")]
    pub(crate) verbose: bool,
    /// Arguments for the hub started by --hub
    #[arg(last = true, value_name = "HUB ARGUMENTS")]
    pub(crate) hub_args: Vec<String>,
}

impl Options {
    /// The options as they are meant for the hub or for the URL, where a run has both.
    pub(crate) fn meant_for(&self, kind: TargetKind) -> Self {
        let mut own = self.clone();
        if kind == TargetKind::Url {
            (own.hub, own.spawn) = (None, None);
        } else if self.targets.contains(&TargetKind::Url) {
            (own.url, own.server_pid, own.preset) = (None, None, Preset::default());
            (own.token, own.publisher_jwt_key, own.subscriber_jwt_key) = (None, None, None);
        }
        own
    }
}

/// The cores of this machine, or 1.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
