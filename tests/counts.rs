//! What can be held without a clock: what the state machine of a shard asks of the allocator. `cargo bench --bench fan_out` prints the
//! figures.

use crowd::{Crowd, Kind, WARMING_ROUNDS};

#[path = "../benches/allocator/mod.rs"]
mod allocator;
#[path = "../benches/crowd/mod.rs"]
mod crowd;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const SUBSCRIBERS: usize = 2_000;
/// Topics with something pending at once.
const TOPICS_AT_ONCE: usize = 700;
/// Not near a power of two, at which tables have just doubled or are just full.
const WEIGHED: usize = 25_000;

/// Publishes an event for each of the topics, again and again: allocations of the last time, when no table grows any more.
fn allocations(kind: Kind, private: bool, topics: usize, deliveries: u64) -> u64 {
    let mut crowd = Crowd::new();
    crowd.join(kind, SUBSCRIBERS);
    let topics: Vec<String> = (0..topics).map(|number| crowd::topic(kind, number)).collect();
    let rounds = (0..=WARMING_ROUNDS).map(|_| {
        crowd.publish(&topics, private);
        let (delivered, tally) = allocator::counted(|| crowd.deliver());
        assert_eq!(delivered, deliveries);
        tally.allocations
    });
    rounds.last().expect("a last round")
}

#[test]
fn a_broadcast_is_delivered_without_allocating() {
    assert_eq!(allocations(Kind::Shared, false, 1, SUBSCRIBERS as u64), 0);
}

#[test]
fn events_that_leave_in_one_send_are_delivered_without_allocating() {
    assert_eq!(allocations(Kind::Shared, false, 16, 16 * SUBSCRIBERS as u64), 0);
}

#[test]
fn events_of_many_topics_are_delivered_without_allocating() {
    assert_eq!(allocations(Kind::OwnTopic, false, TOPICS_AT_ONCE, TOPICS_AT_ONCE as u64), 0);
}

#[test]
fn private_events_are_delivered_without_allocating() {
    assert_eq!(allocations(Kind::OwnToken, true, TOPICS_AT_ONCE, TOPICS_AT_ONCE as u64), 0);
}

/// Bytes a subscriber has taken of the allocator when it has got its response head.
fn bytes_each(kind: Kind) -> i64 {
    let mut crowd = Crowd::new();
    let ((), tally) = allocator::counted(|| crowd.join(kind, WEIGHED));
    tally.bytes / WEIGHED as i64
}

#[test]
fn a_subscriber_with_a_shared_topic_takes_little_more_than_its_record() {
    let bytes = bytes_each(Kind::Shared);
    assert!(bytes <= 128, "{bytes}");
}

#[test]
fn a_topic_of_ones_own_takes_no_more_than_its_price() {
    // A selector nobody else has: 200 bytes.
    let bytes = bytes_each(Kind::OwnTopic);
    assert!(bytes <= 128 + 200, "{bytes}");
}

#[test]
fn a_token_of_ones_own_takes_no_more_than_its_price() {
    // Grants nobody else has: 150 bytes; and who it is.
    let bytes = bytes_each(Kind::OwnToken);
    assert!(bytes <= 600, "{bytes}");
}
