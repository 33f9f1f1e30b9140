//! Which patterns match a topic: an index on their literal prefix and the path segments that are fixed beyond it, then the
//! patterns themselves, then a bounded cache keyed by topic.
//!
//! A topic that meets many patterns is matched in several slices: what is untried is kept with it. Patterns are named by
//! selector and generation, so that one that has gone meanwhile is recognised wherever it is still named.
//!
//! There is one index for patterns of URLs and one for templates of texts: they differ in what the prefix is one of.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};

use super::budget::Budget;
use super::selector::{Named, Selector};
use crate::protocol::matcher::Matcher;
use crate::protocol::pattern::{FIXED_SEGMENTS_MAX, Segments, UrlPattern, segments_of};
use crate::protocol::topic::{HubUrl, ParsedTopic};

/// Topics whose matching patterns are remembered, per half of the cache.
pub(crate) const CACHED_TOPICS_MAX: usize = if cfg!(test) { 8 } else { 8 * 1024 };
/// Bytes of such topics and of what they matched, per half of the cache; one entry may exceed it.
const CACHE_BYTES_MAX: usize = 4 << 20;
/// Newly interned patterns that a cached topic can catch up with; older entries are computed afresh.
pub(crate) const PATTERN_LOG_MAX: usize = if cfg!(test) { 8 } else { 1024 };
/// What a fresh topic may cost because of patterns that crowd under the keys it may meet; more of them are refused.
const CROWD_NS_MAX: u64 = 5_000_000;
/// What patterns under one key may cost a topic before they count as a crowd.
const UNCROWDED_NS: u64 = 2_000;
/// The longest prefix that patterns are told apart by.
const PREFIX_BYTES_MAX: usize = 256;
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

/// What patterns are told apart by: their literal prefix, and the path segments that are fixed beyond it.
struct Key {
    kind: Kind,
    text: String,
}

/// The bytes of the prefix, and which segments: a bit for each. A topic meets one key of a kind at most.
type Kind = (usize, u8);
const _: () = assert!(FIXED_SEGMENTS_MAX <= 8);

impl Key {
    fn of(matcher: &Matcher) -> Key {
        let (prefix, segments) = match matcher {
            Matcher::Pattern(pattern) => (pattern.address_prefix(), pattern.fixed_segments()),
            Matcher::Template(template) => (template.prefix(), Segments::default()),
            Matcher::Any(_) | Matcher::Exact(_) | Matcher::Topic(_) => unreachable!("only patterns are indexed"),
        };
        let prefix = prefix.get(..PREFIX_BYTES_MAX).unwrap_or(prefix);
        let shape = (0..FIXED_SEGMENTS_MAX).filter(|&place| segments[place].is_some()).map(|place| 1 << place).sum();
        let mut text = String::new();
        write_key(&mut text, prefix, shape, &segments);
        Key { kind: (prefix.len(), shape), text }
    }
}

/// Writes the key of a shape; false where a segment is missing. No URL holds a line end, so that no two keys are alike.
fn write_key(text: &mut String, prefix: &str, shape: u8, segments: &Segments<'_>) -> bool {
    text.clear();
    text.push_str(prefix);
    (0..FIXED_SEGMENTS_MAX).filter(|place| shape & (1 << place) != 0).all(|place| {
        text.push('\n');
        text.push(char::from(b'0' + place as u8));
        segments[place].is_some_and(|segment| {
            text.push_str(segment);
            true
        })
    })
}

/// What the key of a pattern takes in memory, in bytes.
pub(crate) fn key_bytes(pattern: &UrlPattern) -> usize {
    pattern.address_prefix().len()
        + pattern.fixed_segments().iter().flatten().map(|segment| segment.len() + 2).sum::<usize>()
}

/// The patterns with one key.
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

/// The keys of one kind.
#[derive(Debug, Default)]
struct Keys {
    patterns: u32,
    /// What the crowds under them cost, and how many cost the same.
    crowds: BTreeMap<u64, u32>,
}

impl Keys {
    /// The costliest crowd.
    fn worst_ns(&self) -> u64 {
        self.crowds.last_key_value().map_or(0, |(&ns, _)| ns)
    }

    fn change(&mut self, before_ns: u64, after_ns: u64) {
        if let Some(count) = self.crowds.get_mut(&before_ns) {
            *count -= 1;
            if *count == 0 {
                self.crowds.remove(&before_ns);
            }
        }
        if after_ns > 0 {
            *self.crowds.entry(after_ns).or_default() += 1;
        }
    }
}

/// How the patterns of an index read a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As a URL.
    Url,
    /// As the text it is.
    Text,
}

impl Reading {
    /// What parsing a topic costs.
    fn parse_ns(self) -> u64 {
        match self {
            Reading::Url => PARSE_NS,
            Reading::Text => 0,
        }
    }

