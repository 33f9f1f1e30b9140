//! Whether an event may go to somebody: judged against what was asked for and what a token grants.

use super::budget::Budget;
use super::event::Event;
use super::pattern_index::PARSE_NS;
use crate::protocol::matcher::Matcher;
use crate::protocol::topic::{HubUrl, ParsedTopic};

/// Whether one of the matchers matches one of the event's topics. Topics are read as URLs only where a matcher needs it.
pub(crate) fn any_matches<'a>(
    matchers: impl Iterator<Item = &'a Matcher> + Clone,
    event: &Event,
    hub: &HubUrl,
    budget: &mut Budget,
) -> bool {
    let reads_urls = matchers.clone().any(Matcher::reads_urls);
    event.topics.iter().any(|topic| {
        let topic = match reads_urls {
            true => {
                budget.spend(PARSE_NS);
                ParsedTopic::new(topic.as_str(), hub)
            }
            false => ParsedTopic { text: topic.as_str(), url: None },
        };
        matchers.clone().any(|matcher| {
            budget.spend(matcher.cost_ns(&topic));
            matcher.matches(&topic)
        })
    })
}
