//! The interned selectors of a shard: from an event to the subscribers' selectors that want it.
//!
//! Everybody who asked for the same thing shares one selector, with one member list. Exact ones are found by keyed
//! hash, patterns and templates through a [`PatternIndex`] each. Cost grows with what matches, not with what exists,
//! but for patterns that nothing literal tells apart; those are bounded.

use super::budget::Budget;
use super::event::Event;
use super::interned::Interned;
use super::judge;
use super::pattern_index::{PatternIndex, Reading, key_bytes};
use super::subscriber::Place;
use crate::protocol::matcher::{MatchType, Matcher};
use crate::protocol::topic::HubUrl;

/// No walk.
pub(crate) const NO_WALK: u32 = u32::MAX;
/// Looking a topic up by a keyed hash.
const LOOK_UP_NS: u64 = 100;

#[derive(Debug)]
pub(crate) struct Selector {
    /// `None` while the slot is free.
    matcher: Option<Matcher>,
    generation: u32,
    /// Of a pattern or template: its position in its index.
    position: u32,
    /// The walk that delivers what is pending here, or [`NO_WALK`].
    pub(crate) walk: u32,
    /// Slots of the subscribers.
    pub(crate) members: Vec<u32>,
}

impl Selector {
    /// What it selects, unless its number is free.
    pub(crate) fn matcher(&self) -> Option<&Matcher> {
        self.matcher.as_ref()
    }

    /// The same, if it is one that is tried on topics.
    pub(crate) fn pattern(&self) -> Option<&Matcher> {
        self.matcher().filter(|matcher| matcher.is_pattern())
    }
}

/// A selector by number and generation: what has gone meanwhile is recognised wherever it is still named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) selector: u32,
    pub(crate) generation: u32,
}

impl Named {
    pub(crate) fn of(selector: u32, slots: &[Selector]) -> Named {
        Named { selector, generation: slots[selector as usize].generation }
    }

    /// The selector, unless it has gone.
    pub(crate) fn find<'a>(&self, slots: &'a [Selector]) -> Option<&'a Selector> {
        slots.get(self.selector as usize).filter(|selector| selector.generation == self.generation)
    }
}

/// The selectors an event matches, collected in one slice or in several.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    /// Topics of the event that are done.
    topics: usize,
    /// Of the next one, the patterns of URLs are done.
    patterns_done: bool,
    found: Vec<Named>,
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
    /// Of new slots: higher than any that was there before.
    first_generation: u32,
    /// All but the wildcards.
    interned: Interned,
    /// The wildcards, one for each type.
    any: [Option<u32>; MatchType::ALL.len()],
    index: PatternIndex,
    templates: PatternIndex,
    /// What the matchers take, and may take.
    bytes: usize,
    bytes_max: usize,
}

