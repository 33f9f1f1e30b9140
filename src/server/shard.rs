//! A shard's thread: a monoio event loop that owns a share of the connections outright.
//!
//! All readiness – listener, wake-ups, ticks, parked sockets – comes through one epoll descriptor, which the loop
//! awaits. A turn takes in what is there, then writes one bounded slice and goes back to the loop, where the tasks of
//! requests have theirs.

mod accept;
mod crowd;
mod messages;
mod observe;
mod orders;
mod sessions;
mod streams;
mod waiting;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use crossbeam_channel::{Receiver, Sender as QueueSender, TrySendError};
use monoio::net::UnixStream;
use rustls::ServerConfig;

use crate::admin::{Stage, Tally};
use crate::config::LISTENERS_MAX;
use crate::hub::{CloseReason, Event, Found, Input, Now, Shard, SlotId, TICK_MS, Times};
use crate::protocol::coding::Coding;
use crate::protocol::known_topics::KnownTopics;
use crate::protocol::matcher::Matcher;
use crate::protocol::token::VerdictCache;
use crate::server::admin::{AdminBridge, Asked};
use crate::server::census::{self, Letters};
use crate::server::clock::Clock;
use crate::server::cluster::elsewhere;
use crate::server::commit::Committed;
use crate::server::compile::{Compiled, Job};
use crate::server::connection::SpareBody;
use crate::server::guests::{GuestLimits, Guests, PhaseLimits};
use crate::server::http2::Sessions;
use crate::server::inbox::{Bell, Inbox, Message};
use crate::server::key_sets::LiveKeys;
use crate::server::listen::Listener;
use crate::server::peers::Peers;
use crate::server::presence::{FromShard, SubscriberIds};
use crate::server::ration::Ration;
use crate::server::recall::{Find, Questions, Read};
use crate::server::replies::Replies;
use crate::server::sender::Sender;
use crate::server::sequencer::SequencerHandle;
use crate::server::settings::Settings;
use crate::server::shared::Shared;
use crate::server::sys::{self, Epoll, EventFd, Ready, Scratch, Ticker, Watch};
use crate::server::tracer::Tracer;
use crate::server::turns::Turns;
use crate::server::turnstile::Turnstile;
use accept::spare_descriptor;
use crowd::Crowd;
pub(crate) use streams::Whose;

/// Fresh signature checks per turn: about a millisecond of the slowest kind.
const SIGNATURE_CHECKS_MAX: usize = 8;
/// Questions about subscriptions and pieces of answers per turn: each takes up to half a millisecond or so.
const CENSUSES_MAX: usize = 4;
/// Steps of handshakes in which the hub signs, per turn: half a millisecond with ECDSA.
const HANDSHAKES_MAX: usize = 4;
/// Readiness events taken per turn.
const READY_MAX: usize = 64;
/// Events a shard without streams leaves to its next tick.
const UNDISPATCHED_MAX: u64 = 256;
/// Messages taken per turn.
const MESSAGES_MAX: usize = 1024;
/// Ticks made up for after a long turn: what sweeps all subscribers once.
const TICKS_MAX: u64 = 20;
/// How often history is told to drop what has aged, ticks.
const TRIM_TICKS: u64 = 20;
/// How long a kept-alive connection may be idle.
const IDLE_TIMEOUT_MS: u64 = 75_000;
/// How long a client may take for our answer.
pub(crate) const ANSWER_TIMEOUT_MS: u64 = 30_000;
/// Words of the epoll events that aren't parked sockets. A slot number never gets this high. Those of listeners count down.
const BELL: u64 = u64::MAX;
const TICK: u64 = u64::MAX - 1;
const LISTENER: u64 = u64::MAX - 2;

/// Which event loop runs, and so which way of yielding works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    Uring,
    Epoll,
}

