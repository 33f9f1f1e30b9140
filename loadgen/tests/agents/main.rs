//! Runs whose subscribers are held by agents: on this machine (`loopback`), and over a network (`network`).

mod delay;
mod loopback;
mod network;
mod process;
#[path = "../stand_in/mod.rs"]
mod stand_in;
