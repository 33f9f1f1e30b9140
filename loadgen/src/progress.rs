//! Signs of life during long work, and the samples it is watched by: a bar in a terminal, one plain line a second
//! elsewhere, nothing with `--quiet`.

use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::quantity::{count, number};
use crate::sampler::{Counts, Sampler};
use crate::timeline::{Sample, Timeline};
use crate::{live, output, sys};

const PLAIN_INTERVAL_NS: u64 = 1_000_000_000;
const TERMINAL_INTERVAL_NS: u64 = 100_000_000;
/// A sample says nothing about now any more after so long.
const SAMPLE_SHOWN_NS: u64 = 2_000_000_000;
/// Before so much of the time has passed, nobody knows how much is left.
const KNOWN_AFTER_S: f64 = 0.5;
/// Bars are drawn in steps of a thousandth.
const BAR_STEPS: u64 = 1_000;

enum Shown {
    Nowhere,
    Plain,
    /// Two lines: how far it is, and the latest sample.
    Bars(ProgressBar, ProgressBar),
}

/// How far a piece of work has come.
#[derive(Clone, Debug, Default)]
struct Advance {
    what: String,
    began_ns: u64,
}

/// Where progress is shown and samples are kept.
pub(crate) struct Progress {
    shown: Shown,
    shown_ns: u64,
    began_ns: u64,
    part: String,
    advance: Advance,
    timeline: Timeline,
    samplers: Vec<Sampler>,
    /// Which of them is watched now.
    watched: Option<usize>,
    latest: Option<(u64, String)>,
}

impl Progress {
    /// Shows on standard error.
    pub(crate) fn new() -> Self {
        let shown = match (output::is_quiet(), std::io::stderr().is_terminal()) {
            (true, _) => Shown::Nowhere,
            (false, false) => Shown::Plain,
            (false, true) => {
                let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
                Shown::Bars(lines.add(ProgressBar::new(BAR_STEPS)), lines.add(ProgressBar::new(BAR_STEPS)))
            }
        };
        Self::shown(shown)
    }

    fn shown(shown: Shown) -> Self {
        let now = sys::now_ns();
        Self {
            shown,
            shown_ns: now,
            began_ns: now,
            part: String::new(),
            advance: Advance::default(),
            timeline: Timeline::default(),
            samplers: Vec::new(),
            watched: None,
            latest: None,
        }
    }

    /// Names the part of the run that comes now.
    pub(crate) fn part(&mut self, name: impl Into<String>) {
        self.part = name.into();
        self.advance = Advance::default();
    }

    /// From now on samples are of this target, whose processes are `server`. A target that was watched before is watched on:
    /// the time between belongs to none of its samples.
    pub(crate) fn watch(&mut self, target: &str, server: &[u32]) {
        let known = self.samplers.iter().position(|sampler| sampler.target() == target);
        if let Some(known) = known {
            self.samplers[known].resume(server);
        } else {
            self.samplers.push(Sampler::new(target, server));
        }
        self.watched = Some(known.unwrap_or(self.samplers.len() - 1));
        if known.is_none() {
            // How everything stood before anybody came.
            self.sample_now(Counts::default());
        }
        self.latest = None;
    }

    /// Takes a sample of the watched target if it is time for one. Costs a look at the clock otherwise: call it often.
    pub(crate) fn sample(&mut self, counts: impl FnOnce() -> Counts) {
        if self.watched.is_some_and(|at| self.samplers[at].is_due()) {
            self.sample_now(counts());
        }
    }

    /// Takes a sample of the watched target: at the end of a stretch that is to be told apart from the next.
    pub(crate) fn sample_now(&mut self, counts: Counts) {
        let Some(sampler) = self.watched.and_then(|at| self.samplers.get_mut(at)) else {
            return;
        };
        let sample = sampler.take(self.began_ns, &self.part, counts);
        live::tell("sample", || &sample);
        self.latest = Some((sys::now_ns(), summary(&sample)));
        self.timeline.push(sample);
    }

    /// Hands over the samples so far.
    pub(crate) fn take_timeline(&mut self) -> Timeline {
        std::mem::take(&mut self.timeline)
    }

    /// Shows the state, not more often than makes sense.
    pub(crate) fn show(&mut self, state: impl FnOnce() -> String) {
        if self.is_due() {
            let state = state();
            self.draw(None, &state);
        }
    }

    /// Shows how much of something is done and how long the rest will take.
    pub(crate) fn advance(&mut self, done: u64, total: u64, what: &str) {
        let now = sys::now_ns();
        if self.advance.what != what {
            self.advance = Advance { what: what.to_owned(), began_ns: now };
        }
        if !self.is_due() {
            return;
        }
        let elapsed_s = (now - self.advance.began_ns) as f64 / 1e9;
        let left = time_left(done, total, elapsed_s).map(|left| format!(", {left} left")).unwrap_or_default();
        let state = format!("{} of {} {what}{left}", count(done), count(total));
        self.draw(Some(done as f64 / total.max(1) as f64), &state);
    }