/// What a shard is made of, handed to its thread.
pub(crate) struct ShardParts {
    pub(crate) index: usize,
    pub(crate) settings: Arc<Settings>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) keys: Arc<LiveKeys>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) messages: Receiver<Message>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) sequencer: SequencerHandle,
    pub(crate) finder: QueueSender<Find>,
    pub(crate) reader: QueueSender<Read>,
    pub(crate) compiler: QueueSender<Job>,
    pub(crate) announcer: QueueSender<FromShard>,
    pub(crate) subscriber_ids: Arc<SubscriberIds>,
    /// Where to ask who is subscribed at other hubs, in a cluster.
    pub(crate) elsewhere: Option<tokio::sync::mpsc::Sender<elsewhere::Asked>>,
    pub(crate) neighbours: Vec<Inbox>,
    pub(crate) driver: Driver,
    pub(crate) connections_max: usize,
    pub(crate) guest_limits: GuestLimits,
    pub(crate) random: u64,
    pub(crate) admin: tokio::sync::mpsc::Sender<Asked>,
    pub(crate) tracer: Tracer,
    /// The newest offset of the log before it began, and the event there.
    pub(crate) head: (u64, Option<Arc<Event>>),
}

/// A shard at work: what its loop and the tasks of its requests share.
pub(crate) struct Context {
    pub(crate) index: usize,
    /// A copy of its own: a reference count that all shards share would be fought over.
    settings: RefCell<Rc<Settings>>,
    /// What connections with TLS begin with.
    tls: RefCell<Option<Arc<ServerConfig>>>,
    /// What tokens are judged by.
    pub(crate) keys: RefCell<Arc<LiveKeys>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) sequencer: SequencerHandle,
    pub(crate) published: Replies<Committed>,
    pub(crate) found: Replies<Found>,
    compiled: Replies<Compiled>,
    compiler: QueueSender<Job>,
    announcer: QueueSender<FromShard>,
    /// Drawn from the shard while the announcer's queue was full.
    unannounced: RefCell<Option<FromShard>>,
    pub(crate) subscriber_ids: Arc<SubscriberIds>,
    letters: Letters,
    answered: Replies<census::Answer>,
    elsewhere: Option<tokio::sync::mpsc::Sender<elsewhere::Asked>>,
    answered_elsewhere: Replies<elsewhere::Answer>,
    pub(crate) verdicts: RefCell<VerdictCache>,
    pub(crate) topics: RefCell<KnownTopics>,
    pub(crate) guests: RefCell<Guests>,
    /// HTTP/2 connections.
    pub(crate) sessions: RefCell<Sessions>,
    /// Bytes of request bodies in memory, and of updates that wait for the sequencer's queue.
    pub(crate) body_bytes: Rc<Cell<usize>>,
    /// Bytes of heads that are recognised when they come again.
    pub(crate) familiar_bytes: Rc<Cell<usize>>,
    /// Bytes of the forms of QUERY in memory, which come without a token: an account of their own, so that they take no
    /// room from publishes.
    pub(crate) query_bytes: Rc<Cell<usize>>,
    /// How often the log was lost.
    pub(crate) logs_lost: Cell<u32>,
    /// Publishes that wait for room.
    pub(crate) waiting: Cell<usize>,
    waiters: RefCell<Vec<Waker>>,
    /// Fresh signature checks: so many per turn that a storm of new tokens doesn't stall the streams.
    pub(crate) signature_checks: Turnstile,
    /// Costly steps of handshakes, for the same reason.
    pub(crate) handshakes: Turnstile,
    /// Questions about who is subscribed, and pieces of the answers: whoever lists doesn't stall the streams.
    pub(crate) censuses: Turnstile,
    /// Turns of the loop, and tasks that let it have one before they go on.
    turns: Cell<u64>,
    yielding: RefCell<Vec<Waker>>,
    /// Bytes of pipelined requests this turn has taken.
    pipelined: Cell<usize>,
    shard: RefCell<Shard>,
    sender: RefCell<Sender>,
    epoll: RefCell<Epoll>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) spare_body: SpareBody,
    /// Empty once they are closed, for the hub is draining.
    listeners: RefCell<Vec<Listener>>,
    /// While draining: when they are closed, milliseconds of monotonic time.
    listeners_end_ms: Cell<Option<u64>>,
    /// A descriptor kept for when there is no other.
    spare: RefCell<Option<OwnedFd>>,
    /// Streams under a content coding, as the others were told.
    coded_streams: Cell<[u32; Coding::ALL.len()]>,
    peers: RefCell<Peers>,
    finds: Questions<Find>,
    reads: Questions<Read>,
    /// Lines that clients can cause, however often they do.
    pub(crate) refused_tokens: Ration,
    pub(crate) unparked: Ration,
    pub(crate) limited: Ration,
    pub(crate) uncertified: Ration,
    /// When this shard's share of what may be accepted is there again, nanoseconds.
    pub(crate) accepted: Cell<u64>,
    turned_away: Ration,
    random: Cell<u64>,
    date: RefCell<(u64, Rc<str>)>,
    driver: Driver,
    connections_max: Cell<usize>,
    ticks: Cell<u64>,
    /// Whether a crowd has left, whose memory is to be given back.
    crowd: RefCell<Crowd>,
    /// While stopping: when the streams are ended even if something is still owed to them.
    streams_end_ms: Cell<Option<u64>>,
    messages: Receiver<Message>,
    bell: Arc<Bell>,
    /// A task of this shard has asked for a turn; and the loop, if it sleeps.
    roused: Cell<bool>,
    sleeping: RefCell<Option<Waker>>,
    ticker: Ticker,
    /// When the ticker was started, and how late its ticks were.
    ticker_started_us: u64,
    loop_lag: RefCell<Times>,
    /// What requests have come to.
    pub(crate) tally: RefCell<Tally>,
    /// The way to those who answer administrators.
    pub(crate) admin: AdminBridge,
    orders: RefCell<orders::Orders>,
    pub(crate) tracer: Tracer,
}

