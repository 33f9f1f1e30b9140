//! A shard's state machine with subscribers and no sockets: every send takes everything, at no cost.

use std::sync::Arc;

use cinnabar::hub::{
    Batch, Draft, Event, Input, Log, Now, Outcome, Output, Registration, Shard, ShardLimits, Sink, SocketId, Start,
};
use cinnabar::protocol::event_id::IdCipher;
use cinnabar::protocol::grants::Grants;
use cinnabar::protocol::matcher::{MatchType, Matcher};
use cinnabar::protocol::token::{Access, KeyIdentity, NEVER_MS};
use cinnabar::protocol::topic::{HubUrl, Topic};
use cinnabar::protocol::update::Update;

/// Data of an event.
pub(crate) const DATA_BYTES: usize = 200;
/// Room for the events of any round: nobody reads from history.
const TAIL_BYTES: usize = 1 << 20;
/// So often something is published until no table grows any more.
pub(crate) const WARMING_ROUNDS: usize = 20;
/// Subscribers that come at once.
const ARRIVALS: usize = 64;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const NOW: Now = Now { mono_ms: 1_000_000, wall_ms: 1_800_000_000_000 };

/// Whom a subscriber comes as, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anonymous, for a topic all share.
    Shared,
    /// Anonymous, for a topic of its own.
    OwnTopic,
    /// With a topic and a token of its own, which grants its private updates.
    OwnToken,
}

/// The topic of a subscriber.
pub(crate) fn topic(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Shared => "https://app.example/news".to_owned(),
        Kind::OwnTopic | Kind::OwnToken => format!("https://app.example/users/{number}/messages"),
    }
}

/// See the module.
pub(crate) struct Crowd {
    shard: Shard,
    hub: HubUrl,
    log: Log,
    there: usize,
}

impl Crowd {
    /// A shard that nobody has come to.
    pub(crate) fn new() -> Crowd {
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").expect("a hub's URL");
        let limits = ShardLimits {
            tail_bytes_max: TAIL_BYTES,
            selectors_bytes_max: usize::MAX,
            heartbeat_ms: 0,
            write_timeout_ms: 0,
            lifetime_max_ms: 0,
            announces: false,
        };
        let log = Log::new(1, 0, IdCipher::new([7; 32]));
        Crowd { shard: Shard::new(limits, hub.clone(), 0), hub, log, there: 0 }
    }

    /// So many more subscribers come, a few at a time, and get their response heads.
    pub(crate) fn join(&mut self, kind: Kind, subscribers: usize) {
        let end = self.there + subscribers;
        while self.there < end {
            for _ in 0..ARRIVALS.min(end - self.there) {
                self.register(kind);
            }
            self.slices();
        }
    }

    fn register(&mut self, kind: Kind) {
        let number = self.there;
        let matcher = Matcher::parse(MatchType::Exact, &topic(kind, number), &self.hub).expect("a selector");
        let registration = Registration {
            sink: Sink::Socket(SocketId(number as u32)),
            head: HEAD.into(),
            chunked: true,
            coding: None,
            start: Start::Live,
            access: (kind == Kind::OwnToken).then(|| self.access(&matcher)),
            matchers: vec![matcher],
            address: 0,
            spread: 0,
        };
        let id = self.shard.reserve();
        self.handle(Input::Register(id, Box::new(registration)));
        self.there += 1;
    }

    /// What the check of a token leaves behind.
    fn access(&self, matcher: &Matcher) -> Arc<Access> {
        let details = serde_json::json!([{
            "type": "https://mercure.rocks/authorization-detail",
            "actions": ["subscribe"],
            "topics": [{"match": matcher.text()}],
        }]);
        let mut grants = Grants::from_details(&details, &self.hub).expect("well-formed");
        grants.subscribe = grants.subscribe.iter().map(|_| matcher.clone()).collect();
        Arc::new(Access {
            issuer: "https://login.example".into(),
            subject: Some(format!("user-{}", self.there).into()),
            token_id: Some(format!("token-{}", self.there).into()),
            expires_at_ms: NEVER_MS,
            not_before_ms: 0,
            key: KeyIdentity(1),
            grants,
        })
    }

    /// Encodes an update for each of the topics, appends them to the log and hands them to the shard.
    pub(crate) fn publish(&mut self, topics: &[String], private: bool) {
        let update = |topic: &String| Update {
            topics: vec![Topic::parse(topic, &self.hub).expect("a topic that may be published")],
            data: "x".repeat(DATA_BYTES),
            private,
            id: None,
            event_type: None,
            retry: None,
        };
        let drafts: Vec<Draft> = topics.iter().map(|topic| Draft::new(update(topic))).collect();
        let events: Vec<Arc<Event>> = drafts.into_iter().map(|draft| self.log.append(draft, NOW.wall_ms)).collect();
        self.handle(Input::Events(events.into()));
    }

    /// Delivers what was published to everybody it matches: how many deliveries that were.
    pub(crate) fn deliver(&mut self) -> u64 {
        let before = self.shard.counters().deliveries;
        self.slices();
        self.shard.counters().deliveries - before
    }

    fn slices(&mut self) {
        while self.shard.busy() {
            if let Some(batch) = self.shard.slice() {
                let batch = self.send(batch);
                self.handle(Input::Sent(batch));
            }
        }
    }

    /// What the sender does but for the send: finds the bytes, and notes what came of it.
    fn send(&self, mut batch: Batch) -> Batch {
        for at in 0..batch.writes.len() {
            let write = &batch.writes[at];
            let pieces = batch.parts(write).iter().flat_map(|&part| self.shard.pieces(write, part));
            let bytes: usize = pieces.map(<[u8]>::len).sum();
            batch.writes[at].outcome = Outcome::Sent(bytes as u32);
        }
        batch
    }

    fn handle(&mut self, input: Input) {
        self.shard.handle(input, NOW);
        while let Some(output) = self.shard.output() {
            assert!(!matches!(output, Output::Close { .. } | Output::Read { .. }), "nobody falls behind or is closed");
        }
    }
}
