//! NATS with JetStream as an engine: the stream is the log, its sequence numbers are the offsets.
//!
//! | what | where |
//! |---|---|
//! | the log | the stream `name`, whose subjects are `name.log.LOG.>`: the log's identity is part of them, so nobody appends to another log |
//! | an event | a message ([`super::encoding`]) on `name.log.LOG.hub`, or on `name.log.LOG.id.DIGEST` if its publisher gave it an id |
//! | the id key | the bucket `name_members`, key `log.LOG` |
//! | hubs, subscribers | the same bucket, keys `hub.HUB` (with `dead.HUB` beside it once it was claimed) and `at.HUB.DIGEST` |
//! | leases, claims | the buckets `name_leases` and `name_claims`, whose entries age: what is there is valid |
//!
//! Everything is asked in JetStream's own words ([`jetstream`]), and nothing that servers before 2.10 don't know is used.

mod connections;
mod consumer;
mod durability;
mod jetstream;
mod presence;
mod refusal;

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use self::connections::{Ask, Connections};
use self::consumer::Consumer;
use self::jetstream::Fault;
use super::{
    Address, Appended, Bounds, Engine, EngineError, Entry, Identity, LogError, Member, NodeId, Opened, Placed,
    Retention, Subscriber, encoding, fresh,
};

/// How long an answer may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the acknowledgements of a batch may take.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);

/// JetStream knows no shorter ages.
const AGE_MIN_MS: u64 = 100;

/// How often two hubs may get in each other's way while both make the stream.
const OPEN_TRIES_MAX: usize = 20;

/// How long they leave each other alone then.
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// A log and the presence of hubs in NATS.
pub struct Nats {
    connections: Connections,
    name: String,
    retention: Retention,
    /// Where somebody who followed the log stopped.
    following: Mutex<Option<Following>>,
    /// The age of entries in each aging bucket, once it is known to be what it should be.
    ages: Mutex<[Option<Duration>; 2]>,
}

/// A place in the log from which reading goes on.
struct Following {
    log: [u8; 16],
    after: u64,
    consumer: Consumer,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nats({:?})", self.connections)
    }
}

impl Nats {
    /// The engine at this address, which isn't reached before it is needed.
    pub fn new(address: Address, retention: Retention) -> Nats {
        let name = address.name.clone();
        let connections = Connections::new(address);
        Nats { connections, name, retention, following: Mutex::new(None), ages: Mutex::new([None; 2]) }
    }

    fn subjects(&self, log: &[u8; 16]) -> String {
        format!("{}.log.{}", self.name, hex(log))
    }

    fn subject_of(&self, log: &Identity, id: Option<&str>) -> String {
        let subjects = self.subjects(&log.log);
        match id {
            Some(id) => format!("{subjects}.id.{}", hex(&fresh::id_digest(id))),
            None => format!("{subjects}.hub"),
        }
    }

    /// Looks whether the log is still this one.
    async fn bounds_of(&self, log: &Identity) -> Result<Bounds, EngineError> {
        let Some(info) = self.info(&self.name).await? else {
            return Err(LogError::Replaced.into());
        };
        if self.log_of(&info) != Some(log.log) {
            return Err(LogError::Replaced.into());
        }
        bounds_in(&info)
    }

    /// Looks whether the log is still this one and goes on after an offset.
    async fn still_follows(&self, log: &Identity, after: u64) -> Result<Bounds, EngineError> {
        let bounds = self.bounds_of(log).await?;
        if bounds.last < after {
            return Err(LogError::Shorter { last: bounds.last }.into());
        }
        if bounds.first > after + 1 {
            return Err(LogError::Trimmed { first: bounds.first }.into());
        }
        Ok(bounds)
    }

    /// Which log a stream holds: that stands in its subjects.
    fn log_of(&self, info: &Value) -> Option<[u8; 16]> {
        let subject = info["config"]["subjects"].get(0)?.as_str()?;
        let log = subject.strip_prefix(&format!("{}.log.", self.name))?.strip_suffix(".>")?;
        let read = u128::from_str_radix(log, 16).ok().filter(|_| log.len() == 32)?;
        Some(read.to_be_bytes())
    }

