//! Active subscriptions (draft 1.0, "Active Subscriptions"; protocol §9): their addresses, the documents that describe them,
//! and the events that announce their beginning and their end.
//!
//! A connection has one subscription for each of its matchers, and one subscriber id for all of them.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

use super::compat::Compat;
use super::matcher::{MatchType, Matcher};
use super::token::Access;
use super::topic::{HubUrl, ParsedTopic, Topic};
use super::update::Update;

/// What follows the hub's path in the address of everything here.
const SEGMENT: &str = "/subscriptions";
/// The type of subscription events on the stream.
pub const EVENT_TYPE: &str = "mercure";

/// One subscription, as documents describe it.
#[derive(Clone, Copy, Debug)]
pub struct Subscription<'a> {
    /// What is subscribed to.
    pub matcher: &'a Matcher,
    /// The id of the connection, made by the hub.
    pub subscriber: &'a str,
    /// Whether it is still there.
    pub active: bool,
    /// What the token says about it.
    pub payload: Option<&'a Value>,
}

impl Subscription<'_> {
    /// The relative URL that is its topic and its document's id: each part percent-encoded once.
    pub fn address(&self, hub: &HubUrl) -> String {
        let mut address = collection_address(hub, self.matcher);
        address.push('/');
        push_encoded(&mut address, self.subscriber);
        address
    }

    /// Appends the document.
    pub fn write(&self, hub: &HubUrl, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"id":"#);
        write_text(&self.address(hub), out);
        if self.matcher.kind() == MatchType::Topic {
            out.extend_from_slice(br#","type":"subscription","topic":"#);
        } else {
            out.extend_from_slice(br#","type":"subscription","match_type":"#);
            write_text(self.matcher.kind().name(), out);
            out.extend_from_slice(br#","match":"#);
        }
        write_text(self.matcher.text(), out);
        out.extend_from_slice(br#","subscriber":"#);
        write_text(self.subscriber, out);
        out.extend_from_slice(if self.active { br#","active":true"# } else { br#","active":false"# });
        if let Some(payload) = self.payload {
            out.extend_from_slice(br#","payload":"#);
            serde_json::to_writer(&mut *out, payload).expect("writing to memory succeeds");
        }
        out.push(b'}');
    }

    /// The event that announces that it began or ended: always private.
    pub fn update(&self, hub: &HubUrl) -> Update {
        let mut document = Vec::with_capacity(256);
        self.write(hub, &mut document);
        announcement(&self.address(hub), String::from_utf8(document).expect("JSON is UTF-8"))
    }
}

/// The event of a subscription document.
pub fn announcement(address: &str, document: String) -> Update {
    Update {
        topics: vec![Topic::of_hub(address)],
        data: document,
        private: true,
        id: None,
        event_type: Some(EVENT_TYPE.to_owned()),
        retry: None,
    }
}

/// The payload of a subscription: the token says it, or nobody.
pub fn payload<'a>(access: Option<&'a Access>, matcher: &Matcher, hub: &HubUrl) -> Option<&'a Value> {
    let grants = &access?.grants;
    if grants.has_payloads() { grants.payload(&ParsedTopic::new(matcher.text(), hub)) } else { None }
}

/// Whether the hub announces subscriptions under topics this matcher may match. May say yes where the answer is no, never
/// the other way round.
pub fn may_match_announcements(matcher: &Matcher, hub: &HubUrl) -> bool {
    match matcher {
        Matcher::Any(_) => true,
        Matcher::Exact(text) | Matcher::Topic(text) => {
            text.strip_prefix(hub.path()).is_some_and(|rest| rest.starts_with(SEGMENT))
        }
        Matcher::Template(template) => {
            let (prefix, hub) = (template.prefix(), hub.path());
            prefix.starts_with(hub) || hub.starts_with(prefix)
        }
        Matcher::Pattern(pattern) => {
            let (prefix, hub) = (pattern.address_prefix(), hub.as_str());
            prefix.starts_with(hub) || hub.starts_with(prefix)
        }
    }
}

/// Where the subscriptions of one matcher are listed. Selectors of before version 1.0 have no type in their addresses.
pub fn collection_address(hub: &HubUrl, matcher: &Matcher) -> String {
    let mut address = all_address(hub);
    if matcher.kind() != MatchType::Topic {
        let _ = write!(address, "/{}", matcher.kind().name());
    }
    address.push('/');
    push_encoded(&mut address, matcher.text());
    address
}

/// Where all subscriptions are listed.
pub fn all_address(hub: &HubUrl) -> String {
    format!("{}{SEGMENT}", hub.path())
}

/// What a request for subscriptions asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// All of them.
    All,
    /// Those of one matcher.
    Of {
        /// Its type.
        kind: MatchType,
        /// Its value.
        text: String,
    },
    /// One subscription.
    One {
        /// The type of its matcher.
        kind: MatchType,
        /// The value of its matcher.
        text: String,
        /// The subscriber's id.
        subscriber: String,
    },
}

/// Why a path below the hub's names no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// It isn't about subscriptions, or has too few or too many segments.
    #[error(
        "there is nothing here; subscriptions are at …/subscriptions, …/subscriptions/TYPE/MATCH and …/subscriptions/TYPE/MATCH/SUBSCRIBER"
    )]
    Unknown,
    /// No such matcher type.
    #[error("{0:?} is no matcher type; those are exact and urlpattern")]
    Type(String),
    /// A percent sign without two hexadecimal digits, or bytes that aren't UTF-8.
    #[error("the segment {0:?} isn't percent-encoded UTF-8")]
    Encoding(String),
}

