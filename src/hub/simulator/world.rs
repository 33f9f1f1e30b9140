//! The hub around the shards, without threads: a sequencer, a memory history and its readers, queues between them that
//! are as slow as chance will have it, and a clock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, RwLock};

use super::client::{Client, Connection, Edge, Phase};
use super::oracle::{Due, Interest, Ledger, Publish};
use super::random::Random;
use super::rules::Rules;
use super::trace::note;
use super::universe::{ANNOUNCED, Universe};
use crate::history::MemoryHistory;
use crate::hub::defect::{Defect, planted};
use crate::hub::{
    Announcement, Draft, Event, Filter, Findings, Found, Gone, HistoryChunk, HistoryError, Input, Log, Now,
    Registration, Revocation, Shard, Sink, SlotId, SocketId, Start, TICK_MS, may_read_announcements, read,
};
use crate::protocol::coding::{Coding, Codings, Compressor, Form};
use crate::protocol::event_id::IdCipher;
use crate::protocol::grants::Grants;
use crate::protocol::matcher::Matcher;
use crate::protocol::prelude::Prelude;
use crate::protocol::subscription::may_match_announcements;
use crate::protocol::token::{Access, KeyIdentity};
use crate::protocol::update::Update;

/// Publishes that wait for the sequencer at most.
const QUEUE_MAX: usize = 300;
/// Keys an issuer has at a time.
const KEYS: usize = 3;

/// A shard and what is on its way to it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shard: Shard,
    /// From the sequencer, in order.
    pub(super) inbox: VecDeque<Arc<[Arc<Event>]>>,
    /// From the history readers, in any order.
    pub(super) returned: Vec<(SlotId, Result<HistoryChunk, HistoryError>)>,
    pub(super) ready: VecDeque<(SlotId, Edge)>,
    /// Revocations that are over, with the streams they ended.
    pub(super) revoked: Vec<(Arc<Revocation>, u64)>,
    pub(super) findings: Vec<Findings>,
    pub(super) overloaded: bool,
    pub(super) turns: u64,
}

/// A question to the history readers.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) shard: usize,
    pub(super) id: SlotId,
    pub(super) connection: usize,
    pub(super) after: u64,
    pub(super) forgiven: Option<Gone>,
    pub(super) filter: Filter,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rules: Rules,
    pub(super) random: Random,
    pub(super) now: Now,
    /// When the wall clock was stepped last.
    pub(super) stepped_ms: Option<u64>,
    pub(super) epoch: u32,
    log: Log,
    pub(super) history: RwLock<MemoryHistory>,
    pub(super) ledger: Ledger,
    pub(super) queue: VecDeque<(Publish, Draft)>,
    pub(super) nodes: Vec<Node>,
    pub(super) questions: Vec<Question>,
    pub(super) clients: Vec<Client>,
    pub(super) connections: Vec<Connection>,
    /// Connections that the hub still holds.
    pub(super) held: Vec<usize>,
    pub(super) by_slot: HashMap<(usize, SlotId), usize>,
    /// Whose subscriptions have been announced and not ended.
    pub(super) announced: HashSet<(usize, SlotId)>,
    published: u64,
    answered: u64,
    lost: u64,
    compressor: Compressor,
    pub(super) stopping: bool,
    /// Keys of the issuer that hold.
    pub(super) keys: [KeyIdentity; KEYS],
    /// Clients who were kicked once.
    pub(super) kicked: HashSet<usize>,
}

impl World {
    pub(super) fn new(rules: Rules, mut random: Random) -> World {
        let clients = (0..rules.clients).map(|_| Client::draw(&mut random, rules.lazy)).collect();
        let log = World::log(1);
        let mut world = World {
            history: RwLock::new(MemoryHistory::new(rules.retention, log.locator())),
            rules,
            random,
            now: Now { mono_ms: 0, wall_ms: 1_700_000_000_000 },
            stepped_ms: None,
            epoch: 1,
            log,
            ledger: Ledger::default(),
            queue: VecDeque::new(),
            nodes: Vec::new(),
            questions: Vec::new(),
            clients,
            connections: Vec::new(),
            held: Vec::new(),
            by_slot: HashMap::new(),
            announced: HashSet::new(),
            published: 0,
            answered: 0,
            lost: 0,
            compressor: Compressor::default(),
            stopping: false,
            keys: std::array::from_fn(|at| KeyIdentity(at as u64)),
            kicked: HashSet::new(),
        };
        world.start_shards();
        world
    }

