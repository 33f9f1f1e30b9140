//! `cinnabar history trim`.

use super::super::outside::now;
use super::{Place, number_of};
use anyhow::{Context, Result};
use cinnabar::config::{parse_count, parse_duration};
use cinnabar::doctor::bytes;
use cinnabar::history::{Cut, trim};
use clap::Args;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

pub(super) const EXAMPLES: &str = "\
Drops from the beginning: what is older than what one of the flags names. It is gone for good, also for clients that come back, and its \
bytes are given back at once. Announcements of subscriptions go with the events around them.

No hub may run on the folder. A hub trims by itself while it runs: `--history-max-age`, `--history-max-events` and \
`--history-max-bytes` of `serve`.

Examples:
  cinnabar history trim --older-than 7d
  cinnabar history trim --keep 100000 --data /var/lib/cinnabar
  cinnabar history trim --before-id urn:uuid:5a8e4a5e-0000-8000-8000-000000000000";

#[derive(Debug, Args)]
#[group(required = true, multiple = false, id = "what")]
struct What {
    /// Drop what was published so long ago
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// Keep so many of the newest events that were published
    #[arg(long, value_name = "N", value_parser = parse_count)]
    keep: Option<usize>,
    /// Drop what is before this offset, as `show` and `export` say them
    #[arg(long, value_name = "OFFSET")]
    before: Option<u64>,
    /// Drop what was published before the event with this id; it stays itself
    #[arg(long, value_name = "ID")]
    before_id: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Trim {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    place: Place,
}

impl Trim {
    pub(super) fn run(self) -> Result<ExitCode> {
        self.place.disk()?;
        let (disk, _lock) = self.place.taken(", or let it trim by itself with `--history-max-age`")?;
        let cut = self.cut()?;
        let now_ms = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
        let refused = || format!("history in {}", self.place.folder().display());
        let trimmed = trim(disk, cut, now_ms).with_context(refused)?.ok_or_else(|| self.place.nothing())?;
        let mut what = number_of("event", trimmed.updates);
        if trimmed.announcements > 0 {
            what.push_str(&format!(" and {}", number_of("announcement", trimmed.announcements)));
        }
        writeln!(
            std::io::stdout(),
            "dropped {what}, {} given back; left: {}",
            bytes(trimmed.bytes),
            number_of("event", trimmed.left)
        )?;
        Ok(ExitCode::SUCCESS)
    }

    fn cut(&self) -> Result<Cut> {
        let What { older_than, keep, before, before_id } = &self.what;
        Ok(match (older_than, keep, before, before_id) {
            (Some(age), ..) => Cut::OlderThan(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            (_, Some(keep), ..) => Cut::Keep(*keep as u64),
            (_, _, Some(before), _) => Cut::Before(*before),
            // If it is gone already, so is what was before it.
            (.., Some(id)) => Cut::Before(self.place.offset_of(id)?.unwrap_or(0)),
            (None, None, None, None) => unreachable!("one is required"),
        })
    }
}
