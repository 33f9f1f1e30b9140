//! Updates: what a publisher sends, parsed and judged by every rule that doesn't need a token.

use std::borrow::Cow;

use thiserror::Error;

use super::form;
use super::known_topics::KnownTopics;
use super::text::{self, TextError};
use super::topic::{Topic, TopicError};

/// What an update may hold unless configured otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateLimits {
    /// Topics of one update.
    pub topics_max: usize,
    /// Bytes of one topic.
    pub topic_bytes_max: usize,
    /// Bytes of the id. Clients send it back in a request head.
    pub id_bytes_max: usize,
    /// Bytes of the type.
    pub type_bytes_max: usize,
}

impl Default for UpdateLimits {
    fn default() -> UpdateLimits {
        UpdateLimits { topics_max: 1_000, topic_bytes_max: 4 << 10, id_bytes_max: 4 << 10, type_bytes_max: 1 << 10 }
    }
}

/// The most digits of a reconnection time. More than any client can count.
pub const RETRY_DIGITS_MAX: usize = 20;

/// An update as published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// At least one; the first is the canonical one, the others are alternates.
    pub topics: Vec<Topic>,
    /// The payload, opaque; empty when there is none.
    pub data: String,
    /// Whether only subscribers with a grant may read it.
    pub private: bool,
    /// The publisher's id, never empty.
    pub id: Option<String>,
    /// The type of the event, never empty.
    pub event_type: Option<String>,
    /// The reconnection time in milliseconds: its digits as they were sent, never empty.
    pub retry: Option<String>,
}

/// Which rule a publish request broke. The texts are for the publisher.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UpdateError {
    /// There is no `topic`.
    #[error("the update has no topic; add at least one topic=…")]
    NoTopic,
    /// There are more topics than the hub takes.
    #[error("the update has more than {max} topics; send several updates instead")]
    TooManyTopics {
        /// The limit.
        max: usize,
    },
    /// A field is longer than the hub takes.
    #[error("the field {field} has {length} bytes; at most {max} are accepted")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// Its bytes.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// A field is not UTF-8.
    #[error("the field {field} is not valid UTF-8; encode it as UTF-8 before percent-encoding it")]
    NotUtf8 {
        /// The field's name.
        field: &'static str,
    },
    /// A field holds a forbidden character.
    #[error("the field {field} is not accepted: {error}")]
    Text {
        /// The field's name.
        field: &'static str,
        /// The character and its place.
        error: TextError,
    },
    /// A topic is `*`.
    #[error("a topic can't be \"*\": that stands for all topics; name the one you mean")]
    TopicWildcard,
    /// A topic lies in the hub's own namespace.
    #[error(
        "the topic {topic:?} is the hub's own URL or lies below it, and those are kept for the hub; choose another one"
    )]
    TopicReserved {
        /// The topic.
        topic: String,
    },
    /// The id starts with `#`, which is for ids the hub makes.
    #[error("the field id starts with \"#\", which is kept for ids made by hubs; use another one or leave it out")]
    IdFragment,
    /// The id is the word that asks for everything.
    #[error("the field id is \"earliest\", which asks for the whole history; use another one or leave it out")]
    IdEarliest,
    /// The id begins or ends with a space, which no header field keeps.
    #[error(
        "the field id begins or ends with a space, which a client's Last-Event-ID field would lose; leave the space out"
    )]
    IdSpace,
    /// The type is that of subscription events.
    #[error("the field type is \"mercure\", which is kept for events of the hub itself; use another one")]
    TypeMercure,
    /// The reconnection time has something else than ASCII digits.
    #[error("the field retry is not a number of milliseconds; write it in digits only, as in retry=1500")]
    RetryNotDigits,
    /// The reconnection time has too many digits.
    #[error("the field retry has more than {RETRY_DIGITS_MAX} digits; use a smaller number of milliseconds")]
    RetryTooLong,
}

impl UpdateError {
    /// Whether a limit was exceeded (413 Content Too Large) rather than a rule broken (400 Bad Request).
    pub fn is_too_large(&self) -> bool {
        matches!(self, UpdateError::TooManyTopics { .. } | UpdateError::TooLong { .. })
    }
}

