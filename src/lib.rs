//! Cinnabar, a hub for the Mercure protocol.
//!
//! The crate is layered and the arrows point one way: `protocol` ← `hub` ← `server`; `http` knows nothing of hubs.
//! `protocol` and `hub` have no sockets, no clock, no threads and no randomness of their own: time, randomness and
//! the results of I/O are arguments. ARCHITECTURE.md is the map.

pub mod admin;
pub mod cluster;
pub mod config;
pub mod doctor;
pub mod history;
pub mod http;
pub mod hub;
pub mod kernel;
pub mod protocol;
pub mod server;
