//! `cinnabar history show`.

use super::super::outside::{Paint, now};
use super::Place;
use anyhow::{Context, Result};
use cinnabar::config::format_duration;
use cinnabar::doctor::{bytes, count};
use cinnabar::history::{FolderSummary, LogSummary};
use cinnabar::http::date::http_date;
use clap::Args;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

pub(super) const EXAMPLES: &str = "\
Looks and changes nothing, also while a hub runs. Announcements of subscriptions (`--subscriptions` of `serve`) are kept beside what was \
published. What the hub's bounds have dropped is counted until its file is gone.

Examples:
  cinnabar history show
  cinnabar history show --data /var/lib/cinnabar --json";

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self) -> Result<ExitCode> {
        let refused = || format!("history in {}", self.place.folder().display());
        let in_use = self.place.disk()?.is_in_use().with_context(refused)?;
        let summary = self.place.look()?.summary().with_context(refused)?;
        let mut out = std::io::stdout().lock();
        if self.json {
            let mut object = serde_json::to_value(&summary)?;
            object["folder"] = self.place.folder().display().to_string().into();
            object["in_use"] = in_use.into();
            writeln!(out, "{object}")?;
        } else {
            let title = format!("history in {}", self.place.folder().display());
            write!(out, "{}\n\n{}", Paint::stdout().bold(&title), table(&summary, in_use, now()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One column for each log.
fn table(summary: &FolderSummary, in_use: bool, now: Duration) -> String {
    let logs = [&summary.updates, &summary.announcements];
    let row = |name: &str, value: fn(&LogSummary) -> String| {
        let [one, other] = logs.map(value);
        format!("{name:<12}  {one:<31}  {other}\n")
    };
    let (epochs, epoch) = summary.epochs();
    let mut text = format!(
        "format        {}\nstarts        {} remembered, the last is epoch {epoch}\nin use        {}\n\n",
        summary.format,
        count(epochs as u64),
        if in_use { "a hub has it now" } else { "no hub has it" },
    );
    text.push_str(&format!("{:<12}  {:<31}  {}\n", "", "published", "announcements of subscriptions"));
    text.push_str(&row("events", |log| count(log.events)));
    text.push_str(&row("offsets", |log| match log.first {
        Some(first) => format!("{first} to {}", log.last),
        None => format!("none, next after {}", log.last),
    }));
    text.push_str(&row("oldest", |log| date(log.oldest_ms)));
    text.push_str(&row("newest", |log| date(log.newest_ms)));
    text.push_str(&row("segments", |log| count(log.segments as u64)));
    text.push_str(&row("on the disk", |log| bytes(log.bytes)));
    text.push_str(&row("unfinished", |log| bytes(log.unfinished_bytes)));
    text.push_str(&row("put aside", |log| count(log.aside.len() as u64)));
    if let Some(oldest_ms) = summary.updates.oldest_ms {
        let age = now.as_secs().saturating_sub(oldest_ms / 1000);
        text.push_str(&format!("\nThe oldest event is {} old.\n", format_duration(Duration::from_secs(age))));
    }
    for file in logs.iter().flat_map(|log| &log.aside) {
        text.push_str(&format!("\n{file} was damaged and put aside; nothing reads it.\n"));
    }
    text
}

fn date(ms: Option<u64>) -> String {
    ms.map_or_else(|| "–".to_owned(), |ms| http_date(ms / 1000))
}
