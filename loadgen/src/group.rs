//! A group of subscribers who behave alike.

use serde::{Deserialize, Serialize};

use crate::dialect::TokenUse;
use crate::lanes::Lanes;
use crate::topic::TopicTemplate;

/// How a subscriber reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reads {
    /// Whatever is there.
    #[default]
    AtOnce,
    /// So many bytes a second.
    BytesPerSecond(u32),
    /// Nothing after the response head.
    Never,
}

/// What a subscriber does when the server ends its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenClosed {
    /// That is a failed check.
    #[default]
    Fail,
    /// It comes back, with its last id if it keeps one.
    Return,
    /// It stays away, and that is all right.
    Allow,
}

/// Subscribers who behave alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) count: usize,
    /// The topics of the `n`th.
    pub(crate) topics: Vec<TopicTemplate>,
    pub(crate) token: TokenUse,
    pub(crate) reads: Reads,
    /// Bytes; 0 for the system's.
    pub(crate) receive_buffer: usize,
    pub(crate) encoding: Option<String>,
    /// It keeps the last id, to return with it.
    pub(crate) keeps_id: bool,
    /// It asks for everything the server still has.
    pub(crate) earliest: bool,
    pub(crate) when_closed: WhenClosed,
    /// Its threads hold nobody else. While something is published on a schedule they wake for every event and go before the
    /// others: what its latencies say is the server's doing and not this program's.
    pub(crate) prompt: bool,
    /// What the kernel holds for it at the server is watched.
    pub(crate) watch_kernel: bool,
    /// It is measured when the last of them has an event.
    #[serde(skip)]
    pub(crate) last: bool,
}

impl Group {
    /// The topics of a member.
    pub(crate) fn topics_of(&self, n: usize) -> Vec<String> {
        self.topics.iter().map(|template| template.at(n as u64)).collect()
    }

    /// Those of a member's topics that somebody publishes to.
    pub(crate) fn published_of(&self, n: usize, lanes: &Lanes) -> Vec<u32> {
        let mut all: Vec<u32> = self.topics.iter().filter_map(|template| lanes.topic(&template.at(n as u64))).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Does it have to have everything that was sent?
    pub(crate) fn must_have_all(&self) -> bool {
        self.reads == Reads::AtOnce
    }
}