    /// Says how much the stream shall keep. What a hub doesn't know of the configuration stays.
    fn limited(&self, config: &Value) -> Value {
        let mut config = config.clone();
        let limit = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        config["max_msgs"] = limit(self.retention.events_max).into();
        config["max_bytes"] = limit(self.retention.bytes_max).into();
        let age = self.retention.age_max_ms.map_or(0, |age| limit(age.max(AGE_MIN_MS)).saturating_mul(1_000_000));
        config["max_age"] = age.into();
        if age > 0 {
            // No longer than the age, which is asked of it; hubs make no use of it.
            config["duplicate_window"] = age.min(120_000_000_000).into();
        }
        config
    }

    async fn open_stream(&self) -> Result<([u8; 16], Value), EngineError> {
        for _ in 0..OPEN_TRIES_MAX {
            if let Some(info) = self.info(&self.name).await? {
                let Some(log) = self.log_of(&info) else {
                    return Err(EngineError::Refused(format!(
                        "{:?}: there is a stream {} that no hub has made; use another name",
                        self.connections, self.name
                    )));
                };
                let limited = self.limited(&info["config"]);
                if limited == info["config"] {
                    return Ok((log, info));
                }
                let updated = self.api(&format!("STREAM.UPDATE.{}", self.name), &limited).await?;
                return Ok((log, updated.map_err(|fault| self.explained(&fault))?));
            }
            let made = fresh::identity()?;
            let config = json!({
                "name": self.name,
                "subjects": [format!("{}.>", self.subjects(&made.log))],
                "retention": "limits",
                "storage": "file",
                "discard": "old",
                "max_consumers": -1,
                "max_msgs_per_subject": -1,
                "num_replicas": self.replicas().await?,
            });
            let created = self.api(&format!("STREAM.CREATE.{}", self.name), &self.limited(&config)).await?;
            match created {
                // Whether it was us who made it, the next round tells.
                Ok(_) => {}
                Err(Fault { code: jetstream::NAME_IN_USE, .. }) => tokio::time::sleep(OPEN_PAUSE).await,
                Err(fault) => return Err(self.explained(&fault)),
            }
        }
        Err(EngineError::Unavailable(format!("{:?}: the stream {} comes and goes", self.connections, self.name)))
    }

    /// Reads entries on; none if there are none right now, `None` if the consumer's place is lost.
    async fn take(
        &self,
        log: &Identity,
        consumer: &mut Consumer,
        count: usize,
        bytes: usize,
        wait: Option<Duration>,
    ) -> Result<Option<Vec<Placed>>, EngineError> {
        let Some(messages) = consumer.next(&self.connections, count, bytes, wait).await? else {
            return Ok(None);
        };
        let mut entries: Vec<Placed> = Vec::with_capacity(messages.len());
        for (offset, payload) in messages {
            if entries.last().is_some_and(|last| last.offset + 1 != offset) {
                // What comes before a gap is whole. Whoever reads on from there finds out what the gap is.
                break;
            }
            let entry = match encoding::decode(log, &payload) {
                Ok(entry) => entry,
                Err(encoding::DecodeError::OtherLog) => return Err(LogError::Replaced.into()),
                Err(error) => {
                    let why = format!("the event at offset {offset} can't be read: {error}");
                    return Err(EngineError::Refused(why));
                }
            };
            entries.push(Placed { offset, entry });
        }
        Ok(Some(entries))
    }

    async fn consumer_after(&self, after: u64) -> Result<Consumer, EngineError> {
        match Consumer::create(self, &self.name, ">", after + 1).await? {
            Some(consumer) => Ok(consumer),
            None => Err(LogError::Replaced.into()),
        }
    }

