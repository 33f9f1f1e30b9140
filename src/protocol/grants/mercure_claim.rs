//! The claim of tokens before version 1.0: `mercure`, or under its full name `https://mercure.rocks/`.

use serde_json::{Map, Value};

use super::{Grants, Payload, boxed};
use crate::protocol::matcher::{MatchType, Matcher, MatcherError};
use crate::protocol::pattern::Asker;
use crate::protocol::topic::HubUrl;

/// The claim under its full name, which wins.
const FULL_NAME: &str = "https://mercure.rocks/";
/// The claim.
const NAME: &str = "mercure";
/// Entries of `publish`, and of `subscribe`, in one token.
pub const CLAIM_ENTRIES_MAX: usize = 1000;
const _: () = assert!(CLAIM_ENTRIES_MAX <= u16::MAX as usize);

/// Which rule the claim breaks. Entries are counted from 0, as JSON tools do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The claim isn't an object.
    #[error("the claim {claim} must be an object, such as {{\"subscribe\":[\"https://example.com/books/{{id}}\"]}}")]
    NotAnObject {
        /// The claim's name.
        claim: &'static str,
    },
    /// `publish` or `subscribe` isn't an array.
    #[error("{action} of the claim {claim} must be an array of strings or objects")]
    NotAnArray {
        /// The claim's name.
        claim: &'static str,
        /// The member.
        action: &'static str,
    },
    /// More than [`CLAIM_ENTRIES_MAX`] entries.
    #[error(
        "{action} of the claim {claim} has more than {CLAIM_ENTRIES_MAX} entries; use templates that cover several topics"
    )]
    TooMany {
        /// The claim's name.
        claim: &'static str,
        /// The member.
        action: &'static str,
    },
    /// An entry is neither a string nor an object with a string `match`.
    #[error(
        "{action}[{entry}] of the claim {claim} must be a string, or an object such as {{\"match\":\"urn:room:1\"}}"
    )]
    Entry {
        /// The claim's name.
        claim: &'static str,
        /// The member.
        action: &'static str,
        /// The entry's place in it.
        entry: usize,
    },
    /// `match_type` is there and not the name of a type.
    #[error(
        "{action}[{entry}].match_type of the claim {claim} must be \"exact\" or \"urlpattern\", or left out for \"exact\""
    )]
    MatchType {
        /// The claim's name.
        claim: &'static str,
        /// The member.
        action: &'static str,
        /// The entry's place in it.
        entry: usize,
    },
    /// An entry is no matcher of its type.
    #[error("{action}[{entry}] of the claim {claim}: {reason}")]
    Matcher {
        /// The claim's name.
        claim: &'static str,
        /// The member.
        action: &'static str,
        /// The entry's place in it.
        entry: usize,
        /// What is wrong with it.
        reason: MatcherError,
    },
}

impl Grants {
    /// Reads the claim of before version 1.0. Without one nothing is granted.
    pub fn from_mercure_claim(claims: &Map<String, Value>, hub: &HubUrl) -> Result<Grants, ClaimError> {
        let found = [FULL_NAME, NAME].into_iter().find_map(|name| Some((name, claims.get(name)?)));
        let Some((claim, value)) = found else {
            return Ok(Grants::default());
        };
        let members = value.as_object().ok_or(ClaimError::NotAnObject { claim })?;
        let read = |action| Entries { claim, action }.read(members, hub);
        let (publish, subscribe) = (read("publish")?, read("subscribe")?);
        let mut payloads = Vec::new();
        for (place, (_, payload)) in (0_u16..).zip(&subscribe) {
            payloads.extend(payload.map(|value| Payload { matchers: Some(place..place + 1), value: value.clone() }));
        }
        let shared = members.get("payload").filter(|payload| !payload.is_null());
        payloads.extend(shared.map(|value| Payload { matchers: None, value: value.clone() }));
        let matchers = |entries: Vec<(Matcher, _)>| entries.into_iter().map(|(matcher, _)| matcher).collect();
        Ok(Grants { publish: matchers(publish), subscribe: matchers(subscribe), payloads: boxed(payloads) })
    }
}

/// One of the two arrays.
#[derive(Clone, Copy)]
struct Entries {
    claim: &'static str,
    action: &'static str,
}

