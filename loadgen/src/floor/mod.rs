//! The floor: what this machine's kernel allows a server that does nothing else.
//!
//! There are two kinds, because a hub does two kinds of things. The one that sends (`send`) gets events to everybody who is
//! connected; the one that serves (`serve`) accepts, answers publishes with a fixed answer, and writes stored frames to
//! who comes for them. Which one a scenario needs follows from what it does ([`FloorKind::of`]).
//!
//! Either runs in a process of its own, so that its CPU and its cores compare with a hub's: as many threads as the hub has
//! shards, pinned one to a core as those are, each with a listener on the shared port and its share of the sockets. Orders
//! come as lines on standard input.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use socket2::{Domain, Socket, Type};

use crate::group::Reads;
use crate::options::cores;
use crate::payload::SIZE_BYTES_MIN;
use crate::scenario::{Does, Scenario};
use crate::server::{Server, free_port};
use crate::sys;
use crate::tls::{Shown, Tls};

mod press;
mod seal;
mod send;
mod serve;

pub(crate) use press::FloorPress;

/// The name of the hidden subcommand that is the floor's process.
const FLOOR_COMMAND: &str = "floor-server";
const BACKLOG: i32 = 4096;
/// The head every stream of a floor begins with.
const RESPONSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
    Connection: close\r\n\r\n";

/// What a floor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FloorKind {
    /// Sends events to everybody.
    Send,
    /// Accepts, answers publishes, and writes stored frames.
    Serve,
}

impl FloorKind {
    /// The kind that does nothing but what a hub must do in this scenario: send where live events go to subscribers, serve
    /// where there are only subscribers, only publishers, or where subscribers come for what is stored.
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let live = !scenario.groups.is_empty() && !scenario.publishers.is_empty();
        if live && !Self::replays(scenario) { Self::Send } else { Self::Serve }
    }

    /// Why a scenario asks for what no floor does; nothing if it doesn't.
    pub(crate) fn refusal(scenario: &Scenario) -> Option<&'static str> {
        let kind = Self::of(scenario);
        if scenario.tls.is_some() && kind == Self::Serve {
            return Some("with TLS it only sends: it doesn't accept, answer or replay");
        }
        let ordered = kind == Self::Send || Self::replays(scenario);
        let all = [&scenario.setup, &scenario.round, &scenario.finish].into_iter().flatten();
        let does = all.flat_map(|step| match &step.does {
            Does::Together { tracks } => tracks.iter().flatten().map(|step| &step.does).collect(),
            other => vec![other],
        });
        let does: Vec<&Does> = does.collect();
        if ordered && scenario.publishers.len() > 1 {
            return Some("it sends everything to everyone, and there are several publishers");
        }
        // It doesn't say when an event was sent to whom, so nobody knows what those who come meanwhile must get.
        let turnover = |does: &&Does| matches!(does, Does::Churn { .. } | Does::Connect { goes_on: true, .. });
        if ordered && does.iter().any(turnover) {
            return Some("it keeps no account of who comes and goes meanwhile");
        }
        if does.iter().any(|does| matches!(does, Does::Attack { .. })) {
            return Some("it stands no attack, and none of it would be a hub's");
        }
        let pauses = does.iter().any(|does| matches!(does, Does::Read { reads: false, .. }));
        let slow = scenario.groups.iter().any(|group| group.reads != Reads::AtOnce);
        (ordered && (pauses || slow)).then_some("it waits for everybody, and some don't read at once")
    }

    /// Do subscribers come for what is stored?
    pub(crate) fn replays(scenario: &Scenario) -> bool {
        scenario.groups.iter().any(|group| group.earliest)
    }
}

/// A floor process and the pipes to order it about.
pub(crate) struct Floor {
    /// The process and its address.
    pub(crate) server: Server,
    kind: FloorKind,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    count: u64,
}