    fn parse<'a>(self, topic: &'a str, hub: &HubUrl) -> ParsedTopic<'a> {
        match self {
            Reading::Url => ParsedTopic::new(topic, hub),
            Reading::Text => ParsedTopic { text: topic, url: None },
        }
    }

    /// What prefixes are prefixes of.
    fn key<'a>(self, topic: &'a ParsedTopic<'_>) -> Option<Cow<'a, str>> {
        match self {
            Reading::Url => topic.address(),
            Reading::Text => Some(Cow::Borrowed(topic.text)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct PatternIndex {
    reading: Reading,
    by_key: HashMap<Box<str>, Bucket>,
    kinds: BTreeMap<Kind, Keys>,
    /// What crowds may cost a topic at worst: the costliest one of each kind.
    worst_ns: u64,
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
    pub(crate) fn new(reading: Reading) -> PatternIndex {
        PatternIndex {
            reading,
            by_key: HashMap::new(),
            kinds: BTreeMap::new(),
            worst_ns: 0,
            interned: 0,
            newest: VecDeque::new(),
            young: HashMap::new(),
            young_bytes: 0,
            old: HashMap::new(),
            unfinished: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether a pattern may be added: fresh topics don't become too costly by it.
    pub(crate) fn has_room(&self, pattern: &Matcher) -> bool {
        let key = Key::of(pattern);
        let there_ns = self.by_key.get(&*key.text).map_or(0, |bucket| bucket.cost_ns);
        let crowd_ns = (there_ns + pattern.typical_cost_ns()).saturating_sub(UNCROWDED_NS);
        let worst_ns = self.kinds.get(&key.kind).map_or(0, Keys::worst_ns);
        self.worst_ns + crowd_ns.saturating_sub(worst_ns) <= CROWD_NS_MAX || crowd_ns == 0
    }

    /// Adds a pattern. Answers its position under its key, which [`PatternIndex::remove`] wants to know.
    pub(crate) fn add(&mut self, selector: u32, generation: u32, pattern: &Matcher) -> u32 {
        let Key { kind, text } = Key::of(pattern);
        let bucket = self.by_key.entry(text.into()).or_default();
        bucket.selectors.push(selector);
        let position = (bucket.selectors.len() - 1) as u32;
        let before_ns = bucket.crowd_ns();
        bucket.cost_ns += pattern.typical_cost_ns();
        let after_ns = bucket.crowd_ns();
        self.kinds.entry(kind).or_default().patterns += 1;
        self.price(kind, before_ns, after_ns);
        self.interned += 1;
        self.newest.push_back(Named { selector, generation });
        if self.newest.len() > PATTERN_LOG_MAX {
            self.newest.pop_front();
        }
        position
    }

    /// Removes the pattern at a position under its key. `Some(selector)`: the one that stands there now.
    pub(crate) fn remove(&mut self, pattern: &Matcher, position: u32) -> Option<u32> {
        let Key { kind, text } = Key::of(pattern);
        let bucket = self.by_key.get_mut(&*text).expect("a pattern stands under its key");
        bucket.selectors.swap_remove(position as usize);
        let moved = bucket.selectors.get(position as usize).copied();
        let before_ns = bucket.crowd_ns();
        bucket.cost_ns -= pattern.typical_cost_ns();
        let after_ns = bucket.crowd_ns();
        if bucket.selectors.is_empty() {
            self.by_key.remove(&*text);
        } else if bucket.selectors.capacity() > 64 && bucket.selectors.len() < bucket.selectors.capacity() / 4 {
            bucket.selectors.shrink_to(bucket.selectors.len() * 2);
        }
        self.price(kind, before_ns, after_ns);
        let keys = self.kinds.get_mut(&kind).expect("a pattern's key is of a kind");
        keys.patterns -= 1;
        if keys.patterns == 0 {
            self.kinds.remove(&kind);
        }
        if self.by_key.is_empty() {
            // Nothing names them any more: the caches would only hold memory.
            *self = PatternIndex { interned: self.interned, ..PatternIndex::new(self.reading) };
        }
        moved
    }

    /// The patterns under one key cost something else now.
    fn price(&mut self, kind: Kind, before_ns: u64, after_ns: u64) {
        let keys = self.kinds.entry(kind).or_default();
        self.worst_ns -= keys.worst_ns();
        keys.change(before_ns, after_ns);
        self.worst_ns += keys.worst_ns();
    }

    /// Appends the selectors of the patterns that match a topic. False when the budget was spent before all were tried:
    /// to be called again with the same topic, and nothing was appended.
    ///
    /// `once`: the topic won't come again, and takes nobody's place in the cache.
    pub(crate) fn resolve(
        &mut self,
        slots: &[Selector],
        hub: &HubUrl,
        topic: &str,
        once: bool,
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
        if !once {
            self.remember(topic, matched);
        }
        true
    }

    fn log_start(&self) -> u64 {
        self.interned - self.newest.len() as u64
    }

    /// What is to be tried on a topic: what was interned since it was last matched, or all that has a fitting key.
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
        let parsed = self.reading.parse(topic, hub);
        let mut candidates = Vec::new();
        if let Some(text) = self.reading.key(&parsed) {
            let segments = parsed.url.as_ref().map(segments_of).unwrap_or_default();
            let mut key = String::new();
            for &(length, shape) in self.kinds.range(..=(text.len(), u8::MAX)).map(|(kind, _)| kind) {
                let Some(prefix) = text.get(..length) else { continue };
                let complete = write_key(&mut key, prefix, shape, &segments);
                budget.spend(LOOK_UP_NS + key.len() as u64);
                if let Some(bucket) = self.by_key.get(&*key).filter(|_| complete) {
                    candidates.extend(bucket.selectors.iter().map(|&selector| Named::of(selector, slots)));
                }
            }
        }
        budget.spend(self.reading.parse_ns() + NAME_NS * candidates.len() as u64);
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
        budget.spend(self.reading.parse_ns());
        let parsed = self.reading.parse(&unfinished.topic, hub);
        while let Some(named) = unfinished.untried.pop() {
            let Some(pattern) = named.find(slots).and_then(Selector::pattern) else {
                continue;
            };
            budget.spend(pattern.cost_ns(&parsed));
            if pattern.matches(&parsed) {
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
