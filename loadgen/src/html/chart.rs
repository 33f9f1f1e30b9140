//! A chart: axes, lines or areas, a legend, as SVG that needs nothing else.

use std::fmt::Write;

use crate::html::scale::{self, Scale, Tick};
use crate::html::text::escaped;
use crate::quantity::number;

/// The drawing's size, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 250.0;
/// Room for the ticks at the left and below, and for the last label at the right.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
/// Colours the style sheet has.
const INKS: usize = 7;
/// Borders of parts drawn at most; with more the chart would be a fence.
const MARKS_MAX: usize = 10;
/// Rows for their names, and what a letter of a name takes.
const MARK_ROWS: usize = 3;
const MARK_LETTER: f64 = 5.5;

/// What lies along the chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Across {
    /// Seconds since the run began.
    Time,
    /// Nines: how few are above.
    Percentile,
}

/// How a line is drawn, for those who don't see its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
    Solid,
    Dashed,
    Dotted,
    /// Solid, and filled down to the axis or to what is drawn over it later.
    Area,
}

impl Stroke {
    fn class(self) -> &'static str {
        match self {
            Stroke::Solid => "solid",
            Stroke::Dashed => "dashed",
            Stroke::Dotted => "dotted",
            Stroke::Area => "area",
        }
    }
}

/// A point of a line. Its value differs from where it is drawn when areas lie upon each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) value: f64,
}

impl Point {
    /// A point drawn at its value.
    pub(super) fn at(x: f64, y: f64) -> Self {
        Self { x, y, value: y }
    }
}

/// A line, in pieces: between them nothing was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) label: String,
    pub(super) ink: usize,
    pub(super) stroke: Stroke,
    pub(super) pieces: Vec<Vec<Point>>,
}

impl Line {
    fn points(&self) -> impl Iterator<Item = &Point> {
        self.pieces.iter().flatten()
    }

    /// The line in words.
    fn words(&self, unit: &str) -> String {
        let values = || self.points().map(|point| point.value);
        let (lowest, highest) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
        let last = values().last().unwrap_or(0.0);
        let [lowest, highest, last] = [lowest, highest, last].map(number);
        format!("{}: between {lowest} and {highest} {unit}, at last {last}.", self.label)
    }
}

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What the values are, as in `deliveries per second`.
    pub(super) unit: &'static str,
    pub(super) across: Across,
    pub(super) lines: Vec<Line>,
    /// Charts that are to be compared have one height; the axis reaches at least here.
    pub(super) top: f64,
    /// The same for its length.
    pub(super) end: f64,
    /// Borders of the run's parts, with the name of what begins.
    pub(super) marks: Vec<(f64, String)>,
    /// Where the values stand as a table.
    pub(super) table: &'static str,
}

impl Chart {
    /// Is there anything to draw?
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.points().next().is_none())
    }

    /// The highest value drawn.
    pub(super) fn highest(&self) -> f64 {
        self.lines.iter().flat_map(Line::points).map(|point| point.y).fold(0.0, f64::max)
    }

    /// Draws it. `name` is its own on the page.
    pub(super) fn draw(&self, name: &str, to: &mut String) {
        let end = self.lines.iter().flat_map(Line::points).map(|point| point.x).fold(self.end, f64::max);
        let end = if end.is_finite() && end > 0.0 { end } else { 1.0 };
        let y_ticks = scale::ticks(self.highest().max(self.top));
        let across = match self.across {
            Across::Time => scale::time_ticks(end),
            Across::Percentile => scale::percentile_ticks(end),
        };
        let x = Scale { to: end, low: LEFT, high: WIDTH - RIGHT };
        let y = Scale { to: y_ticks.last().map_or(1.0, |tick| tick.at), low: HEIGHT - BOTTOM, high: TOP };
        let words: Vec<String> = self.lines.iter().map(|line| line.words(self.unit)).collect();
        let _ = write!(
            to,
            "<figure class=\"chart\"><figcaption><strong>{title}</strong> <span>{unit}</span></figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{name}-t {name}-d\" \
             data-across=\"{across}\" data-end=\"{end}\" data-left=\"{LEFT}\" data-right=\"{right}\" data-unit=\"{unit}\">\n\
             <title id=\"{name}-t\">{title}, {unit}</title><desc id=\"{name}-d\">{desc}</desc>\n",
            title = escaped(&self.title),
            unit = escaped(self.unit),
            across = if self.across == Across::Time { "time" } else { "percentile" },
            end = short(end),
            right = WIDTH - RIGHT,
            desc = escaped(&words.join(" ")),
        );
        self.axes(&across, &y_ticks, x, y, to);
        for line in &self.lines {
            draw_line(line, x, y, to);
        }
        let _ =
            writeln!(to, "<line class=\"rule\" x1=\"0\" x2=\"0\" y1=\"{TOP}\" y2=\"{}\"/>\n</svg>", HEIGHT - BOTTOM);
        self.legend(to);
        to.push_str("</figure>\n");
    }

    fn axes(&self, across: &[Tick], up: &[Tick], x: Scale, y: Scale, to: &mut String) {
        to.push_str("<g class=\"axes\" aria-hidden=\"true\">\n");
        for (place, tick) in up.iter().enumerate() {
            let (at, class) = (y.place(tick.at), if place == 0 { "base" } else { "grid" });
            let _ = writeln!(
                to,
                "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"up\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0,
                escaped(&tick.label)
            );
        }
        for tick in across {
            let (at, base) = (x.place(tick.at), HEIGHT - BOTTOM);
            let _ = writeln!(
                to,
                "<line class=\"base\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{base}\" y2=\"{}\"/>\
                 <text class=\"across\" x=\"{at:.1}\" y=\"{}\">{}</text>",
                base + 4.0,
                base + 18.0,
                escaped(&tick.label)
            );
        }
        // Names that would lie upon each other go to the next row.
        let mut row_ends = [LEFT; MARK_ROWS];
        for (at, name) in self.marks.iter().take(MARKS_MAX) {
            let at = x.place(*at);
            let row = row_ends.iter().position(|end| at >= *end).unwrap_or(MARK_ROWS - 1);
            row_ends[row] = at + name.chars().count() as f64 * MARK_LETTER + 8.0;
            let _ = writeln!(
                to,
                "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\
                 <text class=\"mark\" x=\"{:.1}\" y=\"{}\">{}</text>",
                HEIGHT - BOTTOM,
                at + 3.0,
                TOP + 9.0 + 11.0 * row as f64,
                escaped(name)
            );
        }
        to.push_str("</g>\n");
    }

    fn legend(&self, to: &mut String) {
        to.push_str("<div class=\"under\"><ul class=\"legend\">");
        for line in &self.lines {
            let _ = write!(
                to,
                "<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path class=\"ink{} {}\" d=\"M1 5H27\"/></svg>{}</li>",
                line.ink % INKS,
                line.stroke.class(),
                escaped(&line.label)
            );
        }
        let _ = writeln!(to, "</ul><a href=\"#{}\">as a table</a><output></output></div>", self.table);
    }
}

