//! `pause`: a subscriber is frozen for seconds in the middle of a steady stream, then goes on. It must get everything
//! it missed, in order.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::ledger::Receipt;
use crate::options::Common;
use crate::press::{Pace, Press};
use crate::process;
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::stop;
use crate::server::Server;
use crate::swarm::{Plan, Requests, Swarm};
use crate::sys::{self, Signal};
use crate::target::Target;

/// Seconds of publishing before the freeze and after it.
const AROUND_S: u64 = 2;
/// The name of the hidden subcommand that is the subscriber's process.
const RECEIVE_COMMAND: &str = "receive";
/// The child gives up waiting for more events after so long.
const CHILD_PATIENCE: Duration = Duration::from_secs(20);

/// A subscriber frozen by SIGSTOP gets everything it missed after SIGCONT
#[derive(Args, Debug)]
pub(crate) struct Pause {
    #[command(flatten)]
    common: Common,
    /// Events per second
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Seconds the subscriber is stopped
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Data bytes of an event
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Subscribers beside it that aren't stopped
    #[arg(long, default_value_t = 10)]
    connections: usize,
}

impl Pause {
    /// The options all scenarios have.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let title = format!("{} events/s of {} B, one subscriber stopped for {} s", self.rate, self.size, self.seconds);
        let mut report = Report::new("pause", title);
        let mut progress = Progress::new();
        let mut server = Server::start(&self.common, &[])?;
        progress.part("connect");
        let swarm = Swarm::open(&self.common.plan(&server, self.connections, 1), &mut progress)?;
        let child = Frozen::start(&server, &self.common.topic)?;
        let mut press = Press::connect(&self.common.post(&server, &[self.size]), 1)?;

        progress.part("pause");
        let start_ns = sys::now_ns();
        let stop_ns = start_ns + AROUND_S * 1_000_000_000;
        let continue_ns = stop_ns + self.seconds * 1_000_000_000;
        let pace = Pace {
            rate: Some(self.rate),
            pipeline: usize::MAX,
            ahead: 0,
            time: Duration::from_secs(self.seconds + 2 * AROUND_S),
        };
        let before = private(&server);
        let (mut stopped_at, mut missed_until) = (None, None);
        let mut caught_up_ns = None;
        press.run(pace, &swarm, |press| {
            let now_ns = sys::now_ns();
            let published = press.ledger().count;
            if stopped_at.is_none() && now_ns >= stop_ns {
                sys::signal(child.pid, Signal::Stop)?;
                stopped_at = Some((published, child.count()));
            }
            if missed_until.is_none() && now_ns >= continue_ns {
                sys::signal(child.pid, Signal::Continue)?;
                missed_until = Some((published, child.count(), private(&server)));
            }
            if missed_until.is_some_and(|(published, ..)| child.count() >= published) {
                caught_up_ns.get_or_insert(now_ns);
            }
            progress.show(|| format!("{published} published, {} received by the stopped one", child.count()));
            Ok(())
        })?;
        let published = press.ledger();
        let receipts = child.finish(published.count)?;
        swarm.wait_for(published.count * self.connections as u64, CHILD_PATIENCE, |_| ());

        let (published_then, received_then, private_then) = missed_until.unwrap_or_default();
        let missed = published_then.saturating_sub(received_then);
        report.figure("events", "events published", published.count as f64, "");
        report.figure("missed", "published and not received when it went on", missed as f64, "");
        if let Some(caught_up_ns) = caught_up_ns {
            let took_ms = caught_up_ns.saturating_sub(continue_ns) as f64 / 1e6;
            report.figure("catch_up_ms", "time to receive what it had missed", took_ms, "ms");
        }
        report.figure("refusals", "publishes answered 503", press.refusals() as f64, "");
        if server.pid().is_some() {
            report.figure("before_bytes", "server's private memory before", before, "B");
            report.figure("stopped_bytes", "the same at the end of the stop", private_then, "B");
            report.figure("after_bytes", "the same at the end", private(&server), "B");
        }
        let least = (self.rate * self.seconds as f64 / 2.0) as u64;
        report.check(
            "the stop was real: it missed events",
            missed >= least,
            format!("{missed}, at least {least} expected"),
        );
        report.check_delivery("the stopped one", &receipts, published);
        report.check_delivery("the others", &swarm.finish(), published);
        stop(&mut server, &mut report);
        Ok(report)
    }
}

fn private(server: &Server) -> f64 {
    server.pid().and_then(|pid| process::private_bytes(pid).ok()).unwrap_or(0) as f64
}

/// The subscriber to be stopped, in a process of its own.
struct Frozen {
    child: std::process::Child,
    pid: u32,
    count: Arc<AtomicU64>,
    receipts: mpsc::Receiver<String>,
}

impl Frozen {
    fn start(server: &Server, topic: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(RECEIVE_COMMAND).args(["--url", &server.target.url(), "--topic", topic]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        sys::prepare_child(&mut command, u64::MAX);
        let mut child = command.spawn().context("start the subscriber to be stopped")?;
        let lines = BufReader::new(child.stdout.take().context("a pipe from the child")?).lines();
        let count = Arc::new(AtomicU64::new(0));
        let (ready, is_ready) = mpsc::channel();
        let (sender, receipts) = mpsc::channel();
        let counter = Arc::clone(&count);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let (what, value) = line.split_once(' ').unwrap_or((&line, ""));
                let _ = match what {
                    "ready" => ready.send(()).ok(),
                    "got" => value.parse().ok().map(|count| counter.store(count, Ordering::Release)),
                    _ => sender.send(value.to_owned()).ok(),
                };
            }
        });
        let pid = child.id();
        is_ready.recv_timeout(CHILD_PATIENCE).context("the subscriber to be stopped didn't connect")?;
        Ok(Self { child, pid, count, receipts })
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Tells it how many events there were and asks for its receipt.
    fn finish(mut self, published: u64) -> anyhow::Result<Vec<Receipt>> {
        let mut stdin = self.child.stdin.take().context("a pipe to the child")?;
        writeln!(stdin, "{published}")?;
        let line = self.receipts.recv_timeout(CHILD_PATIENCE * 2).context("no receipt from the stopped subscriber")?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A stopped process can be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One subscriber that says what it has (`ready`, `got COUNT`, at the end `receipt JSON`) on standard output and learns
/// from standard input how many events there were.
#[derive(Args, Clone, Debug)]
pub(crate) struct Receive {
    #[arg(long)]
    url: String,
    #[arg(long)]
    topic: String,
}

impl Receive {
    /// Runs until it has the number of events it is told.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let target = Target::parse(&self.url)?;
        let plan = Plan {
            address: target.address,
            requests: Requests::Same(target.subscribe_request(&self.topic, None)),
            connections: 1,
            threads: 1,
            cpus: Vec::new(),
            poll: Duration::from_millis(1),
            publishers: 1,
        };
        let swarm = Swarm::open(&plan, &mut Progress::new())?;
        println!("ready");
        let (sender, published) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            let _ = sender.send(read.ok().and_then(|_| line.trim().parse::<u64>().ok()));
        });
        let mut before = u64::MAX;
        let published = loop {
            if let Ok(published) = published.try_recv() {
                break published.context("the number of events on standard input")?;
            }
            let now = swarm.delivered();
            if now != before {
                println!("got {now}");
                before = now;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        swarm.wait_for(published, CHILD_PATIENCE, |_| ());
        println!("receipt {}", serde_json::to_string(&swarm.finish())?);
        Ok(())
    }
}
