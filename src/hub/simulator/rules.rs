//! What kind of world a seed makes: sizes, limits and how often things go wrong.

use super::random::Random;
use crate::history::Retention;
use crate::hub::ShardLimits;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) shards: usize,
    pub(super) clients: usize,
    /// Things that happen before everybody settles down.
    pub(super) steps: usize,
    pub(super) limits: ShardLimits,
    pub(super) retention: Retention,
    /// Work of one slice; small ones leave fan-out half done most of the time.
    pub(super) slice_ns: u64,
    /// Random refusals, short writes, resets, drops, crashes and steps of the clock.
    pub(super) faults: bool,
    /// Of a thousand bursts of publishes so many are floods.
    pub(super) floods: u64,
    /// Of a thousand clients so many read slowly or not at all.
    pub(super) lazy: u64,
    /// History has events of its own, as it has on a disk, instead of those the tails share.
    pub(super) copies: bool,
}

impl Rules {
    /// Any world.
    pub(super) fn draw(random: &mut Random) -> Rules {
        let crowd = random.chance(50);
        Rules {
            shards: random.between(1, 4) as usize,
            clients: if crowd { 80 } else { random.between(2, 30) as usize },
            steps: if crowd { 250 } else { random.between(150, 800) as usize },
            limits: ShardLimits {
                selectors_bytes_max: usize::MAX,
                tail_bytes_max: random.pick(&[600, 3_000, 20_000, 200_000, 4_000_000]),
                heartbeat_ms: random.pick(&[0, 800, 3_000]),
                write_timeout_ms: random.pick(&[0, 1_500, 6_000]),
                lifetime_max_ms: random.pick(&[0, 0, 3_000, 15_000]),
                announces: true,
            },
            retention: Retention {
                events_max: random.pick(&[3, 40, 100_000]),
                bytes_max: random.pick(&[5_000, 100_000, 100_000_000]),
                age_max_ms: random.pick(&[None, None, Some(1_000), Some(10_000)]),
            },
            slice_ns: random.pick(&[10_000, 30_000, 125_000, 1_000_000]),
            faults: true,
            floods: random.pick(&[0, 50, 300]),
            lazy: random.pick(&[0, 200, 600]),
            copies: random.chance(500),
        }
    }

    /// A world where nothing goes wrong and nothing is scarce.
    pub(super) fn calm() -> Rules {
        Rules {
            shards: 1,
            clients: 0,
            steps: 0,
            limits: ShardLimits::roomy(),
            retention: Retention { events_max: 100_000, bytes_max: 100_000_000, age_max_ms: None },
            slice_ns: 1_000_000,
            faults: false,
            floods: 0,
            lazy: 0,
            copies: false,
        }
    }
}
