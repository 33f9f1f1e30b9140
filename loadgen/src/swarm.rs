//! Very many subscribers on a few threads, seen from the thread that gives the orders.
//!
//! Each client thread (`worker`) has a descriptor table of its own: the descriptor limit counts per table. Nothing but
//! atomics, histograms and orders passes between it and the rest of the program: a descriptor of one table means
//! something else in another. A thread that speaks to an agent on another machine (`agents`) looks the same from here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::agents::{ClockShift, Hired, Usage};
use crate::arrival::Arrivals;
use crate::dialect::Dialect;
use crate::group::Group;
use crate::joined::joined;
use crate::lanes::Lanes;
use crate::ledger::Verdict;
use crate::record;
use crate::sources::Sources;
use crate::worker::Worker;

/// Subscribers one thread holds at most: the descriptor limit here is 20,000 per table.
const CONNECTIONS_PER_THREAD_MAX: usize = 16_000;
/// How often it is looked whether a thread has handed its times over.
const HAND_OVER_NAP: Duration = Duration::from_micros(200);
/// Latencies are kept in microseconds up to ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Who subscribes, where and how.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) dialect: Arc<Dialect>,
    pub(crate) groups: Arc<[Group]>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) sources: Sources,
    /// At least so many threads; more when the connections need them.
    pub(crate) threads: usize,
    /// The cores the threads may run on; none means all.
    pub(crate) cpus: Vec<usize>,
    pub(crate) poll: Duration,
    pub(crate) share: Share,
    /// What to add to this machine's clock to have the publishers': 0 on theirs.
    pub(crate) clock_shift: ClockShift,
    /// Of each group whose last member counts, when an event has reached it. None where no group's does.
    pub(crate) arrivals: Arc<[Option<Arrivals>]>,
}

/// Every `of`th member of each group, from the `index`th on, is held here, and the rest elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl Default for Share {
    /// All of them.
    fn default() -> Self {
        Self { index: 0, of: 1 }
    }
}

impl Share {
    /// Its part of so many.
    pub(crate) fn part_of(self, count: usize) -> usize {
        (count + self.of - 1 - self.index) / self.of
    }
}

/// A thread's part of the subscribers: its share of the prompt groups or of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lot {
    pub(crate) share: Share,
    pub(crate) prompt: bool,
}

impl Plan {
    /// Subscribers held here.
    pub(crate) fn connections(&self) -> usize {
        self.connections_of(false) + self.connections_of(true)
    }

    /// Those of the prompt groups, or of the others.
    fn connections_of(&self, prompt: bool) -> usize {
        let groups = self.groups.iter().filter(|group| group.prompt == prompt);
        groups.map(|group| self.share.part_of(group.count)).sum()
    }

    /// A member's place among those who connect from the same addresses: named ones are for this share alone, loopback's
    /// for all agents on this machine.
    pub(crate) fn place_of(&self, n: usize) -> usize {
        if self.sources.0.is_empty() { n } else { n / self.share.of }
    }

    /// What each thread is to hold.
    fn lots(&self) -> Vec<Lot> {
        let (many, few) = (self.connections_of(false), self.connections_of(true));
        let count = self.threads.max(many.div_ceil(CONNECTIONS_PER_THREAD_MAX)).min(many).max(1);
        let prompt_count = few.div_ceil(CONNECTIONS_PER_THREAD_MAX);
        // Among the threads that hold subscribers here and elsewhere.
        let Share { index: first, of } = self.share;
        let share = |index, count| Share { index: first + of * index, of: of * count };
        let lots = |count, prompt| (0..count).map(move |index| Lot { share: share(index, count), prompt });
        lots(count, false).chain(lots(prompt_count, true)).collect()
    }
}

/// What client threads are told. Groups are named by their place; rates are per second and for all threads together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Those of a group who aren't connected connect: anew, or (`goes_on`) where they were, with their last id. No more
    /// than `at_once` may be between connecting and their response head.
    Connect { group: usize, rate: Option<f64>, goes_on: bool, at_once: usize },
    /// A share of a group drops its connections.
    Drop { group: usize, share: f64 },
    /// All of a group leave when they have everything published so far.
    Leave { group: usize },
    /// At this rate members leave, when they have everything, and come anew. Zero ends it.
    Churn { group: usize, rate: f64 },
    /// A group stops to read, or goes on.
    Read { group: usize, reads: bool },
    /// Count who hasn't got everything yet.
    CountBehind,
}

