//! What went on while a scenario ran: samples of every target, a bounded number of them.

use serde::{Deserialize, Serialize};

/// Samples kept of a run. When there are more, neighbours are merged.
pub(crate) const SAMPLES_MAX: usize = 2_000;
/// A stretch shorter than this says nothing about rates: clocks of CPU time tick every 10 ms.
pub(crate) const SPAN_MIN_S: f64 = 0.2;
/// Stretches that are further apart than this have something unmeasured between them.
pub(crate) const GAP_S: f64 = 0.05;
/// Targets a run may have samples of; those of further ones aren't kept.
pub(crate) const TARGETS_MAX: usize = 8;

/// A stretch of time of one target. Counts and CPU times are those of the stretch, everything else is how it stood at
/// the end of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The end of the stretch, in seconds since the run began, and its length.
    pub(crate) at_s: f64,
    pub(crate) span_s: f64,
    /// The part of the scenario.
    pub(crate) part: String,
    /// What was measured: `hub`, `floor`, …
    pub(crate) target: String,
    pub(crate) connections: u64,
    pub(crate) deliveries: u64,
    pub(crate) publishes: u64,
    /// Publishes and subscribers the target refused.
    pub(crate) refused: u64,
    /// Streams that ended.
    pub(crate) closed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Spread>,
    /// CPU time of the target's process, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_s: Option<f64>,
    /// Memory only the target's process has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_bytes: Option<u64>,
    /// What the kernel holds on the whole machine: TCP's buffers, and its slabs (sockets, files, everything).
    pub(crate) tcp_bytes: u64,
    pub(crate) slab_bytes: u64,
    /// CPU time of this program.
    pub(crate) own_cpu_s: f64,
    /// CPU time of interrupts: what the network does for others is partly there.
    pub(crate) interrupts_cpu_s: f64,
    /// CPU time of the whole machine that wasn't idle, and all there was.
    pub(crate) busy_cpu_s: f64,
    pub(crate) total_cpu_s: f64,
}

/// Latencies of a stretch, in microseconds. Of stretches that were merged it is the highest each: what a merged one
/// really was can't be known any more, and nothing is made to look better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

impl Spread {
    /// Of a histogram in microseconds; nothing of an empty one.
    pub(crate) fn of(histogram: &hdrhistogram::Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self {
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        })
    }
}

impl Sample {
    /// Something counted or used in the stretch as a rate, if the stretch is long enough to have one.
    pub(crate) fn per_second(&self, amount: f64) -> Option<f64> {
        (self.span_s >= SPAN_MIN_S).then(|| amount / self.span_s)
    }

    /// Does it begin where another one of the same part and target ends?
    fn follows(&self, before: &Self) -> bool {
        self.target == before.target && self.part == before.part && self.at_s - self.span_s - before.at_s <= GAP_S
    }

    /// CPU time of everything else: other programs, other guests.
    pub(crate) fn rest_cpu_s(&self) -> f64 {
        (self.busy_cpu_s - self.own_cpu_s - self.interrupts_cpu_s - self.server_cpu_s.unwrap_or(0.0)).max(0.0)
    }

    /// Takes a later stretch of the same target in.
    fn merge(&mut self, later: Self) {
        let sum = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        let highest = |a: Spread, b: Spread| Spread {
            p50_us: a.p50_us.max(b.p50_us),
            p99_us: a.p99_us.max(b.p99_us),
            max_us: a.max_us.max(b.max_us),
        };
        *self = Self {
            at_s: later.at_s,
            span_s: self.span_s + later.span_s,
            part: later.part,
            target: later.target,
            connections: later.connections,
            deliveries: self.deliveries.saturating_add(later.deliveries),
            publishes: self.publishes.saturating_add(later.publishes),
            refused: self.refused.saturating_add(later.refused),
            closed: self.closed.saturating_add(later.closed),
            latency: match (self.latency, later.latency) {
                (Some(a), Some(b)) => Some(highest(a, b)),
                (a, b) => a.or(b),
            },
            server_cpu_s: sum(self.server_cpu_s, later.server_cpu_s),
            // The peak is what somebody looks for in a long run.
            server_bytes: self.server_bytes.max(later.server_bytes),
            tcp_bytes: self.tcp_bytes.max(later.tcp_bytes),
            slab_bytes: self.slab_bytes.max(later.slab_bytes),
            own_cpu_s: self.own_cpu_s + later.own_cpu_s,
            interrupts_cpu_s: self.interrupts_cpu_s + later.interrupts_cpu_s,
            busy_cpu_s: self.busy_cpu_s + later.busy_cpu_s,
            total_cpu_s: self.total_cpu_s + later.total_cpu_s,
        };
    }
}

/// The samples of a run.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    samples: Vec<Sample>,
}

impl Timeline {
    /// Keeps a sample. The short rest of a part is added to the stretch before it.
    pub(crate) fn push(&mut self, sample: Sample) {
        let known = targets(&self.samples);
        if known.len() == TARGETS_MAX && !known.contains(&sample.target.as_str()) {
            return;
        }
        match self.samples.last_mut() {
            Some(last) if last.span_s >= SPAN_MIN_S && sample.span_s < SPAN_MIN_S && sample.follows(last) => {
                last.merge(sample);
            }
            _ => self.samples.push(sample),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples = thin(std::mem::take(&mut self.samples), SAMPLES_MAX);
        }
    }

    /// Hands them over, in order of time.
    pub(crate) fn into_samples(self) -> Vec<Sample> {
        self.samples
    }
}

