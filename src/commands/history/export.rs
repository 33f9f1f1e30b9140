//! `cinnabar history export`.

use super::super::outside::say;
use super::{Place, Progress, number_of};
use anyhow::{Context, Result};
use cinnabar::history::line;
use clap::Args;
use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
One event per line, in order: {\"id\":…,\"topics\":[…],\"data\":…,\"type\":…,\"retry\":…,\"private\":…,\"published\":…,\"offset\":…}; `published` is in \
milliseconds since 1970. Private events are among them: a FILE is made so that only its owner can read it. Works while a hub runs and \
gives what was there when it began. Line ends in data are LF, as clients get them.

Exits with 1 if something is damaged and had to be left out.

Examples:
  cinnabar history export backup.jsonl
  cinnabar history export --topic https://example.com/books/1 | jq -r .data
  cinnabar history export --after-id urn:uuid:5a8e4a5e-0000-8000-8000-000000000000
  cinnabar history export --data old | cinnabar history import --data new -";

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Where to; `-` is standard output
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Only what comes after this offset
    #[arg(long, value_name = "OFFSET", conflicts_with = "after_id")]
    after: Option<u64>,
    /// Only what was published after the event with this id
    #[arg(long, value_name = "ID")]
    after_id: Option<String>,
    /// Only events with this topic (repeatable)
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Announcements of subscriptions too, marked with \"announcement\":true; `import` skips them
    #[arg(long)]
    announcements: bool,
    #[command(flatten)]
    place: Place,
}

impl Export {
    pub(super) fn run(self) -> Result<ExitCode> {
        let look = self.place.look()?;
        let after = match &self.after_id {
            Some(id) => self.place.offset_of(id)?.unwrap_or_else(|| {
                say("note: that event isn't kept any more: everything that is comes now");
                0
            }),
            None => self.after.unwrap_or(0),
        };
        let is_stdout = self.file.as_os_str() == "-";
        let mut out: Box<dyn Write> = if is_stdout {
            Box::new(std::io::stdout().lock())
        } else {
            let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.file);
            Box::new(opened.with_context(|| format!("{} can't be written", self.file.display()))?)
        };
        let mut out = BufWriter::new(&mut out);
        let topics: HashSet<&str> = self.topic.iter().map(String::as_str).collect();
        let (mut progress, mut exported, mut left_out, mut bytes) = (Progress::start(), 0_u64, false, Vec::new());
        for event in look.events(after, self.announcements) {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    progress.clear();
                    say(&format!("cinnabar: {error}"));
                    left_out = true;
                    continue;
                }
            };
            if !topics.is_empty() && !event.topics.iter().any(|topic| topics.contains(topic.as_str())) {
                continue;
            }
            bytes.clear();
            line::write(&event, &mut bytes);
            out.write_all(&bytes)?;
            exported += 1;
            progress.show(|| number_of("event", exported));
        }
        out.flush()?;
        progress.clear();
        if !is_stdout {
            say(&format!("exported {}", number_of("event", exported)));
        }
        Ok(if left_out { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
