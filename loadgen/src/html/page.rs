//! The frame of a page: head, style, the script for values under the pointer, the grid of charts.

use std::fmt::Write;

use crate::html::chart::Chart;
use crate::html::text::escaped;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("values.js");

/// A whole page around a body. Nothing may be fetched: the page says so to the browser too.
pub(super) fn around(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escaped(title)
    )
}

/// All charts, two beside each other where there is room.
pub(super) fn charts(charts: &[Chart], to: &mut String) {
    if charts.is_empty() {
        to.push_str("<p class=\"quiet\">This scenario takes no samples, so there are no charts.</p>\n");
        return;
    }
    to.push_str("<div class=\"charts\">\n");
    for (place, chart) in charts.iter().enumerate() {
        chart.draw(&format!("c{place}"), to);
    }
    to.push_str("</div>\n");
}

/// A section with a heading.
pub(super) fn heading(text: &str, to: &mut String) {
    let _ = writeln!(to, "<h2>{}</h2>", escaped(text));
}
