//! What a scenario found: figures, latencies, checks that decide the exit status, and goals that are only reported.
//!
//! The scenario fills it; together with what was true around the run it becomes a `Record`. What is entered is told at
//! once to machines that follow (`live`).

use hdrhistogram::Histogram;
use serde_json::json;

use crate::accounts::Accounts;
use crate::ledger::Verdict;
use crate::live;
use crate::progress::Progress;
pub(crate) use crate::quantity::number;
use crate::quantity::{spoken, utc};
use crate::record::{Agent, Bar, Build, Check, FORMAT, Figure, Goal, Latency, Record};
use crate::scheduling::Scheduling;
use crate::surroundings::Surroundings;
use crate::timeline::{Sample, Timeline};

/// Points of a percentile curve for each further nine.
const CURVE_POINTS_PER_NINE: u32 = 8;

/// A result in the making.
pub(crate) struct Report {
    scenario: String,
    title: String,
    figures: Vec<Figure>,
    notes: Vec<String>,
    checks: Vec<Check>,
    goals: Vec<Goal>,
    latencies: Vec<Latency>,
    timeline: Vec<Sample>,
    agents: Vec<Agent>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(scenario: impl Into<String>, title: impl Into<String>) -> Self {
        let (scenario, title) = (scenario.into(), title.into());
        live::tell("start", || json!({"scenario": scenario, "title": title, "arguments": live::arguments()}));
        Self {
            scenario,
            title,
            figures: Vec::new(),
            notes: Vec::new(),
            checks: Vec::new(),
            goals: Vec::new(),
            latencies: Vec::new(),
            timeline: Vec::new(),
            agents: Vec::new(),
        }
    }

    /// A number under a key for machines and a label for people.
    pub(crate) fn figure(&mut self, key: impl Into<String>, label: impl Into<String>, value: f64, unit: &str) {
        // A mean of nothing is no figure.
        if value.is_finite() {
            let figure = Figure { key: key.into(), label: label.into(), value, unit: unit.to_owned() };
            live::tell("figure", || &figure);
            self.figures.push(figure);
        }
    }

    /// The curve of latencies in microseconds, of all rounds together. Nothing of none.
    pub(crate) fn latency(&mut self, key: &str, label: &str, latency: &Histogram<u64>) {
        if latency.is_empty() {
            return;
        }
        self.latencies.push(Latency {
            key: key.to_owned(),
            label: label.to_owned(),
            count: latency.len(),
            mean_us: latency.mean(),
            curve: curve(latency),
        });
    }

    /// The samples that were taken while it ran.
    pub(crate) fn timeline(&mut self, progress: &mut Progress) {
        let mut timeline = Timeline::default();
        let taken = progress.take_timeline().into_samples();
        for sample in std::mem::take(&mut self.timeline).into_iter().chain(taken) {
            timeline.push(sample);
        }
        self.timeline = timeline.into_samples();
    }

    /// A line of text for people.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        live::tell("note", || json!({"note": text}));
        self.notes.push(text);
    }

    /// Something that must hold, or the exit status is 1.
    pub(crate) fn check(&mut self, what: impl Into<String>, holds: bool, detail: impl Into<String>) {
        let check = Check { check: what.into(), ok: holds, detail: detail.into() };
        live::tell("check", || &check);
        self.checks.push(check);
    }

    /// A load machine that held subscribers of a target.
    pub(crate) fn agent(&mut self, agent: Agent) {
        match self.agents.iter_mut().find(|known| known.agent == agent.agent) {
            Some(known) => known.merge(agent),
            None => self.agents.push(agent),
        }
    }

    /// The check every scenario ends with.
    pub(crate) fn check_delivery(&mut self, who: &str, verdict: &Verdict) {
        let what = format!("{who}: every event once, whole, in one order; nobody closed");
        self.check(what, verdict.is_good(), verdict.detail());
    }

    /// A bar a figure is held against; missing it doesn't change the exit status. A value that is no number misses every bar.
    pub(crate) fn goal_of(&mut self, what: impl Into<String>, value: f64, bar: Bar, unit: &str) {
        let (side, limit) = match bar {
            Bar::AtLeast(limit) => ("at least", limit),
            Bar::AtMost(limit) => ("at most", limit),
        };
        let goal = format!("{}: {side} {}", what.into(), spoken(limit, unit));
        let value = value.is_finite().then_some(value);
        let met = value.is_some_and(|value| bar.is_met_by(value));
        let goal = Goal { goal, met, value, bar: Some(bar), unit: unit.to_owned() };
        live::tell("goal", || &goal);
        self.goals.push(goal);
    }

    /// Did all checks hold?
    pub(crate) fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// With what was true around it: the record to keep.
    pub(crate) fn into_record(self, around: Surroundings, accounts: Accounts, seconds: f64) -> Record {
        Record {
            format: FORMAT,
            ok: self.is_good(),
            scenario: self.scenario,
            title: self.title,
            arguments: live::arguments(),
            unix_time: around.unix_time,
            time: utc(around.unix_time),
            seconds,
            machine: around.machine,
            build: Build::this(),
            hub: around.hub,
            accounts,
            scheduling: Some(Scheduling::so_far()),
            agents: self.agents,
            figures: self.figures,
            notes: self.notes,
            goals: self.goals,
            checks: self.checks,
            latencies: self.latencies,
            timeline: self.timeline,
        }
    }
}

