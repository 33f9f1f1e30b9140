//! A thread for subscriptions whose patterns need a regular expression: compiling one may take longer than a turn of a
//! shard's loop should (design §5, "off the loop when slow").

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::protocol::subscribe::{Subscribe, SubscribeError};
use crate::server::inbox::{Inbox, Message, Ticket};
use crate::server::settings::Settings;
use crate::server::shared::Shared;

/// Subscriptions that may wait to be compiled; more are answered 503.
const JOBS_MAX: usize = 256;

/// A query to be parsed.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) shard: usize,
    pub(crate) ticket: Ticket,
    pub(crate) query: Box<str>,
}

/// What became of it.
pub(crate) type Compiled = Result<Subscribe, SubscribeError>;

/// The queue to the thread.
pub(crate) fn channel() -> (Sender<Job>, Receiver<Job>) {
    bounded(JOBS_MAX)
}

/// Whether a query may hold a pattern that the plain matcher can't do: one with groups, braces or modifiers. A plus sign
/// is a space unless it is encoded.
pub(crate) fn may_be_slow(query: &str) -> bool {
    const SIGNS: [&str; 7] = ["(", "{", "?", "%28", "%7b", "%3f", "%2b"];
    let query = query.to_ascii_lowercase();
    query.contains("urlpattern") && SIGNS.iter().any(|sign| query.contains(sign))
}

/// Works until every shard has hung up, or nobody waits for answers any more.
pub(crate) fn run(jobs: &Receiver<Job>, settings: &Arc<Settings>, shared: &Shared, shards: &[Inbox]) {
    for Job { shard, ticket, query } in jobs.iter().take_while(|_| !shared.ended()) {
        let compiled = Subscribe::from_query(&query, &settings.hub, &settings.subscribe);
        shards[shard].send(Message::Compiled(ticket, compiled));
    }
}

#[cfg(test)]
mod tests {
    use super::may_be_slow;

    #[test]
    fn only_patterns_with_groups_braces_or_modifiers_leave_the_loop() {
        for plain in ["match=(x)", "match_urlpattern=/a/:id", "match_urlpattern=https%3A%2F%2Fe.com%2F*&match=a+b"] {
            assert!(!may_be_slow(plain), "{plain}");
        }
        for slow in [
            "match_urlpattern=/a/(b|c)",
            "match_urlpattern=/a/%28b%7Cc%29",
            "match_urlpattern=/a/%7Bb%7D%3F",
            "match_URLPATTERN=(x)",
        ] {
            assert!(may_be_slow(slow), "{slow}");
        }
    }
}
