//! End-to-end tests: they start the real binary and talk to it over real sockets.
//!
//! A module is a story, a test's name is a rule. `CINNABAR_TEST_IO` chooses the I/O driver (`uring` or `epoll`).
//! Tests wait for things to happen, with generous deadlines; none asserts how long something took. That something does *not*
//! arrive is shown by what was sent after it and does: streams are in order.

#![allow(clippy::disallowed_methods, reason = "tests live in the real world: they read the clock")]

#[path = "../engines/certificates.rs"]
mod certificates;
/// Where the servers of engines look for it.
mod folder {
    pub(crate) use crate::harness::Folder;
}
mod harness;
#[path = "../engines/postgres/server.rs"]
#[allow(dead_code, reason = "shared with the tests of engines, which need more of it")]
mod postgres;
#[path = "../engines/servers.rs"]
#[allow(dead_code, reason = "shared with the tests of engines, which need more of it")]
mod servers;

mod admin;
mod cluster;
mod commands;
mod compat;
mod compression;
mod console;
mod cors;
mod curl;
mod dev;
mod discovery;
mod doctor;
mod drain;
mod durable;
mod history_tool;
mod http;
mod http2;
mod key_sets;
mod lifecycle;
mod limits;
mod listeners;
mod listing;
mod migrate;
mod negotiation;
mod prelude;
mod private;
mod public_url;
mod publish;
mod query;
mod reconcile;
mod reload;
mod repeat;
mod reserved;
mod rules;
mod slow;
mod smuggling;
mod start;
mod subscribe;
mod subscriptions;
mod tls;
mod tokens;
#[cfg(feature = "otel")]
mod tracing;
