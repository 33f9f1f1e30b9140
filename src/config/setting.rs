//! The settings of `cinnabar serve` as data: one row per setting.
//!
//! Flags, environment names, keys of the file, `--help`, `config print` and docs/configuration.md are made from these
//! rows ([`SETTINGS`]). A row says nothing about what a value means; `load` gives it a type and refuses what doesn't fit.

mod table;

pub use table::{GROUPS, SETTINGS};

/// One setting, under its one name.
#[derive(Debug, PartialEq)]
pub struct Setting {
    /// The flag without its dashes, e.g. `max-lifetime`; the other names follow from it.
    pub name: &'static str,
    /// What a value looks like in help, e.g. `DURATION`.
    pub value: &'static str,
    /// How many values it takes.
    pub kind: Kind,
    /// What holds when nobody says anything.
    pub default: Fallback,
    /// What holds instead in development mode.
    pub dev_default: Option<Fallback>,
    /// A name of the reference hub's environment that means the same.
    pub mercure_env: Option<&'static str>,
    /// The heading it stands under.
    pub group: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// What it does, for people, in Markdown that also reads well as plain text.
    pub doc: &'static str,
}

/// How many values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On or off; the bare flag means on.
    Switch,
    /// One value.
    One,
    /// Any number: a repeatable flag, words separated by spaces in the environment, an array in the file.
    Many,
}

/// What a setting is when nobody set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// A value as one would write it.
    Value(&'static str),
    /// No value; the text says what happens then.
    Without(&'static str),
}

impl Fallback {
    /// The text shown in help and docs.
    pub fn text(self) -> &'static str {
        match self {
            Fallback::Value(text) | Fallback::Without(text) => text,
        }
    }
}

impl Setting {
    /// `max-lifetime` → `--max-lifetime`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// `max-lifetime` → `CINNABAR_MAX_LIFETIME`.
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.replace('-', "_").to_uppercase())
    }

    /// `max-lifetime` → `max_lifetime`; none for the setting that names the file itself.
    pub fn key(&self) -> Option<String> {
        (self.name != "config").then(|| self.name.replace('-', "_"))
    }

    /// The default that holds in this mode.
    pub fn default_in(&self, dev: bool) -> Fallback {
        self.dev_default.filter(|_| dev).unwrap_or(self.default)
    }
}

/// Settings that only some builds have: not part of docs/configuration.md.
pub const OF_FEATURES: &[&str] = &["otlp-endpoint"];

/// The row with this name.
///
/// # Panics
/// When there is none: names are constants of this crate.
pub fn setting(name: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.name == name).expect("settings are asked for by names of the table")
}

/// Every variable of the environment that begins so belongs to the hub.
pub const ENV_PREFIX: &str = "CINNABAR_";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Fallback::Value;
    use super::Kind::Switch;
    use super::*;

    #[test]
    fn names_follow_one_rule() {
        let lifetime = setting("max-lifetime");
        assert_eq!(lifetime.flag(), "--max-lifetime");
        assert_eq!(lifetime.env(), "CINNABAR_MAX_LIFETIME");
        assert_eq!(lifetime.key().as_deref(), Some("max_lifetime"));
        assert_eq!(setting("config").key(), None);
    }

    #[test]
    fn names_are_unique_and_plain() {
        let mut seen = HashSet::new();
        for setting in SETTINGS {
            assert!(seen.insert(setting.name), "{} stands twice", setting.name);
            assert!(
                setting.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{}",
                setting.name
            );
        }
    }

    #[test]
    fn every_setting_stands_under_a_known_heading_and_says_something() {
        for setting in SETTINGS {
            assert!(GROUPS.contains(&setting.group), "{}", setting.name);
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
            assert_eq!(setting.value.is_empty(), setting.kind == Switch, "{}", setting.name);
        }
    }

    /// Scripts rely on these; a rename is a breaking change.
    #[test]
    fn the_promised_defaults_hold() {
        for (name, value) in [
            ("listen", "127.0.0.1:3000"),
            ("data", "./cinnabar-data"),
            ("history", "file"),
            ("history-durability", "fsync"),
            ("tail-bytes", "64MiB"),
            ("io", "auto"),
            ("cookie-name", "__Secure-mercure_access_token"),
            ("heartbeat", "25s"),
            ("max-lifetime", "1h"),
            ("write-timeout", "60s"),
        ] {
            assert_eq!(setting(name).default, Value(value), "{name}");
        }
    }
}
