//! `cinnabar serve`: load the configuration, say what should be said, run the hub.

use super::flags::SettingFlags;
use super::log::Log;
use super::outside::now;
use anyhow::{Context, Result};
use cinnabar::config::Config;
use cinnabar::server::Ended;
use clap::Args;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Every setting can also stand in the environment (`CINNABAR_MAX_LIFETIME` for `--max-lifetime`) and in the TOML file named \
by `--config` (`max_lifetime`). Flags win over the environment, the environment over the file. \
`cinnabar config print` shows what holds; docs/configuration.md says more.

Examples:
  Try things out on this machine:
    cinnabar serve --dev

  Behind a proxy that speaks TLS, tokens from one application, public updates for everybody:
    export CINNABAR_PUBLISHER_JWT_KEY=$(cat /etc/cinnabar/secret)
    cinnabar serve --resource https://hub.example/.well-known/mercure --issuer https://app.example --anonymous \\
      --cors-origin https://app.example

  From a file:
    cinnabar serve --config /etc/cinnabar.toml";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    flags: SettingFlags,
}

impl Serve {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Some(mut config) = self.flags.load_or_say() else {
            return Ok(ExitCode::FAILURE);
        };
        // Before the log's thread: signals are for the one that waits for them.
        cinnabar::server::block_signals().context("signals can't be blocked")?;
        let log = start_log(&config)?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        config.open_data_folder()?;
        hub(config, &log)
    }
}

/// Runs the hub until it is told to stop.
fn hub(config: Config, log: &Log) -> Result<ExitCode> {
    let ended = cinnabar::server::run(config, |config| {
        match config.dev_banner(now()) {
            Ok(Some(banner)) => print!("{banner}"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "no ready-made tokens"),
        }
        // Scripts wait for this line, whatever the log's filter is.
        for listen in &config.listen {
            log.say(&format!("listening on {listen}"));
        }
    })?;
    Ok(match ended {
        Ended::InOrder => ExitCode::SUCCESS,
        // As a shell says that a signal ended a program.
        Ended::AtOnce(signal) => ExitCode::from(128 + signal),
    })
}

/// Lines on standard error, in colour on a terminal only.
fn start_log(config: &Config) -> Result<Log> {
    let filter = EnvFilter::try_new(&config.log).context("the log filter")?;
    let log = Log::stderr().context("the log can't be started")?;
    let lines = log.lines();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || lines.clone())
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|why| anyhow::anyhow!("the log can't be started: {why}"))?;
    Ok(log)
}