impl Resource {
    /// Reads what follows the hub's path in that of a request; the addresses of before version 1.0 too, if it is spoken.
    pub fn parse(rest: &str, compat: Option<Compat>) -> Result<Resource, ResourceError> {
        let rest = rest.strip_prefix(SEGMENT).ok_or(ResourceError::Unknown)?;
        if rest.is_empty() {
            return Ok(Resource::All);
        }
        let mut segments = rest.strip_prefix('/').ok_or(ResourceError::Unknown)?.split('/');
        let of_before = |text| compat.is_some().then_some((MatchType::Topic, text));
        let (first, second, third) = match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some(first), second, third, None) => (first, second, third),
            _ => return Err(ResourceError::Unknown),
        };
        let ((kind, text), subscriber) = match (MatchType::from_name(first), second) {
            (Some(kind), Some(text)) => ((kind, text), third),
            (_, subscriber) => match (of_before(first), third) {
                (Some(topic), None) if !first.is_empty() => (topic, subscriber),
                _ if second.is_none() => return Err(ResourceError::Unknown),
                _ => return Err(ResourceError::Type(first.to_owned())),
            },
        };
        let text = decoded(text)?;
        Ok(match subscriber {
            None => Resource::Of { kind, text },
            Some(subscriber) => Resource::One { kind, text, subscriber: decoded(subscriber)? },
        })
    }
}

/// A segment, decoded once.
fn decoded(segment: &str) -> Result<String, ResourceError> {
    let refused = || ResourceError::Encoding(segment.to_owned());
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2).ok_or_else(refused)?;
                let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(refused);
                rest = after;
                u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).expect("two digits are a byte")
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| refused())
}

/// Everything but the unreserved characters of RFC 3986 §2.3 is encoded.
fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A JSON string.
fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory succeeds");
}

