//! Many runs as one table: `cinnabar-loadgen summary FILES`. Runs of the same thing are put together; each figure is their
//! median, with the lowest and the highest beside it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use crate::archive;
use crate::markdown::cell;
use crate::quantity::{plain, quantity, spoken};
use crate::record::{Bar, Record};
use crate::report::median;
use crate::scheduling::Scheduling;

/// Servers that stand beside the hub and have a column of their own, whatever the hub was told.
const OTHERS: [&str; 2] = ["floor", "nchan"];
/// Ends of the keys worth a line: of twenty percentiles and CPU times a run has, these are read.
const TELLING: [&str; 10] = [
    "_per_s",
    "latency_p50_ms",
    "latency_p99_ms",
    "head_p99_ms",
    "answer_p99_ms",
    "last_delivery_ms",
    "cpu_us_per_delivery",
    "cpu_us_per_event",
    "bytes_per_connection",
    "kernel_bytes_max",
];

/// Print many runs as one table in Markdown: of each figure the median, the lowest and the highest
#[derive(Args, Debug)]
pub(crate) struct Summary {
    /// Files of records; every run in them counts
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// All figures, not only those that are read most
    #[arg(long)]
    all: bool,
}

impl Summary {
    /// Reads them all and prints the table.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut records = Vec::new();
        for file in &self.files {
            records.extend(archive::open_all(file)?);
        }
        print!("{}", plain(&of(&records, self.all)));
        Ok(())
    }
}

/// What was run: the scenario, and what was set otherwise than it has it.
fn name(record: &Record) -> String {
    let mut name = record.scenario.clone();
    let own = record.arguments.iter().take_while(|word| *word != "--");
    for (word, value) in own.clone().zip(own.skip(1)) {
        match word.as_str() {
            "--set" => _ = write!(name, ", {value}"),
            "--floor-threads" => _ = write!(name, ", {value} threads of the floor"),
            _ => {}
        }
    }
    name
}

/// Which of the hub's arguments it was run with.
fn column(record: &Record) -> String {
    let arguments: Vec<&str> =
        record.arguments.iter().skip_while(|word| *word != "--").skip(1).map(String::as_str).collect();
    if arguments.is_empty() { "hub".to_owned() } else { format!("hub {}", arguments.join(" ")) }
}

/// A line of the table, with the values of all runs in each column.
struct Row {
    key: String,
    label: String,
    unit: String,
    bar: Option<Bar>,
    cells: Vec<Vec<f64>>,
}

/// The lines of what was run in the same way.
struct Part {
    name: String,
    title: String,
    rows: Vec<Row>,
}

impl Part {
    /// Without a value there is the line all the same.
    fn enter(&mut self, column: usize, columns: usize, row: Row, value: Option<f64>) {
        let same =
            |known: &Row| known.key == row.key && known.unit == row.unit && known.bar.is_some() == row.bar.is_some();
        let at = match self.rows.iter().position(same) {
            Some(at) => at,
            None => {
                self.rows.push(Row { cells: vec![Vec::new(); columns], ..row });
                self.rows.len() - 1
            }
        };
        self.rows[at].cells[column].extend(value);
    }
}

fn known(names: &mut Vec<String>, name: String) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

/// All records as a page of Markdown: what ran where, then the table.
fn of(records: &[Record], all: bool) -> String {
    let mut columns: Vec<String> = Vec::new();
    let is_other = |record: &Record, other: &str| {
        let begins = |figure: &&crate::record::Figure| figure.key.split('.').next() == Some(other);
        record.figures.iter().any(|figure| begins(&figure))
    };
    for record in records {
        // A run of the floor alone has no hub.
        if record.figures.iter().any(|figure| OTHERS.iter().all(|other| figure.key.split('.').next() != Some(*other))) {
            known(&mut columns, column(record));
        }
    }
    let others = OTHERS.iter().filter(|other| records.iter().any(|record| is_other(record, other)));
    columns.extend(others.map(|other| (*other).to_owned()));

    let (mut names, mut parts): (Vec<String>, Vec<Part>) = (Vec::new(), Vec::new());
    for record in records {
        let at = known(&mut names, name(record));
        if at == parts.len() {
            parts.push(Part { name: names[at].clone(), title: record.title.clone(), rows: Vec::new() });
        }
        enter(record, all, &columns, &mut parts[at]);
    }

    let mut text = head(records);
    for part in &parts {
        let _ = writeln!(text, "- {}: {}", cell(&part.name), cell(&part.title));
    }
    let _ = write!(text, "\n| scenario | what | goal |");
    columns.iter().for_each(|column| text.extend([" ", &cell(column), " |"]));
    let _ = writeln!(text, "\n|{}", "---|".repeat(3 + columns.len()));
    for part in &parts {
        let goals = part.rows.iter().filter(|row| row.bar.is_some());
        for row in goals.chain(part.rows.iter().filter(|row| row.bar.is_none())) {
            let goal = match row.bar {
                Some(Bar::AtLeast(bar)) => format!("≥ {}", spoken(bar, &row.unit)),
                Some(Bar::AtMost(bar)) => format!("≤ {}", spoken(bar, &row.unit)),
                None => String::new(),
            };
            let _ = write!(text, "| {} | {} | {goal} |", cell(&part.name), cell(&row.label));
            row.cells.iter().for_each(|values| text.extend([" ", &spread(values, &row.unit), " |"]));
            text.push('\n');
        }
    }
    text
}