fn draw_line(line: &Line, x: Scale, y: Scale, to: &mut String) {
    let (mut path, mut values) = (String::new(), String::new());
    for piece in line.pieces.iter().filter(|piece| !piece.is_empty()) {
        values.push_str(if values.is_empty() { "" } else { "|" });
        for (place, point) in piece.iter().enumerate() {
            let step = if place == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", x.place(point.x), y.place(point.y));
            let between = if place == 0 { "" } else { ";" };
            let _ = write!(values, "{between}{} {}", short(point.x), short(point.value));
        }
        if let (Stroke::Area, Some(first), Some(last)) = (line.stroke, piece.first(), piece.last()) {
            let base = y.place(0.0);
            let _ = write!(path, "L{:.1} {base:.1}L{:.1} {base:.1}Z", x.place(last.x), x.place(first.x));
        }
    }
    if path.is_empty() {
        return;
    }
    let _ = writeln!(
        to,
        "<path class=\"ink{} {}\" data-label=\"{}\" data-values=\"{}\" d=\"{path}\"/>",
        line.ink % INKS,
        line.stroke.class(),
        escaped(&line.label),
        values,
    );
}

/// A number with five figures at most, for the script.
fn short(value: f64) -> String {
    let digits = (4.0 - value.abs().max(1e-4).log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::wellformed;

    fn chart(lines: Vec<Line>) -> Chart {
        Chart {
            title: "Rate <b>".to_owned(),
            unit: "deliveries per second",
            across: Across::Time,
            lines,
            top: 0.0,
            end: 0.0,
            marks: vec![(1.0, "</svg>".to_owned())],
            table: "samples",
        }
    }

    fn line(pieces: &[&[(f64, f64)]]) -> Line {
        let pieces = pieces.iter().map(|piece| piece.iter().map(|&(x, y)| Point::at(x, y)).collect()).collect();
        Line { label: "hub & \"floor\"".to_owned(), ink: 0, stroke: Stroke::Solid, pieces }
    }

    #[test]
    fn a_line_is_drawn_from_zero_to_the_last_tick_and_broken_where_nothing_was_measured() {
        let mut text = String::new();
        chart(vec![line(&[&[(0.0, 0.0), (5.0, 100.0)], &[(8.0, 50.0), (10.0, 50.0)]])]).draw("c", &mut text);
        assert!(text.contains("d=\"M62.0 222.0L342.0 12.0M510.0 117.0L622.0 117.0\""), "{text}");
        assert!(text.contains("data-values=\"0 0;5 100|8 50;10 50\""), "{text}");
        assert!(text.contains("between 0 and 100 deliveries per second, at last 50.0"), "{text}");
        wellformed::check(&text);
    }

    #[test]
    fn a_chart_of_nothing_or_of_nonsense_is_still_a_drawing() {
        for values in [&[][..], &[(0.0, f64::NAN)], &[(f64::INFINITY, -1e300), (-5.0, 1e308)]] {
            let mut text = String::new();
            let chart = chart(vec![line(&[values])]);
            assert_eq!(chart.is_empty(), values.is_empty());
            chart.draw("c", &mut text);
            wellformed::check(&text);
            assert!(!text.contains("d=\"MNaN") && !text.contains("Linf"), "{text}");
        }
    }

    #[test]
    fn values_for_the_script_are_short() {
        let texts = [0.0, 1.0, 142_771.234, 0.123_456, 99.999_99, 5e-9].map(short);
        assert_eq!(texts, ["0", "1", "142771", "0.12346", "100", "0"]);
    }
}
