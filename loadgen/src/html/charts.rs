//! Which charts a page has, and the lines that samples and latencies make on them.

use crate::html::chart::{Across, Chart, Line, Point, Stroke};
use crate::html::scale::nines;
use crate::record::Record;
use crate::timeline::{GAP_S, Sample, Spread, targets};

const MIB: f64 = 1024.0 * 1024.0;
/// Colours of what is no target.
const OWN_INK: usize = 3;
const INTERRUPTS_INK: usize = 4;
const REST_INK: usize = 6;
/// More borders between parts than that tell nobody anything.
const PARTS_MAX: usize = 8;

/// A run on the page: its name if there are two, and its record.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) record: &'a Record,
}

/// The charts that have something to show.
pub(super) fn of(sources: &[Source<'_>]) -> Vec<Chart> {
    let room = Room { sources, targets: union(sources) };
    let mut charts = vec![
        room.gauges("Connections", "open", |sample| Some(sample.connections as f64)),
        room.rates("Deliveries", "per second", |sample| sample.per_second(sample.deliveries as f64)),
        room.rates("Publishes", "per second", |sample| sample.per_second(sample.publishes as f64)),
        room.rates("Refused and closed", "per second", |sample| {
            sample.per_second((sample.refused + sample.closed) as f64)
        }),
    ];
    // Zero all the time says nothing of these.
    charts.retain(|chart| chart.title == "Connections" || chart.highest() > 0.0);
    charts.extend(room.latencies());
    charts.push(room.percentiles());
    charts.push(room.gauges("Memory of the server's process", "MiB, private", |sample| {
        sample.server_bytes.map(|bytes| bytes as f64 / MIB)
    }));
    charts.push(room.kernel());
    charts.extend(room.cpu());
    charts.retain(|chart| !chart.is_empty());
    charts
}

/// For lines of one colour.
const STROKES: [Stroke; 3] = [Stroke::Solid, Stroke::Dashed, Stroke::Dotted];

struct Room<'a> {
    sources: &'a [Source<'a>],
    targets: Vec<&'a str>,
}

impl<'a> Room<'a> {
    fn is_alone(&self) -> bool {
        self.sources.len() == 1
    }

    /// Colour and stroke of a target of a run: alone, targets differ by colour; side by side, runs do.
    fn look(&self, source: usize, target: usize) -> (usize, Stroke) {
        if self.is_alone() {
            return (target, Stroke::Solid);
        }
        (source, STROKES[target.min(2)])
    }

    fn label(&self, source: &Source<'_>, what: &str) -> String {
        if source.name.is_empty() { what.to_owned() } else { format!("{} {what}", source.name) }
    }

    fn chart(&self, title: impl Into<String>, unit: &'static str, lines: Vec<Line>) -> Chart {
        let marks = if self.is_alone() { parts(&self.sources[0].record.timeline) } else { Vec::new() };
        let table = "samples";
        let lines = lines.into_iter().filter(|line| line.pieces.iter().any(|piece| !piece.is_empty())).collect();
        Chart { title: title.into(), unit, across: Across::Time, lines, top: 0.0, end: self.end(), marks, table }
    }

    /// A line for each target of each run.
    fn each(&self, pieces: impl Fn(&[&Sample]) -> Vec<Vec<Point>>) -> Vec<Line> {
        let mut lines = Vec::new();
        for (place, source) in self.sources.iter().enumerate() {
            for (index, target) in self.targets.iter().enumerate() {
                let samples = of_target(source.record, target);
                let (ink, stroke) = self.look(place, index);
                lines.push(Line { label: self.label(source, target), ink, stroke, pieces: pieces(&samples) });
            }
        }
        lines
    }

    fn gauges(&self, title: &str, unit: &'static str, value: impl Fn(&Sample) -> Option<f64>) -> Chart {
        self.chart(title, unit, self.each(|samples| gauge(samples, &value)))
    }

    fn rates(&self, title: &str, unit: &'static str, value: impl Fn(&Sample) -> Option<f64>) -> Chart {
        self.chart(title, unit, self.each(|samples| steps(samples, &value)))
    }

