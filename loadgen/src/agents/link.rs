//! The coordinator's end of an agent: a thread of a swarm that has its orders carried out elsewhere. What the agent tells
//! stands where a client thread would have written it.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};

use super::clock::{Exchange, Offset};
use super::course::Follower;
use super::frame::{self, FrameError, Frames};
use super::hire::clock_offset;
use super::message::{ENTRIES_MAX, Finished, Status, ToAgent, ToCoordinator, Usage};
use super::serve::{READ_TIMEOUT, shortened};
use super::session::SILENCE_MAX;
use crate::lanes::{Lanes, Told};
use crate::ledger::Verdict;
use crate::record::{self, Clock};
use crate::swarm::{Order, Plan, Shared, lock};
use crate::sys;

/// How long reading waits before it is looked at what there is to say.
const TURN: Duration = Duration::from_millis(1);
/// The same while the subscribers rest, so that what is measured meanwhile isn't disturbed.
const TURN_AT_REST: Duration = Duration::from_millis(20);
/// How often an agent is told of what was published unless it asks.
const NEWS_NS: u64 = 50_000_000;
/// How often it is asked for the time.
const CLOCK_NS: u64 = 500_000_000;
/// How often it hears at least something.
pub(super) const ALIVE_NS: u64 = 1_000_000_000;

/// An agent, as the rest of the program sees it.
pub(crate) struct Hired {
    name: String,
    wanted: AtomicU64,
    synced: AtomicU64,
    usage: Mutex<Usage>,
    record: Mutex<Option<record::Agent>>,
}

impl Hired {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            wanted: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            usage: Mutex::default(),
            record: Mutex::default(),
        }
    }

    /// Has it tell everything as it is. Answers a number for [`Self::is_synced`].
    pub(crate) fn want_sync(&self) -> u64 {
        self.wanted.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Has it told everything as it was at that call or later?
    pub(crate) fn is_synced(&self, wanted: u64) -> bool {
        self.synced.load(Ordering::Acquire) >= wanted
    }

    /// What it had used then.
    pub(crate) fn usage(&self) -> Usage {
        *lock(&self.usage)
    }

    /// What there is to keep of it, once it has finished.
    pub(crate) fn record(&self) -> Option<record::Agent> {
        lock(&self.record).clone()
    }
}

/// A connection to an agent that has its part.
pub(super) struct Link {
    hired: Arc<Hired>,
    stream: TcpStream,
    frames: Frames<TcpStream>,
    lanes: Arc<Lanes>,
    groups: usize,
    offset: Offset,
    clock: Follower,
    subscribers: u64,
    told: Told,
    /// Its part of each topic's audience.
    audiences: Vec<u32>,
    verdict: Verdict,
}

/// When it was last spoken, and what was said.
struct Said {
    heard_ns: u64,
    news_ns: u64,
    alive_ns: u64,
    /// When it was asked for the time, until it has answered.
    asked_ns: Option<u64>,
    resting: bool,
    sync: u64,
    finish: bool,
}

impl Link {
    pub(super) fn new(
        hired: Arc<Hired>,
        stream: TcpStream,
        frames: Frames<TcpStream>,
        plan: &Plan,
        offset: Offset,
        subscribers: u64,
    ) -> Self {
        Self {
            hired,
            stream,
            frames,
            lanes: Arc::clone(&plan.lanes),
            groups: plan.groups.len(),
            offset,
            clock: Follower::new(offset, sys::now_ns()),
            subscribers,
            told: Told::default(),
            audiences: vec![0; plan.lanes.topics()],
            verdict: Verdict::default(),
        }
    }

    /// Runs until told to stop, and answers what the agent's subscribers received.
    pub(super) fn run(mut self, shared: &Shared, orders: &Receiver<Order>) -> anyhow::Result<Verdict> {
        self.stream.set_read_timeout(Some(TURN))?;
        let name = self.hired.name.clone();
        let finished = match self.follow(shared, orders) {
            Ok(finished) => finished,
            Err(Failure::Lost(error)) => bail!("the agent {name} was lost: {error}"),
            Err(Failure::Trouble(why)) => bail!("the agent {name}: {why}"),
        };
        self.finish(finished).with_context(|| format!("the agent {name}"))
    }

    /// Passes on orders and what was published, and enters what is told, until the agent has finished.
    fn follow(&mut self, shared: &Shared, orders: &Receiver<Order>) -> Result<Finished, Failure> {
        let now_ns = sys::now_ns();
        let mut said = Said {
            heard_ns: now_ns,
            news_ns: now_ns,
            alive_ns: now_ns,
            asked_ns: None,
            resting: false,
            sync: 0,
            finish: false,
        };
        loop {
            while let Some(message) = self.frames.poll()? {
                said.heard_ns = sys::now_ns();
                match message {
                    ToCoordinator::Status(status) => self.enter(*status, shared)?,
                    ToCoordinator::Ask(question) => self.tell_news(Some(question))?,
                    ToCoordinator::Orders(orders) => self.verdict.merge(Verdict::of_orders(orders)),
                    ToCoordinator::Finished(finished) => return Ok(*finished),
                    ToCoordinator::Trouble(why) => return Err(Failure::Trouble(shortened(&why))),
                    ToCoordinator::Time { received_ns, answered_ns } if said.asked_ns.is_some() => {
                        let asked_ns = said.asked_ns.take().unwrap_or_default();
                        let heard_ns = said.heard_ns;
                        let exchange = Exchange { asked_ns, received_ns, answered_ns, heard_ns };
                        if let Some(course) = self.clock.hear(exchange) {
                            self.say(&ToAgent::Clock(course.in_agents_time()))?;
                        }
                    }
                    ToCoordinator::Time { .. } | ToCoordinator::Starting | ToCoordinator::Started => {
                        return Err(FrameError::Garbage("a message out of place".to_owned()).into());
                    }
                }
            }
            self.speak(shared, orders, &mut said)?;
            if sys::now_ns().saturating_sub(said.heard_ns) > SILENCE_MAX.as_nanos() as u64 {
                return Err(FrameError::Silent(SILENCE_MAX.as_secs()).into());
            }
        }
    }

