//! The ceiling of memory: what it is unless `--memory-max` says so, and how many connections fit under it. One arithmetic,
//! for the hub that keeps to it and for the doctor that says beforehand what it comes to.

/// What the hub takes of the machine's memory, or of its control group's, unless it is told otherwise. The rest is for
/// the system, and for events on their way, which are the kernel's.
pub(crate) const SHARE_PERCENT: u64 = 80;
/// From this much of a ceiling on, new subscribers are refused.
pub(crate) const NEAR_PERCENT: u64 = 90;
/// Kernel memory of an idle TCP connection that is accepted and watched, as measured: objects and the pages they fill. It
/// counts towards the hub's although it isn't the process's.
pub(crate) const KERNEL_BYTES: u64 = 4_200;
/// The hub's memory for a stream whose topic and token others have too.
pub(crate) const STREAM_BYTES: u64 = 200;

/// Bytes of the newest events that a hub of a cluster keeps at hand, at most.
pub(crate) const CLUSTER_CACHE_BYTES_MAX: usize = 64 << 20;

/// What history in files takes of it at most, however much it keeps: blocks that were read, indexes of segments that were looked into, and
/// those that aren't written yet, which grow with publishers' ids.
pub(crate) const FILE_HISTORY_MEMORY_BYTES: usize = 96 << 20;

/// The ceiling of a hub that has so much memory to itself; `None`: there is none. `said` is what `--memory-max` says.
pub(crate) fn ceiling_bytes(said: Option<u64>, there_is: Option<u64>) -> Option<u64> {
    match said {
        Some(0) => None,
        Some(bytes) => Some(bytes),
        None => there_is.map(share),
    }
}

/// The hub's share of so much memory.
pub(crate) fn share(bytes: u64) -> u64 {
    bytes / 100 * SHARE_PERCENT
}

/// How much there has to be for the hub's share to be so much.
pub(crate) fn whole(share_bytes: u64) -> u64 {
    (share_bytes / SHARE_PERCENT).saturating_add(1).saturating_mul(100)
}

/// How much of a ceiling is used when new subscribers are first refused.
pub(crate) fn near(ceiling_bytes: u64) -> u64 {
    ceiling_bytes / 100 * NEAR_PERCENT
}

/// How many streams of so many bytes each are let in under a ceiling where the hub takes `held_bytes` besides.
pub(crate) fn connections(ceiling_bytes: u64, held_bytes: u64, stream_bytes: u64) -> u64 {
    near(ceiling_bytes).saturating_sub(held_bytes) / (KERNEL_BYTES + stream_bytes)
}

/// The ceiling under which so many are let in.
pub(crate) fn ceiling_for(connections: u64, held_bytes: u64, stream_bytes: u64) -> u64 {
    let taken = connections.saturating_mul(KERNEL_BYTES + stream_bytes).saturating_add(held_bytes);
    (taken / NEAR_PERCENT).saturating_add(1).saturating_mul(100)
}

/// The limit on connections of a hub that was given none: as many as a ceiling has room for if they were all there is, so
/// that it is the ceiling itself that is met first.
pub(crate) fn connections_max(ceiling_bytes: u64) -> u64 {
    connections(ceiling_bytes, 0, STREAM_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_is_what_was_said_or_a_share_of_what_there_is() {
        let there_is = Some(1_000);
        assert_eq!([None, Some(0), Some(900)].map(|said| ceiling_bytes(said, there_is)), [Some(800), None, Some(900)]);
        assert_eq!(ceiling_bytes(None, None), None, "nothing says how much there is");
        assert_eq!(near(share(1_000)), 720);
    }

    #[test]
    fn a_ceiling_below_what_the_hub_holds_lets_nobody_in() {
        assert_eq!(connections(1_000_000, 900_000, 200), 0);
        assert_eq!(connections(1_000_000, 0, 200), 900_000 / 4_400);
    }

    proptest! {
        #[test]
        fn a_ceiling_made_for_so_many_has_room_for_them(streams in 0u64..1 << 40, held in 0u64..1 << 40, each in 0u64..4096) {
            let ceiling = ceiling_for(streams, held, each);
            prop_assert!(connections(ceiling, held, each) >= streams);
            prop_assert!(connections(ceiling, held, each) <= streams + 1);
            prop_assert!(share(whole(held)) >= held);
            prop_assert!(connections(ceiling, held, 200) <= connections(ceiling, 0, 200));
        }
    }
}
