//! Who is kept out for a while: subjects, single tokens and topics, each until a time.
//!
//! A list is never changed: who denies somebody makes a new one and hands it to every shard.

use std::collections::HashMap;

use crate::protocol::matcher::Matcher;
use crate::protocol::token::Access;
use crate::protocol::topic::{HubUrl, ParsedTopic};

/// Subjects and token ids denied at once, each.
pub const DENIED_MAX: usize = 10_000;
/// Topics denied at once: each costs every new subscription a match, which for the worst patterns is milliseconds.
pub const DENIED_TOPICS_MAX: usize = 10;
/// Entries of all kinds.
pub const DENIED_ENTRIES_MAX: usize = 2 * DENIED_MAX + DENIED_TOPICS_MAX;
/// Bytes of all subjects, token ids and topics together.
pub const DENIED_BYTES_MAX: usize = 4 << 20;
/// Bytes of a subject, token id or topic.
pub const DENIED_TEXT_BYTES_MAX: usize = 2 * 1024;

/// Whose streams are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Denied {
    /// Those whose token has this `sub`, whoever issued it.
    Subject(Box<str>),
    /// Those whose token has this `jti`, whoever issued it.
    TokenId(Box<str>),
    /// Those that follow this topic: one of their matchers matches it.
    Topic(Box<str>),
}

impl Denied {
    /// The name of what is compared, as requests and answers have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Denied::Subject(_) => "sub",
            Denied::TokenId(_) => "jti",
            Denied::Topic(_) => "topic",
        }
    }

    /// What it is compared with.
    pub fn text(&self) -> &str {
        match self {
            Denied::Subject(text) | Denied::TokenId(text) | Denied::Topic(text) => text,
        }
    }

    /// Of this kind; `None`: there is no such kind.
    pub fn of(kind: &str, text: &str) -> Option<Denied> {
        match kind {
            "sub" => Some(Denied::Subject(text.into())),
            "jti" => Some(Denied::TokenId(text.into())),
            "topic" => Some(Denied::Topic(text.into())),
            _ => None,
        }
    }

    /// Whether a token is meant; topics mean none.
    pub fn names(&self, access: &Access) -> bool {
        match self {
            Denied::Subject(subject) => access.subject.as_ref() == Some(subject),
            Denied::TokenId(id) => access.token_id.as_ref() == Some(id),
            Denied::Topic(_) => false,
        }
    }
}

/// Why somebody can't be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenialError {
    /// More than [`DENIED_MAX`] of a kind, [`DENIED_TOPICS_MAX`] topics, or [`DENIED_BYTES_MAX`] in all.
    #[error(
        "the deny list is full: it holds {DENIED_MAX} subjects, as many token ids and {DENIED_TOPICS_MAX} topics, and \
         {DENIED_BYTES_MAX} bytes of them"
    )]
    Full,
    /// More than [`DENIED_TEXT_BYTES_MAX`].
    #[error("what is denied has {DENIED_TEXT_BYTES_MAX} bytes at most")]
    TooLong,
}

/// The deny list. Times are milliseconds of Unix time; at its time an entry no longer counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denials {
    subjects: HashMap<Box<str>, u64>,
    token_ids: HashMap<Box<str>, u64>,
    topics: HashMap<Box<str>, u64>,
    /// Of all texts together.
    bytes: usize,
}

impl Denials {
    /// Denies somebody until a time; a later time than there was stays.
    ///
    /// # Errors
    /// When there is no room, or the text is too long.
    pub fn deny(&mut self, who: &Denied, until_ms: u64) -> Result<(), DenialError> {
        let text = who.text();
        if text.len() > DENIED_TEXT_BYTES_MAX {
            return Err(DenialError::TooLong);
        }
        let bytes = self.bytes;
        let entries_max = if matches!(who, Denied::Topic(_)) { DENIED_TOPICS_MAX } else { DENIED_MAX };
        let entries = self.of_kind_mut(who);
        let known = entries.contains_key(text);
        if !known && (entries.len() >= entries_max || bytes + text.len() > DENIED_BYTES_MAX) {
            return Err(DenialError::Full);
        }
        let entry = entries.entry(text.into()).or_default();
        *entry = until_ms.max(*entry);
        self.bytes += if known { 0 } else { text.len() };
        Ok(())
    }

    /// Lets somebody in again; false: it wasn't denied.
    pub fn allow(&mut self, who: &Denied) -> bool {
        let was_denied = self.of_kind_mut(who).remove(who.text()).is_some();
        self.bytes -= if was_denied { who.text().len() } else { 0 };
        was_denied
    }

    /// Forgets what no longer counts.
    pub fn forget_ended(&mut self, now_ms: u64) {
        for entries in [&mut self.subjects, &mut self.token_ids, &mut self.topics] {
            entries.retain(|_, until_ms| *until_ms > now_ms);
        }
        self.bytes = self.texts().map(str::len).sum();
    }

    /// Whether the bearer of a token is kept out.
    pub fn cover_token(&self, access: &Access, now_ms: u64) -> bool {
        let denied = |entries: &HashMap<Box<str>, u64>, text: &Option<Box<str>>| {
            text.as_ref().and_then(|text| entries.get(text)).is_some_and(|until_ms| *until_ms > now_ms)
        };
        // Nearly always there is nobody: then it costs nothing.
        !self.subjects.is_empty() && denied(&self.subjects, &access.subject)
            || !self.token_ids.is_empty() && denied(&self.token_ids, &access.token_id)
    }

    /// Whether a topic takes no updates.
    pub fn cover_topic(&self, topic: &str, now_ms: u64) -> bool {
        !self.topics.is_empty() && self.topics.get(topic).is_some_and(|until_ms| *until_ms > now_ms)
    }

