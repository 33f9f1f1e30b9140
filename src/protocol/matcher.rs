//! Matchers: what a subscriber asks for, and what a token grants.

use std::sync::Arc;

use thiserror::Error;

use super::pattern::{Asker, PatternError, UrlPattern};
use super::template::Template;
use super::text::{self, TextError};
use super::topic::{HubUrl, ParsedTopic};

/// Comparing a topic with a text.
const COMPARISON_NS: u64 = 10;

/// How a matcher's value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchType {
    /// The topic is the value, byte for byte.
    Exact,
    /// The topic, read as a URL, fits the value, read as a WHATWG URL pattern.
    UrlPattern,
    /// As before version 1.0: the topic is the value or, if that is a URI template, one of its expansions. Only where
    /// that version is spoken too.
    Topic,
}

impl MatchType {
    /// Every type.
    pub const ALL: [MatchType; 3] = [MatchType::Exact, MatchType::UrlPattern, MatchType::Topic];

    /// The type of that name in a request or a token. Names are case-sensitive; `topic` isn't one.
    pub fn from_name(name: &str) -> Option<MatchType> {
        match name {
            "exact" => Some(MatchType::Exact),
            "urlpattern" => Some(MatchType::UrlPattern),
            _ => None,
        }
    }

    /// `exact`, `urlpattern` or `topic`.
    pub fn name(self) -> &'static str {
        match self {
            MatchType::Exact => "exact",
            MatchType::UrlPattern => "urlpattern",
            MatchType::Topic => "topic",
        }
    }
}

/// A parsed matcher. Cheap to clone; equal matchers match the same topics of one hub.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matcher {
    /// `*`: every topic, also one that is no URL. The type changes nothing but how the subscription is listed.
    Any(MatchType),
    /// The topic of exactly this text.
    Exact(Arc<str>),
    /// The topics whose URL fits.
    Pattern(Arc<UrlPattern>),
    /// The topic of exactly this text, selected as before version 1.0.
    Topic(Arc<str>),
    /// The topics the template expands to, selected as before version 1.0.
    Template(Arc<Template>),
}