impl Entries {
    /// The matchers with the payloads that stand beside them. A missing array, or null, is an empty one.
    fn read<'v>(
        self,
        members: &'v Map<String, Value>,
        hub: &HubUrl,
    ) -> Result<Vec<(Matcher, Option<&'v Value>)>, ClaimError> {
        let Entries { claim, action } = self;
        let entries = match members.get(action) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(entries)) if entries.len() > CLAIM_ENTRIES_MAX => {
                return Err(ClaimError::TooMany { claim, action });
            }
            Some(Value::Array(entries)) => entries,
            Some(_) => return Err(ClaimError::NotAnArray { claim, action }),
        };
        entries.iter().enumerate().map(|(entry, value)| self.entry(entry, value, hub)).collect()
    }

    fn entry<'v>(
        self,
        entry: usize,
        value: &'v Value,
        hub: &HubUrl,
    ) -> Result<(Matcher, Option<&'v Value>), ClaimError> {
        let Entries { claim, action } = self;
        let (kind, text, payload) = match value {
            Value::String(text) => (MatchType::Topic, text.as_str(), None),
            Value::Object(object) => {
                let text = object.get("match").and_then(Value::as_str).filter(|text| !text.is_empty());
                let kind = match object.get("match_type") {
                    None => Some(MatchType::Exact),
                    Some(name) => name.as_str().and_then(MatchType::from_name),
                };
                let kind = kind.ok_or(ClaimError::MatchType { claim, action, entry })?;
                let payload = object.get("payload").filter(|payload| !payload.is_null());
                (kind, text.ok_or(ClaimError::Entry { claim, action, entry })?, payload)
            }
            _ => return Err(ClaimError::Entry { claim, action, entry }),
        };
        let matcher = Matcher::parse_for(Asker::Token, kind, text, hub).map_err(|reason| ClaimError::Matcher {
            claim,
            action,
            entry,
            reason,
        })?;
        Ok((matcher, payload))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::topic::ParsedTopic;

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    fn read(claims: Value) -> Result<Grants, ClaimError> {
        Grants::from_mercure_claim(claims.as_object().unwrap(), &hub())
    }

    fn may(grants: &Grants, topic: &str) -> (bool, bool) {
        let topic = ParsedTopic::new(topic, &hub());
        (grants.may_publish(&topic), grants.may_subscribe(&topic))
    }

    #[test]
    fn strings_are_texts_templates_or_the_wildcard() {
        let grants =
            read(json!({"mercure": {"publish": ["*"], "subscribe": ["urn:a", "https://e.com/{id}"]}})).unwrap();
        assert_eq!(may(&grants, "urn:a"), (true, true));
        assert_eq!(may(&grants, "https://e.com/7"), (true, true));
        assert_eq!(may(&grants, "https://e.com/7/8"), (true, false));
        assert_eq!(may(&grants, "https://e.com/{id}"), (true, false));
    }

    #[test]
    fn objects_are_exact_unless_they_name_a_type() {
        let grants = read(json!({"mercure": {"publish": [{"match": "https://e.com/{id}"}],
            "subscribe": [{"match": "/r/:id", "match_type": "urlpattern", "unknown": 1}, {"match": "*"}]}}))
        .unwrap();
        assert_eq!(may(&grants, "https://e.com/{id}"), (true, true));
        assert!(!may(&grants, "https://e.com/7").0);
        assert_eq!(grants.subscribe[0].kind(), MatchType::UrlPattern);
    }

    #[test]
    fn the_claim_under_its_full_name_wins() {
        let claims =
            json!({"https://mercure.rocks/": {"publish": ["urn:full"]}, "mercure": {"publish": ["urn:short"]}});
        let grants = read(claims).unwrap();
        assert_eq!((may(&grants, "urn:full").0, may(&grants, "urn:short").0), (true, false));
        assert!(read(json!({"https://mercure.rocks/": 1, "mercure": {}})).is_err(), "also when it can't be read");
    }

    #[test]
    fn without_a_claim_or_its_arrays_nothing_is_granted() {
        for claims in [json!({}), json!({"mercure": {}}), json!({"mercure": {"publish": [], "subscribe": null}})] {
            assert_eq!(read(claims).unwrap(), Grants::default());
        }
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        let (claim, action) = (NAME, "publish");
        for bad in [json!(null), json!("x"), json!(["urn:a"])] {
            assert_eq!(read(json!({"mercure": bad})), Err(ClaimError::NotAnObject { claim }));
        }
        for bad in [json!("urn:a"), json!({}), json!(true)] {
            assert_eq!(read(json!({"mercure": {"publish": bad}})), Err(ClaimError::NotAnArray { claim, action }));
        }
        let entry = |bad: Value| read(json!({"mercure": {"publish": ["urn:a", bad]}})).unwrap_err();
        for bad in [json!(1), json!(null), json!(["a"]), json!({}), json!({"match": 1}), json!({"match": ""})] {
            assert_eq!(entry(bad), ClaimError::Entry { claim, action, entry: 1 });
        }
        for bad in [json!(null), json!("topic"), json!("Exact"), json!(1)] {
            let object = json!({"match": "*", "match_type": bad});
            assert_eq!(entry(object), ClaimError::MatchType { claim, action, entry: 1 });
        }
        for bad in [json!("a\nb"), json!({"match": "(", "match_type": "urlpattern"}), json!("{a:9999}")] {
            assert!(matches!(entry(bad), ClaimError::Matcher { entry: 1, .. }));
        }
    }

    #[test]
    fn each_array_holds_a_thousand_entries() {
        let many = |count: usize| vec!["urn:a"; count];
        let grants = read(json!({"mercure": {"publish": many(1000), "subscribe": many(1000)}})).unwrap();
        assert_eq!((grants.publish.len(), grants.subscribe.len()), (1000, 1000));
        let (claim, action) = (NAME, "subscribe");
        assert_eq!(read(json!({"mercure": {"subscribe": many(1001)}})), Err(ClaimError::TooMany { claim, action }));
    }

    #[test]
    fn a_payload_beside_an_entry_comes_before_the_one_for_every_subscription() {
        let grants = read(json!({"mercure": {
            "subscribe": ["urn:none", {"match": "urn:a", "payload": {"n": 1}}, "urn:{x}", {"match": "*", "payload": [2]}],
            "payload": "shared"}}))
        .unwrap();
        let hub = hub();
        let payload = |text| grants.payload(&ParsedTopic::new(text, &hub)).cloned();
        assert_eq!(payload("urn:a"), Some(json!({"n": 1})));
        assert_eq!(payload("urn:none"), Some(json!("shared")), "the first entry that covers it has none");
        assert_eq!(payload("urn:{x}"), Some(json!("shared")));
        assert_eq!(payload("https://e.com/"), Some(json!([2])));
        let grants = read(json!({"mercure": {"payload": {"n": 1}}})).unwrap();
        let payload = |text| grants.payload(&ParsedTopic::new(text, &hub)).cloned();
        assert_eq!(payload("urn:anything"), Some(json!({"n": 1})), "nothing needs to be granted for it");
    }
}
