//! `cinnabar history`: what a hub remembers in its data folder, shown, checked, trimmed, taken out and put in.

mod check;
mod export;
mod import;
mod show;
mod trim;

use super::outside::Stopwatch;
use anyhow::{Context, Result, anyhow, bail};
use cinnabar::config::data_folder::DataFolder;
use cinnabar::config::dev::ID_KEY_FILE;
use cinnabar::doctor::count;
use cinnabar::history::{Disk, HISTORY_FOLDER, Look};
use cinnabar::hub::Found;
use cinnabar::protocol::event_id::IdCipher;
use clap::{Args, Subcommand};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// How often a terminal is told how far long work has come.
const PROGRESS_MS: u64 = 200;

#[derive(Debug, Args)]
pub(super) struct HistoryCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say what is there: events, files, times, and whether a hub has it now.
    #[command(after_help = show::EXAMPLES)]
    Show(show::Show),
    /// Read everything and say what is damaged, and what that means.
    #[command(after_help = check::EXAMPLES)]
    Check(check::Check),
    /// Drop the oldest events for good and give their space back, while no hub runs.
    #[command(after_help = trim::EXAMPLES)]
    Trim(trim::Trim),
    /// Write events as lines of JSON.
    #[command(after_help = export::EXAMPLES)]
    Export(export::Export),
    /// Append events from lines of JSON, while no hub runs.
    #[command(after_help = import::EXAMPLES)]
    Import(import::Import),
}

impl HistoryCommand {
    pub(super) fn run(self) -> Result<ExitCode> {
        // What the engine has to say of damaged files, it says to a log.
        let said = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr);
        let _ = said.without_time().with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init();
        match self.action {
            Action::Show(command) => command.run(),
            Action::Check(command) => command.run(),
            Action::Trim(command) => command.run(),
            Action::Export(command) => command.run(),
            Action::Import(command) => command.run(),
        }
    }
}

/// Which history is meant.
#[derive(Debug, Args)]
struct Place {
    /// The hub's data folder (`--data` of `serve`); history is in the folder `history` below it
    #[arg(
        long,
        value_name = "FOLDER",
        env = "CINNABAR_DATA",
        hide_env_values = true,
        default_value = "./cinnabar-data"
    )]
    data: PathBuf,
}

impl Place {
    fn folder(&self) -> PathBuf {
        self.data.join(HISTORY_FOLDER)
    }

    fn nothing(&self) -> anyhow::Error {
        anyhow!(
            "there is no history in {}: name the data folder of a hub that keeps one, with --data",
            self.folder().display()
        )
    }

    /// The folder, to look at.
    fn disk(&self) -> Result<Disk> {
        if self.folder().is_dir() { Ok(Disk::look(&self.folder())) } else { Err(self.nothing()) }
    }

    /// The folder, to change it, for as long as the file lives.
    fn taken(&self, instead: &str) -> Result<(Disk, File)> {
        let folder = self.folder();
        let refused = || format!("the history in {} can't be changed", folder.display());
        let disk = Disk::open(&folder).with_context(refused)?;
        let lock = disk.lock().with_context(refused)?;
        let lock = lock.with_context(|| {
            format!(
                "a hub has the history in {}, or another of these commands: stop it first{instead}",
                folder.display()
            )
        })?;
        Ok((disk, lock))
    }

    /// What the hub makes its ids with, if it has made any.
    fn cipher(&self) -> Result<Option<IdCipher>> {
        let folder = DataFolder::existing(&self.data)?;
        let key = folder.map(|folder| folder.existing_key(ID_KEY_FILE)).transpose()?.flatten();
        Ok(key.map(IdCipher::new))
    }

    fn look(&self) -> Result<Look> {
        // Without a key no id is one of the hub's.
        let cipher = self.cipher()?.unwrap_or_else(|| IdCipher::new([0; 32]));
        let refused = || format!("history in {}", self.folder().display());
        Look::open(self.disk()?, cipher).with_context(refused)?.ok_or_else(|| self.nothing())
    }

    /// The place of an event in the log; `None`: it is gone, and so is everything before it.
    fn offset_of(&self, id: &str) -> Result<Option<u64>> {
        match self.look()?.find(id)? {
            Found::At(offset) => Ok(Some(offset)),
            Found::Earliest => Ok(None),
            Found::Unknown => bail!("no event with the id {id:?} is in {}", self.folder().display()),
            Found::Unavailable => unreachable!("a folder is at hand, or the look at it has failed"),
        }
    }
}

/// So many of something.
fn number_of(what: &str, number: u64) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {what}{ending}", count(number))
}

/// How far long work has come, on a terminal.
struct Progress {
    shown_ms: Option<u64>,
    watch: Stopwatch,
}

impl Progress {
    fn start() -> Progress {
        let shown_ms = std::io::stderr().is_terminal().then_some(0);
        Progress { shown_ms, watch: Stopwatch::start() }
    }

    /// Shows a line in the place of the one before, now and then.
    fn show(&mut self, line: impl FnOnce() -> String) {
        let now_ms = self.watch.ms();
        if self.shown_ms.is_some_and(|shown_ms| now_ms >= shown_ms + PROGRESS_MS) {
            self.shown_ms = Some(now_ms);
            _ = write!(std::io::stderr(), "\r\x1b[K{}", line());
        }
    }

    /// Takes the line away, so that something else can be said.
    fn clear(&self) {
        if self.shown_ms.is_some_and(|shown_ms| shown_ms > 0) {
            _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
