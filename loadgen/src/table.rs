//! A record as text for a terminal.

use std::fmt::Write;

use crate::quantity::{plain, quantity, spoken};
use crate::record::Record;
use crate::scheduling::Scheduling;

/// The record as a table, its checks last.
pub(crate) fn of(record: &Record) -> String {
    let mut text = format!("{}: {}\n", record.scenario, record.title);
    figures(record, &mut text);
    for note in &record.notes {
        let _ = writeln!(text, "  {note}");
    }
    let accounts = &record.accounts;
    let _ = writeln!(text, "  {}", accounts.sentence());
    if accounts.is_disturbed() {
        text.push_str("  the machine was not this run's alone: figures may be worse than they would be\n");
    }
    if let Some(sentence) = record.scheduling_anywhere().and_then(Scheduling::sentence) {
        let _ = writeln!(text, "  {sentence}");
    }
    if record.build.debug {
        text.push_str("  built with debug assertions: the generator's own cost is not that of a release\n");
    }
    for agent in &record.agents {
        let _ = writeln!(text, "  {}", agent.sentence());
    }
    for goal in &record.goals {
        let reached = goal.value.map(|value| format!(", reached {}", spoken(value, &goal.unit))).unwrap_or_default();
        let _ = writeln!(text, "  {}  {}{reached}", if goal.met { "goal met   " } else { "goal MISSED" }, goal.goal);
    }
    for check in &record.checks {
        let _ = writeln!(
            text,
            "  {}  {} ({})",
            if check.ok { "check ok    " } else { "check FAILED" },
            check.check,
            check.detail
        );
    }
    plain(&text)
}

fn figures(record: &Record, text: &mut String) {
    let rows: Vec<_> = record.figures.iter().map(|figure| (figure, quantity(figure.value, &figure.unit))).collect();
    let width = rows.iter().map(|(figure, _)| figure.label.chars().count()).max().unwrap_or(0);
    let number_width = rows.iter().map(|(_, (number, _))| number.chars().count()).max().unwrap_or(0);
    for (figure, (number, unit)) in &rows {
        let unit = if unit == "x" { "×" } else { unit };
        let ratio = record.of_the_floor(figure).map(|ratio| format!("{ratio:.3} × floor")).unwrap_or_default();
        let line = format!("  {:<width$}  {number:>number_width$} {unit:<4} {ratio}", figure.label);
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use crate::example;

    #[test]
    fn a_table_is_aligned_and_marks_what_has_a_floor() {
        let text = super::of(&example::record());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "broadcast: 15000 subscribers, 3 x 30 events of 300 B, one at a time");
        assert_eq!(lines[1], "  hub: latency p99                                119 ms");
        assert_eq!(lines[2], "  hub: deliveries per second, median round    142,771 /s   0.973 × floor");
        assert_eq!(lines[3], "  floor: deliveries per second, median round  146,746 /s");
        assert!(
            text.contains("goal met     deliveries per second, share of the floor: at least 0.850 ×, reached 0.973 ×")
        );
        assert!(text.contains("check FAILED"));
    }

    #[test]
    fn a_hostile_record_writes_no_escape_sequences() {
        let mut record = example::record();
        record.notes.push("\x1b[2J".to_owned());
        assert!(!super::of(&record).contains('\x1b'));
    }
}
