//! Redis (or Valkey) as an engine: a stream, a record beside it, and scripts that keep both in step.
//!
//! | key | what it is |
//! |---|---|
//! | `{name}:log` | the stream; ids of entries are `offset-0`, fields `e` (the entry, [`super::encoding`]) and `i` (the digest of its publisher's id) |
//! | `{name}:meta` | a hash: `log`, `id_key` (the identity), `first`, `last` (bounds), `bytes`, `oldest_ms` |
//! | `{name}:ids` | a sorted set of digest and offset together, in order of their bytes: the earliest offset of an id is one step away |
//! | `{name}:hubs`, `:claims`, `:at`, `:where` | presence, see `presence.lua` |
//!
//! The braces put all of them on one node of a Redis Cluster. Whatever has to happen at once is a script, which Redis runs and writes down whole.

mod connections;
mod durability;
mod presence;
mod refusal;
mod reply;
mod script;

use std::time::Duration;

use ::redis::{Cmd, Value};

use self::connections::Connections;
use self::reply::Reply;
use self::script::{APPEND, FIND, OPEN, READ, Script};
use super::{
    Address, Appended, Bounds, Engine, EngineError, Entry, Identity, LogError, Member, NodeId, Opened, Placed,
    Retention, Subscriber, encoding, fresh,
};

/// How long an answer may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an append may take: with `appendfsync always` it waits for a disk.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Entries a wait ends with at most: it can't be told how many bytes to give, so it gives few.
const WOKEN_ENTRIES_MAX: usize = 16;

/// A log and the presence of hubs in Redis.
pub struct Redis {
    connections: Connections,
    retention: Retention,
    keys: Keys,
}

/// The names of what is kept.
struct Keys {
    log: String,
    meta: String,
    ids: String,
    presence: [String; 4],
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis({:?})", self.connections)
    }
}

impl Redis {
    /// The engine at this address, which isn't reached before it is needed.
    pub fn new(address: Address, retention: Retention) -> Redis {
        let key = |what| format!("{{{}}}:{what}", address.name);
        let keys = Keys {
            log: key("log"),
            meta: key("meta"),
            ids: key("ids"),
            presence: ["hubs", "claims", "at", "where"].map(key),
        };
        Redis { keys, connections: Connections::new(address), retention }
    }

