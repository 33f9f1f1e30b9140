//! The page of two runs side by side.

use std::fmt::Write;

use crate::compare;
use crate::html::charts::{self, Source};
use crate::html::page;
use crate::html::run::command;
use crate::html::tables::{self, Cell, table};
use crate::html::text::escaped;
use crate::record::Record;

/// Two runs as a page.
pub(crate) fn of_pair(a: &Record, b: &Record) -> String {
    let runs = [("A", a), ("B", b)];
    let mut body = String::new();
    header(&runs, &mut body);
    for warning in compare::warnings(a, b) {
        let _ = writeln!(body, "<p class=\"warning\">{}</p>", escaped(&warning));
    }
    page::charts(&charts::of(&runs.map(|(name, record)| Source { name, record })), &mut body);
    page::heading("Figures", &mut body);
    figures(a, b, &mut body);
    page::heading("Latencies, from the intended send time", &mut body);
    tables::latencies(&runs, &mut body);
    page::heading("Checks", &mut body);
    checks(&runs, &mut body);
    page::heading("The machines and the runs", &mut body);
    facts(a, b, &mut body);
    body.push_str("<div id=\"samples\">\n");
    page::heading("Samples", &mut body);
    for (name, record) in runs {
        tables::samples(name, record, &mut body);
    }
    body.push_str("</div>\n");
    page::around(&format!("{} and {}", a.scenario, b.scenario), &body)
}

fn header(runs: &[(&str, &Record); 2], to: &mut String) {
    to.push_str("<header><p class=\"over\">cinnabar-loadgen</p>\n<h1>Two runs side by side</h1>\n");
    for (place, (name, record)) in runs.iter().enumerate() {
        let (class, verdict) = if record.ok { ("good", "checks held") } else { ("bad", "checks failed") };
        let _ = write!(
            to,
            "<section class=\"one\"><p class=\"title\"><svg class=\"swatch\" viewBox=\"0 0 28 10\" aria-hidden=\"true\">\
             <path class=\"ink{place} solid\" d=\"M1 5H27\"/></svg> <strong>{name}</strong> {}: {}</p>\n\
             <p><span class=\"badge {class}\">{verdict}</span> {} · {} · {}</p>\n<pre class=\"command\">{}</pre></section>\n",
            escaped(&record.scenario),
            escaped(&record.title),
            escaped(&record.time),
            escaped(record.hub.as_deref().unwrap_or("the server's version isn't known")),
            escaped(&record.machine.line()),
            escaped(&command(record)),
        );
    }
    to.push_str("</header>\n");
}

fn figures(a: &Record, b: &Record, to: &mut String) {
    let row = |row: compare::Row| {
        let cells = row.texts().map(Cell::Number);
        std::iter::once(Cell::Text(row.label)).chain(cells).collect::<Vec<_>>()
    };
    let rows: Vec<_> = compare::rows(a, b).into_iter().map(row).collect();
    table("figures", &["figure", "A", "B", "B / A", "B − A"], &rows, to);
}

fn checks(runs: &[(&str, &Record); 2], to: &mut String) {
    let mut rows = Vec::new();
    for (name, record) in runs {
        for check in &record.checks {
            let badge = if check.ok { ("good", "held") } else { ("bad", "failed") };
            rows.push(vec![
                Cell::Text(format!("{name} {}", check.check)),
                Cell::Badge(badge.0, badge.1.to_owned()),
                Cell::Text(check.detail.clone()),
            ]);
        }
    }
    table("verdicts", &["check", "", ""], &rows, to);
}

fn facts(a: &Record, b: &Record, to: &mut String) {
    let row = |pair: compare::FactPair| {
        let mark = if pair.differs() { Cell::Badge("odd", "differs".to_owned()) } else { Cell::Text(String::new()) };
        vec![Cell::Text(pair.name), Cell::Text(pair.a), Cell::Text(pair.b), mark]
    };
    let rows: Vec<_> = compare::fact_pairs(a, b).into_iter().map(row).collect();
    table("facts", &["fact", "A", "B", ""], &rows, to);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;
    use crate::html::wellformed;

    #[test]
    fn a_pair_is_one_well_formed_page() {
        let (a, mut b) = (example::record(), example::record());
        b.machine.kernel = "6.19.0 <b>".to_owned();
        b.timeline.clear();
        let page = of_pair(&a, &b);
        wellformed::check(&page);
        assert_eq!(page.matches(">differs<").count(), 1);
        assert!(page.contains("not the same kernel"));
    }
}
