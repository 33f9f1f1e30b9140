//! An engine for tests: a log, and who is subscribed, in memory. It does as it is told, and remembers what it was asked.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::members::Members;
use super::state::LinkState;
use crate::cluster::{
    Appended, Bounds, Engine, EngineError, Entry, Identity, Member, NodeId, Opened, Placed, Subscriber,
};
use crate::protocol::topic::Topic;
use crate::protocol::update::Update;
use crate::server::backbone::Backbone;
use crate::server::shared::Shared;

pub(super) const LOG: Identity = Identity { log: [1; 16], id_key: [7; 32] };

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fake(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// The hubs, and whether each was claimed.
    pub(super) hubs: HashMap<NodeId, bool>,
    /// By hub and id.
    pub(super) entered: BTreeMap<([u8; 16], String), String>,
    /// Documents of more bytes are refused, if that is said.
    pub(super) document_bytes_max: Option<usize>,
    /// Everything that would be written is refused.
    pub(super) full: bool,
    /// Calls that were answered.
    pub(super) renewals: Vec<NodeId>,
    pub(super) claims: usize,
    /// Bytes of the largest piece that was entered, and the subscribers of the longest.
    pub(super) piece_bytes: usize,
    pub(super) piece_subscribers: usize,
    /// Who is given to a hub that claims, the first of them first.
    pub(super) dead: Vec<NodeId>,
    pub(super) leave_fails: bool,
    pub(super) log: Vec<Entry>,
    /// What becomes of the next batches; then all is well.
    pub(super) fates: VecDeque<Fate>,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is appended, and nobody hears of it.
    AnswerLost,
    /// It never arrives.
    Lost,
}

impl Fake {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }
}

fn refused<T>() -> Result<T, EngineError> {
    Err(EngineError::Refused("there is no room".to_owned()))
}

impl Engine for Fake {
    async fn open(&self) -> Result<Opened, EngineError> {
        refused()
    }

    async fn append(&self, _: &Identity, entries: Vec<Entry>) -> Vec<Appended> {
        let mut state = self.state();
        let fate = state.fates.pop_front();
        let append = |entry| {
            if fate != Some(Fate::Lost) {
                state.log.push(entry);
            }
            match fate {
                None => Ok(state.log.len() as u64),
                Some(_) => Err(EngineError::Unavailable("no answer".to_owned())),
            }
        };
        entries.into_iter().map(append).collect()
    }

    async fn follow(&self, _: &Identity, _: u64, _: usize, _: usize, _: Duration) -> Result<Vec<Placed>, EngineError> {
        refused()
    }

    async fn range(&self, _: &Identity, after: u64, count: usize, _: usize) -> Result<Vec<Placed>, EngineError> {
        let state = self.state();
        let placed = (1..).zip(&state.log).map(|(offset, entry)| Placed { offset, entry: entry.clone() });
        Ok(placed.skip(after as usize).take(count).collect())
    }

    async fn find(&self, _: &Identity, id: &str) -> Result<Option<u64>, EngineError> {
        let state = self.state();
        Ok((1..).zip(&state.log).find(|(_, entry)| entry.update.id.as_deref() == Some(id)).map(|(offset, _)| offset))
    }

    async fn bounds(&self, _: &Identity) -> Result<Bounds, EngineError> {
        Ok(Bounds { first: 1, last: self.state().log.len() as u64 })
    }

    async fn arrive(&self, node: NodeId, _: Duration) -> Result<(), EngineError> {
        self.state().hubs.entry(node).or_insert(false);
        Ok(())
    }

    async fn renew(&self, node: NodeId, _: Duration) -> Result<bool, EngineError> {
        let mut state = self.state();
        if state.full {
            return refused();
        }
        state.renewals.push(node);
        Ok(state.hubs.get(&node) == Some(&false))
    }

    async fn enter(&self, node: NodeId, subscribers: Vec<Subscriber>) -> Result<(), EngineError> {
        let mut state = self.state();
        let bytes = subscribers.iter().map(|one| one.document.len()).sum();
        state.piece_bytes = state.piece_bytes.max(bytes);
        state.piece_subscribers = state.piece_subscribers.max(subscribers.len());
        let too_large = |one: &Subscriber| state.document_bytes_max.is_some_and(|most| one.document.len() > most);
        if state.full || subscribers.iter().any(too_large) {
            return refused();
        }
        if state.hubs.get(&node) == Some(&false) {
            state.entered.extend(subscribers.into_iter().map(|one| ((node.0, one.id), one.document)));
        }
        Ok(())
    }

