//! A thread for subscriptions with many patterns, or with a pattern or template that needs a regular expression: reading
//! those may take longer than a turn of a shard's loop should (design §5, "off the loop when slow").

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::protocol::subscribe::{Subscribe, SubscribeError};
use crate::protocol::template::Template;
use crate::server::inbox::{Inbox, Message, Ticket};
use crate::server::settings::Settings;
use crate::server::shared::Shared;

/// Subscriptions that may wait to be compiled; more are answered 503.
const JOBS_MAX: usize = 256;

/// Bytes of forms that a shard parses itself: more than a request target can have.
const BYTES_ON_LOOP_MAX: usize = 16 * 1024;

/// Patterns of one query that a shard parses itself: each takes up to a fifth of a millisecond.
const PATTERNS_ON_LOOP_MAX: usize = 4;

/// A query and the form that came with it, if any, to be parsed.
pub(crate) struct Job {
    pub(crate) shard: usize,
    pub(crate) ticket: Ticket,
    pub(crate) query: Box<str>,
    pub(crate) form: Vec<u8>,
}

/// Without the query, which may hold a token.
impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// What became of it.
pub(crate) type Compiled = Result<Subscribe, SubscribeError>;

/// The queue to the thread.
pub(crate) fn channel() -> (Sender<Job>, Receiver<Job>) {
    bounded(JOBS_MAX)
}

/// Whether reading these forms may take long: they are large, hold more than a few patterns, or one that the plain matcher
/// can't do. They are judged as they will be read: decoded.
pub(crate) fn may_be_slow(forms: &[&[u8]]) -> bool {
    if forms.iter().map(|form| form.len()).sum::<usize>() > BYTES_ON_LOOP_MAX {
        return true;
    }
    let pairs = forms.iter().flat_map(|form| form_urlencoded::parse(form));
    if pairs.clone().any(|(name, value)| name == "topic" && Template::needs_regex(&value)) {
        return true;
    }
    let mut patterns = pairs.filter(|(name, _)| name.ends_with("urlpattern")).map(|(_, value)| value).enumerate();
    patterns.any(|(before, pattern)| before == PATTERNS_ON_LOOP_MAX || needs_regex(&pattern))
}

/// Whether a pattern has groups, braces or modifiers: never false for one that becomes a regular expression. A star is a
/// modifier after a name (`:id*`) and after another star; elsewhere it is a plain wildcard.
fn needs_regex(pattern: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii();
    pattern.contains(['(', '{', '?', '+'])
        || pattern.match_indices('*').any(|(at, _)| {
            let before = &pattern[..at];
            let name = before.trim_end_matches(in_name);
            before.ends_with('*') || (name.len() < before.len() && name.ends_with(':'))
        })
}

/// Works until every shard has hung up, or nobody waits for answers any more.
pub(crate) fn run(jobs: &Receiver<Job>, settings: &Arc<Settings>, shared: &Shared, shards: &[Inbox]) {
    for Job { shard, ticket, query, form } in jobs.iter().take_while(|_| !shared.ended()) {
        let compiled = Subscribe::from_forms(&[query.as_bytes(), &form], &settings.hub, &settings.subscribe);
        shards[shard].send(Message::Compiled(ticket, compiled));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::pattern::{Asker, UrlPattern};
    use crate::protocol::topic::HubUrl;

    #[test]
    fn more_than_a_few_patterns_leave_the_loop() {
        let query = |count| vec!["match_urlpattern=/a/:id&match=x"; count].join("&");
        assert!(!may_be_slow(&[query(PATTERNS_ON_LOOP_MAX).as_bytes()]));
        assert!(may_be_slow(&[query(PATTERNS_ON_LOOP_MAX + 1).as_bytes()]));
        assert!(may_be_slow(&[query(PATTERNS_ON_LOOP_MAX).as_bytes(), b"match_urlpattern=/b"]), "counted over both");
    }

    #[test]
    fn large_forms_leave_the_loop() {
        let form = vec![b'x'; BYTES_ON_LOOP_MAX];
        assert!(!may_be_slow(&[b"", &form]));
        assert!(may_be_slow(&[b"a", &form]));
    }

    #[test]
    fn only_patterns_with_groups_braces_or_modifiers_leave_the_loop() {
        for plain in [
            "match=(x)",
            "match=a*b*&match_exact=:id*",
            "match_urlpattern=/a/:id",
            "match_urlpattern=/a/*",
            "match_urlpattern=/a*",
            "match_urlpattern=https%3A%2F%2Fe.com%2F*&match=a+b",
            "topic=*&topic=(x)&topic=/a/%7Bid%7D&topic={not a template",
        ] {
            assert!(!may_be_slow(&[plain.as_bytes()]), "{plain}");
        }
        for slow in [
            "match_urlpattern=/a/(b|c)",
            "match_urlpattern=/a/%28b%7Cc%29",
            "match_urlpattern=/a/%7Bb%7D%3F",
            "match_urlpattern=/a/:id%2B",
            "match_urlpattern=/a/:id*",
            "match_urlpattern=/a/**",
            "match=a&match_%75rlpattern=(x)",
            "topic=/a/{b}.{c}",
            "match=a&%74opic=/a/%7B%2Bb%7D",
            "%6Datch%5Furlpatter%6e=/a/:id%2a",
        ] {
            assert!(may_be_slow(&[slow.as_bytes()]), "{slow}");
        }
    }

    proptest! {
        #[test]
        fn what_stays_on_the_loop_compiles_nothing(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["/", "a", ":id", ":b", "*", "+", "?", "(x)", "{", "}", "é", "-", ".", ":", "\\", "1"]),
                0..8,
            ),
        ) {
            let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
            let text = format!("/{}", pieces.concat());
            if !needs_regex(&text) && let Ok(pattern) = UrlPattern::parse(&text, &hub, Asker::Subscription) {
                prop_assert!(!pattern.has_regex(), "{text}");
            }
        }
    }
}
