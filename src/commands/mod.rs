//! The commands of the binary, one file each: what people type, and what they read back.
//!
//! Exit codes: 0 for done, 1 for refused or failed, 2 for a command line that can't be understood. Results go to
//! standard output, everything said about them to standard error.

mod config;
mod credentials;
mod doctor;
#[cfg(test)]
mod fake_hub;
mod flags;
mod history;
mod hub_client;
mod log;
mod outside;
mod publish;
mod serve;
mod subscribe;
mod token;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

/// A Mercure hub: applications publish updates over HTTP, browsers receive them as Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "cinnabar", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Without a command, `cinnabar` means `cinnabar serve --dev`: a hub on http://localhost:3000 to try things out with.

Try it, in three terminals:
  cinnabar
  cinnabar sub
  cinnabar pub https://example.com/books/1 --data 'hello'

Each command explains itself: `cinnabar pub --help`.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a hub.
    Serve(serve::Serve),
    /// Check a configuration, or show what holds and where it comes from.
    Config(config::ConfigCommand),
    /// Say how many connections this machine will hold, what stops it first, and what to do about it.
    Doctor(doctor::Doctor),
    /// Publish an update.
    Pub(publish::Publish),
    /// Print the events of topics as they come.
    Sub(subscribe::Subscribe),
    /// Show, check, trim, export and import what a hub remembers.
    History(history::HistoryCommand),
    /// Make an access token, or explain what is right and wrong about one.
    Token(token::TokenCommand),
}

/// Runs the command line.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = without_empty_variables(Cli::command());
    let parsed = command.try_get_matches_from(with_default_command(args.into_iter().collect()));
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        // Help goes to standard output with code 0, misuse to standard error with code 2.
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Serve(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Pub(command) => command.run(),
        Command::Sub(command) => command.run(),
        Command::History(command) => command.run(),
        Command::Token(command) => command.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            outside::say(&format!("cinnabar: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// An empty variable counts as unset, as `NAME=` in a compose file means.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty_variables)
}

/// No command means a hub to try things out with; so do bare flags, such as `cinnabar --data ./here`.
fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let first = args.get(1).map(|first| first.to_string_lossy().into_owned());
    let own = ["-h", "--help", "-V", "--version"];
    if first.is_none_or(|first| first.starts_with('-') && !own.contains(&first.as_str())) {
        args.truncate(args.len().max(1));
        let at = args.len().min(1);
        args.splice(at..at, ["serve".into(), "--dev".into()]);
    }
    args
}

/// The reader of our output went away, as `head` does: nothing is wrong.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is_broken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(args: &[&str]) -> Vec<String> {
        let args = args.iter().map(OsString::from).collect();
        with_default_command(args).into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn the_commands_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_a_hub_to_try_things_out_with() {
        assert_eq!(defaulted(&["cinnabar"]), ["cinnabar", "serve", "--dev"]);
        assert_eq!(defaulted(&["cinnabar", "--data", "d"]), ["cinnabar", "serve", "--dev", "--data", "d"]);
        assert_eq!(defaulted(&["cinnabar", "--help"]), ["cinnabar", "--help"]);
        assert_eq!(defaulted(&["cinnabar", "serve"]), ["cinnabar", "serve"]);
        assert!(Cli::try_parse_from(defaulted(&["cinnabar", "--dev"])).is_ok(), "saying it twice is no misuse");
    }

    #[test]
    fn help_shows_the_commands() {
        let help = Cli::command().render_long_help().to_string();
        for command in ["serve", "config", "doctor", "pub", "sub", "history", "token"] {
            assert!(help.contains(&format!("\n  {command} ")), "{command}\n{help}");
        }
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            for command in command.get_subcommands() {
                let path = format!("{path} {}", command.get_name());
                if command.has_subcommands() {
                    check(command, &path);
                } else {
                    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(examples.contains(&path), "{path} has no example");
                }
            }
        }
        check(&Cli::command(), "cinnabar");
    }
}