    fn log(epoch: u32) -> Log {
        Log::new(epoch, 0, IdCipher::new([7; 32]))
    }

    fn start_shards(&mut self) {
        let universe = Universe::get();
        self.nodes = (0..self.rules.shards)
            .map(|_| {
                let mut shard = Shard::new(self.rules.limits, universe.hub.clone(), 0);
                shard.set_slice_ns(self.rules.slice_ns);
                Node {
                    shard,
                    inbox: VecDeque::new(),
                    returned: Vec::new(),
                    ready: VecDeque::new(),
                    revoked: Vec::new(),
                    findings: Vec::new(),
                    overloaded: false,
                    turns: 0,
                }
            })
            .collect();
    }

    /// The node dies with everything that was only in memory, and starts again as another epoch of the log.
    pub(super) fn crash(&mut self) {
        note(|| format!("{:>6} crash", self.now.mono_ms));
        self.epoch += 1;
        self.log = World::log(self.epoch);
        self.history = RwLock::new(MemoryHistory::new(self.rules.retention, self.log.locator()));
        self.ledger.crash();
        self.lost += self.queue.len() as u64;
        self.queue.clear();
        self.questions.clear();
        self.by_slot.clear();
        self.announced.clear();
        for connection in std::mem::take(&mut self.held) {
            self.connections[connection].closed = true;
        }
        for client in &mut self.clients {
            client.phase = Phase::Away;
        }
        self.start_shards();
    }

    pub(super) fn serial(&self) -> u64 {
        self.published
    }

    /// Queues a publish, unless the hub slows its publishers down.
    pub(super) fn publish(&mut self, publish: Publish) -> bool {
        if self.queue.len() >= QUEUE_MAX || self.nodes.iter().any(|node| node.overloaded) {
            return false;
        }
        self.published += 1;
        let universe = Universe::get();
        let topics = publish.topics.iter().map(|&topic| universe.topics[topic].clone());
        let update = Update {
            topics: topics.collect(),
            data: publish.data.clone(),
            private: publish.private,
            id: publish.id.clone(),
            event_type: publish.event_type.clone(),
            retry: None,
        };
        let mut draft = if publish.announcement { Draft::announcement(update) } else { Draft::new(update) };
        for coding in Coding::ALL {
            // Some are, some aren't, whatever the reason.
            if draft.data_bytes() >= 100 && self.random.chance(600) {
                draft.compress(coding, &mut self.compressor);
            }
        }
        draft.store(Codings::new(&Coding::ALL));
        self.queue.push_back((publish, draft));
        true
    }

    /// Draws an announcement from a shard and publishes it. False: there was none.
    pub(super) fn announce(&mut self, shard: usize) -> bool {
        let Some(Announcement { active, subscriptions }) = self.nodes[shard].shard.announcement() else {
            return false;
        };
        let who = (shard, subscriptions.id);
        note(|| format!("{:>6} announced {who:?} {active}", self.now.mono_ms));
        if active {
            let connection = &self.connections[self.by_slot[&who]];
            assert!(connection.shut_ms.is_none(), "visible: who has gone is said to have come");
            let universe = Universe::get();
            let matchers = &self.clients[connection.client].interest.matchers;
            let matchers: Vec<&Matcher> = matchers.iter().map(|&at| &universe.matchers[at]).collect();
            assert!(subscriptions.matchers.iter().eq(matchers), "visible: what is subscribed to is another thing");
            assert!(self.announced.insert(who), "order: {who:?} comes twice");
        } else {
            assert!(self.announced.remove(&who), "order: {who:?} goes and never came, or goes twice");
        }
        let serial = self.serial();
        let publish = Publish {
            serial,
            topics: vec![ANNOUNCED],
            private: true,
            announcement: true,
            id: None,
            event_type: Some("mercure".to_owned()),
            data: format!("{serial} {active}"),
        };
        self.publish(publish);
        true
    }

