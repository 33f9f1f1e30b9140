//! What a scenario found: figures, checks that decide the exit status, and goals that are only reported.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::ledger::Verdict;
use crate::process::Cpu;
use crate::{machine, sys};

/// A result in the making.
pub(crate) struct Report {
    scenario: &'static str,
    title: String,
    figures: Vec<(String, String, f64, &'static str)>,
    notes: Vec<String>,
    checks: Vec<(String, bool, String)>,
    goals: Vec<(String, bool)>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(scenario: &'static str, title: impl Into<String>) -> Self {
        Self {
            scenario,
            title: title.into(),
            figures: Vec::new(),
            notes: Vec::new(),
            checks: Vec::new(),
            goals: Vec::new(),
        }
    }

    /// A number under a key for machines and a label for people.
    pub(crate) fn figure(&mut self, key: impl Into<String>, label: impl Into<String>, value: f64, unit: &'static str) {
        // A mean of nothing is no figure.
        if value.is_finite() {
            self.figures.push((key.into(), label.into(), value, unit));
        }
    }

    /// Server, own and machine CPU of a part of the run.
    pub(crate) fn cpu(&mut self, key: &str, label: &str, cpu: Cpu, deliveries: u64) {
        if cpu.server_s > 0.0 {
            let per_delivery = cpu.server_s * 1e6 / deliveries.max(1) as f64;
            self.figure(
                format!("{key}_cpu_us_per_delivery"),
                format!("{label}: server CPU per delivery"),
                per_delivery,
                "us",
            );
        }
        self.figure(format!("{key}_cpu_server_s"), format!("{label}: CPU of the server"), cpu.server_s, "s");
        self.figure(format!("{key}_cpu_client_s"), format!("{label}: CPU of this program"), cpu.own_s, "s");
        self.figure(format!("{key}_cpu_machine_s"), format!("{label}: CPU of the whole machine"), cpu.machine_s, "s");
    }

    /// A line of text for people.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Something that must hold, or the exit status is 1.
    pub(crate) fn check(&mut self, what: impl Into<String>, holds: bool, detail: impl Into<String>) {
        self.checks.push((what.into(), holds, detail.into()));
    }

    /// The check every scenario ends with.
    pub(crate) fn check_delivery(&mut self, who: &str, verdict: &Verdict) {
        let what = format!("{who}: every event once, whole, in one order; nobody closed");
        self.check(what, verdict.is_good(), verdict.detail());
    }

    /// A bar the figures are held against; missing it doesn't change the exit status.
    pub(crate) fn goal(&mut self, what: impl Into<String>, met: bool) {
        self.goals.push((what.into(), met));
    }

    /// Did all checks hold?
    pub(crate) fn is_good(&self) -> bool {
        self.checks.iter().all(|(_, holds, _)| *holds)
    }

    /// Prints the table on standard output.
    pub(crate) fn print(&self) {
        println!("{}: {}", self.scenario, self.title);
        let width = self.figures.iter().map(|(_, label, ..)| label.chars().count()).max().unwrap_or(0);
        for (_, label, value, unit) in &self.figures {
            println!("  {label:<width$}  {:>14} {unit}", number(*value));
        }
        for note in &self.notes {
            println!("  {note}");
        }
        for (what, met) in &self.goals {
            println!("  {}  {what}", if *met { "goal met   " } else { "goal MISSED" });
        }
        for (what, holds, detail) in &self.checks {
            println!("  {}  {what} ({detail})", if *holds { "check ok    " } else { "check FAILED" });
        }
    }

    /// Appends the result as one line of JSON.
    pub(crate) fn append_to(&self, path: &Path) -> anyhow::Result<()> {
        let figures: Map<String, Value> =
            self.figures.iter().map(|(key, _, value, _)| (key.clone(), json!(value))).collect();
        let goals: Vec<Value> = self.goals.iter().map(|(what, met)| json!({"goal": what, "met": met})).collect();
        let check =
            |(what, holds, detail): &(String, bool, String)| json!({"check": what, "ok": holds, "detail": detail});
        let line = json!({
            "scenario": self.scenario,
            "title": self.title,
            "unix_time": sys::unix_seconds(),
            "arguments": std::env::args().skip(1).collect::<Vec<_>>(),
            "machine": machine::facts(),
            "figures": figures,
            "notes": self.notes,
            "goals": goals,
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
            "ok": self.is_good(),
        });
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        writeln!(file, "{line}").with_context(|| format!("write {}", path.display()))
    }
}

/// Three figures or more, thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), ""), |(whole, _)| (whole, &text[whole.len()..]));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
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
    fn numbers_are_short_and_grouped() {
        let texts = [0.0, 0.1234, 3.456, 42.42, 123.4, 1_234_567.8, -9_876.0].map(number);
        assert_eq!(texts, ["0", "0.123", "3.46", "42.4", "123", "1,234,568", "-9,876"]);
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn one_failed_check_fails_the_report() {
        let mut report = Report::new("x", "y");
        report.goal("unreached", false);
        assert!(report.is_good());
        report.check("a", true, "");
        report.check("b", false, "");
        assert!(!report.is_good());
    }
}