    async fn run(
        &self,
        script: &Script,
        limit: Duration,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Reply, EngineError> {
        self.connections.run(script, limit, keys, arguments).await.map(Reply::new)
    }

    /// Entries after `after` and what the log is like, unless it is another one or has ended before.
    async fn read(
        &self,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> Result<(Bounds, Vec<Placed>), EngineError> {
        let numbers = [after, count as u64, bytes as u64].map(|number| number.to_string().into_bytes());
        let arguments = [&log.log[..], &numbers[0], &numbers[1], &numbers[2]];
        let mut reply = self.run(&READ, CALL_TIMEOUT, &[&self.keys.log, &self.keys.meta], &arguments).await?;
        reply.of_this_log()?;
        let bounds = Bounds { first: reply.number()?, last: reply.number()? };
        if bounds.last < after {
            return Err(LogError::Shorter { last: bounds.last }.into());
        }
        let mut entries: Vec<Placed> = Vec::new();
        while !reply.is_empty() {
            let offset = reply.number()?;
            // Somebody has deleted what would come next: who asks for what follows the last one is told.
            if entries.last().is_some_and(|last| offset != last.offset + 1) {
                break;
            }
            entries.push(placed(log, offset, &reply.bytes()?)?);
        }
        Ok((bounds, entries))
    }

    /// As [`Redis::read`], but what comes first has to be `after + 1`.
    async fn read_on(
        &self,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<Placed>, EngineError> {
        let (bounds, entries) = self.read(log, after, count, bytes).await?;
        match entries.first() {
            Some(placed) => follows(after, placed.offset)?,
            // Events that the record tells of and the stream doesn't have: somebody has deleted them.
            None if bounds.last > after => return Err(LogError::Trimmed { first: bounds.last + 1 }.into()),
            None => {}
        }
        Ok(entries)
    }

    async fn try_append(&self, log: &Identity, entries: &[Entry]) -> Result<u64, EngineError> {
        let Retention { events_max, bytes_max, age_max_ms } = self.retention;
        let limits =
            [events_max.to_string(), bytes_max.to_string(), age_max_ms.map_or(String::new(), |age| age.to_string())];
        let encoded: Vec<_> = entries
            .iter()
            .map(|entry| (encoding::encode(log, entry), entry.update.id.as_deref().map(fresh::id_digest)))
            .collect();
        let mut arguments = vec![&log.log[..], limits[0].as_bytes(), limits[1].as_bytes(), limits[2].as_bytes()];
        for (bytes, digest) in &encoded {
            arguments.push(bytes);
            arguments.push(digest.as_ref().map_or(&[], |digest| &digest[..]));
        }
        let keys = [&*self.keys.log, &self.keys.meta, &self.keys.ids];
        let mut reply = self.run(&APPEND, APPEND_TIMEOUT, &keys, &arguments).await?;
        reply.of_this_log()?;
        reply.number()
    }
}

impl Engine for Redis {
    async fn open(&self) -> Result<Opened, EngineError> {
        let made = fresh::identity()?;
        let keys = [&*self.keys.log, &self.keys.meta, &self.keys.ids];
        let mut reply = self.run(&OPEN, CALL_TIMEOUT, &keys, &[&made.log, &made.id_key]).await?;
        if reply.number()? == 0 {
            return Err(EngineError::Refused(format!(
                "there are events at the key {} in Redis, but {} doesn't say of which log; rename or delete the former, or use another name",
                self.keys.log, self.keys.meta
            )));
        }
        let identity = Identity { log: reply.array()?, id_key: reply.array()? };
        let bounds = Bounds { first: reply.number()?, last: reply.number()? };
        let settings = self.connections.settings(CALL_TIMEOUT).await?;
        Ok(Opened { identity, bounds, server: settings.server(), durability: settings.durability() })
    }

    async fn append(&self, log: &Identity, entries: Vec<Entry>) -> Vec<Appended> {
        if entries.is_empty() {
            return Vec::new();
        }
        match self.try_append(log, &entries).await {
            Ok(first) => (first..).take(entries.len()).map(Ok).collect(),
            Err(error) => vec![Err(error); entries.len()],
        }
    }

    async fn follow(
        &self,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
        wait: Duration,
    ) -> Result<Vec<Placed>, EngineError> {
        let entries = self.read_on(log, after, count, bytes).await?;
        if !entries.is_empty() || wait.is_zero() {
            return Ok(entries);
        }
        let mut command = Cmd::new();
        command.arg("XREAD").arg("COUNT").arg(count.clamp(1, WOKEN_ENTRIES_MAX));
        // Milliseconds; 0 would be for ever.
        command.arg("BLOCK").arg(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        command.arg("STREAMS").arg(&self.keys.log).arg(format!("{after}-0"));
        let woken = Reply::new(self.connections.block(&command, wait + CALL_TIMEOUT).await?);
        let mut entries = Vec::new();
        let mut size = 0;
        for (offset, text) in woken.stream_entries()? {
            // Each says of which log it is: what was read while the log was replaced isn't mistaken for this one's.
            let placed = placed(log, offset, &text)?;
            follows(entries.last().map_or(after, |last: &Placed| last.offset), offset)?;
            if size >= bytes && !entries.is_empty() {
                break;
            }
            size += text.len();
            entries.push(placed);
        }
        if entries.is_empty() { self.read_on(log, after, count, bytes).await } else { Ok(entries) }
    }

    async fn range(&self, log: &Identity, after: u64, count: usize, bytes: usize) -> Result<Vec<Placed>, EngineError> {
        if after > 0 {
            return self.read_on(log, after, count, bytes).await;
        }
        self.read(log, after, count, bytes).await.map(|(_, entries)| entries)
    }

    async fn find(&self, log: &Identity, id: &str) -> Result<Option<u64>, EngineError> {
        let arguments = [&log.log[..], &fresh::id_digest(id)];
        let mut reply = self.run(&FIND, CALL_TIMEOUT, &[&self.keys.ids, &self.keys.meta], &arguments).await?;
        reply.of_this_log()?;
        if reply.is_empty() { Ok(None) } else { reply.number().map(Some) }
    }

    async fn bounds(&self, log: &Identity) -> Result<Bounds, EngineError> {
        let arguments = [&log.log[..], b"0", b"0", b"0"];
        let mut reply = self.run(&READ, CALL_TIMEOUT, &[&self.keys.log, &self.keys.meta], &arguments).await?;
        reply.of_this_log()?;
        Ok(Bounds { first: reply.number()?, last: reply.number()? })
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

fn follows(after: u64, offset: u64) -> Result<(), LogError> {
    if offset == after + 1 { Ok(()) } else { Err(LogError::Trimmed { first: offset }) }
}

fn placed(log: &Identity, offset: u64, text: &[u8]) -> Result<Placed, EngineError> {
    match encoding::decode(log, text) {
        Ok(entry) => Ok(Placed { offset, entry }),
        Err(encoding::DecodeError::OtherLog) => Err(LogError::Replaced.into()),
        Err(error) => Err(EngineError::Refused(format!("the event at offset {offset} can't be read: {error}"))),
    }
}

/// What a lock holds is whole at any time, also if somebody panicked meanwhile.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A reply of another shape than our own script's.
fn odd(value: &Value) -> EngineError {
    // Its content may be anybody's: only its kind is told.
    let kind = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "a text",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    EngineError::Unavailable(format!("Redis answered with {kind} where it shouldn't; is this Redis 6.2 or newer?"))
}
