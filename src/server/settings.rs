//! What the server needs to know, worked out once at start and shared by all threads.

use std::net::SocketAddr;

use crate::history::Retention;
use crate::http::head::HeadLimits;
use crate::http::origin::OriginList;
use crate::hub::ShardLimits;
use crate::protocol::subscribe::SubscribeLimits;
use crate::protocol::token::TokenVerifier;
use crate::protocol::topic::HubUrl;
use crate::protocol::update::UpdateLimits;

/// Which event loop and sender to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// io_uring where the kernel allows it, else epoll.
    Auto,
    /// monoio's io_uring driver and the ring back end.
    Uring,
    /// monoio's epoll driver and the system-call back end.
    Epoll,
}

/// Everything a hub is started with.
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Event loops, one thread each.
    pub shards: usize,
    /// Event loop and sender.
    pub io: Io,
    /// The hub's URL: base of relative topics and patterns.
    pub hub: HubUrl,
    /// Judges tokens; `None` when no issuer is configured.
    pub verifier: Option<TokenVerifier>,
    /// Subscribers without a token may read public updates.
    pub anonymous: bool,
    /// Development mode: loopback `Host` only, and invalid tokens are explained in the answer.
    pub dev: bool,
    /// Origins that may read answers.
    pub cors: OriginList,
    /// Origins that may publish with a cookie.
    pub publish_origins: OriginList,
    /// Name of the cookie that carries a token.
    pub cookie_name: String,
    /// Bounds of every shard.
    pub shard: ShardLimits,
    /// Bounds of a request head.
    pub head: HeadLimits,
    /// Bounds of an update's fields.
    pub update: UpdateLimits,
    /// Bounds of a subscription.
    pub subscribe: SubscribeLimits,
    /// Bytes of a request body.
    pub body_bytes_max: usize,
    /// Time to send a head, milliseconds.
    pub head_timeout_ms: u64,
    /// Time to send a body, milliseconds.
    pub body_timeout_ms: u64,
    /// Connections in total; `None`: as many as the machine allows.
    pub connections_max: Option<usize>,
    /// What history keeps.
    pub retention: Retention,
    /// Key of the ids the hub makes.
    pub id_key: [u8; 32],
    /// Time a graceful stop may take, milliseconds.
    pub stop_ms: u64,
}
