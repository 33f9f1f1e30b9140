//! End-to-end tests: they start the real binary and talk to it over real sockets.
//!
//! A module is a story, a test's name is a rule. `CINNABAR_TEST_IO` chooses the I/O driver (`uring` or `epoll`).
//! Tests wait for things to happen, with generous deadlines; none asserts how long something took. That something does *not*
//! arrive is shown by what was sent after it and does: streams are in order.

#![allow(clippy::disallowed_methods, reason = "tests live in the real world: they read the clock")]

mod harness;

mod admin;
mod commands;
mod console;
mod cors;
mod curl;
mod dev;
mod http;
mod lifecycle;
mod private;
mod publish;
mod reconcile;
mod reserved;
mod slow;
mod smuggling;
mod start;
mod subscribe;
mod tokens;
#[cfg(feature = "otel")]
mod tracing;