impl Update {
    /// Reads a form-urlencoded request body.
    ///
    /// Unknown fields are ignored. Of a field that may stand once the first one counts. An empty `id`, `type` or
    /// `retry` is as good as none.
    pub fn from_form(
        body: &[u8],
        known_topics: &mut KnownTopics,
        limits: &UpdateLimits,
    ) -> Result<Update, UpdateError> {
        // Nearly always there is one.
        let mut topics = Vec::with_capacity(1);
        let mut private = false;
        let (mut data, mut id, mut event_type, mut retry) = (None, None, None, None);
        for (name, value) in form::pairs(body) {
            match &*name {
                b"topic" if topics.len() == limits.topics_max => {
                    return Err(UpdateError::TooManyTopics { max: limits.topics_max });
                }
                b"topic" => topics.push(parse_topic(&value, known_topics, limits)?),
                b"private" => private = true,
                b"data" if data.is_none() => data = Some(utf8("data", value)?),
                b"id" if id.is_none() => id = Some(parse_text("id", value, limits.id_bytes_max)?),
                b"type" if event_type.is_none() => {
                    event_type = Some(parse_text("type", value, limits.type_bytes_max)?);
                }
                b"retry" if retry.is_none() => retry = Some(parse_retry(value)?),
                _ => {}
            }
        }
        if topics.is_empty() {
            return Err(UpdateError::NoTopic);
        }
        let present = |field: Option<String>| field.filter(|text| !text.is_empty());
        let update = Update {
            topics,
            data: data.unwrap_or_default(),
            private,
            id: present(id),
            event_type: present(event_type),
            retry: present(retry),
        };
        update.check_reserved_words()?;
        Ok(update)
    }

    fn check_reserved_words(&self) -> Result<(), UpdateError> {
        match self.id.as_deref() {
            Some(id) if id.starts_with('#') => return Err(UpdateError::IdFragment),
            Some(id) if id.starts_with(' ') || id.ends_with(' ') => return Err(UpdateError::IdSpace),
            Some("earliest") => return Err(UpdateError::IdEarliest),
            _ => {}
        }
        match self.event_type.as_deref() {
            Some("mercure") => Err(UpdateError::TypeMercure),
            _ => Ok(()),
        }
    }
}

fn parse_topic(value: &[u8], known: &mut KnownTopics, limits: &UpdateLimits) -> Result<Topic, UpdateError> {
    check_length("topic", value.len(), limits.topic_bytes_max)?;
    let topic = std::str::from_utf8(value).map_err(|_| UpdateError::NotUtf8 { field: "topic" })?;
    known.parse(topic).map_err(|error| match error {
        TopicError::Text(error) => UpdateError::Text { field: "topic", error },
        TopicError::Wildcard => UpdateError::TopicWildcard,
        TopicError::Reserved => UpdateError::TopicReserved { topic: topic.to_owned() },
    })
}

fn parse_text(field: &'static str, value: Cow<'_, [u8]>, max: usize) -> Result<String, UpdateError> {
    check_length(field, value.len(), max)?;
    let text = utf8(field, value)?;
    text::check(&text).map_err(|error| UpdateError::Text { field, error })?;
    Ok(text)
}

fn parse_retry(value: Cow<'_, [u8]>) -> Result<String, UpdateError> {
    if !value.iter().all(u8::is_ascii_digit) {
        return Err(UpdateError::RetryNotDigits);
    }
    if value.len() > RETRY_DIGITS_MAX {
        return Err(UpdateError::RetryTooLong);
    }
    utf8("retry", value)
}

fn check_length(field: &'static str, length: usize, max: usize) -> Result<(), UpdateError> {
    if length > max { Err(UpdateError::TooLong { field, length, max }) } else { Ok(()) }
}