    /// One chart for each target, all of one height.
    fn latencies(&self) -> Vec<Chart> {
        type Value = fn(Spread) -> u64;
        const SPREADS: [(&str, Stroke, Value); 3] = [
            ("p50", Stroke::Dashed, |spread| spread.p50_us),
            ("p99", Stroke::Solid, |spread| spread.p99_us),
            ("highest", Stroke::Dotted, |spread| spread.max_us),
        ];
        let mut charts = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            let mut lines = Vec::new();
            for (place, source) in self.sources.iter().enumerate() {
                let samples = of_target(source.record, target);
                for (name, stroke, value) in SPREADS {
                    let pieces = steps(&samples, |sample| Some(value(sample.latency?) as f64 / 1e3));
                    let ink = if self.is_alone() { index } else { place };
                    lines.push(Line { label: self.label(source, name), ink, stroke, pieces });
                }
            }
            let title = if self.targets.len() == 1 { "Latency".to_owned() } else { format!("Latency of {target}") };
            charts.push(self.chart(title, "milliseconds from the intended send time", lines));
        }
        let top = charts.iter().map(Chart::highest).fold(0.0, f64::max);
        for chart in &mut charts {
            chart.top = top;
        }
        charts
    }

    fn percentiles(&self) -> Chart {
        let mut lines = Vec::new();
        // What was timed, whoever the target is.
        let kind = |label: &'a str| label.split_once(": ").map_or(label, |(_, kind)| kind);
        let mut kinds: Vec<&str> = Vec::new();
        for latency in self.sources.iter().flat_map(|source| &source.record.latencies) {
            if !kinds.contains(&kind(&latency.label)) {
                kinds.push(kind(&latency.label));
            }
        }
        for (place, source) in self.sources.iter().enumerate() {
            for (index, latency) in source.record.latencies.iter().enumerate() {
                // The highest of all is where one value of that many lies.
                let last = (latency.count.max(1) as f64).log10();
                let x = |quantile: f64| if quantile >= 1.0 { last } else { nines(quantile).min(last) };
                let piece = latency.curve.iter().map(|&(at, us)| Point::at(x(at), us as f64 / 1e3)).collect();
                let target = self.targets.iter().position(|target| latency.label.starts_with(target));
                let target = target.unwrap_or(index);
                // Where several things were timed, colours tell those apart (side by side, each has one for each run), and
                // strokes the targets.
                let (ink, stroke) = match kinds.iter().position(|known| *known == kind(&latency.label)) {
                    Some(at) if kinds.len() > 1 => (at * self.sources.len() + place, STROKES[target.min(2)]),
                    _ => self.look(place, target),
                };
                lines.push(Line { label: self.label(source, &latency.label), ink, stroke, pieces: vec![piece] });
            }
        }
        let chart = self.chart("Latency by percentile", "milliseconds, at most for this share", lines);
        Chart { across: Across::Percentile, end: 0.0, marks: Vec::new(), table: "latencies", ..chart }
    }

    /// Where the longest run ends: all charts over time are equally long.
    fn end(&self) -> f64 {
        let samples = self.sources.iter().flat_map(|source| &source.record.timeline);
        samples.map(|sample| sample.at_s).fold(0.0, f64::max)
    }

    fn kernel(&self) -> Chart {
        let mut lines = Vec::new();
        for (place, source) in self.sources.iter().enumerate() {
            let samples: Vec<&Sample> = source.record.timeline.iter().collect();
            let first = samples.first().map_or(0, |sample| sample.slab_bytes);
            let slabs = |sample: &Sample| Some(sample.slab_bytes.saturating_sub(first) as f64 / MIB);
            let buffers = |sample: &Sample| Some(sample.tcp_bytes as f64 / MIB);
            let inks = if self.is_alone() { (4, 1) } else { (place, place) };
            let label = |what| self.label(source, what);
            let (slabs, buffers) = (gauge(&samples, slabs), gauge(&samples, buffers));
            let name = label("slabs, since the first sample");
            lines.push(Line { label: name, ink: inks.0, stroke: Stroke::Solid, pieces: slabs });
            lines.push(Line { label: label("TCP buffers"), ink: inks.1, stroke: Stroke::Dashed, pieces: buffers });
        }
        self.chart("Memory of the kernel", "MiB, whole machine", lines)
    }

    fn cpu(&self) -> Vec<Chart> {
        if !self.is_alone() {
            return vec![
                self.rates("CPU of the server", "cores", |sample| sample.per_second(sample.server_cpu_s?)),
                self.rates("CPU of the generator", "cores", |sample| sample.per_second(sample.own_cpu_s)),
                self.rates("CPU of interrupts", "cores", |sample| sample.per_second(sample.interrupts_cpu_s)),
                self.rates("CPU of everything else", "cores", |sample| sample.per_second(sample.rest_cpu_s())),
            ];
        }
        // One above the other, the highest drawn first.
        let record = self.sources[0].record;
        let all: Vec<&Sample> = record.timeline.iter().collect();
        let server = |sample: &Sample| sample.server_cpu_s.unwrap_or(0.0);
        let own = |sample: &Sample| sample.own_cpu_s;
        let interrupts = |sample: &Sample| sample.interrupts_cpu_s;
        let area = |label: &str, ink, pieces| Line { label: label.to_owned(), ink, stroke: Stroke::Area, pieces };
        let mut lines = vec![
            area("everything else", REST_INK, stacked(&all, |s| (s.rest_cpu_s(), server(s) + own(s) + interrupts(s)))),
            area("interrupts", INTERRUPTS_INK, stacked(&all, |s| (interrupts(s), server(s) + own(s)))),
            area("this program", OWN_INK, stacked(&all, |s| (own(s), server(s)))),
        ];
        for (index, target) in self.targets.iter().enumerate() {
            let samples = of_target(record, target);
            lines.push(area(&format!("{target}'s process"), index, stacked(&samples, |s| (server(s), 0.0))));
        }
        let mut chart = self.chart("CPU", "cores busy, one above the other", lines);
        chart.top = record.machine.cores as f64;
        vec![chart]
    }
}

