//! What every cluster engine promises, shown on the real servers.
//!
//! `suite` has the stories, the same for all engines; a file per engine starts its server, has the stories told (`conformance!`), and
//! tells those that only this engine has. Tests wait for things to happen, with generous deadlines; none asserts how long something took.

#![allow(clippy::disallowed_methods, reason = "tests live in the real world: they read the clock")]

mod certificates;
#[path = "../e2e/harness/folder.rs"]
mod folder;
mod nats;
mod postgres;
mod redis;
mod servers;
mod suite;
