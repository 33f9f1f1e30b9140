//! `cinnabar config check|print`.

use super::flags::SettingFlags;
use super::outside::say;
use anyhow::Result;
use clap::{Args, Subcommand};
use std::io::Write;
use std::process::ExitCode;

const CHECK_EXAMPLES: &str = "\
Takes the flags of `serve`, the environment and the file, and says whether a hub would start with them. Nothing is opened, \
made or bound. Exits with 0 if it would and 1 if it wouldn't.

Examples:
  cinnabar config check --config /etc/cinnabar.toml
  docker run --env-file hub.env cinnabar config check";

const PRINT_EXAMPLES: &str = "\
One line per setting: its name, the value that holds, and where the value comes from. Keys are not shown.

Examples:
  cinnabar config print --dev
  cinnabar config print --config /etc/cinnabar.toml --heartbeat 20s";

#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether a hub would start with this configuration.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(SettingFlags),
    /// Show every setting, its value and where the value comes from.
    #[command(after_help = PRINT_EXAMPLES)]
    Print(SettingFlags),
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<ExitCode> {
        let (flags, print) = match self.action {
            Action::Check(flags) => (flags, false),
            Action::Print(flags) => (flags, true),
        };
        let Some(config) = flags.load_or_say() else {
            return Ok(ExitCode::FAILURE);
        };
        for warning in &config.warnings {
            say(&format!("cinnabar: warning: {warning}"));
        }
        let shown = if print { config.table() } else { "ok\n".to_owned() };
        std::io::stdout().lock().write_all(shown.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
