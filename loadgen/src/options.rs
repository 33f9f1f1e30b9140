//! The options all scenarios share.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::output::Output;
use crate::publisher::Post;
use crate::server::Server;
use crate::swarm::{Plan, Requests};
use crate::sys;

/// Which hub, and how to talk to it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Start this cinnabar binary on a free loopback port with keys of its own; arguments after `--` are passed on
    #[arg(long, value_name = "BINARY", conflicts_with_all = ["spawn", "url", "server_pid"], help_heading = "Hub")]
    pub(crate) hub: Option<PathBuf>,
    /// Start the server with this command line, wait for its line `listening on http://…`, stop it by SIGTERM at the end
    #[arg(long, value_name = "COMMAND", help_heading = "Hub")]
    pub(crate) spawn: Option<String>,
    /// The URL of a hub that runs already (or of the spawned one, if its own line doesn't tell)
    #[arg(long, help_heading = "Hub")]
    pub(crate) url: Option<String>,
    /// The process whose memory and CPU time are read
    #[arg(long, value_name = "PID", help_heading = "Hub")]
    pub(crate) server_pid: Option<u32>,
    /// A token that may publish
    #[arg(long, conflicts_with_all = ["hub", "publisher_jwt_key"], help_heading = "Hub")]
    pub(crate) token: Option<String>,
    /// Mint the publishing token from this HS256 secret instead
    #[arg(long, value_name = "SECRET", help_heading = "Hub")]
    pub(crate) publisher_jwt_key: Option<String>,
    /// The issuer of a minted token
    #[arg(long, default_value = "https://loadgen.example", help_heading = "Hub")]
    pub(crate) issuer: String,
    /// The audience of a minted token, if it isn't the hub's URL
    #[arg(long, help_heading = "Hub")]
    pub(crate) resource: Option<String>,
    /// The topic of all events
    #[arg(long, default_value = "https://loadgen.example/events", help_heading = "Hub")]
    pub(crate) topic: String,
    /// Client threads, each with its own descriptor table (as many as cores; more if the connections need them)
    #[arg(long, value_name = "N", help_heading = "Client")]
    pub(crate) client_threads: Option<usize>,
    /// Cores for the client threads, as in 0,1 (all)
    #[arg(long, value_name = "CORES", value_delimiter = ',', help_heading = "Client")]
    pub(crate) client_cpus: Vec<usize>,
    /// Microseconds between two looks of a client thread at its sockets
    #[arg(long, value_name = "US", default_value_t = 1000, help_heading = "Client")]
    pub(crate) poll_us: u64,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Show what the server writes to standard error
    #[arg(long, short, help_heading = "Result")]
    pub(crate) verbose: bool,
    /// Arguments for the hub started by --hub
    #[arg(last = true, value_name = "HUB ARGUMENTS")]
    pub(crate) hub_args: Vec<String>,
}

/// The cores of this machine, or 1.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Common {
    /// Subscribers of the topic at a server.
    pub(crate) fn plan(&self, server: &Server, connections: usize, publishers: usize) -> Plan {
        Plan {
            address: server.target.address,
            requests: Requests::Same(server.target.subscribe_request(&self.topic, None)),
            connections,
            threads: self.client_threads.unwrap_or_else(cores),
            cpus: self.client_cpus.clone(),
            poll: Duration::from_micros(self.poll_us),
            publishers,
        }
    }

    /// Subscribers with a topic and a token of their own each, at a hub that this program started.
    pub(crate) fn own_plan(&self, server: &Server, connections: usize) -> anyhow::Result<Plan> {
        let issuer = server.issuer.as_ref().context("tokens can only be made for a hub started with --hub")?;
        let now_s = sys::unix_seconds();
        let requests = (0..connections).map(|place| {
            let topic = format!("{}/{place}", self.topic);
            let token = issuer.mint_for("subscribe", &topic, &format!("somebody {place}"), now_s);
            server.target.subscribe_request(&topic, Some(&token))
        });
        Ok(Plan { requests: Requests::Own(requests.collect()), ..self.plan(server, connections, 1) })
    }

    /// Publishes to the topic at a server.
    pub(crate) fn post(&self, server: &Server, sizes: &[usize]) -> Post {
        Post {
            target: server.target.clone(),
            topic: self.topic.clone(),
            token: server.token.clone(),
            sizes: sizes.to_vec(),
        }
    }
}
