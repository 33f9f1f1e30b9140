//! Two records side by side: `cinnabar-loadgen compare A.json B.json`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use crate::quantity::{plain, spoken};
use crate::record::{Figure, Record};
use crate::scheduling::{Scheduling, Use};
use crate::{archive, html, markdown, output};

/// Draw two runs side by side
#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// A file of records: its last run is A
    a: PathBuf,
    /// A file of records: its last run is B
    b: PathBuf,
    /// Take this run of A's file instead, counted from 1
    #[arg(long, value_name = "N")]
    run_a: Option<usize>,
    /// Take this run of B's file instead, counted from 1
    #[arg(long, value_name = "N")]
    run_b: Option<usize>,
    /// Write a page with charts of both to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print a table in Markdown
    #[arg(long)]
    markdown: bool,
}

impl Compare {
    /// Reads both and shows them.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let (a, b) = (archive::open(&self.a, self.run_a)?, archive::open(&self.b, self.run_b)?);
        if let Some(path) = &self.html {
            output::write_page(&html::of_pair(&a, &b), path)?;
        }
        print!("{}", if self.markdown { markdown::of_pair(&a, &b) } else { table(&a, &b) });
        Ok(())
    }
}

/// A figure of both runs; one may not have it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) unit: String,
    pub(crate) a: Option<f64>,
    pub(crate) b: Option<f64>,
}

impl Row {
    /// What B has for each of A's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let (a, b) = self.a.zip(self.b)?;
        (a != 0.0).then(|| b / a)
    }

    /// What B has more than A.
    pub(crate) fn difference(&self) -> Option<f64> {
        self.a.zip(self.b).map(|(a, b)| b - a)
    }

    /// The four columns as text: A, B, B / A, B - A.
    pub(crate) fn texts(&self) -> [String; 4] {
        let value = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| spoken(value, &self.unit));
        let ratio = self.ratio().map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.3}"));
        let sign = if self.difference().is_some_and(|difference| difference > 0.0) { "+" } else { "" };
        [value(self.a), value(self.b), ratio, format!("{sign}{}", value(self.difference()))]
    }
}

/// All figures of both, in A's order, then those only B has. Figures of one key and another unit are two.
pub(crate) fn rows(a: &Record, b: &Record) -> Vec<Row> {
    let same = |one: &Figure, other: &Figure| one.key == other.key && one.unit == other.unit;
    let row = |figure: &Figure| Row {
        label: figure.label.clone(),
        unit: figure.unit.clone(),
        a: a.figures.iter().find(|other| same(figure, other)).map(|figure| figure.value),
        b: b.figures.iter().find(|other| same(figure, other)).map(|figure| figure.value),
    };
    let only_b = b.figures.iter().filter(|figure| !a.figures.iter().any(|other| same(figure, other)));
    a.figures.iter().chain(only_b).map(row).collect()
}

/// Everything about a run that isn't a result: how and when it ran, and on what.
pub(crate) fn facts(record: &Record) -> Vec<(String, String)> {
    let accounts = &record.accounts;
    let percent = |seconds: f64| format!("{:.1} %", accounts.percent(seconds));
    let mut facts = vec![
        ("scenario".to_owned(), record.scenario.clone()),
        ("what was done".to_owned(), record.title.clone()),
        ("arguments".to_owned(), record.arguments.join(" ")),
        ("time".to_owned(), record.time.clone()),
        ("took".to_owned(), spoken(record.seconds, "s")),
        ("hub".to_owned(), record.hub.clone().unwrap_or_else(|| "not known".to_owned())),
        ("generator".to_owned(), record.build.to_string()),
        ("share of the machine's CPU time: servers".to_owned(), percent(accounts.servers_s)),
        ("… generator".to_owned(), percent(accounts.own_s)),
        ("… interrupts".to_owned(), percent(accounts.interrupts_s)),
        ("… other programs".to_owned(), percent(accounts.others_s())),
        ("… other guests".to_owned(), percent(accounts.stolen_s)),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    facts.extend(Scheduling::facts(record.scheduling).map(owned));
    facts.extend(record.machine.facts());
    if !record.agents.is_empty() {
        facts.push(("agents".to_owned(), record.agents.len().to_string()));
    }
    for agent in &record.agents {
        let mut fact = |name: &str, value: String| facts.push((format!("agent {}: {name}", agent.agent), value));
        fact("subscribers", agent.subscribers.to_string());
        fact("generator", agent.build.to_string());
        fact("clock, shown more than the coordinator's", format!("{} ns", agent.clock.offset_ns));
        fact("clock, latencies right to", spoken(agent.clock.error_us(), "us"));
        fact("share of its CPU time", format!("{:.1} %", agent.accounts.percent(agent.accounts.own_s)));
        for (name, value) in Scheduling::facts(agent.scheduling) {
            fact(name, value.to_owned());
        }
        for (name, value) in agent.machine.facts() {
            fact(&name, value);
        }
    }
    facts
}

/// A fact of both runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FactPair {
    pub(crate) name: String,
    pub(crate) a: String,
    pub(crate) b: String,
}

