//! What the commands take from outside the program: the clock, chance, the terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

/// The time of day, since 1970.
#[allow(clippy::disallowed_methods, reason = "the commands are the I/O shell: tokens need the time of day")]
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Time that passes, whatever is done to the time of day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "the commands are the I/O shell: the doctor measures delays")]
    pub(super) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Milliseconds since the start.
    pub(super) fn ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A number from 0 to 1.
pub(super) fn chance() -> f64 {
    let [a, b, c, d, ..] = cinnabar::config::data_folder::random_key();
    f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// A line on standard error; when nobody can read it there is nobody to tell.
pub(super) fn say(text: &str) {
    _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// How text stands out on a terminal, and not at all elsewhere or where `NO_COLOR` asks for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    /// For standard output.
    pub(super) fn stdout() -> Paint {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Paint(wanted && std::io::stdout().is_terminal())
    }

    /// For anything that is no terminal.
    #[cfg(test)]
    pub(super) fn plain() -> Paint {
        Paint(false)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.style("2", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.style("1", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.style("31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.style("32", text)
    }

    fn style(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text of a stranger made fit for a terminal: control characters, which could move the cursor or retitle the
/// window, become visible. Line breaks are for the caller to split at first.
pub(super) fn printable(text: &str) -> String {
    let visible = |character: char| match character {
        '\t' => "\t".to_owned(),
        character if character.is_control() => character.escape_default().to_string(),
        character => character.to_string(),
    };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_a_stranger_do_not_reach_the_terminal() {
        assert_eq!(printable("a\tb é 🌍"), "a\tb é 🌍");
        assert_eq!(printable("\x1b]0;owned\x07"), "\\u{1b}]0;owned\\u{7}");
        assert_eq!(printable("\u{9b}31m"), "\\u{9b}31m");
    }

    #[test]
    fn chance_stays_in_its_bounds() {
        assert!((0..100).all(|_| (0.0..=1.0).contains(&chance())));
    }
}
