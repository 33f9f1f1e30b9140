//! Who may read what, by rules of its own: none of the hub's code is asked.

use serde_json::{Value, json};

use crate::harness::{SUBSCRIBER_KEY, Token};

/// Which topics are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Everything,
    Exact(String),
    /// All that begin with it: a pattern that ends in `*`.
    Below(String),
    /// It and one more segment: a pattern that ends in `:name`.
    Child(String),
}

impl Pattern {
    pub(crate) fn covers(&self, topic: &str) -> bool {
        match self {
            Pattern::Everything => true,
            Pattern::Exact(text) => topic == text,
            Pattern::Below(prefix) => topic.starts_with(prefix),
            Pattern::Child(prefix) => {
                topic.strip_prefix(prefix.as_str()).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
            }
        }
    }

    /// As a parameter of a subscription.
    pub(crate) fn parameter(&self) -> (&'static str, String) {
        match self {
            Pattern::Everything => ("match", "*".to_owned()),
            Pattern::Exact(text) => ("match", text.clone()),
            Pattern::Below(prefix) => ("match_urlpattern", format!("{prefix}*")),
            Pattern::Child(prefix) => ("match_urlpattern", format!("{prefix}:name")),
        }
    }

    /// As a token grants it.
    fn granted(&self) -> Value {
        match self.parameter() {
            ("match", text) => json!({"match": text}),
            (_, text) => json!({"match": text, "match_type": "urlpattern"}),
        }
    }
}

/// What a client asks for, and what its token lets it read of what is private.
#[derive(Debug, Clone)]
pub(crate) struct Entitlement {
    pub(crate) selectors: Vec<Pattern>,
    /// None: it has no token.
    pub(crate) grants: Option<Vec<Pattern>>,
}

impl Entitlement {
    pub(crate) fn everything() -> Entitlement {
        Entitlement { selectors: vec![Pattern::Everything], grants: Some(vec![Pattern::Everything]) }
    }

    pub(crate) fn selects(&self, topics: &[String]) -> bool {
        covers(&self.selectors, topics)
    }

    pub(crate) fn may_read(&self, topics: &[String], private: bool) -> bool {
        !private || self.grants.as_ref().is_some_and(|grants| covers(grants, topics))
    }

    pub(crate) fn receives(&self, topics: &[String], private: bool) -> bool {
        self.selects(topics) && self.may_read(topics, private)
    }

    pub(crate) fn token(&self) -> Option<String> {
        let topics: Vec<Value> = self.grants.as_ref()?.iter().map(Pattern::granted).collect();
        let detail = json!({
            "type": "https://mercure.rocks/authorization-detail", "actions": ["subscribe"], "topics": topics
        });
        Some(Token::with_details(json!([detail])).sign(SUBSCRIBER_KEY))
    }
}

fn covers(patterns: &[Pattern], topics: &[String]) -> bool {
    topics.iter().any(|topic| patterns.iter().any(|pattern| pattern.covers(topic)))
}
