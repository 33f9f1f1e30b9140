//! Topics that were found publishable, so that publishing to them again costs no parsing and no memory of its own.

use std::collections::HashSet;

use super::topic::{HubUrl, Topic, TopicError};

/// Topics kept.
const TOPICS_MAX: usize = 4096;
/// Bytes of text of all topics kept.
const TEXT_BYTES_MAX: usize = 512 * 1024;

/// A bounded set of publishable topics. When it is full it starts anew: those that are in use are soon back.
#[derive(Debug)]
pub struct KnownTopics {
    hub: HubUrl,
    known: HashSet<Topic>,
    text_bytes: usize,
}

impl KnownTopics {
    /// None yet, of this hub.
    pub fn new(hub: HubUrl) -> KnownTopics {
        KnownTopics { hub, known: HashSet::new(), text_bytes: 0 }
    }

    /// [`Topic::parse`], remembered. Events that name the same topic share its text.
    ///
    /// # Errors
    /// Those of [`Topic::parse`], which are not remembered.
    pub fn parse(&mut self, text: &str) -> Result<Topic, TopicError> {
        if let Some(topic) = self.known.get(text) {
            return Ok(topic.clone());
        }
        let topic = Topic::parse(text, &self.hub)?;
        if self.known.len() >= TOPICS_MAX || self.text_bytes + text.len() > TEXT_BYTES_MAX {
            self.known = HashSet::new();
            self.text_bytes = 0;
        }
        self.text_bytes += text.len();
        self.known.insert(topic.clone());
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> KnownTopics {
        KnownTopics::new(HubUrl::parse("https://hub.example/.well-known/mercure").unwrap())
    }

    #[test]
    fn the_same_topic_is_the_same_text_in_memory() {
        let mut topics = topics();
        let (first, again) = (topics.parse("/a").unwrap(), topics.parse("/a").unwrap());
        assert!(std::ptr::eq(first.as_str(), again.as_str()));
        assert_eq!(topics.known.len(), 1);
    }

    #[test]
    fn what_is_refused_is_refused_again() {
        let mut topics = topics();
        for _ in 0..2 {
            assert_eq!(topics.parse("*"), Err(TopicError::Wildcard));
            assert_eq!(topics.parse("/.well-known/mercure/x"), Err(TopicError::Reserved));
        }
        assert!(topics.known.is_empty());
    }

    #[test]
    fn neither_many_topics_nor_long_ones_fill_the_memory() {
        let mut many = topics();
        for number in 0..3 * TOPICS_MAX {
            many.parse(&format!("/{number}")).unwrap();
            assert!(many.known.len() <= TOPICS_MAX);
        }
        let mut long = topics();
        for number in 0..300 {
            long.parse(&format!("/{number}/{}", "x".repeat(4000))).unwrap();
            assert!(long.text_bytes <= TEXT_BYTES_MAX);
        }
    }
}
