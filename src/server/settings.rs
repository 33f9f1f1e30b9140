//! What the server needs to know, worked out at start and at every reload, and shared by all threads.

use std::time::Duration;

use crate::config::data_folder::random_key;
use crate::config::{Config, History, memory};
use crate::history::Retention;
use crate::http::head::HeadLimits;
use crate::http::host_list::HostList;
use crate::http::origin::OriginList;
use crate::hub::ShardLimits;
use crate::kernel::{Root, memory::there_is_bytes};
use crate::protocol::coding::Codings;
use crate::protocol::compat::Compat;
use crate::protocol::prelude::Prelude;
use crate::protocol::subscribe::SubscribeLimits;
use crate::protocol::topic::HubUrl;
use crate::protocol::update::UpdateLimits;
use crate::server::discovery::Discovery;
use crate::server::limits::LimitSettings;

/// Bytes of request bodies in memory on one shard, unless bodies may be so large that there would be no room for two.
const BODIES_BYTES_MAX: usize = 32 << 20;

/// Everything a hub is started with.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Event loops, one thread each.
    pub(crate) shards: usize,
    /// The hub's URL: base of relative topics and patterns.
    pub(crate) hub: HubUrl,
    /// What the hub says about itself.
    pub(crate) discovery: Discovery,
    /// The hosts requests must be for; empty: any.
    pub(crate) public_hosts: HostList,
    /// The version of the protocol before 1.0 that is spoken too.
    pub(crate) compat: Option<Compat>,
    /// Subscribers without a token may read public updates.
    pub(crate) anonymous: bool,
    /// Development mode: loopback `Host` only, and invalid tokens are explained in the answer.
    pub(crate) dev: bool,
    /// The console is served.
    pub(crate) console: bool,
    /// Origins that may read answers.
    pub(crate) cors: OriginList,
    /// Origins that may publish with a cookie.
    pub(crate) publish_origins: OriginList,
    /// Name of the cookie that carries a token.
    pub(crate) cookie_name: String,
    /// What every stream begins with.
    pub(crate) prelude: Prelude,
    /// The content codings that streams are offered under.
    pub(crate) codings: Codings,
    /// Bounds of every shard.
    pub(crate) shard: ShardLimits,
    /// Bounds of a request head.
    pub(crate) head: HeadLimits,
    /// Bounds of an update's fields.
    pub(crate) update: UpdateLimits,
    /// Bounds of a subscription.
    pub(crate) subscribe: SubscribeLimits,
    /// Bytes of a request body.
    pub(crate) body_bytes_max: usize,
    /// Bytes of request bodies in memory on one shard at most.
    pub(crate) bodies_bytes_max: usize,
    /// Time to send a head, milliseconds.
    pub(crate) head_timeout_ms: u64,
    /// Time to send a body, milliseconds.
    pub(crate) body_timeout_ms: u64,
    /// Requests and streams that an HTTP/2 connection may have at once.
    pub(crate) http2_streams_max: u32,
    /// Connections in total; `None`: as many as the machine allows.
    pub(crate) connections_max: Option<usize>,
    /// The port that whoever comes without TLS to a place for that is sent to.
    pub(crate) redirect_port: u16,
    /// What one client may have.
    pub(crate) limits: LimitSettings,
    /// Bytes the hub may take; `None`: there is no ceiling.
    pub(crate) memory_max: Option<u64>,
    /// What history keeps.
    pub(crate) retention: Retention,
    /// Key of the ids the hub makes.
    pub(crate) id_key: [u8; 32],
}

impl Settings {
    /// Works out what the configuration means for the server. The address it listens on must be known by now: in
    /// development mode URLs and the issuer follow from it.
    pub(crate) fn new(config: &Config) -> Settings {
        let cors = config.cors_origins.clone();
        let loopback_too = |origins: OriginList| if config.dev { origins.and_loopback() } else { origins };
        let History { max_events, max_bytes, max_age, .. } = config.history;
        Settings {
            shards: config.shards,
            hub: config.hub_url.clone(),
            discovery: Discovery::new(config),
            public_hosts: config.public_hosts.clone(),
            compat: config.compat,
            anonymous: config.anonymous,
            dev: config.dev,
            console: config.console,
            cors: if cors.allows_any() { cors } else { loopback_too(cors) },
            publish_origins: loopback_too(config.publish_origins.clone()),
            cookie_name: config.cookie_name.clone(),
            prelude: Prelude::new(config.padding_bytes, config.retry.map(milliseconds)),
            codings: config.compression,
            shard: ShardLimits {
                tail_bytes_max: config.tail_bytes,
                selectors_bytes_max: usize::MAX,
                heartbeat_ms: config.heartbeat.map_or(0, milliseconds),
                write_timeout_ms: milliseconds(config.write_timeout),
                lifetime_max_ms: config.max_lifetime.map_or(0, milliseconds),
                announces: config.subscriptions,
            },
            head: HeadLimits { head_bytes_max: config.max_head_bytes, ..HeadLimits::default() },
            update: UpdateLimits::default(),
            subscribe: SubscribeLimits { compat: config.compat, ..SubscribeLimits::default() },
            body_bytes_max: config.max_body_bytes,
            bodies_bytes_max: bodies_bytes_max(config.max_body_bytes),
            head_timeout_ms: milliseconds(config.head_timeout),
            body_timeout_ms: milliseconds(config.body_timeout),
            http2_streams_max: config.client_limits.http2_streams,
            connections_max: config.max_connections,
            redirect_port: redirect_port(config),
            limits: LimitSettings::new(&config.client_limits),
            memory_max: memory::ceiling_bytes(
                config.memory_max.map(|bytes| bytes as u64),
                there_is_bytes(&Root::machine()),
            ),
            retention: Retention {
                events_max: max_events,
                bytes_max: max_bytes,
                age_max_ms: max_age.map(milliseconds),
            },
            id_key: config.id_key.map_or_else(random_key, |key| key.0),
        }
    }
}

fn redirect_port(config: &Config) -> u16 {
    let with_tls = config.listen.iter().filter(|listen| listen.tls);
    let bound = with_tls.filter_map(|listen| listen.address()).map(|address| address.port()).next();
    config.redirect_to_port.or(bound).unwrap_or(443)
}

fn bodies_bytes_max(body_bytes_max: usize) -> usize {
    BODIES_BYTES_MAX.max(body_bytes_max.saturating_mul(2))
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen: `--max-body-bytes` of more than the account was accepted, and every such publish answered 503.
    #[test]
    fn two_of_the_largest_bodies_fit_into_the_account() {
        assert_eq!(bodies_bytes_max(1 << 20), BODIES_BYTES_MAX);
        assert_eq!(bodies_bytes_max(64 << 20), 128 << 20);
    }
}
