//! The coordinator finds its agents, proves who it is, sets their clocks against its own and gives each its part.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::clock::{EXCHANGES_MAX, EXCHANGES_MIN, EXCHANGES_TIME_NS, Exchange, Offset};
use super::frame::{self, FrameError, Frames, GREETING_BYTES_MAX};
use super::link::{ALIVE_NS, Hired, Link};
use super::message::{Call, Greeting, PROTOCOL, Reception, ToAgent, ToCoordinator};
use super::part::{AGENTS_MAX, Part};
use super::secret::{End, Nonces, Secret, SecretOption, nonce};
use super::serve::{READ_TIMEOUT, WRITE_TIMEOUT, shortened, wait_for};
use super::session::SILENCE_MAX;
use crate::joined::joined;
use crate::swarm::{Order, Plan, Share, Shared, Swarm};
use crate::sys;

/// How long an agent may take to be there and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Topics in one frame: names may be long.
const TOPICS_AT_ONCE: usize = 1_000;
/// How long its threads may take to start. Who is silent for `SILENCE_MAX` meanwhile is gone: agents say that they are at it.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it takes at most to notice that the last agent has started.
const WAIT_NAP: Duration = Duration::from_millis(10);

/// Who holds the subscribers.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AgentOptions {
    /// Let these agents (`cinnabar-loadgen agent`) hold the subscribers, each its share of every group; this program publishes,
    /// says what is done when, and puts the results together
    #[arg(
        long = "agents",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        conflicts_with_all = ["client_threads", "client_cpus", "source"],
        help_heading = "Agents"
    )]
    pub(crate) addresses: Vec<String>,
    #[command(flatten)]
    secret: SecretOption,
}

impl AgentOptions {
    /// Are there any?
    pub(crate) fn are_used(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Refuses what can't be meant.
    fn check(&self) -> anyhow::Result<()> {
        if !self.are_used() && self.secret.secret_file.is_some() {
            bail!("--secret-file is for agents: name them with --agents");
        }
        if self.addresses.len() > AGENTS_MAX {
            bail!("{} agents; {AGENTS_MAX} is the most", self.addresses.len());
        }
        let mut seen = HashSet::new();
        match self.addresses.iter().find(|address| !seen.insert(address.as_str())) {
            Some(twice) => bail!("the agent {twice} is named twice"),
            None => Ok(()),
        }
    }
}

/// The subscribers of a plan, held by the agents the options name, or by threads of this program where they name none.
pub(crate) fn hire(options: &AgentOptions, plan: &Plan, title: &str) -> anyhow::Result<Swarm> {
    options.check()?;
    if !options.are_used() {
        return Swarm::start(plan);
    }
    let secret = options.secret.read()?;
    let of = options.addresses.len();
    let waiting = AtomicUsize::new(of);
    let hire_one = |index: usize, name: &str| {
        let hired = hire_one(name, secret.as_ref(), plan, title, Share { index, of }, Starts(&waiting));
        hired.with_context(|| format!("the agent {name}"))
    };
    // All at the same time: on a long way each takes seconds, and the first would give up waiting for the last.
    let links = std::thread::scope(|scope| {
        let named = options.addresses.iter().enumerate();
        let hiring: Vec<_> = named.map(|(index, name)| scope.spawn(move || hire_one(index, name))).collect();
        let hired = hiring.into_iter().map(|hiring| joined(hiring.join(), "who was hiring an agent")?);
        hired.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let links = links
        .into_iter()
        .map(|(hired, link)| (hired, move |shared: Arc<Shared>, orders: Receiver<Order>| link.run(&shared, &orders)));
    Swarm::of_agents(plan.groups.len(), links.collect())
}

fn hire_one(
    name: &str,
    secret: Option<&Secret>,
    plan: &Plan,
    title: &str,
    share: Share,
    starts: Starts<'_>,
) -> anyhow::Result<(Arc<Hired>, Link)> {
    let mut stream = connect(name)?;
    let mut frames = Frames::new(stream.try_clone()?, GREETING_BYTES_MAX);
    greet(&mut stream, &mut frames, secret)?;
    is_reachable(plan.dialect.target.address, &stream)?;
    let offset = clock_offset(&mut stream, &mut frames)?;
    for topics in plan.lanes.published().unwrap_or_default().chunks(TOPICS_AT_ONCE) {
        frame::send(&mut stream, &ToAgent::Topics(topics.to_vec()))?;
    }
    let part = Part::of(plan, title, share, offset.shift_ns());
    let subscribers: usize = plan.groups.iter().map(|group| share.part_of(group.count)).sum();
    frame::send(&mut stream, &ToAgent::Part(Box::new(part)))?;
    frames.allow(frame::FRAME_BYTES_MAX);
    has_started(&mut frames, START_TIMEOUT)?;
    starts.wait_for_others(&mut stream)?;
    let hired = Arc::new(Hired::new(name));
    let link = Link::new(Arc::clone(&hired), stream, frames, plan, offset, subscribers as u64);
    Ok((hired, link))
}

/// Waits until an agent's threads run.
fn has_started(frames: &mut Frames<impl Read>, timeout: Duration) -> anyhow::Result<()> {
    let end_ns = sys::now_ns() + timeout.as_nanos() as u64;
    loop {
        match wait_for(frames, SILENCE_MAX)? {
            ToCoordinator::Started => return Ok(()),
            ToCoordinator::Starting if sys::now_ns() < end_ns => {}
            ToCoordinator::Starting => bail!("it hasn't started within {} s", timeout.as_secs()),
            ToCoordinator::Trouble(why) => bail!("{}", shortened(&why)),
            _ => bail!("something else came than that it has started"),
        }
    }
}

/// One of so many agents that haven't started yet. It stops to be one when it has, or won't.
struct Starts<'a>(&'a AtomicUsize);

impl Starts<'_> {
    /// This one has. The others may take longer than it waits in silence: until then it hears that the coordinator is there.
    fn wait_for_others(self, to: &mut impl Write) -> Result<(), FrameError> {
        let waiting = self.0;
        drop(self);
        let mut said_ns = sys::now_ns();
        while waiting.load(Ordering::Acquire) > 0 {
            std::thread::sleep(WAIT_NAP);
            if sys::now_ns() - said_ns > ALIVE_NS {
                said_ns = sys::now_ns();
                frame::send(to, &ToAgent::Alive)?;
            }
        }
        Ok(())
    }
}

impl Drop for Starts<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn connect(name: &str) -> anyhow::Result<TcpStream> {
    let addresses = name.to_socket_addrs().context("write HOST:PORT, such as 10.0.0.2:7070")?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(READ_TIMEOUT))?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.context("it has no address")?;
    Err(error).context("it isn't there; `cinnabar-loadgen agent --listen …` starts one")
}

