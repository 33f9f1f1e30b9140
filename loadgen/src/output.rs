//! Where a result goes: a table for people, a line in a file, JSON lines while it comes about, a page.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::options::Options;
use crate::record::Record;
use crate::report::Report;
use crate::surroundings::Surroundings;
use crate::{html, live, table};

/// `--quiet`, for whoever shows progress.
static QUIET: AtomicBool = AtomicBool::new(false);

/// What to do with the result.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Output {
    /// Append the result to this file, as one line of JSON; `-` is the same as --lines
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(crate) json: Option<PathBuf>,
    /// Write JSON lines to standard output while the scenario runs, instead of the table at the end
    #[arg(long, help_heading = "Result")]
    pub(crate) lines: bool,
    /// Write the result as a page with charts to this file
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(crate) html: Option<PathBuf>,
    /// Show no progress on standard error
    #[arg(long, short, help_heading = "Result")]
    pub(crate) quiet: bool,
}

impl Output {
    fn are_lines_asked_for(&self) -> bool {
        self.lines || self.json.as_deref() == Some(Path::new("-"))
    }

    fn write(&self, record: &Record) -> anyhow::Result<()> {
        if !self.are_lines_asked_for() {
            print!("{}", table::of(record));
        }
        if let Some(path) = self.json.as_deref().filter(|path| *path != Path::new("-")) {
            append(record, path)?;
        }
        if let Some(path) = &self.html {
            write_page(&html::of_run(record), path)?;
        }
        Ok(())
    }
}

/// Was `--quiet` given?
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Acquire)
}

/// Runs a scenario and hands its result to everybody who was promised it. Answers whether every check held.
pub(crate) fn measure(
    options: &Options,
    descriptors: (u64, u64),
    scenario: impl FnOnce() -> anyhow::Result<Report>,
) -> anyhow::Result<bool> {
    let output = &options.output;
    QUIET.store(output.quiet, Ordering::Release);
    if output.are_lines_asked_for() {
        live::begin();
    }
    let around = Surroundings::look(descriptors, options.server_pid, options.hub.as_deref());
    let result = scenario().and_then(|report| {
        let (accounts, seconds) = around.opening.close();
        let record = report.into_record(around, accounts, seconds);
        output.write(&record).map(|()| record)
    });
    match &result {
        Ok(record) => live::tell("end", || json!({"ok": record.ok, "record": record})),
        Err(error) => live::tell("end", || json!({"ok": false, "error": format!("{error:#}")})),
    }
    result.map(|record| record.ok)
}

/// Adds a record to a file.
fn append(record: &Record, path: &Path) -> anyhow::Result<()> {
    let line = serde_json::to_string(record).context("write the record as JSON")? + "\n";
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("open {}", path.display()))?;
    // In one piece: two runs may share a file.
    file.write_all(line.as_bytes()).with_context(|| format!("write {}", path.display()))
}

/// Writes a page.
pub(crate) fn write_page(page: &str, path: &Path) -> anyhow::Result<()> {
    fs::write(path, page).with_context(|| format!("write {}", path.display()))
}