fn union<'a>(sources: &[Source<'a>]) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for source in sources {
        for target in targets(&source.record.timeline) {
            if !all.contains(&target) {
                all.push(target);
            }
        }
    }
    all
}

fn of_target<'a>(record: &'a Record, target: &str) -> Vec<&'a Sample> {
    record.timeline.iter().filter(|sample| sample.target == target).collect()
}

/// Something that stands at a value at the end of each stretch.
fn gauge(samples: &[&Sample], value: impl Fn(&Sample) -> Option<f64>) -> Vec<Vec<Point>> {
    let points: Vec<Point> =
        samples.iter().filter_map(|sample| value(sample).map(|value| Point::at(sample.at_s, value))).collect();
    match points[..] {
        // A point alone would be no line.
        [only] => vec![vec![Point { x: (only.x - 0.5).max(0.0), ..only }, only]],
        _ => vec![points],
    }
}

/// Something that holds for a whole stretch.
fn steps(samples: &[&Sample], value: impl Fn(&Sample) -> Option<f64>) -> Vec<Vec<Point>> {
    pieces(samples, |sample| value(sample).map(|value| (value, value)))
}

/// Something used in a stretch, drawn on top of something else: both as rates.
fn stacked(samples: &[&Sample], amount_and_below: impl Fn(&Sample) -> (f64, f64)) -> Vec<Vec<Point>> {
    pieces(samples, |sample| {
        let (amount, below) = amount_and_below(sample);
        Some((sample.per_second(amount)?, sample.per_second(amount + below)?))
    })
}

fn pieces(samples: &[&Sample], value_and_height: impl Fn(&Sample) -> Option<(f64, f64)>) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    let mut end = f64::MIN;
    for sample in samples {
        let Some((value, y)) = value_and_height(sample) else { continue };
        let begin = (sample.at_s - sample.span_s).max(0.0);
        let stretch = [begin, sample.at_s].map(|x| Point { x, y, value });
        match pieces.last_mut() {
            Some(piece) if begin - end <= GAP_S => piece.extend(stretch),
            _ => pieces.push(stretch.to_vec()),
        }
        end = sample.at_s;
    }
    pieces
}