    /// Whether one of these matchers follows a denied topic.
    pub fn cover_matchers(&self, matchers: &[Matcher], hub: &HubUrl, now_ms: u64) -> bool {
        let topics = self.topics.iter().filter(|(_, until_ms)| **until_ms > now_ms);
        topics.into_iter().any(|(topic, _)| {
            let topic = ParsedTopic::new(topic, hub);
            matchers.iter().any(|matcher| matcher.matches(&topic))
        })
    }

    /// Everybody denied and until when, in an order that doesn't change.
    pub fn entries(&self) -> Vec<(Denied, u64)> {
        let subjects = self.subjects.iter().map(|(text, until_ms)| (Denied::Subject(text.clone()), *until_ms));
        let token_ids = self.token_ids.iter().map(|(text, until_ms)| (Denied::TokenId(text.clone()), *until_ms));
        let topics = self.topics.iter().map(|(text, until_ms)| (Denied::Topic(text.clone()), *until_ms));
        let mut entries: Vec<_> = subjects.chain(token_ids).chain(topics).collect();
        entries.sort();
        entries
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.subjects.len() + self.token_ids.len() + self.topics.len()
    }

    /// Whether nobody is denied.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let kinds = [&self.subjects, &self.token_ids, &self.topics];
        kinds.into_iter().flat_map(|entries| entries.keys().map(|text| &**text))
    }

    fn of_kind_mut(&mut self, who: &Denied) -> &mut HashMap<Box<str>, u64> {
        match who {
            Denied::Subject(_) => &mut self.subjects,
            Denied::TokenId(_) => &mut self.token_ids,
            Denied::Topic(_) => &mut self.topics,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::grants::Grants;
    use crate::protocol::matcher::MatchType;

    fn access(subject: &str, token_id: &str) -> Access {
        Access {
            issuer: "https://issuer.example".into(),
            subject: Some(subject.into()),
            token_id: Some(token_id.into()),
            expires_at_ms: 10_000,
            not_before_ms: None,
            grants: Grants::default(),
        }
    }

    #[test]
    fn a_subject_and_a_token_are_denied_until_their_time() {
        let mut denials = Denials::default();
        denials.deny(&Denied::Subject("eve".into()), 100).unwrap();
        denials.deny(&Denied::TokenId("t1".into()), 200).unwrap();
        assert!(denials.cover_token(&access("eve", "t9"), 99) && !denials.cover_token(&access("eve", "t9"), 100));
        assert!(denials.cover_token(&access("ann", "t1"), 199) && !denials.cover_token(&access("t1", "eve"), 0));
        denials.deny(&Denied::Subject("eve".into()), 50).unwrap();
        assert!(denials.cover_token(&access("eve", ""), 99), "a shorter denial takes nothing back");
        denials.forget_ended(100);
        assert_eq!(denials.entries(), [(Denied::TokenId("t1".into()), 200)]);
        assert!(denials.allow(&Denied::TokenId("t1".into())) && !denials.allow(&Denied::TokenId("t1".into())));
        assert!(denials.is_empty());
    }

    #[test]
    fn a_denied_topic_covers_every_matcher_that_matches_it() {
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
        let matcher = |kind, text| Matcher::parse(kind, text, &hub).unwrap();
        let mut denials = Denials::default();
        denials.deny(&Denied::Topic("https://a.example/rooms/1".into()), 100).unwrap();
        for (kind, text, covered) in [
            (MatchType::Exact, "https://a.example/rooms/1", true),
            (MatchType::Exact, "https://a.example/rooms/2", false),
            (MatchType::UrlPattern, "https://a.example/rooms/:id", true),
            (MatchType::Exact, "*", true),
        ] {
            let matchers = [matcher(MatchType::Exact, "urn:other"), matcher(kind, text)];
            assert_eq!(denials.cover_matchers(&matchers, &hub, 99), covered, "{text}");
            assert!(!denials.cover_matchers(&matchers, &hub, 100), "{text}: it is over");
        }
        assert!(denials.cover_topic("https://a.example/rooms/1", 99));
        assert!(!denials.cover_topic("https://a.example/rooms/2", 99));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut denials = Denials::default();
        for number in 0..DENIED_MAX {
            denials.deny(&Denied::Subject(number.to_string().into()), 1).unwrap();
        }
        assert_eq!(denials.deny(&Denied::Subject("one more".into()), 1), Err(DenialError::Full));
        assert_eq!(denials.deny(&Denied::Subject("7".into()), 2), Ok(()), "who is there already takes no room");
        for number in 0..DENIED_TOPICS_MAX {
            denials.deny(&Denied::Topic(number.to_string().into()), 1).unwrap();
        }
        assert_eq!(denials.deny(&Denied::Topic("one more".into()), 1), Err(DenialError::Full));
        let mut long = Denials::default();
        let text = |number: usize| Denied::TokenId(format!("{number:0$}", DENIED_TEXT_BYTES_MAX).into());
        (0..DENIED_BYTES_MAX / DENIED_TEXT_BYTES_MAX).for_each(|number| long.deny(&text(number), 1).unwrap());
        assert_eq!(long.deny(&Denied::Subject("one more".into()), 1), Err(DenialError::Full));
        assert!(long.allow(&text(3)) && long.deny(&Denied::Subject("one more".into()), 1).is_ok());
        long.forget_ended(1);
        assert_eq!((long.len(), long.bytes), (0, 0));
        let long = "x".repeat(DENIED_TEXT_BYTES_MAX + 1);
        assert_eq!(denials.deny(&Denied::TokenId(long.into()), 1), Err(DenialError::TooLong));
    }
}