impl FactPair {
    /// Do they differ?
    pub(crate) fn differs(&self) -> bool {
        self.a != self.b
    }
}

/// The facts of both, in A's order.
pub(crate) fn fact_pairs(a: &Record, b: &Record) -> Vec<FactPair> {
    let (of_a, of_b) = (facts(a), facts(b));
    let find = |facts: &[(String, String)], name: &str| {
        facts.iter().find(|(other, _)| other == name).map_or_else(|| "–".to_owned(), |(_, value)| value.clone())
    };
    let only_b = of_b.iter().filter(|(name, _)| !of_a.iter().any(|(other, _)| other == name));
    let names = of_a.iter().chain(only_b).map(|(name, _)| name.clone());
    names.map(|name| FactPair { a: find(&of_a, &name), b: find(&of_b, &name), name }).collect()
}

/// Facts that make figures incomparable when they differ, as opposed to the time or the load of the moment.
const DECISIVE: [&str; 7] = ["scenario", "what was done", "processor", "cores", "memory", "kernel", "agents"];

/// What somebody should know before comparing.
pub(crate) fn warnings(a: &Record, b: &Record) -> Vec<String> {
    let decisive = |pair: &FactPair| pair.differs() && DECISIVE.contains(&pair.name.as_str());
    let differing = fact_pairs(a, b).into_iter().filter(decisive);
    let mut warnings: Vec<String> =
        differing.map(|pair| format!("not the same {}: {} / {}", pair.name, pair.a, pair.b)).collect();
    warnings.extend(scheduled_apart(a, b));
    for (name, record) in [("A", a), ("B", b)] {
        if !record.ok {
            warnings.push(format!("{name} failed a check: its figures are of a run that went wrong"));
        }
        if record.accounts.is_disturbed() {
            warnings.push(format!("{name} didn't have the machine for itself"));
        }
        for agent in record.agents.iter().filter(|agent| agent.accounts.is_disturbed()) {
            warnings.push(format!("{name} didn't have its agent {} for itself", agent.agent));
        }
        if record.build.debug {
            warnings.push(format!("{name} was measured by a generator with debug assertions"));
        }
    }
    warnings
}

/// What only one of two runs used to keep its schedule: its latencies have less of the clients' own waiting in them.
fn scheduled_apart(a: &Record, b: &Record) -> Vec<String> {
    let used = |record: &Record, part: fn(Scheduling) -> Use| record.scheduling_anywhere().map(part);
    let mut apart = Vec::new();
    let mut compare = |what: &str, part: fn(Scheduling) -> Use| {
        let [a, b] = [used(a, part), used(b, part)];
        let words = |used: Option<Use>| used.map_or("not known", Use::words);
        match (a == Some(Use::Used), b == Some(Use::Used)) {
            (true, false) => apart.push(format!("only in A {what}; in B that was {}", words(b))),
            (false, true) => apart.push(format!("only in B {what}; in A that was {}", words(a))),
            _ => {}
        }
    };
    compare("publishers or prompt groups ran in real time (SCHED_FIFO)", |this| this.real_time);
    compare("threads of groups that aren't prompt had nice 10", |this| this.nice);
    apart
}

