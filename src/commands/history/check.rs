//! `cinnabar history check`.

use super::super::outside::say;
use super::{Place, Progress, number_of};
use anyhow::{Context, Result};
use cinnabar::doctor::bytes;
use cinnabar::history::{self, Notice};
use clap::Args;
use std::io::Write;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Reads every batch of every file: checksums, order, events, ids, indexes. Changes nothing, also while a hub runs; what is being written at \
the end is no problem then. What an interrupted run left is said on standard error, problems on standard output.

Exits with 0 if everything is sound and with 1 if there are problems.

Examples:
  cinnabar history check
  cinnabar history check --data /var/lib/cinnabar";

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    place: Place,
}

impl Check {
    pub(super) fn run(self) -> Result<ExitCode> {
        let (disk, cipher) = (self.place.disk()?, self.place.cipher()?);
        let mut progress = Progress::start();
        let mut failed = None;
        let mut tell = |notice| match notice {
            Notice::Problem(file, problem) => {
                progress.clear();
                let written = writeln!(std::io::stdout(), "{file}: {problem}");
                failed = failed.take().or(written.err());
            }
            Notice::Remark(file, remark) => {
                progress.clear();
                say(&format!("note: {file}: {remark}"));
            }
            Notice::Progress(done, all) => {
                progress.show(|| format!("{} % of {}", done * 100 / all.max(1), bytes(all)));
            }
        };
        let checked = history::check(&disk, cipher.as_ref(), &mut tell);
        progress.clear();
        if let Some(error) = failed {
            return Err(error.into());
        }
        let refused = || format!("history in {}", self.place.folder().display());
        let checked = checked.with_context(refused)?.ok_or_else(|| self.place.nothing())?;
        let what = format!(
            "{} in {} and {}, {}",
            number_of("event", checked.events),
            number_of("commit", checked.batches),
            number_of("file", checked.segments),
            bytes(checked.bytes)
        );
        let verdict = match checked.problems {
            0 => "sound".to_owned(),
            problems => number_of("problem", problems),
        };
        writeln!(std::io::stdout(), "{verdict}: {what}")?;
        Ok(if checked.problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
