//! The record of a run: everything a result consists of, as it is kept in a file, one line of JSON per run.
//!
//! `Report` and the timeline fill it, the table, the page and `compare` read it. Who changes what a field means gives
//! the format a new number.

use serde::{Deserialize, Serialize};

use crate::accounts::Accounts;
use crate::machine::Machine;
use crate::timeline::Sample;

/// The format this program writes, and the only one it reads.
pub(crate) const FORMAT: u64 = 1;

/// A finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// `FORMAT`.
    pub(crate) format: u64,
    pub(crate) scenario: String,
    /// What was done, in one line.
    pub(crate) title: String,
    /// What this program was called with.
    pub(crate) arguments: Vec<String>,
    /// When it began: seconds since 1970, and the same as text in UTC.
    pub(crate) unix_time: u64,
    pub(crate) time: String,
    /// How long it took.
    pub(crate) seconds: f64,
    pub(crate) machine: Machine,
    pub(crate) build: Build,
    /// The version line of the hub's binary, if this program started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hub: Option<String>,
    /// Who used the machine meanwhile.
    pub(crate) accounts: Accounts,
    pub(crate) figures: Vec<Figure>,
    pub(crate) notes: Vec<String>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) checks: Vec<Check>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) timeline: Vec<Sample>,
    /// Did every check hold?
    pub(crate) ok: bool,
}

impl Record {
    /// The figure under a key.
    pub(crate) fn figure(&self, key: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.key == key)
    }

    /// What a rate or a time is as a multiple of the floor's, if the run has the same of the floor. Of counts, memory and
    /// lengths of windows a ratio says nothing.
    pub(crate) fn of_the_floor(&self, figure: &Figure) -> Option<f64> {
        let (target, rest) = figure.key.split_once('.')?;
        let floor = self.figure(&format!("floor.{rest}"))?;
        let compares = matches!(figure.unit.as_str(), "/s" | "ms" | "us" | "ns");
        (compares && target != "floor" && floor.value != 0.0 && floor.unit == figure.unit)
            .then(|| figure.value / floor.value)
    }
}

/// Which build of this program measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) version: String,
    /// The commit, if `CINNABAR_COMMIT` said it when this program was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<String>,
    /// Built with debug assertions: no figure is worth anything then.
    pub(crate) debug: bool,
}

impl Build {
    /// Of the program that runs.
    pub(crate) fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("CINNABAR_COMMIT").filter(|commit| !commit.is_empty()).map(str::to_owned),
            debug: cfg!(debug_assertions),
        }
    }
}

impl std::fmt::Display for Build {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let commit = self.commit.as_deref().unwrap_or("commit not known");
        let kind = if self.debug { "with debug assertions" } else { "release" };
        write!(to, "{}, {commit}, {kind}", self.version)
    }
}

/// A number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Its name for machines. One that begins with a target's name and `_` is held against the floor's.
    pub(crate) key: String,
    pub(crate) label: String,
    pub(crate) value: f64,
    /// `B`, `s`, `ms`, `us`, `/s`, `%`, `x` (a ratio), or nothing for a count.
    pub(crate) unit: String,
}

/// A bar and whether it was reached. Missing it doesn't change the exit status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) goal: String,
    pub(crate) met: bool,
    /// What was reached and what was asked for, where both are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bar: Option<Bar>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) unit: String,
}

/// What a number is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    /// Does the value reach it?
    pub(crate) fn is_met_by(self, value: f64) -> bool {
        match self {
            Bar::AtLeast(bar) => value >= bar,
            Bar::AtMost(bar) => value <= bar,
        }
    }
}

/// Something that had to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    pub(crate) check: String,
    pub(crate) ok: bool,
    pub(crate) detail: String,
}

/// How latencies are spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) key: String,
    pub(crate) label: String,
    /// Values it is made of.
    pub(crate) count: u64,
    pub(crate) mean_us: f64,
    /// Quantile (0 to 1) and the value no more than that share is above, in microseconds; the last is the highest of all.
    pub(crate) curve: Vec<(f64, u64)>,
}

impl Latency {
    /// The value at a quantile of the curve, for those that are on it.
    pub(crate) fn at(&self, quantile: f64) -> Option<u64> {
        self.curve.iter().find(|(at, _)| (at - quantile).abs() < 1e-9).map(|(_, us)| *us)
    }

    /// The highest of all.
    pub(crate) fn max_us(&self) -> u64 {
        self.curve.last().map_or(0, |(_, us)| *us)
    }
}