/// Whether a goal is about a figure, which then stands there: `hub: window.figure` about `hub.window.figure`, and
/// `hub: window.figure / floor's` about `hub_per_floor.window.figure`.
fn is_of(goal: &str, key: &str) -> bool {
    let Some((hub, what)) = goal.rsplit_once(": at ").and_then(|(what, _)| what.split_once(": ")) else {
        return false;
    };
    match what.split_once(" / ") {
        None => key.strip_prefix(hub).and_then(|key| key.strip_prefix('.')) == Some(what),
        Some((figure, other)) => {
            other.strip_suffix("'s").is_some_and(|other| key == format!("{hub}_per_{other}.{figure}"))
        }
    }
}

/// Enters what a run reached.
fn enter(record: &Record, all: bool, columns: &[String], part: &mut Part) {
    let hub = column(record);
    let of_hub = columns.iter().position(|name| *name == hub);
    for goal in &record.goals {
        if let Some(column) = of_hub {
            let what = goal.goal.rsplit_once(": at ").map_or(goal.goal.as_str(), |(what, _)| what);
            let label = what.strip_prefix("hub: ").unwrap_or(what).to_owned();
            let row = Row { key: what.to_owned(), label, unit: goal.unit.clone(), bar: goal.bar, cells: Vec::new() };
            part.enter(column, columns.len(), row, goal.value);
        }
    }
    for figure in &record.figures {
        if !(all || TELLING.iter().any(|end| figure.key.ends_with(end))) {
            continue;
        }
        if record.goals.iter().any(|goal| is_of(&goal.goal, &figure.key)) {
            continue;
        }
        let (target, key) = figure.key.split_once('.').unwrap_or(("", &figure.key));
        let place = match OTHERS.contains(&target) {
            true => columns.iter().position(|name| name == target),
            false => of_hub,
        };
        let Some(place) = place else { continue };
        let alone = target == "hub" || OTHERS.contains(&target);
        let label =
            if alone { figure.label.split_once(": ").map_or(&*figure.label, |(_, rest)| rest) } else { &figure.label };
        let key = if alone { key } else { &figure.key };
        let row = Row {
            key: key.to_owned(),
            label: label.to_owned(),
            unit: figure.unit.clone(),
            bar: None,
            cells: Vec::new(),
        };
        part.enter(place, columns.len(), row, Some(figure.value));
    }
}

/// Where and when they ran, and what speaks against them.
fn head(records: &[Record]) -> String {
    let distinct = |fact: &dyn Fn(&Record) -> String| records.iter().map(fact).collect::<BTreeSet<_>>();
    let mut text = String::new();
    let mut line = |words: String| {
        let _ = writeln!(text, "- {}", cell(&words));
    };
    for machine in distinct(&|record| record.machine.line()) {
        line(machine);
    }
    for hub in distinct(&|record| record.hub.clone().unwrap_or_else(|| "hub not known".to_owned())) {
        line(hub);
    }
    for build in distinct(&|record| format!("load generator {}", record.build)) {
        line(build);
    }
    let times = distinct(&|record| record.time.clone());
    if let (Some(first), Some(last)) = (times.first(), times.last()) {
        line(format!("{} runs from {first} to {last}", records.len()));
    }
    line("each figure is the median of its runs, in brackets the lowest and the highest".to_owned());
    let disturbed = records.iter().filter(|record| record.accounts.is_disturbed()).count();
    if disturbed > 0 {
        line(format!("{disturbed} of the runs didn't have the machine for themselves"));
    }
    for sentence in
        distinct(&|record| record.scheduling_anywhere().and_then(Scheduling::sentence).unwrap_or_default().to_owned())
    {
        if !sentence.is_empty() {
            line(sentence);
        }
    }
    for record in records {
        for check in record.checks.iter().filter(|check| !check.ok) {
            let _ = writeln!(
                text,
                "- **Failed** in {} ({}, {}): {} ({})",
                cell(&name(record)),
                cell(&column(record)),
                cell(&record.time),
                cell(&check.check),
                cell(&check.detail)
            );
        }
    }
    text
}

