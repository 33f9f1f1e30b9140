//! Topics, the hub's own URL, and the namespace the hub keeps for itself.

use std::borrow::{Borrow, Cow};
use std::sync::Arc;

use thiserror::Error;
use url::{Position, Url};

use super::text::{self, TextError};

/// Where a hub answers unless configured otherwise.
pub const HUB_PATH: &str = "/.well-known/mercure";

/// The hub's own URL: the base of relative topics and patterns, and the root of the reserved namespace. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubUrl(Arc<Hub>);

#[derive(Debug, PartialEq, Eq)]
struct Hub {
    url: Url,
    /// The path with percent-encoded unreserved characters decoded: what reserved topics are compared with.
    plain_path: String,
}

/// Why a text can't be the hub's URL.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HubUrlError {
    /// Not an absolute URL.
    #[error("the hub's URL is not an absolute URL ({0}); write it in full, as in http://localhost:3000{HUB_PATH}")]
    Unparsable(url::ParseError),
    /// Neither `http` nor `https`.
    #[error("the hub's URL has the scheme {0}; it has to be http or https")]
    Scheme(String),
    /// It names a user or a password, which every relative topic would inherit.
    #[error("the hub's URL names a user or a password; please remove them")]
    Credentials,
    /// It has a query or a fragment.
    #[error("the hub's URL has a query or a fragment; please remove everything from the ? or # on")]
    QueryOrFragment,
    /// Its path ends in a slash: what is below it could not be told from what is beside it.
    #[error("the hub's URL ends in a slash; name a path without one, such as {HUB_PATH}")]
    TrailingSlash,
}

impl HubUrl {
    /// Parses an absolute `http` or `https` URL such as `http://localhost:3000/.well-known/mercure`.
    pub fn parse(text: &str) -> Result<HubUrl, HubUrlError> {
        let url = Url::parse(text).map_err(HubUrlError::Unparsable)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HubUrlError::Scheme(url.scheme().to_owned()));
        }
        if has_credentials(&url) {
            return Err(HubUrlError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(HubUrlError::QueryOrFragment);
        }
        if url.path().ends_with('/') {
            return Err(HubUrlError::TrailingSlash);
        }
        let plain_path = decode_unreserved(url.path()).into_owned();
        Ok(HubUrl(Arc::new(Hub { url, plain_path })))
    }

    /// The whole URL, normalised.
    pub fn as_str(&self) -> &str {
        self.0.url.as_str()
    }

    /// The parsed URL.
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// Its path, by default [`HUB_PATH`].
    pub fn path(&self) -> &str {
        self.0.url.path()
    }
}