/// Why a value is no matcher of its type.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MatcherError {
    /// It holds a forbidden character.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It is no pattern the hub takes.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl Matcher {
    /// Parses a value of a subscription. `*` is the wildcard whatever the type.
    pub fn parse(kind: MatchType, value: &str, hub: &HubUrl) -> Result<Matcher, MatcherError> {
        Matcher::parse_for(Asker::Subscription, kind, value, hub)
    }

    /// Parses a value on behalf of a subscription or a token.
    pub fn parse_for(asker: Asker, kind: MatchType, value: &str, hub: &HubUrl) -> Result<Matcher, MatcherError> {
        if value == "*" {
            return Ok(Matcher::Any(kind));
        }
        text::check(value)?;
        Ok(match kind {
            MatchType::Exact => Matcher::Exact(value.into()),
            MatchType::UrlPattern => Matcher::Pattern(UrlPattern::parse(value, hub, asker)?),
            MatchType::Topic => {
                let template = if value.contains('{') { Template::parse(value, asker)? } else { None };
                template.map_or_else(|| Matcher::Topic(value.into()), Matcher::Template)
            }
        })
    }

    /// Whether the topic is one of those meant.
    pub fn matches(&self, topic: &ParsedTopic<'_>) -> bool {
        match self {
            Matcher::Any(_) => true,
            Matcher::Exact(text) | Matcher::Topic(text) => **text == *topic.text,
            Matcher::Pattern(pattern) => topic.url.as_ref().is_some_and(|url| pattern.matches(url)),
            Matcher::Template(template) => template.matches(topic.text),
        }
    }

    /// What [`Matcher::matches`] may cost, nanoseconds: an upper bound by which work is cut into slices.
    pub fn cost_ns(&self, topic: &ParsedTopic<'_>) -> u64 {
        match (self, &topic.url) {
            (Matcher::Pattern(pattern), Some(url)) => pattern.cost_ns(url.as_str().len()),
            (Matcher::Template(template), _) => template.cost_ns(topic.text.len()),
            _ => COMPARISON_NS,
        }
    }

    /// The same for a topic as long as most.
    pub fn typical_cost_ns(&self) -> u64 {
        match self {
            Matcher::Pattern(pattern) => pattern.typical_cost_ns(),
            Matcher::Template(template) => template.typical_cost_ns(),
            _ => COMPARISON_NS,
        }
    }

    /// Whether topics have to be read as URLs for it.
    pub fn reads_urls(&self) -> bool {
        matches!(self, Matcher::Pattern(_))
    }

    /// Whether it has to be tried on topics: a pattern or a template.
    pub fn is_pattern(&self) -> bool {
        matches!(self, Matcher::Pattern(_) | Matcher::Template(_))
    }

    /// The value as it was written.
    pub fn text(&self) -> &str {
        match self {
            Matcher::Any(_) => "*",
            Matcher::Exact(text) | Matcher::Topic(text) => text,
            Matcher::Pattern(pattern) => pattern.text(),
            Matcher::Template(template) => template.text(),
        }
    }

    /// The type.
    pub fn kind(&self) -> MatchType {
        match self {
            Matcher::Any(kind) => *kind,
            Matcher::Exact(_) => MatchType::Exact,
            Matcher::Pattern(_) => MatchType::UrlPattern,
            Matcher::Topic(_) | Matcher::Template(_) => MatchType::Topic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    fn matches(kind: MatchType, value: &str, topic: &str) -> bool {
        Matcher::parse(kind, value, &hub()).unwrap().matches(&ParsedTopic::new(topic, &hub()))
    }

    #[test]
    fn type_names_are_case_sensitive() {
        assert_eq!(MatchType::from_name("exact"), Some(MatchType::Exact));
        assert_eq!(MatchType::from_name("urlpattern"), Some(MatchType::UrlPattern));
        for other in ["Exact", "URLPattern", "", "regexp", "exact ", "topic"] {
            assert_eq!(MatchType::from_name(other), None);
        }
        for kind in [MatchType::Exact, MatchType::UrlPattern] {
            assert_eq!(MatchType::from_name(kind.name()), Some(kind));
        }
    }

    #[test]
    fn a_star_matches_everything_under_every_type() {
        for kind in MatchType::ALL {
            assert_eq!(Matcher::parse(kind, "*", &hub()), Ok(Matcher::Any(kind)));
            for topic in ["", "a", "https://[bad", "urn:x"] {
                assert!(matches(kind, "*", topic));
            }
        }
    }

    #[test]
    fn what_only_contains_a_star_is_no_wildcard() {
        for value in ["**", " *", "%2A"] {
            assert!(matches(MatchType::Exact, value, value));
            assert!(!matches(MatchType::Exact, value, "other"));
        }
    }

    #[test]
    fn exact_is_byte_equality_without_any_normalisation() {
        assert!(matches(MatchType::Exact, "/a/1", "/a/1"));
        for other in ["https://hub.example/a/1", "/a/%31", "/A/1", "/a/./1", "/a/1/"] {
            assert!(!matches(MatchType::Exact, "/a/1", other));
        }
        assert!(!matches(MatchType::Exact, "é", "e\u{301}"));
    }

    #[test]
    fn a_topic_selector_is_a_template_if_it_can_be_and_else_a_text() {
        let parse = |text| Matcher::parse(MatchType::Topic, text, &hub()).unwrap();
        assert_eq!(parse("*"), Matcher::Any(MatchType::Topic));
        for (text, topic, other) in [
            ("https://e.com/{id}", "https://e.com/1", "https://e.com/{id}"),
            ("https://e.com/1", "https://e.com/1", "/1"),
            ("https://e.com/{i d}", "https://e.com/{i d}", "https://e.com/1"),
            ("/r/{id}", "/r/1", "https://hub.example/r/1"),
            (":id", ":id", "1"),
        ] {
            assert!(matches(MatchType::Topic, text, topic), "{text}");
            assert!(!matches(MatchType::Topic, text, other), "{text}");
            assert_eq!((parse(text).kind(), parse(text).text()), (MatchType::Topic, text));
            assert!(!parse(text).reads_urls());
        }
    }

    #[test]
    fn a_pattern_never_matches_a_topic_that_is_no_url() {
        assert!(!matches(MatchType::UrlPattern, "https://*", "https://[bad"));
    }

    #[test]
    fn forbidden_characters_are_refused_under_every_type() {
        for kind in MatchType::ALL {
            let error = Matcher::parse(kind, "/a\u{200B}", &hub()).unwrap_err();
            assert_eq!(error, MatcherError::Text(TextError { forbidden: '\u{200B}', at: 2 }));
        }
    }

    #[test]
    fn equal_values_of_one_type_are_equal_matchers() {
        let parse = |kind, value| Matcher::parse(kind, value, &hub()).unwrap();
        assert_eq!(parse(MatchType::UrlPattern, "/a"), parse(MatchType::UrlPattern, "/a"));
        assert_ne!(parse(MatchType::UrlPattern, "/a"), parse(MatchType::Exact, "/a"));
        assert_ne!(parse(MatchType::Topic, "/a"), parse(MatchType::Exact, "/a"));
        assert_eq!(parse(MatchType::Topic, "/{a}"), parse(MatchType::Topic, "/{a}"));
        assert_eq!(parse(MatchType::UrlPattern, "/a").text(), "/a");
        assert_eq!(parse(MatchType::UrlPattern, "/a").kind(), MatchType::UrlPattern);
    }
}