/// The median, and the lowest and highest where they say more.
fn spread(values: &[f64], unit: &str) -> String {
    if values.is_empty() {
        return "–".to_owned();
    }
    let (low, high) =
        values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let middle = median(values);
    let text = spoken(middle, unit);
    if values.len() == 1 {
        return text;
    }
    let [(low_text, low_unit), (high_text, high_unit)] = [low, high].map(|value| quantity(value, unit));
    let one_unit = quantity(middle, unit).1;
    if low_unit == one_unit && high_unit == one_unit {
        format!("{text} ({low_text}–{high_text})")
    } else {
        format!("{text} ({}–{})", spoken(low, unit), spoken(high, unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn run(io: &str, rate: f64, goal: f64) -> Record {
        let mut record = example::record();
        record.arguments =
            ["broadcast", "--set", "connections=10", "--hub", "x", "--", "--io", io].map(str::to_owned).to_vec();
        record.figures[1].value = rate;
        record.goals[0].value = Some(goal);
        record
    }

    #[test]
    fn runs_of_one_kind_are_one_line_with_their_spread() {
        let records =
            [run("uring", 200.0, 0.9), run("uring", 100.0, 1.0), run("epoll", 7.0, 0.5), run("uring", 150.0, 0.8)];
        let text = of(&records, false);
        assert!(
            text.contains(
                "| scenario | what | goal | hub --io uring | hub --io epoll | floor |\n|---|---|---|---|---|---|\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("| broadcast, connections=10 | deliveries per second, share of the floor | ≥ 0.850 × | 0.900 × (0.800–1.00) | 0.500 × | – |\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "| deliveries per second, median round |  | 150/s (100–200) | 7.00/s | 146,746/s (146,746–146,746) |\n"
            ),
            "{text}"
        );
        assert_eq!(text.matches("**Failed** in broadcast, connections=10 (hub --io epoll, ").count(), 1);
        assert!(!text.contains("user memory") && of(&records, true).contains("user memory"));
    }

    /// Seen: a figure that happened to have the value of a goal about another one wasn't in its line.
    #[test]
    fn a_figure_stands_in_its_own_line_or_in_its_goal_s() {
        let of = |goal: &str, key: &str| is_of(goal, key);
        assert!(of("hub: mixed.latency_p99_ms: at most 10.0 ms", "hub.mixed.latency_p99_ms"));
        assert!(of("hub: single.events_per_s / floor's: at least 0.700 ×", "hub_per_floor.single.events_per_s"));
        for key in ["nchan.mixed.latency_p99_ms", "hub.mixed.latency_p50_ms", "hub_per_nchan.mixed.latency_p99_ms"] {
            assert!(!of("hub: mixed.latency_p99_ms: at most 10.0 ms", key), "{key}");
        }
    }

    #[test]
    fn a_goal_that_was_not_measured_has_its_line() {
        let mut record = run("uring", 1.0, 1.0);
        record.goals[0].value = None;
        let text = super::of(&[record], false);
        assert!(text.contains("| deliveries per second, share of the floor | ≥ 0.850 × | – | – |"), "{text}");
    }

    #[test]
    fn what_was_set_otherwise_is_another_line() {
        let (one, mut other) = (run("uring", 1.0, 1.0), run("uring", 2.0, 1.0));
        other.arguments[2] = "connections=20".to_owned();
        let text = of(&[one, other], false);
        for words in ["| broadcast, connections=10 | deliveries per", "| broadcast, connections=20 | deliveries per"] {
            assert_eq!(text.matches(words).count(), 2, "{text}");
        }
    }

    #[test]
    fn a_spread_over_units_names_both() {
        assert_eq!(spread(&[1.0, 20e3, 2.0], "ms"), "2.00 ms (1.00 ms–20.0 s)");
        assert_eq!(spread(&[], "ms"), "–");
        assert_eq!(spread(&[3.0], ""), "3");
    }
}