/// Both ends learn who the other is.
fn greet(stream: &mut TcpStream, frames: &mut Frames<TcpStream>, secret: Option<&Secret>) -> anyhow::Result<()> {
    /// What all connections of this run have in common.
    static RUN: OnceLock<String> = OnceLock::new();
    let greeting: Greeting = wait_for(frames, CONNECT_TIMEOUT).map_err(|error| match error {
        FrameError::TooLong { .. } | FrameError::Garbage(_) | FrameError::Truncated => {
            anyhow::anyhow!("what listens there is no agent")
        }
        other => other.into(),
    })?;
    if greeting.loadgen_agent != PROTOCOL {
        bail!(
            "it speaks version {} of the protocol (cinnabar-loadgen {}), this program version {PROTOCOL} (cinnabar-loadgen {}): \
             use the same version everywhere",
            greeting.loadgen_agent,
            shortened(&greeting.version),
            env!("CARGO_PKG_VERSION")
        );
    }
    if secret.is_some() && !greeting.wants_secret {
        bail!("it has no secret, so it can't be known whose agent it is: start it with --secret-file");
    }
    if secret.is_none() && greeting.wants_secret {
        bail!("it wants a secret: give --secret-file, or CINNABAR_LOADGEN_SECRET in the environment");
    }
    let run = match RUN.get() {
        Some(run) => run,
        None => {
            let new = nonce()?;
            RUN.get_or_init(|| new)
        }
    };
    let own_nonce = nonce()?;
    let nonces = Nonces { agent: &greeting.nonce, coordinator: &own_nonce, run };
    let call = Call {
        loadgen_coordinator: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: own_nonce.clone(),
        run: run.clone(),
        proof: secret.map(|secret| secret.proof(End::Coordinator, nonces)),
    };
    frame::send(stream, &call)?;
    match wait_for(frames, CONNECT_TIMEOUT)? {
        Reception::Refused { why } => bail!("it refuses: {}", shortened(&why)),
        Reception::Welcome { proof } => match (secret, proof) {
            (None, _) => Ok(()),
            (Some(secret), Some(proof)) if secret.proves(&proof, End::Agent, nonces) => Ok(()),
            (Some(_), _) => bail!("it doesn't know the secret itself: somebody else listens there"),
        },
    }
}

