//! Engines, held to what `Engine` says: real servers, started here on loopback.
fn main() {}
