//! The selector index of a shard: from the topics of an event to the subscribers' selectors that want it.
//!
//! A selector is interned: everybody who asked for the same thing shares one, with one member list. Exact ones are
//! found by keyed hash; patterns through an index on their literal prefix, then the matcher, then a bounded cache
//! keyed by topic. Cost grows with what matches, not with what exists.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::event::Event;
use super::subscriber::Place;
use crate::protocol::matcher::Matcher;
use crate::protocol::topic::{HubUrl, ParsedTopic};

/// Topics whose matching patterns are remembered, per half of the cache.
pub(crate) const CACHED_TOPICS_MAX: usize = if cfg!(test) { 8 } else { 8 * 1024 };
/// Newly interned patterns that a cached topic can catch up with; older entries are computed afresh.
pub(crate) const PATTERN_LOG_MAX: usize = if cfg!(test) { 8 } else { 1024 };
/// No walk.
pub(crate) const NO_WALK: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Selector {
    /// `None` while the slot is free.
    matcher: Option<Matcher>,
    generation: u32,
    /// The walk that delivers what is pending here, or [`NO_WALK`].
    pub(crate) walk: u32,
    /// Slots of the subscribers.
    pub(crate) members: Vec<u32>,
}

/// A selector by number and generation, as the cache and the pattern log name it: stale ones are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    selector: u32,
    generation: u32,
}

#[derive(Debug)]
struct CachedTopic {
    patterns: Vec<Named>,
    /// Patterns interned before this count have been tried.
    tried: u64,
}

/// What a registration has to undo or move in a member list that lost an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The subscriber that took the freed position, if it wasn't the last one.
    pub(crate) moved_slot: Option<u32>,
    /// The walk of a selector that nobody is left to read, to be cancelled.
    pub(crate) orphaned_walk: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Selectors {
    hub: HubUrl,
    slots: Vec<Selector>,
    free: Vec<u32>,
    exact: HashMap<Arc<str>, u32>,
    any: Option<u32>,
    patterns: HashMap<Matcher, u32>,
    /// Literal prefix → patterns that start with it, and how many there are of each length.
    by_prefix: HashMap<Box<str>, Vec<u32>>,
    prefix_lengths: BTreeMap<usize, u32>,
    /// Patterns interned since the start, and the newest of them.
    interned: u64,
    newest: VecDeque<Named>,
    /// Two generations of cached topics: what is used moves to the young one, the old one is dropped whole.
    young: HashMap<Box<str>, CachedTopic>,
    old: HashMap<Box<str>, CachedTopic>,
}

