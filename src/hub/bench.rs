//! What `benches/` needs of this layer and nobody else does: a shard's selectors without a shard around them.

use std::sync::Arc;

use super::budget::Budget;
use super::event::{Draft, Event};
use super::log::Log;
use super::selector::{Resolution, Selectors};
use super::subscriber::Place;
use crate::protocol::event_id::IdCipher;
use crate::protocol::matcher::Matcher;
use crate::protocol::topic::{HubUrl, Topic};
use crate::protocol::update::Update;

/// The selectors of a shard, one subscriber for each.
#[derive(Debug)]
pub struct Audiences {
    selectors: Selectors,
    resolution: Resolution,
    found: Vec<u32>,
    log: Log,
}

/// A subscription, to be given back.
#[derive(Debug)]
pub struct Subscription(Place);

impl Audiences {
    /// Nobody yet.
    pub fn new(hub: HubUrl) -> Audiences {
        Audiences {
            selectors: Selectors::new(hub, usize::MAX),
            resolution: Resolution::default(),
            found: Vec::new(),
            log: Log::new(1, 0, IdCipher::new([7; 32])),
        }
    }

    /// Whether a shard would take this subscription.
    pub fn has_room(&self, matcher: &Matcher) -> bool {
        self.selectors.has_room(std::slice::from_ref(matcher))
    }

    /// Adds a subscriber.
    pub fn join(&mut self, matcher: &Matcher) -> Subscription {
        Subscription(self.selectors.join(matcher, 0))
    }

    /// Takes a subscriber out.
    pub fn leave(&mut self, subscription: Subscription) {
        self.selectors.leave(subscription.0);
    }

    /// An event with one topic, which isn't in the hub's own namespace.
    pub fn event(&mut self, topic: &str) -> Arc<Event> {
        let topic = Topic::parse(topic, self.selectors.hub()).expect("a topic that may be published");
        let update = Update {
            topics: vec![topic],
            data: String::new(),
            private: false,
            id: None,
            event_type: None,
            retry: None,
        };
        self.log.append(Draft::new(update), 0)
    }

    /// Resolves the event in one go: how many selectors it matches.
    pub fn resolve(&mut self, event: &Event) -> usize {
        let mut budget = Budget::new(u64::MAX);
        let whole = self.selectors.resolve(event, &mut self.resolution, &mut budget, &mut self.found);
        debug_assert!(whole, "a budget without end is never spent");
        self.found.len()
    }
}