    fn speak(&mut self, shared: &Shared, orders: &Receiver<Order>, said: &mut Said) -> Result<(), FrameError> {
        let now_ns = sys::now_ns();
        while let Ok(order) = orders.try_recv() {
            // Many orders depend on what was published before them.
            self.tell_news(None)?;
            self.say(&ToAgent::Order(order))?;
        }
        let resting = shared.resting.load(Ordering::Acquire);
        if resting != said.resting {
            said.resting = resting;
            let turn = if resting { TURN_AT_REST } else { TURN };
            self.stream.set_read_timeout(Some(turn)).map_err(|error| FrameError::Broken(error.to_string()))?;
            self.say(&ToAgent::Rest(resting))?;
        }
        let sync = self.hired.wanted.load(Ordering::Acquire);
        if sync > said.sync {
            said.sync = sync;
            self.say(&ToAgent::Sync(sync))?;
        }
        if now_ns - said.news_ns > NEWS_NS {
            said.news_ns = now_ns;
            self.tell_news(None)?;
        }
        // A question for the time says as well that somebody is there. The last must have been answered before the end.
        if now_ns - said.alive_ns > CLOCK_NS && said.asked_ns.is_none() && !said.finish {
            said.alive_ns = now_ns;
            let asked_ns = sys::now_ns();
            self.say(&ToAgent::Time)?;
            said.asked_ns = Some(asked_ns);
        } else if now_ns - said.alive_ns > ALIVE_NS {
            said.alive_ns = now_ns;
            self.say(&ToAgent::Alive)?;
        }
        if !said.finish && shared.stop.load(Ordering::Acquire) {
            said.finish = true;
            self.tell_news(None)?;
            self.say(&ToAgent::Finish)?;
        }
        Ok(())
    }

    fn say(&mut self, message: &ToAgent) -> Result<(), FrameError> {
        frame::send(&mut self.stream, message)
    }

    /// Tells what was published since the last time.
    fn tell_news(&mut self, answers: Option<u64>) -> Result<(), FrameError> {
        let mut news = self.lanes.news(&mut self.told);
        while news.len() > ENTRIES_MAX {
            let rest = news.split_off(ENTRIES_MAX);
            self.say(&ToAgent::Lanes { news, answers: None })?;
            news = rest;
        }
        if news.is_empty() && answers.is_none() {
            return Ok(());
        }
        self.say(&ToAgent::Lanes { news, answers })
    }

    /// Enters what an agent tells, in the order a client thread would: what counts it last.
    fn enter(&mut self, status: Status, shared: &Shared) -> Result<(), FrameError> {
        for (topic, now) in status.audiences {
            let unknown = || FrameError::Garbage("a topic that isn't there".to_owned());
            let before = self.audiences.get_mut(topic as usize).ok_or_else(unknown)?;
            self.lanes.attend_many(topic, *before, now);
            *before = now;
        }
        if let Some(times) = status.times {
            let unknown = || FrameError::Garbage("times of groups that aren't there".to_owned());
            lock(&shared.timings).drain(&mut times.timings(self.groups).ok_or_else(unknown)?);
        }
        if status.todo.len() != shared.todo.len() {
            return Err(FrameError::Garbage("what groups that aren't there still do".to_owned()));
        }
        for (counter, todo) in shared.todo.iter().zip(status.todo) {
            counter.store(todo, Ordering::Release);
        }
        let counts = status.counts;
        for (counter, count) in [
            (&shared.open, counts.open),
            (&shared.opened, counts.opened),
            (&shared.refused, counts.refused),
            (&shared.failed, counts.failed),
            (&shared.uncoded, counts.uncoded),
            (&shared.closed, counts.closed),
            (&shared.last_ns, counts.last_ns),
            (&shared.heartbeats, counts.heartbeats),
            (&shared.delivered, counts.delivered),
            (&shared.behind, status.behind),
            (&shared.taken, status.taken),
        ] {
            counter.store(count, Ordering::Release);
        }
        *lock(&self.hired.usage) = status.usage;
        self.hired.synced.store(status.synced, Ordering::Release);
        Ok(())
    }

    /// Looks at the clock again, and keeps what there is to know of the agent.
    fn finish(mut self, finished: Finished) -> anyhow::Result<Verdict> {
        self.stream.set_read_timeout(Some(READ_TIMEOUT))?;
        let end = clock_offset(&mut self.stream, &mut self.frames)?;
        let (gained_ns, wrong_ns) = self.clock.close(sys::now_ns(), end);
        let microseconds = |ns: f64| (ns / 100.0).round() / 10.0;
        *lock(&self.hired.record) = Some(record::Agent {
            agent: self.hired.name.clone(),
            subscribers: self.subscribers,
            machine: finished.machine,
            build: finished.build,
            accounts: finished.accounts,
            scheduling: Some(finished.scheduling),
            clock: Clock {
                offset_ns: self.offset.offset_ns,
                uncertainty_us: microseconds(self.offset.uncertainty_ns.max(end.uncertainty_ns) as f64),
                drift_us: microseconds(gained_ns as f64),
                residual_us: Some(microseconds(wrong_ns as f64)),
            },
        });
        self.verdict.merge(finished.verdict);
        Ok(self.verdict)
    }
}

/// Why there will be no verdict.
enum Failure {
    Lost(FrameError),
    Trouble(String),
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Lost(error)
    }
}