/// A topic an update may be published to. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a text can't be published to.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TopicError {
    /// It holds a forbidden character.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It is `*`, which stands for all topics and therefore is none.
    #[error("a topic can't be \"*\": that stands for all topics; name the one you mean")]
    Wildcard,
    /// It lies in the hub's own namespace.
    #[error("the topic is the hub's own URL or lies below it, and those are kept for the hub; choose another one")]
    Reserved,
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Topic {
    /// Accepts what an update may be published to: a valid string that is neither `*` nor reserved.
    pub fn parse(text: &str, hub: &HubUrl) -> Result<Topic, TopicError> {
        text::check(text)?;
        if text == "*" {
            return Err(TopicError::Wildcard);
        }
        if Topic::reserved(text, hub) {
            return Err(TopicError::Reserved);
        }
        Ok(Topic(text.into()))
    }

    /// A topic of the hub itself, such as that of a subscription event. It is the caller's to say that it is one.
    pub fn of_hub(text: &str) -> Topic {
        Topic(text.into())
    }

    /// The text as it was published.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text, seen from the hub, is the hub's path or lies below it, on any host and however disguised.
    pub fn reserved(text: &str, hub: &HubUrl) -> bool {
        let Ok(url) = hub.url().join(text) else {
            return false;
        };
        let path = decode_unreserved(url.path());
        path.strip_prefix(hub.0.plain_path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// A topic made ready for matchers: its text, and the URL it is when read against the hub's.
#[derive(Clone, Debug)]
pub struct ParsedTopic<'a> {
    /// The topic as published.
    pub text: &'a str,
    /// The topic as a URL; `None` when it isn't one, and then no pattern matches it.
    pub url: Option<Url>,
}

impl<'a> ParsedTopic<'a> {
    /// Parses any text, also one that could not be published.
    pub fn new(text: &'a str, hub: &HubUrl) -> ParsedTopic<'a> {
        ParsedTopic { text, url: hub.url().join(text).ok() }
    }

    /// The URL without user and password: what [`UrlPattern::address_prefix`](super::pattern::UrlPattern::address_prefix)
    /// is a prefix of.
    pub fn address(&self) -> Option<Cow<'_, str>> {
        self.url.as_ref().map(address)
    }
}

fn address(url: &Url) -> Cow<'_, str> {
    if has_credentials(url) {
        Cow::Owned([&url[..Position::BeforeUsername], &url[Position::BeforeHost..]].concat())
    } else {
        Cow::Borrowed(url.as_str())
    }
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Decodes percent-encoded unreserved characters (RFC 3986 section 2.3), once, and nothing else.
fn decode_unreserved(path: &str) -> Cow<'_, str> {
    let Some(first) = path.find('%') else {
        return Cow::Borrowed(path);
    };
    let mut decoded = path[..first].to_owned();
    let mut rest = &path[first..];
    while let Some(c) = rest.chars().next() {
        let (c, length) = match unreserved_escape(rest) {
            Some(unreserved) => (unreserved, 3),
            None => (c, c.len_utf8()),
        };
        decoded.push(c);
        rest = &rest[length..];
    }
    Cow::Owned(decoded)
}

fn unreserved_escape(text: &str) -> Option<char> {
    let [b'%', high, low, ..] = text.as_bytes() else {
        return None;
    };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    let c = char::from_u32(high * 16 + low)?;
    (c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~')).then_some(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    #[test]
    fn a_hub_url_is_absolute_http_without_query_fragment_and_credentials() {
        let hub = HubUrl::parse("http://localhost:3000/.well-known/mercure").unwrap();
        assert_eq!(hub.as_str(), "http://localhost:3000/.well-known/mercure");
        assert_eq!(hub.path(), HUB_PATH);
        assert_eq!(hub.url().port(), Some(3000));
        assert!(matches!(HubUrl::parse("/.well-known/mercure"), Err(HubUrlError::Unparsable(_))));
        assert_eq!(HubUrl::parse("ftp://h/x"), Err(HubUrlError::Scheme("ftp".into())));
        assert_eq!(HubUrl::parse("https://u@h/x"), Err(HubUrlError::Credentials));
        assert_eq!(HubUrl::parse("https://h/x?"), Err(HubUrlError::QueryOrFragment));
        assert_eq!(HubUrl::parse("https://h/x#a"), Err(HubUrlError::QueryOrFragment));
    }

    #[test]
    fn the_hubs_namespace_is_reserved_in_every_disguise() {
        for topic in [
            "/.well-known/mercure",
            "/.well-known/mercure/x",
            "/.well-known/mercure/",
            "https://any/.well-known/%6Dercure",
            "https://any/.well-known/%6dercure/subscriptions",
            "/x/%2e%2e/.well-known/mercure",
            "/x/../.well-known/mercure",
            "\\.well-known\\mercure",
            "ftp://h/.well-known/mercure?x",
            "foo:/.well-known/mercure",
            "foo://user:pw@h:1/.well-known/mercure#f",
            " /.well-known/mercure ",
            "/%2Ewell%2dknown/mercure",
            "mercure",
            "./mercure/s",
            "",
            "?x",
            "#x",
        ] {
            assert!(Topic::reserved(topic, &hub()), "{topic}");
            assert_eq!(Topic::parse(topic, &hub()), Err(TopicError::Reserved), "{topic}");
        }
    }

    #[test]
    fn what_only_resembles_the_hubs_namespace_is_not_reserved() {
        for topic in [
            "/.well-known/mercurex",
            "/.well-known/Mercure",
            "/.well-known/%256Dercure",
            "/.well-known%2Fmercure",
            "/.well-known/mercure%2Fx",
            "urn:x/.well-known/mercure",
            "https://[bad/.well-known/mercure",
            "/.well-known",
            "/a/.well-known/mercure",
        ] {
            assert!(!Topic::reserved(topic, &hub()), "{topic}");
            assert_eq!(Topic::parse(topic, &hub()).unwrap().as_str(), topic);
        }
    }

    #[test]
    fn the_reserved_namespace_follows_the_configured_path() {
        let hub = HubUrl::parse("https://h/live/%68ub").unwrap();
        assert!(Topic::reserved("https://other/live/hub/x", &hub));
        assert!(Topic::reserved("/live/h%75b", &hub));
        assert!(!Topic::reserved("/.well-known/mercure", &hub));
    }

    #[test]
    fn the_wildcard_and_forbidden_characters_are_no_topics() {
        assert_eq!(Topic::parse("*", &hub()), Err(TopicError::Wildcard));
        assert_eq!(Topic::parse("a\tb", &hub()), Err(TopicError::Text(TextError { forbidden: '\t', at: 1 })));
        assert!(Topic::parse("**", &hub()).is_ok());
        assert!(Topic::parse("%2A", &hub()).is_ok());
    }

    #[test]
    fn a_relative_topic_is_read_against_the_hub_and_an_unparsable_one_has_no_url() {
        assert_eq!(ParsedTopic::new("/a/1", &hub()).url.unwrap().as_str(), "https://hub.example/a/1");
        assert_eq!(ParsedTopic::new("https://[bad", &hub()).url, None);
    }

    #[test]
    fn the_address_leaves_out_user_and_password() {
        for topic in ["https://u:p@e.com:81/x?y#z", "https://:p@e.com:81/x?y#z", "https://u@e.com:81/x?y#z"] {
            assert_eq!(ParsedTopic::new(topic, &hub()).address().unwrap(), "https://e.com:81/x?y#z");
        }
        assert_eq!(ParsedTopic::new("urn:a", &hub()).address().unwrap(), "urn:a");
    }

    proptest! {
        #[test]
        fn encoding_characters_of_the_hubs_path_hides_nothing(encode in proptest::collection::vec(any::<bool>(), 30)) {
            let mut topic = String::from("https://elsewhere");
            for (c, encode) in HUB_PATH.chars().zip(encode) {
                if encode && c != '/' {
                    topic.push_str(&format!("%{:02x}", u32::from(c)));
                } else {
                    topic.push(c);
                }
            }
            prop_assert!(Topic::reserved(&topic, &hub()));
        }

        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC*") {
            let _ = Topic::parse(&text, &hub());
            let _ = ParsedTopic::new(&text, &hub()).address();
        }
    }
}
