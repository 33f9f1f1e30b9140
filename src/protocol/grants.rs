//! What a token lets its bearer do: the Mercure entries of `authorization_details` (draft 1.0, "Authorization"; RFC 9396).
//!
//! Nothing is granted that isn't written there, and one Mercure entry that can't be read makes the whole token invalid:
//! a hub that skipped it would act on half of what the issuer meant.

mod mercure_claim;

use std::ops::Range;

use serde_json::{Map, Value};

pub use mercure_claim::{CLAIM_ENTRIES_MAX, ClaimError};

use super::matcher::{MatchType, Matcher, MatcherError};
use super::pattern::Asker;
use super::topic::{HubUrl, ParsedTopic, Topic};

/// The `type` of the entries that are for a hub.
pub const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";
/// Mercure entries in one token.
pub const DETAILS_MAX: usize = 100;
/// Topics in one token, over all its Mercure entries.
pub const DETAIL_TOPICS_MAX: usize = 100;

/// The rights of one token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    /// What updates may be published to: every topic of an update needs one of these.
    pub publish: Box<[Matcher]>,
    /// Which private updates may be read: one topic of an update needs one of these.
    pub subscribe: Box<[Matcher]>,
    /// Boxed twice on purpose: most tokens have none, and it is one word then.
    payloads: Option<Box<Box<[Payload]>>>,
}

/// What an entry's bearer is announced with in subscription documents.
#[derive(Debug, Clone, PartialEq)]
struct Payload {
    /// The entry's places in `Grants::subscribe`; `None`: of every subscription that has no payload otherwise.
    matchers: Option<Range<u16>>,
    value: Value,
}
const _: () = assert!(DETAIL_TOPICS_MAX <= u16::MAX as usize);

/// Which rule `authorization_details` breaks. Entries and topics are counted from 0, as JSON tools do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantsError {
    /// The claim isn't an array.
    #[error("authorization_details must be an array of objects")]
    NotAnArray,
    /// An entry isn't an object.
    #[error("authorization_details[{entry}] must be an object")]
    EntryNotAnObject {
        /// Its place in the array.
        entry: usize,
    },
    /// More than [`DETAILS_MAX`] Mercure entries.
    #[error("authorization_details has more than {DETAILS_MAX} entries for a hub; put several topics into one entry")]
    TooManyEntries,
    /// `actions` is missing, empty, or not made of strings.
    #[error("authorization_details[{entry}].actions must be a non-empty array of strings, such as [\"subscribe\"]")]
    Actions {
        /// The entry's place in the array.
        entry: usize,
    },
    /// `topics` is missing, empty, or not made of objects.
    #[error(
        "authorization_details[{entry}].topics must be a non-empty array of objects, such as [{{\"match\":\"urn:room:1\"}}]"
    )]
    Topics {
        /// The entry's place in the array.
        entry: usize,
    },
    /// More than [`DETAIL_TOPICS_MAX`] topics.
    #[error("authorization_details has more than {DETAIL_TOPICS_MAX} topics; use patterns that cover several")]
    TooManyTopics,
    /// `match` is missing, empty, or not a string.
    #[error("authorization_details[{entry}].topics[{topic}].match must be a non-empty string")]
    Match {
        /// The entry's place in the array.
        entry: usize,
        /// The topic's place in the entry.
        topic: usize,
    },
    /// `match_type` is there and not the name of a type.
    #[error(
        "authorization_details[{entry}].topics[{topic}].match_type must be \"exact\" or \"urlpattern\", or left out for \"exact\""
    )]
    MatchType {
        /// The entry's place in the array.
        entry: usize,
        /// The topic's place in the entry.
        topic: usize,
    },
    /// `match` is no value of its type.
    #[error("authorization_details[{entry}].topics[{topic}].match: {reason}")]
    Matcher {
        /// The entry's place in the array.
        entry: usize,
        /// The topic's place in the entry.
        topic: usize,
        /// What is wrong with it.
        reason: MatcherError,
    },
    /// `payload` is there and not an object.
    #[error("authorization_details[{entry}].payload must be an object")]
    Payload {
        /// The entry's place in the array.
        entry: usize,
    },
}

