//! Histograms on the wire: the values that were counted, and how often each was.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::swarm::{Timings, new_histogram};

/// A histogram's values in microseconds with their counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Values(Vec<(u64, u64)>);

impl Values {
    fn of(histogram: &Histogram<u64>) -> Self {
        let counted = histogram.iter_recorded();
        Self(counted.map(|value| (value.value_iterated_to(), value.count_since_last_iteration())).collect())
    }

    fn histogram(&self) -> Histogram<u64> {
        let mut histogram = new_histogram();
        for (value, count) in &self.0 {
            histogram.saturating_record_n(*value, *count);
        }
        histogram
    }
}

/// Times an agent took since it last told, group by group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times {
    deliveries: Vec<Values>,
    heads: Values,
}

impl Times {
    /// Nothing when nothing was timed.
    pub(super) fn of(timings: &Timings) -> Option<Self> {
        let any = timings.deliveries.iter().chain([&timings.heads]).any(|times| !times.is_empty());
        any.then(|| Self {
            deliveries: timings.deliveries.iter().map(Values::of).collect(),
            heads: Values::of(&timings.heads),
        })
    }

    /// As they were, for so many groups; nothing when they are of another number.
    pub(super) fn timings(&self, groups: usize) -> Option<Timings> {
        (self.deliveries.len() == groups).then(|| Timings {
            deliveries: self.deliveries.iter().map(Values::histogram).collect(),
            heads: self.heads.histogram(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timings(values: &[u64]) -> Timings {
        let mut timings = Timings::new(2);
        values.iter().for_each(|value| timings.deliveries[1].saturating_record(*value));
        timings.heads.saturating_record(7);
        timings
    }

    fn sent(timings: &Timings) -> Timings {
        let text = serde_json::to_string(&Times::of(timings)).expect("written");
        let times: Option<Times> = serde_json::from_str(&text).expect("read");
        times.expect("something was timed").timings(2).expect("of two groups")
    }

    #[test]
    fn nothing_timed_is_not_sent_and_other_groups_are_refused() {
        assert_eq!(Times::of(&Timings::new(3)), None);
        let times = Times::of(&timings(&[5])).expect("timed");
        assert!(times.timings(1).is_none() && times.timings(3).is_none());
    }

    #[test]
    fn a_value_beyond_the_range_counts_as_the_highest() {
        let times = Times { deliveries: vec![Values(vec![(u64::MAX, 2), (0, 1)])], heads: Values::default() };
        assert_eq!(times.timings(1).expect("of one group").deliveries[0].len(), 3);
    }

    proptest! {
        #[test]
        fn two_agents_times_add_up_to_what_one_would_have(
            one in prop::collection::vec(0_u64..700_000_000, 1..200),
            other in prop::collection::vec(0_u64..700_000_000, 1..200),
        ) {
            let all = timings(&[one.clone(), other.clone()].concat());
            let mut merged = Timings::new(2);
            for part in [&one, &other] {
                merged.drain(&mut sent(&timings(part)));
            }
            prop_assert_eq!(&merged.deliveries[1], &all.deliveries[1]);
            prop_assert!(merged.deliveries[0].is_empty());
            prop_assert_eq!(merged.heads.len(), 2);
        }
    }
}
