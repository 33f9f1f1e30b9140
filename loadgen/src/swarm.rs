//! Very many subscribers on a few threads.
//!
//! Each thread has a descriptor table of its own (the descriptor limit counts per table), one epoll descriptor it
//! polls and never sleeps in, and one read buffer. Nothing but atomics and a histogram is shared with the rest of
//! the program: a descriptor of one table means something else in another.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use socket2::{Domain, Socket, Type};

use crate::ledger::Receipt;
use crate::progress::Progress;
use crate::sampler::Counts;
use crate::subscriber::{Subscriber, Visit};
use crate::sys::{self, Epoll, Ready};

/// Subscribers one thread holds at most: the descriptor limit here is 20,000 per table.
const CONNECTIONS_PER_THREAD_MAX: usize = 16_000;
/// Connections of a thread that may be between `connect` and the response head.
const OPENING_MAX: usize = 128;
/// Connections from one source address; there are some 28,000 ports to each.
const CONNECTIONS_PER_SOURCE: usize = 8_000;
/// Nothing opened for so long: the server doesn't answer.
const OPEN_STALL_NS: u64 = 20_000_000_000;
const READ_BUFFER_BYTES: usize = 64 * 1024;
const READY_MAX: usize = 1024;
/// How often a swarm looks that has been told to rest.
const REST: Duration = Duration::from_millis(20);
/// Latencies are kept in microseconds up to ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

/// What the subscribers ask for.
#[derive(Clone, Debug)]
pub(crate) enum Requests {
    /// All the same.
    Same(Vec<u8>),
    /// Each something of its own, by its place in the swarm.
    Own(Arc<[Vec<u8>]>),
}

impl Requests {
    fn of(&self, place: usize) -> &[u8] {
        match self {
            Requests::Same(request) => request,
            Requests::Own(requests) => &requests[place],
        }
    }
}

/// What to open and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Requests,
    pub(crate) connections: usize,
    /// At least so many threads; more when the connections need them.
    pub(crate) threads: usize,
    /// The cores the threads may run on; none means all.
    pub(crate) cpus: Vec<usize>,
    pub(crate) poll: Duration,
    /// Publishers whose events are expected.
    pub(crate) publishers: usize,
}

struct Shared {
    opened: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
    delivered: AtomicU64,
    last_ns: AtomicU64,
    resting: AtomicBool,
    stop: AtomicBool,
    trouble: Mutex<Option<String>>,
    latency: Mutex<Histogram<u64>>,
}

/// Subscribers that receive and check until told to finish.
pub(crate) struct Swarm {
    threads: Vec<(Arc<Shared>, JoinHandle<Vec<Receipt>>)>,
    connections: usize,
}