impl Grants {
    /// Reads the claim `authorization_details`. Entries of another type are skipped unread.
    pub fn from_details(details: &Value, hub: &HubUrl) -> Result<Grants, GrantsError> {
        let details = details.as_array().ok_or(GrantsError::NotAnArray)?;
        let (mut publish, mut subscribe, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
        let mut entries = 0;
        let mut topics = 0;
        for (entry, detail) in details.iter().enumerate() {
            let detail = detail.as_object().ok_or(GrantsError::EntryNotAnObject { entry })?;
            if detail.get("type").and_then(Value::as_str) != Some(DETAIL_TYPE) {
                continue;
            }
            entries += 1;
            if entries > DETAILS_MAX {
                return Err(GrantsError::TooManyEntries);
            }
            let actions = actions(detail, entry)?;
            let matchers = matchers(detail, entry, DETAIL_TOPICS_MAX - topics, hub)?;
            topics += matchers.len();
            let payload = match detail.get("payload") {
                None => None,
                Some(payload @ Value::Object(_)) => Some(payload),
                Some(_) => return Err(GrantsError::Payload { entry }),
            };
            if actions.contains(&"subscribe") {
                let place = |index: usize| u16::try_from(index).expect("at most DETAIL_TOPICS_MAX topics");
                let matchers_of_entry = Some(place(subscribe.len())..place(subscribe.len() + matchers.len()));
                payloads.extend(payload.map(|value| Payload { matchers: matchers_of_entry, value: value.clone() }));
                subscribe.extend_from_slice(&matchers);
            }
            if actions.contains(&"publish") {
                publish.extend(matchers);
            }
        }
        Ok(Grants { publish: publish.into(), subscribe: subscribe.into(), payloads: boxed(payloads) })
    }

    /// Whether an update may name this topic. An update may be published when all of its topics may be named.
    pub fn may_publish(&self, topic: &ParsedTopic<'_>) -> bool {
        self.publish.iter().any(|matcher| matcher.matches(topic))
    }

    /// The same of a topic that was not parsed yet, and isn't where its text alone decides.
    pub fn may_publish_to(&self, topic: &Topic, hub: &HubUrl) -> bool {
        let plainly = |matcher: &Matcher| match matcher {
            Matcher::Any(_) => true,
            Matcher::Exact(text) | Matcher::Topic(text) => **text == *topic.as_str(),
            Matcher::Pattern(_) | Matcher::Template(_) => false,
        };
        self.publish.iter().any(plainly) || self.may_publish(&ParsedTopic::new(topic.as_str(), hub))
    }

    /// Whether a private update with this topic, among others, may be read.
    pub fn may_subscribe(&self, topic: &ParsedTopic<'_>) -> bool {
        self.subscribe.iter().any(|matcher| matcher.matches(topic))
    }

    /// The matcher as the grants have it, if they have an equal one: many subscribe to exactly what they are granted, and
    /// need not hold it twice.
    pub fn shared(&self, matcher: Matcher) -> Matcher {
        self.subscribe.iter().find(|granted| **granted == matcher).cloned().unwrap_or(matcher)
    }

    /// Whether there is a payload for any subscription.
    pub fn has_payloads(&self) -> bool {
        self.payloads.is_some()
    }

    /// The payload of the first `subscribe` entry that covers a subscription, whose matcher's value is read as a topic.
    /// An object, but for tokens of before version 1.0, which may have any JSON and one for all subscriptions.
    pub fn payload(&self, subscription: &ParsedTopic<'_>) -> Option<&Value> {
        // A pattern covers a subscription to itself, also where its own text isn't among the URLs it matches.
        let covers = |matcher: &Matcher| matcher.text() == subscription.text || matcher.matches(subscription);
        let first = self.subscribe.iter().position(covers).and_then(|place| u16::try_from(place).ok());
        let of_entry = |payload: &&Payload| match (&payload.matchers, first) {
            (Some(matchers), Some(first)) => matchers.contains(&first),
            _ => false,
        };
        let payloads = self.payloads.as_ref()?;
        let payload = payloads.iter().find(of_entry);
        let payload = payload.or_else(|| payloads.iter().find(|payload| payload.matchers.is_none()))?;
        Some(&payload.value)
    }
}

fn boxed(payloads: Vec<Payload>) -> Option<Box<Box<[Payload]>>> {
    (!payloads.is_empty()).then(|| Box::new(payloads.into()))
}

/// The strings of `actions`, those unknown to a hub included.
fn actions(detail: &Map<String, Value>, entry: usize) -> Result<Vec<&str>, GrantsError> {
    match detail.get("actions").and_then(Value::as_array) {
        Some(actions) if !actions.is_empty() => {
            let strings: Option<Vec<_>> = actions.iter().map(Value::as_str).collect();
            strings.ok_or(GrantsError::Actions { entry })
        }
        _ => Err(GrantsError::Actions { entry }),
    }
}

fn matchers(
    detail: &Map<String, Value>,
    entry: usize,
    count_max: usize,
    hub: &HubUrl,
) -> Result<Vec<Matcher>, GrantsError> {
    let topics = detail.get("topics").and_then(Value::as_array).ok_or(GrantsError::Topics { entry })?;
    if topics.is_empty() {
        return Err(GrantsError::Topics { entry });
    }
    if topics.len() > count_max {
        return Err(GrantsError::TooManyTopics);
    }
    let matcher = |(topic, object): (usize, &Value)| {
        let object = object.as_object().ok_or(GrantsError::Topics { entry })?;
        let text = object.get("match").and_then(Value::as_str).filter(|text| !text.is_empty());
        let text = text.ok_or(GrantsError::Match { entry, topic })?;
        let kind = match object.get("match_type") {
            None => Some(MatchType::Exact),
            Some(name) => name.as_str().and_then(MatchType::from_name),
        };
        let kind = kind.ok_or(GrantsError::MatchType { entry, topic })?;
        Matcher::parse_for(Asker::Token, kind, text, hub).map_err(|reason| GrantsError::Matcher {
            entry,
            topic,
            reason,
        })
    };
    topics.iter().enumerate().map(matcher).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    fn read(details: Value) -> Result<Grants, GrantsError> {
        Grants::from_details(&details, &hub())
    }

    fn entry(changes: Value) -> Value {
        let mut entry =
            json!({"type": DETAIL_TYPE, "actions": ["publish", "subscribe"], "topics": [{"match": "urn:a"}]});
        for (name, value) in changes.as_object().unwrap() {
            entry[name] = value.clone();
        }
        entry
    }

    fn without(name: &str) -> Value {
        let mut entry = entry(json!({}));
        entry.as_object_mut().unwrap().remove(name);
        entry
    }

    fn texts(matchers: &[Matcher]) -> Vec<&str> {
        matchers.iter().map(Matcher::text).collect()
    }

    #[test]
    fn actions_say_what_the_topics_are_granted_for() {
        let grants = read(json!([
            entry(json!({"actions": ["publish"], "topics": [{"match": "urn:p"}, {"match": "urn:q"}]})),
            entry(
                json!({"actions": ["subscribe", "dance"], "topics": [{"match": "urn:s", "unknown": 1}], "unknown": 1})
            ),
            entry(json!({"actions": ["publish", "subscribe", "publish"], "topics": [{"match": "*"}]})),
        ]))
        .unwrap();
        assert_eq!(texts(&grants.publish), ["urn:p", "urn:q", "*"]);
        assert_eq!(texts(&grants.subscribe), ["urn:s", "*"]);
    }

    #[test]
    fn a_topic_is_granted_by_one_matcher_of_the_action() {
        let grants = read(json!([
            entry(json!({"actions": ["publish"], "topics": [{"match": "urn:p"}]})),
            entry(json!({"actions": ["subscribe"],
                "topics": [{"match": "https://e.com/:id", "match_type": "urlpattern"}, {"match": "/s/:x", "match_type": "urlpattern"}]})),
        ]))
        .unwrap();
        let hub = hub();
        let may = |topic| {
            let topic = ParsedTopic::new(topic, &hub);
            (grants.may_publish(&topic), grants.may_subscribe(&topic))
        };
        assert_eq!(may("urn:p"), (true, false));
        assert_eq!(may("https://e.com/1"), (false, true));
        assert_eq!(may("https://hub.example/s/1"), (false, true));
        assert_eq!(may("https://e.com/1/2"), (false, false));
    }

    #[test]
    fn nothing_is_granted_by_an_empty_array_or_by_unknown_actions() {
        assert_eq!(read(json!([])).unwrap(), Grants::default());
        assert_eq!(read(json!([entry(json!({"actions": ["Publish", ""]}))])).unwrap(), Grants::default());
    }

    #[test]
    fn entries_of_another_type_are_skipped_unread() {
        let others = json!([
            {"type": "payment", "actions": null, "topics": 1},
            {"type": "https://mercure.rocks/Authorization-detail", "actions": []},
            {"type": "https://mercure.rocks/authorization-detail/"},
            {"type": 1}, {},
        ]);
        assert_eq!(read(others).unwrap(), Grants::default());
    }

    #[test]
    fn details_are_an_array_of_objects() {
        for details in [json!(null), json!({}), json!("x"), entry(json!({}))] {
            assert_eq!(read(details), Err(GrantsError::NotAnArray));
        }
        assert_eq!(read(json!([entry(json!({})), "x"])), Err(GrantsError::EntryNotAnObject { entry: 1 }));
        assert_eq!(read(json!([null])), Err(GrantsError::EntryNotAnObject { entry: 0 }));
    }

    #[test]
    fn actions_are_a_non_empty_array_of_strings() {
        for bad in [json!(null), json!([]), json!("publish"), json!(["publish", null]), json!(["publish", 1])] {
            assert_eq!(read(json!([entry(json!({"actions": bad}))])), Err(GrantsError::Actions { entry: 0 }));
        }
        assert_eq!(read(json!([without("actions")])), Err(GrantsError::Actions { entry: 0 }));
    }

    #[test]
    fn topics_are_a_non_empty_array_of_objects() {
        for bad in [json!(null), json!([]), json!("urn:a"), json!(["urn:a"]), json!([{"match": "urn:a"}, null])] {
            assert_eq!(read(json!([entry(json!({"topics": bad}))])), Err(GrantsError::Topics { entry: 0 }));
        }
        assert_eq!(read(json!([without("topics")])), Err(GrantsError::Topics { entry: 0 }));
    }

    #[test]
    fn a_match_is_a_valid_non_empty_string() {
        for bad in
            [json!({}), json!({"match": null}), json!({"match": 1}), json!({"match": ""}), json!({"Match": "urn:a"})]
        {
            let details = json!([entry(json!({"topics": [{"match": "urn:a"}, bad]}))]);
            assert_eq!(read(details), Err(GrantsError::Match { entry: 0, topic: 1 }));
        }
        for bad in [
            json!({"match": "a\nb"}),
            json!({"match": "a\u{200b}b"}),
            json!({"match": "(", "match_type": "urlpattern"}),
        ] {
            let details = json!([entry(json!({"topics": [bad]}))]);
            assert!(matches!(read(details), Err(GrantsError::Matcher { entry: 0, topic: 0, .. })));
        }
    }

    #[test]
    fn a_match_type_is_a_supported_name_also_beside_the_wildcard() {
        for bad in [json!(null), json!(""), json!("Exact"), json!("URLPattern"), json!("regex"), json!(["exact"])] {
            let details = json!([entry(json!({"topics": [{"match": "*", "match_type": bad}]}))]);
            assert_eq!(read(details), Err(GrantsError::MatchType { entry: 0, topic: 0 }));
        }
    }

    #[test]
    fn a_payload_is_an_object() {
        for bad in [json!(null), json!("x"), json!([]), json!(1)] {
            for actions in [["publish"], ["subscribe"]] {
                let details = json!([entry(json!({"actions": actions, "payload": bad}))]);
                assert_eq!(read(details), Err(GrantsError::Payload { entry: 0 }));
            }
        }
    }

    #[test]
    fn one_bad_entry_spoils_all() {
        let details = json!([entry(json!({})), entry(json!({"actions": ["dance"], "topics": [{"match": ""}]}))]);
        assert_eq!(read(details), Err(GrantsError::Match { entry: 1, topic: 0 }));
    }

    #[test]
    fn entries_topics_and_pattern_lengths_have_limits() {
        let topics = |count: usize| Value::from(vec![json!({"match": "urn:a"}); count]);
        let entries = |count: usize| Value::from(vec![entry(json!({})); count]);
        assert_eq!(read(entries(DETAILS_MAX)).unwrap().publish.len(), 100);
        assert_eq!(read(entries(DETAILS_MAX + 1)), Err(GrantsError::TooManyEntries));
        assert_eq!(read(json!([entry(json!({"topics": topics(100)}))])).unwrap().subscribe.len(), 100);
        assert_eq!(read(json!([entry(json!({"topics": topics(101)}))])), Err(GrantsError::TooManyTopics));
        let split = json!([entry(json!({"topics": topics(60)})), entry(json!({"topics": topics(41)}))]);
        assert_eq!(read(split), Err(GrantsError::TooManyTopics));
        let pattern = |bytes: usize| {
            let text = format!("https://e.com/{}", "a".repeat(bytes - 14));
            json!([entry(json!({"topics": [{"match": text, "match_type": "urlpattern"}]}))])
        };
        assert!(read(pattern(4096)).is_ok());
        assert!(matches!(read(pattern(4097)), Err(GrantsError::Matcher { .. })));
    }

    #[test]
    fn other_types_do_not_count_against_the_limit() {
        let mut details = vec![json!({"type": "payment"}); 500];
        details.push(entry(json!({})));
        assert_eq!(read(details.into()).unwrap().publish.len(), 1);
    }

    #[test]
    fn the_payload_is_that_of_the_first_entry_that_covers_the_subscription() {
        let grants = read(json!([
            entry(json!({"actions": ["publish"], "topics": [{"match": "*"}], "payload": {"n": 0}})),
            entry(json!({"topics": [{"match": "urn:none"}]})),
            entry(json!({"topics": [{"match": "urn:a"}, {"match": "/r/:x", "match_type": "urlpattern"}], "payload": {"n": 1}})),
            entry(json!({"topics": [{"match": "/q/(a|b)", "match_type": "urlpattern"}], "payload": {"n": 2}})),
            entry(json!({"topics": [{"match": "*"}], "payload": {"n": 3}})),
        ]))
        .unwrap();
        let hub = hub();
        let payload = |text| grants.payload(&ParsedTopic::new(text, &hub)).map(|payload| payload["n"].clone());
        assert_eq!(payload("urn:a"), Some(json!(1)));
        assert_eq!(payload("/r/:x"), Some(json!(1)));
        assert_eq!(payload("/r/7"), Some(json!(1)));
        assert_eq!(payload("/q/(a|b)"), Some(json!(2)));
        assert_eq!(payload("urn:else"), Some(json!(3)));
        assert_eq!(payload("urn:none"), None);
    }
}