    /// Follows with one consumer: `None` if it has lost its place.
    async fn follow_with(
        &self,
        log: &Identity,
        mut following: Following,
        count: usize,
        bytes: usize,
        wait: Duration,
    ) -> Result<Option<Vec<Placed>>, EngineError> {
        let after = following.after;
        let mut came = Some(Vec::new());
        if following.consumer.pending > 0 {
            came = self.take(log, &mut following.consumer, count, bytes, None).await?;
        }
        if came.as_ref().is_some_and(Vec::is_empty) && !wait.is_zero() {
            // One ends the wait; what came with it is there for the next call.
            came = self.take(log, &mut following.consumer, 1, usize::MAX, Some(wait)).await?;
        }
        let Some(entries) = came else { return Ok(None) };
        match (entries.first(), entries.last()) {
            (Some(first), Some(last)) if first.offset == after + 1 => following.after = last.offset,
            (Some(first), _) => return Err(LogError::Trimmed { first: first.offset }.into()),
            _ => {
                if self.still_follows(log, after).await?.last > after {
                    // It has come only just now, or the consumer has gone past it: the next one begins where this one should be.
                    following.consumer.delete(&self.connections).await;
                    return Ok(Some(Vec::new()));
                }
            }
        }
        *locked(&self.following) = Some(following);
        Ok(Some(entries))
    }
}

impl Engine for Nats {
    async fn open(&self) -> Result<Opened, EngineError> {
        let (log, info) = self.open_stream().await?;
        let id_key = self.open_id_key(&log).await?;
        let version = self.connections.server_version().await?;
        Ok(Opened {
            identity: Identity { log, id_key },
            bounds: bounds_in(&info)?,
            server: format!("NATS {version}"),
            durability: durability::of(&info["config"]),
        })
    }

    async fn append(&self, log: &Identity, entries: Vec<Entry>) -> Vec<Appended> {
        let asks = entries.iter().map(|entry| Ask {
            subject: self.subject_of(log, entry.update.id.as_deref()),
            expected: None,
            payload: encoding::encode(log, entry).into(),
        });
        let answers = self.connections.ask_all(APPEND_TIMEOUT, asks.collect()).await;
        let mut appended = Vec::with_capacity(answers.len());
        let mut nobody = None;
        for answer in answers {
            let acknowledged = match answer.and_then(|answer| jetstream::read(&answer)) {
                // The stream with these subjects is gone, or JetStream is.
                Ok(None) => {
                    if nobody.is_none() {
                        nobody = Some(self.bounds_of(log).await.err());
                    }
                    let seen = nobody.clone().flatten();
                    Err(seen.unwrap_or_else(|| refusal::no_leader(&self.connections)))
                }
                Ok(Some(Ok(answer))) => answer["seq"].as_u64().ok_or_else(|| self.odd("an acknowledgement")),
                Ok(Some(Err(fault))) => Err(self.explained(&fault)),
                Err(error) => Err(error),
            };
            appended.push(acknowledged);
        }
        appended
    }

