//! The rules of the protocol, as `rules.toml` has them.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;

/// The sections of the protocol, in the order of the document.
pub(crate) const SECTIONS: &[(u8, &str)] = &[
    (1, "Resources and methods"),
    (2, "Strings"),
    (3, "Matchers"),
    (4, "Subscribing"),
    (5, "Publishing"),
    (6, "Access tokens"),
    (7, "Pages of other origins"),
    (8, "Coming back"),
    (9, "Active subscriptions"),
    (10, "Discovery"),
    (11, "The 0.x protocol"),
    (13, "Operations"),
];

/// How binding a rule is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// A hub that breaks it isn't one.
    Must,
    /// There has to be a reason not to.
    Should,
    /// The protocol leaves it open; this is how the hub has it.
    May,
    /// Of the protocol before 1.0, with `--compat` only.
    Legacy,
}

impl Level {
    pub(crate) const ALL: [Level; 4] = [Level::Must, Level::Should, Level::May, Level::Legacy];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Must => "must",
            Level::Should => "should",
            Level::May => "may",
            Level::Legacy => "legacy",
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) section: u8,
    pub(crate) level: Level,
    pub(crate) rule: String,
    /// As the test runs print them.
    #[serde(default)]
    pub(crate) tests: Vec<String>,
    /// What it is about isn't there yet.
    #[serde(default)]
    pub(crate) pending: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<Rule>,
}

impl Rule {
    pub(crate) fn all() -> Vec<Rule> {
        toml::from_str::<File>(include_str!("rules.toml")).expect("tests/conformance/rules.toml is well-formed").rule
    }
}

/// What is wrong with the rules themselves, whatever the tests say.
pub(crate) fn offences(rules: &[Rule]) -> Vec<String> {
    let mut offences = Vec::new();
    let mut seen = HashSet::new();
    for rule in rules {
        let text = &rule.rule;
        if !SECTIONS.iter().any(|(number, _)| *number == rule.section) {
            offences.push(format!("there is no section {}: {text}", rule.section));
        }
        if rule.pending && !rule.tests.is_empty() {
            offences.push(format!("it has tests, so `pending` is to be removed: {text}"));
        }
        if !rule.pending && rule.tests.is_empty() {
            offences.push(format!("no test proves it: {text}"));
        }
        if !seen.insert((rule.section, text)) {
            offences.push(format!("it stands there twice: {text}"));
        }
    }
    offences
}
