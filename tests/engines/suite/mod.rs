//! The stories every engine has to pass, and what they are told with.

mod failures;
mod log;
mod presence;
mod retention;

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cinnabar::cluster::{Engine, EngineError, Entry, Identity, Placed};
use cinnabar::protocol::topic::Topic;
use cinnabar::protocol::update::Update;

pub(crate) use self::{failures::*, log::*, presence::*, retention::*};
use crate::servers::PATIENCE;
pub(crate) use crate::servers::PLENTY;

/// Bytes asked for by who wants all.
pub(crate) const BYTES: usize = 64 << 20;

/// The password of those tests that have one: nothing that is said may contain it.
pub(crate) const SECRET: &str = "s3cret-päss word";

/// Why an engine isn't let in.
pub(crate) async fn refused(engine: &(impl Engine + std::fmt::Debug)) -> String {
    match engine.open().await {
        Err(EngineError::Refused(why)) => {
            assert!(!why.contains(SECRET) && !format!("{engine:?}").contains(SECRET), "{why}");
            why
        }
        other => panic!("{other:?}"),
    }
}

/// Makes a test of each story, for one kind of server.
macro_rules! conformance {
    ($server:ty) => {
        $crate::suite::conformance!($server:
            many_appenders_make_one_gap_free_order,
            a_batch_of_none_is_nothing,
            follow_waits_and_wakes,
            follow_ends_empty_after_its_wait,
            waiting_holds_up_nobody,
            follow_and_range_keep_to_count_and_bytes,
            entries_come_back_byte_by_byte,
            ids_of_every_kind_are_found,
            two_opens_at_once_make_one_log,
            a_log_is_found_again,
            retention_by_count,
            retention_by_bytes,
            retention_by_age,
            who_is_trimmed_past_is_told,
            of_an_id_the_earliest_use_kept_is_found,
            a_killed_server_comes_back_with_everything,
            a_paused_server_is_unavailable_and_then_not,
            an_emptied_server_holds_another_log,
            a_server_emptied_while_it_is_followed_holds_another_log,
            a_server_that_lost_its_newest_events_is_shorter,
            who_enters_is_listed_until_it_leaves,
            thousands_are_listed_page_by_page,
            lists_are_answered_while_others_come_and_go,
            who_enters_again_replaces_itself,
            a_hub_that_stops_renewing_is_dead,
            of_many_hubs_one_claims_a_dead_one,
            a_claim_that_isnt_used_can_be_made_again,
            who_has_claimed_a_hub_can_extend_that,
            who_was_silent_itself_claims_nobody,
            a_server_that_was_away_for_long_has_forgotten_nobody,
            a_hub_that_was_claimed_stays_dead,
            nobody_of_a_hub_that_was_claimed_is_listed,
            what_is_large_is_listed_and_left_in_pieces,
            a_dead_hub_enters_nobody,
        );
    };
    ($server:ty: $($story:ident,)*) => {
        $(
            #[test]
            fn $story() {
                $crate::suite::tell(|| $crate::suite::$story(<$server as $crate::servers::Server>::start()));
            }
        )*
    };
}
pub(crate) use conformance;

/// Runs a story on a runtime as the backbone's.
pub(crate) fn tell<S: Future<Output = ()>>(story: impl FnOnce() -> S) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE * 4, story()).await.expect("the story ends");
    });
}

/// Now, as publishers' hubs note it.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 500 million")
}

/// An event with this payload.
pub(crate) fn event(data: &str) -> Entry {
    let update = Update {
        topics: vec![Topic::of_hub("https://example.com/1")],
        data: data.to_owned(),
        private: false,
        id: None,
        event_type: None,
        retry: None,
    };
    Entry { update, announcement: false, published_ms: now_ms(), tag: 7 }
}

/// An event to which its publisher gave an id.
pub(crate) fn named(id: &str) -> Entry {
    let mut entry = event("named");
    entry.update.id = Some(id.to_owned());
    entry
}

/// Appends what has to succeed.
pub(crate) async fn append(engine: &impl Engine, log: &Identity, entries: Vec<Entry>) -> Vec<u64> {
    let appended = engine.append(log, entries).await;
    appended.into_iter().map(|offset| offset.expect("appended")).collect()
}

/// Follows until `count` entries have come.
pub(crate) async fn read(engine: &impl Engine, log: &Identity, mut after: u64, count: usize) -> Vec<Placed> {
    let mut all = Vec::new();
    while all.len() < count {
        let came = engine.follow(log, after, 100, BYTES, Duration::from_secs(5)).await.expect("followed");
        after = came.last().map_or(after, |placed| placed.offset);
        all.extend(came);
    }
    all
}

/// The payloads.
pub(crate) fn data(entries: &[Placed]) -> Vec<&str> {
    entries.iter().map(|placed| &*placed.entry.update.data).collect()
}

/// Asks again until it is what it shall be.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("this never came to be: {what}"))
}

/// Whether it can't be reached: the one failure that goes away by itself.
pub(crate) fn unavailable<T>(answer: &Result<T, EngineError>) -> bool {
    matches!(answer, Err(EngineError::Unavailable(_)))
}