/// Times taken since the last look, in microseconds.
pub(crate) struct Timings {
    /// From the intended send time to the delivery, per group.
    pub(crate) deliveries: Vec<Histogram<u64>>,
    /// To the response head: from when a connection was due, or from connecting where all come as fast as they can.
    pub(crate) heads: Histogram<u64>,
}

impl Timings {
    pub(crate) fn new(groups: usize) -> Self {
        Self { deliveries: (0..groups).map(|_| new_histogram()).collect(), heads: new_histogram() }
    }

    /// Takes in what another has and leaves it empty.
    pub(crate) fn drain(&mut self, other: &mut Self) {
        let theirs = other.deliveries.iter_mut().chain([&mut other.heads]);
        for (ours, theirs) in self.deliveries.iter_mut().chain([&mut self.heads]).zip(theirs) {
            if !theirs.is_empty() {
                ours.add(&*theirs).expect("histograms of one shape");
                theirs.reset();
            }
        }
    }
}

/// An empty histogram of microseconds.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds are in order")
}

/// What a client thread tells the others.
pub(crate) struct Shared {
    /// Streams now.
    pub(crate) open: AtomicU64,
    /// Response heads received.
    pub(crate) opened: AtomicU64,
    /// Requests answered 429 or 503, and tried again.
    pub(crate) refused: AtomicU64,
    /// Connections that failed before an answer, and were tried again.
    pub(crate) failed: AtomicU64,
    /// Streams that came without the content coding they were asked for with.
    pub(crate) uncoded: AtomicU64,
    /// Streams the server ended.
    pub(crate) closed: AtomicU64,
    pub(crate) delivered: AtomicU64,
    /// Comment lines received while nothing else came.
    pub(crate) heartbeats: AtomicU64,
    pub(crate) last_ns: AtomicU64,
    /// Orders carried out, as far as they are done at once.
    pub(crate) taken: AtomicU64,
    /// Connections that orders still want opened or left.
    pub(crate) todo: Box<[AtomicU64]>,
    /// The answer to [`Order::CountBehind`].
    pub(crate) behind: AtomicU64,
    pub(crate) resting: AtomicBool,
    /// Something is published on a schedule, which prompt groups are to meet.
    pub(crate) scheduled: AtomicBool,
    pub(crate) stop: AtomicBool,
    pub(crate) trouble: Mutex<Option<String>>,
    /// The times a thread has handed over. Between two looks it keeps them to itself: nobody waits for a lock that a thread
    /// holds which has to wait for its core.
    pub(crate) timings: Mutex<Timings>,
    /// It is to hand over what it has.
    pub(crate) hand_over: AtomicBool,
}

impl Shared {
    /// Takes the times of a thread, if that is asked for.
    pub(crate) fn hand_over(&self, timings: &mut Timings) {
        if self.hand_over.load(Ordering::Acquire) {
            lock(&self.timings).drain(timings);
            self.hand_over.store(false, Ordering::Release);
        }
    }
}

/// Counts of a swarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) open: u64,
    pub(crate) opened: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) uncoded: u64,
    pub(crate) closed: u64,
    pub(crate) delivered: u64,
    pub(crate) heartbeats: u64,
    /// When the newest event came in.
    pub(crate) last_ns: u64,
}

struct Thread {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    handle: JoinHandle<Verdict>,
}

/// Subscribers that receive and check until told to finish.
pub(crate) struct Swarm {
    threads: Vec<Thread>,
    /// The agents behind the threads, if they hold the subscribers.
    agents: Vec<Arc<Hired>>,
    groups: usize,
    issued: u64,
}

impl Swarm {
    /// Starts the threads. Nobody connects yet.
    pub(crate) fn start(plan: &Plan) -> anyhow::Result<Self> {
        let threads = plan.lots().into_iter().map(|lot| spawn(plan, lot)).collect::<anyhow::Result<_>>()?;
        Ok(Self { threads, agents: Vec::new(), groups: plan.groups.len(), issued: 0 })
    }

    /// One whose subscribers are held by agents. Each has a thread to speak to it.
    pub(crate) fn of_agents(
        groups: usize,
        agents: Vec<(
            Arc<Hired>,
            impl FnOnce(Arc<Shared>, Receiver<Order>) -> anyhow::Result<Verdict> + Send + 'static,
        )>,
    ) -> anyhow::Result<Self> {
        let (agents, links): (Vec<_>, Vec<_>) = agents.into_iter().unzip();
        let threads = links.into_iter().enumerate().map(|(index, link)| begin(format!("agent-{index}"), groups, link));
        Ok(Self { threads: threads.collect::<anyhow::Result<_>>()?, agents, groups, issued: 0 })
    }