    /// The sequencer places up to `count` publishes: log, history, shards, answers.
    pub(super) fn commit(&mut self, count: usize) {
        let count = count.min(self.queue.len());
        if count == 0 {
            return;
        }
        let mut events = Vec::with_capacity(count);
        for (publish, draft) in self.queue.drain(..count) {
            let event = self.log.append(draft, self.now.wall_ms);
            note(|| {
                let Publish { topics, private, .. } = &publish;
                let (at, offset) = (self.now.mono_ms, event.offset);
                format!("{at:>6} event {offset} topics {topics:?} private {private} {}", event.cost_bytes())
            });
            self.ledger.append(publish, &event);
            events.push(event);
        }
        if planted(Defect::AnswersEarly) {
            self.answer(&events);
        }
        if planted(Defect::ShowsEarly) {
            self.show(&events);
        }
        let mut history = self.history.write().expect("nobody panics in between");
        if self.rules.copies {
            let copies: Vec<Arc<Event>> = events.iter().map(|event| event.read_again()).collect();
            history.append(&copies, self.now.wall_ms);
        } else {
            history.append(&events, self.now.wall_ms);
        }
        let (first, last) = history.bounds();
        assert!(
            history.bytes()[0] <= self.rules.retention.bytes_max
                && history.counts()[0] <= self.rules.retention.events_max
                && history.counts()[1] <= (self.rules.retention.events_max / 5).max(1)
                && history.bytes()[1] <= self.rules.retention.bytes_max / 5,
            "bounded: history holds {:?} bytes and the events {first} to {last}",
            history.bytes()
        );
        drop(history);
        if !planted(Defect::ShowsEarly) {
            self.show(&events);
        }
        if !planted(Defect::AnswersEarly) {
            self.answer(&events);
        }
    }

    /// The newest offset that history has stored, trimmed since or not.
    fn stored(&self) -> u64 {
        self.history.read().expect("nobody panics in between").bounds().1
    }

    fn answer(&mut self, events: &[Arc<Event>]) {
        for event in events {
            let stored = self.stored();
            assert!(event.offset <= stored, "acked: event {} answered, history has {stored}", event.offset);
            self.answered += 1;
        }
    }

    fn show(&mut self, events: &[Arc<Event>]) {
        let stored = self.stored();
        for event in events {
            assert!(event.offset <= stored, "visible: event {} shown, history has {stored}", event.offset);
        }
        let events: Arc<[Arc<Event>]> = events.into();
        for node in &mut self.nodes {
            node.inbox.push_back(events.clone());
        }
    }

    /// Every publish that was not lost in a crash was answered once.
    pub(super) fn check_answers(&self) {
        assert_eq!(
            self.published,
            self.answered + self.lost + self.queue.len() as u64,
            "acked: a publish is answered once"
        );
    }

    /// A history reader answers a question; the shard hears of it later.
    pub(super) fn answer_question(&mut self, at: usize) {
        let question = self.questions.swap_remove(at);
        let Question { shard, id, after, forgiven, filter, connection } = question;
        let [updates, announcements] = self.history.read().expect("nobody panics in between").dropped();
        let hub = &Universe::get().hub;
        let mut answer = read(&self.history, after, forgiven, &filter, hub);
        if let (true, Ok(chunk)) = (self.rules.copies, &mut answer) {
            chunk.events.iter_mut().for_each(|event| *event = event.read_again());
        }
        let reads = may_read_announcements(&filter.matchers, filter.access.as_deref(), hub);
        let connection = &mut self.connections[connection];
        match &answer {
            Ok(_) if forgiven.is_none() => connection.due.starts_after([updates, announcements]),
            Ok(_) => {}
            Err(HistoryError::Trimmed) => {
                let lacks = connection.settled.max(connection.due.start().unwrap_or(0));
                let gone = [updates, if reads { announcements } else { 0 }];
                let told = connection.due.gone();
                assert!(
                    gone.iter().zip(told).any(|(&gone, told)| gone > lacks.max(told)),
                    "complete: told that events are gone, but has {lacks}, was told of {told:?}, and only those up to {gone:?} are"
                );
                connection.trimmed = true;
            }
            Err(HistoryError::Unreadable) => unreachable!("memory can be read"),
        }
        self.nodes[shard].returned.push((id, answer));
    }

