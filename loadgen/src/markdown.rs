//! Records as Markdown, for pages like docs/benchmarks.md.

use std::fmt::Write;

use crate::compare;
use crate::quantity::spoken;
use crate::record::Record;
use crate::scheduling::Scheduling;

/// A run: what, where, and its figures.
pub(crate) fn of_run(record: &Record) -> String {
    let mut text = format!("{}\n\n", cell(&format!("{}: {}", record.scenario, record.title)));
    lines(&[("", record)], &mut text);
    let any = record.figures.iter().any(|figure| record.of_the_floor(figure).is_some());
    text.push_str(if any {
        "\n| what | value | of the floor's |\n|---|---|---|\n"
    } else {
        "\n| what | value |\n|---|---|\n"
    });
    for figure in &record.figures {
        let _ = write!(text, "| {} | {} |", cell(&figure.label), cell(&spoken(figure.value, &figure.unit)));
        if any {
            let ratio = record.of_the_floor(figure).map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
            let _ = write!(text, " {ratio} |");
        }
        text.push('\n');
    }
    if !record.goals.is_empty() {
        text.push_str("\n| goal | reached | |\n|---|---|---|\n");
    }
    for goal in &record.goals {
        let reached = goal.value.map(|value| spoken(value, &goal.unit)).unwrap_or_default();
        let verdict = if goal.met { "met" } else { "missed" };
        let _ = writeln!(text, "| {} | {} | {verdict} |", cell(&goal.goal), cell(&reached));
    }
    for check in record.checks.iter().filter(|check| !check.ok) {
        let _ = write!(text, "\n**Failed:** {} ({})\n", cell(&check.check), cell(&check.detail));
    }
    text
}

/// Two runs side by side.
pub(crate) fn of_pair(a: &Record, b: &Record) -> String {
    let mut text = format!("{}\n\n", cell(&format!("{}: {}", a.scenario, a.title)));
    lines(&[("A: ", a), ("B: ", b)], &mut text);
    text.push_str("\n| what | A | B | B / A | B - A |\n|---|---|---|---|---|\n");
    for row in compare::rows(a, b) {
        let _ = writeln!(text, "| {} | {} |", cell(&row.label), row.texts().map(|text| cell(&text)).join(" | "));
    }
    let differing: Vec<_> = compare::fact_pairs(a, b).into_iter().filter(compare::FactPair::differs).collect();
    if !differing.is_empty() {
        text.push_str("\n| differs | A | B |\n|---|---|---|\n");
    }
    for pair in differing {
        let _ = writeln!(text, "| {} | {} | {} |", cell(&pair.name), cell(&pair.a), cell(&pair.b));
    }
    text
}

fn lines(sources: &[(&str, &Record)], text: &mut String) {
    for (name, record) in sources {
        let hub = record.hub.as_deref().unwrap_or("hub not known");
        let _ = writeln!(text, "- {name}{}; {}; {}", cell(&record.machine.line()), cell(hub), cell(&record.time));
        let _ = writeln!(text, "- {name}`cinnabar-loadgen {}`", record.arguments.join(" ").replace(['`', '\n'], " "));
        let _ = writeln!(text, "- {name}{}", cell(&record.accounts.sentence()));
        if let Some(sentence) = record.scheduling_anywhere().and_then(Scheduling::sentence) {
            let _ = writeln!(text, "- {name}{}", cell(sentence));
        }
        for agent in &record.agents {
            let _ = writeln!(text, "- {name}{}", cell(&agent.sentence()));
        }
    }
}

/// A text that stays in its cell and is no markup.
pub(crate) fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' => cell.extend(['\\', c]),
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            c if c.is_control() => cell.push(' '),
            c => cell.push(c),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn a_run_is_a_table_with_its_machine_and_command() {
        let text = of_run(&example::record());
        assert!(text.starts_with(
            "broadcast: 15000 subscribers, 3 x 30 events of 300 B, one at a time\n\n- 2 cores of AMD EPYC"
        ));
        assert!(text.contains("| hub: deliveries per second, median round | 142,771/s | 0.973 |\n"), "{text}");
        assert!(text.contains("`cinnabar-loadgen broadcast --targets hub,floor --hub target/release/cinnabar`"));
        assert!(text.contains("**Failed:**"));
    }

    #[test]
    fn two_runs_have_two_columns() {
        let (a, mut b) = (example::record(), example::record());
        b.figures[0].value = 238.0;
        let text = of_pair(&a, &b);
        assert!(text.contains("| hub: latency p99 | 119 ms | 238 ms | 2.000 | +119 ms |\n"), "{text}");
        assert!(!text.contains("differs"));
    }

    #[test]
    fn no_text_leaves_its_cell() {
        assert_eq!(cell("a|b\n<b> `c`"), "a\\|b &lt;b> \\`c\\`");
    }
}
