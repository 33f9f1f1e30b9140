//! An event as a line of JSON, for people and for other programs.
//!
//! `{"id":"…","topics":["…"],"data":"…","type":"…","retry":1500,"private":false,"published":1760000000000,"offset":7}`, where `type`
//! and `retry` may be missing, and `"announcement":true` says that the hub itself wrote it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hub::Event;
use crate::protocol::event_stream::Decoder;
use crate::protocol::known_topics::KnownTopics;
use crate::protocol::update::{Update, UpdateError, UpdateLimits};

/// Bytes of a line at most: the largest publish there can be, and room for how JSON writes it.
pub const LINE_BYTES_MAX: usize = 320 << 20;

/// An event of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// What a publisher said, and when, milliseconds of Unix time.
    Update(Update, Option<u64>),
    /// What a hub said of a subscription.
    Announcement,
}

/// Why a line is no event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LineError {
    /// No JSON, or not of this shape.
    #[error("not a line of `cinnabar history export`: {0}")]
    Json(String),
    /// The reconnection time is neither a number nor digits.
    #[error("the field retry is neither a whole number nor a text of digits")]
    Retry,
    /// A rule of the protocol.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

#[derive(Serialize)]
struct Out<'a> {
    id: &'a str,
    topics: Vec<&'a str>,
    data: &'a str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Retry<'a>>,
    private: bool,
    published: u64,
    offset: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    announcement: bool,
}

/// Digits as they were published: a number if it is the same then.
#[derive(Serialize)]
#[serde(untagged)]
enum Retry<'a> {
    Number(u64),
    Digits(&'a str),
}

// A misspelt `private` must not make an event public.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct In {
    id: Option<String>,
    topics: Vec<String>,
    #[serde(default)]
    data: String,
    #[serde(rename = "type")]
    event_type: Option<String>,
    retry: Option<serde_json::Value>,
    #[serde(default)]
    private: bool,
    published: Option<u64>,
    #[serde(default, rename = "offset")]
    _offset: Option<u64>,
    #[serde(default)]
    announcement: bool,
}

/// Appends an event and a line end.
pub fn write(event: &Event, out: &mut Vec<u8>) {
    let plain = event.frame.plain();
    // What stands before the id is one field per line, and values have no line ends.
    let fields = std::str::from_utf8(&plain[..event.frame.id_in_event().start]).unwrap_or_default();
    let field = |name: &str| fields.lines().find_map(|line| line.strip_prefix(name));
    let retry = field("retry: ").map(|digits| match digits.parse() {
        Ok(number) if digits.len() == 1 || !digits.starts_with('0') => Retry::Number(number),
        _ => Retry::Digits(digits),
    });
    let mut data = String::new();
    let decoded = Decoder::new(usize::MAX).push(plain, &mut |event| data = event.data);
    decoded.expect("without a limit nothing is too long");
    let line = Out {
        id: event.id(),
        topics: event.topics.iter().map(|topic| topic.as_str()).collect(),
        data: &data,
        event_type: field("event: "),
        retry,
        private: event.private,
        published: event.published_ms,
        offset: event.offset,
        announcement: event.announcement,
    };
    serde_json::to_writer(&mut *out, &line).expect("a text can be written");
    out.push(b'\n');
}

