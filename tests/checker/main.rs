//! The checker of clusters: three hubs, one engine, clients that come and go, publishers, and everything that can break between them.
//!
//! A run is made from a seed ([`plan`]): which faults happen when, how clients and publishers behave. It is run with the real binary and the real
//! servers ([`run`]), everybody notes what he saw ([`record`]), and a pure function says what must not have been ([`judge`]).
//!
//! `cargo test --test checker` makes the runs of [`campaign::FIXED_SEEDS`] with each engine. `CINNABAR_CHECKER_SEEDS=20` makes that many of random
//! seeds, `CINNABAR_CHECKER_SEED=7` the one of this seed again; with `-- --nocapture redis` they show how they go, with one engine.

#![allow(clippy::disallowed_methods, reason = "tests live in the real world: they read the clock")]

mod audience;
mod campaign;
mod chance;
mod cluster;
#[path = "../e2e/cluster/engines.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which need more of it")]
mod engines;
mod event_stream;
mod faults;
/// Where the servers of engines look for it.
mod folder {
    pub(crate) use crate::harness::Folder;
}
#[path = "../e2e/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the end-to-end tests, which need more of it")]
mod harness;
mod judge;
mod plan;
mod planted;
#[path = "../engines/postgres/server.rs"]
#[allow(dead_code, reason = "shared with the tests of engines, which need more of it")]
mod postgres;
mod proxy;
mod publisher;
mod reader;
mod record;
mod run;
#[path = "../engines/servers.rs"]
#[allow(dead_code, reason = "shared with the tests of engines, which need more of it")]
mod servers;

use engines::{NatsServer, RedisServer};
use postgres::PostgresServer;

#[test]
fn redis() {
    campaign::pass::<RedisServer>("redis");
}

#[test]
fn nats() {
    campaign::pass::<NatsServer>("nats");
}

#[test]
fn postgres() {
    campaign::pass::<PostgresServer>("postgres");
}