    fn is_due(&mut self) -> bool {
        let interval = match self.shown {
            Shown::Nowhere => return false,
            Shown::Plain => PLAIN_INTERVAL_NS,
            Shown::Bars(..) => TERMINAL_INTERVAL_NS,
        };
        let now = sys::now_ns();
        let due = now.saturating_sub(self.shown_ns) >= interval;
        if due {
            self.shown_ns = now;
        }
        due
    }

    fn draw(&mut self, done: Option<f64>, state: &str) {
        let fresh = |taken: u64| sys::now_ns().saturating_sub(taken) < SAMPLE_SHOWN_NS;
        let sample = self.latest.as_ref().filter(|(taken, _)| fresh(*taken)).map(|(_, summary)| summary.as_str());
        match &self.shown {
            Shown::Nowhere => {}
            Shown::Plain => {
                let sample = sample.map(|sample| format!("  [{sample}]")).unwrap_or_default();
                eprintln!("{}: {state}{sample}", self.part);
            }
            Shown::Bars(bar, line) => {
                bar.set_style(style(done.is_some()));
                bar.set_position((done.unwrap_or(0.0).clamp(0.0, 1.0) * BAR_STEPS as f64) as u64);
                bar.set_prefix(self.part.clone());
                bar.set_message(state.to_owned());
                bar.tick();
                line.set_style(line_style());
                line.set_message(sample.unwrap_or_default().to_owned());
                line.tick();
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bars(bar, line) = &self.shown {
            line.finish_and_clear();
            bar.finish_and_clear();
        }
    }
}

fn style(counted: bool) -> ProgressStyle {
    let template =
        if counted { "{prefix:.bold} {bar:24.red/dim} {wide_msg}" } else { "{prefix:.bold} {spinner:.red} {wide_msg}" };
    ProgressStyle::with_template(template).expect("the template is well-formed").progress_chars("━╸─")
}

fn line_style() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg:.dim}").expect("the template is well-formed")
}

/// A sample in a few words.
fn summary(sample: &Sample) -> String {
    let mut words = vec![format!("{} open", count(sample.connections))];
    let rate = |count: u64| sample.per_second(count as f64).filter(|rate| *rate > 0.0).map(|rate| number(rate.round()));
    if let Some(rate) = rate(sample.deliveries) {
        words.push(format!("{rate}/s delivered"));
    } else if let Some(rate) = rate(sample.publishes) {
        words.push(format!("{rate}/s published"));
    }
    if let Some(latency) = sample.latency {
        words.push(format!("p99 {} ms", number(latency.p99_us as f64 / 1e3)));
    }
    if sample.refused + sample.closed > 0 {
        words.push(format!("{} refused, {} closed", sample.refused, sample.closed));
    }
    words.join(", ")
}

/// How long the rest takes if it goes on like this.
fn time_left(done: u64, total: u64, elapsed_s: f64) -> Option<String> {
    (done > 0 && done < total && elapsed_s >= KNOWN_AFTER_S)
        .then(|| seconds(elapsed_s * (total - done) as f64 / done as f64))
}

fn seconds(seconds: f64) -> String {
    let whole = seconds.ceil().max(0.0) as u64;
    if whole < 100 { format!("{whole} s") } else { format!("{}:{:02} min", whole / 60, whole % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Spread;

    #[test]
    fn the_time_left_is_said_when_it_is_known() {
        assert_eq!(time_left(10, 100, 1.0).as_deref(), Some("9 s"));
        assert_eq!(time_left(1, 1000, 1.0).as_deref(), Some("16:39 min"));
        assert_eq!([time_left(0, 100, 5.0), time_left(100, 100, 5.0), time_left(1, 100, 0.1)], [None, None, None]);
    }

    #[test]
    fn a_sample_is_told_in_a_few_words() {
        let sample = Sample {
            span_s: 0.5,
            connections: 15_000,
            deliveries: 75_000,
            latency: Some(Spread { p50_us: 1, p99_us: 118_000, max_us: 200_000 }),
            ..Sample::default()
        };
        assert_eq!(summary(&sample), "15,000 open, 150,000/s delivered, p99 118 ms");
        let sample = Sample { span_s: 0.5, publishes: 100, closed: 2, ..Sample::default() };
        assert_eq!(summary(&sample), "0 open, 200/s published, 0 refused, 2 closed");
    }

    #[test]
    fn templates_are_well_formed() {
        style(true);
        style(false);
        line_style();
    }

    #[test]
    fn what_is_watched_is_sampled_from_its_beginning() {
        let mut progress = Progress::shown(Shown::Nowhere);
        progress.watch("hub", &[std::process::id()]);
        progress.part("idle");
        let counts = Counts { connections: 7, deliveries: 9, ..Counts::default() };
        progress.sample_now(counts);
        // Too soon for another.
        progress.sample(|| unreachable!());
        progress.watch("hub", &[std::process::id()]);
        progress.sample_now(counts);
        let samples = progress.take_timeline().into_samples();
        let seen: Vec<_> = samples.iter().map(|sample| (sample.connections, sample.deliveries)).collect();
        assert_eq!(seen, [(0, 0), (7, 9), (7, 0)]);
        assert_eq!(samples[2].part, "idle");
    }
}