    /// Fails when an agent can't go on or was lost.
    pub(crate) fn watch_agents(&self) -> anyhow::Result<()> {
        if self.agents.is_empty() { Ok(()) } else { self.is_idle().map(drop) }
    }

    /// Waits until agents have told everything as it is now.
    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        let wanted: Vec<u64> = self.agents.iter().map(|agent| agent.want_sync()).collect();
        while self.agents.iter().zip(&wanted).any(|(agent, wanted)| !agent.is_synced(*wanted)) {
            self.watch_agents()?;
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// CPU used on each agent's machine when it last told everything.
    pub(crate) fn usages(&self) -> Vec<Usage> {
        self.agents.iter().map(|agent| agent.usage()).collect()
    }

    /// Orders carried out by all threads, as far as they are done at once.
    pub(crate) fn taken(&self) -> u64 {
        self.threads.iter().map(|thread| thread.shared.taken.load(Ordering::Acquire)).min().unwrap_or_default()
    }

    /// Tells all threads.
    pub(crate) fn order(&mut self, order: Order) {
        self.issued += 1;
        for thread in &self.threads {
            // A thread that has ended says so by its trouble.
            let _ = thread.orders.send(order);
        }
    }

    /// Is every order carried out? Fails when a thread can't go on.
    pub(crate) fn is_idle(&self) -> anyhow::Result<bool> {
        Ok(self.has_taken_all()? && self.todo() == 0)
    }

    /// Is every order to a group carried out? What other groups still do doesn't matter.
    pub(crate) fn is_idle_in(&self, group: usize) -> anyhow::Result<bool> {
        Ok(self.has_taken_all()? && self.todo_of(group) == 0)
    }

    fn has_taken_all(&self) -> anyhow::Result<bool> {
        if let Some(trouble) = self.threads.iter().find_map(|thread| lock(&thread.shared.trouble).clone()) {
            bail!("{trouble}");
        }
        if self.threads.iter().any(|thread| thread.handle.is_finished()) {
            bail!("a client thread stopped");
        }
        // The orders first: what they leave to be done is counted before they count as taken.
        Ok(self.threads.iter().all(|thread| thread.shared.taken.load(Ordering::Acquire) == self.issued))
    }

    /// Connections that orders still want opened or left.
    pub(crate) fn todo(&self) -> u64 {
        self.todo_of_groups().iter().sum()
    }

    /// Those of a group.
    pub(crate) fn todo_of(&self, group: usize) -> u64 {
        self.sum(|shared| &shared.todo[group])
    }

    /// Those of each group.
    pub(crate) fn todo_of_groups(&self) -> Vec<u64> {
        (0..self.groups).map(|group| self.todo_of(group)).collect()
    }

    /// How many hadn't got everything, once the order to count is taken.
    pub(crate) fn behind(&self) -> Option<u64> {
        let taken = self.threads.iter().all(|thread| thread.shared.taken.load(Ordering::Acquire) == self.issued);
        taken.then(|| self.sum(|shared| &shared.behind))
    }

    fn sum(&self, counter: impl Fn(&Shared) -> &AtomicU64) -> u64 {
        self.threads.iter().map(|thread| counter(&thread.shared).load(Ordering::Acquire)).sum()
    }

    /// All counts.
    pub(crate) fn counts(&self) -> Counts {
        let last = |thread: &Thread| thread.shared.last_ns.load(Ordering::Acquire);
        Counts {
            open: self.sum(|shared| &shared.open),
            opened: self.sum(|shared| &shared.opened),
            refused: self.sum(|shared| &shared.refused),
            failed: self.sum(|shared| &shared.failed),
            uncoded: self.sum(|shared| &shared.uncoded),
            closed: self.sum(|shared| &shared.closed),
            delivered: self.sum(|shared| &shared.delivered),
            heartbeats: self.sum(|shared| &shared.heartbeats),
            last_ns: self.threads.iter().map(last).max().unwrap_or_default(),
        }
    }

    /// Events received by all subscribers together.
    pub(crate) fn delivered(&self) -> u64 {
        self.sum(|shared| &shared.delivered)
    }

    /// When the newest event came in.
    pub(crate) fn last_ns(&self) -> u64 {
        self.counts().last_ns
    }

    /// A resting swarm looks at its sockets rarely, so that it doesn't disturb what is measured beside it.
    pub(crate) fn rest(&self, resting: bool) {
        for thread in &self.threads {
            thread.shared.resting.store(resting, Ordering::Release);
        }
        if !resting {
            std::thread::sleep(crate::worker::REST);
        }
    }

    /// While something is published on a schedule, prompt groups are read at once and before all others.
    pub(crate) fn keep_schedule(&self, scheduled: bool) {
        for thread in &self.threads {
            thread.shared.scheduled.store(scheduled, Ordering::Release);
        }
    }

    /// The times taken since the last call. Waits until all threads have handed theirs over.
    pub(crate) fn take_timings(&self) -> Timings {
        // Agents tell theirs without being asked (`sync`).
        let asked = self.threads.iter().filter(|_| self.agents.is_empty());
        asked.for_each(|thread| thread.shared.hand_over.store(true, Ordering::Release));
        let mut all = Timings::new(self.groups);
        for thread in &self.threads {
            while self.agents.is_empty()
                && thread.shared.hand_over.load(Ordering::Acquire)
                && !thread.handle.is_finished()
            {
                std::thread::sleep(HAND_OVER_NAP);
            }
            all.drain(&mut lock(&thread.shared.timings));
        }
        all
    }

    /// The times that were handed over since the last call; asks for the next ones, and waits for nobody.
    pub(crate) fn peek_timings(&self) -> Timings {
        let mut all = Timings::new(self.groups);
        for thread in &self.threads {
            if let Ok(mut timings) = thread.shared.timings.try_lock() {
                all.drain(&mut timings);
            }
            thread.shared.hand_over.store(self.agents.is_empty(), Ordering::Release);
        }
        all
    }

    fn stop(&self) {
        self.threads.iter().for_each(|thread| thread.shared.stop.store(true, Ordering::Release));
    }

    /// Closes all connections and judges what each received. Events that come too often get a moment to show up. Fails when
    /// a thread or an agent couldn't go on: then nobody knows what its subscribers got.
    pub(crate) fn finish(mut self) -> anyhow::Result<(Verdict, Vec<record::Agent>)> {
        std::thread::sleep(Duration::from_millis(50));
        self.stop();
        let mut verdict = Verdict::default();
        for thread in std::mem::take(&mut self.threads) {
            let name = format!("the thread {}", thread.handle.thread().name().unwrap_or_default());
            let judged = thread.handle.join();
            if let Some(trouble) = lock(&thread.shared.trouble).take() {
                bail!("{trouble}");
            }
            verdict.merge(joined(judged, &name)?);
        }
        Ok((verdict, self.agents.iter().filter_map(|agent| agent.record()).collect()))
    }
}

impl Drop for Swarm {
    /// Nobody wants to know any more, as where the run ended before it began: the threads end by themselves. Agents aren't told
    /// that a run was finished which wasn't; they hear that the connection ends.
    fn drop(&mut self) {
        if self.agents.is_empty() {
            self.stop();
        }
    }
}

/// The lock, also after a panic elsewhere.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(plan: &Plan, lot: Lot) -> anyhow::Result<Thread> {
    let plan = plan.clone();
    let kind = if lot.prompt { "prompt" } else { "client" };
    begin(format!("{kind}-{}", lot.share.index), plan.groups.len(), move |shared, orders| {
        Worker::new(plan, lot, shared, orders)?.run()
    })
}