impl Selectors {
    pub(crate) fn new(hub: HubUrl) -> Selectors {
        Selectors {
            hub,
            slots: Vec::new(),
            free: Vec::new(),
            exact: HashMap::new(),
            any: None,
            patterns: HashMap::new(),
            by_prefix: HashMap::new(),
            prefix_lengths: BTreeMap::new(),
            interned: 0,
            newest: VecDeque::new(),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    pub(crate) fn hub(&self) -> &HubUrl {
        &self.hub
    }

    pub(crate) fn get(&self, selector: u32) -> &Selector {
        &self.slots[selector as usize]
    }

    pub(crate) fn get_mut(&mut self, selector: u32) -> &mut Selector {
        &mut self.slots[selector as usize]
    }

    /// Selectors somebody subscribes to.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a subscriber to the selector of a matcher, which is interned if nobody had it.
    pub(crate) fn join(&mut self, matcher: &Matcher, slot: u32) -> Place {
        let selector = self.intern(matcher);
        let members = &mut self.slots[selector as usize].members;
        // The common first member costs four bytes, not the four places a growing vector starts with.
        if members.capacity() == 0 {
            members.reserve_exact(1);
        }
        members.push(slot);
        Place { selector, position: (members.len() - 1) as u32 }
    }

    /// Takes a subscriber out of a member list; the last member moves into its position.
    pub(crate) fn leave(&mut self, place: Place) -> Removed {
        let selector = &mut self.slots[place.selector as usize];
        selector.members.swap_remove(place.position as usize);
        let moved_slot = selector.members.get(place.position as usize).copied();
        if selector.members.is_empty() {
            let walk = std::mem::replace(&mut selector.walk, NO_WALK);
            self.drop_selector(place.selector);
            return Removed { moved_slot: None, orphaned_walk: (walk != NO_WALK).then_some(walk) };
        }
        if selector.members.capacity() > 64 && selector.members.len() < selector.members.capacity() / 4 {
            selector.members.shrink_to(selector.members.len() * 2);
        }
        Removed { moved_slot, orphaned_walk: None }
    }

    /// Collects the selectors an event matches, each once.
    pub(crate) fn resolve(&mut self, event: &Event, out: &mut Vec<u32>) {
        out.clear();
        out.extend(self.any);
        for topic in &event.topics {
            out.extend(self.exact.get(topic.as_str()).copied());
            if !self.patterns.is_empty() {
                self.resolve_patterns(topic.as_str(), out);
            }
        }
        if event.topics.len() > 1 {
            out.sort_unstable();
            out.dedup();
        }
    }

    /// Whether one of a subscriber's selectors matches: what a cursor asks of each event it passes.
    pub(crate) fn admits(&mut self, places: &[Place], event: &Event) -> bool {
        let mut patterns = false;
        for place in places {
            match &self.slots[place.selector as usize].matcher {
                Some(Matcher::Any) => return true,
                Some(Matcher::Exact(text)) => {
                    if event.topics.iter().any(|topic| topic.as_str() == &**text) {
                        return true;
                    }
                }
                Some(Matcher::Pattern(_)) => patterns = true,
                None => debug_assert!(false, "a member list belongs to a live selector"),
            }
        }
        if !patterns {
            return false;
        }
        let mut matching = Vec::new();
        for topic in &event.topics {
            self.resolve_patterns(topic.as_str(), &mut matching);
        }
        places.iter().any(|place| matching.contains(&place.selector))
    }

    /// The matchers of a subscriber, as history readers need them.
    pub(crate) fn matchers(&self, places: &[Place]) -> Vec<Matcher> {
        places.iter().filter_map(|place| self.slots[place.selector as usize].matcher.clone()).collect()
    }

    fn resolve_patterns(&mut self, topic: &str, out: &mut Vec<u32>) {
        let log_start = self.interned - self.newest.len() as u64;
        if !self.young.contains_key(topic) {
            if self.young.len() >= CACHED_TOPICS_MAX {
                self.old = std::mem::take(&mut self.young);
            }
            let entry = self.old.remove(topic).filter(|entry| entry.tried >= log_start);
            let entry = entry.unwrap_or_else(|| self.match_patterns(topic));
            self.young.insert(topic.into(), entry);
        }
        let Some(entry) = self.young.get_mut(topic) else {
            return;
        };
        if entry.tried < log_start {
            *entry = Self::match_patterns_in(
                &self.slots,
                &self.by_prefix,
                &self.prefix_lengths,
                &self.hub,
                topic,
                self.interned,
            );
        } else if entry.tried < self.interned {
            // Only what was interned since: a pattern added per publish costs one match per publish.
            let parsed = ParsedTopic::new(topic, &self.hub);
            for named in self.newest.iter().skip((entry.tried - log_start) as usize) {
                let selector = &self.slots[named.selector as usize];
                let live = selector.generation == named.generation;
                if live && selector.matcher.as_ref().is_some_and(|matcher| matcher.matches(&parsed)) {
                    entry.patterns.push(*named);
                }
            }
            entry.tried = self.interned;
        }
        let slots = &self.slots;
        entry.patterns.retain(|named| {
            let selector = &slots[named.selector as usize];
            selector.generation == named.generation && selector.matcher.is_some()
        });
        out.extend(entry.patterns.iter().map(|named| named.selector));
    }

    fn match_patterns(&self, topic: &str) -> CachedTopic {
        Self::match_patterns_in(&self.slots, &self.by_prefix, &self.prefix_lengths, &self.hub, topic, self.interned)
    }

    fn match_patterns_in(
        slots: &[Selector],
        by_prefix: &HashMap<Box<str>, Vec<u32>>,
        prefix_lengths: &BTreeMap<usize, u32>,
        hub: &HubUrl,
        topic: &str,
        interned: u64,
    ) -> CachedTopic {
        let parsed = ParsedTopic::new(topic, hub);
        let mut patterns = Vec::new();
        if let Some(address) = parsed.address() {
            for &length in prefix_lengths.keys() {
                let Some(prefix) = address.get(..length) else {
                    continue;
                };
                for &selector in by_prefix.get(prefix).into_iter().flatten() {
                    let candidate = &slots[selector as usize];
                    if candidate.matcher.as_ref().is_some_and(|matcher| matcher.matches(&parsed)) {
                        patterns.push(Named { selector, generation: candidate.generation });
                    }
                }
            }
        }
        CachedTopic { patterns, tried: interned }
    }

    fn intern(&mut self, matcher: &Matcher) -> u32 {
        let known = match matcher {
            Matcher::Any => self.any,
            Matcher::Exact(text) => self.exact.get(text).copied(),
            Matcher::Pattern(_) => self.patterns.get(matcher).copied(),
        };
        if let Some(selector) = known {
            return selector;
        }
        let selector = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Selector { matcher: None, generation: 0, walk: NO_WALK, members: Vec::new() });
            (self.slots.len() - 1) as u32
        });
        self.slots[selector as usize].matcher = Some(matcher.clone());
        match matcher {
            Matcher::Any => self.any = Some(selector),
            Matcher::Exact(text) => {
                self.exact.insert(text.clone(), selector);
            }
            Matcher::Pattern(pattern) => {
                self.patterns.insert(matcher.clone(), selector);
                let prefix = pattern.address_prefix();
                self.by_prefix.entry(prefix.into()).or_default().push(selector);
                *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                self.interned += 1;
                self.newest.push_back(Named { selector, generation: self.slots[selector as usize].generation });
                if self.newest.len() > PATTERN_LOG_MAX {
                    self.newest.pop_front();
                }
            }
        }
        selector
    }

    fn drop_selector(&mut self, selector: u32) {
        let slot = &mut self.slots[selector as usize];
        let matcher = slot.matcher.take().expect("a selector is dropped once");
        slot.generation = slot.generation.wrapping_add(1);
        slot.members = Vec::new();
        match &matcher {
            Matcher::Any => self.any = None,
            Matcher::Exact(text) => {
                self.exact.remove(text);
                shrink(&mut self.exact);
            }
            Matcher::Pattern(pattern) => {
                self.patterns.remove(&matcher);
                shrink(&mut self.patterns);
                let prefix = pattern.address_prefix();
                if let Some(list) = self.by_prefix.get_mut(prefix) {
                    list.retain(|&other| other != selector);
                    if list.is_empty() {
                        self.by_prefix.remove(prefix);
                    }
                }
                if let Some(count) = self.prefix_lengths.get_mut(&prefix.len()) {
                    *count -= 1;
                    if *count == 0 {
                        self.prefix_lengths.remove(&prefix.len());
                    }
                }
                if self.patterns.is_empty() {
                    // Nothing names them any more: the caches would only hold memory.
                    self.young = HashMap::new();
                    self.old = HashMap::new();
                    self.newest = VecDeque::new();
                }
            }
        }
        self.free.push(selector);
        if self.free.len() == self.slots.len() {
            let next = self.slots.iter().map(|slot| slot.generation).max().unwrap_or(0);
            debug_assert!(
                self.newest.is_empty() && self.young.is_empty(),
                "generations {next} may start again: nothing names one"
            );
            self.slots = Vec::new();
            self.free = Vec::new();
        }
    }
}

