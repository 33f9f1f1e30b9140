//! How often something was how large: plain numbers, so that counting costs an addition and copies are cheap.

/// Upper bounds of the buckets for times, microseconds: 100 µs to 10 s.
pub const TIME_BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
/// Upper bounds of the buckets for how many things went at once.
pub const COUNT_BOUNDS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/// Counts by bucket. The bounds are fixed, so that histograms of several shards, and of several hubs, add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    counts: [u64; N],
    /// Values above the last bound.
    over: u64,
    sum: u64,
}

/// Times, microseconds.
pub type Times = Histogram<{ TIME_BOUNDS_US.len() }>;
/// Numbers of things.
pub type Sizes = Histogram<{ COUNT_BOUNDS.len() }>;

impl Default for Times {
    fn default() -> Times {
        Histogram::new(&TIME_BOUNDS_US)
    }
}

impl Default for Sizes {
    fn default() -> Sizes {
        Histogram::new(&COUNT_BOUNDS)
    }
}

impl<const N: usize> Histogram<N> {
    /// An empty one with these upper bounds, ascending.
    pub const fn new(bounds: &'static [u64; N]) -> Histogram<N> {
        Histogram { bounds, counts: [0; N], over: 0, sum: 0 }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        match self.counts.get_mut(bucket) {
            Some(count) => *count += 1,
            None => self.over += 1,
        }
        self.sum = self.sum.saturating_add(value);
    }

    /// Adds what another one with the same bounds has counted.
    pub fn add(&mut self, other: &Histogram<N>) {
        debug_assert_eq!(self.bounds, other.bounds, "histograms of one kind have one set of bounds");
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.over += other.over;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Each bucket: its upper bound (`None`: no bound) and how many values fell into it, and into none below.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let bounded = self.bounds.iter().zip(self.counts).map(|(&bound, count)| (Some(bound), count));
        bounded.chain([(None, self.over)])
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.over
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        let mut times = Times::default();
        for value in [0, 100, 101, 10_000_000, 10_000_001] {
            times.record(value);
        }
        let counts: Vec<u64> = times.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 1, 1, 1));
        assert_eq!(times.buckets().last(), Some((None, 1)));
        assert_eq!((times.count(), times.sum()), (5, 20_000_202));
    }

    proptest! {
        #[test]
        fn two_together_are_what_one_would_have_counted(values in proptest::collection::vec((0_u64..3_000, any::<bool>()), 0..50)) {
            let (mut one, mut other, mut both) = (Sizes::default(), Sizes::default(), Sizes::default());
            for (value, first) in values {
                both.record(value);
                if first { one.record(value) } else { other.record(value) }
            }
            one.add(&other);
            prop_assert_eq!(one, both);
        }
    }
}
