//! One client thread: its share of every group, on one epoll descriptor, with one read buffer for all. The descriptor
//! table is its own. It polls and never sleeps in epoll, unless its groups are to be prompt.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::dialect::Ask;
use crate::group::{Group, Reads};
use crate::ledger::{Ending, Receipt, Span, Verdict};
use crate::payload::Found;
use crate::subscriber::{Subscriber, Visit};
use crate::swarm::{Lot, Order, Plan, Shared, Timings};
use crate::sys::{self, Epoll, Precedence, Ready};

mod accounts;
mod connecting;
mod schedule;
mod turnover;

use schedule::Schedule;
use turnover::{Churn, Leaver};

const READ_BUFFER_BYTES: usize = 64 * 1024;
const READY_MAX: usize = 1024;
/// How often a swarm looks that has been told to rest.
pub(crate) const REST: Duration = Duration::from_millis(20);
/// How long a prompt thread sleeps when nothing comes.
const PROMPT_SLEEP_MS: i32 = 10;
/// Slow readers read so often.
const SIP_NS: u64 = 100_000_000;
/// Tries in a row that may fail before an answer, over all connections of a thread.
const FAILURES_MAX: u64 = 100_000;

/// A member of a group: who it is among all, and where its part of the ledgers is.
struct Member {
    group: u16,
    /// Its place in the group.
    n: u32,
    spans_at: u32,
    topics_at: u32,
    /// It has asked at least once since its receipt began.
    asked: bool,
    subscriber: Subscriber,
}

/// With its spans, topics and last id a subscriber stays at some 300 bytes.
const _: () = assert!(size_of::<Member>() <= 160);

/// One thread's share of the swarm.
pub(crate) struct Worker {
    plan: Plan,
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    lot: Lot,
    epoll: Epoll,
    members: Vec<Member>,
    /// Where each group's members begin, and the end.
    starts: Vec<usize>,
    /// The published topics of all members, one after another.
    topics: Vec<u32>,
    spans: Vec<Span>,
    retired: VecDeque<(u32, Receipt, Box<[Span]>, Ending)>,
    verdict: Verdict,
    /// Of each group: who connects, and when.
    schedules: Vec<Schedule>,
    leavers: Vec<Leaver>,
    /// Members that have their head and wait for an answer what was sent by then, with its number (at an agent only).
    undated: VecDeque<(u32, u64)>,
    churns: Vec<Churn>,
    reading: Vec<bool>,
    next_sip_ns: u64,
    shared_tokens: Vec<Option<String>>,
    failures: u64,
    /// Those that weren't handed over yet.
    timings: Timings,
}

impl Worker {
    /// Must be called on its thread.
    pub(crate) fn new(plan: Plan, lot: Lot, shared: Arc<Shared>, orders: Receiver<Order>) -> anyhow::Result<Self> {
        sys::own_descriptor_table()?;
        sys::pin_to(&plan.cpus)?;
        let (mut members, mut topics, mut spans, mut starts) = (Vec::new(), Vec::new(), 0, vec![0]);
        for (at, group) in plan.groups.iter().enumerate() {
            let count = if group.prompt == lot.prompt { group.count } else { 0 };
            for n in (lot.share.index..count).step_by(lot.share.of) {
                let (spans_at, topics_at) = (spans as u32, topics.len() as u32);
                for topic in group.published_of(n, &plan.lanes) {
                    topics.push(topic);
                    spans += plan.lanes.of_topic(topic).len();
                }
                let subscriber = Subscriber::new(group.keeps_id);
                let group = at as u16;
                members.push(Member { group, n: n as u32, spans_at, topics_at, asked: false, subscriber });
            }
            starts.push(members.len());
        }
        let shared_token = |group: &Group| {
            let all = group.topics_of(0);
            plan.dialect.subscriber_token(crate::dialect::TokenUse::Shared, &all, 0)
        };
        Ok(Self {
            shared,
            orders,
            lot,
            epoll: Epoll::new()?,
            members,
            starts,
            topics,
            spans: vec![Span::default(); spans],
            retired: VecDeque::new(),
            verdict: Verdict::default(),
            schedules: plan.groups.iter().map(|_| Schedule::new()).collect(),
            leavers: Vec::new(),
            undated: VecDeque::new(),
            churns: Vec::new(),
            reading: vec![true; plan.groups.len()],
            next_sip_ns: 0,
            shared_tokens: plan.groups.iter().map(shared_token).collect(),
            failures: 0,
            timings: Timings::new(plan.groups.len()),
            plan,
        })
    }