fn utf8(field: &'static str, value: Cow<'_, [u8]>) -> Result<String, UpdateError> {
    String::from_utf8(value.into_owned()).map_err(|_| UpdateError::NotUtf8 { field })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::topic::HubUrl;

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    fn parse(form: &str) -> Result<Update, UpdateError> {
        Update::from_form(form.as_bytes(), &mut KnownTopics::new(hub()), &UpdateLimits::default())
    }

    #[test]
    fn every_field_is_read() {
        let update =
            parse("topic=https%3A%2F%2Fe.com%2F1&topic=b&data=x+y%0Az&private=on&id=urn%3A1&type=price&retry=007")
                .unwrap();
        assert_eq!(
            update,
            Update {
                topics: ["https://e.com/1", "b"].map(|topic| Topic::parse(topic, &hub()).unwrap()).to_vec(),
                data: "x y\nz".into(),
                private: true,
                id: Some("urn:1".into()),
                event_type: Some("price".into()),
                retry: Some("007".into()),
            }
        );
    }

    #[test]
    fn everything_but_the_topic_is_optional_and_empty_is_absent() {
        for form in ["topic=a", "topic=a&id=&type=&retry=&data=&unknown=1"] {
            let update = parse(form).unwrap();
            assert_eq!(update.data, "");
            assert_eq!((update.id, update.event_type, update.retry), (None, None, None));
            assert!(!update.private);
        }
    }

    #[test]
    fn an_update_needs_a_topic() {
        assert_eq!(parse("data=x"), Err(UpdateError::NoTopic));
        assert_eq!(parse(""), Err(UpdateError::NoTopic));
    }

    #[test]
    fn private_counts_by_its_presence() {
        for private in ["private", "private=", "private=on", "private=false", "private=%FF"] {
            assert!(parse(&format!("topic=a&{private}")).unwrap().private, "{private}");
        }
        assert!(!parse("topic=a&Private=on").unwrap().private);
    }

    #[test]
    fn of_a_repeated_field_the_first_counts() {
        let update = parse("topic=a&id=1&id=2&data=x&data=%FF&type=t&type=mercure&retry=5&retry=x").unwrap();
        assert_eq!(update.id.as_deref(), Some("1"));
        assert_eq!(update.data, "x");
        assert_eq!(update.event_type.as_deref(), Some("t"));
        assert_eq!(update.retry.as_deref(), Some("5"));
    }

    #[test]
    fn reserved_topics_and_the_wildcard_are_invalid_not_too_large() {
        for (form, error) in [
            ("topic=a&topic=*", UpdateError::TopicWildcard),
            ("topic=", UpdateError::TopicReserved { topic: String::new() }),
            (
                "topic=%2F.well-known%2F%256Dercure",
                UpdateError::TopicReserved { topic: "/.well-known/%6Dercure".into() },
            ),
        ] {
            assert_eq!(parse(form), Err(error.clone()), "{form}");
            assert!(!error.is_too_large());
        }
    }

    #[test]
    fn fields_must_be_utf8_and_valid_strings() {
        for field in ["topic", "data", "id", "type"] {
            let form = format!("{field}=a%FF&topic=b");
            assert_eq!(parse(&form), Err(UpdateError::NotUtf8 { field }));
        }
        for field in ["topic", "id", "type"] {
            let form = format!("{field}=a%E2%80%8B&topic=b");
            let error = TextError { forbidden: '\u{200B}', at: 1 };
            assert_eq!(parse(&form), Err(UpdateError::Text { field, error }));
        }
        assert_eq!(parse("topic=a&data=%00%E2%80%8B").unwrap().data, "\0\u{200B}");
    }

    #[test]
    fn words_of_the_protocol_are_no_ids_and_no_types() {
        assert_eq!(parse("topic=a&id=%23x"), Err(UpdateError::IdFragment));
        assert_eq!(parse("topic=a&id=earliest"), Err(UpdateError::IdEarliest));
        // HTTP trims the values of fields: nobody could resume after such an id.
        for id in ["+x", "x+", "+", "%20x"] {
            assert_eq!(parse(&format!("topic=a&id={id}")), Err(UpdateError::IdSpace), "{id}");
        }
        assert_eq!(parse("topic=a&id=x+y").unwrap().id.as_deref(), Some("x y"));
        assert_eq!(parse("topic=a&type=mercure"), Err(UpdateError::TypeMercure));
        for form in ["topic=a&id=x%23", "topic=a&id=Earliest", "topic=a&type=Mercure", "topic=a&type=+mercure"] {
            assert!(parse(form).is_ok(), "{form}");
        }
    }

    #[test]
    fn retry_is_ascii_digits_and_kept_as_sent() {
        for retry in ["0", "00", "1500", "99999999999999999999"] {
            assert_eq!(parse(&format!("topic=a&retry={retry}")).unwrap().retry.as_deref(), Some(retry));
        }
        for retry in ["-1", "1.5", "%2B1", "1e3", "+1", "%D9%A1", "%FF", "1%0A"] {
            assert_eq!(parse(&format!("topic=a&retry={retry}")), Err(UpdateError::RetryNotDigits), "{retry}");
        }
        assert_eq!(parse(&format!("topic=a&retry={}", "1".repeat(21))), Err(UpdateError::RetryTooLong));
    }

    #[test]
    fn limits_make_a_request_too_large() {
        let limits = UpdateLimits { topics_max: 2, topic_bytes_max: 4, id_bytes_max: 3, type_bytes_max: 2 };
        let parse = |form: &str| Update::from_form(form.as_bytes(), &mut KnownTopics::new(hub()), &limits);
        assert!(parse("topic=aaaa&topic=b&id=iii&type=tt").is_ok());
        for (form, error) in [
            ("topic=a&topic=b&topic=c", UpdateError::TooManyTopics { max: 2 }),
            ("topic=aaaaa", UpdateError::TooLong { field: "topic", length: 5, max: 4 }),
            ("topic=a&id=iiii", UpdateError::TooLong { field: "id", length: 4, max: 3 }),
            ("topic=a&type=ttt", UpdateError::TooLong { field: "type", length: 3, max: 2 }),
        ] {
            assert_eq!(parse(form), Err(error.clone()), "{form}");
            assert!(error.is_too_large());
        }
    }

    proptest! {
        #[test]
        fn any_body_is_judged_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let form = [b"topic=", &body[..]].concat();
            if let Ok(update) = Update::from_form(&form, &mut KnownTopics::new(hub()), &UpdateLimits::default()) {
                prop_assert!(!update.topics.is_empty());
            }
        }
    }
}
