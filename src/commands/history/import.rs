//! `cinnabar history import`.

use super::super::outside::{now, say};
use super::{Place, Progress, number_of};
use anyhow::{Context, Result, anyhow};
use cinnabar::config::data_folder::{DataFolder, random_key};
use cinnabar::config::dev::ID_KEY_FILE;
use cinnabar::history::line::{self, LINE_BYTES_MAX, Line};
use cinnabar::history::{Disk, Importer};
use cinnabar::hub::Draft;
use cinnabar::protocol::event_id::IdCipher;
use cinnabar::protocol::known_topics::KnownTopics;
use cinnabar::protocol::topic::HubUrl;
use clap::Args;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Takes what `export` writes; `topics` is all that a line needs. Events are appended in the order of the lines, with their ids, so that clients \
find their places again, and with the times they were published at; what has no id gets one, what has no time is of now. The rules for \
what is published hold. The first line that breaks one ends it: what was before that line is imported. Announcements are skipped.

No hub may run on the folder. Bounds of the hub (`--history-max-age`, …) hold from its next start on. Run it as the user the hub runs as.

Examples:
  cinnabar history import backup.jsonl
  cinnabar history import --data /var/lib/cinnabar backup.jsonl
  zcat backup.jsonl.gz | cinnabar history import -";

#[derive(Debug, Args)]
pub(super) struct Import {
    /// Where from; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Go on after lines that can't be imported, and say which
    #[arg(long)]
    skip_bad: bool,
    /// The hub's URL (`--resource` of `serve`): topics at or below its path are the hub's own
    #[arg(
        long,
        value_name = "URL",
        env = "CINNABAR_RESOURCE",
        hide_env_values = true,
        default_value = "http://localhost:3000/.well-known/mercure"
    )]
    resource: String,
    #[command(flatten)]
    place: Place,
}

/// What came of the lines.
#[derive(Debug, Default)]
struct Outcome {
    announcements: u64,
    bad: u64,
    /// Why no further lines were read.
    ended: Option<anyhow::Error>,
}

impl Import {
    pub(super) fn run(self) -> Result<ExitCode> {
        let input: Box<dyn Read> = if self.file.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(File::open(&self.file).with_context(|| format!("{} can't be read", self.file.display()))?)
        };
        let hub = HubUrl::parse(&self.resource).context("--resource")?;
        let key = DataFolder::open(&self.place.data)?.key(ID_KEY_FILE)?;
        let (disk, _lock) = self.place.taken("")?;
        let refused = || format!("history in {}", self.place.folder().display());
        let mut importer = Importer::open(disk, IdCipher::new(key), random_words()).with_context(refused)?;
        let outcome = self.lines(BufReader::new(input), &mut importer, &mut KnownTopics::new(hub));
        // What was read before a bad line stays.
        let finished = importer.finish();
        let mut said = format!("imported {}", number_of("event", importer.appended));
        if outcome.announcements > 0 {
            said.push_str(&format!("; skipped {}", number_of("announcement", outcome.announcements)));
        }
        if outcome.bad > 0 {
            said.push_str(&format!("; skipped {} that can't be imported", number_of("line", outcome.bad)));
        }
        writeln!(std::io::stdout(), "{said}")?;
        finished.with_context(refused)?;
        match outcome.ended {
            Some(error) => Err(error),
            None if outcome.bad > 0 => Ok(ExitCode::FAILURE),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    fn lines(&self, mut input: impl BufRead, importer: &mut Importer<Disk>, topics: &mut KnownTopics) -> Outcome {
        let now_ms = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
        let (mut outcome, mut progress, mut bytes) = (Outcome::default(), Progress::start(), Vec::new());
        for number in 1_u64.. {
            bytes.clear();
            let read = input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes);
            let line = match read {
                Ok(0) => break,
                Ok(_) if bytes.len() > LINE_BYTES_MAX => {
                    outcome.ended = Some(anyhow!("line {number} has more than {} MiB", LINE_BYTES_MAX >> 20));
                    break;
                }
                Ok(_) => bytes.trim_ascii(),
                Err(error) => {
                    outcome.ended = Some(anyhow!(error).context(format!("line {number} can't be read")));
                    break;
                }
            };
            if line.is_empty() {
                continue;
            }
            let result = match line::read(line, topics) {
                Ok(Line::Update(update, published_ms)) => {
                    importer.add(Draft::new(update), published_ms.map_or(now_ms, |ms| ms.min(now_ms)))
                }
                Ok(Line::Announcement) => {
                    outcome.announcements += 1;
                    continue;
                }
                Err(error) if self.skip_bad => {
                    outcome.bad += 1;
                    progress.clear();
                    say(&format!("cinnabar: line {number}: {error}"));
                    continue;
                }
                Err(error) => {
                    outcome.ended = Some(anyhow!(
                        "line {number}: {error}. The lines before it are imported: mend it and go on with `tail -n +{number}`, or \
                         leave such lines out with --skip-bad"
                    ));
                    break;
                }
            };
            if let Err(error) = result {
                outcome.ended = Some(anyhow!(error).context(format!("up to line {number}")));
                break;
            }
            progress.show(|| number_of("event", importer.appended));
        }
        progress.clear();
        outcome
    }
}

fn random_words() -> [u64; 3] {
    let key = random_key();
    [0, 8, 16].map(|at| u64::from_le_bytes(key[at..at + 8].try_into().expect("eight bytes")))
}