    /// Runs until told to stop, and judges what all received.
    pub(crate) fn run(mut self) -> anyhow::Result<Verdict> {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut room = [Ready::EMPTY; READY_MAX];
        let any_prompt = self.plan.groups.iter().any(|group| group.prompt);
        let mut scheduled = false;
        while !self.shared.stop.load(Ordering::Acquire) {
            let now_ns = sys::now_ns();
            let mut taken = 0;
            while let Ok(order) = self.orders.try_recv() {
                self.take(order, now_ns, &mut buffer);
                taken += 1;
            }
            self.connect_due(now_ns)?;
            self.churn_due(now_ns);
            self.let_leave(now_ns);
            self.date_heads();
            self.count_todo();
            if taken > 0 {
                self.shared.taken.fetch_add(taken, Ordering::AcqRel);
            }
            self.shared.hand_over(&mut self.timings);
            if any_prompt && scheduled != self.shared.scheduled.load(Ordering::Acquire) {
                scheduled = !scheduled;
                sys::go(match (scheduled, self.lot.prompt) {
                    (true, true) => Precedence::First,
                    (true, false) => Precedence::Last,
                    (false, _) => Precedence::Fair,
                });
            }
            let prompt = scheduled && self.lot.prompt;
            let ready = self.epoll.wait(&mut room, if prompt { PROMPT_SLEEP_MS } else { 0 })?;
            let full = ready.len() == READY_MAX;
            self.sweep(ready, &mut buffer)?;
            if now_ns >= self.next_sip_ns {
                self.next_sip_ns = now_ns + SIP_NS;
                self.sip(&mut buffer)?;
            }
            if !full && !prompt {
                let resting = self.shared.resting.load(Ordering::Acquire);
                std::thread::sleep(if resting { REST } else { self.plan.poll });
            }
        }
        self.judge_all();
        Ok(self.verdict)
    }

    /// Says what is still to be done, group by group.
    fn count_todo(&self) {
        let mut todo: Vec<u64> = self.schedules.iter().map(|schedule| schedule.todo() as u64).collect();
        let members = self.undated.iter().map(|(at, _)| *at).chain(self.leavers.iter().map(|leaver| leaver.member));
        members.for_each(|at| todo[usize::from(self.members[at as usize].group)] += 1);
        for (shared, todo) in self.shared.todo.iter().zip(&todo) {
            shared.store(*todo, Ordering::Release);
        }
    }

    fn of_group(&self, group: usize) -> std::ops::Range<usize> {
        self.starts[group]..self.starts[group + 1]
    }

    fn topics_of(&self, at: usize) -> &[u32] {
        &self.topics[self.topics_range(at)]
    }

    /// Where a member's spans are, and the lanes they belong to.
    fn lanes_of(&self, at: usize) -> (usize, impl Iterator<Item = usize> + '_) {
        let lanes = self.topics_of(at).iter().flat_map(|&topic| self.plan.lanes.of_topic(topic));
        (self.members[at].spans_at as usize, lanes)
    }

    fn spans_of(&self, at: usize) -> std::ops::Range<usize> {
        let end = self.members.get(at + 1).map_or(self.spans.len(), |next| next.spans_at as usize);
        self.members[at].spans_at as usize..end
    }

