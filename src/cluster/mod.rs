//! Engines that join hubs: a server that all of them talk to orders the events, remembers them, and knows which hub is alive.
//!
//! A hub in a cluster is a cursor over the engine's log. It appends what its publishers send, follows the log from where it is, and
//! makes its own events of what it reads: the same offsets, the same ids, the same order on every hub. What an engine has to
//! do stands in [`Engine`]; who calls it, when, and what becomes of a failure is the server's to decide. Engines keep connections of
//! their own, make them when they are needed, and give up nothing but the call that failed: the next call tries anew.
//!
//! This room knows sockets and tokio, and nothing of subscribers, shards or HTTP.

mod address;
mod encoding;
mod engine;
mod fresh;
mod nats;
mod postgres;
mod redis;
mod tls;

pub use address::Address;
pub use engine::{
    Appended, Bounds, Engine, EngineError, Entry, Identity, LogError, Member, NodeId, Opened, Placed, Retention,
    Subscriber,
};
pub use nats::Nats;
pub use postgres::{OutboxRules, Postgres, Relayed};
pub use redis::Redis;