#[cfg(test)]
impl Selectors {
    pub(crate) fn cached_topics(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(crate) fn recent_patterns(&self) -> usize {
        self.newest.len()
    }
}

/// Gives memory back once a map is mostly empty.
fn shrink<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 1024 && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::matcher::MatchType;

    const TOPICS: [&str; 12] = [
        "https://a.example/books/1",
        "https://a.example/books/2",
        "https://a.example/books/2/pages/3",
        "https://user@a.example/books/1",
        "https://b.example/books/1",
        "https://b.example/x?y=z",
        "books/1",
        "/books/1",
        "urn:books:1",
        "http://[broken",
        "https://a.example/B%C3%BCcher",
        "nobody:asks",
    ];
    const PATTERNS: [&str; 12] = [
        "https://a.example/books/:id",
        "https://a.example/*",
        "https://*/books/:id",
        "https://a.example/books/(\\d+)",
        "/books/:id",
        "books/*",
        "urn\\:books\\:*",
        "*://*/books/1",
        "https://a.example/b*",
        "https://a.example/:x/2",
        "https://b.example/x\\?*",
        "https://c.example/:never",
    ];

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    fn matchers() -> Vec<Matcher> {
        let parse = |kind, text| Matcher::parse(kind, text, &hub()).unwrap();
        let exact = TOPICS[..11].iter().map(|text| parse(MatchType::Exact, text));
        let patterns = PATTERNS.iter().map(|text| parse(MatchType::UrlPattern, text));
        std::iter::once(Matcher::Any).chain(exact).chain(patterns).collect()
    }

    fn texts(selectors: &Selectors, found: &[u32]) -> Vec<String> {
        let text = |&selector: &u32| format!("{:?}", selectors.get(selector).matcher.as_ref().unwrap());
        let mut texts: Vec<String> = found.iter().map(text).collect();
        texts.sort();
        texts
    }

