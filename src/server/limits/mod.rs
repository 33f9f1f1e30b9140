//! How much one client may have: connections of an address, streams of a subject, publishes in a time, memory for all.
//!
//! What is counted here is counted over all shards: a client's connections may be on any of them. Nothing else of this
//! is shared between shards that would make one wait for another, so a lock here is held for some hundred nanoseconds,
//! over one of many parts of a table, and only where a limit is set (ARCHITECTURE.md).

mod ceiling;
mod client;
mod counts;
mod gate;
mod machine;
mod publishers;
mod rate;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::config::ClientLimits;
use crate::http::forwarded::ForwardedField;
use crate::http::network::NetworkList;
use crate::protocol::token::Access;
use crate::server::peers::Peer;
pub(crate) use ceiling::Ceiling;
pub(crate) use client::Client;
use counts::Key;
pub(crate) use counts::{Counts, Hold, Place};
pub(crate) use machine::Machine;
use publishers::Publishers;
use rate::{Rate, SharedBucket};

/// Accepted at once, as a share of a second: what a shard finds in its queue at a tick is a twentieth.
const ACCEPT_BURST_SHARE: u32 = 10;

/// What the shards share to keep to the limits.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// Connections by address.
    pub(crate) addresses: Arc<Counts>,
    /// Streams by issuer and subject.
    pub(crate) subjects: Arc<Counts>,
    publishers: Publishers,
    accepts: SharedBucket,
    pub(crate) ceiling: Ceiling,
    bearers: BearerKeys,
}

impl Limits {
    /// A stream has ended: it counts no more.
    pub(crate) fn give_back(&self, peer: Peer) {
        if let Some(place) = peer.by_address {
            self.addresses.give_back(place);
        }
        if let Some(place) = peer.by_subject {
            self.subjects.give_back(place);
        }
    }
}

/// The secrets of the hash that stands for an issuer's subject. Together 128 bits: no two of them are ever the same.
#[derive(Debug, Default)]
struct BearerKeys([RandomState; 2]);

impl BearerKeys {
    fn key(&self, access: &Access) -> Key {
        let bearer = (&*access.issuer, access.subject.as_deref());
        [self.0[0].hash_one(bearer), self.0[1].hash_one(bearer)]
    }
}

/// The limits that are set.
#[derive(Clone, Debug)]
pub(crate) struct LimitSettings {
    trusted: NetworkList,
    forwarded: ForwardedField,
    proxy_protocol: bool,
    per_address: Option<u32>,
    per_subject: Option<u32>,
    accepts: Option<Rate>,
    /// With the rate as people write it.
    publishes: Option<(Rate, String)>,
}

impl LimitSettings {
    pub(crate) fn new(limits: &ClientLimits) -> LimitSettings {
        const SECOND: Duration = Duration::from_secs(1);
        let accepts = |count: u32| Rate::new(count, SECOND, count / ACCEPT_BURST_SHARE);
        LimitSettings {
            trusted: limits.trusted_proxies.with(Client::UNIX.address),
            forwarded: limits.forwarded,
            proxy_protocol: limits.proxy_protocol,
            per_address: limits.connections_per_address,
            per_subject: limits.streams_per_subject,
            accepts: limits.accepts_per_second.map(accepts),
            publishes: limits
                .publish_rate
                .map(|rate| (Rate::new(rate.count, rate.period, rate.burst), rate.to_string())),
        }
    }

    /// Whether connections of this peer begin with a PROXY protocol header.
    pub(crate) fn introduced(&self, peer: Client) -> bool {
        self.proxy_protocol && peer.trusted
    }
}