/// Reads a line, by the rules for what is published.
///
/// # Errors
/// [`LineError`].
pub fn read(line: &[u8], topics: &mut KnownTopics) -> Result<Line, LineError> {
    let line: In = serde_json::from_slice(line).map_err(|error| LineError::Json(error.to_string()))?;
    if line.announcement {
        return Ok(Line::Announcement);
    }
    let retry = match line.retry {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(digits)) => Some(digits),
        Some(serde_json::Value::Number(number)) if number.is_u64() => Some(number.to_string()),
        Some(_) => return Err(LineError::Retry),
    };
    // As a publisher would send it: there is one place that knows the rules.
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(line.topics.iter().map(|topic| ("topic", topic)));
    let fields = [("id", line.id), ("type", line.event_type), ("retry", retry), ("data", Some(line.data))];
    form.extend_pairs(fields.into_iter().filter_map(|(name, value)| Some((name, value?))));
    if line.private {
        form.append_pair("private", "on");
    }
    let update = Update::from_form(form.finish().as_bytes(), topics, &UpdateLimits::default())?;
    Ok(Line::Update(update, line.published))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::{Draft, Log};
    use crate::protocol::event_id::IdCipher;
    use crate::protocol::event_stream::normalise_line_ends;
    use crate::protocol::topic::{HubUrl, Topic};

    fn topics() -> KnownTopics {
        KnownTopics::new(HubUrl::parse("https://hub.example/.well-known/mercure").unwrap())
    }

    fn update() -> Update {
        Update {
            topics: vec![Topic::of_hub("https://example.com/ü"), Topic::of_hub("urn:b")],
            data: "a\nb".to_owned(),
            private: true,
            id: Some("mine".to_owned()),
            event_type: Some("price".to_owned()),
            retry: Some("1500".to_owned()),
        }
    }

    fn written(draft: Draft) -> String {
        let mut out = Vec::new();
        write(&Log::new(1, 6, IdCipher::new([7; 32])).append(draft, 1_760_000_000_000), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_a_line() {
        let line = written(Draft::new(update()));
        assert_eq!(
            line,
            "{\"id\":\"mine\",\"topics\":[\"https://example.com/ü\",\"urn:b\"],\"data\":\"a\\nb\",\"type\":\"price\",\
             \"retry\":1500,\"private\":true,\"published\":1760000000000,\"offset\":7}\n"
        );
        assert_eq!(read(line.as_bytes(), &mut topics()), Ok(Line::Update(update(), Some(1_760_000_000_000))));
        let bare = Update { id: None, event_type: None, retry: None, private: false, data: String::new(), ..update() };
        let line = written(Draft::new(bare.clone()));
        assert!(!line.contains("retry") && !line.contains("type") && line.contains("\"id\":\"urn:uuid:"), "{line}");
        let announcement = written(Draft::announcement(update()));
        assert!(announcement.ends_with("\"announcement\":true}\n"), "{announcement}");
        assert_eq!(read(announcement.as_bytes(), &mut topics()), Ok(Line::Announcement));
        let least = read(b"{\"topics\":[\"urn:b\"]}", &mut topics());
        let topics = vec![Topic::of_hub("urn:b")];
        assert_eq!(least, Ok(Line::Update(Update { topics, ..bare }, None)));
    }

    #[test]
    fn reconnection_times_keep_their_digits() {
        for digits in ["0", "1500", "007", "00", "99999999999999999999"] {
            let line = written(Draft::new(Update { retry: Some(digits.to_owned()), ..update() }));
            let Ok(Line::Update(read, _)) = read(line.as_bytes(), &mut topics()) else { panic!("{line}") };
            assert_eq!(read.retry.as_deref(), Some(digits), "{line}");
        }
    }

    #[test]
    fn a_line_that_breaks_a_rule_is_refused_with_it() {
        let refused = |line: &str| read(line.as_bytes(), &mut topics()).unwrap_err();
        assert_eq!(refused("{\"topics\":[]}"), LineError::Update(UpdateError::NoTopic));
        assert_eq!(refused("{\"topics\":[\"*\"]}"), LineError::Update(UpdateError::TopicWildcard));
        assert_eq!(refused("{\"topics\":[\"a\"],\"id\":\"#x\"}"), LineError::Update(UpdateError::IdFragment));
        assert_eq!(refused("{\"topics\":[\"a\"],\"type\":\"mercure\"}"), LineError::Update(UpdateError::TypeMercure));
        assert_eq!(refused("{\"topics\":[\"a\"],\"retry\":-1}"), LineError::Retry);
        assert_eq!(refused("{\"topics\":[\"a\"],\"retry\":\"x\"}"), LineError::Update(UpdateError::RetryNotDigits));
        for line in ["", "{", "[]", "{\"topics\":[\"a\"],\"prviate\":true}", "{\"topics\":\"a\"}", "{\"data\":\"a\"}"] {
            assert!(matches!(refused(line), LineError::Json(_)), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_was_published_is_what_is_imported(
            data in any::<String>(),
            event_type in proptest::option::of("[ -~é]{1,20}"),
            retry in proptest::option::of("[0-9]{1,20}"),
            private in any::<bool>(),
        ) {
            let event_type = event_type.filter(|text| text != "mercure");
            let data = normalise_line_ends(&data).into_owned();
            let update = Update { data, event_type, retry, private, ..update() };
            let line = written(Draft::new(update.clone()));
            prop_assert_eq!(line.lines().count(), 1);
            prop_assert_eq!(read(line.as_bytes(), &mut topics()), Ok(Line::Update(update, Some(1_760_000_000_000))));
        }
    }
}
