//! Subscribe requests: the matchers and the cursor in a query, or in a form that joins it.

use std::str;

use thiserror::Error;

use super::compat::Compat;
use super::form;
use super::matcher::{MatchType, Matcher, MatcherError};
use super::pattern::{PATTERN_BYTES_MAX, PatternError};
use super::topic::HubUrl;

/// What the matchers of one subscription may cost a topic, nanoseconds: for a cursor all of them are tried in one go.
const MATCHERS_NS_MAX: u64 = 2_000_000;

/// What a subscribe request may hold unless configured otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeLimits {
    /// Matchers of one request, repeated ones included.
    pub matchers_max: usize,
    /// Bytes of one matcher's value, of either type.
    pub matcher_bytes_max: usize,
    /// Whether the parameters of before version 1.0 are read too.
    pub compat: Option<Compat>,
}

impl Default for SubscribeLimits {
    fn default() -> SubscribeLimits {
        SubscribeLimits { matchers_max: 100, matcher_bytes_max: PATTERN_BYTES_MAX, compat: None }
    }
}

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// At least one, each once, in the order of the request.
    pub matchers: Vec<Matcher>,
    /// The cursor of the `last_event_id` parameter, empty included. The `Last-Event-ID` header, if any, beats it.
    pub last_event_id: Option<String>,
}

/// Which rule a subscribe request broke; each means 400, unless it may pass. The texts are for the subscriber.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SubscribeError {
    /// There is no matcher.
    #[error("nothing is subscribed to; add at least one match=TOPIC or match_urlpattern=PATTERN")]
    NoMatcher,
    /// There are more matchers than the hub takes.
    #[error("there are more than {max} matchers; use fewer, or patterns that match several topics")]
    TooManyMatchers {
        /// The limit.
        max: usize,
    },
    /// Its patterns together would take too long to judge an event by.
    #[error(
        "the patterns take too long to match, all together; use fewer regular expressions and wildcards, or several subscriptions"
    )]
    TooCostly,
    /// A name that starts like those of matchers and isn't one.
    #[error("the parameter {name:?} is unknown; those for matchers are match, match_exact and match_urlpattern")]
    UnknownMatcher {
        /// The decoded name.
        name: String,
    },
    /// The parameter of the protocol before 1.0.
    #[error(
        "the parameter topic belongs to an earlier version of the protocol; use match=TOPIC or match_urlpattern=PATTERN"
    )]
    Topic,
    /// A matcher is longer than the hub takes.
    #[error("a value of {name} has {length} bytes; at most {max} are accepted")]
    TooLong {
        /// The parameter.
        name: &'static str,
        /// The value's bytes.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// A matcher is not UTF-8.
    #[error("a value of {name} is not valid UTF-8; encode it as UTF-8 before percent-encoding it")]
    NotUtf8 {
        /// The parameter.
        name: &'static str,
    },
    /// A matcher is not well-formed.
    #[error("a value of {name} is not accepted: {error}")]
    Matcher {
        /// The parameter.
        name: &'static str,
        /// The rule it broke.
        error: MatcherError,
    },
}

impl SubscribeError {
    /// Whether the same request may be fine later: the hub is full, the request isn't wrong.
    pub fn may_pass(&self) -> bool {
        matches!(self, SubscribeError::Matcher { error: MatcherError::Pattern(PatternError::TooManyRegexes), .. })
    }
}

impl Subscribe {
    /// Reads the query of a request, without its `?`.
    pub fn from_query(query: &str, hub: &HubUrl, limits: &SubscribeLimits) -> Result<Subscribe, SubscribeError> {
        Subscribe::from_forms(&[query.as_bytes()], hub, limits)
    }

    /// Reads the union of several forms: the query first, then a body.
    ///
    /// The first `last_event_id` wins, so that the query's beats the body's. Limits count over all forms.
    pub fn from_forms(forms: &[&[u8]], hub: &HubUrl, limits: &SubscribeLimits) -> Result<Subscribe, SubscribeError> {
        let mut matchers = Vec::new();
        let mut matchers_seen = 0;
        let mut last_event_id: Option<String> = None;
        let mut old_cursor: Option<String> = None;
        let reads_old_cursor = limits.compat.is_some_and(Compat::reads_old_cursor);
        for (name, value) in forms.iter().flat_map(|form| form::pairs(form)) {
            if let Some((name, kind)) = matcher_name(&name, limits.compat)? {
                if matchers_seen == limits.matchers_max {
                    return Err(SubscribeError::TooManyMatchers { max: limits.matchers_max });
                }
                matchers_seen += 1;
                let matcher = parse_matcher(name, kind, &value, hub, limits)?;
                if !matchers.contains(&matcher) {
                    matchers.push(matcher);
                }
            } else if *name == *b"last_event_id" && last_event_id.is_none() {
                // An id that isn't UTF-8 is an unknown one, not an error.
                last_event_id = Some(String::from_utf8_lossy(&value).into_owned());
            } else if *name == *b"Last-Event-ID" && reads_old_cursor && old_cursor.is_none() {
                old_cursor = Some(String::from_utf8_lossy(&value).into_owned());
            }
        }
        if matchers.is_empty() {
            return Err(SubscribeError::NoMatcher);
        }
        if matchers.iter().map(Matcher::typical_cost_ns).sum::<u64>() > MATCHERS_NS_MAX {
            return Err(SubscribeError::TooCostly);
        }
        // As with the header, an empty one lets the next decide.
        let given = last_event_id.as_ref().is_some_and(|id| !id.is_empty());
        let last_event_id = if given { last_event_id } else { old_cursor.or(last_event_id) };
        Ok(Subscribe { matchers, last_event_id })
    }
}