/// Where parts begin that aren't just the turn of another target.
fn parts(samples: &[Sample]) -> Vec<(f64, String)> {
    let mut parts: Vec<(f64, String)> = Vec::new();
    let mut before = "";
    for sample in samples.iter().filter(|sample| !sample.part.is_empty() && sample.part != sample.target) {
        if sample.part != before {
            parts.push(((sample.at_s - sample.span_s).max(0.0), sample.part.clone()));
        }
        before = &sample.part;
    }
    if parts.len() > PARTS_MAX { Vec::new() } else { parts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn titles(charts: &[Chart]) -> Vec<&str> {
        charts.iter().map(|chart| chart.title.as_str()).collect()
    }

    #[test]
    fn a_run_of_two_targets_has_all_charts() {
        let record = example::record();
        let charts = of(&[Source { name: "", record: &record }]);
        assert_eq!(
            titles(&charts),
            [
                "Connections",
                "Deliveries",
                "Publishes",
                "Latency of hub",
                "Latency of floor",
                "Latency by percentile",
                "Memory of the server's process",
                "Memory of the kernel",
                "CPU"
            ]
        );
        assert_eq!(charts[3].top, charts[4].top, "they can be compared by eye");
    }

    #[test]
    fn what_was_not_measured_is_not_joined() {
        let sample = |at_s: f64| Sample { at_s, span_s: 1.0, deliveries: 10, ..Sample::default() };
        let samples = [sample(1.0), sample(2.0), sample(7.0)];
        let pieces = steps(&samples.iter().collect::<Vec<_>>(), |sample| sample.per_second(sample.deliveries as f64));
        let spans: Vec<_> = pieces.iter().map(|piece| (piece[0].x, piece[piece.len() - 1].x)).collect();
        assert_eq!(spans, [(0.0, 2.0), (6.0, 7.0)]);
    }

    #[test]
    fn areas_stand_on_each_other_and_tell_their_own_value() {
        let record = example::record();
        let charts = of(&[Source { name: "", record: &record }]);
        let cpu = charts.last().expect("there is one");
        for line in &cpu.lines {
            assert!(line.pieces.iter().flatten().all(|point| point.value <= point.y + 1e-9));
        }
        assert_eq!(cpu.top, 2.0);
    }

    #[test]
    fn two_runs_share_every_chart_and_differ_by_colour() {
        let record = example::record();
        let charts = of(&[Source { name: "A", record: &record }, Source { name: "B", record: &record }]);
        let rate = charts.iter().find(|chart| chart.title == "Deliveries").expect("there is one");
        let looks: Vec<_> = rate.lines.iter().map(|line| (line.label.as_str(), line.ink, line.stroke)).collect();
        assert_eq!(
            looks,
            [
                ("A hub", 0, Stroke::Solid),
                ("A floor", 0, Stroke::Dashed),
                ("B hub", 1, Stroke::Solid),
                ("B floor", 1, Stroke::Dashed)
            ]
        );
    }

    #[test]
    fn two_runs_that_timed_several_things_have_no_two_curves_alike() {
        let mut record = example::record();
        let mut answers = record.latencies[0].clone();
        answers.label = "hub: time to the answer".to_owned();
        record.latencies.push(answers);
        let charts = of(&[Source { name: "A", record: &record }, Source { name: "B", record: &record }]);
        let curves = charts.iter().find(|chart| chart.title == "Latency by percentile").expect("there is one");
        for (at, line) in curves.lines.iter().enumerate() {
            let same = |other: &&Line| (other.ink, other.stroke) == (line.ink, line.stroke);
            assert_eq!(curves.lines[at..].iter().filter(same).count(), 1, "{}", line.label);
        }
    }

    #[test]
    fn a_run_without_samples_has_no_charts() {
        let mut record = example::record();
        (record.timeline, record.latencies) = (Vec::new(), Vec::new());
        assert!(of(&[Source { name: "", record: &record }]).is_empty());
    }
}
