//! PostgreSQL as an engine: a table of events whose offsets are given under a lock, so that commit order is offset order; `NOTIFY` wakes
//! those who follow, who look by themselves too.
//!
//! Each kind of work has a connection of its own, so that none waits behind another: appending, following, replays and look-ups,
//! presence, deleting what is too much, and the relay of the outbox. Every call is one statement and one transaction on the server; what
//! can be decided there is decided there, in functions that come with the tables (`schema.sql`). So a call that is dropped, or a hub that dies,
//! leaves nothing half done and holds no lock.

mod access;
mod failure;
mod link;
mod log;
mod outbox;
mod presence;
mod retention;
mod schema;
mod tls;
mod uuid;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use access::Access;
use failure::Failure;
use link::Link;
pub use outbox::{OutboxRules, Relayed};
use schema::Names;

use super::{
    Address, Appended, Bounds, Engine, EngineError, Entry, Identity, Member, NodeId, Opened, Placed, Retention,
    Subscriber,
};

/// The oldest server that knows what is asked of it.
const SERVER_VERSION_MIN: i32 = 130_000;

/// PostgreSQL.
pub struct Postgres {
    address: Address,
    retention: Retention,
    /// Made with the first call: only then it is known whether the address can be used.
    parts: OnceLock<Result<Parts, EngineError>>,
}

/// Connections and statements, by kind of work.
struct Parts {
    names: Names,
    writer: Link,
    follower: Link,
    reader: Link,
    presence: Link,
    relayer: Link,
    log: log::Sql,
    members: presence::Sql,
    outbox: outbox::Relay,
    keeper: Arc<retention::Keeper>,
}

impl Postgres {
    /// Nothing is connected yet.
    pub fn new(address: Address, retention: Retention) -> Postgres {
        Postgres { address, retention, parts: OnceLock::new() }
    }

    /// Publishes what applications have put into the table `outbox`, a batch of it, if no other hub does; waits up to `wait` for rows that
    /// are committed. To be called again and again by every hub. Each row is published once, whenever a call is dropped.
    ///
    /// # Errors
    /// Those of [`Engine::append`].
    pub async fn relay(&self, log: &Identity, rules: &OutboxRules, wait: Duration) -> Result<Relayed, EngineError> {
        self.parts()?.relay(log, rules, wait).await
    }

    fn parts(&self) -> Result<&Parts, EngineError> {
        let made = self.parts.get_or_init(|| Parts::new(&self.address, self.retention));
        made.as_ref().map_err(EngineError::clone)
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres({:?})", self.address)
    }
}

impl Parts {
    fn new(address: &Address, retention: Retention) -> Result<Parts, EngineError> {
        let access = Arc::new(Access::new(address)?);
        let names = Names::new(&address.name);
        let link = |purpose, hello: &str| Link::new(access.clone(), purpose, hello);
        Ok(Parts {
            writer: link("append", ""),
            follower: link("follow", &names.fill("LISTEN {schema};")),
            reader: link("read", ""),
            presence: link("presence", ""),
            relayer: link("relay", &outbox::Relay::hello(&names)),
            log: log::Sql::new(&names),
            members: presence::Sql::new(&names),
            outbox: outbox::Relay::new(&names),
            keeper: Arc::new(retention::Keeper::new(link("trim", ""), &names, retention)),
            names,
        })
    }

    async fn open(&self) -> Result<Opened, EngineError> {
        let sql = "SELECT current_setting('server_version'), current_setting('server_version_num')::integer,
            current_setting('server_encoding'), pg_is_in_recovery(),
            current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes')";
        let rows = self.reader.ask(sql, &[]).await.map_err(Failure::plain)?;
        let row = rows.first().expect("a SELECT without FROM gives a row");
        let (version, encoding): (&str, &str) = (row.get(0), row.get(2));
        let refused = |why: String| Err(EngineError::Refused(why));
        if row.get::<_, i32>(1) < SERVER_VERSION_MIN {
            return refused(format!("this is PostgreSQL {version}; version 13 or a later one is needed"));
        }
        if encoding != "UTF8" {
            return refused(format!(
                "the database's encoding is {encoding}, which can't hold every text; create one with ENCODING 'UTF8'"
            ));
        }
        if row.get(3) {
            return refused("this server is a standby, which can only be read; name the one that writes".to_owned());
        }
        let identity = schema::open(&self.reader, &self.names).await?;
        let bounds = self.bounds(&identity).await?;
        let durability = durability(row.get(4), row.get(5), row.get(6));
        Ok(Opened { identity, bounds, server: format!("PostgreSQL {version}"), durability })
    }
}