    async fn leave(&self, node: NodeId, subscribers: Vec<String>) -> Result<(), EngineError> {
        let mut state = self.state();
        if state.leave_fails {
            return Err(EngineError::Unavailable("gone".to_owned()));
        }
        for id in subscribers {
            state.entered.remove(&(node.0, id));
        }
        Ok(())
    }

    async fn members(&self, cursor: &str, count: usize, bytes: usize) -> Result<(Vec<Member>, String), EngineError> {
        let state = self.state();
        let (mut members, mut size, mut last) = (Vec::new(), 0, 0);
        for (at, ((node, id), document)) in state.entered.iter().enumerate().skip(cursor.parse().unwrap_or(0)) {
            if members.len() == count || size >= bytes {
                return Ok((members, last.to_string()));
            }
            last = at + 1;
            size += document.len();
            let subscriber = Subscriber { id: id.clone(), document: document.clone() };
            members.push(Member { node: NodeId(*node), subscriber });
        }
        Ok((members, String::new()))
    }

    async fn member(&self, id: &str) -> Result<Option<Member>, EngineError> {
        let (members, _) = self.members("", usize::MAX, usize::MAX).await?;
        Ok(members.into_iter().find(|member| member.subscriber.id == id))
    }

    async fn claim(&self, _: NodeId, _: Duration) -> Result<Option<NodeId>, EngineError> {
        let mut state = self.state();
        state.claims += 1;
        let dead = state.dead.first().copied();
        dead.map(|dead| state.hubs.insert(dead, true));
        Ok(dead)
    }

    async fn left(&self, dead: NodeId, count: usize, _: usize) -> Result<Vec<Subscriber>, EngineError> {
        let (members, _) = self.members("", usize::MAX, usize::MAX).await?;
        let of_dead = members.into_iter().filter(|member| member.node == dead).take(count);
        Ok(of_dead.map(|member| member.subscriber).collect())
    }

    async fn bury(&self, dead: NodeId) -> Result<(), EngineError> {
        let mut state = self.state();
        state.hubs.remove(&dead);
        state.dead.retain(|other| *other != dead);
        Ok(())
    }
}

pub(super) const A: NodeId = NodeId([0xa; 16]);
pub(super) const B: NodeId = NodeId([0xb; 16]);

/// A hub, called [`A`], and its backbone.
pub(super) fn hub(lease: Duration) -> (Backbone, Arc<Members<Fake>>) {
    let backbone = Backbone::start().expect("a thread");
    let engine = Arc::new(Fake::default());
    engine.state().hubs.insert(A, false);
    let (state, shared) = (Arc::new(LinkState::new(LOG, 0)), Arc::new(Shared::new(1)));
    let members = Arc::new(Members::new(engine, state, shared, backbone.runtime().clone(), lease, A));
    (backbone, members)
}

/// An update with this payload.
pub(super) fn update(data: &str) -> Update {
    Update {
        topics: vec![Topic::of_hub("/a")],
        data: data.to_owned(),
        private: false,
        id: None,
        event_type: None,
        retry: None,
    }
}

/// A subscriber with one subscription, and what is noted of it, of so many bytes at least.
pub(super) fn subscriber(id: &str, bytes: usize) -> (String, String) {
    let text = "x".repeat(bytes);
    (id.to_owned(), format!("{{\"id\":\"/s/exact/{text}/{id}\",\"subscriber\":\"{id}\",\"active\":false}}\n"))
}

/// Waits until it is so.
pub(super) fn eventually(what: &str, so: impl Fn() -> bool) {
    let patience = Duration::from_secs(30);
    let mut waited = Duration::ZERO;
    while !so() {
        assert!(waited < patience, "this never came to be: {what}");
        std::thread::sleep(Duration::from_millis(5));
        waited += Duration::from_millis(5);
    }
}
