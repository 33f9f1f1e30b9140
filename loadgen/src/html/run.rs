//! The page of one run.

use std::fmt::Write;

use crate::html::charts::{self, Source};
use crate::html::page;
use crate::html::tables::{self, Cell, table};
use crate::html::text::escaped;
use crate::quantity::{quantity, spoken};
use crate::record::{Bar, Figure, Goal, Record};
use crate::scheduling::Scheduling;

/// Numbers shown large.
const TILES_MAX: usize = 6;

/// One run as a page.
pub(crate) fn of_run(record: &Record) -> String {
    let mut body = String::new();
    header(record, &mut body);
    tiles(record, &mut body);
    page::charts(&charts::of(&[Source { name: "", record }]), &mut body);
    page::heading("Figures", &mut body);
    figures(record, &mut body);
    if !record.latencies.is_empty() {
        page::heading("Latencies, from the intended send time", &mut body);
        tables::latencies(&[("", record)], &mut body);
    }
    page::heading("Goals and checks", &mut body);
    verdicts(record, &mut body);
    if !record.notes.is_empty() {
        page::heading("Notes", &mut body);
        let notes: String = record.notes.iter().map(|note| format!("<li>{}</li>", escaped(note))).collect();
        let _ = writeln!(body, "<ul class=\"notes\">{notes}</ul>");
    }
    page::heading("The machine and the run", &mut body);
    facts(record, &mut body);
    body.push_str("<div id=\"samples\">\n");
    page::heading("Samples", &mut body);
    tables::samples("", record, &mut body);
    body.push_str("</div>\n");
    page::around(&format!("{}: {}", record.scenario, record.title), &body)
}

fn header(record: &Record, to: &mut String) {
    let failed = record.checks.iter().filter(|check| !check.ok).count();
    let (class, verdict) = match (failed, record.checks.len()) {
        (0, 0) => ("odd", "nothing was checked".to_owned()),
        (0, 1) => ("good", "the check held".to_owned()),
        (0, checks) => ("good", format!("all {checks} checks held")),
        (failed, checks) => ("bad", format!("{failed} of {checks} checks failed")),
    };
    let _ = write!(
        to,
        "<header><p class=\"over\">cinnabar-loadgen</p>\n<h1>{}</h1>\n<p class=\"title\">{}</p>\n\
         <p><span class=\"badge {class}\">{verdict}</span> {} · {} · {}</p>\n",
        escaped(&record.scenario),
        escaped(&record.title),
        escaped(&record.time),
        escaped(record.hub.as_deref().unwrap_or("the server's version isn't known")),
        escaped(&record.machine.line()),
    );
    let _ = writeln!(to, "<pre class=\"command\">{}</pre>", escaped(&command(record)));
    let accounts = &record.accounts;
    let class = if accounts.is_disturbed() { "warning" } else { "quiet" };
    let advice = if accounts.is_disturbed() {
        " The machine was not this run's alone: figures may be worse than they would be."
    } else {
        ""
    };
    let sentence = format!("In {}, {}.{advice}", spoken(record.seconds, "s"), accounts.sentence());
    let _ = writeln!(to, "<p class=\"{class}\">{}</p>", escaped(&sentence));
    if let Some(sentence) = record.scheduling_anywhere().and_then(Scheduling::sentence) {
        let _ = writeln!(to, "<p class=\"quiet\">{}.</p>", escaped(&capitalised(sentence)));
    }
    for agent in &record.agents {
        let class = if agent.accounts.is_disturbed() { "warning" } else { "quiet" };
        let _ = writeln!(to, "<p class=\"{class}\">{}</p>", escaped(&agent.sentence()));
    }
    if record.build.debug {
        to.push_str(
            "<p class=\"warning\">The generator was built with debug assertions: its own cost is not that of a release.</p>\n",
        );
    }
    to.push_str("</header>\n");
}

