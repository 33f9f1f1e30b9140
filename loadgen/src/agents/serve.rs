//! `cinnabar-loadgen agent`: waits for coordinators and lets one after another have its subscribers.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::frame::{self, FrameError, Frames, GREETING_BYTES_MAX};
use super::lobby::{Lobby, Seat};
use super::message::{Call, Greeting, PROTOCOL, Reception};
use super::part::Means;
use super::secret::{End, Nonces, Secret, SecretOption, nonce};
use super::session;
use super::slot::Slot;
use crate::options::cores;
use crate::quantity::plain;
use crate::sources::{Source, Sources};
use crate::sys;

/// Who hasn't said by then what it wants is sent away.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one read waits, so that the time can be looked at.
pub(super) const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// Who takes nothing for so long is gone.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer names of runs, versions and coordinators aren't shown.
const WORDS_MAX: usize = 200;

/// Hold subscribers for a coordinator on another machine (`run --agents`), one run after another
#[derive(Args, Debug)]
#[command(
    after_help = "On each load machine:      cinnabar-loadgen agent --listen 10.0.0.2:7070 --secret-file secret\n\
                        On the coordinator's:      cinnabar-loadgen broadcast --url http://10.0.0.1:3000/… --token … \\\n\
                        \x20                            --agents 10.0.0.2:7070,10.0.0.3:7070 --secret-file secret\n\n\
                        The same secret on all of them; `openssl rand -hex 32 >secret` makes one. It is never sent, but what \
                        follows isn't encrypted: use a network you trust, or a tunnel. Connections come from this machine, so its \
                        limits, its ports (--source) and its CPU count. Ends with SIGTERM or Ctrl-C."
)]
pub(crate) struct AgentCommand {
    /// Address and port to wait for coordinators at; beyond loopback a secret is required
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7070", help_heading = "Agents")]
    listen: SocketAddr,
    #[command(flatten)]
    secret: SecretOption,
    /// Client threads, each with its own descriptor table (as many as cores; more if the connections need them)
    #[arg(long, value_name = "N", help_heading = "Client")]
    client_threads: Option<usize>,
    /// Cores for the client threads, as in 0,1 (all)
    #[arg(long, value_name = "CORES", value_delimiter = ',', help_heading = "Client")]
    client_cpus: Vec<usize>,
    /// Addresses or interfaces to connect from, in turn (on loopback 127.0.0.0/8)
    #[arg(long, value_name = "SOURCES", value_delimiter = ',', help_heading = "Client")]
    source: Vec<Source>,
}

impl AgentCommand {
    /// Waits for coordinators until the process is ended.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let secret = self.secret.read()?;
        if secret.is_none() && !self.listen.ip().is_loopback() {
            bail!(
                "{} is reached from other machines: give --secret-file with a secret the coordinators know \
                 (`openssl rand -hex 32` makes one), or listen on loopback",
                self.listen
            );
        }
        let listener = TcpListener::bind(self.listen).with_context(|| format!("listen on {}", self.listen))?;
        say(&format!("an agent is listening on {}", listener.local_addr()?));
        let agent = Arc::new(Agent {
            secret,
            slot: Slot::default(),
            lobby: Lobby::default(),
            means: Means {
                sources: Sources(self.source.clone()),
                threads: self.client_threads.unwrap_or_else(cores),
                cpus: self.client_cpus.clone(),
            },
        });
        for stream in listener.incoming() {
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of descriptors, or a connection that was gone again: neither ends by trying at once.
                    say(&format!("a coordinator can't be let in: {error}"));
                    std::thread::sleep(READ_TIMEOUT);
                    continue;
                }
            };
            let Ok(peer) = stream.peer_addr() else { continue };
            let seat = match agent.lobby.enter(&stream, peer.ip()) {
                Ok(seat) => seat,
                Err(error) => {
                    say(&format!("{peer} can't be let in: {error}"));
                    continue;
                }
            };
            let agent = Arc::clone(&agent);
            std::thread::Builder::new().name("coordinator".to_owned()).spawn(move || {
                if let Err(error) = agent.serve(stream, seat, &peer.to_string()) {
                    say(&format!("{peer}: {error:#}"));
                }
            })?;
        }
        Ok(())
    }
}

struct Agent {
    secret: Option<Secret>,
    slot: Slot,
    lobby: Lobby,
    means: Means,
}

impl Agent {
    fn serve(&self, mut stream: TcpStream, seat: Seat, who: &str) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let own_nonce = nonce()?;
        let greeting = Greeting {
            loadgen_agent: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nonce: own_nonce.clone(),
            wants_secret: self.secret.is_some(),
        };
        frame::send(&mut stream, &greeting)?;
        let mut frames = Frames::new(stream.try_clone()?, GREETING_BYTES_MAX);
        let call: Call = wait_for(&mut frames, GREETING_TIMEOUT)?;
        let nonces = Nonces { agent: &own_nonce, coordinator: &call.nonce, run: &call.run };
        let place = match self.receive(&call, nonces, who) {
            Ok(place) => place,
            Err(why) => {
                frame::send(&mut stream, &Reception::Refused { why: why.clone() })?;
                bail!("refused: {why}");
            }
        };
        drop(seat);
        let proof = self.secret.as_ref().map(|secret| secret.proof(End::Agent, nonces));
        frame::send(&mut stream, &Reception::Welcome { proof })?;
        session::run(stream, frames, place.opening, &self.means, who)
    }

    fn receive(&self, call: &Call, nonces: Nonces<'_>, who: &str) -> Result<super::slot::Place, String> {
        if call.loadgen_coordinator != PROTOCOL {
            let (theirs, version) = (call.loadgen_coordinator, shortened(&call.version));
            return Err(format!(
                "the coordinator speaks version {theirs} of the protocol (cinnabar-loadgen {version}), this agent version \
                 {PROTOCOL} (cinnabar-loadgen {}): use the same version everywhere",
                env!("CARGO_PKG_VERSION")
            ));
        }
        if let Some(secret) = &self.secret {
            match &call.proof {
                None => {
                    return Err("the agent wants a secret, and the coordinator has none: give --secret-file".to_owned());
                }
                Some(proof) if !secret.proves(proof, End::Coordinator, nonces) => {
                    return Err("the coordinator has another secret than the agent".to_owned());
                }
                Some(_) => {}
            }
        }
        self.slot.enter(&call.run, who).map_err(|full| full.to_string())
    }
}

/// The next frame, when it comes in time.
pub(super) fn wait_for<T: serde::de::DeserializeOwned>(
    frames: &mut Frames<impl Read>,
    timeout: Duration,
) -> Result<T, FrameError> {
    let end_ns = sys::now_ns() + timeout.as_nanos() as u64;
    loop {
        if let Some(frame) = frames.poll()? {
            return Ok(frame);
        }
        if sys::now_ns() > end_ns {
            return Err(FrameError::Silent(timeout.as_secs()));
        }
    }
}

/// A line in the terminal, whatever is in it.
pub(super) fn say(line: &str) {
    eprintln!("{}", plain(&line.replace('\n', " ")));
}

/// Somebody else's words, not too many.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}
