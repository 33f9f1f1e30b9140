//! Tables of a page: rows of cells, samples, latencies.

use std::fmt::Write;

use crate::html::text::escaped;
use crate::quantity::{count, number, spoken};
use crate::record::Record;
use crate::timeline::thin;

/// Rows of the table of samples: neighbours are merged until there are no more.
const SAMPLE_ROWS_MAX: usize = 200;

/// A cell: a text, and whether it is one of numbers, which stand at the right.
pub(super) enum Cell {
    Text(String),
    Number(String),
    /// A badge of a class the style sheet has: `good`, `bad`, `odd`.
    Badge(&'static str, String),
}

/// A table with a heading row. The first cell of a row heads it.
pub(super) fn table(class: &str, heads: &[&str], rows: &[Vec<Cell>], to: &mut String) {
    let _ = write!(to, "<div class=\"wide\"><table class=\"{class}\"><thead><tr>");
    for (place, head) in heads.iter().enumerate() {
        let of_numbers = rows.first().is_some_and(|row| matches!(row.get(place), Some(Cell::Number(_))));
        let class = if of_numbers { " class=\"number\"" } else { "" };
        let _ = write!(to, "<th scope=\"col\"{class}>{}</th>", escaped(head));
    }
    to.push_str("</tr></thead><tbody>\n");
    for row in rows {
        to.push_str("<tr>");
        for (place, cell) in row.iter().enumerate() {
            let (open, close) = if place == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
            let _ = match cell {
                Cell::Text(text) => write!(to, "<{open}>{}</{close}>", escaped(text)),
                Cell::Number(text) => write!(to, "<{open} class=\"number\">{}</{close}>", escaped(text)),
                Cell::Badge(kind, text) => {
                    write!(to, "<{open}><span class=\"badge {kind}\">{}</span></{close}>", escaped(text))
                }
            };
        }
        to.push_str("</tr>\n");
    }
    to.push_str("</tbody></table></div>\n");
}

/// Percentiles of every latency; the names lead the rows.
pub(super) fn latencies(sources: &[(&str, &Record)], to: &mut String) {
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];
    let mut rows = Vec::new();
    for (name, record) in sources {
        for latency in &record.latencies {
            let mut row = vec![Cell::Text(format!("{name} {}", latency.label).trim().to_owned())];
            let ms =
                |us: Option<u64>| Cell::Number(us.map_or_else(|| "–".to_owned(), |us| spoken(us as f64 / 1e3, "ms")));
            row.extend(quantiles.iter().map(|(_, quantile)| ms(latency.at(*quantile))));
            row.push(ms(Some(latency.max_us())));
            row.push(Cell::Number(spoken(latency.mean_us / 1e3, "ms")));
            row.push(Cell::Number(count(latency.count)));
            rows.push(row);
        }
    }
    let heads = ["", "p50", "p90", "p99", "p99.9", "p99.99", "highest", "mean", "values"];
    to.push_str("<div id=\"latencies\">");
    table("figures", &heads, &rows, to);
    to.push_str("</div>\n");
}

/// The samples behind the charts, folded away.
pub(super) fn samples(name: &str, record: &Record, to: &mut String) {
    let kept = thin(record.timeline.clone(), SAMPLE_ROWS_MAX);
    let rows: Vec<Vec<Cell>> = kept
        .iter()
        .map(|sample| {
            let dash = || "–".to_owned();
            let count = |amount: u64| Cell::Number(count(amount));
            let rate = |count: u64| {
                Cell::Number(sample.per_second(count as f64).map_or_else(dash, |rate| number(rate.round())))
            };
            let ms = |us: Option<u64>| Cell::Number(us.map_or_else(dash, |us| number(us as f64 / 1e3)));
            let mib = |bytes: Option<u64>| {
                Cell::Number(bytes.map_or_else(dash, |bytes| number(bytes as f64 / f64::from(1 << 20))))
            };
            let cores = |seconds: f64| Cell::Number(sample.per_second(seconds).map_or_else(dash, number));
            vec![
                Cell::Text(format!("{:.1} s", sample.at_s)),
                Cell::Text(sample.target.clone()),
                Cell::Text(sample.part.clone()),
                count(sample.connections),
                rate(sample.deliveries),
                rate(sample.publishes),
                count(sample.refused),
                count(sample.closed),
                ms(sample.latency.map(|spread| spread.p50_us)),
                ms(sample.latency.map(|spread| spread.p99_us)),
                ms(sample.latency.map(|spread| spread.max_us)),
                mib(sample.server_bytes),
                mib(Some(sample.tcp_bytes)),
                mib(Some(sample.slab_bytes)),
                cores(sample.server_cpu_s.unwrap_or(0.0)),
                cores(sample.own_cpu_s),
                cores(sample.interrupts_cpu_s),
                cores(sample.rest_cpu_s()),
            ]
        })
        .collect();
    let heads = [
        "until",
        "target",
        "part",
        "connections",
        "deliveries/s",
        "publishes/s",
        "refused",
        "closed",
        "p50, ms",
        "p99, ms",
        "highest, ms",
        "server, MiB",
        "TCP buffers, MiB",
        "slabs, MiB",
        "server, cores",
        "this program, cores",
        "interrupts, cores",
        "rest, cores",
    ];
    let merged = if kept.len() < record.timeline.len() { ", neighbours merged" } else { "" };
    let title = format!("{name} {} samples{merged}", kept.len());
    let _ = writeln!(to, "<details><summary>{}</summary>", escaped(title.trim()));
    table("samples", &heads, &rows, to);
    to.push_str("</details>\n");
}
