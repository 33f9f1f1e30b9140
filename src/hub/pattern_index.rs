//! Which patterns match a topic: an index on their literal prefix, then the patterns themselves, then a bounded cache
//! keyed by topic.
//!
//! A topic that meets many patterns is matched in several slices: what is untried is kept with it. Patterns are named by
//! selector and generation, so that one that has gone meanwhile is recognised wherever it is still named.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::budget::Budget;
use super::selector::{Named, Selector};
use crate::protocol::pattern::UrlPattern;
use crate::protocol::topic::{HubUrl, ParsedTopic};

/// Topics whose matching patterns are remembered, per half of the cache.
pub(crate) const CACHED_TOPICS_MAX: usize = if cfg!(test) { 8 } else { 8 * 1024 };
/// Bytes of such topics and of what they matched, per half of the cache; one entry may exceed it.
const CACHE_BYTES_MAX: usize = 4 << 20;
/// Newly interned patterns that a cached topic can catch up with; older entries are computed afresh.
pub(crate) const PATTERN_LOG_MAX: usize = if cfg!(test) { 8 } else { 1024 };
/// What a fresh topic may cost because of patterns that crowd under the same prefixes; more of them are refused.
const CROWD_NS_MAX: u64 = 10_000_000;
/// What patterns under one prefix may cost a topic before they count as a crowd.
const UNCROWDED_NS: u64 = 10_000;
/// A topic as long as most, by which patterns are priced before any topic is there.
const TYPICAL_TOPIC_BYTES: usize = 100;
/// Reading a topic as a URL.
pub(crate) const PARSE_NS: u64 = 1_000;
/// Looking something up by a keyed hash.
const LOOK_UP_NS: u64 = 100;
/// Copying the name of a pattern.
const NAME_NS: u64 = 5;

/// The patterns a topic matches.
#[derive(Debug, Default)]
struct Matched {
    patterns: Vec<Named>,
    /// Patterns interned before this count have been tried.
    tried: u64,
}

impl Matched {
    fn give(&mut self, slots: &[Selector], budget: &mut Budget, out: &mut Vec<Named>) {
        budget.spend(NAME_NS * self.patterns.len() as u64);
        self.patterns.retain(|named| named.find(slots).is_some());
        out.extend(&self.patterns);
    }

    fn bytes(&self, topic: &str) -> usize {
        const ENTRY_BYTES: usize = 96;
        ENTRY_BYTES + topic.len() + self.patterns.capacity() * size_of::<Named>()
    }
}

/// A topic of which only some patterns have been tried.
#[derive(Debug)]
struct Unfinished {
    topic: Box<str>,
    matched: Matched,
    untried: Vec<Named>,
}

/// The patterns with one literal prefix.
#[derive(Debug, Default)]
struct Bucket {
    selectors: Vec<u32>,
    /// What trying all of them may cost.
    cost_ns: u64,
}

impl Bucket {
    fn crowd_ns(&self) -> u64 {
        self.cost_ns.saturating_sub(UNCROWDED_NS)
    }
}

#[derive(Debug, Default)]
pub(crate) struct PatternIndex {
    by_prefix: HashMap<Box<str>, Bucket>,
    /// How many patterns have a prefix of each length.
    prefix_lengths: BTreeMap<usize, u32>,
    crowd_ns: u64,
    /// Patterns interned since the start, and the newest of them.
    interned: u64,
    newest: VecDeque<Named>,
    /// Two generations of cached topics: what is used moves to the young one, the old one is dropped whole.
    young: HashMap<Box<str>, Matched>,
    young_bytes: usize,
    old: HashMap<Box<str>, Matched>,
    unfinished: Option<Unfinished>,
}