    fn take(&mut self, order: Order, now_ns: u64, buffer: &mut [u8]) {
        match order {
            Order::Connect { group, rate, goes_on, at_once } => {
                let of = self.lot.share.of;
                let gap_ns = rate.map_or(0, |rate| (1e9 * of as f64 / rate) as u64);
                self.schedules[group].pace(gap_ns, (at_once / of).max(1), now_ns);
                for at in self.of_group(group) {
                    if self.members[at].subscriber.is_away() {
                        self.schedules[group].want(at as u32, goes_on);
                    }
                }
            }
            Order::Drop { group, share } => {
                let range = self.of_group(group);
                let drop = (range.len() as f64 * share).round() as usize;
                for at in range.filter(|&at| self.members[at].subscriber.is_streaming()).take(drop).collect::<Vec<_>>()
                {
                    self.close(at);
                }
            }
            Order::Leave { group } => {
                for at in self.of_group(group) {
                    if self.members[at].subscriber.is_streaming() {
                        self.leave(at, now_ns, false);
                    }
                }
            }
            Order::Churn { group, rate } => {
                let gap_ns = if rate > 0.0 { (1e9 * self.lot.share.of as f64 / rate) as u64 } else { 0 };
                let cursor = self.of_group(group).start;
                // They come at the rate at which they leave.
                self.schedules[group].unpace();
                self.churns.retain(|churn| churn.group != group);
                self.churns.extend((gap_ns > 0).then_some(Churn { group, gap_ns, next_ns: now_ns + gap_ns, cursor }));
            }
            Order::Read { group, reads } => {
                self.reading[group] = reads;
                if reads {
                    // What came meanwhile was reported then and won't be again.
                    for at in self.of_group(group) {
                        if self.members[at].subscriber.is_streaming() {
                            let mut tally = Tally::default();
                            self.visit(at, true, false, buffer, &mut tally);
                            self.enter(&mut tally);
                        }
                    }
                }
            }
            Order::CountBehind => {
                let behind = self.count_behind();
                self.shared.behind.store(behind, Ordering::Release);
            }
        }
    }

    /// Ends a stream, if it is one.
    fn close(&mut self, at: usize) {
        if self.members[at].subscriber.is_streaming() {
            self.gone(at);
        }
        self.members[at].subscriber.leave();
    }

    /// A stream began or ended.
    fn attend(&self, at: usize, comes: bool) {
        if self.plan.groups[usize::from(self.members[at].group)].must_have_all() {
            for &topic in self.topics_of(at) {
                self.plan.lanes.attend(topic, comes);
            }
        }
    }

    fn gone(&self, at: usize) {
        self.attend(at, false);
        self.shared.open.fetch_sub(1, Ordering::AcqRel);
    }

    fn sweep(&mut self, ready: &[Ready], buffer: &mut [u8]) -> anyhow::Result<()> {
        let mut tally = Tally::default();
        for ready in ready {
            let at = ready.token();
            let group = usize::from(self.members[at].group);
            let streams = self.members[at].subscriber.is_streaming();
            if streams && (self.plan.groups[group].reads != Reads::AtOnce || !self.reading[group]) {
                continue;
            }
            self.visit(at, ready.hung_up(), false, buffer, &mut tally);
        }
        self.enter(&mut tally);
        anyhow::ensure!(self.failures < FAILURES_MAX, "{FAILURES_MAX} connections in a row failed");
        Ok(())
    }

    /// Slow readers take what their rate allows.
    fn sip(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        for group in 0..self.plan.groups.len() {
            let Reads::BytesPerSecond(rate) = self.plan.groups[group].reads else {
                continue;
            };
            let bytes = (u64::from(rate) * SIP_NS / 1_000_000_000).clamp(1, buffer.len() as u64) as usize;
            let mut tally = Tally::default();
            for at in self.of_group(group) {
                if self.members[at].subscriber.is_streaming() {
                    self.visit(at, false, true, &mut buffer[..bytes], &mut tally);
                }
            }
            self.enter(&mut tally);
        }
        Ok(())
    }

