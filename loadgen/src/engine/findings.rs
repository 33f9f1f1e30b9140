//! The figures of a run: one value per round for each target and window, and their medians.

use std::collections::HashMap;

use hdrhistogram::Histogram;

use crate::report::{Report, median, number};

/// Figures of which the ratio to the other targets is shown.
const COMPARED: &[&str] =
    &["connects_per_s", "deliveries_per_s", "events_per_s", "p99_ms", "cpu_us_per_delivery", "bytes_per_connection"];

/// What is reported of a round's times.
const QUANTILES: &[(&str, &str, f64)] =
    &[("p50", "p50", 0.5), ("p90", "p90", 0.9), ("p99", "p99", 0.99), ("p99_9", "p99.9", 0.999), ("max", "max", 1.0)];

/// `target`, then `window.figure`.
type Key = (String, String);

/// Times of all rounds together.
struct Times {
    label: String,
    all: Histogram<u64>,
}

struct Figure {
    label: String,
    unit: &'static str,
    values: Vec<f64>,
}

/// All figures found so far.
#[derive(Default)]
pub(super) struct Findings {
    figures: HashMap<Key, Figure>,
    order: Vec<Key>,
    times: Vec<(Key, Times)>,
}

impl Findings {
    /// Enters one round's value.
    pub(super) fn enter(&mut self, target: &str, figure: String, label: String, value: f64, unit: &'static str) {
        // A mean of nothing is no figure.
        if !value.is_finite() {
            return;
        }
        let key = (target.to_owned(), figure);
        if !self.figures.contains_key(&key) {
            self.order.push(key.clone());
        }
        self.figures.entry(key).or_insert_with(|| Figure { label, unit, values: Vec::new() }).values.push(value);
    }

    /// Enters one round's times, in microseconds: percentiles as figures, and all of them for the curve. Nothing of none.
    pub(super) fn times(&mut self, target: &str, figure: &str, label: &str, times: &Histogram<u64>) {
        if times.is_empty() {
            return;
        }
        for (key, name, quantile) in QUANTILES {
            let value = times.value_at_quantile(*quantile) as f64 / 1e3;
            self.enter(target, format!("{figure}_{key}_ms"), format!("{label} {name}"), value, "ms");
        }
        let key = (target.to_owned(), figure.to_owned());
        match self.times.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => known.all.add(times).expect("histograms of one shape"),
            None => self.times.push((key, Times { label: label.to_owned(), all: times.clone() })),
        }
    }

    /// The unit of a figure.
    pub(super) fn unit(&self, target: &str, figure: &str) -> &'static str {
        self.figures.get(&(target.to_owned(), figure.to_owned())).map_or("", |figure| figure.unit)
    }

    /// The values of all rounds.
    pub(super) fn values(&self, target: &str, figure: &str) -> &[f64] {
        self.figures.get(&(target.to_owned(), figure.to_owned())).map_or(&[], |figure| &figure.values)
    }

    /// The median round.
    pub(super) fn median(&self, target: &str, figure: &str) -> Option<f64> {
        let values = self.values(target, figure);
        (!values.is_empty()).then(|| median(values))
    }

    /// The median of the ratios of each round.
    pub(super) fn ratio(&self, over: (&str, &str), under: (&str, &str)) -> Option<f64> {
        let (over, under) = (self.values(over.0, over.1), self.values(under.0, under.1));
        // A mark is set once, and every round is held against it.
        let once = [under.first().copied().unwrap_or(f64::NAN)];
        let under = if under.len() == 1 && over.len() > 1 { once.repeat(over.len()) } else { under.to_vec() };
        let ratios: Vec<f64> =
            over.iter().zip(under).map(|(over, under)| over / under).filter(|ratio| ratio.is_finite()).collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    /// Enters all medians, and the rounds behind those that matter.
    pub(super) fn report(&self, targets: &[String], report: &mut Report) {
        for key in &self.order {
            let figure = &self.figures[key];
            let (target, name) = key;
            let label = format!("{target}: {}", figure.label);
            report.figure(format!("{target}.{name}"), label, median(&figure.values), figure.unit);
        }
        let of_others = |target: &&String| **target != targets[0];
        for key in &self.order {
            let (target, name) = key;
            let figure = &self.figures[key];
            if *target != targets[0] || !COMPARED.iter().any(|end| name.ends_with(end)) {
                continue;
            }
            for other in targets.iter().filter(of_others) {
                if let Some(ratio) = self.ratio((target, name), (other, name)) {
                    let label = format!("{target} / {other}: {}", figure.label);
                    report.figure(format!("{target}_per_{other}.{name}"), label, ratio, "");
                }
            }
        }
        for ((target, name), times) in &self.times {
            report.latency(&format!("{target}.{name}"), &format!("{target}: {}", times.label), &times.all);
        }
        for (target, name) in &self.order {
            let values = self.values(target, name);
            if values.len() > 1 && (name.ends_with("deliveries_per_s") || name.ends_with("latency_p99_ms")) {
                let each: Vec<String> = values.iter().map(|&value| number(value)).collect();
                report.note(format!("{target}.{name} of each round: {}", each.join("  ")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut findings = Findings::default();
        for (hub, floor) in [(10.0, 20.0), (30.0, 30.0), (8.0, 10.0)] {
            findings.enter("hub", "w.x".to_owned(), "x".to_owned(), hub, "/s");
            findings.enter("floor", "w.x".to_owned(), "x".to_owned(), floor, "/s");
        }
        findings.enter("hub", "mark.x".to_owned(), "x".to_owned(), 5.0, "/s");
        findings.enter("hub", "w.none".to_owned(), "x".to_owned(), f64::NAN, "/s");
        assert_eq!(findings.median("hub", "w.x"), Some(10.0));
        assert_eq!(findings.ratio(("hub", "w.x"), ("floor", "w.x")), Some(0.8));
        assert_eq!(findings.ratio(("hub", "w.x"), ("hub", "mark.x")), Some(2.0));
        assert_eq!(findings.ratio(("hub", "w.x"), ("nchan", "w.x")), None);
        assert_eq!(findings.median("hub", "w.none"), None);
    }
}
