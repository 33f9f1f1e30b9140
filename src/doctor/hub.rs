//! The hub that is to run on the machine: the settings that decide how much it needs.

use super::machine::IoUring;
use crate::config::memory::{CLUSTER_CACHE_BYTES_MAX, FILE_HISTORY_MEMORY_BYTES};
use crate::config::{Config, HistoryEngine, IoChoice, Listen, ListenPlace};
use serde::Serialize;

/// What of a configuration matters to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hub {
    /// Event loops.
    pub shards: u64,
    /// Whether it will run on io_uring, where parked sockets don't count as descriptors.
    pub uring: bool,
    /// Whether it refuses to start without io_uring.
    pub uring_demanded: bool,
    /// `--max-connections`.
    pub max_connections: Option<u64>,
    /// `--memory-max`; 0 is no ceiling.
    pub memory_max: Option<u64>,
    /// Bytes history may grow to.
    pub history_bytes: u64,
    /// Bytes of the tail.
    pub tail_bytes: u64,
    /// Silence before a heartbeat; 0 is none.
    pub heartbeat_ms: u64,
    /// Descriptors that aren't connections.
    pub own_descriptors: u64,
    /// The port it listens on.
    pub port: u16,
    /// Whether it listens on loopback only: then a proxy on this machine makes all its connections.
    pub behind_local_proxy: bool,
    /// `--max-connections-per-address`.
    pub connections_per_address: Option<u64>,
    /// Whether some proxy's word counts: `--trusted-proxy`.
    pub trusts_proxies: bool,
    /// `--proxy-protocol`.
    pub proxy_protocol: bool,
}

impl Hub {
    /// The hub of a configuration. `own_descriptors` is what it needs besides connections.
    pub fn new(config: &Config, io_uring: &IoUring, own_descriptors: usize) -> Hub {
        let max_bytes = match config.history.engine {
            HistoryEngine::Memory => config.history.max_bytes,
            HistoryEngine::File { .. } => FILE_HISTORY_MEMORY_BYTES,
            HistoryEngine::Cluster => config.history.max_bytes.min(CLUSTER_CACHE_BYTES_MAX),
        };
        // Announcements have a fifth besides.
        let announced = if config.subscriptions { max_bytes / 5 } else { 0 };
        let serving = || config.listen.iter().filter(|listen| !listen.redirects);
        // A proxy in front of a Unix socket is trusted, and takes up no ports.
        let by_socket = |listen: &Listen| matches!(listen.place, ListenPlace::Unix { .. });
        let milliseconds = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Hub {
            shards: config.shards as u64,
            uring: config.io != IoChoice::Epoll && *io_uring == IoUring::Works,
            uring_demanded: config.io == IoChoice::Uring,
            max_connections: config.max_connections.map(|max| max as u64),
            memory_max: config.memory_max.map(|max| max as u64),
            history_bytes: (max_bytes + announced) as u64,
            tail_bytes: config.tail_bytes as u64,
            heartbeat_ms: config.heartbeat.map_or(0, milliseconds),
            own_descriptors: own_descriptors as u64,
            port: config.listen.iter().find_map(|listen| listen.address()).map_or(0, |address| address.port()),
            behind_local_proxy: serving().all(Listen::is_local) && serving().any(|listen| listen.address().is_some()),
            connections_per_address: config.client_limits.connections_per_address.map(u64::from),
            trusts_proxies: !config.client_limits.trusted_proxies.is_empty() || serving().all(by_socket),
            proxy_protocol: config.client_limits.proxy_protocol,
        }
    }
}