impl Floor {
    /// Starts one with so many threads and events of so many bytes of data.
    pub(crate) fn start(
        kind: FloorKind,
        threads: usize,
        size: usize,
        address: IpAddr,
        verbose: bool,
        tls: Option<Tls>,
    ) -> anyhow::Result<Self> {
        free_port(address)?;
        let mut command = Command::new(std::env::current_exe()?);
        let name = kind.to_possible_value().context("no kind is hidden")?.get_name().to_owned();
        command.args([FLOOR_COMMAND, &name, "--threads", &threads.to_string(), "--size", &size.to_string()]);
        command.args(["--address", &address.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let shown = tls.map(|tls| Shown::make(address, tls)).transpose()?;
        if let Some(shown) = &shown {
            command.arg("--tls-certificate").arg(&shown.paths.0).arg("--tls-key").arg(&shown.paths.1);
        }
        let mut server = Server::launch(command, verbose)?;
        // It has read the files.
        server.trust = shown.map(|shown| shown.trust.clone());
        let child = server.child_mut().context("the floor runs")?;
        let orders = child.stdin.take().context("a pipe to the floor")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe from the floor")?);
        Ok(Self { server, kind, orders, answers, count: 0 })
    }

    /// Which kind it is.
    pub(crate) fn kind(&self) -> FloorKind {
        self.kind
    }

    /// Has one event sent to everyone that was meant to be sent at this time.
    fn broadcast(&mut self, intended_ns: u64) -> anyhow::Result<()> {
        self.order(&format!("one {intended_ns}"))?;
        self.count += 1;
        Ok(())
    }

    /// Has events sent one after another for so long. [`Self::hear_count`] must follow.
    fn flood(&mut self, time: Duration) -> anyhow::Result<()> {
        self.order(&format!("flood {}", time.as_millis()))
    }

    /// Has so many events more stored for those who come for them.
    fn store(&mut self, more: u64) -> anyhow::Result<()> {
        self.order(&format!("store {}", self.count + more))?;
        self.hear_count()
    }

    fn order(&mut self, order: &str) -> anyhow::Result<()> {
        writeln!(self.orders, "{order}").context("tell the floor what to do")
    }

    /// Waits until an order that takes long is carried out.
    fn hear_count(&mut self) -> anyhow::Result<()> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("hear from the floor")?;
        self.count =
            line.trim().strip_prefix("done ").and_then(|count| count.parse().ok()).context("the floor's count")?;
        Ok(())
    }

    /// Events it has sent to everyone, or stored.
    fn count(&self) -> u64 {
        self.count
    }
}

/// The floor's process.
#[derive(Args, Clone, Debug)]
pub(crate) struct FloorServer {
    #[arg(value_enum)]
    kind: FloorKind,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    address: IpAddr,
    #[arg(long, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    #[arg(long)]
    tls_key: Option<PathBuf>,
}

impl FloorServer {
    /// Runs until standard input ends.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.threads > 0, "at least one thread");
        anyhow::ensure!(self.size >= SIZE_BYTES_MIN, "events are at least {SIZE_BYTES_MIN} bytes");
        let tls = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(seal::configuration(certificate, key)?),
            _ => None,
        };
        match self.kind {
            FloorKind::Send => send::run(self.threads, self.size, self.address, tls),
            FloorKind::Serve => serve::run(self.threads, self.size, self.address),
        }
    }
}

/// The port all threads of a floor share.
struct Port {
    address: IpAddr,
    number: AtomicU64,
    meeting: Barrier,
}

impl Port {
    /// Of an address, so many threads and the main one.
    fn new(address: IpAddr, threads: usize) -> Self {
        Self { address, number: AtomicU64::new(0), meeting: Barrier::new(threads + 1) }
    }

    /// Starts a thread that runs until it fails, with the process.
    fn spawn(index: usize, work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> anyhow::Result<()> {
        std::thread::Builder::new().name(format!("floor-{index}")).spawn(move || {
            if let Err(error) = work() {
                eprintln!("floor: {error:#}");
                std::process::exit(1);
            }
        })?;
        Ok(())
    }

    /// The `index`th thread settles on its core with a descriptor table of its own, and listens. The first one finds a port.
    fn settle(&self, index: usize) -> anyhow::Result<TcpListener> {
        sys::own_descriptor_table()?;
        sys::pin_to(&[index % cores()])?;
        let mut listener = None;
        if index == 0 {
            let first = listen(self.address, 0)?;
            self.number.store(first.local_addr()?.port().into(), Ordering::Release);
            listener = Some(first);
        }
        self.meeting.wait();
        let listener = match listener {
            Some(listener) => listener,
            None => listen(self.address, self.number.load(Ordering::Acquire) as u16)?,
        };
        self.meeting.wait();
        Ok(listener)
    }

    /// Says where they listen once all do.
    fn announce(&self, scheme: &str) {
        // Once for the first listener, which finds the port, once for the others.
        self.meeting.wait();
        self.meeting.wait();
        let port = self.number.load(Ordering::Acquire) as u16;
        eprintln!("listening on {scheme}://{}/", SocketAddr::new(self.address, port));
    }
}

/// Reads orders, a word and a number each, until there are no more.
fn obey(mut carry_out: impl FnMut(&str, u64) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (what, value) = line.split_once(' ').context("an order has two words")?;
        carry_out(what, value.parse().context("a number")?)?;
    }
    Ok(())
}

/// A listener that shares its port with those of the other threads; 0 chooses one.
fn listen(address: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).context("bind the floor's port")?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// An order the other kind of floor understands.
fn not_mine(what: &str) -> anyhow::Result<()> {
    bail!("this floor doesn't know how to `{what}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::built_in;

    #[test]
    fn a_scenario_gets_the_floor_that_does_what_it_measures() {
        let kind = |name| {
            let text = built_in(name).expect("built in");
            FloorKind::of(&Scenario::parse(name, text, &[]).expect("makes sense"))
        };
        assert_eq!(["broadcast", "steady", "saturate"].map(kind), [FloorKind::Send; 3]);
        assert_eq!(["connect", "publish", "replay"].map(kind), [FloorKind::Serve; 3]);
    }

    #[test]
    fn what_no_floor_does_is_refused() {
        let refusal = |name| {
            let text = built_in(name).expect("built in");
            FloorKind::refusal(&Scenario::parse(name, text, &[]).expect("makes sense"))
        };
        for name in ["broadcast", "steady", "saturate", "connect", "publish", "replay", "idle"] {
            assert_eq!(refusal(name), None, "{name}");
        }
        for (name, word) in
            [("topics", "publishers"), ("churn", "account"), ("soak", "account"), ("slow", "read"), ("pause", "read")]
        {
            assert!(refusal(name).is_some_and(|why| why.contains(word)), "{name}: {:?}", refusal(name));
        }
    }
}
