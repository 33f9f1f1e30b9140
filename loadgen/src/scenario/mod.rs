//! Scenarios: TOML files that say who subscribes to what, who publishes, in which steps, what is measured and what it is
//! held against. Those in `loadgen/scenarios` are part of the program.

use std::sync::Arc;

use crate::attack::AttackPlan;
use crate::group::Group;
use crate::press::Pace;
use crate::tls::Tls;
use crate::topic::TopicTemplate;

mod compile;
mod file;
mod variables;

pub(crate) use compile::SUBSCRIBERS_MAX;

/// The files that are part of the program.
pub(crate) const BUILT_IN: &[(&str, &str)] = &[
    ("broadcast", include_str!("../../scenarios/broadcast.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("cluster", include_str!("../../scenarios/cluster.toml")),
    ("compressed", include_str!("../../scenarios/compressed.toml")),
    ("connect", include_str!("../../scenarios/connect.toml")),
    ("h2-resets", include_str!("../../scenarios/h2-resets.toml")),
    ("idle", include_str!("../../scenarios/idle.toml")),
    ("idle-own", include_str!("../../scenarios/idle-own.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
    ("pause", include_str!("../../scenarios/pause.toml")),
    ("presence", include_str!("../../scenarios/presence.toml")),
    ("publish", include_str!("../../scenarios/publish.toml")),
    ("replay", include_str!("../../scenarios/replay.toml")),
    ("saturate", include_str!("../../scenarios/saturate.toml")),
    ("slow", include_str!("../../scenarios/slow.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
    ("stalled", include_str!("../../scenarios/stalled.toml")),
    ("steady", include_str!("../../scenarios/steady.toml")),
    ("store", include_str!("../../scenarios/store.toml")),
    ("storm", include_str!("../../scenarios/storm.toml")),
    ("tls-attacks", include_str!("../../scenarios/tls-attacks.toml")),
    ("tls-broadcast", include_str!("../../scenarios/tls-broadcast.toml")),
    ("tls-idle", include_str!("../../scenarios/tls-idle.toml")),
    ("topics", include_str!("../../scenarios/topics.toml")),
];

/// The text of a built-in scenario.
pub(crate) fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Why a scenario can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// Not TOML, or a field that isn't known or of the wrong type; the message has line and column.
    #[error("{0}")]
    Toml(String),
    /// A value that makes no sense.
    #[error("line {line}, `{key}`: {problem}")]
    Value {
        /// Counted from 1.
        line: usize,
        /// The key, with what it belongs to.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// `${name}` for which there is no variable.
    #[error("line {line}: there is no variable `{name}` in [variables]")]
    UnknownVariable {
        /// Counted from 1.
        line: usize,
        /// As written.
        name: String,
    },
    /// A variable that is neither number, text nor true or false.
    #[error("[variables] `{0}`: write a number, true, false or a text without quotes")]
    BadVariable(String),
    /// `--set` without an equals sign.
    #[error("--set {0}: write name=value")]
    NoAssignment(String),
    /// `--set` of something else than a variable.
    #[error("--set {name}: the scenario has the variables {known}")]
    UnknownSet {
        /// As written.
        name: String,
        /// Those there are.
        known: String,
    },
    /// `--set` with a value of another type.
    #[error("--set {assignment}: write a value like the default, {like}")]
    BadSet {
        /// As written.
        assignment: String,
        /// The default.
        like: String,
    },
}

/// A scenario that makes sense.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) title: String,
    /// Arguments for a hub this program starts.
    pub(crate) hub_arguments: Vec<String>,
    /// Hubs that are one target together, as a cluster is.
    pub(crate) hubs: usize,
    /// How TLS is spoken with the hub and the floor, if it is.
    pub(crate) tls: Option<Tls>,
    /// Hubs of its own; none means one with the name `hub`.
    pub(crate) targets: Vec<TargetPlan>,
    pub(crate) groups: Arc<[Group]>,
    pub(crate) publishers: Vec<PublisherPlan>,
    pub(crate) attacks: Vec<AttackPlan>,
    pub(crate) rounds: usize,
    pub(crate) setup: Vec<Step>,
    pub(crate) round: Vec<Step>,
    pub(crate) finish: Vec<Step>,
    pub(crate) bars: Vec<Bar>,
}

/// A hub of a scenario's own.
#[derive(Debug)]
pub(crate) struct TargetPlan {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) tls: Option<Tls>,
}

/// Publishing connections of one kind.
#[derive(Debug)]
pub(crate) struct PublisherPlan {
    pub(crate) name: String,
    pub(crate) topics: Vec<TopicTemplate>,
    pub(crate) sizes: Vec<usize>,
    pub(crate) connections: usize,
    pub(crate) pipeline: usize,
    pub(crate) pace: Pace,
}

impl PublisherPlan {
    /// All topics it publishes to, in turn.
    pub(crate) fn all_topics(&self) -> Vec<String> {
        let period = |template: &TopicTemplate| template.period().unwrap_or(1);
        let longest = self.topics.iter().map(period).max().unwrap_or(1);
        let mut all: Vec<String> = Vec::new();
        for n in 0..longest {
            all.extend(self.topics.iter().filter(|template| n < period(template)).map(|template| template.at(n)));
        }
        all
    }

    /// The topics of each connection: all of them, or its share when there are enough.
    pub(crate) fn topics_by_connection(&self) -> Vec<Vec<String>> {
        let all = self.all_topics();
        if all.len() < self.connections {
            return vec![all; self.connections];
        }
        let share = |index| all.iter().skip(index).step_by(self.connections).cloned().collect();
        (0..self.connections).map(share).collect()
    }
}

/// Something to do, and the name under which it is measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) does: Does,
    pub(crate) measure: Option<String>,
}

/// What a step does. Groups and publishers are named by their place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Does {
    Connect { group: usize, rate: Option<f64>, goes_on: bool, at_once: usize },
    Drop { group: usize, share: f64 },
    Leave { group: usize },
    Churn { group: usize, rate: f64, seconds: f64 },
    Read { group: usize, reads: bool },
    Publish { by: usize, seconds: Option<f64>, count: Option<u64> },
    Attack { by: usize, seconds: Option<f64>, count: Option<u64> },
    Drain,
    Wait { seconds: f64 },
    Settle { mark: String, since: Option<String>, seconds: f64 },
    Together { tracks: Vec<Vec<Step>> },
}

/// Something a figure is held against.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bar {
    /// `window.figure`
    pub(crate) figure: String,
    pub(crate) at_least: Option<f64>,
    pub(crate) at_most: Option<f64>,
    /// The target it is about, if not the first.
    pub(crate) on: Option<String>,
    /// Divide by the same figure of this target.
    pub(crate) of: Option<String>,
    /// Divide by this figure.
    pub(crate) than: Option<String>,
    /// So much more than that figure is within the bar too, whatever share of it that is.
    pub(crate) or_more_by: Option<f64>,
    /// Missing it changes the exit status.
    pub(crate) is_check: bool,
}

impl Scenario {
    /// Reads a scenario with `name=value` overrides of its variables.
    pub(crate) fn parse(name: &str, text: &str, set: &[String]) -> Result<Self, ScenarioError> {
        let text = variables::filled(text, set)?;
        let file: file::File = toml::from_str(&text).map_err(|error| ScenarioError::Toml(error.to_string()))?;
        compile::scenario(name, &text, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_makes_sense() {
        for (name, text) in BUILT_IN {
            let scenario = Scenario::parse(name, text, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!scenario.groups.is_empty() || !scenario.publishers.is_empty(), "{name}");
            assert!(BUILT_IN.is_sorted_by_key(|(name, _)| *name));
        }
    }

    #[test]
    fn many_topics_are_shared_out_and_few_are_everybodys() {
        let plan = |topic: &str, connections| PublisherPlan {
            name: "p".to_owned(),
            topics: vec![TopicTemplate::parse(topic).expect("parses")],
            sizes: vec![64],
            connections,
            pipeline: 1,
            pace: Pace::OneAtATime,
        };
        assert_eq!(plan("t{n % 3}", 2).topics_by_connection(), [vec!["t0", "t2"], vec!["t1"]]);
        assert_eq!(plan("t{n % 2}", 3).topics_by_connection(), vec![vec!["t0", "t1"]; 3]);
        assert_eq!(plan("t", 2).topics_by_connection(), vec![vec!["t"]; 2]);
    }
}