/// A server on loopback serves its own machine only.
fn is_reachable(server: SocketAddr, agent: &TcpStream) -> anyhow::Result<()> {
    let (theirs, ours) = (agent.peer_addr()?.ip(), agent.local_addr()?.ip());
    if server.ip().is_loopback() && !is_here(theirs, ours) {
        bail!(
            "it is on another machine, and the server listens on {server}, which only this one reaches: start it on an address \
             of this machine with --listen-address, or name a server the agents reach with --url"
        );
    }
    Ok(())
}

/// Is the other end of a connection on this machine?
fn is_here(theirs: IpAddr, ours: IpAddr) -> bool {
    theirs.is_loopback() || theirs == ours
}

/// How far the agent's clock is away.
pub(super) fn clock_offset(stream: &mut TcpStream, frames: &mut Frames<TcpStream>) -> anyhow::Result<Offset> {
    let mut exchanges = Vec::new();
    let began_ns = sys::now_ns();
    while exchanges.len() < EXCHANGES_MAX {
        let asked_ns = sys::now_ns();
        if exchanges.len() >= EXCHANGES_MIN && asked_ns - began_ns > EXCHANGES_TIME_NS {
            break;
        }
        frame::send(stream, &ToAgent::Time)?;
        let ToCoordinator::Time { received_ns, answered_ns } = wait_for(frames, CONNECT_TIMEOUT)? else {
            bail!("it was asked for the time and said something else");
        };
        exchanges.push(Exchange { asked_ns, received_ns, answered_ns, heard_ns: sys::now_ns() });
    }
    Offset::of(&exchanges).context("its clock makes no sense")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_named_once_and_a_secret_needs_one() {
        let options = |addresses: &[&str], secret_file: Option<&str>| AgentOptions {
            addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
            secret: SecretOption { secret_file: secret_file.map(Into::into) },
        };
        assert!(options(&[], None).check().is_ok());
        assert!(options(&["a:1", "b:1"], Some("x")).check().is_ok());
        let error = options(&["a:1", "b:1", "a:1"], None).check().expect_err("twice").to_string();
        assert_eq!(error, "the agent a:1 is named twice");
        assert!(options(&[], Some("x")).check().is_err());
    }

    #[test]
    fn a_machine_is_this_one_on_loopback_or_at_its_own_address() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(is_here(ip("127.0.0.1"), ip("127.0.0.1")));
        assert!(is_here(ip("10.0.0.1"), ip("10.0.0.1")));
        assert!(!is_here(ip("10.0.0.2"), ip("10.0.0.1")));
    }

    #[test]
    fn who_waits_for_the_others_hears_that_the_coordinator_is_there() {
        let waiting = AtomicUsize::new(2);
        let (one, other) = (Starts(&waiting), Starts(&waiting));
        let mut told = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_nanos(ALIVE_NS * 3 / 2));
                // It fails, and nobody waits for it.
                drop(other);
            });
            one.wait_for_others(&mut told).expect("told");
        });
        assert!(matches!(Frames::new(&told[..], 100).poll(), Ok(Some(ToAgent::Alive))));
        let mut told = Vec::new();
        Starts(&AtomicUsize::new(1)).wait_for_others(&mut told).expect("nobody else");
        assert!(told.is_empty());
    }

    #[test]
    fn a_start_may_take_long_as_long_as_it_is_said_so() {
        let said = |messages: &[ToCoordinator]| {
            let mut bytes = Vec::new();
            messages.iter().for_each(|message| frame::send(&mut bytes, message).expect("sent"));
            bytes
        };
        let starting = || ToCoordinator::Starting;
        let begun = said(&[starting(), starting(), ToCoordinator::Started]);
        assert!(has_started(&mut Frames::new(&begun[..], 100), START_TIMEOUT).is_ok());
        let error = has_started(&mut Frames::new(&begun[..], 100), Duration::ZERO).expect_err("too long").to_string();
        assert_eq!(error, "it hasn't started within 0 s");
        let other = said(&[ToCoordinator::Ask(1)]);
        assert!(has_started(&mut Frames::new(&other[..], 100), START_TIMEOUT).is_err());
    }
}