/// The targets there are samples of, in order of appearance.
pub(crate) fn targets(samples: &[Sample]) -> Vec<&str> {
    let mut targets: Vec<&str> = Vec::new();
    for sample in samples {
        if targets.len() < TARGETS_MAX && !targets.contains(&sample.target.as_str()) {
            targets.push(&sample.target);
        }
    }
    targets
}

/// At most `most` samples: neighbours of one target become one, those of the same part first.
pub(crate) fn thin(mut samples: Vec<Sample>, most: usize) -> Vec<Sample> {
    while samples.len() > most {
        let before = samples.len();
        samples = pairs(samples, true);
        // Parts that are as short as a sample: then their borders are lost rather than the bound.
        if samples.len() > most && samples.len() > before * 3 / 4 {
            samples = pairs(samples, false);
        }
        if samples.len() == before {
            // One sample for each target.
            samples.truncate(most);
        }
    }
    samples
}

/// Merges every two neighbours of one target.
fn pairs(samples: Vec<Sample>, within_parts: bool) -> Vec<Sample> {
    // Where the sample of each target stands that waits for its neighbour.
    let mut waiting: Vec<(String, usize)> = Vec::new();
    let mut merged: Vec<Sample> = Vec::with_capacity(samples.len());
    for sample in samples {
        let place = waiting.iter().position(|(target, _)| *target == sample.target);
        match place.map(|place| waiting.swap_remove(place).1) {
            Some(at) if !within_parts || merged[at].part == sample.part => merged[at].merge(sample),
            _ => {
                waiting.push((sample.target.clone(), merged.len()));
                merged.push(sample);
            }
        }
    }
    merged.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(at: u64, target: &str, part: &str) -> Sample {
        Sample {
            at_s: at as f64,
            span_s: 1.0,
            part: part.to_owned(),
            target: target.to_owned(),
            connections: at,
            deliveries: 10,
            latency: Some(Spread { p50_us: 1, p99_us: 2, max_us: at }),
            server_cpu_s: Some(0.5),
            server_bytes: Some(1000 - at),
            total_cpu_s: 2.0,
            ..Sample::default()
        }
    }

    #[test]
    fn merged_samples_add_counts_and_keep_peaks() {
        let samples = (1..=4).map(|at| sample(at, "hub", "")).collect();
        let thinned = thin(samples, 2);
        assert_eq!(thinned.len(), 2);
        let first = &thinned[0];
        assert_eq!((first.at_s, first.span_s, first.connections, first.deliveries), (2.0, 2.0, 2, 20));
        assert_eq!((first.server_cpu_s, first.server_bytes), (Some(1.0), Some(999)));
        assert_eq!(first.latency.map(|spread| spread.max_us), Some(2));
    }

    #[test]
    fn parts_and_targets_stay_apart_as_long_as_there_is_room() {
        let samples =
            vec![sample(1, "hub", "a"), sample(2, "floor", "a"), sample(3, "hub", "b"), sample(4, "hub", "b")];
        let thinned = thin(samples, 3);
        let names: Vec<_> = thinned.iter().map(|sample| (sample.target.as_str(), sample.part.as_str())).collect();
        assert_eq!(names, [("hub", "a"), ("floor", "a"), ("hub", "b")]);
    }

    #[test]
    fn the_short_rest_of_a_part_is_no_sample_of_its_own() {
        let mut timeline = Timeline::default();
        timeline.push(sample(1, "hub", "a"));
        timeline.push(Sample { at_s: 1.1, span_s: 0.1, ..sample(1, "hub", "a") });
        timeline.push(Sample { at_s: 5.0, span_s: 0.1, ..sample(5, "hub", "a") });
        let samples = timeline.into_samples();
        let rates: Vec<_> = samples.iter().map(|sample| (sample.at_s, sample.per_second(11.0))).collect();
        assert_eq!(rates, [(1.1, Some(10.0)), (5.0, None)]);
    }

    #[test]
    fn an_endless_run_stays_bounded() {
        let mut timeline = Timeline::default();
        for at in 0..10_000_u64 {
            timeline.push(sample(at % 1000, if at % 3 == 0 { "floor" } else { "hub" }, &format!("{}", at % 7)));
        }
        let samples = timeline.into_samples();
        assert!(samples.len() <= SAMPLES_MAX && samples.len() > SAMPLES_MAX / 8, "{}", samples.len());
        assert_eq!(samples.iter().map(|sample| sample.deliveries).sum::<u64>(), 100_000);
    }

    #[test]
    fn there_are_targets_enough_and_no_more() {
        let mut timeline = Timeline::default();
        for at in 0..20 {
            timeline.push(sample(at, &format!("target {at}"), ""));
        }
        assert_eq!(targets(&timeline.into_samples()).len(), TARGETS_MAX);
    }

    proptest! {
        #[test]
        fn thinning_bounds_the_number_and_loses_no_count(
            kinds in prop::collection::vec((0..3_u8, 0..4_u8), 0..200), most in 3..50_usize,
        ) {
            let samples: Vec<_> = kinds.iter().enumerate()
                .map(|(at, (target, part))| sample(at as u64, &format!("t{target}"), &format!("p{part}"))).collect();
            let thinned = thin(samples.clone(), most);
            prop_assert!(thinned.len() <= most.max(3));
            let sum = |samples: &[Sample]| samples.iter().map(|sample| sample.deliveries).sum::<u64>();
            prop_assert_eq!(sum(&samples), sum(&thinned));
            prop_assert!(thinned.is_sorted_by(|a, b| a.at_s <= b.at_s));
        }
    }
}
