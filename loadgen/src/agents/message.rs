//! What coordinator and agent say to each other. The agent speaks first.

use serde::{Deserialize, Serialize};

use super::course::Course;
use super::part::Part;
use super::times::Times;
use crate::accounts::Accounts;
use crate::lanes::LaneState;
use crate::ledger::Verdict;
use crate::machine::Machine;
use crate::process::{self, MachineTime};
use crate::record::Build;
use crate::scheduling::Scheduling;
use crate::swarm::{Counts, Order};

/// Which messages there are. Who changes one gives it a new number.
pub(super) const PROTOCOL: u32 = 2;
/// Entries of a list in one message: a frame of them is far shorter than it may be.
pub(super) const ENTRIES_MAX: usize = 20_000;

/// An agent's first words.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Greeting {
    /// Its protocol's number: under this name, so that nothing else is taken for an agent.
    pub(super) loadgen_agent: u32,
    pub(super) version: String,
    pub(super) nonce: String,
    pub(super) wants_secret: bool,
}

/// The coordinator's answer to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) loadgen_coordinator: u32,
    pub(super) version: String,
    pub(super) nonce: String,
    /// What all connections of one run have in common.
    pub(super) run: String,
    pub(super) proof: Option<String>,
}

/// Whether they will work together.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reception {
    Welcome { proof: Option<String> },
    Refused { why: String },
}

/// From the coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToAgent {
    /// What time is it?
    Time,
    /// Topics in order and the connections that publish to them; they come before the part, in as many pieces as it takes.
    Topics(Vec<(String, u64)>),
    /// Who is to subscribe where.
    Part(Box<Part>),
    /// What was published. `answers` is a question, which the last of several pieces answers.
    Lanes {
        news: Vec<LaneState>,
        answers: Option<u64>,
    },
    Order(Order),
    Rest(bool),
    /// What the agent's clock shows more from now on, by its own time.
    Clock(Course),
    /// Tell everything as it is now, under this number.
    Sync(u64),
    Alive,
    /// Close everything and judge.
    Finish,
}

/// From an agent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToCoordinator {
    Time {
        received_ns: u64,
        answered_ns: u64,
    },
    /// It is at it: so that a long start isn't taken for silence.
    Starting,
    /// Its threads run; nobody connects yet.
    Started,
    Status(Box<Status>),
    /// What had been sent by now?
    Ask(u64),
    /// It can't go on.
    Trouble(String),
    Orders(Vec<(u64, u64)>),
    /// The last word, after all orders.
    Finished(Box<Finished>),
}

/// How an agent's subscribers stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Status {
    /// Orders taken by all its threads.
    pub(super) taken: u64,
    /// Connections that orders still want opened or left, of each group.
    pub(super) todo: Vec<u64>,
    pub(super) behind: u64,
    pub(super) counts: Counts,
    /// Taken since the last status, and of nothing the counts don't count.
    pub(super) times: Option<Times>,
    /// Topics with another audience than before.
    pub(super) audiences: Vec<(u32, u32)>,
    pub(super) synced: u64,
    pub(super) usage: Usage,
}

/// CPU seconds up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Of the agent.
    pub(crate) own_s: f64,
    /// Of its machine: what wasn't idle, and all there was.
    pub(crate) busy_s: f64,
    pub(crate) total_s: f64,
}

impl Usage {
    /// Of this process and machine.
    pub(super) fn now() -> Self {
        let own = process::cpu_seconds(std::process::id()).map(|(user, system)| user + system);
        let machine = MachineTime::now();
        Self { own_s: own.unwrap_or_default(), busy_s: machine.busy_s, total_s: machine.total_s }
    }

    /// What was used since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            own_s: self.own_s - before.own_s,
            busy_s: self.busy_s - before.busy_s,
            total_s: self.total_s - before.total_s,
        }
    }
}

/// What an agent says at the end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Finished {
    pub(super) verdict: Verdict,
    pub(super) machine: Machine,
    pub(super) build: Build,
    /// Since the run began there.
    pub(super) accounts: Accounts,
    pub(super) scheduling: Scheduling,
}