    async fn follow(
        &self,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
        wait: Duration,
    ) -> Result<Vec<Placed>, EngineError> {
        // Taken away while it is used: a call that is dropped takes its consumer's place with it.
        let kept = locked(&self.following).take();
        if let Some(kept) = kept.filter(|kept| kept.log == log.log && kept.after == after) {
            // Whatever is wrong with it, a new one tells what is wrong with the log.
            if let Ok(Some(entries)) = self.follow_with(log, kept, count, bytes, wait).await {
                return Ok(entries);
            }
        }
        let consumer = self.consumer_after(after).await?;
        if consumer.pending == 0 {
            // Nobody waits for what follows the end of another log.
            self.still_follows(log, after).await?;
        }
        let following = Following { log: log.log, after, consumer };
        match self.follow_with(log, following, count, bytes, wait).await {
            Ok(Some(entries)) => Ok(entries),
            // Its place is lost, or what it gave isn't what follows: first of all the log has to be the same one.
            Ok(None) => {
                self.still_follows(log, after).await?;
                Err(refusal::no_leader(&self.connections))
            }
            Err(error @ EngineError::Log(_)) => {
                self.still_follows(log, after).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn range(&self, log: &Identity, after: u64, count: usize, bytes: usize) -> Result<Vec<Placed>, EngineError> {
        let mut consumer = self.consumer_after(after).await?;
        let mut all: Vec<Placed> = Vec::new();
        let mut size = 0;
        while consumer.pending > 0 && all.len() < count && (all.is_empty() || size < bytes) {
            let at = all.last().map_or(after, |last| last.offset);
            let left = bytes.saturating_sub(size);
            let Some(some) = self.take(log, &mut consumer, count - all.len(), left, None).await? else {
                return Err(refusal::no_leader(&self.connections));
            };
            let Some(first) = some.first() else { break };
            if first.offset != at + 1 && !all.is_empty() {
                break;
            }
            if first.offset != at + 1 && after > 0 {
                return Err(LogError::Trimmed { first: first.offset }.into());
            }
            size += some.iter().map(|placed| placed.entry.update.data.len()).sum::<usize>();
            all.extend(some);
        }
        consumer.delete(&self.connections).await;
        if all.is_empty() {
            match self.still_follows(log, after).await {
                Err(EngineError::Log(LogError::Trimmed { .. })) if after == 0 => {}
                other => drop(other?),
            }
        }
        Ok(all)
    }

    async fn find(&self, log: &Identity, id: &str) -> Result<Option<u64>, EngineError> {
        let subject = self.subject_of(log, Some(id));
        let mut from = 1;
        while let Some(found) = self.message(&self.name, &json!({ "seq": from, "next_by_subj": subject })).await? {
            // Two ids could have the same digest.
            match encoding::decode(log, &found.value) {
                Ok(entry) if entry.update.id.as_deref() == Some(id) => return Ok(Some(found.sequence)),
                _ => from = found.sequence + 1,
            }
        }
        // There is none, if there is the log.
        self.bounds_of(log).await.map(|_| None)
    }

    async fn bounds(&self, log: &Identity) -> Result<Bounds, EngineError> {
        self.bounds_of(log).await
    }

    async fn arrive(&self, node: NodeId, lease: Duration) -> Result<(), EngineError> {
        self.presence_arrive(node, lease).await
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, EngineError> {
        self.presence_renew(node, lease).await
    }

    async fn enter(&self, node: NodeId, subscribers: Vec<Subscriber>) -> Result<(), EngineError> {
        self.presence_enter(node, &subscribers).await
    }

    async fn leave(&self, node: NodeId, subscribers: Vec<String>) -> Result<(), EngineError> {
        self.presence_leave(node, &subscribers).await
    }

    async fn members(&self, cursor: &str, count: usize, bytes: usize) -> Result<(Vec<Member>, String), EngineError> {
        self.presence_members(cursor, count, bytes).await
    }

    async fn member(&self, id: &str) -> Result<Option<Member>, EngineError> {
        self.presence_member(id).await
    }

    async fn claim(&self, node: NodeId, lease: Duration) -> Result<Option<NodeId>, EngineError> {
        self.presence_claim(node, lease).await
    }

    async fn left(&self, dead: NodeId, count: usize, bytes: usize) -> Result<Vec<Subscriber>, EngineError> {
        self.presence_left(dead, count, bytes).await
    }

    async fn bury(&self, dead: NodeId) -> Result<(), EngineError> {
        self.presence_bury(dead).await
    }
}

fn bounds_in(info: &Value) -> Result<Bounds, EngineError> {
    let number = |name: &str| info["state"][name].as_u64();
    let (Some(messages), Some(first), Some(last)) = (number("messages"), number("first_seq"), number("last_seq"))
    else {
        return Err(EngineError::Unavailable("NATS has told nothing of the state of the stream".to_owned()));
    };
    Ok(Bounds { first: if messages == 0 { last + 1 } else { first }, last })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a lock holds is whole at any time, also if somebody panicked meanwhile.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
