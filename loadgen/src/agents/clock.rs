//! How far an agent's clock is away from the coordinator's. The agent is asked for the time again and again; of the answer
//! that took the least it is known best when the agent read its clock: somewhere between question and answer.

use serde::{Deserialize, Serialize};

/// Questions asked in a row, where they don't take long.
pub(super) const EXCHANGES_MAX: usize = 32;
/// The least, however long they take.
pub(super) const EXCHANGES_MIN: usize = 4;
/// After so long there are enough.
pub(super) const EXCHANGES_TIME_NS: u64 = 1_000_000_000;

/// One question and its answer. The first and the last time are the coordinator's, the two between the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) asked_ns: u64,
    pub(super) received_ns: u64,
    pub(super) answered_ns: u64,
    pub(super) heard_ns: u64,
}

impl Exchange {
    /// Time on the way, there and back; nothing when the times contradict each other.
    fn round_trip_ns(self) -> Option<u64> {
        let away = self.heard_ns.checked_sub(self.asked_ns)?;
        away.checked_sub(self.answered_ns.checked_sub(self.received_ns)?)
    }

    fn offset_ns(self) -> Option<i64> {
        let [asked, received, answered, heard] =
            [self.asked_ns, self.received_ns, self.answered_ns, self.heard_ns].map(i128::from);
        i64::try_from(((received - asked) + (answered - heard)).div_euclid(2)).ok()
    }
}

/// What an agent's clock shows more than the coordinator's, and how wrong that may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offset {
    pub(super) offset_ns: i64,
    /// Half of the round trip.
    pub(super) uncertainty_ns: u64,
}

impl Offset {
    /// From the exchange with the shortest round trip; nothing when none makes sense.
    pub(super) fn of(exchanges: &[Exchange]) -> Option<Self> {
        Self::best_of(exchanges).map(|(_, offset)| offset)
    }

    /// The same with the moment it was so, in the coordinator's clock.
    pub(super) fn best_of(exchanges: &[Exchange]) -> Option<(u64, Self)> {
        let possible =
            |exchange: &Exchange| Some((exchange.round_trip_ns()?, exchange.offset_ns()?, exchange.asked_ns));
        let (round_trip_ns, offset_ns, at_ns) =
            exchanges.iter().filter_map(possible).min_by_key(|(round_trip, ..)| *round_trip)?;
        Some((at_ns, Self { offset_ns, uncertainty_ns: round_trip_ns.div_ceil(2) }))
    }

    /// What to add to the agent's clock to have the coordinator's.
    pub(super) fn shift_ns(self) -> i64 {
        self.offset_ns.saturating_neg()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exchange(asked_ns: u64, received_ns: u64, answered_ns: u64, heard_ns: u64) -> Exchange {
        Exchange { asked_ns, received_ns, answered_ns, heard_ns }
    }

    #[test]
    fn the_shortest_round_trip_counts() {
        // The agent's clock is 1,000 ahead. The second way there took long, and the third answer came at once.
        let slow = exchange(100, 1_300, 1_310, 330);
        let fast = exchange(500, 1_510, 1_550, 560);
        let offset = Offset::of(&[slow, fast, slow]).expect("known");
        assert_eq!(offset, Offset { offset_ns: 1_000, uncertainty_ns: 10 });
        assert_eq!(offset.shift_ns(), -1_000);
    }

    #[test]
    fn an_agent_that_is_behind_has_a_negative_offset() {
        let offset = Offset::of(&[exchange(5_000, 1_004, 1_004, 5_008)]).expect("known");
        assert_eq!(offset, Offset { offset_ns: -4_000, uncertainty_ns: 4 });
    }

    #[test]
    fn what_contradicts_itself_is_left_out() {
        let backwards = exchange(100, 50, 40, 200);
        let longer_than_the_way = exchange(100, 50, 500, 200);
        let before_the_question = exchange(100, 0, 0, 90);
        assert_eq!(Offset::of(&[backwards, longer_than_the_way, before_the_question]), None);
        assert_eq!(Offset::of(&[]), None);
        let good = exchange(100, 110, 110, 120);
        assert_eq!(Offset::of(&[backwards, good]), Some(Offset { offset_ns: 0, uncertainty_ns: 10 }));
        assert_eq!(Offset::of(&[exchange(0, u64::MAX, u64::MAX, 0)]), None, "further away than can be said");
    }

    proptest! {
        #[test]
        fn the_true_offset_is_within_the_uncertainty(
            offset in -1_000_000_000_000_i64..1_000_000_000_000,
            ways in prop::collection::vec((0_u64..5_000_000, 0_u64..5_000_000, 0_u64..1_000_000), 1..20),
        ) {
            let began = 2_000_000_000_000_u64;
            let all: Vec<Exchange> = ways.iter().map(|(there, rests, back)| {
                let received = (began + there).wrapping_add_signed(offset);
                exchange(began, received, received + rests, began + there + rests + back)
            }).collect();
            let found = Offset::of(&all).expect("known");
            prop_assert!(found.offset_ns.abs_diff(offset) <= found.uncertainty_ns + 1);
        }
    }
}
