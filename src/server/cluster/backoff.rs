//! How long to wait before the engine is tried again: longer each time, and not the same for all hubs.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use crate::cluster::NodeId;

/// The first wait, and the longest.
const WAIT_MS_MIN: u64 = 100;
const WAIT_MS_MAX: u64 = 2_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// How long to wait now: half of it is chance.
    pub(super) fn next(&mut self) -> Duration {
        let whole = (WAIT_MS_MIN << self.tries.min(8)).min(WAIT_MS_MAX);
        self.tries = self.tries.saturating_add(1);
        Duration::from_millis(whole / 2 + chance(whole / 2 + 1))
    }

    /// How often it was asked.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }
}

/// A random number below another one.
#[allow(clippy::disallowed_methods, reason = "the link to a cluster is part of the I/O shell")]
fn chance(below: u64) -> u64 {
    let mut bytes = [0; 8];
    // Without chance all hubs come at once, which does no harm that can't be borne.
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_ne_bytes(bytes) % below
}

/// So many random tags of 22 bits.
#[allow(clippy::disallowed_methods, reason = "the link to a cluster is part of the I/O shell")]
pub(super) fn tags(count: usize) -> impl Iterator<Item = u32> {
    let mut bytes = vec![0; count * 4];
    let drawn = SystemRandom::new().fill(&mut bytes);
    debug_assert!(drawn.is_ok(), "the system gives random numbers");
    let tag = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().expect("four bytes")) % (1 << TAG_BITS);
    bytes.chunks_exact(4).map(tag).collect::<Vec<_>>().into_iter()
}

/// The name of a hub for one run.
#[allow(clippy::disallowed_methods, reason = "the link to a cluster is part of the I/O shell")]
pub(super) fn node_id() -> NodeId {
    let mut name = [0; 16];
    let drawn = SystemRandom::new().fill(&mut name);
    debug_assert!(drawn.is_ok(), "the system gives random numbers");
    NodeId(name)
}

/// Bits of a tag: as many as an id has room for.
const TAG_BITS: u32 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_longer_each_time_up_to_a_limit() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..12).map(|_| backoff.next().as_millis() as u64).collect();
        assert!((50..=100).contains(&waits[0]) && (100..=200).contains(&waits[1]), "{waits:?}");
        assert!(waits[6..].iter().all(|wait| (1_000..=2_000).contains(wait)), "{waits:?}");
    }

    #[test]
    fn tags_fit_into_an_id() {
        assert!(tags(100).all(|tag| tag < 1 << 22) && tags(100).count() == 100);
    }
}