    /// What the server does with a request: the cursor is looked up.
    pub(super) fn admit(&mut self, client: usize) {
        let universe = Universe::get();
        let who = &mut self.clients[client];
        let Interest { matchers, grants } = &who.interest;
        let may_match = |at: &usize| may_match_announcements(&universe.matchers[*at], &universe.hub);
        let reads =
            matchers.iter().any(may_match) && grants.as_ref().is_some_and(|grants| grants.iter().any(may_match));
        let start = match &who.cursor {
            None => Start::Live,
            Some(id) => {
                let history = self.history.read().expect("nobody panics in between");
                let found = history.find(id, reads);
                let expected = match self.ledger.find(id, history.bounds().0) {
                    Found::At(offset) if reads && offset < history.dropped()[1] => Found::Earliest,
                    expected => expected,
                };
                assert_eq!(found, expected, "complete: what the id {id} names");
                match found {
                    Found::At(offset) => Start::After(offset),
                    Found::Earliest => Start::Earliest,
                    Found::Unknown => Start::Live,
                    Found::Unavailable => unreachable!("this history is always there"),
                }
            }
        };
        who.phase = Phase::Admitted(start);
    }

    /// The request becomes an event stream of a shard.
    pub(super) fn register(&mut self, client: usize, shard: usize, access: Option<Arc<Access>>) -> usize {
        let who = &mut self.clients[client];
        let Phase::Admitted(start) = who.phase else {
            panic!("a client is admitted first");
        };
        let node = &mut self.nodes[shard];
        let slot = node.shard.reserve();
        let starts_after = match start {
            Start::Live => Some(node.shard.head()),
            Start::After(offset) => Some(offset),
            Start::Earliest => None,
        };
        let at = self.connections.len();
        let due = Due::new(who.interest.clone(), starts_after);
        let mut connection = Connection::new(client, who, shard, slot, due, self.now);
        connection.expires_ms = access.as_ref().map(|access| access.expires_at_ms);
        connection.key = access.as_ref().map(|access| access.key);
        note(|| {
            let exp = connection.expires_ms.map(|exp| exp.saturating_sub(self.now.wall_ms));
            format!(
                "{:>6} client {client} {:?} opens {at}: shard {shard} {slot:?} {start:?} exp in {exp:?} {:?}",
                self.now.mono_ms, who.pace, who.interest
            )
        });
        self.connections.push(connection);
        self.held.push(at);
        self.by_slot.insert((shard, slot), at);
        who.phase = Phase::On(at);
        let universe = Universe::get();
        let mut head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nX-Number: {at}\r\n\r\n").into_bytes();
        head.extend_from_slice(Prelude::default().bytes(Form { chunked: who.chunked, coding: who.coding }));
        let socket = SocketId(at as u32);
        let registration = Registration {
            sink: [Sink::Socket, Sink::Sealed, Sink::Session][at % 3](socket),
            head: head.into(),
            chunked: who.chunked,
            coding: who.coding,
            start,
            matchers: who.interest.matchers.iter().map(|&m| universe.matchers[m].clone()).collect(),
            access,
            address: client as u32,
            spread: self.random.next() as u16,
        };
        self.input(shard, Input::Register(slot, Box::new(registration)));
        self.carry_out(shard);
        at
    }