/// Starts a thread that takes orders until it is told to stop, and judges.
fn begin(
    name: String,
    groups: usize,
    work: impl FnOnce(Arc<Shared>, Receiver<Order>) -> anyhow::Result<Verdict> + Send + 'static,
) -> anyhow::Result<Thread> {
    let number = || AtomicU64::new(0);
    let shared = Arc::new(Shared {
        open: number(),
        opened: number(),
        refused: number(),
        failed: number(),
        uncoded: number(),
        closed: number(),
        delivered: number(),
        heartbeats: number(),
        last_ns: number(),
        taken: number(),
        todo: (0..groups).map(|_| number()).collect(),
        behind: number(),
        resting: AtomicBool::new(false),
        scheduled: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        trouble: Mutex::new(None),
        timings: Mutex::new(Timings::new(groups)),
        hand_over: AtomicBool::new(false),
    });
    let (orders, inbox) = mpsc::channel();
    let own = Arc::clone(&shared);
    let handle = std::thread::Builder::new().name(name).spawn(move || match work(Arc::clone(&own), inbox) {
        Ok(verdict) => verdict,
        Err(error) => {
            *lock(&own.trouble) = Some(format!("{error:#}"));
            Verdict::default()
        }
    })?;
    Ok(Thread { shared, orders, handle })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;
    use crate::scenario::Scenario;
    use crate::target::Target;

    fn plan(groups: &str, share: Share) -> Plan {
        let text = format!("title = \"t\"\n{groups}\n[steps]\nround = [{{ wait = {{ seconds = 1 }} }}]\n");
        let scenario = Scenario::parse("x", &text, &[]).expect("makes sense");
        let dialect = Dialect {
            preset: crate::dialect::Preset::Cinnabar,
            target: Target::parse("http://127.0.0.1:1/").expect("parses"),
            plain: crate::dialect::Plain::default(),
            trust: None,
            issuer: None,
            publish_token: None,
        };
        Plan {
            dialect: Arc::new(dialect),
            groups: scenario.groups,
            lanes: Arc::new(Lanes::single()),
            sources: Sources::default(),
            threads: 2,
            cpus: Vec::new(),
            poll: Duration::ZERO,
            share,
            clock_shift: ClockShift::default(),
            arrivals: Arc::default(),
        }
    }

    const CROWD: &str = "[[group]]\nname = \"crowd\"\ncount = 40000\ntopics = [\"urn:x\"]\n";
    const FEW: &str = "[[group]]\nname = \"few\"\ncount = 3\ntopics = [\"urn:y\"]\nprompt = true\n";

    #[test]
    fn prompt_groups_have_threads_of_their_own() {
        let lots = plan(&format!("{CROWD}{FEW}"), Share::default()).lots();
        let lot = |index, of, prompt| Lot { share: Share { index, of }, prompt };
        assert_eq!(lots, [lot(0, 3, false), lot(1, 3, false), lot(2, 3, false), lot(0, 1, true)]);
        assert!(plan(CROWD, Share::default()).lots().iter().all(|lot| !lot.prompt));
    }

    #[test]
    fn of_an_agents_share_each_thread_has_its_part() {
        let lots = plan(&format!("{CROWD}{FEW}"), Share { index: 1, of: 2 }).lots();
        let lot = |index, of, prompt| Lot { share: Share { index, of }, prompt };
        assert_eq!(lots, [lot(1, 4, false), lot(3, 4, false), lot(1, 2, true)]);
    }

    /// A server that answers every request with a response head and keeps the connection.
    fn server() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            let mut streams = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                streams.push(stream);
            }
        });
        port
    }

    #[test]
    fn a_group_that_connects_slowly_does_not_hold_up_another_and_keeps_its_rate() {
        let mut plan = plan(&CROWD.replace("40000", "8").repeat(2).replacen("crowd", "slow", 1), Share::default());
        let url = format!("http://127.0.0.1:{}/", server());
        plan.dialect = Arc::new(Dialect { target: Target::parse(&url).expect("parses"), ..(*plan.dialect).clone() });
        let mut swarm = Swarm::start(&plan).expect("starts");
        // The next place of a thread is hours after its first.
        swarm.order(Order::Connect { group: 0, rate: Some(1e-4), goes_on: false, at_once: 8 });
        swarm.order(Order::Connect { group: 1, rate: None, goes_on: false, at_once: 8 });
        while !swarm.is_idle_in(1).expect("goes on") || swarm.counts().open < 10 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!((swarm.counts().open, swarm.todo_of(0), swarm.todo_of(1)), (10, 6, 0));
        assert!(!swarm.is_idle().expect("goes on"));
        swarm.finish().expect("judges");
    }

    #[test]
    fn a_thread_that_panics_is_an_error_and_no_verdict() {
        // Without a backtrace, which takes tens of megabytes: another test looks at this program's memory.
        let panics = |_, _| std::panic::resume_unwind(Box::new("as this test wants"));
        let threads = vec![begin("client-0".to_owned(), 0, panics).expect("starts")];
        let swarm = Swarm { threads, agents: Vec::new(), groups: 0, issued: 0 };
        let error = swarm.finish().expect_err("no verdict").to_string();
        assert!(error.starts_with("the thread client-0 panicked"), "{error}");
    }

    #[test]
    fn shares_are_all_together_everybody_once() {
        for (count, of) in [(10, 3), (1, 4), (0, 2), (7, 7), (100, 1)] {
            let parts: Vec<usize> = (0..of).map(|index| Share { index, of }.part_of(count)).collect();
            assert_eq!(parts.iter().sum::<usize>(), count, "{parts:?}");
            for (index, part) in parts.into_iter().enumerate() {
                assert_eq!(part, (index..count).step_by(of).count());
            }
        }
    }
}
