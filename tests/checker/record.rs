//! What everybody saw during a run.

use crate::audience::Entitlement;

/// An update somebody tried to publish.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) essence: String,
    pub(crate) topics: Vec<String>,
    pub(crate) private: bool,
    /// Who: what one publishes is in order, each after the last was answered.
    pub(crate) publisher: usize,
    pub(crate) fate: Fate,
}

/// What a publisher was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is there, under this id.
    Acknowledged(String),
    /// Nothing, or that the engine doesn't answer.
    Unknown,
    /// That it isn't right, which it was.
    Refused(u16),
}

/// An event as a client received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) essence: String,
}

/// A client's chain of connections, each with the id of the last event it had.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) entitlement: Entitlement,
    pub(crate) seen: Vec<Seen>,
    pub(crate) connections: u32,
    /// Ids that a hub should have known: what was asked for and what was answered.
    pub(crate) unknown: Vec<(String, String)>,
    /// Whether it read up to the last event.
    pub(crate) finished: bool,
}

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) published: Vec<Published>,
    /// The whole log as each hub gives it to somebody who may read everything.
    pub(crate) logs: Vec<Vec<Seen>>,
    pub(crate) chains: Vec<Chain>,
    /// Hubs whose log couldn't be read to its end.
    pub(crate) unread: Vec<usize>,
    /// How often each hub found the engine's log to be another one. Engines lose nothing in these runs.
    pub(crate) losses: Vec<u64>,
    /// What each hub has said since it was started the last time: for who looks for the reason.
    pub(crate) said: Vec<String>,
}

/// A text as it is remembered: short ones whole, of long ones the beginning, the length and a sum.
pub(crate) fn essence(text: &str) -> String {
    const WHOLE_BYTES_MAX: usize = 64;
    if text.len() <= WHOLE_BYTES_MAX {
        return text.to_owned();
    }
    let sum = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{}… {} bytes {sum:016x}", &text[..24], text.len())
}