impl Context {
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// What the hub is told; a request keeps to what held when it came.
    pub(crate) fn settings(&self) -> Rc<Settings> {
        self.settings.borrow().clone()
    }

    /// What a connection with TLS begins with; `None`: there is no certificate.
    pub(crate) fn tls_config(&self) -> Option<Arc<ServerConfig>> {
        self.tls.borrow().clone()
    }

    /// Connections there may be, over all shards.
    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max.get()
    }

    /// Whether all that is left ends now.
    pub(crate) fn stopping(&self) -> bool {
        self.shared.stage() == Stage::Stopping
    }

    /// Whether nobody new is let in: connections end with the answer they wait for.
    pub(crate) fn draining(&self) -> bool {
        self.shared.stage() >= Stage::Draining
    }

    /// The `Date` field's value, made anew once a second.
    pub(crate) fn date(&self) -> Rc<str> {
        let seconds = self.clock.wall_ms() / 1000;
        let mut date = self.date.borrow_mut();
        if date.0 != seconds {
            *date = (seconds, crate::http::date::http_date(seconds).into());
        }
        date.1.clone()
    }

    /// A number that spreads things in time; nothing secret hangs on it.
    pub(crate) fn random(&self) -> u64 {
        // SplitMix64, seeded by the operating system at start.
        let state = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.letters.shards()
    }

    /// The id of the newest event, all that was acknowledged included; `None` before the first one.
    pub(crate) fn last_event_id(&self) -> Option<String> {
        self.take_in_messages(self.messages.len(), self.now());
        self.shard.borrow().newest().map(|event| event.id().to_owned())
    }

    /// Tells the announcer who came and went, as far as it has room.
    fn announce(&self) {
        let mut unannounced = self.unannounced.borrow_mut();
        let mut shard = self.shard.borrow_mut();
        while let Some(next) = unannounced.take().or_else(|| Some((self.index, shard.announcement()?))) {
            if let Err(TrySendError::Full(next)) = self.announcer.try_send(next) {
                *unannounced = Some(next);
                break;
            }
        }
    }

    /// Whether there is room for what somebody wants to subscribe to.
    pub(crate) fn has_room(&self, matchers: &[Matcher]) -> bool {
        self.shard.borrow().has_room(matchers)
    }

    /// Commits what is queued for the log, as far as that needs no waiting, and takes in what came of it: for a task that is
    /// about to wait for just that. The streams are the loop's.
    pub(crate) fn commit_queued(&self) {
        self.sequencer.commit(self.index);
        self.take_in_messages(MESSAGES_MAX, self.now());
        let shard = self.shard.borrow();
        if shard.live() > 0 || shard.undispatched() > UNDISPATCHED_MAX {
            self.rouse();
        }
    }

    /// One turn: take in what is there, write one slice. Whether there is more to write at once. `look`: something may be
    /// ready.
    fn turn(self: &Rc<Self>, look: bool, ready: &mut Vec<Ready>) -> bool {
        let now = self.now();
        // Read before the inbox: when no request is left, all that was acknowledged lies there or in the tail.
        let no_requests =
            self.shared.listening.load(Ordering::Acquire) == 0 && self.shared.guests.load(Ordering::Acquire) == 0;
        self.turns.set(self.turns.get() + 1);
        self.pipelined.set(0);
        for waiter in std::mem::take(&mut *self.yielding.borrow_mut()) {
            waiter.wake();
        }
        self.signature_checks.turn();
        self.handshakes.turn();
        self.censuses.turn();
        if look && let Err(error) = self.epoll.borrow_mut().poll(ready) {
            tracing::error!(shard = self.index, %error, "polling for readiness failed");
        }
        for event in ready.drain(..) {
            match event.word {
                BELL => self.bell.answer(),
                TICK => self.tick(now),
                word => match listener_at(word) {
                    Some(at) => _ = self.accept(at, now),
                    None => self.socket_ready(SlotId::from_bits(word), event, now),
                },
            }
        }
        self.empty_listeners(now);
        self.sequencer.commit(self.index);
        self.take_in_messages(MESSAGES_MAX, now);
        self.shard.borrow_mut().errand(now);
        self.carry_out();
        let mut shard = self.shard.borrow_mut();
        if let Some(mut batch) = shard.slice() {
            self.sender.borrow_mut().send(&shard, &mut batch);
            batch.sent_us = self.clock.mono_us();
            shard.handle(Input::Sent(batch), now);
        }
        self.bell.set_urgent(shard.live() > 0);
        if self.draining() {
            let population = shard.population();
            self.shared.set_streams_left(self.index, (population.current + population.behind).into());
        }
        let announces = shard.has_announcements() || self.unannounced.borrow().is_some();
        self.tell_coded_streams(&shard);
        let overloaded = shard.overloaded();
        let busy = shard.busy() || !self.messages.is_empty();
        if let Some(deadline_ms) = self.streams_end_ms.get()
            && (no_requests && self.messages.is_empty() && !shard.owes(now) || now.mono_ms >= deadline_ms)
        {
            // What was acknowledged is written, to everybody who takes it; now the streams end.
            self.streams_end_ms.set(None);
            shard.handle(Input::Stop, now);
            self.rouse();
        }
        drop(shard);
        if announces {
            self.announce();
        }
        self.carry_out();
        self.shared.set_overloaded(self.index, overloaded);
        if !overloaded && self.waiting.get() > 0 {
            self.wake_waiters();
        }
        busy || [&self.signature_checks, &self.handshakes, &self.censuses].iter().any(|stile| stile.is_waited_at())
    }

    fn tick(&self, now: Now) {
        let fired = self.ticker.fired();
        if fired == 0 {
            return;
        }
        let before = self.ticks.get();
        self.ticks.set(before + fired);
        self.observe(before, now);
        for _ in 0..fired.min(TICKS_MAX) {
            self.shard.borrow_mut().handle(Input::Tick, now);
        }
        let second = self.ticks.get() / TRIM_TICKS > before / TRIM_TICKS;
        if self.index == 0 && second {
            self.sequencer.trim();
        }
        let crowd = self.shard.borrow().remembered() + self.guests.borrow().len() as u32;
        // Near the ceiling whoever comes is refused: not for memory that is free and only kept.
        if self.crowd.borrow_mut().has_left(crowd, self.ticks.get()) || second && self.shared.limits.ceiling.is_near() {
            sys::give_back_memory();
        }
        self.guests.borrow_mut().sweep(now.mono_ms);
        if second {
            self.sweep_sessions(now);
        }
        if self.stopping() {
            self.guests.borrow_mut().dismiss_idle(now.mono_ms);
        }
        self.wake_listeners();
        self.letters.send_again();
        self.finds.ask_again();
        self.reads.ask_again();
        self.wake_waiters();
    }

    fn say_what_was_done(&self, turns: &Turns) {
        let shard = self.shard.borrow();
        let counters = shard.counters();
        let closed = CloseReason::ALL.map(|reason| format!("{} {}", reason.name(), counters.closed[reason as usize]));
        tracing::info!(
            shard = self.index,
            registered = counters.registered,
            closed = closed.join(", "),
            dispatched = counters.dispatched,
            deliveries = counters.deliveries,
            sends = counters.sends,
            short_sends = counters.short_sends,
            bytes = counters.bytes,
            heartbeats = counters.heartbeats,
            history_reads = counters.history_reads,
            turns = turns.turns,
            turns_over_2_ms = turns.long,
            longest_turn_us = turns.longest_us,
            "shard stopped"
        );
    }

    /// Whether a stopping shard has nothing left to finish.
    fn finished(&self) -> bool {
        self.stopping()
            && self.listeners.borrow().is_empty()
            && self.shard.borrow().live() == 0
            && self.guests.borrow().len() == 0
            && self.sessions.borrow().len() == 0
            && self.messages.is_empty()
    }
}