impl PatternIndex {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_prefix.is_empty()
    }

    /// Whether further patterns may be added: those there don't make every fresh topic too costly.
    pub(crate) fn has_room(&self) -> bool {
        self.crowd_ns < CROWD_NS_MAX
    }

    /// Adds a pattern. Answers its position under its prefix, which [`PatternIndex::remove`] wants to know.
    pub(crate) fn add(&mut self, selector: u32, generation: u32, pattern: &UrlPattern) -> u32 {
        let prefix = pattern.address_prefix();
        let bucket = self.by_prefix.entry(prefix.into()).or_default();
        self.crowd_ns -= bucket.crowd_ns();
        bucket.cost_ns += pattern.cost_ns(TYPICAL_TOPIC_BYTES);
        self.crowd_ns += bucket.crowd_ns();
        bucket.selectors.push(selector);
        let position = (bucket.selectors.len() - 1) as u32;
        *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
        self.interned += 1;
        self.newest.push_back(Named { selector, generation });
        if self.newest.len() > PATTERN_LOG_MAX {
            self.newest.pop_front();
        }
        position
    }

    /// Removes the pattern at a position under its prefix. `Some(selector)`: the one that stands there now.
    pub(crate) fn remove(&mut self, pattern: &UrlPattern, position: u32) -> Option<u32> {
        let prefix = pattern.address_prefix();
        let bucket = self.by_prefix.get_mut(prefix).expect("a pattern stands under its prefix");
        self.crowd_ns -= bucket.crowd_ns();
        bucket.cost_ns -= pattern.cost_ns(TYPICAL_TOPIC_BYTES);
        self.crowd_ns += bucket.crowd_ns();
        bucket.selectors.swap_remove(position as usize);
        let moved = bucket.selectors.get(position as usize).copied();
        if bucket.selectors.is_empty() {
            self.by_prefix.remove(prefix);
        } else if bucket.selectors.capacity() > 64 && bucket.selectors.len() < bucket.selectors.capacity() / 4 {
            bucket.selectors.shrink_to(bucket.selectors.len() * 2);
        }
        let count = self.prefix_lengths.get_mut(&prefix.len()).expect("a pattern's prefix has a length");
        *count -= 1;
        if *count == 0 {
            self.prefix_lengths.remove(&prefix.len());
        }
        if self.by_prefix.is_empty() {
            // Nothing names them any more: the caches would only hold memory.
            *self = PatternIndex { interned: self.interned, ..PatternIndex::default() };
        }
        moved
    }

    /// Appends the selectors of the patterns that match a topic. False when the budget was spent before all were tried:
    /// to be called again with the same topic, and nothing was appended.
    pub(crate) fn resolve(
        &mut self,
        slots: &[Selector],
        hub: &HubUrl,
        topic: &str,
        budget: &mut Budget,
        out: &mut Vec<Named>,
    ) -> bool {
        budget.spend(LOOK_UP_NS);
        if let Some(known) = self.young.get_mut(topic).filter(|known| known.tried == self.interned) {
            known.give(slots, budget, out);
            return true;
        }
        let unfinished = match self.unfinished.take().filter(|unfinished| *unfinished.topic == *topic) {
            Some(unfinished) => unfinished,
            None => {
                let known = self.forget(topic).filter(|known| known.tried >= self.log_start());
                self.start(slots, hub, topic, known, budget)
            }
        };
        let Some(mut matched) = self.go_on(slots, hub, unfinished, budget) else {
            return false;
        };
        matched.give(slots, budget, out);
        self.remember(topic, matched);
        true
    }

    fn log_start(&self) -> u64 {
        self.interned - self.newest.len() as u64
    }

    /// What is to be tried on a topic: what was interned since it was last matched, or all that has a fitting prefix.
    fn start(
        &self,
        slots: &[Selector],
        hub: &HubUrl,
        topic: &str,
        known: Option<Matched>,
        budget: &mut Budget,
    ) -> Unfinished {
        let tried = self.interned;
        let (matched, untried) = match known {
            Some(known) => {
                // A pattern added per publish costs one match per publish.
                let untried = self.newest.iter().skip((known.tried - self.log_start()) as usize);
                (Matched { tried, ..known }, untried.copied().collect())
            }
            None => (Matched { tried, patterns: Vec::new() }, self.candidates(slots, hub, topic, budget)),
        };
        Unfinished { topic: topic.into(), matched, untried }
    }

    fn candidates(&self, slots: &[Selector], hub: &HubUrl, topic: &str, budget: &mut Budget) -> Vec<Named> {
        let parsed = ParsedTopic::new(topic, hub);
        let mut candidates = Vec::new();
        if let Some(address) = parsed.address() {
            for &length in self.prefix_lengths.keys() {
                budget.spend(LOOK_UP_NS);
                if let Some(bucket) = address.get(..length).and_then(|prefix| self.by_prefix.get(prefix)) {
                    candidates.extend(bucket.selectors.iter().map(|&selector| Named::of(selector, slots)));
                }
            }
        }
        budget.spend(PARSE_NS + NAME_NS * candidates.len() as u64);
        candidates
    }

    /// Tries patterns for as long as the budget lasts.
    fn go_on(
        &mut self,
        slots: &[Selector],
        hub: &HubUrl,
        mut unfinished: Unfinished,
        budget: &mut Budget,
    ) -> Option<Matched> {
        budget.spend(PARSE_NS);
        let parsed = ParsedTopic::new(&unfinished.topic, hub);
        while let Some(named) = unfinished.untried.pop() {
            let (Some(pattern), Some(url)) = (named.find(slots).and_then(Selector::pattern), &parsed.url) else {
                continue;
            };
            budget.spend(pattern.cost_ns(unfinished.topic.len()));
            if pattern.matches(url) {
                unfinished.matched.patterns.push(named);
            }
            if budget.is_spent() && !unfinished.untried.is_empty() {
                drop(parsed);
                self.unfinished = Some(unfinished);
                return None;
            }
        }
        Some(unfinished.matched)
    }

    fn forget(&mut self, topic: &str) -> Option<Matched> {
        match self.young.remove(topic) {
            Some(matched) => {
                self.young_bytes -= matched.bytes(topic);
                Some(matched)
            }
            None => self.old.remove(topic),
        }
    }

    fn remember(&mut self, topic: &str, matched: Matched) {
        if self.young.len() >= CACHED_TOPICS_MAX || self.young_bytes >= CACHE_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += matched.bytes(topic);
        self.young.insert(topic.into(), matched);
    }
}

#[cfg(test)]
impl PatternIndex {
    pub(crate) fn cached_topics(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(crate) fn recent_patterns(&self) -> usize {
        self.newest.len()
    }
}