/// What `acked` means with these settings, and whether it deserves a warning.
fn durability(synchronous_commit: &str, fsync: &str, full_page_writes: &str) -> (String, bool) {
    let off: Vec<_> =
        [("synchronous_commit", synchronous_commit), ("fsync", fsync), ("full_page_writes", full_page_writes)]
            .into_iter()
            .filter(|(_, value)| *value == "off")
            .map(|(name, _)| name)
            .collect();
    if off.is_empty() {
        let sentence = format!(
            "an acknowledged publish is on the server's disk and survives its loss of power (synchronous_commit={synchronous_commit})"
        );
        return (sentence, false);
    }
    let what = match off.as_slice() {
        ["synchronous_commit"] => {
            "the publishes of the last moments before the server dies, acknowledged ones too, may be lost"
        }
        _ => "acknowledged publishes, and the whole database, may be lost when the server loses power",
    };
    (format!("{what}: {} is off; turn it on", off.join(" and ")), true)
}

impl Engine for Postgres {
    async fn open(&self) -> Result<Opened, EngineError> {
        self.parts()?.open().await
    }

    async fn append(&self, log: &Identity, entries: Vec<Entry>) -> Vec<Appended> {
        if entries.is_empty() {
            return Vec::new();
        }
        let before = match self.parts() {
            Ok(parts) => parts.append(log, &entries).await,
            Err(error) => Err(error),
        };
        (1..).zip(&entries).map(|(place, _)| before.clone().map(|before| before + place)).collect()
    }

    async fn follow(
        &self,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
        wait: Duration,
    ) -> Result<Vec<Placed>, EngineError> {
        self.parts()?.follow(log, after, count, bytes, wait).await
    }

    async fn range(&self, log: &Identity, after: u64, count: usize, bytes: usize) -> Result<Vec<Placed>, EngineError> {
        self.parts()?.range(log, after, count, bytes).await
    }

    async fn find(&self, log: &Identity, id: &str) -> Result<Option<u64>, EngineError> {
        self.parts()?.find(log, id).await
    }

    async fn bounds(&self, log: &Identity) -> Result<Bounds, EngineError> {
        self.parts()?.bounds(log).await
    }

    async fn arrive(&self, node: NodeId, lease: Duration) -> Result<(), EngineError> {
        self.parts()?.arrive(node, lease).await
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, EngineError> {
        self.parts()?.renew(node, lease).await
    }

    async fn enter(&self, node: NodeId, subscribers: Vec<Subscriber>) -> Result<(), EngineError> {
        self.parts()?.enter(node, &subscribers).await
    }

    async fn leave(&self, node: NodeId, subscribers: Vec<String>) -> Result<(), EngineError> {
        self.parts()?.leave(node, &subscribers).await
    }

    async fn members(&self, cursor: &str, count: usize, bytes: usize) -> Result<(Vec<Member>, String), EngineError> {
        self.parts()?.members(cursor, count, bytes).await
    }

    async fn member(&self, id: &str) -> Result<Option<Member>, EngineError> {
        self.parts()?.member(id).await
    }

    async fn claim(&self, node: NodeId, lease: Duration) -> Result<Option<NodeId>, EngineError> {
        self.parts()?.claim(node, lease).await
    }

    async fn left(&self, dead: NodeId, count: usize, bytes: usize) -> Result<Vec<Subscriber>, EngineError> {
        self.parts()?.left(dead, count, bytes).await
    }

    async fn bury(&self, dead: NodeId) -> Result<(), EngineError> {
        self.parts()?.bury(dead).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acked_means_names_the_settings_that_are_off() {
        assert!(!durability("on", "on", "on").1);
        assert!(!durability("remote_apply", "on", "on").1);
        let (sentence, warning) = durability("off", "on", "on");
        assert!(warning && sentence.contains("synchronous_commit is off"), "{sentence}");
        let (sentence, warning) = durability("on", "off", "off");
        assert!(warning && sentence.contains("fsync and full_page_writes"), "{sentence}");
    }
}