/// The word of a listener's events.
fn listener_word(at: usize) -> u64 {
    LISTENER - at as u64
}

/// Which listener a word means.
fn listener_at(word: u64) -> Option<usize> {
    Some((LISTENER - word) as usize).filter(|&at| at < LISTENERS_MAX)
}

fn phases(settings: &Settings) -> PhaseLimits {
    PhaseLimits {
        head_ms: settings.head_timeout_ms,
        body_ms: settings.body_timeout_ms,
        idle_ms: IDLE_TIMEOUT_MS,
        answer_ms: ANSWER_TIMEOUT_MS,
    }
}

/// Runs a shard until it has stopped. To be called on the shard's thread, within its monoio runtime.
pub(crate) async fn run(parts: ShardParts, sender: Sender) -> io::Result<()> {
    let ShardParts { index, settings, shared, clock, listeners, messages, bell, sequencer, driver, .. } = parts;
    let epoll = Epoll::new(READY_MAX)?;
    let (ticker, ticker_started_us) = (Ticker::new(TICK_MS)?, clock.mono_us());
    epoll.add(bell.fd().as_raw_fd(), Watch::Level, BELL)?;
    epoll.add(ticker.as_raw_fd(), Watch::Level, TICK)?;
    for (at, listener) in listeners.iter().enumerate() {
        epoll.add(listener.socket.as_raw_fd(), Watch::Level, listener_word(at))?;
    }
    let gate = UnixStream::from_std(epoll.duplicate()?.into())?;
    let always = UnixStream::from_std(OwnedFd::from(EventFd::new(1)?).into())?;
    let mut shard = Shard::new(settings.shard, settings.hub.clone(), 0);
    shard.go_on_after(parts.head.0, parts.head.1);
    let context = Rc::new(Context {
        index,
        shard: RefCell::new(shard),
        verdicts: RefCell::new(VerdictCache::default()),
        topics: RefCell::new(KnownTopics::new(settings.hub.clone())),
        guests: RefCell::new(Guests::new(phases(&settings), parts.guest_limits)),
        sessions: RefCell::default(),
        settings: RefCell::new(Rc::new(Settings::clone(&settings))),
        tls: RefCell::new(parts.tls),
        keys: RefCell::new(parts.keys),
        shared,
        clock,
        sequencer,
        published: Replies::new(),
        found: Replies::new(),
        compiled: Replies::new(),
        compiler: parts.compiler,
        announcer: parts.announcer,
        unannounced: RefCell::new(None),
        subscriber_ids: parts.subscriber_ids,
        letters: Letters::new(parts.neighbours),
        answered: Replies::new(),
        elsewhere: parts.elsewhere,
        answered_elsewhere: Replies::new(),
        body_bytes: Rc::new(Cell::new(0)),
        familiar_bytes: Rc::new(Cell::new(0)),
        query_bytes: Rc::new(Cell::new(0)),
        logs_lost: Cell::new(0),
        waiting: Cell::new(0),
        waiters: RefCell::new(Vec::new()),
        signature_checks: Turnstile::new(SIGNATURE_CHECKS_MAX),
        handshakes: Turnstile::new(HANDSHAKES_MAX),
        censuses: Turnstile::new(CENSUSES_MAX),
        turns: Cell::new(0),
        yielding: RefCell::new(Vec::new()),
        pipelined: Cell::new(0),
        sender: RefCell::new(sender),
        epoll: RefCell::new(epoll),
        scratch: RefCell::new(Scratch::new()),
        spare_body: SpareBody::default(),
        listeners: RefCell::new(listeners),
        listeners_end_ms: Cell::new(None),
        spare: RefCell::new(spare_descriptor()),
        coded_streams: Cell::default(),
        peers: RefCell::new(Peers::default()),
        finds: Questions::new(parts.finder),
        reads: Questions::new(parts.reader),
        refused_tokens: Ration::default(),
        unparked: Ration::default(),
        limited: Ration::default(),
        uncertified: Ration::default(),
        accepted: Cell::new(0),
        turned_away: Ration::default(),
        random: Cell::new(parts.random),
        date: RefCell::new((0, "".into())),
        driver,
        connections_max: Cell::new(parts.connections_max),
        ticks: Cell::new(0),
        crowd: RefCell::default(),
        streams_end_ms: Cell::new(None),
        messages,
        bell,
        roused: Cell::new(false),
        sleeping: RefCell::new(None),
        ticker,
        ticker_started_us,
        loop_lag: RefCell::default(),
        tally: RefCell::default(),
        admin: AdminBridge::new(index, parts.admin),
        orders: RefCell::default(),
        tracer: parts.tracer,
    });
    let mut ready = Vec::with_capacity(READY_MAX);
    let mut turns = Turns::new(index);
    // Never cancelled: what has not come yet is waited for by the next round, too.
    let mut readiness = pin!(gate.readable(false));
    let (mut look, mut roused_before) = (true, false);
    while !context.finished() {
        let busy = context.turn(look, &mut ready);
        turns.count(clock.mono_us(), sys::thread_cpu_us, context.shard.borrow().counters());
        if driver == Driver::Epoll {
            // Everything queued runs first, and the driver is polled: a readiness that is there already doesn't yield.
            monoio::spawn(async {}).await;
        } else if busy || roused_before {
            // Goes through the ring, whose completions are otherwise only seen when the loop sleeps.
            always.readable(false).await?;
        }
        (look, roused_before) = (true, false);
        if !busy {
            let came = poll_fn(|cx| {
                if let Poll::Ready(came) = readiness.as_mut().poll(cx) {
                    return Poll::Ready(Some(came));
                }
                if context.roused.take() {
                    return Poll::Ready(None);
                }
                *context.sleeping.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            });
            match came.await {
                Some(came) => {
                    came?;
                    readiness.set(gate.readable(false));
                }
                // Nothing is known to be ready. A task that rouses the loop in each of its turns mustn't keep it from its ring.
                None => (look, roused_before) = (false, true),
            }
        }
    }
    context.say_what_was_done(&turns);
    Ok(())
}