/// Both as a table for a terminal.
fn table(a: &Record, b: &Record) -> String {
    let mut text = String::new();
    for (name, record) in [("A", a), ("B", b)] {
        let hub = record.hub.as_deref().unwrap_or("hub not known");
        let _ = writeln!(text, "{name}: {}: {} ({}, {hub})", record.scenario, record.title, record.time);
    }
    let rows: Vec<(String, [String; 4])> = rows(a, b).iter().map(|row| (row.label.clone(), row.texts())).collect();
    let heads = ["A", "B", "B / A", "B - A"].map(str::to_owned);
    let length = |text: &String| text.chars().count();
    let label_width = rows.iter().map(|(label, _)| length(label)).max().unwrap_or(0);
    let width = |column: usize| rows.iter().map(|(_, texts)| &texts[column]).chain([&heads[column]]).map(length).max();
    let widths = [0, 1, 2, 3].map(|column| width(column).unwrap_or(0));
    for (label, texts) in std::iter::once((String::new(), heads.clone())).chain(rows.iter().cloned()) {
        let _ = write!(text, "  {label:<label_width$}");
        for (cell, width) in texts.iter().zip(widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    for pair in fact_pairs(a, b).iter().filter(|pair| pair.differs()) {
        let _ = writeln!(text, "  differs  {}: {} / {}", pair.name, pair.a, pair.b);
    }
    for warning in warnings(a, b) {
        let _ = writeln!(text, "  mind     {warning}");
    }
    plain(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn pair() -> (Record, Record) {
        let (a, mut b) = (example::record(), example::record());
        b.figures[0].value = 59.5;
        b.figures.remove(1);
        b.figures.push(Figure { key: "new".into(), label: "something new".into(), value: 3.0, unit: String::new() });
        b.machine.kernel = "6.19.0".to_owned();
        (a, b)
    }

    #[test]
    fn figures_are_paired_by_key() {
        let (a, b) = pair();
        let rows = rows(&a, &b);
        assert_eq!(rows[0].texts(), ["119 ms", "59.5 ms", "0.500", "-59.5 ms"]);
        assert_eq!(rows[1].texts(), ["142,771/s", "–", "–", "–"]);
        assert_eq!(rows.last().map(Row::texts), Some(["–", "3", "–", "–"].map(str::to_owned)));
        assert_eq!(rows.len(), a.figures.len() + 1);
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        let row = Row { label: String::new(), unit: "B".into(), a: Some(0.0), b: Some(5.0) };
        assert_eq!(row.texts(), ["0 B", "5.00 B", "–", "+5.00 B"]);
    }

    #[test]
    fn facts_that_differ_are_marked_and_those_that_matter_warned_of() {
        let (a, b) = pair();
        let differing: Vec<_> =
            fact_pairs(&a, &b).into_iter().filter(FactPair::differs).map(|pair| pair.name).collect();
        assert_eq!(differing, ["kernel"]);
        assert!(warnings(&a, &b).contains(&"not the same kernel: 6.18.0 / 6.19.0".to_owned()));
    }

    #[test]
    fn runs_of_which_only_one_went_before_others_are_warned_of() {
        let (mut a, mut b) = (example::record(), example::record());
        let used = Scheduling { real_time: Use::Used, nice: Use::Used };
        let refused = Scheduling { real_time: Use::NotAllowed, nice: Use::NotAllowed };
        let apart = |a: &Record, b: &Record| {
            let all = warnings(a, b);
            all.into_iter().filter(|warning| warning.starts_with("only in")).collect::<Vec<_>>()
        };
        (a.scheduling, b.scheduling) = (Some(used), Some(refused));
        assert_eq!(
            apart(&a, &b),
            [
                "only in A publishers or prompt groups ran in real time (SCHED_FIFO); in B that was not allowed by the kernel \
                 (CAP_SYS_NICE)",
                "only in A threads of groups that aren't prompt had nice 10; in B that was not allowed by the kernel \
                 (CAP_SYS_NICE)"
            ]
        );
        assert!(table(&a, &b).contains("  differs  real time (SCHED_FIFO) on a schedule: used / not allowed"));
        a.scheduling = None;
        assert!(apart(&a, &b).is_empty(), "neither is known to have");
        b.scheduling = Some(used);
        assert!(apart(&a, &b)[0].ends_with("in A that was not known"));
        a.scheduling = Some(used);
        assert!(apart(&a, &b).is_empty());
        (a.scheduling, b.scheduling) = (Some(refused), Some(Scheduling::default()));
        assert!(apart(&a, &b).is_empty(), "not asked for and not given is the same to the figures");
    }

    #[test]
    fn the_table_is_aligned() {
        let (a, b) = pair();
        let text = table(&a, &b);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3], "  hub: latency p99                               119 ms    59.5 ms  0.500  -59.5 ms");
        assert!(text.contains("  differs  kernel: 6.18.0 / 6.19.0"));
    }
}
