//! The record of a run: everything a result consists of, as it is kept in a file, one line of JSON per run.
//!
//! `Report` and the timeline fill it, the table, the page and `compare` read it. Who changes what a field means gives
//! the format a new number.

use serde::{Deserialize, Serialize};

use crate::accounts::Accounts;
use crate::machine::Machine;
use crate::quantity::{count, spoken};
use crate::scheduling::Scheduling;
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
    /// Whether threads of this program went before or after others. Records from before this was kept don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scheduling: Option<Scheduling>,
    /// The load machines that held the subscribers, if it wasn't this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) agents: Vec<Agent>,
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

    /// What this program or one of its agents used to go before or after others, as far as that is known.
    pub(crate) fn scheduling_anywhere(&self) -> Option<Scheduling> {
        let of_agents = self.agents.iter().filter_map(|agent| agent.scheduling);
        of_agents.chain(self.scheduling).reduce(Scheduling::or)
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

/// A load machine of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Agent {
    /// As the command named it.
    pub(crate) agent: String,
    /// Its share, of the server that had most.
    pub(crate) subscribers: u64,
    pub(crate) machine: Machine,
    pub(crate) build: Build,
    /// Who used that machine meanwhile; the agent is what is called this program.
    pub(crate) accounts: Accounts,
    /// Whether its threads went before or after others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scheduling: Option<Scheduling>,
    pub(crate) clock: Clock,
}

/// How an agent's clock was set against the coordinator's, in which latencies are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// What it showed more at the beginning.
    pub(crate) offset_ns: i64,
    /// Half of the shortest round trip: so wrong the offset may be.
    pub(crate) uncertainty_us: f64,
    /// What it showed more at the end than the offset of the beginning says.
    pub(crate) drift_us: f64,
    /// How wrong it was nevertheless, as it was corrected while the run lasted; without it the whole drift counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) residual_us: Option<f64>,
}

impl Clock {
    /// So wrong a latency taken there may be, in microseconds.
    pub(crate) fn error_us(self) -> f64 {
        self.uncertainty_us + self.residual_us.unwrap_or(self.drift_us.abs())
    }

    /// The worse of two.
    fn worse(self, other: Self) -> Self {
        let highest = |a: f64, b: f64| if a.abs() >= b.abs() { a } else { b };
        Self {
            offset_ns: self.offset_ns,
            uncertainty_us: self.uncertainty_us.max(other.uncertainty_us),
            drift_us: highest(self.drift_us, other.drift_us),
            residual_us: self.residual_us.zip(other.residual_us).map(|(one, other)| one.max(other)),
        }
    }
}

impl Agent {
    /// What the same agent was for another server of the run.
    pub(crate) fn merge(&mut self, other: Self) {
        let longer = other.accounts.total_s > self.accounts.total_s;
        *self = Self {
            subscribers: self.subscribers.max(other.subscribers),
            clock: self.clock.worse(other.clock),
            accounts: if longer { other.accounts } else { self.accounts },
            scheduling: self.scheduling.zip(other.scheduling).map(|(one, other)| one.or(other)),
            ..other
        };
    }

    /// In a sentence.
    pub(crate) fn sentence(&self) -> String {
        let accounts = &self.accounts;
        let percent = |seconds| format!("{:.1} %", accounts.percent(seconds));
        let disturbed = if accounts.is_disturbed() { " (that machine was not this run's alone)" } else { "" };
        format!(
            "the agent {} held {} subscribers on {}; of that machine's CPU time it used {}, interrupts {}, other programs {}, \
             other guests {}{disturbed}; latencies taken there are right to {}: its clock is known to {}, moved by {}{}",
            self.agent,
            count(self.subscribers),
            self.machine.line(),
            percent(accounts.own_s),
            percent(accounts.interrupts_s),
            percent(accounts.others_s()),
            percent(accounts.stolen_s),
            spoken(self.clock.error_us(), "us"),
            spoken(self.clock.uncertainty_us, "us"),
            spoken(self.clock.drift_us.abs(), "us"),
            self.clock.residual_us.map_or_else(
                || " and was not followed".to_owned(),
                |residual| format!(" and was followed to {}", spoken(residual, "us"))
            ),
        )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn agent(subscribers: u64, total_s: f64, clock: Clock) -> Agent {
        let record = example::record();
        let accounts = Accounts { total_s, ..Accounts::default() };
        let agent = "10.0.0.2:7070".to_owned();
        let (machine, build) = (record.machine, record.build);
        Agent { agent, subscribers, machine, build, accounts, scheduling: None, clock }
    }

    #[test]
    fn an_agent_that_served_two_servers_is_one_with_the_worse_clock() {
        let clock = |uncertainty_us, drift_us| Clock { offset_ns: 5, uncertainty_us, drift_us, residual_us: None };
        let mut one = agent(10, 8.0, clock(20.0, 3.0));
        one.merge(agent(9, 9.0, clock(10.0, -4.0)));
        assert_eq!((one.subscribers, one.accounts.total_s, one.clock), (10, 9.0, clock(20.0, -4.0)));
        assert_eq!(one.clock.error_us(), 24.0);
        let followed = Clock { drift_us: 5_000.0, residual_us: Some(2.5), ..one.clock };
        assert_eq!(followed.error_us(), 22.5, "what was corrected is no error");
        let sentence = one.sentence();
        assert!(
            sentence.contains("10.0.0.2:7070 held 10 subscribers") && sentence.contains("right to 24.0 µs"),
            "{sentence}"
        );
    }

    #[test]
    fn a_record_with_agents_is_read_back_and_one_without_does_not_name_them() {
        let mut record = example::record();
        assert!(!serde_json::to_string(&record).expect("written").contains("\"agents\""));
        record.agents = vec![agent(1, 1.0, Clock { offset_ns: i64::MIN, ..Clock::default() })];
        let text = serde_json::to_string(&record).expect("written");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("read"), record);
    }
}