    #[test]
    fn a_selector_is_shared_and_gone_with_its_last_member() {
        let mut selectors = Selectors::new(hub());
        let matcher = Matcher::Exact("urn:a".into());
        let [first, second, third] = [7, 8, 9].map(|slot| selectors.join(&matcher, slot));
        assert_eq!((first.selector, selectors.len()), (second.selector, 1));
        let moved = selectors.leave(first);
        assert_eq!(moved, Removed { moved_slot: Some(9), orphaned_walk: None });
        // The third is told, and leaves from where the first was.
        let moved = selectors.leave(Place { position: first.position, ..third });
        assert_eq!(moved, Removed { moved_slot: Some(8), orphaned_walk: None });
        selectors.get_mut(second.selector).walk = 5;
        let last = selectors.leave(Place { position: 0, ..second });
        assert_eq!(last, Removed { moved_slot: None, orphaned_walk: Some(5) });
        assert_eq!((selectors.len(), selectors.slots.len()), (0, 0));
    }

    #[test]
    fn a_number_that_is_used_again_is_not_taken_for_the_pattern_it_was() {
        let mut selectors = Selectors::new(hub());
        let [any, books, never] = [0, 12, 23].map(|n| matchers()[n].clone());
        let event = Event::sample(1, &["https://a.example/books/1"], None, 0);
        let mut found = Vec::new();
        // Keeps the cache alive.
        selectors.join(&never, 1);
        let place = selectors.join(&books, 2);
        selectors.resolve(&event, &mut found);
        assert_eq!(found, [place.selector]);
        selectors.leave(place);
        let reused = selectors.join(&Matcher::Exact("urn:other".into()), 3);
        assert_eq!(reused.selector, place.selector);
        selectors.resolve(&event, &mut found);
        assert_eq!(found, [0; 0]);
        let any = selectors.join(&any, 4);
        selectors.resolve(&event, &mut found);
        assert_eq!(found, [any.selector]);
    }

    proptest! {
        #[test]
        fn resolving_is_matching_every_selector(
            steps in proptest::collection::vec(
                (0_u8..3, 0_usize..24, proptest::collection::vec(0_usize..12, 1..4)),
                1..120,
            ),
        ) {
            let (hub, matchers) = (hub(), matchers());
            let mut selectors = Selectors::new(hub.clone());
            // Each slot has one selector; the list says which and where.
            let mut members: Vec<(Matcher, Place)> = Vec::new();
            let mut found = Vec::new();
            for (offset, (what, which, topics)) in (1..).zip(steps) {
                match what {
                    0 => {
                        let slot = members.len() as u32;
                        let matcher = matchers[which].clone();
                        let place = selectors.join(&matcher, slot);
                        members.push((matcher, place));
                    }
                    1 if !members.is_empty() => {
                        // The last slot takes the number of the one that leaves, so that numbers stay without gaps.
                        let leaves = which % members.len();
                        let (_, place) = members[leaves].clone();
                        if let Some(moved) = selectors.leave(place).moved_slot {
                            members[moved as usize].1.position = place.position;
                        }
                        let last = members.len() - 1;
                        if leaves != last {
                            let Place { selector, position } = members[last].1;
                            selectors.get_mut(selector).members[position as usize] = leaves as u32;
                        }
                        members.swap_remove(leaves);
                    }
                    _ => {}
                }
                let topics: Vec<&str> = topics.iter().map(|&topic| TOPICS[topic]).collect();
                let event = Event::sample(offset, &topics, None, 0);
                let fits = |matcher: &Matcher| {
                    topics.iter().any(|topic| matcher.matches(&ParsedTopic::new(topic, &hub)))
                };
                let mut expected: Vec<String> =
                    members.iter().filter(|(m, _)| fits(m)).map(|(m, _)| format!("{m:?}")).collect();
                expected.sort();
                expected.dedup();
                selectors.resolve(&event, &mut found);
                prop_assert_eq!(texts(&selectors, &found), expected);
                for (matcher, place) in &members {
                    prop_assert_eq!(selectors.admits(&[*place], &event), fits(matcher));
                }
                prop_assert!(selectors.young.len() <= CACHED_TOPICS_MAX);
                prop_assert!(selectors.newest.len() <= PATTERN_LOG_MAX);
            }
            while let Some((_, place)) = members.pop() {
                if let Some(moved) = selectors.leave(place).moved_slot {
                    members[moved as usize].1.position = place.position;
                }
            }
            prop_assert_eq!(selectors.slots.len() + selectors.cached_topics() + selectors.recent_patterns(), 0);
            prop_assert!(selectors.by_prefix.is_empty() && selectors.prefix_lengths.is_empty());
        }
    }
}