impl Swarm {
    /// Opens all connections and waits until each has its response head.
    pub(crate) fn open(plan: &Plan, progress: &mut Progress) -> anyhow::Result<Self> {
        let needed = plan.connections.div_ceil(CONNECTIONS_PER_THREAD_MAX);
        let count = plan.threads.max(needed).min(plan.connections.max(1));
        let threads = (0..count).map(|index| spawn(plan, index, count)).collect::<anyhow::Result<_>>()?;
        let swarm = Self { threads, connections: plan.connections };
        let mut before = (0, sys::now_ns());
        loop {
            let opened = swarm.sum(|shared| &shared.opened);
            let refused = swarm.sum(|shared| &shared.refused);
            progress.sample(|| Counts { connections: opened, refused, ..Counts::default() });
            progress.advance(opened, plan.connections as u64, "subscribers connected");
            if opened as usize == plan.connections {
                progress.sample_now(Counts { connections: opened, ..Counts::default() });
                return Ok(swarm);
            }
            if refused > 0 {
                bail!("{refused} subscribers were refused; the first: {}", swarm.trouble());
            }
            if swarm.threads.iter().any(|(_, thread)| thread.is_finished()) {
                bail!("a client thread stopped: {}", swarm.trouble());
            }
            if opened > before.0 {
                before = (opened, sys::now_ns());
            } else if sys::now_ns() - before.1 > OPEN_STALL_NS {
                bail!("only {opened} of {} subscribers got an answer", plan.connections);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn sum(&self, counter: impl Fn(&Shared) -> &AtomicU64) -> u64 {
        self.threads.iter().map(|(shared, _)| counter(shared).load(Ordering::Acquire)).sum()
    }

    fn trouble(&self) -> String {
        let said = |shared: &Shared| lock(&shared.trouble).clone();
        self.threads.iter().find_map(|(shared, _)| said(shared)).unwrap_or_else(|| "no reason given".to_owned())
    }

    /// Subscribers it was opened with.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Events received by all subscribers together.
    pub(crate) fn delivered(&self) -> u64 {
        self.sum(|shared| &shared.delivered)
    }

    /// Streams that ended.
    pub(crate) fn closed(&self) -> u64 {
        self.sum(|shared| &shared.closed)
    }

    /// When the newest event came in.
    pub(crate) fn last_ns(&self) -> u64 {
        self.threads.iter().map(|(shared, _)| shared.last_ns.load(Ordering::Acquire)).max().unwrap_or_default()
    }

    /// Waits until all subscribers together received so many events. Answers false when nothing more came for
    /// `patience`.
    pub(crate) fn wait_for(&self, delivered: u64, patience: Duration, mut meanwhile: impl FnMut(u64)) -> bool {
        let mut before = (self.delivered(), sys::now_ns());
        loop {
            let now = self.delivered();
            if now >= delivered {
                return true;
            }
            if now > before.0 {
                before = (now, sys::now_ns());
            } else if sys::now_ns() - before.1 > patience.as_nanos() as u64 {
                return false;
            }
            meanwhile(now);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A resting swarm looks at its sockets rarely, so that it doesn't disturb what is measured beside it.
    pub(crate) fn rest(&self, resting: bool) {
        for (shared, _) in &self.threads {
            shared.resting.store(resting, Ordering::Release);
        }
        if !resting {
            std::thread::sleep(REST);
        }
    }

    /// The latencies since the last call, in microseconds from the intended send time.
    pub(crate) fn take_latency(&self) -> Histogram<u64> {
        let mut all = new_histogram();
        for (shared, _) in &self.threads {
            let mut part = lock(&shared.latency);
            all.add(&*part).expect("histograms of one shape");
            part.reset();
        }
        all
    }

    /// Closes all connections and hands over what each received. Events that come too often get a moment to show up.
    pub(crate) fn finish(self) -> Vec<Receipt> {
        std::thread::sleep(Duration::from_millis(50));
        for (shared, _) in &self.threads {
            shared.stop.store(true, Ordering::Release);
        }
        self.threads.into_iter().flat_map(|(_, thread)| thread.join().unwrap_or_default()).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An empty one for latencies.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds are in order")
}

fn spawn(plan: &Plan, index: usize, count: usize) -> anyhow::Result<(Arc<Shared>, JoinHandle<Vec<Receipt>>)> {
    let shared = Arc::new(Shared {
        opened: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        closed: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        last_ns: AtomicU64::new(0),
        resting: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        trouble: Mutex::new(None),
        latency: Mutex::new(new_histogram()),
    });
    let plan = plan.clone();
    let own = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name(format!("client-{index}")).spawn(move || {
        let mut worker = match Worker::new(plan, index, count, own.clone()) {
            Ok(worker) => worker,
            Err(error) => {
                *lock(&own.trouble) = Some(format!("{error:#}"));
                return Vec::new();
            }
        };
        if let Err(error) = worker.run() {
            *lock(&own.trouble) = Some(format!("{error:#}"));
        }
        worker.subscribers.iter().map(|subscriber| subscriber.receipt).collect()
    })?;
    Ok((shared, thread))
}

/// One thread's share of the swarm.
struct Worker {
    plan: Plan,
    shared: Arc<Shared>,
    epoll: Epoll,
    /// The places in the swarm that are this thread's: the first one, and how far apart they are.
    spread: (usize, usize),
    /// Those not connected yet.
    places: std::iter::StepBy<std::ops::Range<usize>>,
    subscribers: Vec<Subscriber>,
    /// The newest sequence number per publisher, `plan.publishers` for each subscriber.
    last: Vec<u32>,
    opening: usize,
}

impl Worker {
    fn new(plan: Plan, index: usize, count: usize, shared: Arc<Shared>) -> anyhow::Result<Self> {
        sys::own_descriptor_table()?;
        sys::pin_to(&plan.cpus)?;
        let places = (index..plan.connections).step_by(count);
        let subscribers = Vec::with_capacity(places.len());
        let last = vec![0; places.len() * plan.publishers];
        Ok(Self { epoll: Epoll::new()?, plan, shared, spread: (index, count), places, subscribers, last, opening: 0 })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut room = [Ready::EMPTY; READY_MAX];
        while !self.shared.stop.load(Ordering::Acquire) {
            while self.opening < OPENING_MAX
                && let Some(place) = self.places.next()
            {
                self.connect(place)?;
            }
            let ready = self.epoll.poll(&mut room)?;
            self.sweep(ready, &mut buffer);
            if ready.len() < READY_MAX {
                let resting = self.shared.resting.load(Ordering::Acquire);
                std::thread::sleep(if resting { REST } else { self.plan.poll });
            }
        }
        Ok(())
    }

    fn connect(&mut self, place: usize) -> anyhow::Result<()> {
        let address = self.plan.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).context("open a socket")?;
        socket.set_nonblocking(true)?;
        if let IpAddr::V4(ip) = address.ip()
            && ip.is_loopback()
        {
            sys::bind_address_no_port(&socket)?;
            let host = 1 + place / CONNECTIONS_PER_SOURCE;
            let source = Ipv4Addr::new(127, 0, (host / 250) as u8, (1 + host % 250) as u8);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        let token = self.subscribers.len();
        self.epoll.add(&socket, token)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error).context("connect"),
        }
        self.subscribers.push(Subscriber::new(socket.into()));
        self.opening += 1;
        Ok(())
    }

    fn sweep(&mut self, ready: &[Ready], buffer: &mut [u8]) {
        let mut delivered = 0;
        let mut last_ns = 0;
        // Taken per sweep, not per event; only a reset competes for it.
        let mut latency = lock(&self.shared.latency);
        for ready in ready {
            let token = ready.token();
            let last = &mut self.last[token * self.plan.publishers..][..self.plan.publishers];
            let mut now_ns = 0;
            let mut record = |sent_ns: u64| {
                if now_ns == 0 {
                    now_ns = sys::now_ns();
                }
                latency.saturating_record(now_ns.saturating_sub(sent_ns) / 1000);
            };
            let request = self.plan.requests.of(self.spread.0 + token * self.spread.1);
            match self.subscribers[token].visit(ready.hung_up(), request, buffer, last, &mut record) {
                Visit::Pending => {}
                Visit::Opened(count) => {
                    self.opening -= 1;
                    delivered += count;
                    last_ns = now_ns.max(last_ns);
                    self.shared.opened.fetch_add(1, Ordering::AcqRel);
                }
                Visit::Delivered(count) => {
                    delivered += count;
                    last_ns = now_ns.max(last_ns);
                }
                Visit::Closed => {
                    self.shared.closed.fetch_add(1, Ordering::AcqRel);
                }
                Visit::Refused(why) => {
                    self.opening -= 1;
                    lock(&self.shared.trouble).get_or_insert(why);
                    self.shared.refused.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
        drop(latency);
        if delivered > 0 {
            // The time first: who sees the count must see the time.
            self.shared.last_ns.store(last_ns, Ordering::Release);
            self.shared.delivered.fetch_add(delivered, Ordering::AcqRel);
        }
    }
}