    /// A token with a client's grants.
    pub(super) fn mint(&mut self, client: usize, expires_ms: u64) -> Option<Arc<Access>> {
        let universe = Universe::get();
        let grants = self.clients[client].interest.grants.as_ref()?;
        let mut granted = Grants::default();
        granted.subscribe = grants.iter().map(|&m| universe.matchers[m].clone()).collect();
        Some(Arc::new(Access {
            issuer: "https://issuer.example".into(),
            subject: Some(format!("client {client}").into()),
            token_id: None,
            expires_at_ms: expires_ms,
            not_before_ms: 0,
            key: self.keys[self.random.below(KEYS)],
            grants: granted,
        }))
    }

    /// The issuer replaces one of its keys: the shards are told.
    pub(super) fn withdraw_key(&mut self) {
        let at = self.random.below(KEYS);
        note(|| format!("{:>6} the key {:?} is withdrawn", self.now.mono_ms, self.keys[at]));
        self.keys[at].0 += KEYS as u64;
        let revocation = Arc::new(Revocation::KeysGone { live: self.keys.into_iter().collect() });
        for shard in 0..self.nodes.len() {
            self.input(shard, Input::Revoke(revocation.clone()));
            self.carry_out(shard);
        }
    }

    /// The client goes, without a word or with one.
    pub(super) fn leave(&mut self, client: usize) {
        if let Phase::On(at) = self.clients[client].phase {
            note(|| format!("{:>6} client {client} leaves {at}", self.now.mono_ms));
            let connection = &mut self.connections[at];
            connection.left = true;
            self.nodes[connection.shard].ready.push_back((connection.slot, Edge::Gone));
        }
        self.clients[client].phase = Phase::Away;
    }

    /// A client reads from its socket, at its pace.
    pub(super) fn read_some(&mut self, at: usize) {
        use super::client::Pace;
        let connection = &mut self.connections[at];
        let client = &mut self.clients[connection.client];
        let bytes = match client.pace {
            Pace::Fast => u64::MAX / 2,
            Pace::Slow => self.random.between(1, 800),
            Pace::Trickle => self.random.between(1, 20),
            Pace::Stopped => 0,
        };
        let last = connection.read(bytes);
        if client.phase == Phase::On(at) && last.is_some() {
            client.cursor = last;
        }
        let room = connection.room();
        let roomy = room > connection.buffer_bytes / 3 || client.pace == Pace::Trickle && room > 0;
        if connection.blocked_ms.is_some() && roomy && connection.open() {
            connection.full_ms = connection.blocked_ms.take();
            connection.edge_queued = true;
            self.nodes[connection.shard].ready.push_back((connection.slot, Edge::Writable));
        }
    }

    pub(super) fn input(&mut self, shard: usize, input: Input) {
        self.nodes[shard].shard.handle(input, self.now);
    }

    /// Time passes; every 50 ms the shards are told, and a hub that isn't busy has its turns.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while self.now.mono_ms < end {
            let boundary = (self.now.mono_ms / TICK_MS + 1) * TICK_MS;
            let step = boundary.min(end) - self.now.mono_ms;
            self.now.mono_ms += step;
            self.now.wall_ms += step;
            if self.now.mono_ms == boundary {
                self.tick();
            }
        }
    }

    fn tick(&mut self) {
        if (self.now.mono_ms / TICK_MS).is_multiple_of(20) {
            self.history.write().expect("nobody panics in between").trim(self.now.wall_ms);
        }
        for at in 0..self.held.len() {
            if self.random.chance(500) {
                self.read_some(self.held[at]);
            }
        }
        for at in (0..self.questions.len()).rev() {
            if self.random.chance(700) {
                self.answer_question(at);
            }
        }
        if self.random.chance(500) {
            self.commit(50);
        }
        for shard in 0..self.nodes.len() {
            self.input(shard, Input::Tick);
            self.carry_out(shard);
            for _ in 0..8 {
                if !self.turn(shard) {
                    break;
                }
            }
        }
        self.check_deadlines();
    }
}