/// The value of the `Link` field that every answer of the API carries: where the hub is, and after which event its
/// announcements have to be followed to keep the answer current.
pub fn link(hub: &HubUrl, last_event_id: &str) -> String {
    let id = quotable(last_event_id);
    format!(r#"<{}>; rel="mercure"; last-event-id="{id}"; type="mercure"; content-type="application/json""#, hub.path())
}

/// The inside of a quoted string (RFC 9110 §5.6.4).
fn quotable(text: &str) -> Cow<'_, str> {
    if text.contains(['"', '\\']) {
        Cow::Owned(text.replace('\\', r"\\").replace('"', r#"\""#))
    } else {
        Cow::Borrowed(text)
    }
}

/// An entity tag of an event's id: what an `ETag` can't hold is percent-encoded (RFC 9110 §8.8.3).
pub fn entity_tag(last_event_id: &str) -> String {
    let mut tag = String::with_capacity(last_event_id.len() + 2);
    tag.push('"');
    for byte in last_event_id.bytes() {
        match byte {
            b'!' | b'#'..=b'$' | b'&'..=b'~' => tag.push(char::from(byte)),
            _ => {
                let _ = write!(tag, "%{byte:02X}");
            }
        }
    }
    tag.push('"');
    tag
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ID: &str = "urn:uuid:9c0d2f7e-8f43-8b1e-9c55-0a6a31f7e9d2";

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    fn matcher(kind: MatchType, text: &str) -> Matcher {
        Matcher::parse(kind, text, &hub()).unwrap()
    }

    fn document(subscription: &Subscription<'_>) -> Value {
        let mut out = Vec::new();
        subscription.write(&hub(), &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_document_says_what_is_subscribed_to_by_whom() {
        let matcher = matcher(MatchType::UrlPattern, "https://e.com/:id");
        let payload = json!({"name": "Zoë \"Z\""});
        let mut subscription =
            Subscription { matcher: &matcher, subscriber: ID, active: true, payload: Some(&payload) };
        let address = "/.well-known/mercure/subscriptions/urlpattern/https%3A%2F%2Fe.com%2F%3Aid/urn%3Auuid%3A9c0d2f7e-8f43-8b1e-9c55-0a6a31f7e9d2";
        assert_eq!(
            document(&subscription),
            json!({"id": address, "type": "subscription", "match_type": "urlpattern", "match": "https://e.com/:id",
                "subscriber": ID, "active": true, "payload": {"name": "Zoë \"Z\""}})
        );
        subscription.active = false;
        subscription.payload = None;
        let ended = document(&subscription);
        assert_eq!((&ended["active"], ended.get("payload")), (&json!(false), None));
    }

    #[test]
    fn an_announcement_is_private_and_of_type_mercure_under_a_reserved_topic() {
        let matcher = Matcher::Any(MatchType::Exact);
        let update = Subscription { matcher: &matcher, subscriber: "s", active: true, payload: None }.update(&hub());
        assert!(update.private && update.id.is_none());
        assert_eq!(update.event_type.as_deref(), Some("mercure"));
        assert_eq!(update.topics[0].as_str(), "/.well-known/mercure/subscriptions/exact/%2A/s");
        assert!(Topic::reserved(update.topics[0].as_str(), &hub()));
    }

    #[test]
    fn each_part_is_encoded_exactly_once() {
        let matcher = matcher(MatchType::Exact, "a%2Fb c/é");
        let subscription = Subscription { matcher: &matcher, subscriber: "x", active: true, payload: None };
        assert_eq!(subscription.address(&hub()), "/.well-known/mercure/subscriptions/exact/a%252Fb%20c%2F%C3%A9/x");
    }

    #[test]
    fn a_path_names_all_those_of_a_matcher_or_one() {
        let of = |text: &str| Resource::Of { kind: MatchType::Exact, text: text.into() };
        assert_eq!(Resource::parse("/subscriptions", None), Ok(Resource::All));
        assert_eq!(Resource::parse("/subscriptions/exact/a%2Fb%252F", None), Ok(of("a/b%2F")));
        assert_eq!(Resource::parse("/subscriptions/exact/", None), Ok(of("")));
        let one = Resource::One { kind: MatchType::UrlPattern, text: "/:a".into(), subscriber: "urn:x".into() };
        assert_eq!(Resource::parse("/subscriptions/urlpattern/%2F%3Aa/urn%3Ax", None), Ok(one));
        for unknown in
            ["", "/", "/subscriptionsx", "/subscriptions/", "/subscriptions/exact", "/subscriptions/exact/a/b/c"]
        {
            assert_eq!(Resource::parse(unknown, None), Err(ResourceError::Unknown), "{unknown}");
        }
        assert_eq!(Resource::parse("/subscriptions/Exact/a", None), Err(ResourceError::Type("Exact".into())));
        for broken in ["%", "%4", "%zz", "%FF", "a%"] {
            let refused = Err(ResourceError::Encoding(broken.into()));
            assert_eq!(Resource::parse(&format!("/subscriptions/exact/{broken}"), None), refused);
            assert_eq!(Resource::parse(&format!("/subscriptions/exact/a/{broken}"), None), refused);
        }
    }

    #[test]
    fn selectors_of_before_1_0_have_documents_and_addresses_of_their_own() {
        let matcher = matcher(MatchType::Topic, "/a/{b}");
        let subscription = Subscription { matcher: &matcher, subscriber: "s", active: true, payload: None };
        let address = "/.well-known/mercure/subscriptions/%2Fa%2F%7Bb%7D/s";
        assert_eq!(
            document(&subscription),
            json!({"id": address, "type": "subscription", "topic": "/a/{b}", "subscriber": "s", "active": true})
        );
        let compat = Some(Compat::Eight);
        let parse = |path| Resource::parse(path, compat);
        let of = |kind, text: &str| Ok(Resource::Of { kind, text: text.into() });
        let one = |kind, text: &str| Ok(Resource::One { kind, text: text.into(), subscriber: "s".into() });
        assert_eq!(parse("/subscriptions/%2Fa%2F%7Bb%7D"), of(MatchType::Topic, "/a/{b}"));
        assert_eq!(parse("/subscriptions/%2Fa%2F%7Bb%7D/s"), one(MatchType::Topic, "/a/{b}"));
        // Two segments of which the first is a type are a collection of today.
        assert_eq!(parse("/subscriptions/exact/s"), of(MatchType::Exact, "s"));
        assert_eq!(parse("/subscriptions/exact"), of(MatchType::Topic, "exact"));
        assert_eq!(parse("/subscriptions/exact/a/s"), one(MatchType::Exact, "a"));
        assert_eq!(parse("/subscriptions/a/b/c"), Err(ResourceError::Type("a".into())));
        assert_eq!(parse("/subscriptions/"), Err(ResourceError::Unknown));
    }

    #[test]
    fn the_link_quotes_the_id_and_the_entity_tag_can_hold_any() {
        assert_eq!(
            link(&hub(), r#"a"b\c"#),
            r#"</.well-known/mercure>; rel="mercure"; last-event-id="a\"b\\c"; type="mercure"; content-type="application/json""#
        );
        assert_eq!(entity_tag(ID), format!("\"{ID}\""));
        assert_eq!(entity_tag("a \"é%"), "\"a%20%22%C3%A9%25\"");
    }

    #[test]
    fn who_may_read_announcements_is_never_overlooked() {
        let hub = hub();
        let (yes, no) = (true, false);
        for (kind, text, expected) in [
            (MatchType::Exact, "*", yes),
            (MatchType::Exact, "/.well-known/mercure/subscriptions/exact/a/b", yes),
            (MatchType::Exact, "https://e.com/1", no),
            (MatchType::UrlPattern, "/.well-known/mercure/subscriptions/:type/:match/:subscriber", yes),
            (MatchType::UrlPattern, "https://hub.example/*", yes),
            (MatchType::UrlPattern, "https://*/.well-known/*", yes),
            (MatchType::UrlPattern, "https://e.com/:id", no),
            (MatchType::UrlPattern, "/rooms/:id", no),
            (MatchType::Topic, "/.well-known/mercure/subscriptions{/topic}{/subscriber}", yes),
            (MatchType::Topic, "{+anything}", yes),
            (MatchType::Topic, "/.well-known/mercure/subscriptions/a/b", yes),
            (MatchType::Topic, "https://e.com/{id}", no),
        ] {
            assert_eq!(may_match_announcements(&matcher(kind, text), &hub), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_addressed_is_found_again(text in "\\PC{1,30}", subscriber in "\\PC{1,30}") {
            prop_assume!(Matcher::parse(MatchType::Exact, &text, &hub()).is_ok());
            let matcher = matcher(MatchType::Exact, &text);
            let address = Subscription { matcher: &matcher, subscriber: &subscriber, active: true, payload: None }.address(&hub());
            let rest = address.strip_prefix(hub().path()).unwrap();
            prop_assert!(rest.is_ascii());
            prop_assert_eq!(Resource::parse(rest, None), Ok(Resource::One { kind: MatchType::Exact, text, subscriber }));
        }
    }
}