/// Quantiles ever nearer to 1 with their values, until a single value decides.
fn curve(latency: &Histogram<u64>) -> Vec<(f64, u64)> {
    let value = |quantile: f64| (quantile, latency.value_at_quantile(quantile));
    let mut curve = vec![(0.0, latency.min()), value(0.25), value(0.5), value(0.75)];
    'nines: for nines in 1..10_u32 {
        for step in 0..CURVE_POINTS_PER_NINE {
            let above = 10_f64.powf(-f64::from(nines) - f64::from(step) / f64::from(CURVE_POINTS_PER_NINE));
            if above * (latency.len() as f64) < 1.0 {
                break 'nines;
            }
            // 0.99 is meant to be found as 0.99.
            curve.push(value(((1.0 - above) * 1e12).round() / 1e12));
        }
    }
    curve.push((1.0, latency.max()));
    curve
}

/// The middle one, or the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn one_failed_check_fails_the_report() {
        let mut report = Report::new("x", "y");
        report.goal_of("unreached", 1.0, Bar::AtLeast(2.0), "");
        assert!(report.is_good());
        report.check("a", true, "");
        report.check("b", false, "");
        assert!(!report.is_good());
    }

    #[test]
    fn a_goal_of_a_number_says_itself_whether_it_is_met() {
        let mut report = Report::new("x", "y");
        report.goal_of("share of the floor", 0.9, Bar::AtLeast(0.85), "x");
        report.goal_of("each", 500.0, Bar::AtMost(400.0), "B");
        report.goal_of("nothing measured", f64::NAN, Bar::AtMost(400.0), "B");
        let goals: Vec<_> = report.goals.iter().map(|goal| (goal.goal.as_str(), goal.met, goal.value)).collect();
        assert_eq!(
            goals,
            [
                ("share of the floor: at least 0.850 ×", true, Some(0.9)),
                ("each: at most 400 B", false, Some(500.0)),
                ("nothing measured: at most 400 B", false, None)
            ]
        );
    }

    #[test]
    fn a_curve_ends_where_one_value_decides() {
        let mut latency = Histogram::new_with_bounds(1, 1_000_000, 3).expect("bounds are in order");
        for us in 1..=1000 {
            latency.record(us).expect("within bounds");
        }
        let mut report = Report::new("x", "y");
        report.latency("latency", "hub: latency", &latency);
        let curve = &report.latencies[0].curve;
        assert_eq!(curve.first(), Some(&(0.0, 1)));
        assert_eq!(curve.last(), Some(&(1.0, 1000)));
        assert!(curve.is_sorted());
        let kept = &report.latencies[0];
        assert_eq!(
            [kept.at(0.5), kept.at(0.9), kept.at(0.99), kept.at(0.999)],
            [Some(500), Some(900), Some(990), Some(999)]
        );
        assert_eq!(kept.at(0.9999), None);
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        let mut report = Report::new("x", "y");
        report.latency("latency", "l", &Histogram::new(3).expect("three digits"));
        report.figure("mean", "mean of none", f64::NAN, "s");
        assert!(report.figures.is_empty() && report.latencies.is_empty());
    }
}