impl Selectors {
    pub(crate) fn new(hub: HubUrl, bytes_max: usize) -> Selectors {
        Selectors {
            hub,
            slots: Vec::new(),
            free: Vec::new(),
            first_generation: 0,
            interned: Interned::default(),
            any: [None; MatchType::ALL.len()],
            index: PatternIndex::new(Reading::Url),
            templates: PatternIndex::new(Reading::Text),
            bytes: 0,
            bytes_max,
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
    #[cfg(test)]
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

    /// Whether there is room for what somebody subscribes to. What is there already takes none.
    pub(crate) fn has_room(&self, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|matcher| {
            self.known(matcher).is_some()
                || self.bytes < self.bytes_max
                    && match matcher {
                        Matcher::Pattern(_) => self.index.has_room(matcher),
                        Matcher::Template(_) => self.templates.has_room(matcher),
                        Matcher::Any(_) | Matcher::Exact(_) | Matcher::Topic(_) => true,
                    }
        })
    }

    /// Collects the selectors an event matches, each once. False when the budget was spent before that: to be called
    /// again with the same event and resolution.
    pub(crate) fn resolve(
        &mut self,
        event: &Event,
        resolution: &mut Resolution,
        budget: &mut Budget,
        out: &mut Vec<u32>,
    ) -> bool {
        out.clear();
        for topic in &event.topics[resolution.topics..] {
            if budget.is_spent() {
                return false;
            }
            budget.spend(LOOK_UP_NS);
            let text = topic.as_str();
            if !resolution.patterns_done
                && !self.index.is_empty()
                && !self.index.resolve(&self.slots, &self.hub, text, event.announcement, budget, &mut resolution.found)
            {
                return false;
            }
            resolution.patterns_done = true;
            if !self.templates.is_empty()
                && !self.templates.resolve(
                    &self.slots,
                    &self.hub,
                    text,
                    event.announcement,
                    budget,
                    &mut resolution.found,
                )
            {
                return false;
            }
            let kinds = if self.interned.is_empty() { &[][..] } else { &[MatchType::Exact, MatchType::Topic] };
            for &kind in kinds {
                let equal = self.interned.find(kind, text, &self.slots);
                // A template of that text has been tried, as a template.
                let equal = equal.filter(|&selector| self.get(selector).pattern().is_none());
                resolution.found.extend(equal.map(|selector| Named::of(selector, &self.slots)));
            }
            resolution.patterns_done = false;
            resolution.topics += 1;
        }
        out.extend(self.any.iter().flatten());
        // Who came or went since the first topic was looked at needs nothing of this event.
        out.extend(resolution.found.iter().filter(|named| named.find(&self.slots).is_some()).map(|n| n.selector));
        if event.topics.len() > 1 {
            out.sort_unstable();
            out.dedup();
        }
        resolution.topics = 0;
        resolution.found.clear();
        true
    }

    /// Whether one of a subscriber's selectors matches: what a cursor asks of each event it passes.
    pub(crate) fn admits(&self, places: &[Place], event: &Event, budget: &mut Budget) -> bool {
        let matchers = places.iter().filter_map(|place| self.slots[place.selector as usize].matcher.as_ref());
        judge::any_matches(matchers, event, &self.hub, budget)
    }

    /// The matchers of a subscriber.
    pub(crate) fn matchers_of<'a>(&'a self, places: &'a [Place]) -> impl Iterator<Item = &'a Matcher> {
        places.iter().filter_map(|place| self.slots[place.selector as usize].matcher.as_ref())
    }

    /// Numbers of selectors that exist, free ones included.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// What a selector is, unless its number is free.
    pub(crate) fn matcher(&self, selector: u32) -> Option<&Matcher> {
        self.slots.get(selector as usize)?.matcher.as_ref()
    }

    /// The matchers of a subscriber, as history readers need them.
    pub(crate) fn matchers(&self, places: &[Place]) -> Vec<Matcher> {
        places.iter().filter_map(|place| self.slots[place.selector as usize].matcher.clone()).collect()
    }

    /// The slots of those who subscribe to exactly this matcher.
    pub(crate) fn members(&self, matcher: &Matcher) -> Option<&[u32]> {
        self.known(matcher).map(|selector| self.get(selector).members.as_slice())
    }

    /// The selector of exactly this matcher.
    pub(crate) fn known(&self, matcher: &Matcher) -> Option<u32> {
        match matcher {
            Matcher::Any(kind) => self.any[*kind as usize],
            matcher => self.interned.find(matcher.kind(), matcher.text(), &self.slots),
        }
    }

    fn intern(&mut self, matcher: &Matcher) -> u32 {
        if let Some(selector) = self.known(matcher) {
            return selector;
        }
        let selector = self.free.pop().unwrap_or_else(|| {
            if self.slots.len() == self.slots.capacity() {
                // Doubling would leave up to half of a large list unused.
                self.slots.reserve_exact(self.slots.len() / 4 + 16);
            }
            self.slots.push(Selector {
                matcher: None,
                generation: self.first_generation,
                position: 0,
                walk: NO_WALK,
                members: Vec::new(),
            });
            (self.slots.len() - 1) as u32
        });
        self.bytes += owned_bytes(matcher);
        self.slots[selector as usize].matcher = Some(matcher.clone());
        if let Matcher::Any(kind) = matcher {
            self.any[*kind as usize] = Some(selector);
            return selector;
        }
        self.interned.insert(selector, &self.slots);
        if matcher.is_pattern() {
            let generation = self.slots[selector as usize].generation;
            let position = self.index_of(matcher).add(selector, generation, matcher);
            self.slots[selector as usize].position = position;
        }
        selector
    }

    /// The index a pattern or template stands in.
    fn index_of(&mut self, matcher: &Matcher) -> &mut PatternIndex {
        match matcher {
            Matcher::Template(_) => &mut self.templates,
            _ => &mut self.index,
        }
    }

    fn drop_selector(&mut self, selector: u32) {
        if !matches!(self.get(selector).matcher, Some(Matcher::Any(_))) {
            self.interned.remove(selector, &self.slots);
        }
        let slot = &mut self.slots[selector as usize];
        let matcher = slot.matcher.take().expect("a selector is dropped once");
        slot.generation = slot.generation.wrapping_add(1);
        slot.members = Vec::new();
        let position = slot.position;
        self.bytes -= owned_bytes(&matcher);
        if let Matcher::Any(kind) = matcher {
            self.any[kind as usize] = None;
        } else if matcher.is_pattern()
            && let Some(moved) = self.index_of(&matcher).remove(&matcher, position)
        {
            self.slots[moved as usize].position = position;
        }
        self.free.push(selector);
        if self.free.len() == self.slots.len() {
            let newest = self.slots.iter().map(|slot| slot.generation).max().unwrap_or(0);
            self.first_generation = newest.wrapping_add(1);
            self.slots = Vec::new();
            self.free = Vec::new();
        }
    }
}

/// The memory an interned matcher and its places in the tables take, roughly.
fn owned_bytes(matcher: &Matcher) -> usize {
    match matcher {
        Matcher::Any(_) => 0,
        Matcher::Exact(text) | Matcher::Topic(text) => size_of::<Selector>() + 40 + text.len(),
        Matcher::Pattern(pattern) => size_of::<Selector>() + 100 + key_bytes(pattern) + pattern.owned_bytes(),
        Matcher::Template(template) => size_of::<Selector>() + 100 + template.owned_bytes(),
    }
}

#[cfg(test)]
impl Selectors {
    pub(crate) fn cached_topics(&self) -> usize {
        self.index.cached_topics() + self.templates.cached_topics()
    }

