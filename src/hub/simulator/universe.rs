//! The topics, matchers and grants of the simulated world, and which fit which, worked out here a second time and naively.

use std::sync::OnceLock;

use crate::protocol::matcher::{MatchType, Matcher};
use crate::protocol::topic::{HubUrl, Topic};

const HUB: &str = "https://hub.example/.well-known/mercure";
const TOPICS: [&str; 19] = [
    "https://sim.example/books/1",
    "https://sim.example/books/2",
    "https://sim.example/books/3",
    "https://sim.example/books/4",
    "https://sim.example/books/1/reviews",
    "https://sim.example/books/2/reviews",
    "https://sim.example/films/1",
    "https://other.example/users/1",
    "https://other.example/users/2",
    "https://other.example/users/3",
    "news/1",
    "news/2",
    "/rooms/1",
    "/rooms/2",
    "urn:sim:1",
    "urn:sim:2",
    // No URL: only its own text and `*` match it.
    "http://[broken",
    // What the hub says of somebody's subscription; nobody publishes to it.
    "/.well-known/mercure/subscriptions/exact/x/y",
    // Nobody asks for it by name.
    "https://sim.example/quiet",
];
const PATTERNS: [&str; 9] = [
    "https://sim.example/books/:id",
    "https://sim.example/books/*",
    "https://sim.example/:kind/1",
    "https://sim.example/*",
    "https://*/users/:id",
    "https://other.example/users/2",
    "news/:n",
    "/rooms/*",
    "*://hub.example/rooms/1",
];
/// Selectors of the protocol before 1.0: everything, a text that is also asked for exactly, and templates. Plain
/// ones: worlds have slices too small for regular expressions.
const OLD_TOPICS: [&str; 6] = [
    "*",
    "https://sim.example/books/1",
    "https://sim.example/books/{id}",
    "https://sim.example/{kind}/{id}",
    "news/{n}",
    "{a}/{b}",
];
/// Patterns that match nothing: each is a selector of somebody's own.
const STRAY_PATTERNS: usize = 30;
/// Exact selectors that match nothing.
const STRAY_EXACT: usize = 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Universe {
    pub(super) hub: HubUrl,
    pub(super) topics: Vec<Topic>,
    pub(super) matchers: Vec<Matcher>,
    /// `fits[matcher][topic]`.
    fits: Vec<Vec<bool>>,
    /// Matchers from here on match nothing.
    pub(super) stray: usize,
}

/// The topic of announcements.
pub(super) const ANNOUNCED: usize = TOPICS.len() - 2;
/// Matcher 0 is `*`, the next ones are the topics' own, in order; then come patterns.
pub(super) const ANY: usize = 0;
/// Where the patterns begin.
pub(super) const FIRST_PATTERN: usize = 1 + TOPICS.len();

impl Universe {
    /// The one there is.
    pub(super) fn get() -> &'static Universe {
        static UNIVERSE: OnceLock<Universe> = OnceLock::new();
        UNIVERSE.get_or_init(Universe::make)
    }

    fn make() -> Universe {
        let hub = HubUrl::parse(HUB).expect("a hub's URL");
        let topics = TOPICS.map(|text| Topic::parse(text, &hub).unwrap_or_else(|_| Topic::of_hub(text))).to_vec();
        assert!(Topic::reserved(topics[ANNOUNCED].as_str(), &hub), "the one that nobody can publish to");
        let mut texts = vec![(MatchType::Exact, "*".to_owned())];
        texts.extend(TOPICS.map(|text| (MatchType::Exact, text.to_owned())));
        texts.extend(PATTERNS.map(|text| (MatchType::UrlPattern, text.to_owned())));
        texts.extend(OLD_TOPICS.map(|text| (MatchType::Topic, text.to_owned())));
        let stray = texts.len();
        for n in 0..STRAY_PATTERNS {
            let text = match n % 2 {
                0 => format!("https://sim.example/none/{n}/:x"),
                _ => format!("https://sim.example/books/:id/none/{n}"),
            };
            texts.push((MatchType::UrlPattern, text));
        }
        for n in 0..STRAY_EXACT {
            texts.push((MatchType::Exact, format!("https://sim.example/none/{n}")));
        }
        let fits = texts.iter().map(|(kind, text)| TOPICS.map(|topic| fits(*kind, text, topic)).to_vec()).collect();
        let matchers = texts.iter().map(|(kind, text)| Matcher::parse(*kind, text, &hub).expect("a matcher")).collect();
        Universe { hub, topics, matchers, fits, stray }
    }

    /// Whether one of the matchers fits one of the topics.
    pub(super) fn any_fits(&self, matchers: &[usize], topics: &[usize]) -> bool {
        matchers.iter().any(|&matcher| topics.iter().any(|&topic| self.fits[matcher][topic]))
    }
}

fn fits(kind: MatchType, matcher: &str, topic: &str) -> bool {
    if matcher == "*" || kind == MatchType::Exact {
        return matcher == "*" || matcher == topic;
    }
    if kind == MatchType::Topic {
        // Templates in the other notation; of what is simulated, no value is empty and none of a name has a slash.
        return glob(matcher.replace('{', ":").replace('}', "").as_bytes(), topic.as_bytes());
    }
    !topic.contains('[') && glob(absolute(matcher).as_bytes(), absolute(topic).as_bytes())
}

fn absolute(text: &str) -> String {
    match text {
        _ if text.contains("://") || text.starts_with("urn:") => text.to_owned(),
        _ if text.starts_with('/') => format!("https://hub.example{text}"),
        _ => format!("https://hub.example/.well-known/{text}"),
    }
}

/// `*` is anything, `:name` something without a slash.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|taken| glob(rest, &text[taken..])),
        [b':', rest @ ..] if rest.first().is_some_and(u8::is_ascii_lowercase) => {
            let name = rest.iter().take_while(|b| b.is_ascii_lowercase()).count();
            let longest = text.iter().take_while(|&&b| b != b'/').count();
            (1..=longest).any(|taken| glob(&rest[name..], &text[taken..]))
        }
        [byte, rest @ ..] => text.first() == Some(byte) && glob(rest, &text[1..]),
    }
}

#[test]
fn the_naive_matching_agrees_with_the_protocols() {
    let universe = Universe::get();
    for (at, matcher) in universe.matchers.iter().enumerate() {
        for (topic_at, topic) in TOPICS.iter().enumerate() {
            let parsed = crate::protocol::topic::ParsedTopic::new(topic, &universe.hub);
            assert_eq!(matcher.matches(&parsed), universe.fits[at][topic_at], "{} and {topic}", matcher.text());
            assert!(at < universe.stray || !universe.fits[at][topic_at]);
        }
    }
}