/// The matcher type a parameter's name stands for; `None` for parameters that are ignored.
fn matcher_name(name: &[u8], compat: Option<Compat>) -> Result<Option<(&'static str, MatchType)>, SubscribeError> {
    match name {
        b"match" => Ok(Some(("match", MatchType::Exact))),
        b"match_exact" => Ok(Some(("match_exact", MatchType::Exact))),
        b"match_urlpattern" => Ok(Some(("match_urlpattern", MatchType::UrlPattern))),
        b"topic" if compat.is_some() => Ok(Some(("topic", MatchType::Topic))),
        b"topic" => Err(SubscribeError::Topic),
        // The draft keeps all names that start so, in any case, for matchers to come.
        _ if name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"match")) => {
            Err(SubscribeError::UnknownMatcher { name: String::from_utf8_lossy(name).into_owned() })
        }
        _ => Ok(None),
    }
}

fn parse_matcher(
    name: &'static str,
    kind: MatchType,
    value: &[u8],
    hub: &HubUrl,
    limits: &SubscribeLimits,
) -> Result<Matcher, SubscribeError> {
    let (length, max) = (value.len(), limits.matcher_bytes_max);
    if length > max {
        return Err(SubscribeError::TooLong { name, length, max });
    }
    let value = str::from_utf8(value).map_err(|_| SubscribeError::NotUtf8 { name })?;
    Matcher::parse(kind, value, hub).map_err(|error| SubscribeError::Matcher { name, error })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::text::TextError;

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    fn parse(query: &str) -> Result<Subscribe, SubscribeError> {
        Subscribe::from_query(query, &hub(), &SubscribeLimits::default())
    }

    fn matcher(kind: MatchType, value: &str) -> Matcher {
        Matcher::parse(kind, value, &hub()).unwrap()
    }

    #[test]
    fn matchers_of_all_names_are_joined() {
        let subscribe =
            parse("match=foo&match_urlpattern=https%3A%2F%2Fe.com%2F%3Aid&match_exact=b+c&x=y&last_event_id=7")
                .unwrap();
        let expected = [
            matcher(MatchType::Exact, "foo"),
            matcher(MatchType::UrlPattern, "https://e.com/:id"),
            matcher(MatchType::Exact, "b c"),
        ];
        assert_eq!(subscribe.matchers, expected);
        assert_eq!(subscribe.last_event_id.as_deref(), Some("7"));
    }

    #[test]
    fn identical_matchers_are_kept_once() {
        let subscribe = parse("match=a&match_exact=a&match_urlpattern=a&match=*&match_urlpattern=*").unwrap();
        let [any_exact, any_pattern] = [MatchType::Exact, MatchType::UrlPattern].map(Matcher::Any);
        let expected = [matcher(MatchType::Exact, "a"), matcher(MatchType::UrlPattern, "a"), any_exact, any_pattern];
        assert_eq!(subscribe.matchers, expected);
    }

    #[test]
    fn names_that_start_with_match_are_reserved_in_any_case() {
        for name in ["matcher", "Match", "match_foo", "match[]", "match_Exact", "MATCH_EXACT", "matchx", "match_"] {
            let error = SubscribeError::UnknownMatcher { name: name.into() };
            assert_eq!(parse(&format!("match=a&{name}=b")), Err(error.clone()));
            let encoded: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
            assert_eq!(parse(&format!("match=a&{encoded}=b")), Err(error));
        }
        for name in ["matc", "amatch", "%C5%BFmatch", "mat%20ch"] {
            assert!(parse(&format!("match=a&{name}=b")).is_ok(), "{name}");
        }
        assert!(parse("%6Datch=a").is_ok());
    }

    #[test]
    fn a_request_without_matcher_is_refused() {
        for query in ["", "x=y", "last_event_id=1"] {
            assert_eq!(parse(query), Err(SubscribeError::NoMatcher));
        }
    }

    #[test]
    fn the_topic_parameter_is_refused_with_advice() {
        let error = parse("topic=a&match=b").unwrap_err();
        assert_eq!(error, SubscribeError::Topic);
        assert!(error.to_string().contains("use match="));
    }

    fn parse_compat(compat: Compat, query: &str) -> Result<Subscribe, SubscribeError> {
        let limits = SubscribeLimits { compat: Some(compat), ..SubscribeLimits::default() };
        Subscribe::from_query(query, &hub(), &limits)
    }

    #[test]
    fn in_compatibility_mode_topic_is_a_matcher_like_the_others() {
        let parse = |query: &str| parse_compat(Compat::Eight, query);
        let subscribe = parse("topic=a&match=a&topic=%2Fb%2F%7Bid%7D&topic=a&topic=*&match_urlpattern=/c").unwrap();
        let kinds: Vec<_> = subscribe.matchers.iter().map(|matcher| (matcher.kind().name(), matcher.text())).collect();
        let expected = [("topic", "a"), ("exact", "a"), ("topic", "/b/{id}"), ("topic", "*"), ("urlpattern", "/c")];
        assert_eq!(kinds, expected);
        assert!(matches!(&subscribe.matchers[2], Matcher::Template(_)));
        let text = MatcherError::Text(TextError { forbidden: '\u{7F}', at: 0 });
        assert_eq!(parse("topic=%7F"), Err(SubscribeError::Matcher { name: "topic", error: text }));
        assert_eq!(parse("topic=%FF"), Err(SubscribeError::NotUtf8 { name: "topic" }));
        assert_eq!(parse(&"topic=a&match=a&".repeat(51)), Err(SubscribeError::TooManyMatchers { max: 100 }));
        for name in ["Topic", "topics", "TOPIC"] {
            assert_eq!(parse(&format!("{name}=a")), Err(SubscribeError::NoMatcher), "{name}");
        }
    }

    #[test]
    fn the_cursor_of_version_seven_comes_after_that_of_today() {
        let cursor = |compat, query: &str| parse_compat(compat, query).unwrap().last_event_id;
        let seven = |query: &str| cursor(Compat::Seven, query);
        assert_eq!(seven("topic=a&Last-Event-ID=1&Last-Event-ID=2").as_deref(), Some("1"));
        assert_eq!(seven("topic=a&Last-Event-ID=1&last_event_id=2").as_deref(), Some("2"));
        assert_eq!(seven("topic=a&last_event_id&Last-Event-ID=1").as_deref(), Some("1"));
        assert_eq!(seven("topic=a&last_event_id").as_deref(), Some(""));
        for other in ["lastEventID", "lastEventId", "Last-Event-Id", "last-event-id"] {
            assert_eq!(seven(&format!("topic=a&{other}=1")), None, "{other}");
        }
        assert_eq!(cursor(Compat::Eight, "topic=a&Last-Event-ID=1"), None);
    }

    #[test]
    fn one_bad_value_rejects_everything() {
        let text = MatcherError::Text(TextError { forbidden: '\u{7F}', at: 0 });
        assert_eq!(parse("match=a&match=%7F"), Err(SubscribeError::Matcher { name: "match", error: text }));
        assert_eq!(parse("match=a&match_exact=%FF"), Err(SubscribeError::NotUtf8 { name: "match_exact" }));
        assert!(matches!(
            parse("match=a&match_urlpattern=%7B"),
            Err(SubscribeError::Matcher { name: "match_urlpattern", error: MatcherError::Pattern(_) })
        ));
    }

    #[test]
    fn limits_count_repeated_matchers_and_bytes() {
        let hundred = "match=a&".repeat(100);
        assert_eq!(parse(&hundred).unwrap().matchers.len(), 1);
        assert_eq!(parse(&(hundred + "match=a")), Err(SubscribeError::TooManyMatchers { max: 100 }));
        let longest = "a".repeat(4096);
        assert!(parse(&format!("match={longest}")).is_ok());
        let error = SubscribeError::TooLong { name: "match_urlpattern", length: 4097, max: 4096 };
        assert_eq!(parse(&format!("match_urlpattern={longest}a")), Err(error));
    }

    #[test]
    fn the_first_cursor_wins_and_an_empty_one_is_one() {
        let cursor = |query: &str| parse(query).unwrap().last_event_id;
        assert_eq!(cursor("match=a&last_event_id=1&last_event_id=2").as_deref(), Some("1"));
        assert_eq!(cursor("match=a&last_event_id").as_deref(), Some(""));
        assert_eq!(cursor("match=a&last_event_id=%FF").as_deref(), Some("\u{FFFD}"));
        assert_eq!(cursor("match=a&lastEventID=1&Last-Event-ID=2"), None);
    }

    #[test]
    fn a_body_joins_the_query_whose_cursor_wins() {
        let forms: [&[u8]; 2] = [b"match=a&last_event_id=q", b"match=b&match=a&last_event_id=b"];
        let subscribe = Subscribe::from_forms(&forms, &hub(), &SubscribeLimits::default()).unwrap();
        assert_eq!(subscribe.matchers, [matcher(MatchType::Exact, "a"), matcher(MatchType::Exact, "b")]);
        assert_eq!(subscribe.last_event_id.as_deref(), Some("q"));
    }

    proptest! {
        #[test]
        fn any_query_is_judged_without_panic(query in "(match(_urlpattern)?=)?\\PC{0,30}(&\\PC{0,10}=\\PC{0,10}){0,3}") {
            let _ = parse(&query);
        }
    }
}
