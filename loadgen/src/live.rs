//! JSON lines on standard output while a scenario runs: what is known so far, for machines that follow.
//!
//! Each line is an object with a `type`: `start`, `sample`, `figure`, `note`, `goal`, `check`, and at last `end`, which
//! holds the whole record, or says why there is none.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// Whether anybody follows. The whole program has one standard output.
static FOLLOWED: AtomicBool = AtomicBool::new(false);

/// From now on there are lines.
pub(crate) fn begin() {
    FOLLOWED.store(true, Ordering::Release);
}

/// Are there?
pub(crate) fn is_followed() -> bool {
    FOLLOWED.load(Ordering::Acquire)
}

/// Tells something, if anybody follows.
pub(crate) fn tell<T: Serialize>(kind: &str, what: impl FnOnce() -> T) {
    if is_followed() {
        let mut out = std::io::stdout().lock();
        // Who follows may stop doing so; the run goes on and its exit status still counts.
        let _ = writeln!(out, "{}", line(kind, what()));
        let _ = out.flush();
    }
}

#[derive(Serialize)]
struct Line<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    what: T,
}

fn line<T: Serialize>(kind: &str, what: T) -> String {
    serde_json::to_string(&Line { kind, what }).expect("what is told are structures with names as keys")
}

/// What this program was called with, secrets left out.
pub(crate) fn arguments() -> Vec<String> {
    without_secrets(std::env::args().skip(1))
}

/// How options end whose value opens a hub, this program's and those of the hub it starts: a record is made to be shown to others.
const SECRET_ENDINGS: [&str; 3] = ["token", "key", "secret"];
/// What stands in its value is a command line, which may hold anything.
const COMMAND_OPTION: &str = "--spawn";

fn is_secret(option: &str) -> bool {
    let name = option.strip_prefix("--");
    option == COMMAND_OPTION || name.is_some_and(|name| SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending)))
}

fn without_secrets(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut hide_next = false;
    let hide = |argument: String| {
        if std::mem::take(&mut hide_next) {
            return "…".to_owned();
        }
        let (option, value) =
            argument.split_once('=').map_or((&*argument, None), |(option, value)| (option, Some(value)));
        match (is_secret(option), value) {
            (true, Some(_)) => format!("{option}=…"),
            (secret, _) => {
                hide_next = secret;
                argument
            }
        }
    };
    arguments.map(hide).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_it_is() {
        let line = line("check", json!({"check": "all there", "ok": true}));
        assert_eq!(line, r#"{"type":"check","check":"all there","ok":true}"#);
    }

    #[test]
    fn nor_those_of_the_hub_it_starts() {
        let called =
            ["x", "--spawn", "env KEY=s hub", "--", "--admin-token", "t", "--subscriber-jwt-key=s", "--io", "epoll"];
        let kept = without_secrets(called.iter().map(|&word| word.to_owned()));
        assert_eq!(kept, ["x", "--spawn", "…", "--", "--admin-token", "…", "--subscriber-jwt-key=…", "--io", "epoll"]);
    }

    #[test]
    fn a_record_holds_no_secrets() {
        let called =
            ["idle", "--token", "ey.J", "--token=ey", "--url", "u", "--publisher-jwt-key", "s", "--", "--io", "epoll"];
        let kept = without_secrets(called.iter().map(|&word| word.to_owned()));
        let wanted =
            ["idle", "--token", "…", "--token=…", "--url", "u", "--publisher-jwt-key", "…", "--", "--io", "epoll"];
        assert_eq!(kept, wanted);
    }
}
