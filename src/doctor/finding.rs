//! One thing the doctor has to say, and the commands that go with it.

use super::sysctl::SYSCTL_FILE;
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing, nothing to do.
    Note,
    /// Works, and would be better otherwise.
    Warn,
    /// What is asked for would break.
    Fail,
}

/// A command or a line for a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// Where it goes or for how long it holds: `now`, a file, a program.
    pub place: String,
    /// What to type or write, line by line.
    pub text: String,
}

/// What was looked at and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name: that of the sysctl where there is one.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// The value found.
    pub found: String,
    /// The value wanted; empty where it is right or nobody can say.
    pub wanted: String,
    /// What happens if it stays so.
    pub why: String,
    /// What to do about it.
    pub fixes: Vec<Fix>,
}

impl Finding {
    /// Nothing to do.
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Finding {
        let (wanted, why) = (String::new(), String::new());
        Finding { name, level: Level::Ok, found: found.into(), wanted, why, fixes: Vec::new() }
    }

    /// Something to say.
    pub fn new(name: &'static str, level: Level, found: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding { level, why: why.into(), ..Finding::ok(name, found) }
    }

    /// With the value that would be right.
    pub fn wanted(mut self, wanted: impl Into<String>) -> Finding {
        self.wanted = wanted.into();
        self
    }

    /// Adds a command or a line.
    pub fn fix(mut self, place: impl Into<String>, text: impl Into<String>) -> Finding {
        self.fixes.push(Fix { place: place.into(), text: text.into() });
        self
    }

    /// The command and the line that set this finding's sysctl.
    pub(super) fn set_sysctl(self, value: &str) -> Finding {
        let name = self.name;
        let quoted = if value.contains(' ') { format!("\"{value}\"") } else { value.to_owned() };
        self.wanted(value)
            .fix("now", format!("sysctl -w {name}={quoted}"))
            .fix(SYSCTL_FILE, format!("{name} = {value}"))
    }
}

/// A number as people read it: `300,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as people read them: `2.50 GB`, `352 MB`, `4,200 B`.
pub fn bytes(number: u64) -> String {
    match number {
        0..10_000 => format!("{} B", count(number)),
        10_000..1_000_000_000 => format!("{} MB", number.div_ceil(1_000_000)),
        _ => format!("{:.2} GB", number as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (300_000, "300,000"), (1_048_576, "1,048,576")]
        {
            assert_eq!(count(number), text);
        }
        assert_eq!(
            (bytes(4_200), bytes(352_321_536), bytes(2_497_123_456)),
            ("4,200 B".into(), "353 MB".into(), "2.50 GB".into())
        );
    }

    #[test]
    fn a_sysctl_comes_with_its_command_and_its_line() {
        let finding = Finding::new("net.ipv4.tcp_mem", Level::Warn, "1 2 3", "too low").set_sysctl("4 5 6");
        assert_eq!(finding.wanted, "4 5 6");
        assert_eq!(finding.fixes[0].text, "sysctl -w net.ipv4.tcp_mem=\"4 5 6\"");
        assert_eq!(finding.fixes[1].text, "net.ipv4.tcp_mem = 4 5 6");
    }
}