    pub(crate) fn recent_patterns(&self) -> usize {
        self.index.recent_patterns() + self.templates.recent_patterns()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::pattern_index::{CACHED_TOPICS_MAX, PATTERN_LOG_MAX};
    use crate::protocol::topic::ParsedTopic;

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

    const TEMPLATES: [&str; 10] = [
        "https://a.example/books/{id}",
        "https://a.example/{+path}",
        "{+base}/books/{id}",
        "https://a.example/books{/id}{/pages*}",
        "books/{id}",
        "/books/{id}",
        "urn:{a}:books:{b}",
        "{scheme}:asks",
        "https://b.example/x{?y}",
        "https://a.example/B{rest}",
    ];
    const MATCHERS: usize = 24 + 13 + TEMPLATES.len();

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    fn matchers() -> Vec<Matcher> {
        let parse = |kind, text| Matcher::parse(kind, text, &hub()).unwrap();
        let exact = TOPICS[..11].iter().map(|text| parse(MatchType::Exact, text));
        let patterns = PATTERNS.iter().map(|text| parse(MatchType::UrlPattern, text));
        let topics = ["*"].into_iter().chain(TOPICS).chain(TEMPLATES).map(|text| parse(MatchType::Topic, text));
        std::iter::once(Matcher::Any(MatchType::Exact)).chain(exact).chain(patterns).chain(topics).collect()
    }

    fn texts(selectors: &Selectors, found: &[u32]) -> Vec<String> {
        let text = |&selector: &u32| format!("{:?}", selectors.get(selector).matcher.as_ref().unwrap());
        let mut texts: Vec<String> = found.iter().map(text).collect();
        texts.sort();
        texts
    }

    fn pattern(text: &str) -> Matcher {
        Matcher::parse(MatchType::UrlPattern, text, &hub()).unwrap()
    }

    /// Resolves an event, in as many slices as it takes.
    fn resolve(selectors: &mut Selectors, event: &Event, slice_ns: u64, out: &mut Vec<u32>) {
        let mut resolution = Resolution::default();
        while !selectors.resolve(event, &mut resolution, &mut Budget::new(slice_ns), out) {}
    }

    #[test]
    fn a_selector_is_shared_and_gone_with_its_last_member() {
        let mut selectors = Selectors::new(hub(), usize::MAX);
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
        let mut selectors = Selectors::new(hub(), usize::MAX);
        let [any, books, never] = [0, 12, 23].map(|n| matchers()[n].clone());
        let event = Event::sample(1, &["https://a.example/books/1"], None, 0);
        let mut found = Vec::new();
        // Keeps the cache alive.
        selectors.join(&never, 1);
        let place = selectors.join(&books, 2);
        resolve(&mut selectors, &event, u64::MAX, &mut found);
        assert_eq!(found, [place.selector]);
        selectors.leave(place);
        let reused = selectors.join(&Matcher::Exact("urn:other".into()), 3);
        assert_eq!(reused.selector, place.selector);
        resolve(&mut selectors, &event, u64::MAX, &mut found);
        assert_eq!(found, [0; 0]);
        let any = selectors.join(&any, 4);
        resolve(&mut selectors, &event, u64::MAX, &mut found);
        assert_eq!(found, [any.selector]);
    }

    #[test]
    fn who_comes_and_goes_between_two_slices_gets_nothing_of_the_event() {
        let mut selectors = Selectors::new(hub(), usize::MAX);
        let event = Event::sample(1, &["https://a.example/books/1", "urn:x"], None, 0);
        let (mut resolution, mut found) = (Resolution::default(), Vec::new());
        let places: Vec<Place> = (0..20).map(|n| selectors.join(&pattern(&format!("https://*/:a{n}/1")), n)).collect();
        assert!(!selectors.resolve(&event, &mut resolution, &mut Budget::new(1), &mut found), "one pattern a slice");
        for place in &places[5..] {
            selectors.leave(*place);
        }
        let newcomers: Vec<u32> =
            (0..20).map(|n| selectors.join(&pattern(&format!("https://*/:b{n}/1")), n).selector).collect();
        while !selectors.resolve(&event, &mut resolution, &mut Budget::new(1), &mut found) {}
        assert!(!newcomers.iter().any(|selector| found.contains(selector)));
        assert_eq!(found.len(), 5);
        // The next event is theirs too.
        resolve(&mut selectors, &event, 1, &mut found);
        assert_eq!(found.len(), 25);
    }

    #[test]
    fn announcements_take_nobodys_place_in_the_cache() {
        let mut selectors = Selectors::new(hub(), usize::MAX);
        let observer = selectors.join(&pattern("/.well-known/mercure/subscriptions/:type/:match/:subscriber"), 1);
        let (mut found, topic) = (Vec::new(), "/.well-known/mercure/subscriptions/exact/a/s");
        resolve(&mut selectors, &Event::sample_announcement(1, topic), 1, &mut found);
        assert_eq!((found, selectors.cached_topics()), (vec![observer.selector], 0));
    }

    /// Seen: 100,000 patterns without a common prefix cost every fresh topic 29 ms.
    #[test]
    fn patterns_that_nothing_tells_apart_are_bounded() {
        let mut selectors = Selectors::new(hub(), usize::MAX);
        let mut places = Vec::new();
        for n in 0.. {
            let crowding = pattern(&format!("https://*/{n}-:a"));
            if !selectors.has_room(std::slice::from_ref(&crowding)) {
                break;
            }
            places.push(selectors.join(&crowding, n));
        }
        assert!((1_000..100_000).contains(&places.len()), "{}", places.len());
        let known = pattern("https://*/0-:a");
        assert!(selectors.has_room(&[known.clone(), Matcher::Any(MatchType::Exact), Matcher::Exact("urn:x".into())]));
        // Those that crowd nobody are welcome, and a segment of their own is enough; another crowd under a prefix of another
        // length isn't.
        assert!(selectors.has_room(&[known, pattern("urn\\:x\\:*"), pattern("https://*/:a/1")]));
        let mut crowd = 0;
        while selectors.has_room(&[pattern(&format!("http*://*/{crowd}-:a"))]) {
            places.push(selectors.join(&pattern(&format!("http*://*/{crowd}-:a")), crowd));
            crowd += 1;
        }
        assert!(crowd < 20, "{crowd}");
        // Each has its position in the list by key until the last has left.
        for place in places {
            selectors.leave(place);
        }
        assert!(selectors.has_room(&[pattern("https://*/0-:a")]));
    }

    #[test]
    fn templates_that_crowd_under_one_prefix_are_bounded() {
        let template = |text: &str| Matcher::parse(MatchType::Topic, text, &hub()).unwrap();
        let mut selectors = Selectors::new(hub(), usize::MAX);
        let mut places = 0;
        for n in 0.. {
            let crowding = template(&format!("{{a}}/{n}"));
            if !selectors.has_room(std::slice::from_ref(&crowding)) {
                break;
            }
            selectors.join(&crowding, n);
            places += 1;
        }
        assert!((1_000..100_000).contains(&places), "{places}");
        assert!(selectors.has_room(&[template("{a}/0"), template("urn:x:{a}"), pattern("https://*/:a")]));
    }

    /// The patterns of a topic are found in one slice and its templates in a later one: none is found twice.
    #[test]
    fn an_event_of_one_topic_finds_each_selector_once_however_small_the_slices() {
        let mut selectors = Selectors::new(hub(), usize::MAX);
        let all = matchers();
        for (slot, matcher) in (0..).zip(&all) {
            selectors.join(matcher, slot);
        }
        let event = Event::sample(1, &["https://a.example/books/1"], None, 0);
        let (mut at_once, mut bit_by_bit) = (Vec::new(), Vec::new());
        resolve(&mut selectors, &event, 1, &mut bit_by_bit);
        resolve(&mut selectors, &event, u64::MAX, &mut at_once);
        bit_by_bit.sort_unstable();
        at_once.sort_unstable();
        assert_eq!(bit_by_bit, at_once);
        let unique: std::collections::HashSet<_> = at_once.iter().collect();
        assert_eq!(unique.len(), at_once.len());
    }

    #[test]
    fn what_subscribers_ask_for_is_bounded_in_bytes() {
        let mut selectors = Selectors::new(hub(), 1_000);
        let long = Matcher::Exact("x".repeat(900).into());
        assert!(selectors.has_room(std::slice::from_ref(&long)));
        let place = selectors.join(&long, 1);
        assert!(selectors.has_room(&[long]) && !selectors.has_room(&[Matcher::Exact("y".into())]));
        selectors.leave(place);
        assert!(selectors.has_room(&[Matcher::Exact("y".into())]));
    }

    proptest! {
        #[test]
        fn resolving_is_matching_every_selector(
            slice_ns in proptest::sample::select(vec![1, 1_000, 3_000, u64::MAX]),
            steps in proptest::collection::vec(
                (0_u8..3, 0_usize..MATCHERS, proptest::collection::vec(0_usize..12, 1..4)),
                1..120,
            ),
        ) {
            let (hub, matchers) = (hub(), matchers());
            let mut selectors = Selectors::new(hub.clone(), usize::MAX);
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
                resolve(&mut selectors, &event, slice_ns, &mut found);
                prop_assert_eq!(texts(&selectors, &found), expected);
                for (matcher, place) in &members {
                    prop_assert_eq!(selectors.admits(&[*place], &event, &mut Budget::new(0)), fits(matcher));
                }
                prop_assert!(selectors.cached_topics() <= 2 * 2 * CACHED_TOPICS_MAX, "two indices");
                prop_assert!(selectors.recent_patterns() <= 2 * PATTERN_LOG_MAX);
            }
            while let Some((_, place)) = members.pop() {
                if let Some(moved) = selectors.leave(place).moved_slot {
                    members[moved as usize].1.position = place.position;
                }
            }
            prop_assert_eq!(selectors.slots.len() + selectors.cached_topics() + selectors.recent_patterns(), 0);
            prop_assert_eq!((selectors.index.is_empty(), selectors.templates.is_empty(), selectors.bytes), (true, true, 0));
            prop_assert!(selectors.interned.is_empty());
        }
    }
}