/// A sentence begins large.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The command as it was given.
pub(super) fn command(record: &Record) -> String {
    let quoted = |word: &String| match word.contains(|c: char| c.is_whitespace() || "'\"$\\*;&|<>()#`".contains(c)) {
        true => format!("'{}'", word.replace('\'', "'\\''")),
        false => word.clone(),
    };
    std::iter::once("cinnabar-loadgen".to_owned())
        .chain(record.arguments.iter().map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

/// What is worth seeing first: goals that are numbers, else the first figures.
fn tiles(record: &Record, to: &mut String) {
    let goals = record.goals.iter().filter(|goal| goal.value.is_some());
    let goals = goals.map(|goal| (if goal.met { "good" } else { "bad" }, name(goal), reached(goal), asked(goal)));
    let figures = record.figures.iter().filter(|figure| is_telling(record, figure)).map(|figure| {
        let under = record.of_the_floor(figure).map(|ratio| format!("{ratio:.3} × the floor's")).unwrap_or_default();
        ("", figure.label.as_str(), spoken(figure.value, &figure.unit), under)
    });
    to.push_str("<ul class=\"tiles\">\n");
    for (class, label, value, under) in goals.chain(figures).take(TILES_MAX) {
        let _ = writeln!(
            to,
            "<li class=\"tile {class}\"><span>{}</span><strong>{}</strong><small>{}</small></li>",
            escaped(label),
            escaped(&value),
            escaped(&under)
        );
    }
    to.push_str("</ul>\n");
}

/// Is a figure worth to be shown large? Rates, times and bytes for each are; what is the floor's, stands in a goal, or is one
/// of many percentiles, isn't.
fn is_telling(record: &Record, figure: &Figure) -> bool {
    let telling = matches!(figure.unit.as_str(), "/s" | "ms" | "us") || figure.key.ends_with("_per_connection");
    let in_goal = record.goals.iter().any(|goal| goal.value == Some(figure.value));
    let percentile = record.latencies.iter().any(|latency| {
        figure.key.strip_prefix(&latency.key).is_some_and(|rest| rest.starts_with('_') && rest != "_p99_ms")
    });
    telling && !in_goal && !percentile && !figure.key.starts_with("floor.")
}

/// What a goal is of, without its bar.
fn name(goal: &Goal) -> &str {
    goal.goal.rsplit_once(": at ").map_or(&goal.goal, |(name, _)| name)
}

fn reached(goal: &Goal) -> String {
    goal.value.map_or_else(|| "–".to_owned(), |value| spoken(value, &goal.unit))
}

fn asked(goal: &Goal) -> String {
    match goal.bar {
        Some(Bar::AtLeast(bar)) => format!("goal: at least {}", spoken(bar, &goal.unit)),
        Some(Bar::AtMost(bar)) => format!("goal: at most {}", spoken(bar, &goal.unit)),
        None => String::new(),
    }
}

fn figures(record: &Record, to: &mut String) {
    let any = record.figures.iter().any(|figure| record.of_the_floor(figure).is_some());
    let row = |figure: &Figure| {
        let (number, unit) = quantity(figure.value, &figure.unit);
        let unit = if unit == "x" { "×".to_owned() } else { unit };
        let mut row = vec![Cell::Text(figure.label.clone()), Cell::Number(number), Cell::Text(unit)];
        if any {
            let ratio = record.of_the_floor(figure).map(|ratio| format!("{ratio:.3} ×")).unwrap_or_default();
            row.push(Cell::Number(ratio));
        }
        row
    };
    let rows: Vec<_> = record.figures.iter().map(row).collect();
    let heads = ["figure", "value", "unit", "of the floor's"];
    table("figures", if any { &heads } else { &heads[..3] }, &rows, to);
}

fn verdicts(record: &Record, to: &mut String) {
    let mut rows = Vec::new();
    for goal in &record.goals {
        let badge =
            if goal.met { Cell::Badge("good", "met".to_owned()) } else { Cell::Badge("odd", "missed".to_owned()) };
        rows.push(vec![
            Cell::Text(goal.goal.clone()),
            badge,
            Cell::Text(goal.value.map(|_| reached(goal)).unwrap_or_default()),
        ]);
    }
    for check in &record.checks {
        let badge =
            if check.ok { Cell::Badge("good", "held".to_owned()) } else { Cell::Badge("bad", "failed".to_owned()) };
        rows.push(vec![Cell::Text(check.check.clone()), badge, Cell::Text(check.detail.clone())]);
    }
    if rows.is_empty() {
        to.push_str("<p class=\"quiet\">This run has neither.</p>\n");
    } else {
        table("verdicts", &["goal or check", "", ""], &rows, to);
    }
}

fn facts(record: &Record, to: &mut String) {
    let all = crate::compare::facts(record);
    let rows: Vec<_> = all.into_iter().map(|(name, value)| vec![Cell::Text(name), Cell::Text(value)]).collect();
    table("facts", &["fact", "value"], &rows, to);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::example;
    use crate::html::wellformed;
    use crate::record::Check;

    #[test]
    fn a_page_is_well_formed_and_asks_for_nothing_from_elsewhere() {
        let page = of_run(&example::record());
        wellformed::check(&page);
        for part in [
            "15000 subscribers",
            "1 of 3 checks failed",
            "0.973 ×",
            "data-across=\"percentile\"",
            "prefers-color-scheme",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let mut record = example::record();
        let evil = "</title></svg></script><script>alert(1)</script><img src=x onerror=alert(1)>\" onload=\"";
        let mut page = of_run(&record);
        let scripts = page.matches("<script>").count();
        record.title = evil.to_owned();
        record.hub = Some(evil.to_owned());
        record.notes.push(evil.to_owned());
        record.arguments.push(evil.to_owned());
        record.checks.push(Check { check: evil.to_owned(), ok: false, detail: evil.to_owned() });
        record.figures[0].label = evil.to_owned();
        record.figures[0].unit = evil.to_owned();
        record.latencies[0].label = evil.to_owned();
        record.machine.kernel = evil.to_owned();
        for sample in &mut record.timeline {
            sample.part = evil.to_owned();
            sample.target = evil.to_owned();
        }
        page = of_run(&record).replace("src=x", "");
        assert_eq!(page.matches("<script>").count(), scripts);
        assert!(!page.contains("<img"));
        wellformed::check(&page);
    }

    #[test]
    fn a_page_says_that_threads_went_before_others() {
        use crate::scheduling::Use;
        let mut record = example::record();
        assert!(of_run(&record).contains("<td>not known</td>"));
        record.scheduling = Some(Scheduling { real_time: Use::Used, nice: Use::NotAllowed });
        let page = of_run(&record);
        wellformed::check(&page);
        assert!(page.contains("While events were published on a schedule, their publishers"));
        assert!(page.contains("<td>not allowed by the kernel (CAP_SYS_NICE)</td>"));
    }

    #[test]
    fn a_command_can_be_given_again() {
        let mut record = example::record();
        record.arguments = ["broadcast", "--spawn", "sh -c 'x'"].map(str::to_owned).to_vec();
        assert_eq!(command(&record), r"cinnabar-loadgen broadcast --spawn 'sh -c '\''x'\'''");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_text_breaks_a_page(text in any::<String>(), value in prop::num::f64::NORMAL) {
            let mut record = example::record();
            record.title = text.clone();
            record.notes = vec![text.clone()];
            record.figures[0].value = value;
            record.timeline[0].part = text.clone();
            record.timeline[0].at_s = value;
            wellformed::check(&of_run(&record));
        }
    }
}