    fn visit(&mut self, at: usize, hung_up: bool, once: bool, buffer: &mut [u8], tally: &mut Tally) {
        let (first_span, topics) = (self.members[at].spans_at as usize, self.topics_range(at));
        let group = usize::from(self.members[at].group);
        let Self { members, spans, plan, topics: all_topics, shared_tokens, timings, .. } = self;
        let topics = &all_topics[topics];
        let member = &mut members[at];
        let latency = &mut timings.deliveries[group];
        let n = member.n as usize;
        let request = |last_id: Option<&[u8]>| make_request(plan, group, n, last_id, shared_tokens[group].as_deref());
        let mut enter = |receipt: &mut Receipt, found: Found, read_ns: u64| {
            let (number, time_ns) = match found {
                Found::Event { number, time_ns } => (number, time_ns),
                Found::Torn => return receipt.tear(),
                Found::Comments(count) => {
                    tally.heartbeats += count;
                    return;
                }
            };
            let mut at = first_span;
            for &topic in topics {
                let lanes = plan.lanes.of_topic(topic);
                if topic as usize == number.topic()
                    && let Some(lane) = plan.lanes.of(number)
                {
                    let now_ns = read_ns.wrapping_add_signed(plan.clock_shift.ns());
                    tally.last_ns = tally.last_ns.max(now_ns);
                    if receipt.enter(number, lane, &mut spans[at + lane - lanes.start]) {
                        latency.saturating_record(now_ns.saturating_sub(time_ns) / 1000);
                        if let Some(Some(arrivals)) = plan.arrivals.get(group) {
                            arrivals.enter(lane, number.sequence() as u32, time_ns, now_ns);
                        }
                        tally.delivered += u64::from(plan.groups[group].must_have_all());
                    }
                    return;
                }
                at += lanes.len();
            }
            receipt.stray();
        };
        let visit = member.subscriber.visit(hung_up, once, request, buffer, &mut enter);
        let asked_ns = member.subscriber.asked_ns;
        match visit {
            Visit::Pending | Visit::Streaming => {}
            Visit::Opened => {
                self.timings.heads.saturating_record(sys::now_ns().saturating_sub(asked_ns) / 1000);
                self.opened(at);
            }
            Visit::Closed { opened } => {
                if opened {
                    self.opened(at);
                }
                self.closed(at);
            }
            Visit::Refused(refusal) => self.refused(at, refusal),
        }
    }

    fn topics_range(&self, at: usize) -> std::ops::Range<usize> {
        let end = self.members.get(at + 1).map_or(self.topics.len(), |next| next.topics_at as usize);
        self.members[at].topics_at as usize..end
    }

    fn enter(&mut self, tally: &mut Tally) {
        if tally.delivered > 0 {
            // The time first: who sees the count must see the time.
            self.shared.last_ns.fetch_max(tally.last_ns, Ordering::AcqRel);
            self.shared.delivered.fetch_add(tally.delivered, Ordering::AcqRel);
        }
        if tally.heartbeats > 0 {
            self.shared.heartbeats.fetch_add(tally.heartbeats, Ordering::AcqRel);
        }
        *tally = Tally::default();
    }
}

/// What a sweep brought.
#[derive(Default)]
struct Tally {
    delivered: u64,
    last_ns: u64,
    heartbeats: u64,
}

fn make_request(plan: &Plan, group: usize, n: usize, last_id: Option<&[u8]>, shared_token: Option<&str>) -> Vec<u8> {
    use crate::dialect::TokenUse;
    let group = &plan.groups[group];
    let topics = group.topics_of(n);
    let own;
    let token = match group.token {
        TokenUse::None => None,
        TokenUse::Shared => shared_token,
        TokenUse::Own => {
            own = plan.dialect.subscriber_token(TokenUse::Own, &topics, n);
            own.as_deref()
        }
    };
    let last_id = last_id.or(if group.earliest { Some(b"earliest") } else { None });
    plan.dialect.subscribe(Ask { topics: &topics, token, last_id, encoding: group.encoding.as_deref() })
}
